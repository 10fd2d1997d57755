"""Read and edit sites of a running model; both always take their hooks away again.

`record` and `edit` are context managers.  Edits run before records, whichever was opened first,
so that a record shows what the model went on with.  An edit changes the value for everything that
reads it: an edited `resid_mid` reaches the MLP *and* the skip connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from emo.errors import ModelError, UsageError
from emo.families import Tap
from emo.model.language_model import LanguageModel
from emo.sites import Site

Edit = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Keep = Callable[[Site, torch.Tensor], torch.Tensor]


@contextmanager
def record(
    model: LanguageModel, sites: Iterable[Site], keep: Keep | None = None
) -> Iterator[dict[Site, torch.Tensor]]:
    """Collect the values of sites during forward passes.

    Parameters
    ----------
    model : LanguageModel
    sites : iterable of Site
        In parallel blocks `resid_mid` is derived as ``resid_pre + attn_out``.
    keep : callable (site, (n_rows, width, d) tensor) -> tensor, optional
        What to keep of a value, for instance a few positions; everything by default.

    Yields
    ------
    dict of Site to tensor
        Filled by each forward pass; a later pass overwrites.

    Raises
    ------
    UsageError
        When the model has no such layer.
    """
    values: dict[Site, torch.Tensor] = {}
    tokens = _Tokens()

    def sink(site: Site, value: torch.Tensor) -> None:
        shaped = tokens.shaped(value)
        values[site] = shaped if keep is None else keep(site, shaped)

    handles: list[Any] = []
    try:
        handles += tokens.watch(model)
        for site in dict.fromkeys(sites):
            tap = model.family.tap(site.part)
            if tap is None:
                handles += _read_sum(model, site, sink)
            else:
                handles.append(_read(_tapped(model, site, tap), tap, site, sink))
        yield values
    finally:
        _remove(handles)


@contextmanager
def edit(model: LanguageModel, edits: Mapping[Site, Edit]) -> Iterator[None]:
    """Replace the values of sites during forward passes.

    Parameters
    ----------
    model : LanguageModel
    edits : mapping of Site to callable (tensor, positions) -> tensor
        Called at every forward pass with the value, (n_rows, width, d), and the absolute position
        of each token, (n_rows, width) int64 with -1 at padding; returns the new value.

    Raises
    ------
    UsageError
        When the model has no such layer, or the site is derived (`resid_mid` of parallel blocks).
    ModelError
        During a forward pass, when a callable returns another shape.
    """
    tokens = _Tokens()
    handles: list[Any] = []
    try:
        handles += tokens.watch(model)
        for site, change in edits.items():
            tap = model.family.tap(site.part)
            if tap is None:
                raise UsageError(
                    f"{site} cannot be edited: the blocks of {model.family.name} are parallel",
                    hint=f"edit {Site(site.layer, 'attn_out')} or {Site(site.layer, 'resid_post')}",
                )
            handles.append(_write(_tapped(model, site, tap), tap, site, change, tokens))
        yield
    finally:
        _remove(handles)


class _Tokens:
    """Batch shape and absolute positions of the forward pass in progress."""

    def __init__(self) -> None:
        self._shape = (0, 0)
        self._mask: torch.Tensor | None = None
        self._positions: torch.Tensor | None = None

    def watch(self, model: LanguageModel) -> list[Any]:
        return [
            module.register_forward_pre_hook(self._enter, with_kwargs=True, prepend=True)
            for module in (model.module, model.body)
        ]

    def _enter(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if isinstance(kwargs.get("attention_mask"), dict):
            return  # a model around the body made these masks from what it was seen to get
        ids = args[0] if args else kwargs.get("input_ids")
        if ids is None:
            ids = kwargs["inputs_embeds"]
        self._shape = (ids.shape[0], ids.shape[1])
        self._mask, self._positions = kwargs.get("attention_mask"), None
        if self._mask is None:
            cache = kwargs.get("cache", kwargs.get("past_key_values"))
            start = 0 if cache is None else int(cache.get_seq_length())
            columns = torch.arange(start, start + ids.shape[1], device=ids.device)
            self._positions = columns.expand(self._shape)

    @property
    def positions(self) -> torch.Tensor:
        if self._positions is None:
            assert self._mask is not None
            real = self._mask.bool()
            self._positions = torch.where(real, real.cumsum(1) - 1, -1)[:, -self._shape[1] :]
        return self._positions

    def shaped(self, value: torch.Tensor) -> torch.Tensor:
        """Undo the flattening of rows and columns that some blocks do (OPT)."""
        return value.view(*self._shape, -1) if value.ndim == 2 else value


def _tapped(model: LanguageModel, site: Site, tap: Tap) -> nn.Module:
    return model.block_module(site.layer, tap.path)


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    value: torch.Tensor = args[0] if args else kwargs["hidden_states"]
    return value


def _value_of(output: Any) -> torch.Tensor:
    value: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return value


def _read(
    module: nn.Module, tap: Tap, site: Site, sink: Callable[[Site, torch.Tensor], None]
) -> Any:
    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sink(site, _first(args, kwargs))

    def after(_module: nn.Module, _args: Any, output: Any) -> None:
        sink(site, _value_of(output))

    if tap.side == "input":
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


def _read_sum(
    model: LanguageModel, site: Site, sink: Callable[[Site, torch.Tensor], None]
) -> list[Any]:
    """Hooks for ``resid_pre + attn_out``."""
    pre: list[torch.Tensor] = []

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pre[:] = [_first(args, kwargs)]

    def after(_module: nn.Module, _args: Any, output: Any) -> None:
        sink(site, pre.pop() + _value_of(output))

    tap = model.family.tap("attn_out")
    assert tap is not None
    return [
        model.block_module(site.layer).register_forward_pre_hook(before, with_kwargs=True),
        _tapped(model, site, tap).register_forward_hook(after),
    ]


def _write(module: nn.Module, tap: Tap, site: Site, change: Edit, tokens: _Tokens) -> Any:
    def changed(value: torch.Tensor) -> torch.Tensor:
        new = change(tokens.shaped(value), tokens.positions).to(value.dtype)
        if new.numel() != value.numel():
            raise ModelError(
                f"the edit of {site} returned the shape {tuple(new.shape)} for {tuple(value.shape)}"
            )
        return new.view_as(value)

    def before(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        value = _first(args, kwargs)
        if site.part == "resid_mid":
            # The block adds this very tensor again after the MLP: change it where it lies.
            original = value.clone() if torch.is_grad_enabled() else value
            value.copy_(changed(original))
            return args, kwargs
        new = changed(value)
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        new = changed(_value_of(output))
        return (new, *output[1:]) if isinstance(output, tuple) else new

    if tap.side == "input":
        return module.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
    return module.register_forward_hook(after, prepend=True)


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()

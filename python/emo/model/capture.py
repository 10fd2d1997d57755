"""One forward pass per batch that takes every wanted site at every wanted position.

The rows are picked on the device, inside the hooks, so that no full activation outlives its
layer; only the blocks run, never the unembedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emo.errors import NumericalError, ResourceError, UsageError, did_you_mean
from emo.model.batch import Batch, Side, check_lengths, pad_batch, plan_batches
from emo.model.hooks import record
from emo.model.language_model import LanguageModel
from emo.model.positions import Row, is_pooled, parse_position, tokens_at
from emo.sites import Site, tensor_name

__all__ = ["Captured", "Capturer", "Row", "plan_batches"]

_NUMBER_FORMATS = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
_NAMES = {value: key for key, value in _NUMBER_FORMATS.items()}


@dataclass(frozen=True)
class Captured:
    """Vectors of one batch.

    Attributes
    ----------
    tensors : dict of str to (n_rows, width) array
        By tensor name (``L12.mlp_act@last``); float32, float16, or the bit patterns of bfloat16
        as uint16.
    rows : dict of str to (n_rows, 2) int64 array
        By position: sample index, and token index or -1 when pooled.
    """

    tensors: dict[str, NDArray[Any]]
    rows: dict[str, NDArray[np.int64]]


class Capturer:
    """Settings of a capture; `forward` runs one batch.

    Parameters
    ----------
    model : LanguageModel
    sites : iterable of Site
        What to take.
    positions : iterable of str
        Where to take it, see `emo.model.positions`.
    dtype : str, optional
        `bf16`, `f16` or `f32`; by default the model's own. Means are taken in float32.
    side : str
        Side of the padding; either gives the same vectors.

    Raises
    ------
    UsageError
        When a site, position or number format does not exist.
    """

    def __init__(
        self,
        model: LanguageModel,
        sites: Iterable[Site],
        positions: Iterable[str] = ("last",),
        *,
        dtype: str | None = None,
        side: Side = "right",
    ) -> None:
        self.model = model
        self.sites = tuple(dict.fromkeys(sites))
        self.positions = tuple(dict.fromkeys(parse_position(name) for name in positions))
        self.dtype = dtype or _NAMES.get(model.dtype, "f32")
        self.side = side
        if self.dtype not in _NUMBER_FORMATS:
            raise UsageError(
                f"unknown number format {dtype!r}", hint=did_you_mean(self.dtype, _NUMBER_FORMATS)
            )
        for site in self.sites:
            model.block_module(site.layer)

    def widths(self) -> dict[str, int]:
        """Width of each tensor by its name."""
        return {
            tensor_name(site, position): self.model.width(site)
            for position in self.positions
            for site in self.sites
        }

    def forward(self, rows: Sequence[Row]) -> Captured:
        """Run one batch and pick its vectors.

        Parameters
        ----------
        rows : sequence of Row
            Texts of one batch, see `plan_batches`.

        Returns
        -------
        Captured
            In the order of `rows`; a text that lacks a position has no row there.

        Raises
        ------
        DataError
            When a text is empty or longer than the model reads.
        NumericalError
            When a vector is not finite in the wanted number format.
        ResourceError
            When memory does not suffice.
        """
        check_lengths([row.ids for row in rows], self.model.context)
        batch = pad_batch([row.ids for row in rows], side=self.side, device=self.model.device)
        picks = {name: _Pick.of(name, rows, batch) for name in self.positions}
        wanted = _NUMBER_FORMATS[self.dtype]
        tensors: dict[str, torch.Tensor] = {}

        def keep(site: Site, value: torch.Tensor) -> torch.Tensor:
            for name, pick in picks.items():
                tensors[tensor_name(site, name)] = pick.take(value).to(wanted)
            return value[:0]

        try:
            with torch.inference_mode(), record(self.model, self.sites, keep):
                self.model.hidden(batch)
            _check_finite(tensors, self.dtype)
            return Captured(
                {name: _to_numpy(tensor) for name, tensor in tensors.items()},
                {name: pick.rows for name, pick in picks.items()},
            )
        except torch.OutOfMemoryError:
            n_tokens = batch.ids.numel()
            raise ResourceError(
                f"memory ran out at a batch of {len(rows)} texts ({n_tokens} tokens)",
                hint=f"pass a batch size of at most {max(1, n_tokens // 2)} tokens",
            ) from None


@dataclass(frozen=True)
class _Pick:
    """How to take one position from a (n_rows, width, d) value.

    `tokens` indexes the flattened rows and columns; where it is None, `weights`
    (n_picked, width) averages the columns of the rows `texts`.
    """

    rows: NDArray[np.int64]
    tokens: torch.Tensor | None
    texts: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def of(cls, position: str, rows: Sequence[Row], batch: Batch) -> _Pick:
        width = batch.ids.shape[1]
        starts = batch.starts.tolist()
        chosen = [(i, tokens_at(position, row)) for i, row in enumerate(rows)]
        chosen = [(i, tokens) for i, tokens in chosen if tokens]
        pooled = is_pooled(position)
        weights = torch.zeros((len(chosen) if pooled else 0, width))
        labels: list[tuple[int, int]] = []
        flat: list[int] = []
        for k, (i, tokens) in enumerate(chosen):
            columns = [starts[i] + token for token in tokens]
            if pooled:
                weights[k, columns] = 1.0 / len(columns)
                labels.append((rows[i].index, -1))
            else:
                flat += [i * width + column for column in columns]
                labels += [(rows[i].index, token) for token in tokens]
        device = batch.ids.device
        return cls(
            np.array(labels, dtype=np.int64).reshape(-1, 2),
            None if pooled else torch.tensor(flat, dtype=torch.long, device=device),
            torch.tensor([i for i, _ in chosen], dtype=torch.long, device=device),
            weights.to(device),
        )

    def take(self, value: torch.Tensor) -> torch.Tensor:
        if self.tokens is not None:
            return value.reshape(-1, value.shape[-1]).index_select(0, self.tokens)
        rows = value.index_select(0, self.texts).float()
        # Padding may hold anything, NaN included: it must not meet its weight 0.
        rows = rows.masked_fill((self.weights == 0)[..., None], 0.0)
        return torch.bmm(self.weights[:, None, :], rows)[:, 0]


def _check_finite(tensors: dict[str, torch.Tensor], dtype: str) -> None:
    if not tensors:
        return
    finite = torch.stack([torch.isfinite(tensor).all() for tensor in tensors.values()])
    if bool(finite.all()):
        return
    name = list(tensors)[finite.tolist().index(False)]
    raise NumericalError(
        f"{name} holds values that are not finite as {dtype}",
        hint="capture as bf16 or f32" if dtype == "f16" else "run the model in float32",
    )


def _to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).cpu().numpy().view(np.uint16)
    array: NDArray[Any] = tensor.cpu().numpy()
    return array

"""Prove on real tokens that a family row fits the model that was loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from emo.errors import ModelError, NumericalError
from emo.model.batch import pad_batch
from emo.model.hooks import record
from emo.model.language_model import LanguageModel
from emo.sites import PARTS, Site

_SENTENCE = "The weather was calm, and she smiled."
_N_TOKENS = 8
# Relative Euclidean error of a product computed a second time in float32: the rounding of the
# model's own output (half a unit in the last place), with room for its order of summation.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 2e-2}
Outputs = dict[tuple[int, str], torch.Tensor]


def verify_family(model: LanguageModel) -> None:
    """Check the arithmetic of every site on a few tokens.

    For each layer::

        resid_pre + attn_out = resid_mid
        resid_mid + mlp_out = resid_post
        W_O head_out + bias = output of the attention projection
        W_down mlp_act + bias = output of the down projection
        gain * p / rms(p) = attn_out, mlp_out      where a norm follows the projection p

    and for the model: final norm, unembedding and soft cap of the last `resid_post` give the
    logits.  Sums must hold to rounding, products to a relative error set by the number format.

    Raises
    ------
    ModelError
        Naming the first identity that fails and its layer.
    NumericalError
        When the model computes values that are not finite.
    """
    batch = pad_batch([_tokens(model)], device=model.device)
    sites = [Site(layer, part) for layer in range(model.n_layers) for part in PARTS]
    with torch.inference_mode():
        with _projections(model) as outputs, record(model, sites) as seen:
            forward: Any = model.module
            logits = forward(
                input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=False
            ).logits
        missing = [str(site) for site in sites if site not in seen]
        if missing:
            raise _refusal(model, f"{missing[0]} is read in every forward pass", "")
        if not bool(torch.isfinite(seen[Site(model.n_layers - 1, "resid_post")]).all()):
            raise NumericalError(
                f"{model.name} computes values that are not finite",
                hint="is it damaged? Where it overflows in float16, --device cpu takes float32",
            )
        for layer in range(model.n_layers):
            for identity, holds in _identities(model, layer, seen, outputs):
                if not holds:
                    raise _refusal(model, identity, f" in layer {layer}")
        norm = model.submodule(f"{model.family.body}.{model.family.final_norm}")
        last = norm(seen[Site(model.n_layers - 1, "resid_post")])
        if not _product_holds(model.logits(last), logits):
            raise _refusal(model, "unembedding of final norm of resid_post = logits", "")


def _tokens(model: LanguageModel) -> list[int]:
    embedding: Any = model.submodule(f"{model.family.body}.{model.family.embed}")
    ids: list[int] = []
    if model.tokenizer is not None:
        ids = [int(i) for i in model.tokenizer(_SENTENCE)["input_ids"]][:_N_TOKENS]
    return ids or list(range(min(_N_TOKENS, int(embedding.weight.shape[0]))))


@contextmanager
def _projections(model: LanguageModel) -> Iterator[Outputs]:
    """Collect the outputs of both projections of every layer, before any post-norm."""
    outputs: Outputs = {}
    handles: list[Any] = []

    def keep(key: tuple[int, str]) -> Any:
        def hook(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
            outputs[key] = output

        return hook

    try:
        for layer in range(model.n_layers):
            for path in (model.family.out_proj, model.family.down_proj):
                module = model.block_module(layer, path)
                handles.append(module.register_forward_hook(keep((layer, path))))
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _identities(
    model: LanguageModel, layer: int, seen: Mapping[Site, torch.Tensor], outputs: Outputs
) -> Iterator[tuple[str, bool]]:
    at = {part: seen[Site(layer, part)] for part in PARTS}
    for part in ("head_out", "mlp_act"):
        wanted = model.shape.width(part)
        yield f"the width of {part} is {wanted}", at[part].shape[-1] == wanted
    yield (
        "resid_pre + attn_out = resid_mid",
        _sum_holds(at["resid_pre"], at["attn_out"], at["resid_mid"]),
    )
    yield (
        "resid_mid + mlp_out = resid_post",
        _sum_holds(at["resid_mid"], at["mlp_out"], at["resid_post"]),
    )
    for name, part, path in (
        ("W_O head_out + bias = attention projection", "head_out", model.family.out_proj),
        ("W_down mlp_act + bias = down projection", "mlp_act", model.family.down_proj),
    ):
        yield name, _projection_holds(model, layer, path, at[part], outputs[layer, path])
    if model.family.post_norm:
        for name, norm, path in (
            ("attn_out", model.family.attn_norm, model.family.out_proj),
            ("mlp_out", model.family.mlp_norm, model.family.down_proj),
        ):
            yield (
                f"norm of the projection = {name}",
                _norm_holds(model, layer, norm, outputs[layer, path], at[name]),
            )


def _norm_holds(
    model: LanguageModel, layer: int, path: str | None, inputs: torch.Tensor, output: torch.Tensor
) -> bool:
    module: Any = model.block_module(layer, path or "")
    hugging_face: Any = model.module
    eps = model.family.eps(hugging_face.config.to_dict())
    p = inputs.float()
    scale = (p.square().mean(-1, keepdim=True) + eps).rsqrt()
    gain = model.family.gain_offset + module.weight.float()
    return gain.shape == p.shape[-1:] and _product_holds(p * scale * gain, output)


def _projection_holds(
    model: LanguageModel, layer: int, path: str, inputs: torch.Tensor, output: torch.Tensor
) -> bool:
    module: Any = model.block_module(layer, path)
    weight = module.weight.float()
    weight = weight if model.family.transposed else weight.T
    if weight.shape != (inputs.shape[-1], output.shape[-1]):
        return False
    product = inputs.float() @ weight
    if module.bias is not None:
        product = product + module.bias.float()
    return _product_holds(product, output)


def _sum_holds(a: torch.Tensor, b: torch.Tensor, total: torch.Tensor) -> bool:
    """Whether ``a + b = total`` to rounding, element by element.

    Each element is measured against the rounding of its own terms, so that a few huge features
    of the residual stream cannot hide an error in the others.
    """
    if not a.shape == b.shape == total.shape:
        return False
    unit = torch.finfo(total.dtype).eps * (a.abs() + b.abs() + total.abs()).float()
    error = (a.float() + b.float() - total.float()) / (unit + 1e-30)
    return bool(error.square().mean().sqrt() <= 1.0)


def _product_holds(computed: torch.Tensor, output: torch.Tensor) -> bool:
    if computed.numel() != output.numel():
        return False
    expected = output.float()
    error = computed.float().view_as(expected) - expected
    return bool(error.norm() <= _TOLERANCE[output.dtype] * expected.norm())


def _refusal(model: LanguageModel, identity: str, place: str) -> ModelError:
    return ModelError(
        f"{model.name} does not fit the family {model.family.name!r}: "
        f"{identity!r} does not hold{place}",
        hint="the model differs from the architecture of its family and cannot be used",
    )

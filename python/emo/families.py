"""One row per transformer architecture: where each site lives, and under which weight names.

A row counts only when the arithmetic of its sites holds on real tokens; `emo.model.verify`
proves that whenever a model is loaded.  Paths are relative to the body (`blocks`, `final_norm`,
`embed`) or to one block (`out_proj`, `down_proj`, `mid`, `attn_norm`, `mlp_norm`).

===============  ======================================================================
site             read from
===============  ======================================================================
``resid_pre``    input of the block
``attn_out``     output of ``attn_norm`` where there is one, else of ``out_proj``
``head_out``     input of ``out_proj``
``resid_mid``    input of ``mid``; derived (``resid_pre + attn_out``) in parallel blocks
``mlp_act``      input of ``down_proj``
``mlp_out``      output of ``mlp_norm`` where there is one, else of ``down_proj``
``resid_post``   output of the block
===============  ======================================================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from emo.errors import ModelError, did_you_mean

Weight = Literal[
    "out_proj", "out_bias", "down_proj", "down_bias", "attn_norm", "mlp_norm",
    "final_norm", "unembed", "embed",
]  # fmt: skip


@dataclass(frozen=True)
class Tap:
    """Module of a block and the side of it on which a site is read and written."""

    path: str
    side: Literal["input", "output"]


@dataclass(frozen=True)
class Family:
    """Module paths, weight names and shape of the arithmetic of one architecture.

    Attributes
    ----------
    name : str
        The `model_type` of the Hugging Face configuration.
    body : str
        Module that runs the embedding, the blocks and the final norm.
    blocks, embed, final_norm : str
        Paths below the body: list of blocks, token embedding, norm before the unembedding.
    out_proj, down_proj : str
        Paths below a block: projections that write into the residual stream.
    mid : str
        Path below a block: the module whose input is the residual after attention.
    attn_norm, mlp_norm : str or None
        Norms between a projection and the residual stream (post-norm families): root mean
        square norms, ``p / sqrt(mean(p^2) + eps) * (gain_offset + weight)``.
    gain_offset : float
        What these norms add to their stored weight.
    norm_eps : float
        Their eps where the configuration names no ``rms_norm_eps``.
    unembed : tuple of str
        Names of the unembedding in checkpoints, newest first.
    parallel : bool
        Attention and MLP read the same input, so that `resid_mid` is derived.
    parallel_key : str or None
        Configuration entry that decides `parallel`.
    transposed : bool
        Projection weights are stored `[in, out]` (Conv1D) instead of `[out, in]`.
    soft_cap_key : str or None
        Configuration entry with the cap of the logits, ``cap * tanh(logits / cap)``.
    """

    name: str
    out_proj: str
    down_proj: str
    mid: str
    body: str = "model"
    blocks: str = "layers"
    embed: str = "embed_tokens"
    final_norm: str = "norm"
    attn_norm: str | None = None
    mlp_norm: str | None = None
    gain_offset: float = 0.0
    norm_eps: float = 1e-6
    unembed: tuple[str, ...] = ("lm_head",)
    parallel: bool = False
    parallel_key: str | None = None
    transposed: bool = False
    soft_cap_key: str | None = None

    @property
    def post_norm(self) -> bool:
        """Whether a norm stands between a projection and the residual stream."""
        return self.attn_norm is not None

    def tap(self, part: str) -> Tap | None:
        """Where `part` is read in a block; None when it has to be derived.

        >>> family_of("llama").tap("head_out")
        Tap(path='self_attn.o_proj', side='input')
        """
        taps = {
            "resid_pre": Tap("", "input"),
            "attn_out": Tap(self.attn_norm or self.out_proj, "output"),
            "head_out": Tap(self.out_proj, "input"),
            "resid_mid": None if self.parallel else Tap(self.mid, "input"),
            "mlp_act": Tap(self.down_proj, "input"),
            "mlp_out": Tap(self.mlp_norm or self.down_proj, "output"),
            "resid_post": Tap("", "output"),
        }
        return taps[part]

    def block(self, layer: int) -> str:
        """Path of a block from the root of the model (`layer` is 0-based)."""
        return f"{self.body}.{self.blocks}.{layer}"

    def weight_names(self, weight: Weight, layer: int | None = None) -> tuple[str, ...]:
        """Names under which a checkpoint may hold a weight, most likely first.

        Checkpoints saved from the bare body lack its prefix, or the first part of it.  A tied
        model has no unembedding of its own: the token embedding comes last among its names.

        >>> family_of("gpt2").weight_names("down_proj", 3)
        ('transformer.h.3.mlp.c_proj.weight', 'h.3.mlp.c_proj.weight')
        """
        if weight == "unembed":
            heads = tuple(f"{name}.weight" for name in self.unembed)
            return heads + self.weight_names("embed")
        path = self._path_in_body(weight, layer)
        full = f"{self.body}.{path}"
        return tuple(dict.fromkeys((full, full.partition(".")[2], path)))

    def _path_in_body(self, weight: Weight, layer: int | None) -> str:
        if weight == "embed":
            return f"{self.embed}.weight"
        if weight == "final_norm":
            return f"{self.final_norm}.weight"
        paths = {
            "out_proj": f"{self.out_proj}.weight",
            "out_bias": f"{self.out_proj}.bias",
            "down_proj": f"{self.down_proj}.weight",
            "down_bias": f"{self.down_proj}.bias",
            "attn_norm": f"{self.attn_norm}.weight",
            "mlp_norm": f"{self.mlp_norm}.weight",
        }
        if layer is None or paths[weight].startswith("None."):
            raise ModelError(f"{self.name} has no weight {weight!r} for layer {layer}")
        return f"{self.blocks}.{layer}.{paths[weight]}"

    def resolve(self, config: Mapping[str, Any]) -> Family:
        """Copy of the row with the flags that this configuration decides."""
        if self.parallel_key is None:
            return self
        parallel = bool(config.get(self.parallel_key, self.parallel))
        return dataclasses.replace(self, parallel=parallel)

    def soft_cap(self, config: Mapping[str, Any]) -> float | None:
        """Cap of the logits, or None where they are not capped."""
        cap = _text_part(config).get(self.soft_cap_key) if self.soft_cap_key else None
        return None if cap is None else float(cap)

    def eps(self, config: Mapping[str, Any]) -> float:
        """Return the eps of the norms behind the projections of a post-norm family.

        >>> family_of("olmo2").eps({"rms_norm_eps": 1e-3})
        0.001
        """
        return float(_text_part(config).get("rms_norm_eps", self.norm_eps))


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the language model inside that of a model of texts and images."""
    return config.get("text_config") or config


def _llama_like(name: str, **fields: Any) -> Family:
    defaults = {
        "out_proj": "self_attn.o_proj",
        "down_proj": "mlp.down_proj",
        "mid": "post_attention_layernorm",
    }
    return Family(name, **{**defaults, **fields})


_SANDWICH: dict[str, Any] = {
    "mid": "pre_feedforward_layernorm",
    "attn_norm": "post_attention_layernorm",
    "mlp_norm": "post_feedforward_layernorm",
    "gain_offset": 1.0,
    "soft_cap_key": "final_logit_softcapping",
}

FAMILIES: tuple[Family, ...] = (
    _llama_like("llama"),
    _llama_like("qwen2"),
    _llama_like("qwen3"),
    _llama_like("mistral"),
    _llama_like("phi3"),
    _llama_like("gemma2", **_SANDWICH),
    _llama_like("gemma3_text", **_SANDWICH),
    _llama_like("gemma3", body="model.language_model", **{**_SANDWICH, "soft_cap_key": None}),
    _llama_like(
        "olmo2",
        mid="mlp",
        attn_norm="post_attention_layernorm",
        mlp_norm="post_feedforward_layernorm",
        norm_eps=1e-5,
    ),
    Family(
        "gpt2",
        out_proj="attn.c_proj",
        down_proj="mlp.c_proj",
        mid="ln_2",
        body="transformer",
        blocks="h",
        embed="wte",
        final_norm="ln_f",
        transposed=True,
    ),
    Family(
        "gpt_neo",
        out_proj="attn.attention.out_proj",
        down_proj="mlp.c_proj",
        mid="ln_2",
        body="transformer",
        blocks="h",
        embed="wte",
        final_norm="ln_f",
    ),
    Family(
        "gpt_neox",
        out_proj="attention.dense",
        down_proj="mlp.dense_4h_to_h",
        mid="post_attention_layernorm",
        body="gpt_neox",
        embed="embed_in",
        final_norm="final_layer_norm",
        unembed=("embed_out", "lm_head"),
        parallel=True,
        parallel_key="use_parallel_residual",
    ),
    Family(
        "opt",
        out_proj="self_attn.out_proj",
        down_proj="fc2",
        mid="final_layer_norm",
        body="model.decoder",
        final_norm="final_layer_norm",
    ),
)
_WRONG_CONFIG = "is its config.json that of the model?"
_BY_TYPE = {family.name: family for family in FAMILIES}


def is_family(model_type: object) -> bool:
    """Whether there is a row for this Hugging Face `model_type`."""
    return isinstance(model_type, str) and model_type in _BY_TYPE


def family_of(model_type: str) -> Family:
    """Row of the architecture with this Hugging Face `model_type`.

    Raises
    ------
    ModelError
        When there is no such row.

    >>> family_of("gpt2").transposed
    True
    """
    if model_type not in _BY_TYPE:
        raise ModelError(
            f"models of type {model_type!r} are not supported",
            hint=did_you_mean(model_type, sorted(_BY_TYPE)),
        )
    return _BY_TYPE[model_type]


@dataclass(frozen=True)
class Shape:
    """Sizes of a model: layers, width, heads, width of a head, width of the MLP."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int

    def width(self, part: str) -> int:
        """Width of a site of this model.

        >>> Shape(2, 8, 4, 2, 3, 32).width("head_out")
        12
        """
        return {"head_out": self.n_heads * self.d_head, "mlp_act": self.d_mlp}.get(
            part, self.d_model
        )


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Read the sizes from a Hugging Face configuration, under whichever names it uses.

    Parameters
    ----------
    config : mapping
        The content of `config.json`, or `config.to_dict()`.

    Returns
    -------
    Shape
        The head width is the explicit `head_dim` where given, else width / heads; the MLP is
        four times the width where no size is given (GPT-2, GPT-Neo).

    Raises
    ------
    ModelError
        When a size is missing or the width is no multiple of the heads.

    >>> shape_of({"n_layer": 2, "n_embd": 8, "n_head": 4}).d_mlp
    32
    """
    config = _text_part(config)
    n_layers = _size(config, "num_hidden_layers", "n_layer", "num_layers")
    d_model = _size(config, "hidden_size", "n_embd", "d_model")
    n_heads = _size(config, "num_attention_heads", "n_head", "num_heads")
    d_head = _optional(config, "head_dim")
    if d_head is None and d_model % n_heads:
        raise ModelError(
            f"the width {d_model} is no multiple of the {n_heads} heads", hint=_WRONG_CONFIG
        )
    return Shape(
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=_optional(config, "num_key_value_heads") or n_heads,
        d_head=d_head or d_model // n_heads,
        d_mlp=_optional(config, "intermediate_size", "ffn_dim", "n_inner") or 4 * d_model,
    )


def _optional(config: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _size(config: Mapping[str, Any], *names: str) -> int:
    value = _optional(config, *names)
    if value is None:
        raise ModelError(f"the model configuration lacks {' / '.join(names)}", hint=_WRONG_CONFIG)
    return value

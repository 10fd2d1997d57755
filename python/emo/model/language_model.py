"""A loaded model with its family, sizes and the few calls the other parts build on."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emo.errors import ModelError, UsageError
from emo.families import Family, Shape, family_of, shape_of
from emo.model.batch import Batch
from emo.sites import Site


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model whose sites are known by name.

    Build one with `emo.model.load.load_model`, or from a module in memory with `wrap`.

    Attributes
    ----------
    module : torch.nn.Module
        The Hugging Face model, in evaluation mode.
    tokenizer : Any
        Its tokenizer; None for a model made in memory without one.
    family : Family
        Row of the architecture, with the flags of this configuration.
    shape : Shape
        Layers and widths.
    name, folder, revision, weight_sha, tokenizer_sha
        What was loaded: name as given, snapshot folder, revision, hash of the weights and of the
        tokenizer's files. None where the model was made in memory.
    context : int or None
        Largest number of tokens that the model reads.
    eos_ids : frozenset of int
        Tokens that end a reply.
    soft_cap : float or None
        Cap of the logits, ``cap * tanh(logits / cap)``.
    """

    module: nn.Module
    tokenizer: Any
    family: Family
    shape: Shape
    name: str
    folder: Path | None = None
    revision: str | None = None
    weight_sha: str | None = None
    tokenizer_sha: str | None = None
    context: int | None = None
    eos_ids: frozenset[int] = field(default_factory=frozenset)
    soft_cap: float | None = None

    @classmethod
    def wrap(cls, module: nn.Module, tokenizer: Any = None, **fields: Any) -> LanguageModel:
        """Wrap a Hugging Face module, reading its family and sizes from its configuration.

        Raises
        ------
        ModelError
            When the family is unknown or a module that its row names does not exist.
        """
        hugging_face: Any = module
        config: dict[str, Any] = hugging_face.config.to_dict()
        family = fields.pop("family", None) or family_of(str(config.get("model_type")))
        module.eval().requires_grad_(False)
        model = cls(
            module,
            tokenizer,
            family.resolve(config),
            shape_of(config),
            name=fields.pop("name", str(config.get("model_type"))),
            context=getattr(_text_config(module), "max_position_embeddings", None),
            eos_ids=_eos_ids(module, tokenizer),
            soft_cap=family.soft_cap(config),
            **fields,
        )
        _check_paths(model)
        return model

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.shape.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.shape.d_model

    @property
    def n_heads(self) -> int:
        """Number of query heads."""
        return self.shape.n_heads

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.shape.d_head

    @property
    def d_mlp(self) -> int:
        """Width of the MLP, the number of neurons of a layer."""
        return self.shape.d_mlp

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return next(self.module.parameters()).dtype

    @property
    def body(self) -> nn.Module:
        """Module that runs the embedding, the blocks and the final norm."""
        return self.submodule(self.family.body)

    @property
    def unembedding(self) -> Any:
        """Module from the final norm's output to the logits."""
        hugging_face: Any = self.module
        return hugging_face.get_output_embeddings()

    def submodule(self, path: str) -> nn.Module:
        """Return the module at `path`, counted from the root.

        Raises
        ------
        ModelError
            When the model has no such module.
        """
        try:
            return self.module.get_submodule(path)
        except AttributeError:
            raise ModelError(
                f"{self.name} does not fit the family {self.family.name!r}: no module {path!r}",
                hint="the model differs from the architecture of its family and cannot be used",
            ) from None

    def block_module(self, layer: int, path: str = "") -> nn.Module:
        """Return block `layer` (0-based), or the module at `path` below it.

        Raises
        ------
        UsageError
            When the model has no such layer.
        ModelError
            When the block has no such module.
        """
        if not 0 <= layer < self.n_layers:
            raise UsageError(
                f"layer {layer} does not exist: the model has {self.n_layers} layers",
                hint=f"layers run from 0 to {self.n_layers - 1}",
            )
        block = self.family.block(layer)
        return self.submodule(f"{block}.{path}" if path else block)

    def width(self, site: Site) -> int:
        """Width of a site."""
        return self.shape.width(site.part)

    def hidden(self, batch: Batch, cache: Any = None) -> torch.Tensor:
        """Run the blocks and the final norm, without the unembedding.

        Parameters
        ----------
        batch : Batch
            Tokens; with a cache `ids` and `positions` hold the new columns only, while `mask`
            covers the cached columns too.
        cache : transformers Cache, optional
            Keys and values of earlier columns; extended in place.

        Returns
        -------
        (n_rows, width, d_model) tensor
            Input of the unembedding.
        """
        outputs = self.body(
            input_ids=batch.ids,
            attention_mask=batch.mask.long(),
            position_ids=batch.positions,
            use_cache=cache is not None,
            **{cache_name(self.body): cache},
        )
        hidden: torch.Tensor = outputs[0]
        return hidden

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the unembedding and, where the family has one, the soft cap.

        Parameters
        ----------
        hidden : (..., d_model) tensor
            After the final norm.

        Returns
        -------
        (..., n_vocabulary) tensor
        """
        logits: torch.Tensor = self.unembedding(hidden)
        if self.soft_cap is None:
            return logits
        return torch.tanh(logits / self.soft_cap) * self.soft_cap

    def describe(self) -> dict[str, Any]:
        """Name what identifies this model in a store: folder, hashes, family and sizes."""
        config: Any = self.module.config
        return {
            "name": self.name,
            "folder": None if self.folder is None else str(self.folder),
            "revision": self.revision,
            "weight_sha": self.weight_sha,
            "tokenizer_sha": self.tokenizer_sha,
            "family": self.family.name,
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "n_heads": self.n_heads,
            "n_kv_heads": self.shape.n_kv_heads,
            "d_head": self.d_head,
            "d_mlp": self.d_mlp,
            "dtype": str(self.dtype).removeprefix("torch."),
            "attention": str(config._attn_implementation),
        }


def cache_name(body: nn.Module) -> str:
    """Name of the argument that takes cached keys and values; newer libraries call it `cache`."""
    arguments = inspect.signature(body.forward).parameters
    return "cache" if "cache" in arguments else "past_key_values"


def _text_config(module: nn.Module) -> Any:
    """Return the configuration of the language model, for one of texts and images too."""
    hugging_face: Any = module
    return hugging_face.config.get_text_config()


def _eos_ids(module: nn.Module, tokenizer: Any) -> frozenset[int]:
    named = [
        getattr(getattr(module, "generation_config", None), "eos_token_id", None),
        getattr(_text_config(module), "eos_token_id", None),
        getattr(tokenizer, "eos_token_id", None),
    ]
    ids: set[int] = set()
    for value in named:
        if value is None:
            continue
        many = value if isinstance(value, (list, tuple)) else [value]
        if not all(type(item) is int for item in many):
            raise ModelError(
                f"the model's eos_token_id is {value!r}, which is no token",
                hint="mend it in config.json, generation_config.json or tokenizer_config.json",
            )
        ids.update(many)
    return frozenset(ids)


def _check_paths(model: LanguageModel) -> None:
    family = model.family
    for path in (family.embed, family.final_norm):
        model.submodule(f"{family.body}.{path}")
    below_block: tuple[str | None, ...] = (
        family.out_proj,
        family.down_proj,
        family.mid,
        family.attn_norm,
        family.mlp_norm,
    )
    for layer in range(model.n_layers):
        for below in below_block:
            model.block_module(layer, below or "")

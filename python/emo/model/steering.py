"""Directions added to the residual stream while a model writes.

At each chosen layer, ``h <- h + alpha * s(h) * v`` with `h` the layer's `resid_post`, `v` that
layer's own direction, and ``s(h) = RMS(h)``, or ``|h|`` with relative strength "norm"
(``|h| = sqrt(d) * RMS(h)``).  Edits lie at absolute positions, so that cached and uncached
decoding agree: `prompt` edits the last token of the prompt, `decode` the tokens written after
it, `both` all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from emo.errors import NumericalError, UsageError
from emo.model.language_model import LanguageModel
from emo.sites import Site

Relative = Literal["rms", "norm"]
Scope = Literal["prompt", "decode", "both"]


@dataclass(frozen=True)
class Steering:
    """Which direction to add at which layers, how strongly and where.

    Attributes
    ----------
    vectors : mapping of layer to (n_vectors, d_model) or (d_model,) float array
        Directions by 0-based layer.
    alpha : float or (n_rows,) sequence of float
        Strength, in RMS(h) or in |h|; 0 leaves a row untouched, bit for bit.
    relative : {"rms", "norm"}
        Unit of `alpha`.
    scope : {"prompt", "decode", "both"}
        Tokens to edit.
    which : (n_rows,) sequence of int, optional
        Vector of each row; by default row i takes vector i, or all rows the only one.
    """

    vectors: Mapping[int, ArrayLike]
    alpha: float | Sequence[float] = 8.0
    relative: Relative = "rms"
    scope: Scope = "both"
    which: Sequence[int] | None = None

    def prepare(self, model: LanguageModel, n_rows: int) -> PreparedSteering:
        """Check the settings against a model and a number of rows.

        Raises
        ------
        UsageError
            When a layer, width, number of rows, unit or scope does not fit.
        NumericalError
            When a vector or strength is not finite.
        """
        if self.relative not in ("rms", "norm") or self.scope not in ("prompt", "decode", "both"):
            raise UsageError(f"unknown steering {self.relative!r} or scope {self.scope!r}")
        if not self.vectors:
            raise UsageError("steering needs the directions of at least one layer")
        alphas = _finite(self.alpha)
        if alphas.ndim and len(alphas) != n_rows:
            raise UsageError(f"{len(alphas)} strengths do not fit {n_rows} rows")
        alphas = np.broadcast_to(alphas, (n_rows,))
        vectors: dict[int, NDArray[np.float32]] = {}
        for layer, values in self.vectors.items():
            model.block_module(layer)
            array = np.atleast_2d(_finite(values))
            if array.ndim != 2 or array.shape[1] != model.d_model:
                raise UsageError(
                    f"the direction of layer {layer} has the shape {array.shape}, "
                    f"but the model is {model.d_model} wide"
                )
            vectors[layer] = array
        which = self._which(n_rows, min(len(array) for array in vectors.values()))
        return PreparedSteering(model, vectors, alphas, which, self.relative, self.scope)

    def _which(self, n_rows: int, n_vectors: int) -> NDArray[np.int64]:
        if self.which is not None:
            which = np.asarray(self.which, dtype=np.int64)
            if len(which) != n_rows or (n_rows and not 0 <= which.min() <= which.max() < n_vectors):
                raise UsageError(f"`which` must name one of {n_vectors} vectors per row")
            return which
        if n_vectors == 1:
            return np.zeros(n_rows, dtype=np.int64)
        if n_vectors < n_rows:
            raise UsageError(f"{n_vectors} steering vectors do not fit {n_rows} rows")
        return np.arange(n_rows, dtype=np.int64)


def _finite(values: ArrayLike) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        array = np.asarray(values).astype(np.float32)
    if not np.isfinite(array).all():
        raise NumericalError(
            "a steering direction or strength is not finite",
            hint="give a smaller strength, and directions without NaN or infinity",
        )
    return array


@dataclass(frozen=True)
class PreparedSteering:
    """Checked settings, ready to be cut to a batch."""

    model: LanguageModel
    vectors: Mapping[int, NDArray[np.float32]]
    alphas: NDArray[np.float32]
    which: NDArray[np.int64]
    relative: Relative
    scope: Scope

    def batch(self, rows: Sequence[int], n_prompt: Sequence[int]) -> BatchSteering:
        """Cut to the rows of a batch whose prompts have `n_prompt` tokens."""
        return BatchSteering(self, rows, n_prompt)


class BatchSteering:
    """The edits of one batch, with a count of the tokens they touched."""

    def __init__(
        self, settings: PreparedSteering, rows: Sequence[int], n_prompt: Sequence[int]
    ) -> None:
        device = settings.model.device
        chosen = np.asarray(rows, dtype=np.int64)
        self._settings = settings
        self._vectors = {
            layer: torch.from_numpy(array[settings.which[chosen]]).to(device)
            for layer, array in settings.vectors.items()
        }
        self._alpha = torch.from_numpy(settings.alphas[chosen].copy()).to(device)
        prompt = torch.tensor(list(n_prompt), dtype=torch.long, device=device)
        self._first = prompt if settings.scope == "decode" else prompt - 1
        self._stop = prompt if settings.scope == "prompt" else None
        self.hits = torch.zeros(len(chosen), dtype=torch.long, device=device)

    def edits(self) -> dict[Site, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
        """Edit of each layer, for `emo.model.hooks.edit`."""
        return {Site(layer, "resid_post"): self._edit(layer) for layer in self._vectors}

    def _edit(self, layer: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        def change(h: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
            touched = (positions >= self._first[:, None]) & (self._alpha != 0)[:, None]
            if self._stop is not None:
                touched &= positions < self._stop[:, None]
            # A token is written once, in the newest column; uncached decoding repeats the others.
            self.hits += touched[:, -1]
            wide = h.float()
            strength = wide.square().mean(-1, keepdim=True).sqrt()
            if self._settings.relative == "norm":
                strength = strength * wide.shape[-1] ** 0.5
            push = self._alpha[:, None, None] * strength * self._vectors[layer][:, None, :]
            return torch.where(touched[..., None], (wide + push).to(h.dtype), h)

        return change

    def select(self, rows: torch.Tensor) -> None:
        """Keep some rows of the batch."""
        self._alpha, self._first = self._alpha[rows], self._first[rows]
        self._stop = None if self._stop is None else self._stop[rows]
        self._vectors = {layer: array[rows] for layer, array in self._vectors.items()}
        self.hits = self.hits[rows]

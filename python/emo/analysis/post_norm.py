"""The norm that stands behind an output projection in Gemma 2, Gemma 3 and OLMo 2.

Such a block adds ``gain * p / sqrt(mean(p^2) + eps)`` with ``p = W g + bias``. Contributions use
each row's own factor ``s = 1 / sqrt(mean(p^2) + eps)`` as if it were a constant:
``c[j] = s g[j] (W^T (gain * v))[j]``. They sum to ``<sublayer output, v>``, less
``s <gain * bias, v>`` where there is a bias, but zeroing a unit also changes s: they are
linearised. The factor follows from the stored rows and the checkpoint, so nothing more needs to
be captured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo import _core
from emo.errors import UsageError
from emo.families import Weight
from emo.sites import Site, tensor_name
from emo.store import Checkpoint, Projection, Store, read_vector

_NORMS: dict[str, Weight] = {"head_out": "attn_norm", "mlp_act": "mlp_norm"}
# Outputs of the projection that are computed at a time: bounds the memory beside one pass.
_OUTPUTS = 128


@dataclass(frozen=True)
class FrozenNorm:
    """Gain of a norm, and its factor in each row.

    Parameters
    ----------
    gain : (d_model,) float64 array
    scales : (n_rows,) float64 array
        ``1 / sqrt(mean(p^2) + eps)`` of each row of the store's tensor.
    """

    gain: NDArray[np.float64]
    scales: NDArray[np.float64]


def frozen_norm(
    store: Store, site: Site, position: str, checkpoint: Checkpoint, threads: int = 0
) -> FrozenNorm:
    """Compute the frozen norm behind the projection that reads `site`.

    Costs one product of every row with the whole projection.

    Parameters
    ----------
    store : Store
    site, position
        A ``head_out`` or ``mlp_act`` tensor of single tokens.
    checkpoint : Checkpoint
        Of a family with such norms.
    threads : int
        Native threads, 0 for all there are; the bits do not depend on it.

    Raises
    ------
    ModelError
        When the checkpoint lacks a weight.
    UsageError
        When the rows are means over tokens, each of which had a factor of its own.
    """
    if np.any(store.rows(position)[:, 1] < 0):
        raise UsageError(
            f"rows at {position!r} are means over tokens, but {checkpoint.family.name} norms the "
            "output of a sublayer for each token by its own factor, so the contributions of "
            "single units to a mean are not known",
            hint="capture at --positions last, and compute directions with --position last",
        )
    family = checkpoint.family
    names = family.weight_names(_NORMS[site.part], site.layer)
    gain = family.gain_offset + read_vector(*checkpoint.locate(names))
    squares = _mean_squares(store, site, position, checkpoint.projection(site), threads)
    return FrozenNorm(gain, 1 / np.sqrt(squares + family.eps(checkpoint.config)))


def _mean_squares(
    store: Store, site: Site, position: str, projection: Projection, threads: int
) -> NDArray[np.float64]:
    """Mean square of the projection's output in each row, a few outputs at a time."""
    total = np.zeros(store.n_rows(position))
    bias = np.zeros(projection.d_model)
    if projection.bias is not None:
        bias = read_vector(*projection.bias)
    for start in range(0, projection.d_model, _OUTPUTS):
        stop = min(start + _OUTPUTS, projection.d_model)
        weight = _core.read_rows(str(projection.path), projection.tensor, start, stop)
        outputs = _core.project(
            store.shards(site, position),
            tensor_name(site, position),
            weight.astype(np.float64),
            threads=threads,
            io=store.io,
            chunks=store.chunk_hashes(site, position),
        )
        total += np.square(outputs + bias[start:stop]).sum(axis=1)
    return total / projection.d_model

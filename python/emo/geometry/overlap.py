"""Overlap of subspaces beside its chance level.

The overlap of a k1- and a k2-dimensional subspace is the mean squared cosine of their principal
angles, |U1 U2^T|_F^2 / min(k1, k2) for orthonormal bases U1 and U2 in the rows: 1 when one holds
the other, max(k1, k2) / d on average for random subspaces of R^d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo import _core
from emo.errors import NumericalError, UsageError
from emo.geometry.chance import random_overlaps
from emo.geometry.interruptible import interruptible
from emo.geometry.subspace import (
    Vectors,
    as_vectors,
    check_dimensions,
    check_finite,
    leading_directions,
    rank_tolerance,
)

_HIGH_CHANCE = 0.5
_LEVEL = (0.025, 0.975)


@dataclass(frozen=True)
class Overlap:
    """Overlap of two subspaces.

    Parameters
    ----------
    overlap : float
        Mean squared cosine of the principal angles, 0 to 1.
    chance : float
        max(k1, k2) / d, or over the rank of the span that both lie in.
    null_low, null_high : float
        2.5 % and 97.5 % quantiles of the overlap of random subspaces of these dimensions.
    k : (int, int)
        Dimensions of the two subspaces.
    d : int
        Dimension of the space, or rank of the span that both lie in.
    angles : (min(k1, k2),) float64 array
        Principal angles in radians, ascending.
    null_mean : float
        Mean of the draws; differs from `chance` by sampling alone.
    draws, seed : int
        How the null was drawn.
    warnings : tuple of str
        What makes the number unsound.
    """

    overlap: float
    chance: float
    null_low: float
    null_high: float
    k: tuple[int, int]
    d: int
    angles: NDArray[np.float64]
    null_mean: float
    draws: int
    seed: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class OverlapGrid:
    """Overlaps of every pair of m subspaces.

    Parameters
    ----------
    overlap : (m, m) float64 array
        Symmetric, 1 on the diagonal to rounding.
    k : (m,) int64 array
        Dimension of each subspace.
    d : int
        Dimension of the space.
    chance : (m, m) float64 array
        max(k_i, k_j) / d.
    null_low, null_high : (m, m) float64 arrays
        2.5 % and 97.5 % quantiles of the overlap of random subspaces of these dimensions.
    draws, seed : int
        How the null was drawn.
    warnings : tuple of str
        What makes the numbers unsound.
    """

    overlap: NDArray[np.float64]
    k: NDArray[np.int64]
    d: int
    chance: NDArray[np.float64]
    null_low: NDArray[np.float64]
    null_high: NDArray[np.float64]
    draws: int
    seed: int
    warnings: tuple[str, ...]


def overlap(
    x: ArrayLike,
    y: ArrayLike,
    *,
    k: int | None = None,
    span: int | None = None,
    draws: int = 1000,
    seed: int = 0,
    threads: int = 0,
) -> Overlap:
    """Measure the overlap of the row spans of two sets of vectors, beside its null.

    Vectors of two models must be mapped into one space first: the bases are made here, after the
    mapping, because a map does not keep them orthonormal.

    Parameters
    ----------
    x : (n1, d) float array
        Vectors that span the first subspace.
    y : (n2, d) float array
        Vectors that span the second.
    k : int, optional
        Keep the `k` leading directions of each set (right singular vectors); all when None.
    span : int, optional
        Rank of a span that both are known to lie in, such as the image of a fitted map: chance
        and null are those of this span. The width d when None.
    draws : int
        Random pairs of subspaces for the null.
    seed : int
        Seed of the null.
    threads : int
        Native threads, 0 for all there are; the bits do not depend on it.

    Returns
    -------
    Overlap

    Raises
    ------
    NumericalError
        When a value is not finite, a set spans nothing, or several vectors are all equal.
    UsageError
        When the shapes do not fit each other.
    """
    check_dimensions(k)
    sets = [as_vectors(x, "the first set"), as_vectors(y, "the second set")]
    d = _common_width(sets)
    found = _overlaps(sets, k, threads, pair=True)
    k1, k2 = (int(rank) for rank in found["ranks"])
    room = d if span is None else span
    if not max(k1, k2) <= room <= d:
        raise UsageError(
            f"span is {span}, the subspaces have {k1} and {k2} dimensions in {d}",
            hint="span is the rank of the map that both sets went through",
        )
    null = random_overlaps(k1, k2, room, draws=draws, seed=seed)
    low, high = np.quantile(null, _LEVEL)
    return Overlap(
        overlap=float(found["overlap"][0, 1]),
        chance=max(k1, k2) / room,
        null_low=float(low),
        null_high=float(high),
        k=(k1, k2),
        d=room,
        angles=principal_angles(found["bases"][:k1], found["bases"][k1:]),
        null_mean=float(null.mean()),
        draws=draws,
        seed=seed,
        warnings=(*_warnings(sets, [k1, k2], k, room), *_shared_rows(sets)),
    )


def overlap_grid(
    sets: Sequence[ArrayLike],
    *,
    k: int | None = None,
    draws: int = 1000,
    seed: int = 0,
    threads: int = 0,
) -> OverlapGrid:
    """Measure the overlap of every pair of sets of vectors.

    Parameters
    ----------
    sets : sequence of (n_i, d) float array
        Vectors that span each subspace, at least one set.
    k : int, optional
        Keep the `k` leading directions of each set; all when None.
    draws : int
        Random pairs of subspaces for the null of each pair of dimensions.
    seed : int
        Seed of the null.
    threads : int
        Native threads, 0 for all there are; the bits do not depend on it.

    Returns
    -------
    OverlapGrid

    Raises
    ------
    NumericalError
        When a value is not finite, a set spans nothing, or several vectors are all equal.
    UsageError
        When there is no set, or the widths differ.
    """
    check_dimensions(k)
    checked = [as_vectors(vectors, f"set {index}") for index, vectors in enumerate(sets)]
    d = _common_width(checked)
    found = _overlaps(checked, k, threads, pair=False)
    ranks = found["ranks"]
    low, high = _null_grid(ranks, d, draws, seed)
    return OverlapGrid(
        overlap=found["overlap"],
        k=ranks,
        d=d,
        chance=np.maximum.outer(ranks, ranks) / d,
        null_low=low,
        null_high=high,
        draws=draws,
        seed=seed,
        warnings=_warnings(checked, ranks.tolist(), k, d),
    )


@interruptible
def principal_angles(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the principal angles between two row spans, in radians, ascending.

    Cosines are the singular values of X Y^T, and say little about small angles; those come from
    their sines, the singular values of what X leaves of Y (Björck and Golub, 1973).

    Parameters
    ----------
    x : (k1, d) float64 array
        Orthonormal rows.
    y : (k2, d) float64 array
        Orthonormal rows.

    Returns
    -------
    (min(k1, k2),) float64 array
    """
    large, small = (x, y) if len(x) >= len(y) else (y, x)
    products = small @ large.T
    cosines = np.linalg.svd(products, compute_uv=False)
    sines = np.linalg.svd(small - products @ large, compute_uv=False)[::-1]
    found = np.where(
        cosines**2 < 0.5, np.arccos(np.minimum(cosines, 1)), np.arcsin(np.minimum(sines, 1))
    )
    return np.sort(found)


def _null_grid(
    ranks: NDArray[np.int64], d: int, draws: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quantiles (m, m) of the null, drawn once for each pair of dimensions."""
    sizes, which = np.unique(ranks, return_inverse=True)
    found = np.empty((2, len(sizes), len(sizes)))
    for i, j in combinations_with_replacement(range(len(sizes)), 2):
        null = random_overlaps(int(sizes[i]), int(sizes[j]), d, draws=draws, seed=seed)
        found[:, i, j] = found[:, j, i] = np.quantile(null, _LEVEL)
    low, high = found[:, which][:, :, which]
    return low, high


def _common_width(sets: Sequence[Vectors]) -> int:
    if not sets:
        raise UsageError("no sets of vectors are given, at least one is needed")
    widths = [int(vectors.shape[1]) for vectors in sets]
    for index, width in enumerate(widths):
        if width != widths[0]:
            raise UsageError(
                f"set {index} has width {width}, set 0 has width {widths[0]}",
                hint="map them into one space first: emo geometry align X Y --subspaces A B",
            )
    return widths[0]


def _overlaps(
    sets: Sequence[Vectors], k: int | None, threads: int, *, pair: bool
) -> _core._Overlaps:
    """Compute overlaps; of a pair in double precision throughout and with its bases."""
    _check_unequal(sets)
    tolerances = [rank_tolerance(vectors) for vectors in sets]
    spanning: Sequence[Vectors] = sets
    if k is not None:
        for index, vectors in enumerate(sets):
            check_finite(vectors, f"set {index}")
        spanning = [leading_directions(vectors, k) for vectors in sets]
    return _core.subspace_overlaps(spanning, tolerances, double=pair, bases=pair, threads=threads)


def _check_unequal(sets: Sequence[Vectors]) -> None:
    for index, vectors in enumerate(sets):
        if len(vectors) > 1 and vectors[0].any() and (vectors == vectors[0]).all():
            raise NumericalError(
                f"set {index}: its {len(vectors)} vectors are all equal, there is one direction",
                hint="check how the vectors were made, or give one of them alone",
            )


def _warnings(
    sets: Sequence[Vectors], ranks: Sequence[int], k: int | None, room: int
) -> tuple[str, ...]:
    found = []
    for index, (vectors, rank) in enumerate(zip(sets, ranks, strict=True)):
        wanted = len(vectors) if k is None else k
        repeated = len(vectors) - len({row.tobytes() for row in vectors + 0.0})  # -0.0 is 0.0
        if rank == wanted and repeated:
            found.append(
                f"set {index}: {repeated} of {len(vectors)} vectors repeat another one and weigh "
                "more in the leading directions"
            )
        elif rank < wanted:
            why = f", {repeated} of them repeated" if repeated else ""
            found.append(
                f"set {index}: {len(vectors)} vectors{why} span {rank} dimensions, "
                f"not {wanted}; the overlap is that of {rank}"
            )
    if max(ranks) / room > _HIGH_CHANCE:
        found.append(
            f"subspaces of up to {max(ranks)} of {room} dimensions: chance is "
            f"{max(ranks) / room:.2f}, so that a high overlap says little"
        )
    return tuple(found)


def _shared_rows(sets: Sequence[Vectors]) -> tuple[str, ...]:
    seen = {row.tobytes() for row in sets[0].astype(np.float64)}
    shared = sum(row.tobytes() in seen for row in sets[1].astype(np.float64))
    if not shared:
        return ()
    return (f"{shared} vectors are in both sets, which raises the overlap by itself",)

"""Overlap of subspaces of two spaces, through a map from one to the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo.errors import NumericalError, UsageError
from emo.geometry.interruptible import interruptible
from emo.geometry.mapping import Map
from emo.geometry.overlap import Overlap, overlap, overlap_grid
from emo.geometry.subspace import as_vectors, check_dimensions, orthonormal_basis

Matrix = NDArray[np.float64]
_LEVEL = (0.025, 0.975)


@dataclass(frozen=True)
class MappedOverlap:
    """Overlap of x and y directions before and after the map.

    Parameters
    ----------
    before : Overlap or None
        Without the map; None where the widths differ.
    after : Overlap
        Of the mapped x directions and the y directions, both within the image of the map; its
        `d` is the rank of the image, so that `chance` is k / rank.
    kept : float
        Share of the squared length of the y directions (orthonormal basis) that lies in the
        image; the rest was left out of `after`.
    null_low, null_high : float
        2.5 % and 97.5 % quantiles of `after` for maps fitted on shuffled pairs; those of random
        subspaces of the image where no such maps were given.
    shuffles : int
        How many maps of shuffled pairs there were.
    warnings : tuple of str
    """

    before: Overlap | None
    after: Overlap
    kept: float
    null_low: float
    null_high: float
    shuffles: int
    warnings: tuple[str, ...]


@interruptible
def overlap_after(
    fitted: Map,
    x_vectors: ArrayLike,
    y_vectors: ArrayLike,
    *,
    k: int | None = None,
    shuffled: Iterable[Map] = (),
    draws: int = 1000,
    seed: int = 0,
    threads: int = 0,
) -> MappedOverlap:
    """Measure the overlap of directions of two spaces after mapping the first into the second.

    The subspaces are made in their own spaces, x is mapped by the linear part of the map, y is
    projected into the map's image, and both are orthonormalised there: a map does not keep bases
    orthonormal, and what x can reach is the image alone.

    Parameters
    ----------
    fitted : Map
        From x to y, fitted on other data than the directions (neutral text).
    x_vectors : (n1, dx) float array
    y_vectors : (n2, dy) float array
    k : int, optional
        Leading directions of each set; all when None.
    shuffled : iterable of Map
        Maps fitted on shuffled pairs, for the null; see `emo.geometry.refits.shuffled_maps`.
    draws, seed, threads
        As for `emo.geometry.overlap.overlap`.

    Returns
    -------
    MappedOverlap

    Raises
    ------
    NumericalError
        When a set spans nothing, before or after the map.
    UsageError
        When widths do not fit the map, or the image has fewer dimensions than a subspace.
    """
    check_dimensions(k)
    x, y = as_vectors(x_vectors, "x_vectors"), as_vectors(y_vectors, "y_vectors")
    if y.shape[1] != fitted.dy:
        raise UsageError(f"y_vectors has width {y.shape[1]}, the map gives {fitted.dy}")
    bases = orthonormal_basis(x, k), orthonormal_basis(y, k)
    image = fitted.image()
    mapped, projected = _within(fitted, image, bases)
    kept = float((projected**2).sum() / max(len(bases[1]), 1))
    if not np.abs(mapped).max(initial=0) > 0 or not kept > 0:
        raise NumericalError(
            "nothing of the directions is left in the image of the map",
            hint="fit the map on more pairs",
        )
    if max(len(bases[0]), len(bases[1])) > len(image):
        raise UsageError(
            f"subspaces of {len(bases[0])} and {len(bases[1])} dimensions do not fit into the "
            f"image of the map, which has {len(image)}",
            hint="choose a smaller k, or fit the map on more pairs",
        )
    options = {"draws": draws, "seed": seed, "threads": threads}
    before = overlap(*bases, **options) if fitted.dx == fitted.dy else None
    after = overlap(mapped, projected, **options)
    # A map that reaches everything does so after a shuffle too, unless its pairs are degenerate.
    whole = image if len(image) == fitted.dy else None
    null = [_overlap_of(other, whole, bases) for other in shuffled]
    low, high = np.quantile(null, _LEVEL) if null else (after.null_low, after.null_high)
    return MappedOverlap(
        before,
        after,
        kept,
        null_low=float(low),
        null_high=float(high),
        shuffles=len(null),
        warnings=(*after.warnings, *_unreached(kept, len(image))),
    )


def _within(fitted: Map, image: Matrix, bases: tuple[Matrix, Matrix]) -> tuple[Matrix, Matrix]:
    """Coordinates in the image of the mapped first basis and of the projected second one."""
    return fitted.apply_directions(bases[0]) @ image.T, bases[1] @ image.T


def _overlap_of(fitted: Map, whole: Matrix | None, bases: tuple[Matrix, Matrix]) -> float:
    sides = _within(fitted, fitted.image() if whole is None else whole, bases)
    return float(overlap_grid(sides, draws=1).overlap[0, 1])


def _unreached(kept: float, rank: int) -> tuple[str, ...]:
    if kept >= 0.5:
        return ()
    return (
        f"only {kept:.0%} of the y directions lies in the {rank} dimensions that the map can reach",
    )

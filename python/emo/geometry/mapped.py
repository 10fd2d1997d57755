"""Overlap of subspaces of two spaces, through a map from one to the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emo.errors import NumericalError, UsageError
from emo.geometry.mapping import Map
from emo.geometry.overlap import Overlap, overlap
from emo.geometry.subspace import as_vectors, check_dimensions, orthonormal_basis


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
    warnings : tuple of str
    """

    before: Overlap | None
    after: Overlap
    kept: float
    warnings: tuple[str, ...]


def overlap_after(
    fitted: Map,
    x_vectors: ArrayLike,
    y_vectors: ArrayLike,
    *,
    k: int | None = None,
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
    mapped, projected = fitted.apply_directions(bases[0]) @ image.T, bases[1] @ image.T
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
    warnings = [*after.warnings]
    if kept < 0.5:
        warnings.append(
            f"only {kept:.0%} of the y directions lies in the {len(image)} dimensions that the "
            "map can reach"
        )
    return MappedOverlap(before, after, kept, tuple(warnings))

"""How alike the layers are: the arrangement of their emotions, and the subspaces they use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.analysis.directions import Directions
from emo.errors import NumericalError
from emo.geometry.overlap import overlap_grid
from emo.geometry.rsa import rsa_grid
from emo.sites import Site

PART = "resid_post"


def across_layers(
    directions: Directions | None, *, seed: int = 0, threads: int = 0
) -> dict[str, Any]:
    """Compare the directions of every layer with those of every other, as in ``geometry.json``.

    Parameters
    ----------
    directions : Directions, optional
        With unit vectors at ``resid_post``.
    seed : int
        Of the permutations and of the random subspaces.
    threads : int
        Native threads, 0 for all there are; no number depends on it.

    Returns
    -------
    dict
        `rsa` and `overlap`, see `similarity` and `shared_dimensions`; both None without
        directions at the part, and ``{"reason": ...}`` where the numbers allow no answer.
    """
    sites = sorted(s for s in directions.unit if s.part == PART) if directions else []
    if directions is None or not sites:
        return {"rsa": None, "overlap": None}
    vectors = [directions.unit[site] for site in sites]
    return {
        "rsa": _or_reason(similarity, sites, vectors, seed, threads),
        "overlap": _or_reason(shared_dimensions, sites, vectors, seed, threads),
    }


def similarity(
    sites: list[Site], vectors: list[NDArray[Any]], seed: int = 0, threads: int = 0
) -> dict[str, Any]:
    """Correlate the cosine distances between the emotions of each pair of layers.

    Returns
    -------
    dict
        `sites`; `r`, `p`, `p_family` (corrected for all pairs): rows of an (L, L) matrix;
        `null_max`, the largest r of a pair of different layers over the permutations; `n`
        emotions, `permutations`, `exact`, `metric`, `correlation`, `warnings`.

    Raises
    ------
    NumericalError
        With fewer than 4 emotions, or constant distances.
    """
    found = rsa_grid(vectors, vectors, seed=seed, threads=threads)
    apart = found.null_max[~np.eye(len(sites), dtype=bool)]
    return {
        "sites": [str(site) for site in sites],
        "r": _rows(found.r),
        "p": _rows(found.p, 6),
        "p_family": _rows(found.p_family, 6),
        "null_max": round(float(apart.max()), 4) if apart.size else None,
        "n": found.n,
        "permutations": found.permutations,
        "exact": found.exact,
        "metric": found.metric,
        "correlation": found.correlation,
        "warnings": list(found.warnings),
    }


def shared_dimensions(
    sites: list[Site], vectors: list[NDArray[Any]], seed: int = 0, threads: int = 0
) -> dict[str, Any]:
    """Measure the overlap of the spans of the directions of each pair of layers.

    Returns
    -------
    dict
        `sites`; `overlap`: rows of an (L, L) matrix; `k`, the dimension of each span, `d` the
        width; `chance`, `null_low`, `null_high`: mean and 95 % of random subspaces of the
        largest of these dimensions.

    Raises
    ------
    NumericalError
        When the directions of a layer span nothing.
    """
    found = overlap_grid(vectors, seed=seed, threads=threads)
    widest = int(found.k.argmax())
    low, high = found.null_low[widest, widest], found.null_high[widest, widest]
    return {
        "sites": [str(site) for site in sites],
        "overlap": _rows(found.overlap),
        "k": found.k.tolist(),
        "d": found.d,
        "chance": round(float(found.chance[widest, widest]), 4),
        "null_low": round(float(low), 4),
        "null_high": round(float(high), 4),
    }


def _or_reason(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    try:
        return measure(*arguments)
    except NumericalError as error:
        return {"reason": str(error)}


def _rows(matrix: NDArray[np.float64], digits: int = 4) -> list[list[float]]:
    rows: list[list[float]] = np.round(matrix, digits).tolist()
    return rows

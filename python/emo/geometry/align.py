"""Align two spaces of vectors: Procrustes, ridge or least squares, judged on held-out pairs.

Fit on neutral text, one row of x and one of y for each sample. Everything reported stands beside
what shuffled pairs reach, because with more dimensions than pairs any two sets can be aligned.
"""

from __future__ import annotations

from typing import Literal

from numpy.typing import ArrayLike

from emo.errors import UsageError
from emo.geometry.alignment import Alignment, report, score
from emo.geometry.fits import check_penalties, fit_linear, fit_procrustes
from emo.geometry.interruptible import interruptible
from emo.geometry.mapping import Map
from emo.geometry.pairs import split_pairs
from emo.geometry.streamed import IN_MEMORY, Design, PairedRows, align_streamed
from emo.sites import Site
from emo.store import Store

__all__ = ["METHODS", "Alignment", "Map", "align", "align_stores"]

Method = Literal["procrustes", "ridge", "lstsq"]
METHODS = ("procrustes", "ridge", "lstsq")


@interruptible
def align(
    x: ArrayLike,
    y: ArrayLike,
    *,
    method: Method = "procrustes",
    penalties: ArrayLike | None = None,
    holdout: float = 0.2,
    permutations: int = 200,
    seed: int = 0,
    scale: bool = True,
    threads: int = 0,
) -> tuple[Alignment, Map]:
    """Fit a map from x to y on training pairs and judge it on held-out ones.

    Procrustes: ``c (x - mean_x) Q + mean_y``, Q with orthonormal rows, c one factor for all
    dimensions (least squares; 1 without `scale`). Ridge minimises ``|Y - X B|^2 + penalty |B|^2``
    with the penalty of the smallest leave-one-out error; least squares has none.

    Parameters
    ----------
    x : (n, dx) float array
    y : (n, dy) float array
        Row i of both comes from the same sample.
    method : {"procrustes", "ridge", "lstsq"}
    penalties : float array, optional
        Ridge penalties to choose from, all above 0; eleven around the mean eigenvalue of the Gram
        matrix when None.
    holdout : float
        Share of the pairs that are held out, drawn by the seed.
    permutations : int
        Shuffles of the training pairs, at least 1. One costs a polar factor of a square matrix
        of min(n, dx) for Procrustes, O(n^2) for each penalty otherwise.
    seed : int
        For the split and the shuffles.
    scale : bool
        Whether Procrustes fits a common factor.
    threads : int
        Native threads of streamed passes; arrays in memory are left to numpy's own threads.

    Returns
    -------
    (Alignment, Map)

    Raises
    ------
    UsageError
        Sets that cannot be paired, or options out of range; Procrustes with dx > dy.
    NumericalError
        Values that are not finite, a constant matrix, too few rows; least squares with no more
        training pairs than columns of x, where any map interpolates.
    """
    _check(method, permutations)
    pairs = split_pairs(x, y, holdout, seed)
    if method == "procrustes":
        fit = fit_procrustes(pairs, permutations, seed, scale)
    else:
        given = check_penalties(penalties) if method == "ridge" else None
        fit = fit_linear(pairs, given, permutations, seed)
    n = len(pairs.x) + len(pairs.x_held)
    scores = score(pairs, fit.map)
    return report(scores, fit, method=method, n=n, seed=seed, notes=pairs.notes), fit.map


def align_stores(
    store_x: Store,
    store_y: Store,
    site_x: Site | str,
    site_y: Site | str,
    position: str,
    *,
    method: Method = "procrustes",
    penalties: ArrayLike | None = None,
    holdout: float = 0.2,
    permutations: int = 200,
    seed: int = 0,
    scale: bool = True,
    threads: int = 0,
    streamed: bool | None = None,
) -> tuple[Alignment, Map]:
    """Align one site of a store to one of another that holds the same samples.

    Parameters
    ----------
    store_x, store_y : Store
    site_x, site_y : Site or str
    position : str
        Captured in both; row by row the samples must be the same.
    method, penalties, holdout, permutations, seed, scale, threads
        As for `align`.
    streamed : bool, optional
        Whether to stream the moments of the rows, in memory that does not grow with their number,
        instead of reading them whole; by their size when None. Shuffles are then those of a
        sample of the pairs, and their number of pairs must exceed both widths.

    Returns
    -------
    (Alignment, Map)

    Raises
    ------
    UsageError
        A site, position or samples that do not fit; else as for `align`.
    NumericalError
        As for `align`.
    ArtifactError
        A damaged store.
    """
    _check(method, permutations)
    if _samples(store_x, position) != _samples(store_y, position):
        raise UsageError(
            f"{store_x.path} and {store_y.path} do not hold the same samples in the same order",
            hint="capture both from the same data, with the same --limit",
        )
    rows = PairedRows(store_x, store_y, store_x.site(site_x), store_y.site(site_y), position)
    many = rows.n * (1 - holdout) > max(rows.widths) + 1
    if streamed or (streamed is None and many and rows.nbytes > IN_MEMORY):
        given = check_penalties(penalties) if method == "ridge" else None
        design = Design(method, given, holdout, permutations, seed, scale)
        return align_streamed(rows, design, threads)
    return align(
        store_x.read(site_x, position),
        store_y.read(site_y, position),
        method=method,
        penalties=penalties,
        holdout=holdout,
        permutations=permutations,
        seed=seed,
        scale=scale,
        threads=threads,
    )


def _check(method: str, permutations: int) -> None:
    if method not in METHODS:
        raise UsageError(f"method is {method!r}, it must be one of {', '.join(METHODS)}")
    if permutations < 1:
        raise UsageError(f"permutations is {permutations}, at least 1 is needed beside a result")


def _samples(store: Store, position: str) -> list[str]:
    """Name the sample of each row."""
    names = [str(sample["id"]) for sample in store.samples]
    return [names[index] for index in store.rows(position)[:, 0]]

"""Maps fitted again on shuffled pairs: what an alignment does to subspaces by chance alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo.geometry import ridge
from emo.geometry.alignment import Alignment
from emo.geometry.interruptible import unless_left
from emo.geometry.mapping import Map
from emo.geometry.pairs import Pairs, split_pairs
from emo.geometry.procrustes import rotation
from emo.geometry.shuffles import orders
from emo.geometry.spans import Span, span

Matrix = NDArray[np.float64]
Refit = Callable[[NDArray[np.int64]], tuple[Matrix, ...]]


def shuffled_maps(
    x: ArrayLike, y: ArrayLike, found: Alignment, *, holdout: float = 0.2, shuffles: int = 100
) -> Iterator[Map]:
    """Yield maps as `found`, each fitted on the same training pairs in another shuffled order.

    The split and the shuffles are those of the alignment's seed. Ridge keeps the penalty that the
    true pairs chose. The maps have no common scale, which no subspace depends on.

    Parameters
    ----------
    x, y : (n, dx), (n, dy) float arrays
        The pairs that were aligned.
    found : Alignment
        What `emo.geometry.align.align` made of them.
    holdout : float
        As it was there.
    shuffles : int
        Number of maps; one costs what a single fit costs.

    Yields
    ------
    Map

    Raises
    ------
    NumericalError, UsageError
        As for `emo.geometry.align.align`.
    """
    pairs = split_pairs(x, y, holdout, found.seed)
    refit = _rotated(pairs) if found.method == "procrustes" else _regressed(pairs, found.penalty)
    for order in unless_left(orders(len(pairs.x), shuffles, found.seed)):
        yield Map(pairs.mean_x, pairs.mean_y, refit(order))


def _rotated(pairs: Pairs) -> Refit:
    x, y = span(pairs.x), span(pairs.y)
    return lambda order: rotation(x, Span(y.coordinates[order], y.basis)).factors


def _regressed(pairs: Pairs, penalty: float | None) -> Refit:
    fits = ridge.path(pairs.x, pairs.y)
    scores = (pairs.x @ fits.axes) / (fits.eigenvalues + (penalty or 0.0))
    return lambda order: (fits.axes, scores.T @ pairs.y[order])

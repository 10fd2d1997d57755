"""What an alignment reaches when the pairs are shuffled: its permutation null.

The outputs of the training rows are permuted, the map is fitted again, and its R^2 on the true
held-out pairs is taken. If x says nothing about y, the true order is one of the shuffles, so
``p = (b + 1) / (m + 1)`` is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo.geometry.interruptible import unless_left
from emo.geometry.pairs import Pairs
from emo.geometry.permutations import permutations
from emo.geometry.procrustes import polar
from emo.geometry.ridge import Path
from emo.geometry.spans import Span

Matrix = NDArray[np.float64]
NULL_STREAM = 2
_BLOCK_BYTES = 1 << 29


@dataclass(frozen=True)
class Shuffled:
    """Statistics of the shuffles.

    Parameters
    ----------
    r2 : (m,) float64 array
        R^2 on the held-out pairs.
    nuclear : (m,) float64 array, or None
        Normalised nuclear norm on the training pairs, for Procrustes.
    """

    r2: Matrix
    nuclear: Matrix | None = None


def orders(n: int, count: int, seed: int) -> NDArray[np.uint32]:
    """Draw the shuffles, (count, n)."""
    return permutations(n, count, seed=seed, stream=NULL_STREAM)


def rotation_null(
    pairs: Pairs, spans: tuple[Span, Span], permutations: int, seed: int, *, scaled: bool
) -> Shuffled:
    """Shuffle for orthogonal Procrustes: one polar factor in the spans of the rows each."""
    x, y = spans
    x_held, y_held = x.of(pairs.x_held), y.of(pairs.y_held)
    total = float((pairs.y_held**2).sum())
    size = float(np.linalg.norm(pairs.x))
    norms = size * float(np.linalg.norm(pairs.y))
    r2, nuclear = np.empty(permutations), np.empty(permutations)
    for i, order in enumerate(unless_left(orders(len(pairs.x), permutations, seed))):
        turn, trace = polar(x.coordinates.T @ y.coordinates[order])
        scale = trace / size**2 if scaled else 1.0
        mapped = scale * (x_held @ turn)
        error = total - 2 * float(np.vdot(mapped, y_held)) + float(np.vdot(mapped, mapped))
        r2[i], nuclear[i] = 1 - error / total, trace / norms
    return Shuffled(r2, nuclear)


def linear_null(
    pairs: Pairs, fits: Path, penalties: Matrix, permutations: int, seed: int
) -> Shuffled:
    """Shuffle for ridge and least squares, the penalty chosen afresh for each shuffle.

    Every error is a product of a fixed (n, n) matrix with the permuted Gram matrix of y, so that
    a shuffle costs O(n^2) for each penalty, whatever the widths.
    """
    shuffles = orders(len(pairs.x), permutations, seed)
    gram, across = pairs.y @ pairs.y.T, pairs.y @ pairs.y_held.T
    total = float((pairs.y_held**2).sum())
    scores, held = pairs.x @ fits.axes, pairs.x_held @ fits.axes
    best, error = np.full(permutations, np.inf), np.empty(permutations)
    step = max(1, _BLOCK_BYTES // (2 * gram.nbytes))
    for begin in unless_left(range(0, len(penalties), step)):
        block = penalties[begin : begin + step]
        hats = [(held / (fits.eigenvalues + penalty)) @ scores.T for penalty in block]
        squares = np.stack([(hat.T @ hat).ravel() for hat in hats])
        outs = np.stack([_left_out(fits, scores, penalty).ravel() for penalty in block])
        for i, order in enumerate(unless_left(shuffles)):
            shuffled = gram[np.ix_(order, order)].ravel()
            crossed = across[order].T.ravel()
            loo = outs @ shuffled
            chosen = int(loo.argmin())
            if loo[chosen] < best[i]:
                best[i] = loo[chosen]
                hit = float(hats[chosen].ravel() @ crossed)
                error[i] = total - 2 * hit + float(squares[chosen] @ shuffled)
    return Shuffled(1 - error / total)


def _left_out(fits: Path, scores: Matrix, penalty: float) -> Matrix:
    """Quadratic form (n, n) of the leave-one-out error in the outputs."""
    hat = (scores / (fits.eigenvalues + penalty)) @ scores.T
    residual = (np.eye(len(hat)) - hat) / fits.gap(scores, penalty)[:, None]
    form: Matrix = residual.T @ residual
    return form

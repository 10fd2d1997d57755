"""Leading eigenvectors of the covariance of many rows, from few passes over them.

A block of vectors is multiplied by the covariance, one pass over the rows for each product, and the
eigenvectors are those of the covariance within the span of all blocks so far (randomised block
Krylov iteration; Musco and Musco, 2015). Each pass shrinks what they miss by about the same factor;
passes end when the next would add less than 1e-4 of their variance, or when the blocks span
everything. The first block holds leading directions of a sample of the rows, found in the same way,
which saves a pass, and a few random ones for whatever the sample lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from emo import _core

OVERSAMPLING = 14
MAX_PASSES = 12
SAMPLE_PASSES = 3
RANDOM = 4
_GROWTH = 1e-4
# Products are summed in single precision: what is smaller than this share of the largest variance
# is rounding.
_FLOOR = 1e-6
Matrix: TypeAlias = NDArray[np.float64]
Multiply: TypeAlias = "Callable[[Matrix, Matrix, bool], _core._Pass]"


@dataclass(frozen=True)
class Leading:
    """Leading eigenvectors, and what the first pass tells about the rows.

    Parameters
    ----------
    vectors : (k, d) float64 array
        Orthonormal, largest variance first; fewer where the rows span fewer.
    variances : (k,) float64 array
        Over n - 1.
    mean, columns : (d,) float64 array
        Mean of the rows and variance of each column.
    n, repeated : int
        Rows, and how many of them equal an earlier one.
    """

    vectors: Matrix
    variances: Matrix
    mean: Matrix
    columns: Matrix
    n: int
    repeated: int


def leading(
    multiply: Multiply,
    sample: NDArray[np.floating[Any]],
    k: int,
    seed: int,
    threads: int = 0,
) -> Leading:
    """Find the k leading eigenvectors of the covariance of rows.

    Parameters
    ----------
    multiply : callable
        ``multiply(pilot, block, columns)``: a pass, see ``_core.gram_product``.
    sample : (m, d) float array
        Some of the rows from all over, at least one; the result is as exact without it.
    k : int
        Vectors wanted.
    seed : int
        Of the random directions in the first block.
    threads : int
        Native threads of the passes over the sample, 0 for all there are.

    Returns
    -------
    Leading

    Raises
    ------
    NumericalError
        When a value is not finite, or products of finite ones overflow single precision.
    """
    # More threads would gain little between passes, and wait spinning on the cores that these need.
    with threadpool_limits(1, user_api="blas"):
        return _leading(multiply, sample, k, seed, threads)


def _leading(
    multiply: Multiply, sample: NDArray[np.floating[Any]], k: int, seed: int, threads: int
) -> Leading:
    # The passes name what is not finite.
    with np.errstate(all="ignore"):
        pilot = np.nan_to_num(sample.mean(0, dtype=np.float64), posinf=0, neginf=0)
    d = len(pilot)
    width = min(-(-(k + OVERSAMPLING) // 8) * 8, d)
    rng = np.random.Generator(np.random.Philox(seed))
    block = _first_block(_orthonormal(rng.standard_normal((width, d))), sample, pilot, threads)
    first = multiply(pilot, block, True)
    n = int(first["count"])
    shift = first["sum"] / n
    mean = pilot + shift
    columns = np.maximum(first["square"] / n - shift**2, 0) * (n / (n - 1))
    product = first["product"] - np.outer(n * (block @ shift), shift)
    space, held = _Space(d), []
    while True:
        space.add(block, product / (n - 1))
        held.append(float(space.values()[:k].sum()))
        if len(held) == MAX_PASSES or _next_growth(held) < _GROWTH * held[-1]:
            break
        block = space.next_block()
        if len(block) == 0:
            break
        product = multiply(mean, block, False)["product"]
    vectors, variances = space.eigenvectors(k)
    return Leading(vectors, variances, mean, columns, n, int(first["repeated"]))


def _first_block(
    random: Matrix, sample: NDArray[np.floating[Any]], mean: Matrix, threads: int
) -> Matrix:
    """Directions of the sample with some random ones; these alone where the sample is too small."""
    width, d = random.shape
    if width == d or len(sample) < 4 * width or not np.isfinite(sample).all():
        return random
    rows, space, block = np.ascontiguousarray(sample), _Space(d), random
    for _ in range(SAMPLE_PASSES):
        found = _core.gram_product_array(rows, mean[None], block, columns=False, threads=threads)
        space.add(block, found["product"] / len(rows))
        block = space.next_block()
        if len(block) == 0:
            break
    known, _ = space.eigenvectors(width - RANDOM)
    return _orthonormal(np.vstack([known, random])[:width])


class _Space:
    """The span of the blocks so far, and what the covariance S does to it."""

    def __init__(self, d: int) -> None:
        self._basis, self._images = np.empty((0, d)), np.empty((0, d))
        self._within = np.empty((0, 0))
        self._last = 0

    def add(self, block: Matrix, image: Matrix) -> None:
        """Take in a block, orthonormal to those before, with its product with S."""
        old = self._last = len(self._basis)
        self._basis = np.vstack([self._basis, block])
        self._images = np.vstack([self._images, image])
        across = self._basis @ image.T
        corner = (across[old:] + across[old:].T) / 2
        self._within = np.block([[self._within, across[:old]], [across[:old].T, corner]])

    def values(self) -> Matrix:
        """Eigenvalues of S within the span, the largest first."""
        found: Matrix = np.maximum(np.linalg.eigvalsh(self._within)[::-1], 0)
        return found

    def next_block(self) -> Matrix:
        """Orthonormal rows for what the span lacks of the last image, above its rounding."""
        rest = self._outside(self._images[self._last :])
        squares, turns = np.linalg.eigh(rest @ rest.T)
        sizes = np.sqrt(np.maximum(squares[::-1], 0))
        kept = int((sizes > _FLOOR * self.values()[0]).sum())
        kept = min(kept, self._basis.shape[1] - len(self._basis))
        fresh = (turns[:, ::-1][:, :kept] / sizes[:kept]).T @ rest
        # Once more, since what is left of a nearly invariant block is mostly rounding.
        return _orthonormal(self._outside(fresh))

    def eigenvectors(self, k: int) -> tuple[Matrix, Matrix]:
        """At most k eigenvectors within the span, multiplied by S once more, and their variances.

        Within the span S c is v c; r, what lies outside, shrinks the error of c about twentyfold in
        c + r / v, whose variance is at least (v + 2 r^2 / v) over its squared length. What is not
        above rounding is left out of either.
        """
        values, vectors = np.linalg.eigh(self._within)
        values, turn = values[::-1][:k], vectors[:, ::-1][:, :k].T
        least = _FLOOR * values.max(initial=0.0)
        values, turn = values[values > least], turn[values > least]
        rest = self._outside(turn @ self._images)
        rest[np.linalg.norm(rest, axis=1) <= least] = 0
        better = turn @ self._basis + rest / values[:, None]
        lengths, axes = np.linalg.eigh(better @ better.T)
        shares = (rest**2).sum(1) / values**2
        return (axes / np.sqrt(lengths)) @ axes.T @ better, values * (1 + 2 * shares) / (1 + shares)

    def _outside(self, rows: Matrix) -> Matrix:
        rest: Matrix = rows - (rows @ self._basis.T) @ self._basis
        return rest


def _orthonormal(rows: Matrix) -> Matrix:
    return np.ascontiguousarray(np.linalg.qr(rows.T)[0].T)


def _next_growth(held: list[float]) -> float:
    """Variance that the next pass will add, if it shrinks as it did in the last ones."""
    if len(held) < 3:
        return np.inf
    before, last = held[-2] - held[-3], held[-1] - held[-2]
    return last * min(last / before, 1.0) if before > 0 else 0.0

"""Representational similarity: how alike two sets of vectors arrange the same conditions.

The distances between the conditions of one set are correlated with those of the other, and the
correlation stands beside its null: the same after a permutation of the conditions' labels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo.errors import NumericalError, UsageError

METRICS = ("cosine", "euclidean", "correlation")
CORRELATIONS = ("pearson", "spearman")
ALTERNATIVES = ("greater", "two-sided")
LEVEL = 0.95

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Rsa:
    """Correlation of two dissimilarity matrices, with its permutation test.

    Attributes
    ----------
    r : float
        Correlation of the upper triangles, -1 to 1; positive means alike.
    p : float
        (exceeding + 1) / (permutations + 1), or exceeding / n! when exact.
    p_low, p_high : float
        Wilson 95 % interval of p for the number of permutations; both p when exact.
    permutations : int
        Permutations that were used; n! when exact.
    exact : bool
        Whether every permutation was taken, the identity among them.
    exceeding : int
        Permutations whose correlation is at least r (in size, when two-sided), ties included.
    ties : int
        Those among `exceeding` that equal r; the identity is one of them when exact.
    null_mean, null_max : float
        Mean and maximum (of the size, when two-sided) of r over the permutations, the identity
        left out when exact.
    n : int
        Conditions.
    metric, correlation, alternative : str
    seed : int
    warnings : tuple of str
    """

    r: float
    p: float
    p_low: float
    p_high: float
    permutations: int
    exact: bool
    exceeding: int
    ties: int
    null_mean: float
    null_max: float
    n: int
    metric: str
    correlation: str
    alternative: str
    seed: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class RsaGrid:
    """Correlations of all pairs of a first and a second sequence of vector sets.

    Attributes
    ----------
    r, p : (a, b) float64 arrays
        As in `Rsa`, the same permutations for every pair.
    p_family : (a, b) float64 array
        p against the largest correlation over all pairs in each permutation: below 0.05 anywhere
        with probability 0.05 when nothing is alike (max-statistic correction).
    null_max : (a, b) float64 array
        Largest correlation over the permutations.
    exceeding : (a, b) int64 array
    n, permutations : int
    exact : bool
    metric, correlation, alternative : str
    seed : int
    warnings : tuple of str
    """

    r: Matrix
    p: Matrix
    p_family: Matrix
    null_max: Matrix
    exceeding: NDArray[np.int64]
    n: int
    permutations: int
    exact: bool
    metric: str
    correlation: str
    alternative: str
    seed: int
    warnings: tuple[str, ...]


def dissimilarity(vectors: ArrayLike, metric: str = "cosine") -> Matrix:
    """Dissimilarities between all pairs of rows.

    ``cosine``: 1 - <x, y> / (|x| |y|), ``correlation``: the same after the mean of each row is
    taken off, ``euclidean``: |x - y|. The first and the last do not change when all rows are
    rotated together.

    Parameters
    ----------
    vectors : (n, d) float array
        One row per condition.
    metric : {"cosine", "euclidean", "correlation"}

    Returns
    -------
    (n, n) float64 array
        Symmetric, zeros on the diagonal; the larger, the less alike.

    Raises
    ------
    NumericalError
        A value is not finite, or a row is zero (cosine) or constant (correlation).
    UsageError
        The array has not two dimensions, or the metric is not known.

    >>> dissimilarity([[1, 0], [0, 1], [-1, 0]]).tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    """
    _one_of("metric", metric, METRICS)
    x = _vectors(vectors, "vectors")
    if metric == "euclidean":
        return np.asarray(np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1)))
    if metric == "correlation":
        x = x - x.mean(1, keepdims=True)
    norms = np.sqrt((x * x).sum(1))
    if not norms.all():
        row = int(np.flatnonzero(norms == 0)[0])
        kind = "zero" if metric == "cosine" else "constant"
        raise NumericalError(f"row {row} is {kind}, its {metric} dissimilarities do not exist")
    unit = x / norms[:, None]
    out = 1 - unit @ unit.T
    np.fill_diagonal(out, 0)
    return np.asarray((out + out.T) / 2)


def rsa(
    x: ArrayLike,
    y: ArrayLike,
    *,
    metric: str = "cosine",
    correlation: str = "pearson",
    permutations: int | str = 10_000,
    seed: int = 0,
    alternative: str = "greater",
    threads: int = 0,
) -> Rsa:
    """Correlate the dissimilarities of two sets of vectors of the same conditions.

    Parameters
    ----------
    x : (n, dx) float array
    y : (n, dy) float array
        The same conditions in the same order; the widths may differ.
    metric : {"cosine", "euclidean", "correlation"}
        See `dissimilarity`.
    correlation : {"pearson", "spearman"}
    permutations : int or "exact"
        Random permutations of the conditions; all n! of them when that is not more, or "exact".
    seed : int, 0 to 2**64 - 1
        Key of the Philox4x64-10 streams.
    alternative : {"greater", "two-sided"}
    threads : int
        0 takes the default; the result does not depend on it.

    Returns
    -------
    Rsa

    Raises
    ------
    NumericalError
        Fewer than 4 conditions, values that are not finite, or constant dissimilarities.
    UsageError
        Shapes or options that do not fit; "exact" with more than 12 conditions.
    """
    grid, found = _compare([x], [y], metric, correlation, permutations, seed, alternative)
    p, m = float(grid.p[0, 0]), grid.permutations
    low, high = (p, p) if grid.exact else _wilson(int(grid.exceeding[0, 0]) + 1, m + 1)
    return Rsa(
        float(grid.r[0, 0]), p, low, high, m, grid.exact, int(grid.exceeding[0, 0]),
        int(found["ties"][0, 0]), float(found["mean"][0, 0]), float(grid.null_max[0, 0]), grid.n,
        metric, correlation, alternative, seed, grid.warnings,
    )  # fmt: skip


def rsa_grid(
    xs: Sequence[ArrayLike],
    ys: Sequence[ArrayLike],
    *,
    metric: str = "cosine",
    correlation: str = "pearson",
    permutations: int | str = 10_000,
    seed: int = 0,
    alternative: str = "greater",
    threads: int = 0,
) -> RsaGrid:
    """Compare every set of `xs` with every set of `ys`, as `rsa` does, permuting once for all.

    Parameters
    ----------
    xs, ys : sequences of (n, d_i) float arrays
        For instance one array per layer; the same conditions everywhere.
    metric, correlation, permutations, seed, alternative, threads
        As in `rsa`.

    Returns
    -------
    RsaGrid

    Raises
    ------
    NumericalError, UsageError
        As `rsa`.
    """
    return _compare(xs, ys, metric, correlation, permutations, seed, alternative)[0]


def _compare(
    xs: Sequence[ArrayLike],
    ys: Sequence[ArrayLike],
    metric: str,
    correlation: str,
    permutations: int | str,
    seed: int,
    alternative: str,
) -> tuple[RsaGrid, dict[str, NDArray[np.float64]]]:
    _one_of("correlation", correlation, CORRELATIONS)
    _one_of("alternative", alternative, ALTERNATIVES)
    left, right = [
        [_vectors(item, f"{name}[{at}]") for at, item in enumerate(items)]
        for name, items in (("x", xs), ("y", ys))
    ]
    n = _same_rows(left + right)
    exact = permutations == "exact" or int(permutations) >= math.factorial(min(n, 13))
    if exact and n > 12:
        raise UsageError(f"{n} conditions have too many permutations for an exact test")
    units = [
        np.stack([_unit(dissimilarity(item, metric), correlation) for item in items])
        for items in (left, right)
    ]
    r = np.clip(units[0] @ units[1].T, -1, 1)
    orders = _all_orders(n) if exact else _random_orders(n, int(permutations), seed)
    size = np.abs if alternative == "two-sided" else np.positive
    upper = np.triu_indices(n, 1)
    index = np.zeros((n, n), np.int64)
    index[upper] = np.arange(len(upper[0]))
    index += index.T
    seen = size(r)
    exceeding, ties, family = (np.zeros(r.shape, np.int64) for _ in range(3))
    total, most = np.zeros(r.shape), np.full(r.shape, -np.inf)
    m = 0
    for order in orders:
        null = units[0] @ units[1][:, index[order[upper[0]], order[upper[1]]]].T
        sized = size(null)
        exceeding += sized >= seen - 1e-10
        ties += np.abs(sized - seen) <= 1e-10
        family += sized.max() >= seen - 1e-10
        m += 1
        if not (exact and m == 1):
            total += null
            most = np.maximum(most, sized)
    p, p_family = ((b / m if exact else (b + 1) / (m + 1)) for b in (exceeding, family))
    grid = RsaGrid(
        r, p, p_family, most, exceeding, n, m, exact, metric, correlation, alternative, seed,
        _cautions(left, right, n),
    )  # fmt: skip
    return grid, {"ties": ties.astype(np.float64), "mean": total / (m - exact)}


def _cautions(left: list[Matrix], right: list[Matrix], n: int) -> tuple[str, ...]:
    said = []
    if n < 6:
        said.append(f"{n} conditions: no p can be below 1/{n}! = {1 / math.factorial(n):.2g}")
    for name, items in (("x", left), ("y", right)):
        doubled = [item for item in items if len(np.unique(item, axis=0)) < n]
        if doubled:
            said.append(f"rows of {name} are duplicated: the permutations are not {n}! distinct")
    return tuple(said)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} is {value!r}", hint=f"known: {', '.join(known)}")


def _vectors(values: ArrayLike, name: str) -> Matrix:
    out = np.ascontiguousarray(values, np.float64)
    if out.ndim != 2:
        raise UsageError(f"{name} has shape {out.shape}, it must be (conditions, width)")
    if not np.isfinite(out).all():
        row, column = np.argwhere(~np.isfinite(out))[0]
        raise NumericalError(f"{name} holds {out[row, column]} in row {row}, column {column}")
    return out


def _same_rows(items: list[Matrix]) -> int:
    if not items:
        raise UsageError("there are no vectors to compare")
    n = len(items[0])
    for item in items:
        if len(item) != n:
            raise UsageError(f"{n} and {len(item)} rows: the sets must hold the same conditions")
    if n < 4:
        raise NumericalError(
            f"{n} conditions allow no test", hint="compare at least 4, better 8 or more"
        )
    return n


def _unit(distances: Matrix, correlation: str) -> Matrix:
    values = distances[np.triu_indices(len(distances), 1)]
    spread = values.max() - values.min()
    if spread <= 1e-12 * max(1e-300, abs(values).max()):
        raise NumericalError("all dissimilarities are equal, their correlation does not exist")
    if correlation == "spearman":
        _, at, counts = np.unique(values, return_inverse=True, return_counts=True)
        values = (np.cumsum(counts) - (counts - 1) / 2)[at]
    centred = values - values.mean()
    return np.asarray(centred / np.sqrt((centred * centred).sum()))


def _wilson(successes: int, n: int) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share, scale = successes / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _all_orders(n: int) -> Iterator[NDArray[np.int64]]:
    return (np.array(order) for order in itertools.permutations(range(n)))


def _random_orders(n: int, m: int, seed: int) -> Iterator[NDArray[np.int64]]:
    for at in range(m):
        words = np.random.Philox(key=seed, counter=[0, 0, at, 0]).random_raw(n + 8)
        halves = iter(words.astype("<u8").view("<u4").tolist())
        order = np.arange(n)
        for last in range(n - 1, 0, -1):
            product = next(halves) * (last + 1)
            while product % 2**32 < 2**32 % (last + 1):
                product = next(halves) * (last + 1)
            other = product >> 32
            order[[last, other]] = order[[other, last]]
        yield order

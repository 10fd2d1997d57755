"""Representational similarity: how alike two sets of vectors arrange the same conditions.

The distances between the conditions of one set are correlated with those of the other, and the
correlation stands beside its null: the same after a permutation of the conditions' labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo import _core
from emo.errors import NumericalError, UsageError
from emo.geometry.permutations import check_seed

METRICS = ("cosine", "euclidean", "correlation")
CORRELATIONS = ("pearson", "spearman")
ALTERNATIVES = ("greater", "two-sided")
LEVEL = 0.95
FEWEST = 4
FEW = 6

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
        Mean of r and its maximum (of its size, when two-sided) over the permutations, the identity
        left out when exact. The mean comes from rounded dissimilarities, see `emo._core.rsa`.
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
    return _core.dissimilarity(_vectors(vectors, "vectors"), metric)


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

    The test permutes the conditions of one matrix, rows and columns together (Mantel 1967);
    comparing models by their dissimilarities is representational similarity analysis
    (Kriegeskorte, Mur and Bandettini 2008).

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
    options = _options(correlation, permutations, seed, alternative)
    sets = {"x": _vectors(x, "x"), "y": _vectors(y, "y")}
    first, second = _distances(sets, metric, threads)
    found = _core.rsa(first, second, threads=threads, **options)
    low, high = found["p"], found["p"]
    if not found["exact"]:
        low, high = _wilson(found["exceeding"] + 1, found["permutations"] + 1)
    return Rsa(
        **found, p_low=low, p_high=high, n=len(first), metric=metric, correlation=correlation,
        alternative=alternative, seed=seed, warnings=_cautions(sets),
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

    One permutation for all pairs keeps their dependence, so that the largest correlation over
    them gives p-values corrected for the family (max statistic: Westfall and Young 1993).

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
    options = _options(correlation, permutations, seed, alternative)
    sets = {
        f"{name}[{at}]": _vectors(item, f"{name}[{at}]")
        for name, items in (("xs", xs), ("ys", ys))
        for at, item in enumerate(items)
    }
    if not len(xs) or not len(ys):
        raise UsageError("there are no vectors to compare")
    distances = _distances(sets, metric, threads)
    n = len(distances[0])
    flat = np.stack(distances).reshape(len(distances), -1)
    found = _core.rsa_grid(flat[: len(xs)], flat[len(xs) :], n, threads=threads, **options)
    return RsaGrid(
        r=found["r"], p=found["p"], p_family=found["p_family"], null_max=found["null_max"],
        exceeding=found["exceeding"].astype(np.int64), n=n, permutations=found["permutations"],
        exact=found["exact"], metric=metric, correlation=correlation, alternative=alternative,
        seed=seed, warnings=_cautions(sets),
    )  # fmt: skip


class _Options(TypedDict):
    correlation: str
    permutations: int
    exact: bool
    two_sided: bool
    seed: int


def _options(correlation: str, permutations: int | str, seed: int, alternative: str) -> _Options:
    _one_of("correlation", correlation, CORRELATIONS)
    _one_of("alternative", alternative, ALTERNATIVES)
    exact = permutations == "exact"
    count = 1 if exact else permutations
    if isinstance(count, str) or count < 1:
        raise UsageError(
            f"permutations is {permutations!r}", hint='give a number above 0, or "exact"'
        )
    check_seed(seed)
    return _Options(
        correlation=correlation,
        permutations=int(count),
        exact=exact,
        two_sided=alternative == "two-sided",
        seed=seed,
    )


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} is {value!r}", hint=f"known: {', '.join(known)}")


def _vectors(values: ArrayLike, name: str) -> Matrix:
    try:
        out = np.ascontiguousarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} is no array of real numbers: {error}") from None
    if out.ndim != 2 or not out.shape[1]:
        raise UsageError(f"{name} has shape {out.shape}, it must be (conditions, width)")
    return out


def _distances(sets: dict[str, Matrix], metric: str, threads: int) -> list[Matrix]:
    _one_of("metric", metric, METRICS)
    first, n = next((name, len(item)) for name, item in sets.items())
    if n < FEWEST:
        raise NumericalError(
            f"{n} conditions allow no test", hint=f"compare at least {FEWEST}, better 8 or more"
        )
    for name, item in sets.items():
        if len(item) != n:
            raise UsageError(
                f"{first} has {n} rows and {name} has {len(item)}",
                hint="give the same conditions in the same order",
            )
    return [_named(name, item, metric, threads) for name, item in sets.items()]


def _named(name: str, vectors: Matrix, metric: str, threads: int) -> Matrix:
    try:
        return _core.dissimilarity(vectors, metric, threads=threads)
    except NumericalError as error:
        raise NumericalError(f"{name}: {error}", hint=error.hint) from None


def _cautions(sets: dict[str, Matrix]) -> tuple[str, ...]:
    said = []
    n = len(next(iter(sets.values())))
    if n < FEW:
        least = 1 / math.factorial(n)
        said.append(f"{n} conditions: no p can be smaller than 1/{n}! = {least:.2g}")
    for name, item in sets.items():
        first: dict[bytes, int] = {}
        for row, values in enumerate(item + 0.0):  # -0.0 is 0.0
            other = first.setdefault(values.tobytes(), row)
            if other != row:
                said.append(f"rows {other} and {row} of {name} are equal: one condition twice?")
                break
    return tuple(said)


def _wilson(successes: int, n: int) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share, scale = successes / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return max(middle - half, 0.0), min(middle + half, 1.0)

"""Intervals: Wilson for shares, Student's t and normal for means, bootstrap for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo.errors import NumericalError, UsageError

_TINY = 1e-300
_CONVERGED = 1e-15


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson interval of a share.

    With p = successes / n and z the normal quantile, the ends are
    (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n).

    Parameters
    ----------
    successes, n : int
        0 <= successes <= n.
    level : float
        Share of the normal curve inside.

    Returns
    -------
    (low, high) : tuple of float
        In [0, 1]; (0, 1) when `n` is 0, which says nothing.

    Raises
    ------
    UsageError
        When the counts are not possible.

    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if not 0 <= successes <= n:
        raise UsageError(f"{successes} successes out of {n} are not possible")
    if n == 0:
        return 0.0, 1.0
    z = z_quantile(level)
    share, scale = successes / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    low = 0.0 if successes == 0 else max(middle - half, 0.0)
    return low, 1.0 if successes == n else min(middle + half, 1.0)


def normal_interval(
    mean: ArrayLike, m2: ArrayLike, n: int, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interval of a mean by the normal curve: mean -+ z sqrt(m2 / (n - 1) / n).

    Parameters
    ----------
    mean, m2 : float arrays of one shape
        Means, and sums of squared deviations from them.
    n : int
        Samples behind each mean.

    Returns
    -------
    (low, high) : tuple of float64 arrays of that shape

    Raises
    ------
    NumericalError
        When `n` is below 2.
    """
    return _interval(mean, m2, n, z_quantile(level))


def t_interval(
    mean: ArrayLike, m2: ArrayLike, n: int, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interval of a mean by Student's t with n - 1 degrees of freedom.

    Parameters, returns and errors as for `normal_interval`.
    """
    _need_two(n)
    return _interval(mean, m2, n, t_quantile(level, n - 1))


def bootstrap(
    values: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    seed: int,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of the rows of `values`.

    Parameters
    ----------
    values : (n, ...) float64 array
    statistic : callable
        Takes rows like `values`, returns a number.
    seed : int
    n_resamples : int

    Returns
    -------
    (low, high) : tuple of float

    Raises
    ------
    NumericalError
        When there are fewer than 2 rows.
    """
    _need_two(len(values))
    rng = np.random.default_rng(seed)
    draws = (rng.integers(len(values), size=len(values)) for _ in range(n_resamples))
    results = [statistic(values[draw]) for draw in draws]
    low, high = np.quantile(results, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def z_quantile(level: float) -> float:
    """Half-width, in standard deviations, that holds `level` of the normal curve."""
    return NormalDist().inv_cdf((1 + level) / 2)


@lru_cache(maxsize=256)
def t_quantile(level: float, freedom: int) -> float:
    """Half-width that holds `level` of Student's t with `freedom` degrees of freedom.

    Newton steps on the distribution function, from the normal quantile upwards: above zero the
    function is concave, so a step from below never overshoots.

    >>> round(t_quantile(0.95, 10), 4)
    2.2281
    """
    if freedom < 1 or not 0 < level < 1:
        raise UsageError(f"no t quantile at level {level} with {freedom} degrees of freedom")
    t = z_quantile(level)
    for _ in range(200):
        step = (level - _t_inside(t, freedom)) / (2 * _t_density(t, freedom))
        t += step
        if abs(step) <= 1e-12 * t:
            break
    return t


def _interval(
    mean: ArrayLike, m2: ArrayLike, n: int, quantile: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    _need_two(n)
    middle = np.asarray(mean, np.float64)
    half = quantile * np.sqrt(np.asarray(m2, np.float64) / (n - 1) / n)
    return middle - half, middle + half


def _need_two(n: int) -> None:
    if n < 2:
        raise NumericalError(
            f"an interval needs at least 2 samples, there are {n}", hint="capture more samples"
        )


def _t_density(t: float, freedom: int) -> float:
    log = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    power = -(freedom + 1) / 2 * math.log1p(t * t / freedom)
    return math.exp(log + power) / math.sqrt(freedom * math.pi)


def _t_inside(t: float, freedom: int) -> float:
    """Share of the t distribution in [-t, t]: the incomplete beta I_x(1/2, freedom/2)."""
    x = t * t / (freedom + t * t)
    return _incomplete_beta(0.5, freedom / 2, x, 1 - x)


def _incomplete_beta(a: float, b: float, x: float, y: float) -> float:
    """Regularised incomplete beta function I_x(a, b), with y = 1 - x."""
    if x == 0 or y == 0:
        return float(y == 0)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(front + a * math.log(x) + b * math.log(y))
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, y) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function by Lentz's method (DLMF 8.17.22)."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or _TINY)
    value = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d or _TINY)
            c = 1 + term / c or _TINY
            value *= c * d
        if abs(c * d - 1) < _CONVERGED:
            break
    return value

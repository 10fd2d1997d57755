import math

import numpy as np
import pytest

from emo.analysis.intervals import (
    bootstrap,
    normal_interval,
    t_interval,
    t_quantile,
    wilson,
    z_quantile,
)
from emo.errors import NumericalError, UsageError


def test_wilson_solves_its_equation():
    """At each end p0 the share lies z standard errors (of p0) away."""
    z = z_quantile(0.95)
    for successes, n in ((1, 10), (8, 10), (50, 100), (999, 1000)):
        for end in wilson(successes, n):
            distance = abs(successes / n - end) / math.sqrt(end * (1 - end) / n)
            assert distance == pytest.approx(z, rel=1e-9)


def test_wilson_at_the_edges():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0
    with pytest.raises(UsageError):
        wilson(6, 5)


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [
        (1, 12.706204736),
        (2, 4.3026527297),
        (5, 2.5705818356),
        (30, 2.0422724563),
        (10**6, 1.9599664),
    ],
)
def test_t_quantiles_of_the_tables(freedom, expected):
    assert t_quantile(0.95, freedom) == pytest.approx(expected, rel=1e-7)


def test_t_quantiles_match_scipy():
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    for freedom in (1, 2, 3, 4, 7, 19, 100, 1001, 50_000):
        for level in (0.5, 0.9, 0.95, 0.99, 0.999):
            expected = stats.t.ppf((1 + level) / 2, freedom)
            assert t_quantile(level, freedom) == pytest.approx(expected, rel=1e-8)


def test_intervals_of_a_mean():
    values = np.array([[1.0, 4.0], [2.0, 4.0], [6.0, 4.0]])
    mean, m2 = values.mean(0), ((values - values.mean(0)) ** 2).sum(0)
    error = values.std(0, ddof=1) / math.sqrt(3)
    for interval, quantile in ((t_interval, 4.3026527297), (normal_interval, 1.9599639845)):
        low, high = interval(mean, m2, 3)
        np.testing.assert_allclose(high - mean, quantile * error, rtol=1e-9)
        np.testing.assert_allclose(mean - low, quantile * error, rtol=1e-9)
        with pytest.raises(NumericalError, match="at least 2"):
            interval(mean, m2, 1)


def test_the_t_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((5, 40_000)) + 1
    low, high = t_interval(values.mean(0), ((values - values.mean(0)) ** 2).sum(0), 5)
    assert np.mean((low < 1) & (high > 1)) == pytest.approx(0.95, abs=0.004)


def test_the_bootstrap_is_seeded_and_brackets():
    values = np.random.default_rng(0).standard_normal(200)
    first = bootstrap(values, np.mean, seed=1, n_resamples=300)
    assert first == bootstrap(values, np.mean, seed=1, n_resamples=300)
    assert first != bootstrap(values, np.mean, seed=2, n_resamples=300)
    assert first[0] < values.mean() < first[1]
    with pytest.raises(NumericalError):
        bootstrap(values[:1], np.mean, seed=0)

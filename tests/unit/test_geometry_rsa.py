"""Permutation RSA against the plain twin, against enumeration, and its laws."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import reference
from reference import distances, permutation

from emo import _core
from emo.errors import NumericalError, UsageError
from emo.geometry.rsa import CORRELATIONS, METRICS, dissimilarity, rsa, rsa_grid

TIERS = _core.build_info()["tiers"]


def alike(n: int, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 12))
    y = x @ rng.normal(size=(12, 20)) + noise * rng.normal(size=(n, 20))
    return x, y


def tied(n: int, seed: int) -> np.ndarray:
    """Vectors of small whole numbers: many of their distances are equal."""
    return np.random.default_rng(seed).integers(0, 2, size=(n, 3)).astype(float)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [4, 7, 33])
def test_dissimilarities_are_those_of_the_twin(metric: str, n: int) -> None:
    x, _ = alike(n)
    found = dissimilarity(x, metric)
    np.testing.assert_allclose(found, distances(x, metric), atol=1e-12)
    np.testing.assert_array_equal(found, found.T)
    assert not found.diagonal().any()


@pytest.mark.parametrize(
    ("n", "seed", "stream"), [(4, 0, 0), (30, 7, 2), (171, 2**64 - 1, 1), (70_000, 3, 1)]
)
def test_numpy_replays_every_permutation(n: int, seed: int, stream: int) -> None:
    count = 20 if n < 1000 else 2
    found = _core.permutations(n, count, seed, stream=stream)
    wanted = [permutation(n, seed, index, stream) for index in range(count)]
    np.testing.assert_array_equal(found, wanted)


def test_more_permutations_than_can_be_held_are_refused() -> None:
    with pytest.raises(UsageError, match="too many to hold"):
        _core.permutations(30, 2**40, 0)


@pytest.mark.parametrize("n", [4, 30, 171])
def test_every_place_is_as_likely_as_another(n: int) -> None:
    orders = _core.permutations(n, 6000, 3)
    for place in (0, 1, n // 2, n - 1):
        counts = np.bincount(orders[:, place], minlength=n)
        chi_square = ((counts - 6000 / n) ** 2 / (6000 / n)).sum()
        # Mean n - 1, standard deviation sqrt(2 (n - 1)): five of them.
        assert abs(chi_square - (n - 1)) < 5 * np.sqrt(2 * (n - 1))


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
@pytest.mark.parametrize("n", [7, 20, 40, 70])
def test_counts_are_those_of_the_twin(correlation: str, alternative: str, n: int) -> None:
    x, y = alike(n, seed=n, noise=30)
    got = rsa(x, y, correlation=correlation, permutations=300, seed=5, alternative=alternative)
    orders, two_sided = _core.permutations(n, 300, 5), alternative == "two-sided"
    wanted = reference.rsa(
        dissimilarity(x), dissimilarity(y), orders, correlation, two_sided, exact=False
    )
    assert got.r == pytest.approx(wanted["r"], abs=1e-9)
    assert (got.exceeding, got.ties, got.p) == tuple(wanted[k] for k in ("exceeding", "ties", "p"))
    assert got.null_mean == pytest.approx(wanted["null_mean"], abs=1e-3)
    assert got.null_max == pytest.approx(wanted["null_max"], abs=1e-9)
    assert got.p_low < got.p < got.p_high


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("ties", [False, True])
def test_all_permutations_equal_enumeration(correlation: str, ties: bool) -> None:
    n = 6
    x, y = (tied(n, 2), tied(n, 5)) if ties else alike(n, 3, 4)
    got = rsa(x, y, metric="euclidean", correlation=correlation, permutations="exact")
    first, second = distances(x, "euclidean"), distances(y, "euclidean")
    orders = map(np.array, itertools.permutations(range(n)))
    wanted = reference.rsa(first, second, orders, correlation, two_sided=False, exact=True)
    assert (got.exact, got.permutations) == (True, 720)
    assert (got.exceeding, got.ties, got.p) == tuple(wanted[k] for k in ("exceeding", "ties", "p"))
    assert got == rsa(x, y, metric="euclidean", correlation=correlation, permutations=720)
    if ties:
        assert got.ties > 1


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_rotation_and_scale_change_nothing(metric: str) -> None:
    x, _ = alike(15)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    got = rsa(x, 3 * x @ turn, metric=metric, permutations=200)
    assert got.r == pytest.approx(1, abs=1e-12)
    assert got.p == pytest.approx(1 / 201)


def test_p_is_uniform_when_nothing_is_alike() -> None:
    rng = np.random.default_rng(0)
    ps = np.array(
        [
            rsa(rng.normal(size=(9, 5)), rng.normal(size=(9, 5)), permutations=199, seed=seed).p
            for seed in range(400)
        ]
    )
    # Kolmogorov-Smirnov: 1.63 / sqrt(400) is its 1 % level.
    steps = np.arange(1, 401) / 400
    assert np.abs(np.sort(ps) - steps).max() < 1.63 / 20


@pytest.mark.parametrize("n", [11, 30, 50, 90])
@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_threads_and_tiers_leave_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, n: int, correlation: str
) -> None:
    x, y = alike(n, noise=20)
    seen, grids = set(), set()
    for tier in TIERS:
        monkeypatch.setenv("EMO_SIMD", tier)
        for threads in (1, 2, 4):
            options = {"correlation": correlation, "permutations": 2000, "threads": threads}
            seen.add(repr(rsa(x, y, **options)))
            grid = rsa_grid([x, y, x[::-1]], [y, x], **options)
            grids.add(b"".join(a.tobytes() for a in (grid.r, grid.p, grid.p_family, grid.null_max)))
    assert len(seen) == len(grids) == 1


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
def test_a_grid_holds_its_pairs_and_corrects_for_all(correlation: str, alternative: str) -> None:
    n = 20
    (x, y), (z, w) = alike(n, 1, 10), alike(n, 2, 10)
    options = {"correlation": correlation, "alternative": alternative, "permutations": 400}
    xs, ys = [x, z, w], [y, w]
    grid = rsa_grid(xs, ys, seed=9, **options)
    for i, j in itertools.product(range(3), range(2)):
        one = rsa(xs[i], ys[j], seed=9, **options)
        assert grid.r[i, j] == one.r
        assert (grid.p[i, j], grid.exceeding[i, j]) == (one.p, one.exceeding)
        assert grid.null_max[i, j] == pytest.approx(one.null_max, abs=1e-9)
    matrices = [[dissimilarity(v) for v in vectors] for vectors in (xs, ys)]
    orders = _core.permutations(n, 400, 9)
    wanted = reference.rsa_grid(*matrices, orders, correlation, alternative == "two-sided")
    for name in ("r", "p", "p_family", "exceeding", "null_max"):
        np.testing.assert_allclose(getattr(grid, name), wanted[name], atol=1e-9)
    assert (grid.p_family >= grid.p).all()


@pytest.mark.parametrize("metric", ["cosine", "correlation"])
def test_what_only_rounding_sets_apart_is_the_same(metric: str) -> None:
    rng = np.random.default_rng(0)
    line = np.outer(rng.uniform(0.1, 9, 8), rng.normal(size=300))
    line += rng.normal(size=(8, 1)) if metric == "correlation" else 0
    assert not dissimilarity(line, metric).any()
    with pytest.raises(NumericalError, match="all dissimilarities"):
        rsa(line, alike(8)[1], metric=metric)
    # An angle of 1e-8 is far above rounding.
    line[3] += 1e-8 * np.linalg.norm(line[3]) * rng.normal(size=300) / np.sqrt(300)
    found = dissimilarity(line, metric)
    assert found[3, 4] == pytest.approx(5e-17, rel=0.3)
    assert not found[0, 1]


def test_unsound_designs_are_told_and_impossible_ones_refused() -> None:
    x, y = alike(8)
    assert "equal: one condition twice?" in rsa(np.vstack([x, x[:1]]), alike(9)[1]).warnings[0]
    assert "no p can be smaller than 1/4!" in rsa(x[:4], y[:4]).warnings[0]
    bad = x.copy()
    bad[3, 2] = np.nan
    refused = [
        (NumericalError, "3 conditions allow no test", lambda: rsa(x[:3], y[:3])),
        (NumericalError, "x: row 3 holds NaN in column 2", lambda: rsa(bad, y)),
        (NumericalError, "all dissimilarities", lambda: rsa(np.eye(8), y)),
        (NumericalError, "row 1", lambda: rsa(x * (np.arange(8) != 1)[:, None], y)),
        (UsageError, "x has 8 rows and y has 7", lambda: rsa(x, y[:7])),
        (UsageError, "metric is 'cosin'", lambda: rsa(x, y, metric="cosin")),
        (UsageError, "permutations is 0", lambda: rsa(x, y, permutations=0)),
        (UsageError, "seed is -1", lambda: rsa(x, y, seed=-1)),
        (UsageError, "13", lambda: rsa(*alike(13), permutations="exact")),
        (UsageError, "no vectors", lambda: rsa_grid([], [x])),
    ]
    for kind, words, call in refused:
        with pytest.raises(kind, match=words):
            call()


@pytest.mark.parametrize(("depth", "low", "high"), [(2, 0.964, 0.991), (3, 0.937, 0.993)])
def test_five_models_arrange_twenty_emotions_alike(
    shared: Path, depth: int, low: float, high: float
) -> None:
    """Third and last of the four probed layers; the null of 5,000 stays below 0.55."""
    vectors = []
    for path in sorted((shared / "data/emotion-vector-bench/results").glob("*/raw_vectors.npz")):
        with np.load(path) as file:
            layer = list(dict.fromkeys(name.partition("__")[0] for name in file))[depth]
            names = sorted(name for name in file if name.startswith(f"{layer}__"))
            vectors.append(np.array([file[name] for name in names]))
    grid = rsa_grid(vectors, vectors, permutations=5000)
    pairs = np.triu_indices(5, 1)
    assert len(vectors) == 5
    assert low - 5e-4 <= grid.r[pairs].min() < grid.r[pairs].max() <= high + 5e-4
    assert grid.null_max[pairs].max() < 0.55
    assert (grid.p_family[pairs] == 1 / 5001).all()

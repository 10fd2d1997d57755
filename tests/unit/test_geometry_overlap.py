"""Subspaces, their overlap and its chance level."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from emo.errors import NumericalError, UsageError
from emo.geometry.chance import random_overlaps
from emo.geometry.overlap import overlap, overlap_grid, principal_angles
from emo.geometry.subspace import orthonormal_basis


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_basis_spans_the_rows_and_has_their_rank() -> None:
    vectors = rng().normal(size=(4, 9))
    vectors = np.vstack([vectors, vectors[0] - 2 * vectors[1], np.zeros(9)])
    basis = orthonormal_basis(vectors)
    assert basis.shape == (4, 9)
    np.testing.assert_allclose(basis @ basis.T, np.eye(4), atol=1e-14)
    np.testing.assert_allclose(vectors @ basis.T @ basis, vectors, atol=1e-13)


def test_rank_does_not_depend_on_the_length_of_the_vectors() -> None:
    assert len(orthonormal_basis([[1e-30, 0, 0], [0, 1e30, 0]])) == 2


def test_directions_that_sum_to_zero_in_single_precision_are_dependent() -> None:
    vectors = rng().normal(size=(6, 500))
    vectors -= vectors.mean(0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert len(orthonormal_basis(vectors.astype(np.float32))) == 5


def test_k_keeps_the_leading_directions() -> None:
    left, right = np.linalg.qr(rng().normal(size=(8, 3)))[0], orthonormal_basis(np.eye(3, 20))
    vectors = left @ np.diag([9.0, 4.0, 1.0]) @ right
    np.testing.assert_allclose(np.abs(orthonormal_basis(vectors, 2)), np.eye(2, 20), atol=1e-13)
    assert len(orthonormal_basis(vectors, 7)) == 3


def test_overlap_of_a_subspace_with_itself_is_one_in_any_basis() -> None:
    x = rng().normal(size=(5, 40))
    found = overlap(x, rng(1).normal(size=(5, 5)) @ x)
    assert found.overlap == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found.angles, 0, atol=1e-12)
    assert (found.k, found.d, found.chance) == ((5, 5), 40, 5 / 40)


def test_planted_angles_are_found_down_to_rounding() -> None:
    wanted = np.array([1e-9, 0.3, 1.2, np.pi / 2])
    x = np.eye(4, 10)
    y = np.cos(wanted)[:, None] * x + np.sin(wanted)[:, None] * np.eye(4, 10, 4)
    found = overlap(x, y)
    np.testing.assert_allclose(found.angles, wanted, rtol=1e-6, atol=1e-15)
    assert found.overlap == pytest.approx((np.cos(wanted) ** 2).mean(), abs=1e-14)


@pytest.mark.parametrize(
    ("k1", "k2", "d"),
    [(1, 1, 2), (1, 1, 9), (3, 2, 20), (2, 5, 20), (4, 3, 5), (5, 3, 5), (7, 6, 8)],
)
def test_the_null_is_that_of_orthonormalised_gaussians(k1: int, k2: int, d: int) -> None:
    draws = 4000
    found = random_overlaps(k1, k2, d, draws=draws, seed=1)
    wanted = reference.random_overlaps(k1, k2, d, draws, seed=k1 + 10 * k2)
    error = 5 * wanted.std() / np.sqrt(draws) + 1e-12
    assert found.mean() == pytest.approx(wanted.mean(), abs=2 * error)
    assert found.mean() == pytest.approx(max(k1, k2) / d, abs=error)
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    for low, high in zip(np.quantile(wanted, levels), np.quantile(found, levels), strict=True):
        assert (wanted <= high + 1e-9).mean() == pytest.approx(
            (wanted <= low + 1e-9).mean(), abs=0.04
        )


def test_random_subspaces_fall_into_their_null() -> None:
    sets = rng().normal(size=(40, 6, 60))
    grid = overlap_grid(list(sets))
    pair = overlap(sets[0], sets[1])
    assert pair.overlap == pytest.approx(grid.overlap[0, 1], abs=1e-6)
    apart = grid.overlap[~np.eye(40, dtype=bool)]
    inside = (pair.null_low <= apart) & (apart <= pair.null_high)
    assert 0.9 < inside.mean() < 0.99
    assert apart.mean() == pytest.approx(0.1, abs=0.005)


def test_the_grid_takes_ragged_and_dependent_sets() -> None:
    x = rng().normal(size=(3, 30))
    sets = [x, np.vstack([x[:2], x[0] + x[1]]), rng(1).normal(size=(1, 30)), x[:2]]
    grid = overlap_grid(sets)
    np.testing.assert_array_equal(grid.k, [3, 2, 1, 2])
    np.testing.assert_allclose(np.diag(grid.overlap), 1, atol=1e-12)
    np.testing.assert_allclose(grid.overlap[1, [0, 3]], 1, atol=1e-12)
    np.testing.assert_array_equal(grid.overlap, grid.overlap.T)
    np.testing.assert_allclose(grid.chance[0], [3 / 30, 3 / 30, 3 / 30, 3 / 30])
    assert len(grid.warnings) == 1
    assert "set 1: 3 vectors span 2 dimensions" in grid.warnings[0]


def test_the_grid_has_the_null_of_each_pair() -> None:
    sets = [rng(i).normal(size=(k, 12)) for i, k in enumerate((2, 5, 2))]
    grid = overlap_grid(sets, draws=300, seed=3)
    for i, j in ((0, 1), (1, 0), (1, 1), (0, 2)):
        pair = overlap(sets[i], sets[j], draws=300, seed=3)
        assert grid.null_low[i, j] == pair.null_low
        assert grid.null_high[i, j] == pair.null_high
    assert (grid.draws, grid.seed) == (300, 3)


def test_unsound_designs_warn() -> None:
    x = rng().normal(size=(3, 4))
    found = overlap(x, np.vstack([x[:1], x[:1], x[1:2]])).warnings
    assert any("chance is 0.75" in line for line in found)
    assert any("1 of them repeated" in line for line in found)
    wide = rng(1).normal(size=(5, 50))
    wide = np.vstack([wide, wide[:2]])
    found = overlap(wide, rng(2).normal(size=(3, 50)), k=3).warnings
    assert found == (
        "set 0: 2 of 7 vectors repeat another one and weigh more in the leading directions",
    )
    found = overlap(x, np.vstack([x[:1], x[:1], x[1:2]])).warnings
    assert any("3 vectors are in both sets" in line for line in found)
    assert overlap(rng(1).normal(size=(2, 50)), rng(2).normal(size=(2, 50))).warnings == ()


def test_inside_a_span_chance_is_that_of_the_span() -> None:
    inner = rng().normal(size=(2, 3, 12)) @ rng(1).normal(size=(12, 90))
    found = overlap(inner[0], inner[1], span=12)
    assert (found.chance, found.d) == (3 / 12, 12)
    assert found.null_mean == pytest.approx(3 / 12, abs=0.02)
    with pytest.raises(UsageError, match="span"):
        overlap(inner[0], inner[1], span=2)


def test_the_seed_gives_the_null() -> None:
    x, y = rng().normal(size=(2, 3, 12))
    assert overlap(x, y, seed=4).null_low == overlap(x, y, seed=4).null_low
    assert overlap(x, y, seed=4).null_low != overlap(x, y, seed=5).null_low


@pytest.mark.parametrize(("k1", "k2", "d"), [(1, 1, 2), (3, 2, 20), (7, 6, 8), (20, 30, 100)])
def test_angles_are_those_of_the_twin(k1: int, k2: int, d: int) -> None:
    x, y = rng(k1).normal(size=(k1, d)), rng(k2).normal(size=(k2, d))
    bases = [reference.row_span(v, 1e-9) for v in (x, y)]
    # An arc cosine turns a rounding of 1e-16 into an angle of 1e-8.
    found = overlap(x, y).angles
    np.testing.assert_allclose(found, reference.principal_angles(*bases), atol=1e-7)


def test_large_subspaces_keep_their_angles() -> None:
    x, y = rng().normal(size=(2, 8, 10))
    angles = principal_angles(orthonormal_basis(x), orthonormal_basis(y))
    np.testing.assert_allclose(angles[:6], 0, atol=1e-12)


def test_bad_input_is_named() -> None:
    good = rng().normal(size=(2, 5))
    bad = good.copy()
    bad[1, 3] = np.nan
    with pytest.raises(NumericalError, match="NaN at row 1, column 3"):
        overlap(good, bad)
    with pytest.raises(NumericalError, match="set 1 has 2 vectors and spans nothing"):
        overlap(good, np.zeros((2, 5)))
    for measure in (overlap, lambda *sets: overlap_grid(sets)):
        with pytest.raises(NumericalError, match="set 1: its 3 vectors are all equal"):
            measure(good, np.ones((3, 5)))
        with pytest.raises(NumericalError, match="set 1: its 3 vectors are all equal"):
            measure(good.astype(np.float32), np.full((3, 5), 0.1, np.float32))
    assert overlap(good, np.ones((1, 5))).k == (2, 1)
    with pytest.raises(NumericalError, match="set 1 has 0 vectors"):
        overlap_grid([good, np.empty((0, 5))])
    with pytest.raises(UsageError, match="width 4"):
        overlap(good, good[:, :4])
    with pytest.raises(UsageError, match="no sets"):
        overlap_grid([])
    with pytest.raises(UsageError, match="shape"):
        overlap(good, good[0])
    with pytest.raises(UsageError, match="k is 0"):
        overlap(good, good, k=0)
    with pytest.raises(UsageError, match="draws"):
        overlap(good, good, draws=0)

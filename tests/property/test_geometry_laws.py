"""Laws of subspaces and principal components on random shapes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import row_span, subspace_overlap

from emo.geometry.chance import random_overlaps
from emo.geometry.overlap import overlap, overlap_grid
from emo.geometry.pca import pca
from emo.geometry.subspace import orthonormal_basis

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 60), seeds, st.booleans())
def test_overlap_is_symmetric_bounded_and_blind_to_the_basis(
    n1: int, n2: int, d: int, seed: int, single: bool
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n1, d)), rng.normal(size=(n2, d))
    if single:
        x, y = x.astype(np.float32), y.astype(np.float32)
    found, back = overlap(x, y, draws=10), overlap(y, x, draws=10)
    assert -1e-12 <= found.overlap <= 1
    np.testing.assert_allclose(found.overlap, back.overlap, atol=1e-12)
    np.testing.assert_allclose(found.angles, back.angles, atol=1e-7)
    np.testing.assert_allclose(found.overlap, (np.cos(found.angles) ** 2).mean(), atol=1e-9)
    mixed = overlap(rng.normal(size=(n1, n1)) @ x * 1e3, y, draws=10)
    if mixed.k == found.k:
        np.testing.assert_allclose(mixed.overlap, found.overlap, atol=1e-2 if single else 1e-6)
    bases = [row_span(v.astype(np.float64), 1e-9) for v in (x, y)]
    if found.k == (len(bases[0]), len(bases[1])):
        np.testing.assert_allclose(found.overlap, subspace_overlap(*bases), atol=1e-9)
    grid = overlap_grid([x, y, x])
    np.testing.assert_allclose(grid.overlap[0], [1, found.overlap, 1], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 40), seeds)
def test_the_basis_has_the_rank_of_the_product_that_made_the_vectors(
    rank: int, n: int, d: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d))
    basis = orthonormal_basis(vectors)
    assert len(basis) <= min(n, d, rank)
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-12)
    scale = np.abs(vectors).max()
    np.testing.assert_allclose(vectors @ basis.T @ basis, vectors, atol=1e-8 * scale)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 30), seeds)
def test_random_subspaces_overlap_by_chance_on_average(
    data: st.DataObject, d: int, seed: int
) -> None:
    k1, k2 = data.draw(st.integers(1, d)), data.draw(st.integers(1, d))
    draws = random_overlaps(k1, k2, d, draws=2000, seed=seed)
    assert (draws >= -1e-12).all()
    assert (draws <= 1 + 1e-12).all()
    error = 6 * draws.std() / np.sqrt(len(draws)) + 1e-9
    assert abs(draws.mean() - max(k1, k2) / d) < error


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(1, 50), st.integers(1, 4), seeds, st.floats(-100, 100))
def test_components_of_low_rank_rows_are_found_whole(
    n: int, d: int, rank: int, seed: int, mean: float
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) + mean
    found = pca(x, 4)
    sizes = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / (n - 1)
    kept = len(found.variances)
    assert kept <= min(4, n - 1, d)
    np.testing.assert_allclose(found.variances, sizes[:kept], atol=2e-5 * sizes[0])
    assert (np.delete(sizes, np.s_[:kept])[: 4 - kept] <= 1e-4 * sizes[0]).all()
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(kept), atol=1e-9)
    assert 0 < found.explained.sum() < 1 + 1e-4

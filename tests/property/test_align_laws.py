"""Laws of alignment on random shapes."""

from __future__ import annotations

import numpy as np
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from emo.geometry import ridge
from emo.geometry.align import align
from emo.geometry.permutations import permutations
from emo.geometry.procrustes import procrustes

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 25), st.integers(1, 25), st.integers(0, 10), st.booleans(), seeds)
def test_procrustes_is_never_worse_than_the_plain_form(
    n: int, dx: int, wider: int, repeat: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, dx)), rng.normal(size=(n, dx + wider))
    if repeat:
        x[-1], y[-1] = x[0], y[0]
    found, plain = procrustes(x, y), reference.procrustes(x, y)
    ours = x
    for factor in found.factors:
        ours = ours @ factor
    theirs = np.linalg.norm(x @ plain - y)
    assert np.linalg.norm(ours - y) <= theirs * (1 + 1e-9) + 1e-9
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), np.linalg.norm(x, axis=1), atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 20), st.integers(1, 25), st.floats(1e-3, 1e3), seeds)
def test_leave_one_out_is_what_leaving_out_gives(
    n: int, dx: int, penalty: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, dx)), rng.normal(size=(n, 2))
    a, b = x - x.mean(0), y - y.mean(0)
    fits = ridge.path(a, b)
    found = fits.squared_errors(a @ fits.axes, b, penalty) / b.size
    np.testing.assert_allclose(found, reference.leave_one_out(x, y, penalty), rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["procrustes", "ridge", "lstsq"]), st.floats(0.1, 100), seeds)
def test_turning_or_moving_both_sets_changes_no_score(method: str, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 5))
    y = x @ rng.normal(size=(5, 6)) + rng.normal(size=(60, 6))
    turn, other = (np.linalg.qr(rng.normal(size=(d, d)))[0] for d in (5, 6))
    moved_x, moved_y = scale * x @ turn + 3, scale * y @ other - 1
    plain, _ = align(x, y, method=method, permutations=9)  # type: ignore[arg-type]
    moved, _ = align(moved_x, moved_y, method=method, permutations=9)  # type: ignore[arg-type]
    for name in ("r2_heldout", "r2_train", "cosine", "null_mean", "null_max", "condition"):
        np.testing.assert_allclose(getattr(moved, name), getattr(plain, name), rtol=1e-6, atol=1e-8)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 200), st.integers(0, 5), seeds, st.integers(0, 2**63))
def test_permutations_hold_every_item_once(n: int, count: int, seed: int, stream: int) -> None:
    found = permutations(n, count, seed=seed, stream=stream)
    np.testing.assert_array_equal(np.sort(found), np.tile(np.arange(n), (count, 1)))

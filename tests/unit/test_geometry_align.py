"""Alignment against plain twins, its laws, and what it refuses."""

from __future__ import annotations

import dataclasses
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from store_toys import Toy

from emo.errors import NumericalError, UsageError
from emo.geometry import ridge
from emo.geometry.align import align, align_stores
from emo.geometry.mapped import overlap_after
from emo.geometry.mapping import Map
from emo.geometry.pairs import held_out, split_pairs
from emo.geometry.procrustes import polar, procrustes
from emo.geometry.refits import shuffled_maps
from emo.geometry.shuffles import linear_null, orders
from emo.geometry.spans import span
from emo.store import Store, StorePlan, StoreWriter

METHODS = ("procrustes", "ridge", "lstsq")


def rotated(rng: Any, n: int, dx: int, dy: int) -> tuple[Any, Any]:
    """Vectors and a copy of them, turned, scaled and moved in a wider space."""
    x = rng.normal(size=(n, dx)) * rng.uniform(0.5, 2, dx)
    turn = np.linalg.qr(rng.normal(size=(dy, dx)))[0].T
    return x, 2.5 * x @ turn + rng.normal(size=dy)


def product(found: Any) -> Any:
    whole = found.factors[0]
    for factor in found.factors[1:]:
        whole = whole @ factor
    return whole


@pytest.mark.parametrize("method", METHODS)
def test_a_rotated_copy_aligns_perfectly(method: str) -> None:
    x, y = rotated(np.random.default_rng(0), 120, 8, 11)
    found, fitted = align(x, y, method=method, permutations=99)  # type: ignore[arg-type]
    assert found.r2_heldout == pytest.approx(1, abs=1e-9)
    assert found.r2_train == pytest.approx(1, abs=1e-9)
    assert found.cosine == pytest.approx(1, abs=1e-9)
    assert found.p == 0.01
    assert found.null_mean < 0.1
    assert found.null_mean <= found.null_high <= found.null_max
    np.testing.assert_allclose(fitted.apply(x), y, atol=1e-4)
    np.testing.assert_allclose(fitted.apply(x[0]), y[0], atol=1e-4)
    assert (found.n, found.dx, found.dy, found.rank) == (120, 8, 11, 8)
    assert found.condition == pytest.approx(np.linalg.cond(split_pairs(x, y, 0.2, 0).x), rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_unrelated_vectors_reach_no_more_than_shuffles(method: str) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(120, 8)), rng.normal(size=(120, 8))
    ps = []
    for seed in range(12):
        found, _ = align(x, y, method=method, permutations=39, seed=seed)  # type: ignore[arg-type]
        assert found.r2_heldout < 0.1
        assert found.null_mean < 0.02
        ps.append(found.p)
    assert min(ps) < 0.7
    assert max(ps) > 0.2
    assert np.mean(np.array(ps) <= 0.1) < 0.5


def test_few_vectors_align_with_noise_and_the_result_says_so() -> None:
    rng = np.random.default_rng(2)
    found, fitted = align(rng.normal(size=(20, 300)), rng.normal(size=(20, 400)), permutations=50)
    assert found.r2_train > 0.9
    assert found.r2_heldout < 0
    assert found.nuclear is not None
    assert found.nuclear > 0.95
    assert found.nuclear_null_mean == pytest.approx(found.nuclear, abs=0.02)
    assert found.rank == fitted.rank == 15
    assert any("any two sets of so few vectors" in warning for warning in found.warnings)
    assert all(factor.shape != (300, 400) for factor in fitted.factors)


@pytest.mark.parametrize(
    ("n", "dx", "dy"),
    [(6, 20, 30), (20, 20, 20), (21, 20, 25), (25, 20, 30), (90, 7, 7), (2, 3, 3)],
)
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("spread", [1.0, 1e-7])
def test_the_dual_form_has_the_residual_of_the_plain_one(
    n: int, dx: int, dy: int, centred: bool, spread: float
) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, dx)), rng.normal(size=(n, dy))
    x *= np.geomspace(1, spread, n)[:, None]
    if centred:
        x, y = x - x.mean(0), y - y.mean(0)
    found, wanted = procrustes(x, y), reference.procrustes(x, y)
    ours, theirs = (float(np.linalg.norm(x @ q - y)) for q in (product(found), wanted))
    assert ours <= theirs * (1 + 1e-10)
    assert found.nuclear == pytest.approx(np.linalg.norm(x.T @ y, "nuc"), rel=1e-9)
    gram = product(found) @ product(found).T
    np.testing.assert_allclose(gram @ gram, gram, atol=1e-9)


def test_polar_factors_are_those_of_the_singular_value_decomposition() -> None:
    rng = np.random.default_rng(3)
    for shape, condition in (((9, 9), 1.0), ((5, 12), 1e2), ((12, 5), 1e4), ((8, 8), 1e9)):
        left, _ = np.linalg.qr(rng.normal(size=(shape[0], min(shape))))
        right, _ = np.linalg.qr(rng.normal(size=(shape[1], min(shape))))
        values = np.geomspace(1, 1 / condition, min(shape))
        turn, nuclear = polar((left * values) @ right.T)
        np.testing.assert_allclose(turn, left @ right.T, atol=1e-16 * condition**2 + 1e-12)
        assert nuclear == pytest.approx(values.sum(), rel=1e-12)
    turn, nuclear = polar(np.diag([1.0, 0.0]))
    assert nuclear == 1
    np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("centred", [False, True])
def test_spans_hold_their_rows(centred: bool) -> None:
    rng = np.random.default_rng(4)
    for repeat in (False, True):
        rows = rng.normal(size=(7, 30))
        rows[-1] = rows[0] if repeat else rows[-1]
        rows -= rows.mean(0) if centred else 0
        found = span(rows)
        assert found.basis is not None
        assert found.coordinates.shape == (7, 7 - centred - repeat)
        np.testing.assert_allclose(found.coordinates @ found.basis.T, rows, atol=1e-12)
        gram = found.basis.T @ found.basis
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


@pytest.mark.parametrize(("n", "dx"), [(40, 9), (12, 30), (20, 20)])
def test_the_ridge_path_equals_plain_solutions_and_brute_force(n: int, dx: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, dx)) + 3
    y = x @ rng.normal(size=(dx, 4)) + rng.normal(size=(n, 4))
    a, b = x - x.mean(0), y - y.mean(0)
    fits = ridge.path(a, b)
    for penalty in (1e-3, 1.0, 200.0):
        left, right = fits.coefficients(penalty)
        np.testing.assert_allclose(left @ right, reference.ridge(a, b, penalty), atol=1e-9)
        np.testing.assert_allclose(
            fits.squared_errors(a @ fits.axes, b, penalty) / b.size,
            reference.leave_one_out(x, y, penalty),
            rtol=1e-8,
        )
        if n > dx:
            np.testing.assert_allclose(ridge.solve(a, b, penalty), left @ right, atol=1e-9)


def test_ridge_equals_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 8))
    y = x @ rng.normal(size=(8, 5)) + rng.normal(size=(60, 5))
    penalties = [0.1, 3.0, 40.0]
    found, fitted = align(x, y, method="ridge", penalties=penalties, permutations=9)
    train = ~held_out(60, 0.2, 0)
    theirs = linear_model.RidgeCV(penalties, alpha_per_target=False, store_cv_results=True)
    theirs.fit(x[train], y[train])
    assert found.penalties == tuple(penalties)
    assert found.penalty == theirs.alpha_
    np.testing.assert_allclose(found.loo, theirs.cv_results_.mean((0, 1)), rtol=1e-9)
    np.testing.assert_allclose(fitted.apply(x), theirs.predict(x), atol=1e-9)


@pytest.mark.parametrize("condition", [1.0, 1e4, 1e9])
def test_least_squares_keeps_its_digits(condition: float) -> None:
    rng = np.random.default_rng(6)
    left, _ = np.linalg.qr(rng.normal(size=(50, 6)))
    right, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    x = (left * np.geomspace(1, 1 / condition, 6)) @ right.T
    wanted = rng.normal(size=(6, 3))
    found = ridge.solve(x, x @ wanted)
    np.testing.assert_allclose(found, wanted, atol=1e-13 * condition + 1e-11)


def test_shuffles_are_honest_refits() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(40, 6))
    y = x @ rng.normal(size=(6, 3)) + 2 * rng.normal(size=(40, 3))
    pairs = split_pairs(x, y, 0.25, 0)
    penalties = np.array([0.5, 5.0, 50.0])
    found = linear_null(pairs, ridge.path(pairs.x, pairs.y), penalties, 5, 3).r2
    total = (pairs.y_held**2).sum()
    for r2, order in zip(found, orders(len(pairs.x), 5, 3), strict=True):
        shuffled = pairs.y[order]
        loo = [reference.leave_one_out(pairs.x, shuffled, penalty) for penalty in penalties]
        fitted = reference.ridge(pairs.x, shuffled, penalties[int(np.argmin(loo))])
        error = ((pairs.y_held - pairs.x_held @ fitted) ** 2).sum()
        assert r2 == pytest.approx(1 - error / total, abs=1e-10)


def test_procrustes_shuffles_are_honest_refits() -> None:
    rng = np.random.default_rng(8)
    x, y = rotated(rng, 12, 20, 25)
    found, _ = align(x, y, permutations=4, seed=2, scale=False)
    pairs = split_pairs(x, y, 0.2, 2)
    total = (pairs.y_held**2).sum()
    r2, nuclear = [], []
    for order in orders(len(pairs.x), 4, 2):
        fitted = procrustes(pairs.x, pairs.y[order])
        # With every direction of the span: the plain form on 10 centred rows would also turn
        # directions that hold nothing.
        kept = polar(span(pairs.x).coordinates.T @ span(pairs.y[order]).coordinates)[1]
        nuclear.append(kept / (np.linalg.norm(pairs.x) * np.linalg.norm(pairs.y)))
        mapped = pairs.x_held @ product(fitted)
        r2.append(1 - ((pairs.y_held - mapped) ** 2).sum() / total)
    assert found.null_max == pytest.approx(max(r2), abs=1e-9)
    assert found.nuclear_null_max == pytest.approx(max(nuclear), abs=1e-9)


def test_the_split_and_the_shuffles_are_permutations_of_two_streams() -> None:
    held = np.flatnonzero(held_out(50, 0.2, seed=9))
    np.testing.assert_array_equal(held, np.sort(reference.permutation(50, 9, 0, 1)[:10]))
    shuffles = [reference.permutation(40, 9, index, 2) for index in range(3)]
    np.testing.assert_array_equal(orders(40, 3, 9), shuffles)
    with pytest.raises(UsageError, match="seed is -1"):
        orders(3, 1, -1)


@pytest.mark.parametrize("layer", range(4))
def test_real_vectors_reach_no_more_than_noise(shared: Path, layer: int) -> None:
    folder = shared / "data" / "emotion-vector-bench" / "results"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    sets = []
    for path in sorted(folder.glob("*/raw_vectors.npz")):
        with np.load(path) as file:
            names = sorted(file.files)
            layers = sorted({name.split("__")[0] for name in names}, key=lambda s: int(s[6:]))
            chosen = [name for name in names if name.startswith(f"{layers[layer]}__")]
            sets.append(np.stack([file[name] for name in chosen]).astype(np.float64))
    assert len(sets) == 5
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=vectors.shape) for vectors in sets]
    real, random = ([nuclear(a, b) for a, b in combinations(group, 2)] for group in (sets, noise))
    if layer == 2:
        assert min(real) == pytest.approx(0.987, abs=1e-3)
    assert max(real) == pytest.approx(0.998, abs=1e-3)
    assert min(random) == pytest.approx(0.9975, abs=1e-3)
    assert max(random) == pytest.approx(0.999, abs=1e-3)


def nuclear(x: Any, y: Any) -> float:
    x, y = sorted((x - x.mean(0), y - y.mean(0)), key=lambda a: a.shape[1])
    return procrustes(x / np.linalg.norm(x), y / np.linalg.norm(y)).nuclear


# What is refused or warned of -------------------------------------------------------------------


def test_bad_rows_are_refused() -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(size=(20, 5))
    bad = x.copy()
    bad[3, 2] = np.nan
    with pytest.raises(NumericalError, match="y holds nan at row 3, column 2"):
        align(x, bad)
    with pytest.raises(UsageError, match="x has 20 rows and y has 19"):
        align(x, x[:-1])
    with pytest.raises(NumericalError, match="x has 1 rows"):
        align(x[:1], x[:1])
    with pytest.raises(NumericalError, match="rows of y are all the same"):
        align(x, np.ones((20, 3)), method="ridge")
    with pytest.raises(UsageError, match="a matrix of numbers"):
        align(x[0], x)
    with pytest.raises(UsageError, match="a matrix of numbers"):
        align(x, x.astype(str))


def test_bad_options_are_refused() -> None:
    x = np.random.default_rng(10).normal(size=(20, 5))
    for options, said in (
        ({"method": "cca"}, "method is 'cca'"),
        ({"holdout": 0.0}, "holdout is 0"),
        ({"holdout": 1.0}, "holdout is 1"),
        ({"permutations": 0}, "permutations is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"method": "ridge", "penalties": [0.0]}, "penalties must be numbers above 0"),
        ({"method": "ridge", "penalties": []}, "no penalties"),
    ):
        with pytest.raises(UsageError, match=said):
            align(x, x, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot map 5 dimensions into 3") as caught:
        align(x, x[:, :3])
    assert "the other way" in str(caught.value.hint)
    assert align(x, x[:, :3], method="lstsq", permutations=5)[0].r2_heldout > 0.99


def test_least_squares_refuses_to_interpolate() -> None:
    rng = np.random.default_rng(11)
    with pytest.raises(NumericalError, match="interpolated") as caught:
        align(rng.normal(size=(20, 30)), rng.normal(size=(20, 40)), method="lstsq")
    assert "ridge" in str(caught.value.hint)


def test_doubtful_rows_are_warned_of() -> None:
    rng = np.random.default_rng(12)
    x, y = rotated(rng, 60, 4, 5)
    flat = np.column_stack([x, np.full(60, 7.0)])
    found, _ = align(flat, y, method="lstsq", permutations=5)
    assert found.r2_heldout == pytest.approx(1, abs=1e-9)
    assert any("1 of 5 columns of x are constant" in warning for warning in found.warnings)
    assert any("rank 4 of 5" in warning for warning in found.warnings)
    found, _ = align(np.repeat(x, 2, 0), np.repeat(y, 2, 0), permutations=5)
    assert any("60 of 120 pairs repeat" in warning for warning in found.warnings)
    assert not any("paired otherwise" in warning for warning in found.warnings)
    twice, other = np.concatenate([x, x[:30]]), np.concatenate([y, y[::-1][:30]])
    for sets, name in (((twice, other + rng.normal(size=other.shape)), "x"),
                       ((twice + rng.normal(size=twice.shape), other), "y")):  # fmt: skip
        found, _ = align(*sets, permutations=5)
        said = [warning for warning in found.warnings if "repeat" in warning]
        assert said == [f"30 of 90 rows of {name} repeat another one, which is paired otherwise"]
    twice[0], other[0], twice[1], other[1] = twice[2], other[2], twice[2], other[3]
    found, _ = align(twice, other, permutations=5)
    assert sum("pairs repeat" in warning for warning in found.warnings) == 1
    assert any("more rows of x repeat" in warning for warning in found.warnings)
    found, _ = align(x, y, method="ridge", penalties=[1.0, 2.0], permutations=5)
    assert any("smallest of the path" in warning for warning in found.warnings)


# Maps -------------------------------------------------------------------------------------------


def test_maps_refuse_what_does_not_fit() -> None:
    fitted = Map(np.zeros(3), np.ones(2), (np.ones((3, 2)),), 2.0)
    np.testing.assert_array_equal(fitted.apply(np.ones(3)), [7.0, 7.0])
    np.testing.assert_array_equal(fitted.apply_directions(np.ones((1, 3))), [[6.0, 6.0]])
    with pytest.raises(UsageError, match="do not fit"):
        fitted.apply(np.ones((2, 4)))
    with pytest.raises(NumericalError, match="not finite"):
        fitted.apply(np.array([1.0, np.inf, 0.0]))
    assert fitted.image().shape == (1, 2)


@pytest.mark.parametrize("method", METHODS)
def test_a_subspace_is_found_again_after_the_map(method: str) -> None:
    rng = np.random.default_rng(13)
    x, y = rotated(rng, 100, 12, 12)
    _, fitted = align(x, y, method=method, permutations=5)  # type: ignore[arg-type]
    directions = rng.normal(size=(3, 12))
    there = fitted.apply_directions(directions) + 0
    found = overlap_after(fitted, directions, there, draws=200)
    assert found.before is not None
    assert found.before.overlap < 0.7
    assert found.after.overlap == pytest.approx(1, abs=1e-6)
    assert found.after.chance == 3 / 12
    assert found.kept == pytest.approx(1, abs=1e-9)


def test_chance_is_that_of_the_image() -> None:
    rng = np.random.default_rng(14)
    x, y = rotated(rng, 10, 40, 50)
    _, fitted = align(x, y, permutations=5)
    found = [
        overlap_after(fitted, rng.normal(size=(2, 40)), rng.normal(size=(3, 50)), draws=50)
        for _ in range(200)
    ]
    assert found[0].before is None
    assert {result.after.d for result in found} == {7}
    assert found[0].after.chance == 3 / 7
    mean = np.mean([result.after.overlap for result in found])
    assert mean == pytest.approx(3 / 7, abs=0.05)
    assert np.mean([result.kept for result in found]) == pytest.approx(7 / 50, abs=0.03)
    assert any("can reach" in warning for warning in found[0].warnings)
    with pytest.raises(UsageError, match="which has 7"):
        overlap_after(fitted, rng.normal(size=(9, 40)), rng.normal(size=(3, 50)))


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_maps_are_honest_refits(method: str) -> None:
    rng = np.random.default_rng(16)
    x, y = rotated(rng, 40, 5, 7)
    y += rng.normal(size=y.shape)
    found, _ = align(x, y, method=method, permutations=3, seed=4)  # type: ignore[arg-type]
    pairs = split_pairs(x, y, 0.2, 4)
    maps = list(shuffled_maps(x, y, found, shuffles=3))
    for fitted, order in zip(maps, orders(len(pairs.x), 3, 4), strict=True):
        shuffled = pairs.y[order]
        if method == "procrustes":
            wanted = reference.procrustes(pairs.x, shuffled)
        else:
            wanted = reference.ridge(pairs.x, shuffled, found.penalty or 0.0)
        np.testing.assert_allclose(product(fitted), wanted, atol=1e-9)


@pytest.mark.parametrize("n", [14, 60])
def test_unrelated_spaces_overlap_as_maps_of_shuffled_pairs_do(n: int) -> None:
    """Directions along which both sets vary most meet after any map: chance is not k / rank."""
    rng = np.random.default_rng(17)
    spread = np.geomspace(10, 0.1, 20)
    outside = 0
    for seed in range(20):
        x, y = rng.normal(size=(n, 20)) * spread, rng.normal(size=(n, 20)) * spread
        found, fitted = align(x, y, permutations=3, seed=seed)
        a, b = np.eye(3, 20), np.eye(3, 20)
        maps = shuffled_maps(x, y, found, shuffles=60)
        lap = overlap_after(fitted, a, b, shuffled=maps, draws=50)
        outside += not lap.null_low <= lap.after.overlap <= lap.null_high
        assert lap.shuffles == 60
    assert lap.null_high > 1.5 * lap.after.chance
    assert outside <= 4


def test_the_image_is_spanned_by_orthonormal_rows_of_its_rank() -> None:
    rng = np.random.default_rng(18)
    for rows in (rng.normal(size=(3, 9)), np.ones((3, 9)), np.zeros((2, 9)), np.eye(12, 9)):
        image = Map(np.zeros(len(rows)), np.zeros(9), (rows,)).image()
        assert len(image) == np.linalg.matrix_rank(rows)
        np.testing.assert_allclose(image @ image.T, np.eye(len(image)), atol=1e-12)
        np.testing.assert_allclose(rows @ image.T @ image, rows, atol=1e-12)


# Stores -----------------------------------------------------------------------------------------


def write(folder: Path, values: Any, cuts: tuple[int, ...], ids: list[str]) -> Store:
    """Store of one site whose rows are given."""
    toy = Toy()
    ends = [0, *cuts, len(values)]
    samples = [
        {"id": name, "group": name, "valence": "neutral", "emotion": None, "tokens": 5}
        for name in ids
    ]
    plan = StorePlan(
        fields={"prompts": str(values.sum())},
        model=toy.model(None),
        dtype="F32",
        sites={toy_site(): values.shape[1]},
        positions=("last",),
        samples=samples,
        shards=[{"last": stop - start} for start, stop in pairwise(ends)],
    )
    with StoreWriter(folder, plan) as writer:
        for index, (start, stop) in enumerate(pairwise(ends)):
            rows = np.stack([np.arange(start, stop), np.full(stop - start, 4)], axis=1)
            block = np.ascontiguousarray(values[start:stop], np.float32)
            writer.write(index, {"L0.resid_post@last": block}, {"last": rows})
        return writer.finish()


def toy_site() -> Any:
    return next(site for site in Toy().acts() if str(site) == "L0.resid_post")


@pytest.mark.parametrize("method", METHODS)
def test_streamed_stores_give_what_arrays_give(tmp_path: Path, method: str) -> None:
    rng = np.random.default_rng(15)
    x, y = rotated(rng, 500, 9, 12)
    y = (y + rng.normal(size=y.shape)).astype(np.float32)
    x = x.astype(np.float32)
    ids = [f"s{i}" for i in range(500)]
    a, b = write(tmp_path / "a", x, (100, 300), ids), write(tmp_path / "b", y, (256,), ids)
    options: Any = {"method": method, "permutations": 19, "seed": 3}
    wanted, fitted = align(x, y, **options)
    whole, _ = align_stores(a, b, "L0.resid_post", "L0.resid_post", "last", **options)
    assert whole == wanted
    streamed, other = align_stores(
        a, b, "L0.resid_post", "L0.resid_post", "last", streamed=True, threads=2, **options
    )
    for field in dataclasses.fields(wanted):
        ours, theirs = getattr(streamed, field.name), getattr(wanted, field.name)
        if field.name == "warnings":
            assert any("500 of the 500" in warning for warning in ours)
        elif isinstance(ours, float):
            assert ours == pytest.approx(theirs, rel=1e-7), field.name
        elif field.name in ("penalties", "loo") and ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-7)
        else:
            assert ours == theirs, field.name
    np.testing.assert_allclose(other.apply(x), fitted.apply(x), atol=1e-6)


def test_stores_must_hold_the_same_samples(tmp_path: Path) -> None:
    rows = np.random.default_rng(16).normal(size=(8, 3))
    ids = [f"s{i}" for i in range(8)]
    a, b = write(tmp_path / "a", rows, (), ids), write(tmp_path / "b", rows, (), ids[::-1])
    with pytest.raises(UsageError, match="the same samples"):
        align_stores(a, b, "L0.resid_post", "L0.resid_post", "last")
    with pytest.raises(NumericalError, match="too few to stream"):
        align_stores(a, a, "L0.resid_post", "L0.resid_post", "last", streamed=True, holdout=0.7)

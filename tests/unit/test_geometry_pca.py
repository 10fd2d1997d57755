"""Principal components beside the level that independent columns reach."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import reference
from store_toys import Toy

from emo import _core
from emo.errors import ArtifactError, NumericalError, UsageError
from emo.geometry.pca import _runs, independent_edge, pca, pca_store


def planted(n: int, d: int, sizes: list[float], noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Rows of low rank plus noise, around a mean."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(d, len(sizes))))[0].T
    scores = rng.normal(size=(n, len(sizes))) * sizes
    return scores @ axes + noise * rng.normal(size=(n, d)) + rng.normal(size=d)


@pytest.mark.parametrize("shape", [(200, 30), (30, 200), (64, 64), (11, 300)])
def test_components_equal_those_of_the_svd(shape: tuple[int, int]) -> None:
    x = planted(*shape, [5.0, 3.0, 2.0])
    found = pca(x, 3)
    wanted = reference.components(x, 3)
    np.testing.assert_allclose(found.mean, wanted["mean"], atol=1e-6)
    np.testing.assert_allclose(found.variances, wanted["variances"], rtol=1e-5)
    np.testing.assert_allclose(found.explained, wanted["explained"], rtol=1e-5)
    cosines = (found.components * wanted["components"]).sum(1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-5)
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(3), atol=1e-10)
    largest = np.abs(found.components).argmax(1)
    assert (found.components[np.arange(3), largest] > 0).all()
    assert (found.n, found.d) == shape


def angles(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Angle between each row and its counterpart, in radians."""
    return np.arccos(np.minimum(np.abs((found * wanted).sum(1)), 1))


def power_law(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0].T
    return (rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.5) @ axes + rng.normal(size=d)


def test_every_seed_finds_the_same_directions_of_many_rows() -> None:
    x = power_law(4000, 250)
    wanted = reference.components(x, 10)["components"]
    for seed in range(3):
        assert angles(pca(x, 10, seed=seed).components, wanted).max() < 2e-3


def test_rows_that_the_sample_misses_are_found() -> None:
    """A few neighbours hold more variance than anything else, between two runs of the sample."""
    x = power_law(6000, 200)
    runs = list(_runs(len(x)))
    assert max(np.diff(runs)) > 200
    begin = runs[5] + 40
    x[begin : begin + 60] += 20 * np.eye(200)[3]
    wanted = reference.components(x, 3)
    found = pca(x, 3)
    assert angles(found.components, wanted["components"]).max() < 1e-3
    np.testing.assert_allclose(found.variances, wanted["variances"], rtol=1e-5)


def test_every_pass_takes_the_threads_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply, seen = _core.gram_product_array, []

    def spied(*arguments, threads, **options):
        seen.append((len(arguments[0]), threads))
        return multiply(*arguments, threads=threads, **options)

    monkeypatch.setattr(_core, "gram_product_array", spied)
    pca(power_law(4000, 250), 3, threads=1)
    assert {threads for _, threads in seen} == {1}
    assert len({rows for rows, _ in seen}) == 2


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_value_of_the_sample_is_named_by_its_row(value: float) -> None:
    x = power_law(2000, 40)
    row = list(_runs(len(x)))[2] + 5
    x[row, 7] = value
    with pytest.raises(NumericalError, match=f"at row {row}, column 7"):
        pca(x, 2)


def test_a_flipped_bit_of_a_store_is_found(tmp_path: Path) -> None:
    store = Toy(n_groups=20).write_store(tmp_path / "store")
    shard = store.shards(store.site("L1.mlp_act"), "last")[0]
    raw = bytearray(Path(shard).read_bytes())
    raw[-3] ^= 1
    Path(shard).write_bytes(raw)
    part = next(t for t in _core.inspect_shard(shard) if t[4] == len(raw))
    site, position = part[0].rsplit("@", 1)
    with pytest.raises(ArtifactError, match="damaged in chunk"):
        pca_store(store, site, position, 2)


@pytest.mark.parametrize(("n", "d"), [(50, 200), (300, 40), (400, 400)])
def test_the_null_is_the_level_of_shuffled_columns(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    x = planted(n, d, [8.0, 4.0], noise=1) * rng.exponential(size=d)
    found = pca(x, 1)
    shares = []
    for _ in range(10):
        shuffled = rng.permuted(x, axis=0)
        shares.append(reference.components(shuffled, 1)["explained"][0])
    assert found.null == pytest.approx(np.mean(shares), rel=0.2)


def test_the_edge_of_equal_columns_is_marchenko_pastur() -> None:
    wanted = 2.5 * (1 + np.sqrt(700 / 300)) ** 2
    assert independent_edge(np.full(701, 2.5), 301) == pytest.approx(wanted, rel=1e-9)


def test_noise_warns_and_structure_does_not() -> None:
    rng = np.random.default_rng(3)
    small = pca(rng.normal(size=(40, 60)) * 0.5, 2)
    assert small.explained[0] < 1.3 * small.null
    assert pca(planted(100, 60, [9.0, 4.0]), 2).warnings == ()


@pytest.mark.parametrize("seed", range(5))
def test_a_share_is_at_most_one(seed: int) -> None:
    found = pca(np.random.default_rng(seed).normal(size=(2, 3)), 1)
    assert 1 - 1e-5 < found.explained[0] <= 1


def test_few_rows_and_repeated_rows_warn() -> None:
    x = planted(4, 20, [3.0])
    found = pca(x, 5)
    assert found.components.shape == (3, 20)
    assert any("3 components, not 5" in line for line in found.warnings)
    assert any("4 rows for 5 components" in line for line in found.warnings)
    doubled = pca(np.vstack([x, x[:2]]), 2)
    assert any("2 of 6 rows repeat" in line for line in doubled.warnings)


def test_a_store_gives_what_its_rows_give(tmp_path: Path) -> None:
    toy = Toy(n_groups=20)
    store = toy.write_store(tmp_path / "store", cuts=(7, 30))
    x = store.read("L1.mlp_act", "last")
    whole, part = pca_store(store, "L1.mlp_act", "last", 3), slice(3, 40)
    np.testing.assert_allclose(whole.variances, pca(x, 3).variances, rtol=1e-5)
    chosen = pca_store(store, "L1.mlp_act", "last", 3, rows=np.arange(len(x))[part])
    np.testing.assert_allclose(chosen.variances, pca(x[part], 3).variances, rtol=1e-5)
    assert chosen.n == 37
    mask = np.zeros(len(x), bool)
    mask[part] = True
    again = pca_store(store, "L1.mlp_act", "last", 3, rows=mask)
    for name in (field.name for field in dataclasses.fields(again)):
        np.testing.assert_array_equal(getattr(again, name), getattr(chosen, name))


def test_bad_input_is_named(tmp_path: Path) -> None:
    store = Toy().write_store(tmp_path / "store")
    n = store.n_rows("last")
    with pytest.raises(NumericalError, match="all 5 rows are equal"):
        pca(np.ones((5, 4)), 1)
    with pytest.raises(NumericalError, match="1 rows have no variance"):
        pca(np.ones((1, 4)), 1)
    with pytest.raises(NumericalError, match="inf at row 2, column 1"):
        pca([[0.0, 1.0], [1.0, 1.0], [2.0, np.inf]], 1)
    with pytest.raises(UsageError, match="k is 0"):
        pca(np.eye(3), 0)
    with pytest.raises(UsageError, match="k is 0"):
        pca_store(store, "L1.mlp_act", "last", 0)
    with pytest.raises(UsageError, match="indices below"):
        pca_store(store, "L1.mlp_act", "last", 1, rows=np.array([n]))
    with pytest.raises(UsageError, match="twice"):
        pca_store(store, "L1.mlp_act", "last", 1, rows=np.array([1, 1]))

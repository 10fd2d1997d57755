"""Bases, overlaps and the passes of principal components against their numpy twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import gram_product, row_span, subspace_overlap, write_store

from emo import _core
from emo.errors import NumericalError, UsageError
from emo.geometry.overlap import overlap_grid
from emo.geometry.pca import pca

TIERS = _core.build_info()["tiers"]


def ragged(seed: int = 0, d: int = 130) -> list[NDArray[np.float64]]:
    """Sets of 1 to 14 vectors; every fourth repeats one of its own, scaled."""
    rng = np.random.default_rng(seed)
    sets = []
    for index in range(30):
        vectors = rng.normal(size=(1 + index % 14, d)) + 0.1 * index
        sets.append(np.vstack([vectors, -3 * vectors[:1]]) if index % 4 == 0 else vectors)
    return sets


def run(sets: list[Any], **options: Any) -> Any:
    return _core.subspace_overlaps(
        sets, [1e-9] * len(sets), **{"double": True, "bases": True, **options}
    )


def test_overlaps_equal_their_twins() -> None:
    sets = ragged()
    bases = [row_span(vectors, 1e-9) for vectors in sets]
    found = run(sets)
    np.testing.assert_array_equal(found["ranks"], [len(basis) for basis in bases])
    wanted = np.array([[subspace_overlap(x, y) for y in bases] for x in bases])
    np.testing.assert_allclose(found["overlap"], wanted, atol=1e-12)
    np.testing.assert_allclose(run(sets, double=False)["overlap"], wanted, atol=1e-6)
    for basis, mine in zip(
        bases, np.split(found["bases"], np.cumsum(found["ranks"])[:-1]), strict=True
    ):
        np.testing.assert_allclose(mine.T @ mine, basis.T @ basis, atol=1e-12)


def test_single_precision_products_err_by_less_than_a_millionth() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(8, 4000))
    # From almost equal to random, at a width where rounding has room to grow.
    sets = [x + size * rng.normal(size=x.shape) for size in (0, 1e-3, 0.1, 0.5, 1, 2, 10)]
    exact, quick = run(sets)["overlap"], run(sets, double=False)["overlap"]
    assert exact.min() < 0.02
    np.testing.assert_allclose(quick, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("double", [True, False])
def test_threads_and_tiers_leave_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, double: bool
) -> None:
    sets, seen = ragged(3), set()
    for tier in TIERS:
        monkeypatch.setenv("EMO_SIMD", tier)
        for threads in (1, 2, 4):
            found = run(sets, double=double, threads=threads)
            seen.add((found["overlap"].tobytes(), found["bases"].tobytes()))
    assert len(seen) == 1


def test_rotation_changes_no_overlap() -> None:
    sets = ragged(1, 40)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(40, 40)))[0]
    turned = overlap_grid([vectors @ turn for vectors in sets])
    np.testing.assert_allclose(turned.overlap, overlap_grid(sets).overlap, atol=1e-6)


def test_sets_of_the_wrong_kind_are_refused() -> None:
    good = np.ones((2, 6))
    for bad in (np.ones((2, 6), np.int64), np.ones(6), np.ones((6, 4)).T, "x"):
        with pytest.raises(UsageError, match="set 1 must be a C-contiguous"):
            run([good, bad])
    with pytest.raises(UsageError, match="set 1 has width 5"):
        run([good, np.ones((2, 5))])
    with pytest.raises(UsageError, match="tolerances"):
        _core.subspace_overlaps([good], [], double=True, bases=False)
    with pytest.raises(NumericalError, match="set 0 holds NaN at row 1, column 0"):
        run([np.array([[1.0, 2.0], [np.nan, 1.0]])])


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize(("rows", "width", "k"), [(1, 1, 1), (65, 130, 3), (1500, 67, 20)])
def test_passes_equal_their_twin(tmp_path: Path, dtype: str, rows: int, width: int, k: int) -> None:
    rng = np.random.default_rng(width)
    raw = rng.normal(3, 1, size=(rows, width))
    paths, chunks, values = write_store(tmp_path, raw, dtype, [rows // 3])
    pilot, vectors = rng.normal(3, 0.1, size=(1, width)), rng.normal(size=(k, width))
    labels = np.where(np.arange(rows) % 7 == 3, -1, 0).astype(np.int32)
    found = _core.gram_product(paths, "x", labels, pilot, vectors, chunks=chunks)
    wanted = gram_product(values[labels == 0], pilot, vectors)
    size = np.abs(wanted["product"]).max(initial=1e-3)
    np.testing.assert_allclose(found["product"], wanted["product"], atol=2e-6 * size)
    np.testing.assert_allclose(found["square"], wanted["square"], rtol=2e-6)
    np.testing.assert_allclose(found["sum"], wanted["sum"], atol=1e-5 * np.sqrt(rows) + 1e-6)
    assert (found["count"], found["repeated"]) == ((labels == 0).sum(), 0)
    for array in (values[labels == 0], values[labels == 0].astype(np.float32)):
        again = _core.gram_product_array(array, pilot, vectors)
        np.testing.assert_allclose(again["product"], wanted["product"], atol=2e-6 * size)
    alone = _core.gram_product(paths, "x", labels, pilot, vectors, columns=False, chunks=chunks)
    np.testing.assert_array_equal(alone["product"], found["product"])
    assert (alone["sum"].shape, alone["square"].shape) == ((0,), (0,))


def test_split_threads_and_tiers_leave_the_same_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(8)
    raw = rng.normal(size=(2600, 70)) * rng.exponential(size=70) + 2
    vectors, pilot = rng.normal(size=(16, 70)), np.full((1, 70), 2.0)
    labels, seen = np.zeros(2600, np.int32), set()
    for index, cuts in enumerate(([], [1, 64, 1300, 1300, 2599])):
        folder = tmp_path / str(index)
        folder.mkdir()
        paths, chunks, _ = write_store(folder, raw, "BF16", cuts)
        for tier in TIERS:
            monkeypatch.setenv("EMO_SIMD", tier)
            for threads in (1, 2, 4):
                for io in ("mmap", "pread"):
                    found = _core.gram_product(
                        paths,
                        "x",
                        labels,
                        pilot,
                        vectors,
                        threads=threads,
                        io=io,
                        chunks=chunks,
                    )
                    seen.add((found["product"].tobytes(), found["square"].tobytes()))
    assert len(seen) == 1
    first = pca(raw, 5, threads=1)
    for threads in (2, 3):
        np.testing.assert_array_equal(pca(raw, 5, threads=threads).components, first.components)


def test_bad_passes_are_refused(tmp_path: Path) -> None:
    paths, _, _ = write_store(tmp_path, np.ones((4, 6)), "F32")
    labels, pilot, vectors = np.zeros(4, np.int32), np.zeros((1, 6)), np.ones((1, 6))
    with pytest.raises(UsageError, match="5 columns"):
        _core.gram_product(paths, "x", labels, pilot, np.ones((1, 5)))
    with pytest.raises(UsageError, match="5 values of a pilot"):
        _core.gram_product(paths, "x", labels, np.zeros((1, 5)), vectors)
    with pytest.raises(UsageError, match="3 labels"):
        _core.gram_product(paths, "x", labels[:3], pilot, vectors)
    with pytest.raises(UsageError, match="0 of 0 vectors"):
        _core.gram_product(paths, "x", labels, pilot, np.ones((0, 6)))
    with pytest.raises(NumericalError, match="overflow"):
        _core.gram_product_array(np.full((2, 6), 1e300), pilot, vectors)

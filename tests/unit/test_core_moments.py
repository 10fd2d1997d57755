"""Column moments and grouped contributions against their numpy twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from reference import write_store

from emo import _core
from emo.errors import ArtifactError, NumericalError, UsageError

DTYPES = ["BF16", "F16", "F32"]


def assert_moments(found: Any, wanted: dict[str, Any]) -> None:
    """Equal counts; the mean within 1e-6 standard deviations, M2 within 1e-6."""
    for key in ("count", "positive", "negative"):
        np.testing.assert_array_equal(found[key], wanted[key])
        assert found[key].dtype == np.uint64
    np.testing.assert_allclose(found["m2"], wanted["m2"], rtol=1e-6, atol=1e-12)
    scale = np.sqrt(wanted["m2"].max(initial=1.0))
    np.testing.assert_allclose(found["mean"], wanted["mean"], rtol=1e-9, atol=1e-6 * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "width", "n_labels"), [(0, 5, 2), (1, 1, 1), (900, 67, 5), (3000, 8, 1)]
)
def test_moments_equal_their_twin(
    tmp_path: Path, dtype: str, rows: int, width: int, n_labels: int
) -> None:
    rng = np.random.default_rng(rows)
    raw = rng.normal(1.0, 2.0, (rows, width)) * (rng.random((rows, width)) > 0.1)
    paths, chunks, values = write_store(tmp_path, raw, dtype, [rows // 3])
    labels = rng.integers(-1, n_labels, rows).astype(np.int32)
    found = _core.moments(paths, "x", labels, n_labels, chunks=chunks)
    assert_moments(found, reference.moments(values, labels, n_labels))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_width", [1, 3, 16])
def test_contributions_equal_their_twin(tmp_path: Path, dtype: str, group_width: int) -> None:
    rng = np.random.default_rng(1)
    paths, chunks, values = write_store(tmp_path, rng.normal(0.2, 1, (500, 48)), dtype, [1, 77])
    labels = rng.integers(-1, 3, 500).astype(np.int32)
    weights = rng.normal(size=(5, 48))
    weights[2, :4] = 0
    found = _core.grouped_contributions(paths, "x", labels, 3, weights, group_width, chunks=chunks)
    each = reference.contributions(values, weights, group_width)
    assert found["mean"].shape == (3, 5, 48 // group_width)
    assert_moments(found, reference.moments(each, labels, 3))


def test_contributions_sum_to_the_projection(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    paths, _, _ = write_store(tmp_path, rng.normal(size=(400, 60)), "BF16")
    labels = np.zeros(400, np.int32)
    weights = rng.normal(size=(3, 60))
    heads = _core.grouped_contributions(paths, "x", labels, 1, weights, 12)["mean"].sum(-1)
    neurons = _core.grouped_contributions(paths, "x", labels, 1, weights, 1)["mean"].sum(-1)
    whole = _core.grouped_contributions(paths, "x", labels, 1, weights, 60)["mean"][..., 0]
    projected = _core.project(paths, "x", weights).mean(0, dtype=np.float64)
    np.testing.assert_allclose(heads, whole, atol=1e-12)
    np.testing.assert_allclose(neurons, whole, atol=1e-6)
    np.testing.assert_allclose(projected[None], whole, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_splits_reading_and_instructions_leave_the_same_bits(
    tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    raw = rng.normal(5, 1, (1500, 90))
    labels = rng.integers(-1, 4, 1500).astype(np.int32)
    weights = rng.normal(size=(3, 90))
    seen = set()
    for index, (cuts, pad) in enumerate([((), 0), ((1, 640, 641, 641), 0), ((500,), 3)]):
        folder = tmp_path / str(index)
        folder.mkdir()
        paths, _, _ = write_store(folder, raw, dtype, cuts, pad)
        for tier in _core.build_info()["tiers"]:
            monkeypatch.setenv("EMO_SIMD", tier)
            for threads, io in ((1, "mmap"), (2, "pread"), (4, "auto")):
                columns = _core.moments(paths, "x", labels, 4, threads=threads, io=io)
                heads = _core.grouped_contributions(
                    paths, "x", labels, 4, weights, 15, threads=threads, io=io
                )
                arrays = [*columns.values(), *heads.values()]
                arrays.append(_core.project(paths, "x", weights, threads=threads, io=io))
                seen.add(b"".join(np.asarray(array).tobytes() for array in arrays))
    assert len(seen) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_non_finite_values_are_named(tmp_path: Path, dtype: str, value: float) -> None:
    raw = np.ones((300, 40))
    raw[211, 17] = value
    paths, _, _ = write_store(tmp_path, raw, dtype, [200])
    labels = np.zeros(300, np.int32)
    calls = [
        lambda: _core.moments(paths, "x", labels, 1),
        lambda: _core.grouped_contributions(paths, "x", labels, 1, np.ones((1, 40)), 8),
        lambda: _core.project(paths, "x", np.ones((1, 40))),
    ]
    for call in calls:
        with pytest.raises(NumericalError, match=r"'?\"x\".* row 211, column 17") as caught:
            call()
        assert "1.safetensors row 11" in str(caught.value)
    labels[211] = -1
    assert _core.moments(paths, "x", labels, 1)["count"] == [299]


def test_large_values_do_not_overflow(tmp_path: Path) -> None:
    raw = np.where(np.arange(600).reshape(200, 3) % 2, 3e38, -3e38)
    paths, _, values = write_store(tmp_path, raw, "F32")
    labels = np.zeros(200, np.int32)
    found = _core.moments(paths, "x", labels, 1)
    wanted = reference.moments(values, labels, 1)
    np.testing.assert_allclose(found["m2"], wanted["m2"], rtol=1e-9)


def test_recorded_hashes_are_checked_in_passing(tmp_path: Path) -> None:
    raw = np.random.default_rng(4).normal(size=(3000, 1000))
    paths, chunks, _ = write_store(tmp_path, raw, "F32", [100])
    labels = np.zeros(3000, np.int32)
    with paths[1].open("r+b") as file:
        file.seek(4096 + (8 << 20) + 2)
        file.write(b"\x55")
    for io in ("mmap", "pread"):
        with pytest.raises(ArtifactError, match=r"1\.safetensors.*\"x\".*chunk 1"):
            _core.moments(paths, "x", labels, 1, io=io, chunks=chunks)
        with pytest.raises(ArtifactError, match="chunk 1"):
            _core.project(paths, "x", np.ones((1, 1000)), io=io, chunks=chunks)
    _core.moments(paths, "x", labels, 1)
    with pytest.raises(ArtifactError, match="2 chunks, hashes are recorded for 1"):
        _core.moments(paths, "x", labels, 1, chunks=[chunks[0], chunks[1][:1]])
    with pytest.raises(UsageError, match="given for 1 shards"):
        _core.moments(paths, "x", labels, 1, chunks=chunks[:1])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"labels": np.zeros(3, np.int32)}, "3 labels are given for 4 rows"),
        ({"labels": np.zeros(4, np.int64)}, "int64"),
        ({"labels": np.zeros(8, np.int32)[::2]}, "not C-contiguous"),
        ({"labels": np.zeros((4, 1), np.int32)}, "labels must be"),
        ({"labels": [0, 0, 0, 0]}, "list"),
        ({"labels": np.array([0, 0, 0, 1], np.int32)}, "the label of row 3 is 1"),
        ({"labels": np.array([0, -2, 0, 0], np.int32)}, "the label of row 1 is -2"),
        ({"weights": np.zeros((2, 5))}, "5 columns"),
        ({"weights": np.zeros((2, 6), np.float32)}, "float32"),
        ({"weights": np.zeros((6, 2)).T}, "not C-contiguous"),
        ({"weights": np.zeros(6)}, "weights must be"),
        ({"group_width": 4}, "do not divide"),
        ({"group_width": 0}, "do not divide"),
        ({"n_labels": 2**40}, "too many"),
        ({"io": "fast"}, "auto, mmap or pread"),
        ({"threads": 100_000}, "too many"),
        ({"shards": []}, "no shards"),
    ],
)
def test_arguments_are_checked(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    paths, _, _ = write_store(tmp_path, np.ones((4, 6)), "F32")
    arguments: dict[str, Any] = {
        "shards": paths,
        "tensor": "x",
        "labels": np.zeros(4, np.int32),
        "n_labels": 1,
        "weights": np.ones((2, 6)),
        "group_width": 3,
        **change,
    }
    with pytest.raises(UsageError, match=match):
        _core.grouped_contributions(**arguments)


def test_non_finite_weights_are_refused(tmp_path: Path) -> None:
    paths, _, _ = write_store(tmp_path, np.ones((4, 6)), "F32")
    weights = np.ones((2, 6))
    weights[1, 2] = np.nan
    with pytest.raises(NumericalError, match="vector 1 holds NaN in column 2"):
        _core.grouped_contributions(paths, "x", np.zeros(4, np.int32), 1, weights, 3)


def test_shards_must_agree(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    (first,), _, _ = write_store(tmp_path / "a", np.ones((4, 6)), "F32")
    (second,), _, _ = write_store(tmp_path / "b", np.ones((4, 7)), "F32")
    with pytest.raises(ArtifactError, match="width 7"):
        _core.moments([first, second], "x", np.zeros(8, np.int32), 1)

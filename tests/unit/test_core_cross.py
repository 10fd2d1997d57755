"""Streamed cross-moments of two tensors against their numpy twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from reference import write_store

from emo import _core
from emo.errors import ArtifactError, NumericalError, UsageError

KEYS = ("mean_x", "mean_y", "xx", "yy", "xy")


def stores(folder: Path, x: Any, y: Any, dtype: str, cuts: tuple[Any, Any]) -> Any:
    found = []
    for name, values, cut in (("x", x, cuts[0]), ("y", y, cuts[1])):
        (folder / name).mkdir(parents=True)
        found.append(write_store(folder / name, values, dtype, cut))
    return found


def moments(found: Any, labels: Any, n_labels: int, **options: Any) -> Any:
    (x, chunks_x, _), (y, chunks_y, _) = found
    options = {"chunks_x": chunks_x, "chunks_y": chunks_y, **options}
    return _core.cross_moments(x, "x", y, "x", labels, n_labels, **options)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize(
    ("rows", "dx", "dy", "n_labels"),
    [(0, 3, 2, 1), (1, 1, 1, 1), (2, 5, 3, 2), (300, 17, 8, 1), (700, 70, 131, 3)],
)
def test_cross_moments_equal_their_twin(
    tmp_path: Path, dtype: str, rows: int, dx: int, dy: int, n_labels: int
) -> None:
    rng = np.random.default_rng(rows)
    x, y = rng.normal(3.0, 2.0, (rows, dx)), rng.normal(-20.0, 1.0, (rows, dy))
    found = stores(tmp_path, x, y, dtype, ([rows // 3], [rows // 2]))
    labels = rng.integers(-1, n_labels, rows).astype(np.int32)
    got = moments(found, labels, n_labels)
    wanted = reference.cross_moments(found[0][2], found[1][2], labels, n_labels)
    np.testing.assert_array_equal(got["count"], wanted["count"])
    for key in KEYS:
        assert got[key].dtype == np.float64
        scale = np.abs(wanted[key]).max(initial=1.0)
        np.testing.assert_allclose(got[key], wanted[key], rtol=0, atol=1e-12 * scale)
    np.testing.assert_array_equal(got["xx"], got["xx"].transpose(0, 2, 1))
    np.testing.assert_array_equal(got["yy"], got["yy"].transpose(0, 2, 1))


def test_threads_splits_reading_and_instructions_leave_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(5, 1, (900, 75)), rng.normal(size=(900, 90))
    labels = rng.integers(-1, 2, 900).astype(np.int32)
    seen = set()
    for index, cuts in enumerate([((), ()), ((1, 640, 641, 641), (256,)), ((), (500,))]):
        found = stores(tmp_path / str(index), x, y, "BF16", cuts)
        for tier in _core.build_info()["tiers"]:
            monkeypatch.setenv("EMO_SIMD", tier)
            for threads, io in ((1, "mmap"), (2, "pread"), (4, "auto")):
                got = moments(found, labels, 2, threads=threads, io=io)
                seen.add(b"".join(got[key].tobytes() for key in KEYS))
    assert len(seen) == 1


@pytest.mark.parametrize("side", [0, 1])
def test_non_finite_values_are_named(tmp_path: Path, side: int) -> None:
    values = [np.ones((300, 12)), np.ones((300, 9))]
    values[side][271, 7] = np.nan
    found = stores(tmp_path, *values, "F32", ([200], [100]))
    with pytest.raises(NumericalError, match="NaN at row 271, column 7"):
        moments(found, np.zeros(300, np.int32), 1)
    left_out = np.zeros(300, np.int32)
    left_out[271] = -1
    assert moments(found, left_out, 1)["count"][0] == 299


def test_a_damaged_chunk_is_an_error(tmp_path: Path) -> None:
    found = stores(tmp_path, np.ones((300, 12)), np.ones((300, 9)), "F32", ([200], [100]))
    path = found[1][0][0]
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ArtifactError, match="is damaged"):
        moments(found, np.zeros(300, np.int32), 1)


def test_misfits_are_refused(tmp_path: Path) -> None:
    found = stores(tmp_path, np.ones((5, 3)), np.ones((6, 3)), "F32", ((), ()))
    with pytest.raises(UsageError, match=r"has 5 rows and tensor .* has 6"):
        moments(found, np.zeros(5, np.int32), 1)
    (x, _, _), _ = found
    with pytest.raises(UsageError, match="4 labels"):
        _core.cross_moments(x, "x", x, "x", np.zeros(4, np.int32), 1)

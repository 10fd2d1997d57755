"""Shards: the strict header reader, the writer, hashes and plain reading."""

from __future__ import annotations

import json
import os
import stat
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from reference import raw_shard, to_bits, write_store
from safetensors import safe_open

from emo import _core
from emo.errors import ArtifactError, ResourceError, UsageError

ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
CHUNK = 8 << 20


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    single = rng.normal(size=(5, 7)).astype(np.float32)
    half = single.astype(np.float16)
    index = np.arange(10, dtype=np.int64).reshape(5, 2)
    path = tmp_path / "0.safetensors"
    tensors = [
        ("L0.mlp_act@last", "BF16", to_bits(single, "BF16")),
        ("half", "F16", half),
        ("bits", "F16", half.view(np.uint16)),
        ("single", "F32", single),
        ("rows@last", "I64", index),
    ]
    written = _core.write_shard(path, tensors)
    assert written["bytes"] == path.stat().st_size
    assert [len(hashes) for hashes in written["chunks"].values()] == [1] * 5
    rows = _core.inspect_shard(path)
    assert [row[0] for row in rows] == [name for name, _, _ in tensors]
    assert rows[0][3] % 4096 == 0
    assert rows[-1][4] == path.stat().st_size
    with safe_open(path, "np") as file:
        for name, array in (("single", single), ("bits", half), ("rows@last", index)):
            np.testing.assert_array_equal(file.get_tensor(name), array)
    wanted = reference.read_rows(tensors[0][2], "BF16", 1, 4)
    np.testing.assert_array_equal(_core.read_rows(path, "L0.mlp_act@last", 1, 4), wanted)


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "0.safetensors"
    tensor = ("x", "F32", np.zeros((2, 2), np.float32))
    written = _core.write_shard(path, [tensor])
    before = path.read_bytes()
    with pytest.raises(ResourceError, match="never replaced"):
        _core.write_shard(path, [tensor])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    again = _core.write_shard(tmp_path / "1.safetensors", [tensor])
    assert (again["blake3"], again["chunks"]) == (written["blake3"], written["chunks"])
    with pytest.raises(ResourceError, match="create"):
        _core.write_shard(tmp_path / "absent" / "0.safetensors", [tensor])


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        _core.write_shard(tmp_path / "x", [])
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("name", "dtype", "array"),
    [
        ("x", "BF16", np.zeros((2, 2), np.float32)),
        ("x", "F32", np.zeros((2, 2))),
        ("x", "F32", np.zeros((4, 4), np.float32)[:, ::2]),
        ("x", "F32", np.zeros((4, 4), np.float32).T[:2]),
        ("x", "I64", np.zeros((2, 2), np.int32)),
        ("x", "F64", np.zeros((2, 2))),
        ("x", "F32", [[1.0]]),
        ("", "F32", np.zeros((2, 2), np.float32)),
        ("a b", "F32", np.zeros((2, 2), np.float32)),
        ("__metadata__", "F32", np.zeros((2, 2), np.float32)),
    ],
)
def test_unfit_tensors_are_refused(tmp_path: Path, name: str, dtype: str, array: Any) -> None:
    with pytest.raises(UsageError, match=r"tensor|dtype"):
        _core.write_shard(tmp_path / "x", [(name, dtype, array)])
    assert not list(tmp_path.iterdir())


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    tensor = ("x", "F32", np.zeros((2, 2), np.float32))
    with pytest.raises(UsageError, match="given twice"):
        _core.write_shard(tmp_path / "x", [tensor, tensor])


@pytest.mark.parametrize(
    ("header", "data", "match"),
    [
        ({"x": ENTRY}, 25, "the tensors end"),
        ({"x": ENTRY}, 23, "claims bytes"),
        ({"x": {**ENTRY, "data_offsets": [4, 28]}}, 28, "a gap"),
        ({"x": ENTRY, "y": ENTRY}, 24, "an overlap"),
        ({"x": {**ENTRY, "shape": [2, 4]}}, 24, "takes 32"),
        ({"x": {**ENTRY, "shape": [2**63, 2**63]}}, 24, "impossible shape"),
        ({"x": {**ENTRY, "shape": [1] * 9}}, 24, "rank 9"),
        ({"x": {**ENTRY, "shape": [-2, -3]}}, 24, "bad header"),
        ({"x": {**ENTRY, "dtype": "F31"}}, 24, "unknown dtype"),
        ({"x": {**ENTRY, "more": 1}}, 24, "unknown field"),
        ({"a/b\n": ENTRY}, 24, "not plain"),
        ({"x" * 300: ENTRY}, 24, "not plain"),
        ({"x": ENTRY, "__metadata__": {"a": 1}}, 24, "bad header"),
        ([ENTRY], 24, "one JSON object"),
        (b'{"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"x":1}', 24, "duplicate key"),
        (b'{"x":', 24, "bad header"),
        (b"\xff\xfe{}", 0, "one JSON object"),
        (b"[" * 5000, 0, "one JSON object"),
        (b'{"__metadata__":' + b"[" * 5000, 0, "bad header"),
    ],
)
def test_bad_headers_are_refused(tmp_path: Path, header: Any, data: int, match: str) -> None:
    path = raw_shard(tmp_path / "bad", header, bytes(data))
    with pytest.raises(ArtifactError, match=match) as caught:
        _core.inspect_shard(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 7, struct.pack("<Q", 2**62) + b"{}", b"\xff" * 64]
)
def test_files_without_a_header_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        _core.inspect_shard(path)


def test_absent_files_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(ArtifactError):
            _core.inspect_shard(path)
        with pytest.raises(ArtifactError):
            _core.hash_file(path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ArtifactError, match="regular"):
            _core.inspect_shard(tmp_path / "pipe")


def test_metadata_and_empty_tensors_are_accepted(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "e": {**ENTRY, "shape": [0, 3], "data_offsets": [0, 0]},
    }
    path = raw_shard(tmp_path / "ok", json.dumps(header).encode() + b"   ", b"")
    assert [row[:3] for row in _core.inspect_shard(path)] == [("e", "F32", [0, 3])]
    assert _core.read_rows(path, "e", 0, 0).shape == (0, 3)


def test_chunks_are_cut_per_tensor(tmp_path: Path) -> None:
    data = np.arange((CHUNK + 64) // 4, dtype=np.float32).reshape(-1, 16)
    small = np.ones((1, 16), np.float32)
    together = _core.write_shard(tmp_path / "a", [("s", "F32", small), ("x", "F32", data)])
    alone = _core.write_shard(tmp_path / "b", [("x", "F32", data)])
    assert len(alone["chunks"]["x"]) == 2
    assert together["chunks"]["x"] == alone["chunks"]["x"]
    assert together["chunks"]["s"] != alone["chunks"]["x"][:1]


def test_verify_sees_every_flipped_bit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    written = _core.write_shard(path, [("x", "F32", np.zeros((3, 3), np.float32))])
    _core.verify_shard(path, written["blake3"])
    assert _core.hash_file(path) == written["blake3"]
    whole = bytearray(path.read_bytes())
    for at in (0, 20, 4000, 4096, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            _core.verify_shard(path, written["blake3"])
    with pytest.raises(UsageError, match="no blake3"):
        _core.verify_shard(path, "12")


def test_read_rows_checks_its_arguments(tmp_path: Path) -> None:
    (path,), _, values = write_store(tmp_path, np.ones((4, 3)), "F16")
    np.testing.assert_array_equal(_core.read_rows(path, "x", 0, 4), values)
    for start, stop in ((0, 5), (3, 2), (5, 5)):
        with pytest.raises(UsageError, match="rows"):
            _core.read_rows(path, "x", start, stop)
    with pytest.raises(ArtifactError, match="no tensor") as caught:
        _core.read_rows(path, "y", 0, 1)
    assert caught.value.hint == "it holds: x"
    _core.write_shard(tmp_path / "i", [("rows", "I64", np.zeros((2, 2), np.int64))])
    with pytest.raises(ArtifactError, match="I64"):
        _core.read_rows(tmp_path / "i", "rows", 0, 1)

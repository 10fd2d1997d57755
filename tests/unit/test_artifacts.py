"""Artifacts come back as they were, appear whole or not at all, and are read by kind."""

import json
import os
import stat

import numpy as np
import pytest

from emo import artifacts
from emo.artifacts import (
    Artifact,
    current_umask,
    read_artifact,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_text,
    write_artifact,
    write_bytes,
    write_json,
    write_jsonl,
)
from emo.errors import ArtifactError, DataError, ResourceError

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array([3], dtype=np.int64)}
SOME = Artifact("directions", ARRAYS, {"labels": ["é", "b"]}, {"model": "m"})


def test_an_artifact_comes_back_as_it_was(tmp_path):
    write_artifact(tmp_path / "x.safetensors", SOME)
    read = read_artifact(tmp_path / "x.safetensors", "directions")
    assert (read.kind, read.meta, read.provenance) == (SOME.kind, SOME.meta, SOME.provenance)
    for name, array in ARRAYS.items():
        assert read.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(read.arrays[name], array)


def test_arrays_that_are_not_contiguous_come_back_right(tmp_path):
    turned = ARRAYS["a"].T
    write_artifact(tmp_path / "x", Artifact("scores", {"a": turned}))
    np.testing.assert_array_equal(read_artifact(tmp_path / "x", "scores").arrays["a"], turned)


def test_the_same_artifact_has_the_same_bytes_anywhere(tmp_path):
    for name in ("x", "deep/y"):
        write_artifact(tmp_path / name, SOME)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "deep" / "y").read_bytes()


def test_another_kind_or_a_newer_format_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_artifact(path, SOME)
    with pytest.raises(ArtifactError, match="holds directions, but scores is needed"):
        read_artifact(path, "scores")
    monkeypatch.setattr(artifacts, "FORMAT_VERSION", artifacts.FORMAT_VERSION + 1)
    write_artifact(path, SOME)
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match="has format 2"):
        read_artifact(path, "directions")


@pytest.mark.parametrize("content", [b"", b"not a tensor file", b"\xff" * 64])
def test_a_damaged_artifact_is_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ArtifactError, match="not a readable directions file"):
        read_artifact(tmp_path / "x", "directions")


def test_a_cut_artifact_is_refused(tmp_path):
    write_artifact(tmp_path / "x", SOME)
    content = (tmp_path / "x").read_bytes()
    for n in range(0, len(content), 7):
        (tmp_path / "x").write_bytes(content[:n])
        with pytest.raises(ArtifactError):
            read_artifact(tmp_path / "x", "directions")


def test_foreign_and_missing_files_are_named(tmp_path):
    from safetensors.numpy import save_file

    save_file(ARRAYS, tmp_path / "foreign")
    with pytest.raises(ArtifactError, match="was not written by emo"):
        read_artifact(tmp_path / "foreign", "directions")
    with pytest.raises(ArtifactError, match=r"no such file: .*absent"):
        read_artifact(tmp_path / "absent", "directions")


def test_json_comes_back_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "x.json", {"é": [1, None]})
    assert (tmp_path / "x.json").read_bytes().endswith(b"}\n")
    assert "é" in (tmp_path / "x.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "x.json", "summary") == {"é": [1, None]}


def test_json_that_cannot_be_read_is_an_artifact_error(tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        read_json(tmp_path / "x.json", "summary")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ArtifactError, match="not a readable summary file"):
        read_json(tmp_path / "x.json", "summary")


def test_numbers_that_json_lacks_are_not_written(tmp_path):
    for write in (write_json, lambda path, row: write_jsonl(path, [row])):
        with pytest.raises(ValueError, match="Out of range float"):
            write(tmp_path / "x", {"a": float("nan")})
    assert not (tmp_path / "x").exists()


def test_lines_come_back_with_their_numbers(tmp_path):
    write_jsonl(tmp_path / "x", [{"a": "line\nbreak"}, {"b": 1}])
    assert list(read_jsonl(tmp_path / "x")) == [(1, {"a": "line\nbreak"}), (2, {"b": 1})]


def test_blank_lines_and_a_byte_order_mark_are_skipped(tmp_path):
    (tmp_path / "x").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"b": 2}')
    assert list(read_jsonl(tmp_path / "x")) == [(1, {"a": 1}), (4, {"b": 2})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": "\xe9"}', "not UTF-8"),
        (b"{", "not JSON"),
        (b"[1]", "a JSON object is needed"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": -Infinity}', "-Infinity is not a number"),
        (b'{"a": 1, "a": 2}', "the key 'a' is repeated"),
        (rb'{"a": "\ud800"}', "half a surrogate pair"),
        (b'{"a": ' + b"[" * 200_000, "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    (tmp_path / "x").write_bytes(b'{"a": 1}\n\n' + line + b"\n")
    with pytest.raises(DataError, match=f"x, line 3: .*{message}"):
        list(read_jsonl(tmp_path / "x"))


def test_a_character_in_two_halves_is_whole(tmp_path):
    (tmp_path / "x").write_bytes(rb'{"a": "\ud83d\ude00"}')
    assert list(read_jsonl(tmp_path / "x")) == [(1, {"a": "😀"})]


def test_files_that_are_not_there_are_data_errors(tmp_path):
    for path in (tmp_path / "absent", tmp_path, tmp_path / "absent" / "x"):
        with pytest.raises(DataError, match="cannot read"):
            list(read_jsonl(path))


def test_a_file_that_may_not_be_read_is_a_resource_error(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(ResourceError, match="Permission denied"):
        list(read_jsonl(tmp_path / "x"))


def test_a_written_file_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        assert current_umask() == 0o027
        write_bytes(tmp_path / "x", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    write_bytes(tmp_path / "x", b"old")

    def fail(*paths):
        raise error

    monkeypatch.setattr(artifacts.os, "replace", fail)
    with pytest.raises((ResourceError, KeyboardInterrupt)) as caught:
        write_bytes(tmp_path / "x", b"new")
    if isinstance(error, OSError):
        assert "No space left" in str(caught.value)
        assert "free some space" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_folder_that_cannot_be_made_is_a_resource_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot write"):
        write_bytes(tmp_path / "file" / "x", b"1")


def test_hashes_are_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes("é".encode())
    assert sha256_file(tmp_path / "x") == sha256_text("é")
    assert len(sha256_text("")) == 64
    with pytest.raises(ResourceError, match="cannot read"):
        sha256_file(tmp_path / "absent")


def test_a_record_holds_no_path_and_no_time(tmp_path):
    write_artifact(tmp_path / "x", SOME)
    size = int.from_bytes((tmp_path / "x").read_bytes()[:8], "little")
    header = json.loads((tmp_path / "x").read_bytes()[8 : 8 + size])
    assert set(json.loads(header["__metadata__"]["emo"])) == {
        "kind", "format", "version", "meta", "provenance",
    }  # fmt: skip

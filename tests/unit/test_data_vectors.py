"""Array files in every form and number format, what is refused, and matching by label."""

import json
import pickle
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from emo.data.vectors import ArrayFile, Vectors, match
from emo.errors import ArtifactError, DataError, EmoError, NumericalError, UsageError

LABELS = ("fear", "anger", "très heureux", "grief-stricken")
VALUES = np.random.default_rng(0).integers(-8, 8, (4, 5)).astype(np.float64) / 4
NUMBERS = ["float16", "float32", "float64", ">f4", ">f8", "int8", "int16", "int64", "uint8"]


def _npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


def _same(found: Vectors, values: np.ndarray, labels: tuple[str, ...] = LABELS) -> None:
    assert found.labels == labels
    assert found.values.flags.c_contiguous
    np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_number_formats(tmp_path: Path, dtype: str) -> None:
    values = np.abs(VALUES * 4).astype(dtype)
    found = ArrayFile(_npz(tmp_path / "a.npz", vectors=values, labels=LABELS)).vectors()
    _same(found, values.astype(np.float64))
    short = np.dtype(dtype).kind == "f" and np.dtype(dtype).itemsize <= 4
    assert found.values.dtype == (np.float32 if short else np.float64)


def test_bfloat16(tmp_path: Path) -> None:
    values = VALUES.astype(ml_dtypes.bfloat16)
    _same(ArrayFile(_npz(tmp_path / "a.npz", vectors=values, labels=LABELS)).vectors(), VALUES)
    save_file({"vectors": values}, tmp_path / "a", metadata={"labels": json.dumps(LABELS)})
    _same(ArrayFile(tmp_path / "a").vectors(), VALUES)


def test_a_view_in_another_order(tmp_path: Path) -> None:
    for values in (np.asfortranarray(VALUES), VALUES[:, ::-1]):
        _same(ArrayFile(_npz(tmp_path / "a.npz", vectors=values, labels=LABELS)).vectors(), values)
    np.savez_compressed(tmp_path / "c.npz", vectors=VALUES, labels=LABELS)
    _same(ArrayFile(tmp_path / "c.npz").vectors(), VALUES)


def test_one_array_for_each_label(tmp_path: Path) -> None:
    arrays = dict(zip(LABELS, VALUES, strict=True))
    _same(ArrayFile(_npz(tmp_path / "a.npz", **arrays)).vectors(), VALUES)
    save_file(arrays, tmp_path / "a.safetensors")
    found = ArrayFile(tmp_path / "a.safetensors").vectors()
    assert set(found.labels) == set(LABELS)
    _same(found.take(LABELS), VALUES)


@pytest.mark.parametrize("joint", ["__", "/"])
def test_sites_in_the_names(tmp_path: Path, joint: str) -> None:
    arrays = {f"layer_{i}{joint}{name}": VALUES[e] + i
              for i in (8, 16) for e, name in enumerate(LABELS)}  # fmt: skip
    file = ArrayFile(_npz(tmp_path / "a.npz", **arrays))
    assert file.sites == ("layer_8", "layer_16")
    _same(file.vectors("layer_16"), VALUES + 16)
    with pytest.raises(UsageError, match="several sites: layer_8, layer_16"):
        file.vectors()
    with pytest.raises(UsageError, match="no site 'layer_9'"):
        file.vectors("layer_9")


def test_labels_of_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a"
    wide = max(len(name.encode()) for name in LABELS)
    text = np.frombuffer(b"".join(n.encode().ljust(wide, b"\0") for n in LABELS), np.uint8)
    save_file({"vectors": VALUES, "labels": text.reshape(4, wide)}, path)
    _same(ArrayFile(path).vectors(), VALUES)
    save_file({"vectors": VALUES, "labels": np.array([3, 1, 2, 0])}, path)
    _same(ArrayFile(path).vectors(), VALUES, ("3", "1", "2", "0"))


def test_plain_arrays_are_numbered(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    found = ArrayFile(tmp_path / "a.npy").vectors()
    _same(found, VALUES, ("0", "1", "2", "3"))
    assert found.numbered
    _, _, warnings = match(found, Vectors(("3", "2", "1", "0"), VALUES, "y"))
    assert "matched by their number" in warnings[0]


def test_the_order_of_labels_does_not_matter() -> None:
    x, y = Vectors(LABELS, VALUES, "x"), Vectors(LABELS[::-1], VALUES[::-1], "y")
    _, matched, warnings = match(x, y)
    _same(matched, VALUES)
    assert warnings == ()
    with pytest.raises(DataError, match="only y has 'grief-stricken'"):
        match(x.take(LABELS[:3]), y)


def test_labels_of_one_side_are_named() -> None:
    with pytest.raises(DataError, match="only x has 'anger'"):
        match(Vectors(LABELS, VALUES, "x"), Vectors(LABELS[2:], VALUES[2:], "y"))
    many = Vectors(tuple(map(str, range(40))), np.zeros((40, 1)), "y")
    with pytest.raises(DataError, match="and 30 more"):
        match(many, many.take(("0", "7", "8", "9", "39")))


def test_repeated_labels_and_values_that_are_not_finite() -> None:
    with pytest.raises(DataError, match="the label 'a' is there 2 times"):
        Vectors(("a", "b", "a"), np.zeros((3, 1)), "x")
    bad = VALUES.copy()
    bad[1, 3] = np.nan
    with pytest.raises(NumericalError, match=r"'anger' is not finite at place 3"):
        Vectors(LABELS, bad, "x")


def test_common_mean() -> None:
    x = Vectors(LABELS, (VALUES - VALUES.mean(0)).astype(np.float32), "x")
    assert x.common < 1e-10
    far = Vectors(LABELS, (VALUES + 1000).astype(np.float32), "x")
    assert far.common > 0.999
    assert far.centred().values.dtype == np.float32
    np.testing.assert_allclose(far.centred().values, x.values, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_vectors_less_their_mean_are_zero(dtype: type) -> None:
    rng = np.random.default_rng(0)
    for n in (3, 7, 10, 31):
        row = (rng.normal(size=50) * np.geomspace(1e-20, 1e20, 50)).astype(dtype)
        values = np.tile(row, (n, 1))
        labels = tuple(map(str, range(n)))
        assert not Vectors(labels, values, "x").centred().values.any()
        values[0, 3] *= 1 + 1e-6
        left = Vectors(labels, values, "x").centred().values
        assert np.flatnonzero(left.any(0)).tolist() == [3]


class _Bomb:
    def __reduce__(self) -> object:
        return Path.touch, (Path("exploded"),)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = np.array([_Bomb()], object)
    _npz(Path("a.npz"), vectors=bomb, labels=["x"])
    np.save("a.npy", bomb, allow_pickle=True)
    Path("a.pkl").write_bytes(pickle.dumps(_Bomb()))
    _npz(Path("b.npz"), vectors=VALUES, labels=np.array(LABELS, object))
    for name in ("a.npz", "a.npy", "b.npz", "a.pkl"):
        with pytest.raises(ArtifactError):
            ArrayFile(Path(name)).vectors()
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "no arrays"),
        ({"vectors": VALUES[0], "labels": LABELS}, "shape (5,)"),
        ({"vectors": VALUES[None], "labels": LABELS}, "shape (1, 4, 5)"),
        ({"vectors": VALUES[:0], "labels": ()}, "shape (0, 5)"),
        ({"vectors": VALUES[:, :0], "labels": LABELS}, "shape (4, 0)"),
        ({"vectors": VALUES, "labels": LABELS[:3]}, "4 vectors but 3 labels"),
        ({"vectors": VALUES, "labels": np.zeros(4)}, "labels are float64"),
        ({"vectors": VALUES, "labels": [LABELS]}, "labels are"),
        ({"vectors": VALUES * 1j, "labels": LABELS}, "'<c16'"),
        ({"vectors": VALUES > 0, "labels": LABELS}, "'|b1'"),
        ({"vectors": np.array([["a"]]), "labels": ["x"]}, "not numbers"),
        ({"a": VALUES[0], "b": VALUES[0, :3]}, "different lengths"),
        ({"a": VALUES}, "not (d,)"),
        ({"a": np.float64(3)}, "not (d,)"),
    ],
)  # fmt: skip
def test_wrong_forms(tmp_path: Path, arrays: dict[str, object], words: str) -> None:
    path = _npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(ArtifactError) as caught:
        ArrayFile(path).vectors()
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "1-D array for each label" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.safetensors"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    """Cut anywhere, or with any byte turned over, a file is read or refused, never a crash."""
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, VALUES)
    elif name == "a.npz":
        np.savez_compressed(path, vectors=VALUES, labels=LABELS)
    else:
        save_file({"vectors": VALUES}, path, metadata={"labels": json.dumps(LABELS)})
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [raw[:cut] for cut in range(0, len(raw), 7)]
    for at in rng.integers(0, len(raw), 400).tolist():
        turned = bytearray(raw)
        turned[at] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(turned))
    refused = 0
    for data in damaged:
        path.write_bytes(data)
        try:
            found = ArrayFile(path).vectors()
            assert found.values.ndim == 2
        except EmoError:
            refused += 1
    assert refused >= len(raw) // 7


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        ArrayFile(tmp_path / "none.npz")
    for data in (b"", b"x", b"PK\x03\x04", b"\x93NUMPY", b"{}" * 40, b"\xff" * 64):
        path = tmp_path / "odd.npz"
        path.write_bytes(data)
        with pytest.raises(ArtifactError):
            ArrayFile(path)

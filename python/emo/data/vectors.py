"""Labelled vectors, and array files of them: ``.npz``, ``.npy`` and ``.safetensors``.

Read are ``vectors`` (n, d) with ``labels`` (n,); or one 1-D array for each label, named by the
label, or by a site and the label, ``layer_8__anger`` or ``layer_8/anger``; a ``.npy`` file is
(n, d) and its labels are the row numbers. Numbers may be bfloat16, float16, float32, float64 or
integers. Nothing is ever unpickled.

A safetensors file holds no text, so its labels are a JSON list of texts under ``labels`` in its
metadata, a tensor of integers, or a uint8 tensor (n, width) of UTF-8 padded with zeros.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.errors import ArtifactError, DataError, NumericalError, ResourceError, UsageError

VECTORS, LABELS = "vectors", "labels"
_FORMS = (
    "give vectors (n, d) with labels (n,), or one 1-D array for each label, as .npz or "
    ".safetensors; or (n, d) as .npy"
)
_JOINT = re.compile(r"__|/")
_SHOWN = 5
_NPY = b"\x93NUMPY"
_PLAIN = re.compile(r"[<>|=][fiuUSV][0-9]{1,6}")
_MAX_HEADER = 10_000
_SAFETENSORS = {
    "BF16": "V2",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "I8": "<i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "U8": "<u1",
    "U16": "<u2",
    "U32": "<u4",
    "U64": "<u8",
}
_BROKEN = (ValueError, KeyError, EOFError, TypeError, RuntimeError, OverflowError, SyntaxError,
           struct.error, zipfile.BadZipFile, zlib.error)  # fmt: skip


@dataclass(frozen=True)
class Vectors:
    """Vectors with a name for each.

    Parameters
    ----------
    labels : tuple of str
        All different.
    values : (n, d) float32 or float64 array
        Finite, C-contiguous.
    source : str
        What they are, for messages.
    numbered : bool
        Whether the labels are only row numbers.
    """

    labels: tuple[str, ...]
    values: NDArray[Any]
    source: str
    numbered: bool = False

    def __post_init__(self) -> None:
        name, times = Counter(self.labels).most_common(1)[0]
        if times > 1:
            raise DataError(
                f"{self.source}: the label {name!r} is there {times} times",
                hint="give each vector a label of its own",
            )
        finite = np.isfinite(self.values).all(axis=1)
        if not finite.all():
            row = int(np.flatnonzero(~finite)[0])
            column = int(np.flatnonzero(~np.isfinite(self.values[row]))[0])
            raise NumericalError(
                f"{self.source}: the vector of {self.labels[row]!r} is not finite at place "
                f"{column}",
                hint="leave it out, or make it again",
            )

    @property
    def common(self) -> float:
        """Share of the summed squared lengths that is the mean of all vectors, 0 to 1."""
        values = self.values.astype(np.float64)
        total = float((values**2).sum())
        return float(len(values) * (values.mean(0) ** 2).sum()) / total if total else 0.0

    def centred(self) -> Vectors:
        """Return the vectors less their mean, in the same number format.

        What is left of a column is zero where it is at most ``n eps max|column|``, the rounding
        of its mean: equal vectors leave nothing.
        """
        wide = self.values.astype(np.float64)
        left = wide - wide.mean(0)
        rounding = len(wide) * np.finfo(np.float64).eps * np.abs(wide).max(0)
        values = np.where(np.abs(left) <= rounding, 0, left).astype(self.values.dtype)
        return Vectors(self.labels, values, self.source, self.numbered)

    def take(self, labels: Collection[str]) -> Vectors:
        """Return the vectors of some labels, in that order."""
        if tuple(labels) == self.labels:
            return self
        index = {name: i for i, name in enumerate(self.labels)}
        rows = [index[name] for name in labels]
        values = np.ascontiguousarray(self.values[rows])
        return Vectors(tuple(labels), values, self.source, self.numbered)


def match(x: Vectors, y: Vectors) -> tuple[Vectors, Vectors, tuple[str, ...]]:
    """Bring two sets of vectors into the same order of labels, that of the first.

    Returns
    -------
    x, y : Vectors
        With the same labels.
    warnings : tuple of str

    Raises
    ------
    DataError
        When a label is in one only; names some.
    """
    for one, other in ((x, y), (y, x)):
        alone = sorted(set(one.labels) - set(other.labels))
        if alone:
            shown = ", ".join(map(repr, alone[:_SHOWN]))
            more = f" and {len(alone) - _SHOWN:,} more" if len(alone) > _SHOWN else ""
            raise DataError(
                f"the two inputs have different labels: only {one.source} has {shown}{more}",
                hint="give the same labels in both, in any order",
            )
    bare = [v.source for v in (x, y) if v.numbered]
    warnings = (f"rows are matched by their number: {bare[0]} holds no labels",) if bare else ()
    return x, y.take(x.labels), warnings


class ArrayFile:
    """An array file, its numbers not yet made into vectors.

    `metadata` is that of a safetensors file, a mapping of texts; empty for other files.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ArtifactError
        When there is no such file, or it is none of the forms read here.
    ResourceError
        When it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        data = _read(self.path)
        try:
            self._arrays, self.metadata = _arrays(data)
        except _UnfitError as error:
            raise _unfit(self.path, str(error)) from None
        except _BROKEN as error:
            raise _unfit(self.path, f"it is damaged or of another form ({error})") from None

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites of arrays named by a site and a label, in the order of the file; else none."""
        if VECTORS in self._arrays:
            return ()
        parts = [_JOINT.split(name, maxsplit=1) for name in self._arrays]
        if not all(len(part) == 2 for part in parts):
            return ()
        return tuple(dict.fromkeys(part[0] for part in parts))

    def vectors(self, site: str | None = None) -> Vectors:
        """Return the vectors, at one site where the file has several.

        Raises
        ------
        ArtifactError
            When the arrays are not vectors with labels.
        DataError
            When labels repeat.
        NumericalError
            When a value is not finite.
        UsageError
            When the file has several sites and none, or another, is named.
        """
        if VECTORS in self._arrays:
            return self._table()
        names = self._names(site)
        arrays = [self._array(name) for name in names]
        odd = [name for name, a in zip(names, arrays, strict=True) if a.ndim != 1 or not a.size]
        if odd:
            shape = self._arrays[odd[0]].shape
            raise _unfit(self.path, f"the array {odd[0]!r} has the shape {shape}, not (d,)")
        lengths = sorted({len(array) for array in arrays})
        if len(lengths) > 1:
            raise _unfit(self.path, f"its vectors have different lengths: {lengths[:_SHOWN]}")
        source = f"{self.path}" + (f" at {site}" if site else "")
        return Vectors(tuple(names.values()), np.stack(arrays), source)

    def _names(self, site: str | None) -> dict[str, str]:
        """Name of each array that counts, and its label."""
        if not self._arrays:
            raise _unfit(self.path, "it holds no arrays")
        if site is None:
            if len(self.sites) > 1 and len(self.sites) < len(self._arrays):
                raise UsageError(
                    f"{self.path} holds vectors at several sites: {_listed(self.sites)}",
                    hint="choose one with --site",
                )
            return {name: name for name in self._arrays}
        if site not in self.sites:
            known = f"it has {_listed(self.sites)}" if self.sites else "it has no sites"
            raise UsageError(f"{self.path} holds no site {site!r}", hint=known)
        parts = {name: _JOINT.split(name, maxsplit=1) for name in self._arrays}
        return {name: part[1] for name, part in parts.items() if part[0] == site}

    def _table(self) -> Vectors:
        values = self._array(VECTORS)
        if values.ndim != 2 or not values.size:
            shape = values.shape
            raise _unfit(self.path, f"its vectors have the shape {shape}, not (n, d)")
        values = np.ascontiguousarray(values)
        labels = self._labels(len(values))
        if labels is None:
            numbers = tuple(map(str, range(len(values))))
            return Vectors(numbers, values, str(self.path), numbered=True)
        if len(labels) != len(values):
            raise _unfit(self.path, f"it has {len(values)} vectors but {len(labels)} labels")
        return Vectors(labels, values, str(self.path))

    def _labels(self, n: int) -> tuple[str, ...] | None:
        if LABELS in self.metadata:
            try:
                found = json.loads(self.metadata[LABELS])
            except ValueError:
                found = None
            if not isinstance(found, list) or not all(isinstance(x, (str, int)) for x in found):
                raise _unfit(self.path, "the labels in its metadata are no JSON list of texts")
            return tuple(map(str, found))
        if LABELS not in self._arrays:
            return None
        array = self._arrays[LABELS]
        if array.ndim == 2 and array.dtype == np.uint8:
            array = array.view(f"S{array.shape[1]}")[:, 0] if array.shape[1] else array
        if array.ndim != 1 or array.dtype.kind not in "USiu":
            raise _unfit(self.path, f"its labels are {array.dtype} {array.shape}, not n texts")
        try:
            return tuple(x.decode() if isinstance(x, bytes) else str(x) for x in array.tolist())
        except UnicodeDecodeError:
            raise _unfit(self.path, "its labels are not UTF-8") from None

    def _array(self, name: str) -> NDArray[Any]:
        array = self._arrays[name]
        if array.dtype == np.dtype("V2"):  # bfloat16, as numpy's own files keep it
            array = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        if array.dtype.kind not in "fiu":
            raise _unfit(self.path, f"the array {name!r} holds {array.dtype}, not numbers")
        small = array.dtype.kind == "f" and array.dtype.itemsize <= 4
        return array.astype(np.float32 if small else np.float64)


class _UnfitError(Exception):
    """Why a file is none of the forms read here."""


def _unfit(path: Path, why: str) -> ArtifactError:
    return ArtifactError(f"{path} holds no vectors that can be read: {why}", hint=_FORMS)


def _read(path: Path) -> bytes:
    if not path.is_file():
        there = f"{path} is no file" if path.exists() else f"no such file: {path}"
        raise ArtifactError(there, hint="it should hold vectors")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ResourceError.of("read", path, error) from None


def _arrays(data: bytes) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    """Arrays of a file by their names, and its metadata."""
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.namelist()
            if len(set(members)) < len(members):
                raise _UnfitError("two of its arrays have the same name")
            found = {n.removesuffix(".npy"): _npy(archive.read(n), n) for n in members}
        return found, {}
    if data.startswith(_NPY):
        return {VECTORS: _npy(data, "the array")}, {}
    return _safetensors(data)


def _npy(data: bytes, name: str) -> NDArray[Any]:
    """Read one array; numpy's own reader could unpickle."""
    if not data.startswith(_NPY) or len(data) < 12:
        raise _UnfitError(f"{name} is no array")
    width = 2 if data[6] == 1 else 4
    start = 8 + width
    stop = start + int.from_bytes(data[8:start], "little")
    if data[6] not in (1, 2, 3) or not start < stop <= min(len(data), start + _MAX_HEADER):
        raise _UnfitError(f"{name} has no header that can be read")
    try:
        header = ast.literal_eval(data[start:stop].decode("utf-8").strip())
        descr, shape = header["descr"], tuple(map(int, header["shape"]))
    except (MemoryError, AttributeError) as error:
        raise _UnfitError(f"{name} has no header that can be read ({error})") from None
    if not isinstance(descr, str) or "O" in descr:
        raise _UnfitError(f"{name} is an array of Python objects, which could run code")
    if not _PLAIN.fullmatch(descr):
        raise _UnfitError(f"{name} holds {descr!r}, not numbers or texts")
    order = "F" if header["fortran_order"] else "C"
    return _shaped(data[stop:], np.dtype(descr), shape, order)


def _safetensors(data: bytes) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise _UnfitError(f"it is damaged or of another form ({error})") from None
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    found = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in _SAFETENSORS:
            raise _UnfitError(
                f"the tensor {name!r} holds {tensor['dtype']}, which is not read here"
            )
        dtype = np.dtype(_SAFETENSORS[tensor["dtype"]])
        found[name] = _shaped(bytes(tensor["data"]), dtype, tuple(tensor["shape"]), "C")
    return found, metadata


def _shaped(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise _UnfitError(f"an array of shape {shape} has {len(data)} bytes")
    if not dtype.itemsize:
        raise _UnfitError("an array holds nothing")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:12]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")

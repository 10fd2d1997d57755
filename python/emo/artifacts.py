"""Small result files: kind, format version, provenance; written atomically, read by type.

An artifact is one safetensors file (arrays plus a JSON record in its header) or one JSON or
JSONL file. Nothing in an artifact depends on its own path or on the time.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.errors import AGAIN, ArtifactError, DataError, ResourceError

FORMAT_VERSION = 1
_KEY = "emo"
_ROW = "each row is one JSON object: names and values in braces"
_HALF = "half a surrogate pair is not a character"


def package_version() -> str:
    """Version of the installed distribution."""
    return importlib.metadata.version("emo-circuits")


@dataclass(frozen=True)
class Artifact:
    """Arrays with the record of what they are and where they came from.

    Parameters
    ----------
    kind : str
        What this is: ``"directions"``, ``"scores"``, ``"judge"`` ...
    arrays : mapping of str to array
        Named arrays.
    meta : mapping
        Whatever a reader needs to use the arrays (labels, layers, units).
    provenance : mapping
        Model, hashes, options and version the arrays came from.
    """

    kind: str
    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def write_artifact(path: Path, artifact: Artifact) -> None:
    """Write `artifact` to `path`; the file appears whole or not at all.

    Raises
    ------
    ResourceError
        When the disk is full or the folder cannot be written.
    """
    from safetensors.numpy import save

    record = {
        "kind": artifact.kind,
        "format": FORMAT_VERSION,
        "version": package_version(),
        "meta": artifact.meta,
        "provenance": artifact.provenance,
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in artifact.arrays.items()}
    write_bytes(path, save(arrays, metadata={_KEY: json.dumps(record, sort_keys=True)}))


def read_artifact(path: Path, kind: str) -> Artifact:
    """Read an artifact and check that it is of the wanted `kind`.

    Raises
    ------
    ArtifactError
        When the file is missing, damaged, of another kind or a newer format.
    ResourceError
        When it is there but may not be read.
    """
    from safetensors import SafetensorError, safe_open

    _need_file(Path(path), kind)
    try:
        with safe_open(path, framework="numpy") as handle:
            record = _loads((handle.metadata() or {}).get(_KEY, "null"))
            _check_record(path, record, kind)
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError, RecursionError, OSError) as error:
        raise _unreadable(path, kind, error) from None
    return Artifact(kind, arrays, record["meta"], record["provenance"])


def _check_record(path: Path, record: Any, kind: str) -> None:
    hint = f"give a file that holds {kind}"
    if not isinstance(record, dict) or "kind" not in record:
        raise ArtifactError(
            f"{path} was not written by emo, so it cannot serve as {kind}", hint=hint
        )
    if record["kind"] != kind:
        raise ArtifactError(f"{path} holds {record['kind']}, but {kind} is needed here", hint=hint)
    parts = (record.get("meta"), record.get("provenance"))
    if type(record.get("format")) is not int or not all(isinstance(part, dict) for part in parts):
        raise _unreadable(path, kind, "its header lacks a part")
    if record["format"] > FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has format {record['format']}, this version reads up to {FORMAT_VERSION}",
            hint="upgrade emo-circuits",
        )


def _need_file(path: Path, what: str) -> None:
    if not path.is_file():
        there = f"{path} is no file" if path.exists() else f"no such file: {path}"
        raise ArtifactError(there, hint=f"it should hold {what}")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ResourceError.of("read", path, error) from None


def _unreadable(path: Path, what: str, why: object) -> ArtifactError:
    return ArtifactError(f"{path} is not a readable {what} file: {why}", hint=AGAIN)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as `json_bytes`, atomically."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return `value` as indented JSON in UTF-8 with a final newline."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def read_json(path: Path, what: str) -> Any:
    """Read a JSON artifact.

    Raises
    ------
    ArtifactError
        When the file is missing or is not JSON.
    ResourceError
        When it is there but cannot be read.
    """
    _need_file(Path(path), what)
    try:
        return _loads(Path(path).read_text(encoding="utf-8"))
    except UnicodeEncodeError:
        raise _unreadable(path, what, _HALF) from None
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, what, error) from None
    except OSError as error:
        raise ResourceError.of("read", path, error) from None


def _loads(text: str) -> Any:
    """Read JSON; half a surrogate pair, which UTF-8 cannot hold, is a ValueError."""
    value = json.loads(text)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, UTF-8, atomically."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    write_bytes(path, "".join(lines).encode())


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) for each line that is not blank.

    Raises
    ------
    DataError
        When the file is missing, or a line is not a JSON object in UTF-8; the message names
        the line.
    ResourceError
        When the file is there but cannot be read.
    """
    for number, line in split_lines(read_input(path)):
        where = f"{path}, line {number}"
        yield number, parse_object(decode(line, where, begins=number == 1), where)


def read_input(path: Path) -> bytes:
    """Bytes of a file that the user named.

    Raises
    ------
    DataError
        When there is no such file.
    ResourceError
        When it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(
            f"cannot read {path}: {os.strerror(error.errno or 0)}", hint="check the path"
        ) from None
    except OSError as error:
        raise ResourceError.of("read", path, error) from None


def split_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line) for each line that is not blank, without a UTF-8 mark."""
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if line.strip():
            yield number, line


def decode(data: bytes, where: str, *, begins: bool = True) -> str:
    """Text of UTF-8 bytes; `where` names them in the error, `begins` those that begin a file.

    Raises
    ------
    DataError
        When the bytes are not UTF-8.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        marked = begins and data.startswith(marks)
        reason = "it looks like UTF-16" if marked else error.reason
        raise DataError(f"{where}: not UTF-8 ({reason})", hint="save the file as UTF-8") from None


def parse_object(text: str, where: str) -> dict[str, Any]:
    """Read one JSON object; `where` names it in the error.

    Raises
    ------
    DataError
        When the text is not one JSON object, repeats a key, or holds something that strict
        JSON or UTF-8 cannot: NaN, an infinity, half a surrogate pair.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg})", hint=_ROW) from None
    except UnicodeEncodeError:
        raise DataError(
            f"{where}: {_HALF}", hint="write the text as UTF-8, or the pair whole"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})", hint=_ROW) from None
    if not isinstance(value, dict):
        raise DataError(f"{where}: a JSON object is needed", hint=_ROW)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is repeated")
    return fields


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all.

    Raises
    ------
    ResourceError
        When the disk is full or the folder cannot be written.
    """
    path = Path(path)
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~current_umask())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


def current_umask() -> int:
    """Return the process's umask (read by setting it and setting it back)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResourceError.of("write", path, error) from None


def sha256_text(text: str) -> str:
    """Hex SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_array(array: NDArray[Any]) -> str:
    """Hex SHA-256 of an array's bytes in C order; its shape and type are left out."""
    return hashlib.sha256(array.tobytes()).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes.

    Raises
    ------
    ResourceError
        When the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ResourceError.of("read", path, error) from None

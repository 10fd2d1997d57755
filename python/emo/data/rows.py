"""Rows of a data file: JSON lines, a JSON array, or CSV, each with its line number.

A row that cannot be read carries its problem, so that a validator can list them all.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emo.artifacts import decode, parse_object, read_input, split_lines
from emo.errors import DataError

VALENCES = ("positive", "neutral", "negative")
_ARRAY = "a file that begins with [ is one JSON array of objects; else one object a line"
_CSV = "CSV has a header line, commas between columns, and double quotes around texts with commas"
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Row:
    """One row of a data file.

    Parameters
    ----------
    path : Path
        The file.
    line : int
        Where the row begins, counted from 1.
    fields : mapping
        The row as a JSON object; empty when it cannot be read.
    problem : DataError or None
        Why it cannot be read.
    rule : str
        Which rule the problem breaks: ``encoding`` or ``schema``.
    """

    path: Path
    line: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: DataError | None = None
    rule: str = "schema"

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.path}, line {self.line}"


def files_of(path: Path) -> list[Path]:
    """Return a file, or all ``.jsonl`` files of a folder in the order of their names.

    Raises
    ------
    DataError
        When there is no such file, or the folder holds none.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.jsonl"))
        if not files:
            raise DataError(
                f"the folder {path} holds no .jsonl files",
                hint="give a file, or a folder of .jsonl files",
            )
        return files
    if not path.exists():
        raise DataError(f"no such file: {path}", hint="check the path given as data")
    return [path]


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file; see `scan_rows` for the formats.

    Raises
    ------
    DataError
        When the file is missing or a row cannot be read; the message names the line.
    ResourceError
        When the file is there but cannot be read.
    """
    for row in scan_rows(path):
        if row.problem is not None:
            raise row.problem
        yield row


def scan_rows(path: Path) -> Iterator[Row]:
    """Return the rows of a file in order, unreadable ones too.

    A file that ends in ``.csv`` is read as CSV with a header; a file that begins with ``[`` as
    a JSON array of objects; any other as one JSON object a line. All are UTF-8, with or
    without a byte order mark.

    Raises
    ------
    DataError
        When the file is missing.
    ResourceError
        When the file is there but cannot be read.
    """
    path = Path(path)
    data = read_input(path)
    if path.suffix == ".csv":
        return _whole(path, data, _csv_rows)
    if data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"[":
        return _whole(path, data, _array_rows)
    return _line_rows(path, data)


def _line_rows(path: Path, data: bytes) -> Iterator[Row]:
    for number, line in split_lines(data):
        try:
            text = decode(line, f"{path}, line {number}", begins=number == 1)
        except DataError as error:
            yield Row(path, number, problem=error, rule="encoding")
            if number == 1 and line.startswith(_UTF16):
                return
        else:
            yield _object_row(path, number, text)


def _whole(path: Path, data: bytes, rows: Callable[[Path, str], Iterator[Row]]) -> Iterator[Row]:
    for number, line in split_lines(data):
        try:
            decode(line, f"{path}, line {number}", begins=number == 1)
        except DataError as error:
            yield Row(path, number, problem=error, rule="encoding")
            return
    yield from rows(path, data.removeprefix(codecs.BOM_UTF8).decode("utf-8"))


def _object_row(path: Path, number: int, text: str) -> Row:
    try:
        return Row(path, number, parse_object(text, f"{path}, line {number}"))
    except DataError as error:
        return Row(path, number, problem=error)


def _array_rows(path: Path, text: str) -> Iterator[Row]:
    decoder = json.JSONDecoder()
    try:
        decoder.decode(text)
    except json.JSONDecodeError as error:
        said = f"{path}, line {error.lineno}: not JSON ({error.msg})"
        yield Row(path, error.lineno, problem=DataError(said, hint=_ARRAY))
        return
    except (ValueError, RecursionError) as error:
        said = f"{path}, line 1: not JSON ({error})"
        yield Row(path, 1, problem=DataError(said, hint=_ARRAY))
        return
    position, line, counted = _next_element(text, text.index("[") + 1), 1, 0
    while text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        end = decoder.raw_decode(text, position)[1]
        yield _object_row(path, line, text[position:end])
        position = _next_element(text, end)


def _next_element(text: str, position: int) -> int:
    """Index of the next character that is neither space nor comma."""
    match = _BETWEEN.match(text, position)
    return match.end() if match else position


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if cells and names is None:
                names = [name.strip() for name in cells]
                problem = _header_problem(names)
                if problem is not None:
                    said = f"{path}, line {line}: {problem}"
                    yield Row(path, line, problem=DataError(said, hint=_CSV))
                    return
            elif cells and names is not None:
                yield _csv_row(path, line, names, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        where = f"{path}, line {line}"
        yield Row(path, line, problem=DataError(f"{where}: not CSV ({error})", hint=_CSV))


def _header_problem(names: list[str]) -> str | None:
    for mark, word in ((";", "';'"), ("\t", "tabs")):
        if len(names) == 1 and mark in names[0]:
            return f"columns are separated by commas, not by {word}"
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    return f"the column {twice[0]!r} is there twice" if twice else None


def _csv_row(path: Path, line: int, names: list[str], cells: list[str]) -> Row:
    where = f"{path}, line {line}"
    if len(cells) != len(names):
        problem = f"{where}: {len(cells)} columns, but the header has {len(names)}"
        return Row(path, line, problem=DataError(problem, hint=_CSV))
    fields: dict[str, Any] = {n: cell or None for n, cell in zip(names, cells, strict=True)}
    try:
        for name, begin in (("spans", "["), ("event", "{")):
            if str(fields.get(name) or "").lstrip().startswith(begin):
                fields[name] = json.loads(fields[name])
    except (ValueError, RecursionError):
        problem = f"{where}: {name!r} must be JSON, such as [[0, 5]]"
        return Row(path, line, problem=DataError(problem, hint=_CSV))
    return Row(path, line, _with_event(fields))


def _with_event(fields: dict[str, Any]) -> dict[str, Any]:
    """Fold the columns ``positive``, ``neutral``, ``negative`` of a scenario into one event."""
    if "skeleton_id" not in fields or "event" in fields:
        return fields
    event = {}
    for valence in VALENCES:
        for name in (valence, f"event_{valence}", f"event.{valence}"):
            if name in fields:
                event[valence] = fields.pop(name)
    return {**fields, "event": event}

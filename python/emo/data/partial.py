"""Rows finished so far, kept beside an output file until it is whole.

``OUTPUT.part`` begins with a line that holds the settings; each further line is a finished row
with its `id`. A line that a killed process left half written is dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from emo.artifacts import write_bytes
from emo.errors import ArtifactError, DataError, ResourceError, SettingsError

Row = TypeVar("Row")


class PartFile:
    """The finished rows of an output that is being made.

    Parameters
    ----------
    output : Path
        The file to be; the rows lie in a file of that name with ``.part`` behind it.
    settings : mapping
        Everything that changes the rows; JSON values. Written with the first rows.

    Attributes
    ----------
    rows : dict of str to dict
        Rows of an earlier run with the same settings, by id.

    Raises
    ------
    SettingsError
        When the rows were begun with other settings; each differing field is named.
    ArtifactError
        When a line of the file is damaged.
    ResourceError
        When the file cannot be read or written.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(f"{output}.part")
        self.rows: dict[str, dict[str, Any]] = {}
        self._settings = json.loads(json.dumps(settings))
        self._delete = f"delete {self.path} to begin anew"
        self._begun = False
        lines = self._whole_lines()
        if len(lines) < 2:
            return
        self._compare(self._parse(lines[0], 1).get("settings"))
        self._begun = True
        for number, line in enumerate(lines[1:], 2):
            row = self._parse(line, number)
            self.rows[row["id"]] = row

    def read(self, make: Callable[[dict[str, Any], str], Row]) -> dict[str, Row]:
        """Rows of an earlier run as `make` reads them, by id.

        Parameters
        ----------
        make : callable (row, where)
            Raises DataError for a row that cannot be used.

        Raises
        ------
        ArtifactError
            When a row cannot be used.
        """
        try:
            return {name: make(row, f"{self.path}, id {name}") for name, row in self.rows.items()}
        except DataError as error:
            raise ArtifactError(str(error), hint=self._delete) from None

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add finished rows; they are on the disk when this returns.

        Raises
        ------
        ResourceError
            When they cannot be written.
        """
        if not self._begun:
            write_bytes(self.path, _line({"settings": self._settings}))
            self._begun = True
        try:
            with open(self.path, "ab") as file:
                file.write(b"".join(map(_line, rows)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ResourceError.of("write", self.path, error) from None

    def remove(self) -> None:
        """Delete the file, when the output is whole."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def _whole_lines(self) -> list[bytes]:
        """Lines of the file that end in a line break; what follows the last one is cut off."""
        try:
            data = self.path.read_bytes()
            kept = data.rfind(b"\n") + 1
            if kept < len(data):
                os.truncate(self.path, kept)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ResourceError.of("read", self.path, error) from None
        return data[:kept].split(b"\n")[:-1]

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        kinds: dict[str, type] = {"settings": dict} if number == 1 else {"id": str}
        if not isinstance(row, dict) or not all(isinstance(row.get(n), kinds[n]) for n in kinds):
            raise ArtifactError(f"{self.path}, line {number} is damaged", hint=self._delete)
        return row

    def _compare(self, found: Any) -> None:
        wanted = self._settings
        found = found if isinstance(found, dict) else {}
        names = sorted(found.keys() | wanted.keys())
        changes = [
            f"{name} was {json.dumps(found.get(name))}, now {json.dumps(wanted.get(name))}"
            for name in names
            if found.get(name) != wanted.get(name)
        ]
        if changes:
            raise SettingsError(
                f"{self.path} was begun with other settings: {'; '.join(changes)}",
                hint="choose another -o, or delete it to begin anew",
            )


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"

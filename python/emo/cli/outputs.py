"""Where results go; a place that cannot take them is refused before any work is done."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from emo.errors import ResourceError, UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

_TYPE = click.Path(path_type=Path)


def output_file(command: Command) -> Command:
    """Add ``-o`` for a result that is one file."""
    return _with_output(command, check_file, "The file to write.")


def optional_file(command: Command) -> Command:
    """Add ``-o`` for a result that is printed anyway."""
    return _with_output(command, check_file, "Write the result to this file too.", required=False)


def file_unless(other: str) -> Callable[[Command], Command]:
    """Add ``-o`` for a result that is one file, and that another option does without."""
    text = f"The file to write; needed without {other}."
    return lambda command: _with_output(command, check_file, text, required=False)


def output_folder(command: Command) -> Command:
    """Add ``-o`` for a result that is a folder."""
    return _with_output(command, check_folder, "The folder to write; made when missing.")


def check_file(path: Path, option: str = "-o") -> None:
    """Refuse a path, given by an option, that a file cannot be written to.

    Raises
    ------
    UsageError
        When a folder or a device is there, or a file on the way.
    ResourceError
        When its folder may not be written.
    """
    if path.is_dir():
        raise UsageError(
            f"{option} {path} is a folder, but the result is a file",
            hint=f"name a file, such as {option} {path / 'NAME'}",
        )
    if path.exists() and not path.is_file():
        raise UsageError(
            f"{option} {path} is no regular file", hint=f"name another file with {option}"
        )
    _check_way(path, option)


def check_folder(path: Path) -> None:
    """Refuse a path that a folder cannot be made at, or not be written in.

    Raises
    ------
    UsageError
        When a file is there, or on the way.
    ResourceError
        When it may not be written.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(
            f"-o {path} is a file, but the result is a folder", hint="name another folder with -o"
        )
    _check_way(path / "NAME")


def _check_way(path: Path, option: str = "-o") -> None:
    place = next(parent for parent in path.parents if os.path.lexists(parent))
    if not place.is_dir():
        raise UsageError(
            f"{option} {path} cannot be made: {place} is a file",
            hint=f"name another place with {option}",
        )
    effective = os.access in os.supports_effective_ids
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=effective):
        raise ResourceError.of("write in", place, PermissionError(errno.EACCES, ""))


def _with_output(
    command: Command, check: Callable[[Path], None], text: str, *, required: bool = True
) -> Command:
    @functools.wraps(command)
    def checked(**arguments: Any) -> Any:
        if arguments["output"] is not None:
            check(arguments["output"])
            refuse_inputs(arguments["output"], arguments)
        return command(**arguments)

    option = click.option("-o", "--output", type=_TYPE, required=required, help=text)
    return cast("Command", option(checked))


def refuse_inputs(output: Path, arguments: Mapping[str, Any], option: str = "-o") -> None:
    """Refuse to write over a file that the command reads.

    Raises
    ------
    UsageError
        Naming the file.
    """
    for name, value in arguments.items():
        if name != "output" and any(_same(output, path) for path in _paths(value)):
            raise UsageError(
                f"{option} would write over its own input {output}",
                hint=f"name another file with {option}",
            )


def _paths(value: Any) -> Iterable[Path]:
    return [path for path in (value if isinstance(value, tuple) else [value])
            if isinstance(path, Path)]  # fmt: skip


def _same(output: Path, path: Path) -> bool:
    return output.is_file() and path.exists() and output.samefile(path)

"""How a verb of ``emo geometry`` hands over what it found: table, JSON, artifact, warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from emo.artifacts import FORMAT_VERSION, package_version, write_json
from emo.cli import options
from emo.cli.geometry.choice import Place

_MAX_WARNINGS = 6


@dataclass(frozen=True)
class Result:
    """What a verb found.

    Parameters
    ----------
    kind : str
        The verb.
    values : mapping
        The JSON object, arrays and numbers of numpy included.
    tables : sequence of Table
    sentence : str
        What it means, in one sentence.
    warnings : sequence of str
        Why it may mislead.
    places : sequence of Place
        What was compared.
    settings : mapping
        Options that change the numbers.
    """

    kind: str
    values: Mapping[str, Any]
    tables: Sequence[Table]
    sentence: str
    warnings: Sequence[str]
    places: Sequence[Place]
    settings: Mapping[str, Any]

    def deliver(self, output: Path | None, *, as_json: bool, quiet: bool) -> None:
        """Print it, warnings on stderr, and write the artifact where one is wanted."""
        notes = list(dict.fromkeys(self.warnings))
        values = plain({**self.values, "warnings": notes})
        if output is not None:
            write_json(output, self._artifact(values))
        _warn(notes)
        if as_json:
            options.print_json(values)
        else:
            console = Console(highlight=False, markup=False)
            for table in self.tables:
                console.print(table)
            console.print(self.sentence, soft_wrap=True)
        if output is not None:
            options.console(quiet=quiet).print(f"wrote {output}", soft_wrap=True, markup=False)

    def _artifact(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "kind": f"geometry-{self.kind}",
            "format": FORMAT_VERSION,
            "version": package_version(),
            **values,
            "provenance": provenance(self.places, self.settings),
        }


def provenance(places: Sequence[Place], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result came from: hashes of its inputs, and options; never a path."""
    return {
        "inputs": [place.source.record(place.site) for place in dict.fromkeys(places)],
        "options": plain(settings),
    }


def _warn(notes: Sequence[str]) -> None:
    for note in notes[:_MAX_WARNINGS]:
        click.echo(f"warning: {note}", err=True)
    if len(notes) > _MAX_WARNINGS:
        click.echo(f"warning: {len(notes) - _MAX_WARNINGS} more, all in --json and -o", err=True)


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: lists for arrays, None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def pairs_table(title: str, rows: Mapping[str, str]) -> Table:
    """Return a table of names and values."""
    table = Table("what", "value", title=title, title_justify="left", show_header=False)
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def matrix_table(
    title: str, rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[str]]
) -> Table:
    """Return a table of a matrix; where it is too wide, of some evenly spaced columns."""
    short = _short(columns)
    widest = max(map(len, (*short, *(cell for line in cells for cell in line))))
    room = (Console().width - max(map(len, rows)) - 4) // (widest + 3)
    every = max(math.ceil(len(columns) / max(room, 1)), 1)
    note = f" (one column in {every}; all are in --json and -o)" if every > 1 else ""
    table = Table(title=title + note, title_justify="left")
    for name in ("", *short[::every]):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, line in zip(rows, cells, strict=True):
        table.add_row(name, *line[::every])
    return table


def _short(names: Sequence[str]) -> list[str]:
    """Leave the part out of the names of sites where it is the same everywhere."""
    layers, parts = zip(*((n.partition(".")[0], n.partition(".")[2]) for n in names), strict=True)
    return list(layers) if len(set(parts)) == 1 else list(names)


def named(places: Sequence[Place]) -> list[str]:
    """Names of sites, for tables; with the input's name where sites do not tell them apart."""
    names = [place.site or place.source.path.name for place in places]
    if len(set(names)) == len(set(places)):
        return names
    return [f"{p.source.path.name} {p.site}" if p.site else p.source.path.name for p in places]


def number(value: float | None, digits: int = 3) -> str:
    """Write a number for a table."""
    return "none" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def chance_of(p: float) -> str:
    """Write a p-value."""
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.1e}"

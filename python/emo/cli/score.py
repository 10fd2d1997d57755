"""``emo score``: contributions of neurons and heads to each direction."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from emo.analysis.directions import Directions
from emo.analysis.rows import accepted_in
from emo.analysis.score import open_checkpoint
from emo.analysis.score import score as compute
from emo.analysis.scores import INTERVAL, LINEARISED, TABLES, Scores, Unit, check_name
from emo.cli import options
from emo.cli.outputs import output_file, refuse_inputs
from emo.data.texts import read_verdicts
from emo.store import Store


@click.command()
@click.argument("path", metavar="STORE", type=options.PATH)
@click.option(
    "--directions", "directions_path", type=options.PATH, required=True, help="A directions file."
)
@click.option("--model", type=options.PATH, help="Model folder (default: the one recorded).")
@click.option(
    "--verdicts",
    type=options.PATH,
    help="Use only rows judged as their emotion (default: the rows behind the directions).",
)
@click.option(
    "--top", type=click.IntRange(min=1), default=20, show_default=True, help="Units to show."
)
@options.threads
@options.io
@options.as_json
@options.quiet
@output_file
def score(
    path: Path,
    *,
    directions_path: Path,
    model: Path | None,
    verdicts: Path | None,
    top: int,
    threads: int,
    io: str,
    as_json: bool,
    quiet: bool,
    output: Path,
) -> None:
    """Score neurons and heads by their contribution to each direction."""
    check_name(output)
    inputs = {"directions": directions_path, "verdicts": verdicts}
    for suffix in TABLES:
        refuse_inputs(output.with_suffix(suffix), inputs)
    opened = Store.open(path, io)
    vectors = Directions.load(directions_path)
    with options.progress("sites", quiet=quiet) as report:
        found = compute(
            opened,
            vectors,
            open_checkpoint(opened, model),
            accepted=None if verdicts is None else accepted_in(opened, read_verdicts(verdicts)),
            threads=threads,
            progress=report,
        )
    written = found.save(output)
    if as_json:
        options.print_json(_json(found, top))
    else:
        _print_tables(found, top)
    options.console(quiet=quiet).print(f"wrote {', '.join(map(str, written))}")


def _json(found: Scores, top: int) -> dict[str, Any]:
    units = {
        kind: {label: [asdict(u) for u in found.top(top, kind, label)] for label in found.labels}
        for kind in found.units
    }
    return {
        "position": found.position,
        "interval": INTERVAL,
        "linearised": found.linearised,
        "top": units,
    }


def _print_tables(found: Scores, top: int) -> None:
    console = Console(highlight=False)
    for kind in found.units:
        for label in found.labels:
            console.print(_table(f"{label}: top {kind}s", found.top(top, kind, label)))
    console.print(f"low, high: {INTERVAL}")
    if found.linearised:
        console.print(f"mean: {LINEARISED}")


def _table(title: str, units: list[Unit]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("layer", "unit", "rank", "mean", "low", "high", "positive", "n"):
        table.add_column(name, justify="right")
    for u in units:
        numbers = (f"{x:.4g}" for x in (u.mean, u.low, u.high))
        table.add_row(
            str(u.layer), str(u.unit), str(u.rank), *numbers, f"{u.positive:.0%}", str(u.n)
        )
    return table

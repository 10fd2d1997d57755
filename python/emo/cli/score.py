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
from emo.analysis.score import open_checkpoint, scan_part
from emo.analysis.score import score as compute
from emo.analysis.scores import INTERVAL, LINEARISED, TABLES, Scores, Unit, check_name
from emo.cli import options
from emo.cli.outputs import file_unless, refuse_inputs
from emo.data.texts import read_verdicts
from emo.errors import UsageError
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
    "--part",
    metavar="I/N",
    help="Only scan part I of N of the sites and keep what it gives beside the store, for a later "
    "run without --part: N machines can share the work.",
)
@click.option(
    "--top", type=click.IntRange(min=1), default=20, show_default=True, help="Units to show."
)
@options.threads
@options.io
@options.as_json
@options.quiet
@file_unless("--part")
def score(
    path: Path,
    *,
    directions_path: Path,
    model: Path | None,
    verdicts: Path | None,
    part: str | None,
    top: int,
    threads: int,
    io: str,
    as_json: bool,
    quiet: bool,
    output: Path | None,
) -> None:
    """Score neurons and heads by their contribution to each direction."""
    number = None if part is None else _part(part, output)
    if number is None and output is None:
        raise UsageError("-o is missing, the file for the scores", hint="-o scores.safetensors")
    if output is not None:
        check_name(output)
        for suffix in TABLES:
            inputs = {"directions": directions_path, "verdicts": verdicts}
            refuse_inputs(output.with_suffix(suffix), inputs)
    opened = Store.open(path, io)
    vectors = Directions.load(directions_path)
    checkpoint = open_checkpoint(opened, model)
    accepted = None if verdicts is None else accepted_in(opened, read_verdicts(verdicts))
    with options.progress("sites", quiet=quiet) as report:
        choices: dict[str, Any] = {"accepted": accepted, "threads": threads, "progress": report}
        if number is None:
            found = compute(opened, vectors, checkpoint, **choices)
        else:
            n_sites = scan_part(opened, vectors, checkpoint, part=number, **choices)
    if output is None:
        if as_json:
            options.print_json({"part": part, "sites": n_sites})
        options.console(quiet=quiet).print(
            f"scanned part {part}, {n_sites} sites; when all parts are done, the same command with "
            "-o for --part writes the scores"
        )
        return
    written = found.save(output)
    if as_json:
        options.print_json(_json(found, top))
    else:
        _print_tables(found, top)
    options.console(quiet=quiet).print(f"wrote {', '.join(map(str, written))}")


def _part(text: str, output: Path | None) -> tuple[int, int]:
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and int(of) > 0):
        raise UsageError(f"--part {text} names no part", hint="write --part 1/4 for the first of 4")
    if output is not None:
        raise UsageError(
            "--part writes no scores, so that -o has no use",
            hint="leave -o out; the same command without --part writes them",
        )
    return int(number), int(of)


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

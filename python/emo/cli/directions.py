"""``emo directions``: emotion directions from a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from emo.analysis.directions import METHODS, Directions
from emo.analysis.directions import directions as compute
from emo.analysis.rows import accepted_in
from emo.cli import options
from emo.cli.outputs import output_file
from emo.data.texts import read_verdicts
from emo.errors import UsageError, did_you_mean
from emo.sites import Site, parse_part
from emo.store import Store


@click.command()
@click.argument("path", metavar="STORE", type=options.PATH)
@click.option("--verdicts", type=options.PATH, help="Use only rows judged as their emotion.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default=METHODS[0],
    show_default=True,
    help="How vectors are made from the rows.",
)
@click.option("--position", default="last", show_default=True, help="Token position of the rows.")
@click.option("--sites", help="Parts or sites, such as resid_post,L3.mlp_act (default: all).")
@options.threads
@options.io
@options.as_json
@options.quiet
@output_file
def directions(
    path: Path,
    *,
    verdicts: Path | None,
    method: str,
    position: str,
    sites: str | None,
    threads: int,
    io: str,
    as_json: bool,
    quiet: bool,
    output: Path,
) -> None:
    """Compute emotion directions from a store."""
    opened = Store.open(path, io)
    accepted = None if verdicts is None else accepted_in(opened, read_verdicts(verdicts))
    with options.progress("sites", quiet=quiet) as report:
        found = compute(
            opened,
            accepted,
            method=method,
            position=position,
            sites=None if sites is None else _chosen(opened, sites),
            threads=threads,
            progress=report,
        )
    found.save(output)
    if as_json:
        options.print_json(_json(found))
    else:
        Console(highlight=False).print(_table(found))
    options.console(quiet=quiet).print(f"wrote {output}")


def _chosen(store: Store, text: str) -> list[Site]:
    """Read a list of parts and sites as captured sites."""
    chosen: set[Site] = set()
    for name in (piece.strip() for piece in text.split(",")):
        if name.startswith(("L", "blocks.")):
            chosen.add(store.site(name))
            continue
        part = parse_part(name)
        captured = {site for site in store.sites if site.part == part}
        if not captured:
            parts = sorted({site.part for site in store.sites})
            raise UsageError(f"{store.path} holds no {part}", hint=did_you_mean(part, parts))
        chosen |= captured
    return sorted(chosen)


def _json(found: Directions) -> dict[str, Any]:
    norms = {str(site): [float(x) for x in values] for site, values in found.norms.items()}
    return {
        "labels": list(found.labels),
        "method": found.method,
        "position": found.position,
        "rows": dict(found.counts),
        "groups": dict(found.groups),
        "norms": norms,
    }


def _table(found: Directions) -> Table:
    """Rows behind each emotion, and where in the residual stream its vector is longest."""
    title = f"{found.method} at {found.position}"
    if found.method == "within-group":
        groups = ", ".join(f"{n} {name}" for name, n in found.groups.items())
        title += f"; groups: {groups}"
    table = Table(title=title)
    for name in ("emotion", "rows", "longest at", "norm"):
        table.add_column(name, justify="left" if name in ("emotion", "longest at") else "right")
    for e, label in enumerate(found.labels):
        where = max(found.norms, key=lambda site: float(found.norms[site][e]), default=None)
        norm = "" if where is None else f"{found.norms[where][e]:.3f}"
        table.add_row(label, f"{found.counts[label]:,}", str(where or ""), norm)
    return table

"""``emo store``: describe or verify a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from emo.cli import VerbGroup, options
from emo.store import Store, describe, verify

_STORE = click.argument("path", metavar="STORE", type=options.PATH)


@click.group(cls=VerbGroup)
def store() -> None:
    """Describe or verify a store."""


@store.command()
@_STORE
@options.as_json
def info(path: Path, *, as_json: bool) -> None:
    """Say what a store holds: model, samples, positions, sites, size."""
    found = describe(Store.open(path))
    if as_json:
        options.print_json(found)
    else:
        Console(highlight=False).print(_info_table(found))


@store.command("verify")
@_STORE
@options.threads
@options.io
@options.as_json
@options.quiet
def verify_(path: Path, *, threads: int, io: str, as_json: bool, quiet: bool) -> None:
    """Check every byte of a store.

    All shards are read and compared with their hashes and records.
    """
    opened = Store.open(path, io)
    with options.progress("shards", quiet=quiet) as report:
        verify(opened, report, threads=threads)
    found = describe(opened)
    if as_json:
        options.print_json({"sound": True, "shards": found["shards"], "bytes": found["bytes"]})
    else:
        click.echo(f"{path} is sound: {found['shards']} shards, {found['bytes']:,} bytes")


def _info_table(found: dict[str, Any]) -> Table:
    table = Table("what", "value", show_header=False, box=None)
    model = found["model"]
    table.add_row("model", f"{model['name']} ({model['family']}, {model['n_layers']} layers)")
    table.add_row("samples", f"{found['samples']:,}")
    table.add_row("emotions", _listed(found["emotions"]))
    table.add_row("rows", _listed(found["positions"]))
    for part, entry in found["sites"].items():
        table.add_row(part, f"width {entry['width']:,}, {len(entry['layers'])} layers")
    table.add_row("size", f"{found['bytes']:,} bytes in {found['shards']} shards, {found['dtype']}")
    table.add_row("fingerprint", found["fingerprint"])
    return table


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items())

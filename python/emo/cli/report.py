"""``emo report``: one static HTML file from the artifacts of a run folder."""

from __future__ import annotations

from pathlib import Path

import click

from emo.cli import options
from emo.report import build, missing_parts


@click.command()
@click.argument("folder", metavar="RUN", type=options.PATH)
@options.as_json
@options.quiet
def report(folder: Path, *, as_json: bool, quiet: bool) -> None:
    """Write the HTML report of a run folder.

    Prints where the report is. An unfinished run gets a report too, which says what is missing.
    """
    path = build(folder)
    lacking = missing_parts(folder)
    if as_json:
        size = path.stat().st_size
        options.print_json({"report": str(path), "bytes": size, "missing": lacking})
    else:
        click.echo(path)
    if lacking:
        talk = options.console(quiet=quiet)
        talk.print(f"not in this run yet: {', '.join(lacking)}", markup=False, soft_wrap=True)

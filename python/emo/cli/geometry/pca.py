"""``emo geometry pca``: principal components, beside what independent columns reach."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from rich.table import Table

from emo.cli import options
from emo.cli.geometry import arguments
from emo.cli.geometry.choice import Place, single
from emo.cli.geometry.inputs import StoreSource
from emo.cli.geometry.result import Result, named
from emo.cli.outputs import optional_file
from emo.geometry.pca import Pca, pca_store
from emo.geometry.pca import pca as compute


@click.command()
@click.argument("path", metavar="INPUT", type=options.PATH)
@arguments.site
@arguments.position
@arguments.which_rows
@click.option(
    "-k", "--k", type=click.IntRange(min=1), default=10, show_default=True, help="Components."
)
@options.seed
@options.threads
@options.io
@options.as_json
@options.quiet
@optional_file
def pca(
    path: Path,
    *,
    site: str | None,
    position: str,
    which: str,
    k: int,
    seed: int,
    threads: int,
    io: str,
    as_json: bool,
    quiet: bool,
    output: Path | None,
) -> None:
    """Find the directions that carry most of the variance of the rows of a store or file."""
    place = single(path, site, position, threads, io)
    found = _components(place, which, k, seed, threads)
    values = {
        "components": found.components,
        "explained": found.explained,
        "variances": found.variances,
        "null": found.null,
        "n": found.n,
        "d": found.d,
        "seed": found.seed,
        "site": place.site,
    }
    first, more = float(found.explained[0]), float(found.explained[0]) > found.null
    sentence = (
        f"The first component explains {first:.1%} of the variance, "
        f"{'more than' if more else 'no more than'} the {found.null:.1%} that independent columns "
        "reach."
    )
    settings = {"site": site, "position": position, "rows": which, "k": k, "seed": seed}
    result = Result(
        "pca", values, [_table(found, place)], sentence, found.warnings, [place], settings
    )
    result.deliver(output, as_json=as_json, quiet=quiet)


def _components(place: Place, which: str, k: int, seed: int, threads: int) -> Pca:
    source = place.source
    if isinstance(source, StoreSource) and place.site is not None:
        _, rows = source.chosen_rows(which)
        return pca_store(
            source.store, place.site, source.position, k, rows=rows, seed=seed, threads=threads
        )
    return compute(source.rows(place.site, which).values, k, seed=seed, threads=threads)


def _table(found: Pca, place: Place) -> Table:
    title = (
        f"{named([place])[0]}: {found.n:,} rows, {found.d:,} columns; independent columns reach "
        f"{found.null:.1%}"
    )
    table = Table(title=title, title_justify="left")
    for name in ("component", "variance", "explained", "together"):
        table.add_column(name, justify="right")
    together = np.cumsum(found.explained)
    for i, share in enumerate(found.explained.tolist()):
        table.add_row(str(i + 1), f"{found.variances[i]:.4g}", f"{share:.1%}", f"{together[i]:.1%}")
    return table

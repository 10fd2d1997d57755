"""``emo geometry overlap``: how much two subspaces share, beside what random ones do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table

from emo.cli import options
from emo.cli.geometry import arguments
from emo.cli.geometry.choice import Place, grids, load, pair
from emo.cli.geometry.result import Result, matrix_table, named, number, pairs_table
from emo.cli.outputs import optional_file
from emo.geometry.overlap import Overlap, OverlapGrid, overlap_grid
from emo.geometry.overlap import overlap as compare

_ROUNDING = 1e-9


@click.command()
@arguments.inputs
@arguments.site
@arguments.sites
@arguments.position
@arguments.centre
@click.option(
    "-k", "--k", type=click.IntRange(min=1), help="Leading directions of each (default: all)."
)
@click.option(
    "--span",
    type=click.IntRange(min=1),
    help="Rank of a span that both lie in, such as that of a map (default: the width).",
)
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Random pairs of subspaces for the null.",
)
@options.seed
@options.threads
@options.io
@options.as_json
@options.quiet
@optional_file
def overlap(
    paths: tuple[Path, ...],
    *,
    site: str | None,
    sites: str | None,
    position: str,
    centre: bool,
    k: int | None,
    span: int | None,
    draws: int,
    seed: int,
    threads: int,
    io: str,
    as_json: bool,
    quiet: bool,
    output: Path | None,
) -> None:
    """Measure the mean squared cosine of the principal angles between two spans of vectors.

    Labels need not agree. Both inputs must lie in one space; for vectors of two models see emo
    geometry align --subspaces.
    """
    settings = {
        "site": site,
        "sites": sites,
        "position": position,
        "centre": centre,
        "k": k,
        "span": span,
        "draws": draws,
        "seed": seed,
    }
    if sites is None:
        places = pair(paths, site, position, threads, io)
        (x, y), notes = load(places, centre)
        found = compare(x.values, y.values, k=k, span=span, draws=draws, seed=seed, threads=threads)
        notes += found.warnings
        values, table, sentence = _one(found, places)
    else:
        left, right = grids(paths, sites, position, threads, io)
        places = left if left is right else left + right
        vectors, notes = load(places, centre)
        many = overlap_grid(
            [v.values for v in vectors], k=k, draws=draws, seed=seed, threads=threads
        )
        notes += many.warnings
        values, table, sentence = _grid(many, left, right)
    result = Result("overlap", values, [table], sentence, notes, places, settings)
    result.deliver(output, as_json=as_json, quiet=quiet)


def _one(found: Overlap, places: Sequence[Place]) -> tuple[dict[str, Any], Table, str]:
    k1, k2 = found.k
    values = {
        "overlap": found.overlap,
        "chance": found.chance,
        "null_low": found.null_low,
        "null_high": found.null_high,
        "k": k1 if k1 == k2 else [k1, k2],
        "d": found.d,
        "angles": found.angles,
        "null_mean": found.null_mean,
        "draws": found.draws,
        "seed": found.seed,
        "sites": [place.site for place in places],
    }
    null = f"{number(found.null_low)} to {number(found.null_high)}"
    table = pairs_table(
        f"{' and '.join(named(places))}: {k1} and {k2} dimensions of {found.d:,}",
        {
            "overlap": number(found.overlap),
            "chance": number(found.chance),
            "95 % of random subspaces": f"{null} ({found.draws:,} draws)",
            "principal angles": ", ".join(f"{x:.0f}°" for x in np.degrees(found.angles[:10]))
            + (", ..." if len(found.angles) > 10 else ""),
        },
    )  # fmt: skip
    sentence = (
        f"{_verdict(found)}: {number(found.overlap)}, where chance is {number(found.chance)} and "
        f"95 % of random pairs lie at {null}."
    )
    return values, table, sentence


def _verdict(found: Overlap) -> str:
    if max(found.k) == found.d:
        return "One subspace fills the space, which any other lies in: this proves nothing"
    if found.overlap > found.null_high + _ROUNDING:
        return "The subspaces share more than random ones do"
    if found.overlap < found.null_low - _ROUNDING:
        return "The subspaces share less than random ones do"
    return "The subspaces share no more than random ones do"


def _grid(
    found: OverlapGrid, left: Sequence[Place], right: Sequence[Place]
) -> tuple[dict[str, Any], Table, str]:
    start = 0 if left is right else len(left)
    shared, chance, low, high = (
        matrix[: len(left), start:]
        for matrix in (found.overlap, found.chance, found.null_low, found.null_high)
    )
    values = {
        "overlap": shared,
        "chance": chance,
        "null_low": low,
        "null_high": high,
        "draws": found.draws,
        "seed": found.seed,
        "k": [found.k[: len(left)], found.k[start:]],
        "d": found.d,
        "sites": [[place.site for place in left], [place.site for place in right]],
    }
    cells = [[f"{x:.2f}" for x in row] for row in shared.tolist()]
    title = f"overlap; chance {number(float(chance.min()))} to {number(float(chance.max()))}"
    table = matrix_table(title, named(left), named(right), cells)
    apart = shared[~np.eye(len(left), dtype=bool)] if left is right else shared.ravel()
    sentence = "There is one subspace only: name more sites with --sites."
    if apart.size:
        sentence = (
            f"Different subspaces overlap {number(float(apart.min()))} to "
            f"{number(float(apart.max()))}, where random ones of these dimensions in {found.d:,} "
            f"reach {number(float(chance.max()))} on average and 95 % of them lie at "
            f"{number(float(low.min()))} to {number(float(high.max()))}."
        )
    return values, table, sentence

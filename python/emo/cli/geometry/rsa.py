"""``emo geometry rsa``: whether two sets of vectors arrange the same conditions alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table

from emo.cli import options
from emo.cli.geometry import arguments
from emo.cli.geometry.choice import Place, grids, load, pair
from emo.cli.geometry.result import (
    Result,
    chance_of,
    matrix_table,
    named,
    number,
    pairs_table,
)
from emo.cli.outputs import optional_file
from emo.data.vectors import Vectors, match
from emo.geometry.rsa import CORRELATIONS, METRICS, Rsa, RsaGrid, rsa_grid
from emo.geometry.rsa import rsa as compare

_LEVEL = 0.05


@click.command()
@arguments.inputs
@arguments.site
@arguments.sites
@arguments.position
@arguments.centre
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default=METRICS[0],
    show_default=True,
    help="Dissimilarity of two vectors.",
)
@click.option(
    "--correlation",
    type=click.Choice(CORRELATIONS),
    default=CORRELATIONS[0],
    show_default=True,
    help="Of the two sets of dissimilarities.",
)
@arguments.permutations
@click.option("--two-sided", is_flag=True, help="Test for unlikeness too.")
@options.seed
@options.threads
@options.io
@options.as_json
@options.quiet
@optional_file
def rsa(
    paths: tuple[Path, ...],
    *,
    site: str | None,
    sites: str | None,
    position: str,
    centre: bool,
    output: Path | None,
    threads: int,
    io: str,
    as_json: bool,
    quiet: bool,
    two_sided: bool,
    **test: Any,
) -> None:
    """Correlate the dissimilarities of the same conditions in two sets of vectors.

    Conditions are the labels; of a store, the mean row of each emotion. The null permutes the
    labels; p is one-sided unless --two-sided is given.
    """
    test["alternative"] = "two-sided" if two_sided else "greater"
    settings = {"site": site, "sites": sites, "position": position, "centre": centre, **test}
    if sites is None:
        left, right = ([place] for place in pair(paths, site, position, threads, io))
    else:
        left, right = grids(paths, sites, position, threads, io)
    x, y, notes = _matched(left, right, centre, test["metric"])
    if sites is None:
        found = compare(x[0].values, y[0].values, threads=threads, **test)
        values, table, sentence = _one(found, left + right)
    else:
        many = rsa_grid([v.values for v in x], [v.values for v in y], threads=threads, **test)
        values, table, sentence = _grid(many, left, right)
    values["labels"] = x[0].labels
    warnings = (*notes, *(found if sites is None else many).warnings)
    result = Result("rsa", values, [table], sentence, warnings, [*left, *right], settings)
    result.deliver(output, as_json=as_json, quiet=quiet)


def _matched(
    left: Sequence[Place], right: Sequence[Place], centre: bool, metric: str
) -> tuple[list[Vectors], list[Vectors], list[str]]:
    """Vectors of every place, all in the order of the first one's labels."""
    found, notes = load([*left, *right], centre, warn=metric != "euclidean")
    matched = []
    for vectors in found:
        _, ordered, warnings = match(found[0], vectors)
        matched.append(ordered)
        notes += warnings
    return matched[: len(left)], matched[len(left) :], notes


def _one(found: Rsa, places: Sequence[Place]) -> tuple[dict[str, Any], Table, str]:
    values = asdict(found) | {"sites": [place.site for place in places]}
    del values["warnings"]
    how = f"all {found.permutations:,}" if found.exact else f"{found.permutations:,} random"
    table = pairs_table(
        f"{' and '.join(named(places))}: {found.metric}, {found.correlation}",
        {
            "r": number(found.r),
            "p": chance_of(found.p)
            + ("" if found.exact else f" (95 % interval {chance_of(found.p_low)} to "
               f"{chance_of(found.p_high)})"),
            "null": f"mean {number(found.null_mean)}, largest {number(found.null_max)}",
            "relabelings": how,
            "conditions": f"{found.n:,} ({found.n * (found.n - 1) // 2:,} pairs)",
        },
    )  # fmt: skip
    if found.p <= _LEVEL:
        way = "in opposite ways" if found.r < 0 else "alike"
        verdict = f"The two sets arrange the conditions {way}, beyond chance"
    elif abs(found.r) > found.null_max:
        verdict = f"{found.permutations:,} relabelings are too few to tell this from chance"
    else:
        verdict = "No more alike than chance allows"
    sentence = (
        f"{verdict}: r = {number(found.r)}, where relabeling reaches at most "
        f"{number(found.null_max)} (p = {chance_of(found.p)})."
    )
    return values, table, sentence


def _grid(
    found: RsaGrid, left: Sequence[Place], right: Sequence[Place]
) -> tuple[dict[str, Any], Table, str]:
    values = asdict(found) | {"sites": [[p.site for p in left], [p.site for p in right]]}
    del values["warnings"]
    cells = [
        [f"{r:.2f}{'*' if p <= _LEVEL else ''}" for r, p in zip(rs, ps, strict=True)]
        for rs, ps in zip(found.r.tolist(), found.p_family.tolist(), strict=True)
    ]
    table = matrix_table(
        f"r, {found.metric}, {found.correlation}; * p <= {_LEVEL} after correction for all pairs",
        named(left),
        named(right),
        cells,
    )
    pairs = np.ones(found.r.shape, bool)
    if left is right:
        pairs = np.triu(pairs, 1)
    if not pairs.any():
        return values, table, "There is one set only: name more sites with --sites."
    beyond = int((found.p_family[pairs] <= _LEVEL).sum())
    sentence = (
        f"{beyond:,} of {int(pairs.sum()):,} pairs are alike beyond chance, corrected for all "
        f"pairs; relabeling reaches r = {number(float(found.null_max[pairs].max()))} at most "
        f"({found.permutations:,} relabelings of {found.n:,} conditions, the same for all pairs)."
    )
    return values, table, sentence

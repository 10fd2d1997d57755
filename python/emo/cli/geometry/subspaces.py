"""``--subspaces`` of ``emo geometry align``: what two sets of directions share after the map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from emo.cli import options
from emo.cli.geometry.choice import Place, beside, load
from emo.cli.geometry.result import number
from emo.data.vectors import Vectors
from emo.errors import UsageError
from emo.geometry.alignment import Alignment
from emo.geometry.mapped import MappedOverlap, overlap_after
from emo.geometry.mapping import Map
from emo.geometry.refits import shuffled_maps

Command = TypeVar("Command", bound=Callable[..., Any])
_ROUNDING = 1e-9
_MOST_SHUFFLES = 100
_FEWEST_SHUFFLES = 39  # the largest of fewer is exceeded by chance more than once in 40


@dataclass(frozen=True)
class Wanted:
    """What is compared after the map; nothing where `places` is empty.

    Parameters
    ----------
    places : tuple of Place
        The directions of x and those of y, or nothing.
    k : int or None
        Leading directions of each.
    centre : bool
        Whether the mean of each set is taken off.
    """

    places: tuple[Place, ...]
    k: int | None
    centre: bool


def subspace_options(command: Command) -> Command:
    """Add ``--subspaces``, ``-k`` and ``--centre``."""
    for option in (
        click.option("--centre", is_flag=True, help="First take the mean off each of these."),
        click.option(
            "-k",
            "--k",
            type=click.IntRange(min=1),
            help="Leading directions of these (default: all).",
        ),
        click.option(
            "--subspaces",
            metavar="A B",
            type=options.PATH,
            nargs=2,
            help="Directions in the spaces of the two inputs, at their sites: how far do they "
            "overlap after the map? Reads all rows into memory.",
        ),
    ):
        command = option(command)
    return command


def wanted(
    paths: tuple[Path, Path] | None,
    k: int | None,
    centre: bool,
    places: Sequence[Place],
    position: str,
    threads: int,
    io: str,
) -> Wanted:
    """Open the inputs of ``--subspaces`` at the sites that are aligned.

    Raises
    ------
    UsageError
        When an option is given that needs them, or they lack a site.
    """
    if paths is None:
        if k is not None or centre:
            raise UsageError("-k and --centre are for --subspaces", hint="--subspaces A B")
        return Wanted((), None, False)
    return Wanted(tuple(beside(paths, places, position, threads, io)), k, centre)


def compare(
    chosen: Wanted,
    fit: tuple[Alignment, Map],
    rows: tuple[Vectors, Vectors],
    holdout: float,
    threads: int,
) -> tuple[MappedOverlap, list[str]]:
    """Measure the overlap beside that of maps fitted on shuffled pairs."""
    (a, b), notes = load(chosen.places, chosen.centre)
    found, fitted = fit
    x, y = (side.values for side in rows)
    shuffles = min(found.permutations, _MOST_SHUFFLES)
    maps = shuffled_maps(x, y, found, holdout=holdout, shuffles=shuffles)
    lap = overlap_after(
        fitted, a.values, b.values, k=chosen.k, shuffled=maps, seed=found.seed, threads=threads
    )
    return lap, [*notes, *lap.warnings]


def told(found: MappedOverlap) -> tuple[dict[str, Any], dict[str, str], str]:
    """Values for JSON, rows of the table, and the sentence."""
    after, before = found.after, found.before
    values = {
        "overlap": after.overlap,
        "overlap_before": None if before is None else before.overlap,
        "chance": after.chance,
        "overlap_null_low": found.null_low,
        "overlap_null_high": found.null_high,
        "overlap_shuffles": found.shuffles,
        "k": after.k[0] if after.k[0] == after.k[1] else after.k,
        "image_rank": after.d,
        "kept": found.kept,
    }
    null = f"{number(found.null_low)} to {number(found.null_high)}"
    without = number(None if before is None else before.overlap)
    rows = {
        "overlap of the subspaces": f"{number(after.overlap)} (without a map {without})",
        "chance": f"{number(after.chance)} ({after.k[0]} and {after.k[1]} of {after.d:,})",
        "95 % of shuffled pairs' maps": f"{null} ({found.shuffles:,} maps)",
    }
    return values, rows, f" {_verdict(found)}: overlap {number(after.overlap)}, those reach {null}."


def _verdict(found: MappedOverlap) -> str:
    more = found.after.overlap > found.null_high + _ROUNDING
    if more and found.shuffles < _FEWEST_SHUFFLES:
        return f"Maps of {found.shuffles:,} shuffles are too few to tell the overlap from chance"
    return f"The subspaces share {'more' if more else 'no more'} than after maps of shuffled pairs"

"""Arguments and options that the verbs of ``emo geometry`` share."""

from __future__ import annotations

import click

from emo.cli import options


def _count(context: click.Context, option: click.Parameter, value: str) -> int | str:
    """Read a number of at least 1, or ``exact``."""
    if value == "exact":
        return "exact"
    if not (value.isdecimal() and int(value) >= 1):
        raise click.BadParameter(f"{value!r} is neither a number of at least 1 nor 'exact'")
    return int(value)


inputs = click.argument("paths", metavar="INPUT...", type=options.PATH, nargs=-1, required=True)
site = click.option(
    "--site",
    help="Site in both inputs, or one for each with a comma between; one input with two sites is "
    "compared with itself (default: the deepest resid_post that the inputs have in common).",
)
sites = click.option(
    "--sites",
    help="A grid over many sites: all, or parts and sites such as resid_post,L3.mlp_act; one "
    "input is compared with itself.",
)
position = click.option(
    "--position", default="last", show_default=True, help="Token position of the rows of stores."
)
centre = click.option(
    "--centre",
    is_flag=True,
    help="First take the mean of all vectors off (within-group directions have none).",
)
which_rows = click.option(
    "--rows",
    "which",
    type=click.Choice(["all", "neutral"]),
    default="all",
    show_default=True,
    help="Rows of stores: all, or those that name no emotion.",
)
permutations = click.option(
    "--permutations",
    metavar="N|exact",
    default="10000",
    show_default=True,
    callback=_count,
    help="Random relabelings for the null, or exact for all of them.",
)

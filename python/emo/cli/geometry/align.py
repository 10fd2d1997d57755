"""``emo geometry align``: a linear map between two spaces, judged on rows it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from emo.artifacts import Artifact, write_artifact
from emo.cli import options
from emo.cli.geometry import arguments
from emo.cli.geometry import subspaces as further
from emo.cli.geometry.choice import Place, pair
from emo.cli.geometry.inputs import StoreSource
from emo.cli.geometry.result import Result, chance_of, named, number, pairs_table, provenance
from emo.cli.outputs import check_file, optional_file, refuse_inputs
from emo.data.vectors import Vectors, match
from emo.errors import UsageError
from emo.geometry.align import METHODS, Alignment
from emo.geometry.align import align as fit
from emo.geometry.align import align_stores as fit_stores
from emo.geometry.mapping import Map

_FIRST = ("r2_heldout", "cosine", "null_mean", "condition", "rank", "method")
_LEVEL = 0.05


@click.command()
@arguments.inputs
@arguments.site
@arguments.position
@arguments.which_rows
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default=METHODS[0],
    show_default=True,
    help="A rotation with one scale, or a linear map with or without a penalty.",
)
@click.option("--penalties", help="Penalties for ridge to choose from, such as 0.1,1,10.")
@click.option(
    "--holdout",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the pairs that judge the map.",
)
@click.option(
    "--permutations",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Shuffles of the pairs for the null.",
)
@further.subspace_options
@click.option("--save-map", type=options.PATH, help="Write the map here, a safetensors file.")
@options.seed
@options.threads
@options.io
@options.as_json
@options.quiet
@optional_file
def align(
    paths: tuple[Path, ...],
    *,
    site: str | None,
    position: str,
    which: str,
    penalties: str | None,
    subspaces: tuple[Path, Path] | None,
    k: int | None,
    centre: bool,
    save_map: Path | None,
    output: Path | None,
    threads: int,
    io: str,
    as_json: bool,
    quiet: bool,
    **choices: Any,
) -> None:
    """Map the first input to the second and judge the map on held-out pairs.

    Pairs have the same label; of stores, rows of the same sample. Fit on neutral text
    (--rows neutral), so that what is compared afterwards did not shape the map.
    """
    choices["penalties"] = _numbers(penalties, choices["method"])
    _check_map_file(save_map, output, (*paths, *(subspaces or ())))
    places = pair(paths, site, position, threads, io)
    wanted = further.wanted(subspaces, k, centre, places, position, threads, io)
    found, fitted, notes = _fit(places, which, threads, choices)
    warnings = [*notes, *_emotional(places, which), *found.warnings]
    values, rows, sentence = _told(found, places)
    settings = {"site": site, "position": position, "rows": which, **choices}
    origin = provenance(places, settings)
    if wanted.places:
        lap, more = further.compare(
            wanted, (found, fitted), _rows(places, which)[:2], choices["holdout"], threads
        )
        warnings += more
        added, lines, end = further.told(lap)
        values, rows, sentence = values | added, rows | lines, sentence + end
        settings |= {"k": k, "centre": centre}
    table = pairs_table(f"{' to '.join(named(places))}: {found.method}", rows)
    every = [*places, *wanted.places]
    result = Result("align", values, [table], sentence, warnings, every, settings)
    if save_map is not None:
        _save(save_map, fitted, values, origin)
    result.deliver(output, as_json=as_json, quiet=quiet)


def _check_map_file(path: Path | None, output: Path | None, inputs: tuple[Path, ...]) -> None:
    """Refuse a path for the map that cannot be written, or that something else is at."""
    if path is None:
        return
    check_file(path, "--save-map")
    refuse_inputs(path, {"inputs": inputs}, "--save-map")
    if output is not None and output.absolute() == path.absolute():
        raise UsageError(f"-o and --save-map are both {path}", hint="name two files")


def _save(path: Path, fitted: Map, values: Mapping[str, Any], origin: Mapping[str, Any]) -> None:
    """Write the map ``scale (x - mean_x) factor_0 factor_1 ... + mean_y``."""
    factors = {f"factor_{i}": factor for i, factor in enumerate(fitted.factors)}
    arrays = {"mean_x": fitted.mean_x, "mean_y": fitted.mean_y, **factors}
    meta = {name: values[name] for name in ("method", "penalty", "r2_heldout", "sites")}
    write_artifact(path, Artifact("map", arrays, {**meta, "scale": fitted.scale}, origin))


def _rows(places: Sequence[Place], which: str) -> tuple[Vectors, Vectors, tuple[str, ...]]:
    return match(*(place.source.rows(place.site, which) for place in places))


def _fit(
    places: Sequence[Place], which: str, threads: int, choices: Mapping[str, Any]
) -> tuple[Alignment, Map, tuple[str, ...]]:
    """Fit on pairs of rows; what two stores hold in the same order need not be read whole."""
    one, other = (place.source for place in places)
    if which == "all" and isinstance(one, StoreSource) and isinstance(other, StoreSource):
        left, right = (place.site or "" for place in places)
        if one.row_names() == other.row_names():
            return *fit_stores(
                one.store, other.store, left, right, one.position, threads=threads, **choices
            ), ()  # fmt: skip
    x, y, notes = _rows(places, which)
    return *fit(x.values, y.values, threads=threads, **choices), notes


def _numbers(text: str | None, method: str) -> list[float] | None:
    if text is None:
        return None
    if method != "ridge":
        raise UsageError(f"--penalties are for ridge, not for {method}", hint="--method ridge")
    try:
        return [float(piece) for piece in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--penalties {text} are not numbers", hint="write numbers with commas, 0.1,1,10"
        ) from None


def _emotional(places: list[Place], which: str) -> list[str]:
    """Warn where rows that carry an emotion shape the map."""
    notes = []
    for source in dict.fromkeys(place.source for place in places):
        if which == "all" and isinstance(source, StoreSource):
            index, _ = source.chosen_rows(which)
            n = int((~source.is_neutral(index)).sum())
            way = "--rows neutral leaves them out" if n < len(index) else "capture neutral rows too"
            if n:
                notes.append(
                    f"{n:,} of {len(index):,} rows of {source.path} name an emotion: a map fitted "
                    f"on them hides differences between the emotions ({way})"
                )
    return notes


def _told(found: Alignment, places: Sequence[Place]) -> tuple[dict[str, Any], dict[str, str], str]:
    values = {name: getattr(found, name) for name in _FIRST} | asdict(found)
    del values["warnings"]
    values["sites"] = [place.site for place in places]
    null = f"mean {number(found.null_mean)}, largest {number(found.null_max)}"
    before = number(found.cosine_before)
    rows = {
        "held-out R²": number(found.r2_heldout),
        "same, shuffled pairs": f"{null} ({found.permutations:,} shuffles)",
        "p": chance_of(found.p),
        "R² on training pairs": number(found.r2_train),
        "cosine, held out": f"{number(found.cosine)} (without a map {before})",
        "pairs": f"{found.n:,}, widths {found.dx:,} and {found.dy:,}",
        "rank, condition": f"{found.rank:,}, {found.condition:.3g}",
    }  # fmt: skip
    if found.penalty is not None:
        rows["penalty"] = f"{found.penalty:.3g}"
    if found.nuclear is not None:
        rows["nuclear norm"] = (
            f"{number(found.nuclear)} (shuffled pairs: mean {number(found.nuclear_null_mean)}, "
            f"largest {number(found.nuclear_null_max)})"
        )
    if found.p <= _LEVEL:
        verdict = "The map carries over to pairs it has not seen, beyond chance"
    elif found.r2_heldout > found.null_max:
        verdict = f"{found.permutations:,} shuffles are too few to tell the map from chance"
    else:
        verdict = "The map carries over no better than one of shuffled pairs"
    sentence = (
        f"{verdict}: held-out R² {number(found.r2_heldout)}, shuffled pairs reach "
        f"{number(found.null_max)} at most (p = {chance_of(found.p)})."
    )
    return values, rows, sentence

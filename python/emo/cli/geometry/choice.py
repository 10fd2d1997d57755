"""Which sites of which inputs are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emo.cli.geometry.inputs import FileSource, Source, open_source
from emo.data.vectors import Vectors
from emo.errors import UsageError, did_you_mean
from emo.sites import PARTS, Site

_DEFAULT = "resid_post"
_COMMON = 0.5


@dataclass(frozen=True)
class Place:
    """One site of one input; the site is None where the input has none."""

    source: Source
    site: str | None


def pair(
    paths: Sequence[Path], site: str | None, position: str, threads: int, io: str
) -> list[Place]:
    """Choose the two places that are compared.

    Two inputs take one site, or two with a comma between; one input is compared with itself at
    two sites. Without `site`: the deepest ``resid_post`` that all stores and directions files
    among the inputs have.

    Raises
    ------
    UsageError
        When the sites or inputs do not make a pair.
    """
    names = _names(site)
    if len(paths) == 1 and len(names) == 2:
        source = open_source(paths[0], position, threads, io)
        return places([source, source], names)
    if len(paths) != 2:
        raise UsageError(
            f"two inputs are compared, there is {len(paths)}"
            if len(paths) == 1
            else f"two inputs are compared, there are {len(paths)}",
            hint="give two inputs, or one with two sites: --site L3.resid_post,L5.resid_post",
        )
    return places([open_source(path, position, threads, io) for path in paths], names)


def beside(
    paths: Sequence[Path], chosen: Sequence[Place], position: str, threads: int, io: str
) -> list[Place]:
    """Choose the places of further inputs, one beside each chosen place and at its site.

    Raises
    ------
    UsageError
        When an input lacks the site.
    """
    found = []
    for path, place in zip(paths, chosen, strict=True):
        source = open_source(path, position, threads, io)
        site = place.site or (None if isinstance(source, FileSource) else _deepest([source]))
        found.append(Place(source, _known(source, site) if source.sites and site else None))
    return found


def single(path: Path, site: str | None, position: str, threads: int, io: str) -> Place:
    """Choose the place of a single input."""
    return places([open_source(path, position, threads, io)], _names(site))[0]


def grids(
    paths: Sequence[Path], sites: str, position: str, threads: int, io: str
) -> list[list[Place]]:
    """Choose many places for each of one or two inputs; one input is compared with itself.

    Raises
    ------
    UsageError
        When no input has sites, or a named one is lacking.
    """
    if not 1 <= len(paths) <= 2:
        raise UsageError(
            f"one or two inputs are compared, there are {len(paths)}", hint="give one or two"
        )
    sources = [open_source(path, position, threads, io) for path in paths]
    if not any(source.sites for source in sources):
        raise _no_sites(sources, "--sites")
    found = [[Place(source, name) for name in _many(source, sites)] for source in sources]
    return found * 2 if len(found) == 1 else found


def load(
    places: Sequence[Place], centre: bool, *, warn: bool = True
) -> tuple[list[Vectors], list[str]]:
    """Read the vectors of each place, less their mean when asked, and what is doubtful about them.

    A mean that all vectors share makes angles between them small whatever else they hold.
    """
    each: dict[Place, Vectors] = {}
    shared: list[Vectors] = []
    for place in dict.fromkeys(places):
        vectors = place.source.vectors(place.site)
        each[place] = vectors.centred() if centre and not place.source.relative else vectors
        if warn and not centre and vectors.common > _COMMON:
            shared.append(vectors)
    notes = []
    if shared:
        more = f" (and of {len(shared) - 1} others)" if len(shared) > 1 else ""
        notes = [
            f"{shared[0].common:.0%} of the squared length of the vectors of {shared[0].source}"
            f"{more} is their common mean, which angles mostly see: --centre takes it off"
        ]
    return [each[place] for place in places], notes


def places(sources: Sequence[Source], names: Sequence[str]) -> list[Place]:
    """Give each input its site."""
    if not names:
        default = _deepest(sources)
        return [Place(s, None if isinstance(s, FileSource) else default) for s in sources]
    if len(names) not in (1, len(sources)):
        raise UsageError(
            f"--site names {len(names)} sites for {len(sources)} inputs",
            hint="name one site for all inputs, or one for each with commas between",
        )
    if not any(source.sites for source in sources):
        raise _no_sites(sources, "--site")
    each = list(names) * len(sources) if len(names) == 1 else names
    return [
        Place(source, _known(source, name) if source.sites else None)
        for source, name in zip(sources, each, strict=True)
    ]


def _names(site: str | None) -> list[str]:
    return [] if site is None else [piece.strip() for piece in site.split(",")]


def _known(source: Source, name: str) -> str:
    """Return the site of a source that a name means, or say what there is."""
    found = _canonical(name)
    if found not in source.sites:
        hint = did_you_mean(found, source.sites)
        raise UsageError(f"{source.path} holds no site {name}", hint=hint)
    return found


def _canonical(name: str) -> str:
    try:
        return str(Site.parse(name))
    except UsageError:
        return name


def _deepest(sources: Sequence[Source]) -> str | None:
    models = [source for source in sources if not isinstance(source, FileSource)]
    if not models:
        return None
    common = set.intersection(*(set(source.sites) for source in models))
    layers = [Site.parse(name).layer for name in common if name.endswith(f".{_DEFAULT}")]
    if not layers:
        where = " and ".join(dict.fromkeys(str(source.path) for source in models))
        raise UsageError(
            f"no {_DEFAULT} is in {where}", hint="choose a site with --site, such as L3.mlp_act"
        )
    return str(Site(max(layers), _DEFAULT))


def _many(source: Source, text: str) -> list[str | None]:
    if not source.sites:
        return [None]
    if text == "all":
        return list(source.sites)
    chosen: list[str | None] = []
    for name in _names(text):
        if name in PARTS:
            found = [site for site in source.sites if site.endswith(f".{name}")]
            if not found:
                raise UsageError(f"{source.path} holds no {name}", hint=_has(source))
            chosen += found
        else:
            chosen.append(_known(source, name))
    return list(dict.fromkeys(chosen))


def _has(source: Source) -> str:
    return did_you_mean("", source.sites)


def _no_sites(sources: Sequence[Source], option: str) -> UsageError:
    where = " and ".join(dict.fromkeys(str(source.path) for source in sources))
    return UsageError(f"{option} chooses sites, but {where} has none", hint=f"leave out {option}")

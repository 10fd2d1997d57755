"""The page: head, finding, sections in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from emo.artifacts import write_bytes
from emo.report.accuracy import accuracy_section
from emo.report.finding import best_layer, finding, steering_gain
from emo.report.folder import REPORT, Run, read_run
from emo.report.geometry import geometry_section
from emo.report.markup import Markup, join, tag
from emo.report.provenance import data_section, judge_section, provenance_section
from emo.report.rates import Rate, Summary
from emo.report.reading import reading_section
from emo.report.replies import replies_section
from emo.report.strength import strength_section
from emo.report.tables import paragraph
from emo.report.units import units_section
from emo.report.wording import counted, listed, percent, percent_range, points, short

STYLE = Path(__file__).with_name("style.css")
# No scripts, no network: the browser is told so too.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SECTIONS: tuple[tuple[str, str, Callable[[Run], Markup]], ...] = (
    ("accuracy", "Accuracy", accuracy_section),
    ("strength", "Strength of steering", strength_section),
    ("units", "Neurons and heads", units_section),
    ("geometry", "Geometry", geometry_section),
    ("replies", "Replies", replies_section),
    ("data", "Data", data_section),
    ("judge", "Judge", judge_section),
    ("provenance", "Provenance", provenance_section),
    ("reading", "How to read this", lambda run: reading_section()),
)


def build(folder: Path) -> Path:
    """Write the report of a run folder.

    The same artifacts give the same bytes.

    Parameters
    ----------
    folder : Path
        With ``run.json``; artifacts that are not there yet are named in the report.

    Returns
    -------
    Path
        ``report.html`` in the folder; it appears whole or not at all.

    Raises
    ------
    ArtifactError
        When `folder` is no run folder, or an artifact in it is damaged.
    ResourceError
        When the disk is full or the folder cannot be written.
    """
    path = Path(folder) / REPORT
    write_bytes(path, page(read_run(folder)).encode())
    return path


def page(run: Run) -> Markup:
    """Return the whole page."""
    title = f"emo report: {run.model_name}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", title),
        tag("style", Markup(STYLE.read_text(encoding="utf-8"))),
    )
    sections = [_section(name, heading, write(run)) for name, heading, write in _SECTIONS]
    body = tag("body", _header(run), _contents(), tag("main", *sections), _footer(run))
    return Markup(f"<!doctype html>\n{tag('html', head, body, lang='en')}\n")


def _section(name: str, heading: str, body: Markup) -> Markup:
    return tag("section", tag("h2", heading, id=f"{name}-heading"), body, id=name,
               aria_labelledby=f"{name}-heading")  # fmt: skip


def _contents() -> Markup:
    links = [tag("a", heading, href=f"#{name}") for name, heading, _ in _SECTIONS]
    return tag("nav", *links, aria_label="Contents")


def _header(run: Run) -> Markup:
    found = finding(run)
    return tag(
        "header",
        tag("p", "emo report", class_="eyebrow"),
        tag("h1", run.model_name),
        _subtitle(run),
        tag("p", found.headline, class_="headline"),
        tag("p", " ".join(found.sentences), class_="lead"),
        tag("p", found.caveat, class_="caveat") if found.caveat else None,
        _tiles(run),
    )


def _subtitle(run: Run) -> Markup:
    model, pieces = run.configuration.get("model") or {}, []
    if model.get("family"):
        pieces.append(str(model["family"]))
    if isinstance(model.get("n_layers"), int):
        pieces.append(counted(model["n_layers"], "layer"))
    if run.emotions:
        pieces.append(listed(run.emotions) if len(run.emotions) <= 8 else
                      counted(len(run.emotions), "emotion"))  # fmt: skip
    for name, part in (run.configuration.get("data") or {}).items():
        if isinstance(part, dict) and isinstance(part.get("n"), int):
            pieces.append(f"{counted(part['n'], 'sample')} for {name}")
    return paragraph(" · ".join(pieces), look="subtitle") if pieces else Markup()


def _tiles(run: Run) -> Markup:
    """Return the few numbers that a reader looks for first."""
    tiles = _rate_tiles(run.summary) if run.summary else []
    best = best_layer(run.geometry.layers) if run.geometry else None
    if best is not None:
        control = best.probe.get("shuffled")
        words = f"shuffled {short(control, 2)}" if control is not None else ""
        tiles.append(_tile(f"probe F1, layer {best.layer}", short(best.probe["f1"], 2), words))
    return tag("div", *tiles, class_="tiles") if tiles else Markup()


def _rate_tiles(summary: Summary) -> list[Markup]:
    tiles = []
    for name, label in (("prompting", "prompting"), ("steering", "steering"),
                        ("circuit", "circuit"), ("random", "random vectors")):  # fmt: skip
        method = summary.methods.get(name)
        if method is not None:
            tiles.append(_rate_tile(label, method.rate, f"m-{name}"))
    gain = steering_gain(summary)
    if gain is not None:
        words = f"{points(gain.low)} to {points(gain.high)}"
        tiles.append(_tile("steering minus random, points", points(gain.value), words))
    if summary.chance is not None:
        words = f"{counted(len(summary.emotions), 'emotion')}"
        tiles.append(_tile("chance, at most", percent(summary.chance), words))
    return tiles


def _rate_tile(label: str, rate: Rate, look: str) -> Markup:
    words = f"{percent_range(rate.low, rate.high)}, n {rate.n:,}"
    return _tile(label, percent(rate.accuracy, 0), words, look)


def _tile(label: str, value: str, words: str, look: str = "") -> Markup:
    return tag("div", tag("b", value), tag("span", label, class_="what"),
               tag("span", words, class_="faint"), class_=f"tile {look}".strip())  # fmt: skip


def _footer(run: Run) -> Markup:
    version = run.configuration.get("version")
    words = f"Written by emo {version} " if version else "Written by emo "
    rest = f"from the artifacts of one run, seed {run.seed}. No scripts, nothing loaded."
    return tag("footer", paragraph(join([words, rest])))

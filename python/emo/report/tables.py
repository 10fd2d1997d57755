"""Tables, figures, keys and notes as HTML."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from emo.report.markup import Markup, join, tag
from emo.report.svg import look_of, mark

Cell = str


@dataclass(frozen=True)
class Row:
    """Cells of one row, the first one its name; `look` is a class."""

    cells: tuple[Cell, ...]
    look: str | None = None


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Row | Sequence[Cell]],
    *,
    words: Collection[int] = (),
) -> Markup:
    """Return a table that scrolls sideways where it is too wide.

    Parameters
    ----------
    words : collection of int
        Columns with text; the others, but for the first, hold numbers and are set right.
    """
    body = [_row(row if isinstance(row, Row) else Row(tuple(row)), words) for row in rows]
    head = [
        tag("th", name, scope="col", class_=None if i == 0 or i in words else "n")
        for i, name in enumerate(columns)
    ]
    inner = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    scroll = tag("div", inner, class_="scroll", role="region", tabindex=0, aria_label=caption)
    return tag("div", tag("p", caption, class_="caption"), scroll, class_="table")


def _row(row: Row, words: Collection[int]) -> Markup:
    first, *rest = row.cells
    cells = [
        tag("td", cell, class_=None if i in words else "n") for i, cell in enumerate(rest, start=1)
    ]
    return tag("tr", tag("th", first, scope="row"), *cells, class_=row.look)


def pairs(entries: Sequence[tuple[str, str]]) -> Markup:
    """Return names with their values as a list of definitions."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in entries))


def figure(
    title: str, note: str, panels: Sequence[str], *, key: str | None = None, look: str = "halves"
) -> Markup:
    """Return pictures side by side under one title, a sentence on how to read them, and a key.

    Parameters
    ----------
    look : str
        ``halves``, ``thirds`` or ``small``: how wide a picture gets.
    """
    heading = tag("figcaption", tag("strong", title), " ", tag("span", note))
    return tag("figure", heading, key, tag("div", *panels, class_=f"panels {look}"))


def series_key(entries: Sequence[tuple[str, str, int | None]]) -> Markup:
    """Return the key of a chart.

    Parameters
    ----------
    entries : sequence of (label, look, shape)
        A shape of None stands for a bar.
    """
    return tag(
        "ul",
        *(tag("li", _swatch(look, shape), " ", label) for label, look, shape in entries),
        class_="key",
    )


def emotion_key(looks: Mapping[str, int]) -> Markup:
    """Return the key of a chart with one series for each emotion."""
    return series_key([(name, look_of(i), i) for name, i in looks.items()])


def _swatch(look: str, shape: int | None) -> Markup:
    inner = (
        tag("rect", x=1, y=1, width=12, height=10, class_=f"bar {look}")
        if shape is None
        else tag("path", d=mark(shape, 7, 6, 4), class_=f"dot {look}")
    )
    return tag("svg", inner, viewBox="0 0 14 12", width=14, height=12, aria_hidden="true")


def paragraph(*parts: str, look: str | None = None) -> Markup:
    """Return a paragraph."""
    return tag("p", *parts, class_=look)


def missing(what: str, file: str) -> Markup:
    """Say plainly that a part of the run is not there (yet)."""
    return tag(
        "p",
        tag("strong", "Missing: "),
        f"{what}. The run folder has no ",
        tag("code", file),
        ".",
        class_="missing",
    )


def folded(summary: str, *parts: str) -> Markup:
    """Return parts that a reader can fold out."""
    return tag("details", tag("summary", summary), join(parts))

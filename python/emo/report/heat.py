"""Heat maps: cells coloured by value, many cells in few bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo.report.charts import Frame
from emo.report.markup import Markup, join, number, tag
from emo.report.svg import fitted, label_width, picture, text

N_SHADES = 12


@dataclass(frozen=True)
class Axis:
    """Names along one side of a heat map: a label at each place, empty for none, and a title."""

    labels: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Outline:
    """A cell drawn with a border, and what it says when pointed at."""

    row: int
    column: int
    tip: str


def heat_map(
    frame: Frame,
    values: NDArray[np.float64],
    rows: Axis,
    columns: Axis,
    top: float,
    *,
    width: float,
    cell_height: float | None = None,
    write: Callable[[float], str] | None = None,
    outlines: Sequence[Outline] = (),
    struck: Collection[tuple[int, int]] = (),
    heading: str = "",
) -> Markup:
    """Draw a matrix, the first row at the top.

    Parameters
    ----------
    values : (n_rows, n_columns) float64 array
        Positive values get one colour, negative ones the other; NaN gets a cross.
    top : float, above 0
        Value of the full colour; larger ones get it too.
    cell_height : float, optional
        In pixels; square cells when None.
    write : callable, optional
        Writes each value into its cell.
    outlines : sequence of Outline
        Cells to be drawn with a border.
    struck : collection of (row, column)
        Cells whose number is struck through.
    """
    n_rows, n_columns = values.shape
    left = label_width(rows.labels, 110)
    above = 22.0 if heading else 4.0
    step = (width - left - 4) / n_columns
    height = cell_height or step
    place = _Grid(left, above, step, height)
    names, below = _column_labels(columns, place, above + height * n_rows)
    parts = [
        text(0, 12, heading, "heading") if heading else Markup(),
        tag(
            "rect", x=left, y=above, width=step * n_columns, height=height * n_rows, class_="panel"
        ),
        _shades(values, top, place),
        _numbers(values, top, place, write, struck) if write else Markup(),
        *(_outline(entry, place) for entry in outlines),
        *_row_labels(rows, place),
        *names,
    ]
    size = (width, above + height * n_rows + below)
    return picture(frame.name, frame.title, frame.description, size, *parts)


def colour_key(low: str, middle: str, high: str, *, signed: bool) -> Markup:
    """Return the key of a heat map's colours as a line of HTML."""
    steps = range(-N_SHADES, N_SHADES + 1, 3) if signed else range(0, N_SHADES + 1, 2)
    cells = [
        tag("rect", x=i * 14, y=0, width=14, height=12, class_="cold" if level < 0 else "hot",
            fill_opacity=number(abs(level) / N_SHADES, 2))
        for i, level in enumerate(steps)
    ]  # fmt: skip
    width = 14 * len(cells)
    strip = tag(
        "svg", *cells, viewBox=f"0 0 {width} 12", width=width, height=12, aria_hidden="true"
    )
    words = [low, strip, high]
    note = tag("span", f"({middle})", class_="faint") if middle else None
    return tag("p", join(words, " "), note and join([" ", note]), class_="key")


@dataclass(frozen=True)
class _Grid:
    left: float
    above: float
    width: float
    height: float

    def corner(self, row: int, column: int) -> tuple[float, float]:
        return self.left + column * self.width, self.above + row * self.height


def _levels(values: NDArray[np.float64], top: float) -> NDArray[np.int64]:
    """Shade of each cell, from minus to plus `N_SHADES`; 0 also for NaN."""
    shares = np.nan_to_num(values / top, nan=0.0)
    return np.clip(np.round(shares * N_SHADES), -N_SHADES, N_SHADES).astype(np.int64)


def _shades(values: NDArray[np.float64], top: float, place: _Grid) -> Markup:
    """Return one path for each shade: equal neighbours in a row become one bar."""
    levels = _levels(values, top)
    paths: dict[int, list[str]] = {}
    for row in range(levels.shape[0]):
        start = 0
        for column in range(1, levels.shape[1] + 1):
            if column == levels.shape[1] or levels[row, column] != levels[row, start]:
                if levels[row, start]:
                    width = column - start
                    piece = f"M{start} {row}h{width}v1h-{width}z"
                    paths.setdefault(int(levels[row, start]), []).append(piece)
                start = column
    shapes = [
        tag("path", d="".join(pieces), class_="hot" if level > 0 else "cold",
            fill_opacity=number(abs(level) / N_SHADES, 2))
        for level, pieces in sorted(paths.items())
    ]  # fmt: skip
    move = f"translate({number(place.left)} {number(place.above)})"
    size = f"scale({number(place.width, 4)} {number(place.height, 4)})"
    return tag("g", *shapes, transform=f"{move} {size}", shape_rendering="crispEdges")


def _numbers(
    values: NDArray[np.float64],
    top: float,
    place: _Grid,
    write: Callable[[float], str],
    struck: Collection[tuple[int, int]],
) -> Markup:
    parts = []
    levels = _levels(values, top)
    for row, column in np.ndindex(*values.shape):
        x, y = place.corner(row, column)
        value = float(values[row, column])
        look = "cell on" if abs(levels[row, column]) > 0.6 * N_SHADES else "cell"
        look += " struck" if (row, column) in struck else ""
        words = "×" if math.isnan(value) else write(value)
        parts.append(text(x + place.width / 2, y + place.height / 2 + 4, words, look, "middle"))
    return join(parts)


def _outline(entry: Outline, place: _Grid) -> Markup:
    x, y = place.corner(entry.row, entry.column)
    return tag("rect", tag("title", entry.tip), x=x, y=y, width=place.width, height=place.height,
               class_="outline")  # fmt: skip


def _row_labels(rows: Axis, place: _Grid) -> list[Markup]:
    parts = []
    for i, label in enumerate(rows.labels):
        if label:
            y = place.above + (i + 0.5) * place.height + 4
            parts.append(text(place.left - 6, y, fitted(label, place.left), "tick", "end"))
    return parts


def _column_labels(columns: Axis, place: _Grid, bottom: float) -> tuple[list[Markup], float]:
    """Labels below the cells, slanted where they do not fit, and the height they take."""
    slanted = all(columns.labels) and label_width(columns.labels) > place.width + 10
    parts, height = [], 18.0
    if slanted:
        height = 14 + 0.62 * (label_width(columns.labels, 110) - 8)
    for i, label in enumerate(columns.labels):
        x = place.left + (i + 0.5) * place.width
        if label and slanted:
            x += 4
            turn = f"rotate(-40 {number(x)} {number(bottom + 13)})"
            words = fitted(label, 110)
            parts.append(text(x, bottom + 13, words, "tick", "end", transform=turn))
        elif label:
            parts.append(text(x, bottom + 14, label, "tick", "middle"))
    if columns.title:
        middle = place.left + place.width * len(columns.labels) / 2
        parts.append(text(middle, bottom + height + 12, columns.title, "axis", "middle"))
        height += 18
    return parts, height


def spaced(labels: Sequence[str], most: int) -> tuple[str, ...]:
    """Keep about `most` of the labels, evenly spaced, and empty the others.

    >>> spaced(["0", "1", "2", "3"], 2)
    ('0', '', '2', '')
    """
    every = max(math.ceil(len(labels) / most), 1)
    return tuple(label if i % every == 0 else "" for i, label in enumerate(labels))

"""Charts: bars with intervals, lines with bands, and scatter plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emo.report.markup import Markup, join, number, tag
from emo.report.svg import (
    CHARACTER,
    Scale,
    fitted,
    label_width,
    line,
    mark,
    picture,
    text,
    x_axis,
    y_axis,
)

WIDTH = 440.0
_BAR, _GAP, _GROUP_GAP = 10.0, 2.0, 12.0


@dataclass(frozen=True)
class Frame:
    """What every chart carries: a name unique in the page, a title and a description."""

    name: str
    title: str
    description: str


@dataclass(frozen=True)
class Bar:
    """A value with its interval (none when `low` is `high`); None for a value that is missing."""

    value: float | None
    low: float
    high: float
    look: str
    written: str
    tip: str


@dataclass(frozen=True)
class BarGroup:
    """Bars under one label."""

    label: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Reference:
    """A dashed line across a chart, with its name."""

    value: float
    label: str


def bar_chart(
    frame: Frame,
    groups: Sequence[BarGroup],
    span: tuple[float, float],
    write: Callable[[float], str],
    *,
    reference: Reference | None = None,
    heading: str = "",
    width: float = WIDTH,
    alike: Sequence[BarGroup] = (),
) -> Markup:
    """Draw horizontal bars from zero with intervals, group under group.

    Parameters
    ----------
    span : (low, high)
        Ends of the value axis; low is at most 0.
    write : callable
        Writes a tick value.
    reference : Reference, optional
        Such as the chance level.
    alike : sequence of BarGroup
        Groups of other charts beside this one: all get the same margins, so that they line up.
    """
    every = [*groups, *alike]
    left = label_width([group.label for group in every])
    room = max((len(bar.written) for g in every for bar in g.bars), default=0) * CHARACTER + 8
    scale = Scale(*span, left, width - room)
    top = 6.0 + (14.0 if reference else 0) + (18.0 if heading else 0)
    y, rows = top, []
    for group in groups:
        height = len(group.bars) * (_BAR + _GAP) - _GAP
        rows.append(text(left - 8, y + height / 2 + 4, fitted(group.label, left), "label", "end"))
        rows += [_bar(bar, scale, y + i * (_BAR + _GAP)) for i, bar in enumerate(group.bars)]
        y += height + _GROUP_GAP
    bottom = y - _GROUP_GAP + 6
    axes = x_axis(scale, top - 4, bottom, write)
    zero = line(scale(0), top - 4, scale(0), bottom, "zero")
    parts = [axes, *rows, zero]
    if heading:
        parts.append(text(0, 12, heading, "heading"))
    if reference:
        parts.append(_reference(reference, scale, top - 6, bottom))
    size = (width, bottom + 22)
    return picture(frame.name, frame.title, frame.description, size, *parts)


def _bar(bar: Bar, scale: Scale, y: float) -> Markup:
    if bar.value is None:
        return text(scale(0) + 4, y + _BAR - 1, bar.written, "value faint")
    low, high = sorted((scale(0), scale(bar.value)))
    ends = scale(max(bar.low, scale.low)), scale(min(bar.high, scale.high))
    middle = y + _BAR / 2
    whisker = (
        f"M{number(ends[0])} {number(middle)}H{number(ends[1])}"
        f"M{number(ends[0])} {number(middle - 3)}v6M{number(ends[1])} {number(middle - 3)}v6"
    )
    return tag(
        "g",
        tag("title", bar.tip),
        tag("rect", x=low, y=y, width=max(high - low, 0.5), height=_BAR, class_=f"bar {bar.look}"),
        tag("path", d=whisker, class_="whisker") if bar.low < bar.high else None,
        text(max(ends[1], scale(0)) + 5, y + _BAR - 1, bar.written, "value"),
    )


def _reference(reference: Reference, scale: Scale, top: float, bottom: float) -> Markup:
    x = scale(reference.value)
    right = x > (scale.start + scale.stop) / 2
    return join(
        [
            line(x, top, x, bottom, "reference"),
            text(
                x - 4 if right else x + 4,
                top - 2,
                reference.label,
                "note",
                "end" if right else None,
            ),
        ]
    )


@dataclass(frozen=True)
class Line:
    """A line through points, with marks and an optional band around it."""

    look: str
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...] = ()
    dashed: bool = False
    shape: int = 0
    tips: tuple[str, ...] = ()


def line_chart(
    frame: Frame,
    lines: Sequence[Line],
    span: tuple[float, float],
    write: Callable[[float], str],
    *,
    log: bool = False,
    axis: str,
    value_axis: str,
    width: float = WIDTH,
    height: float = 240.0,
) -> Markup:
    """Draw lines over whole numbers such as layers.

    Parameters
    ----------
    span : (low, high)
        Ends of the value axis.
    write : callable
        Writes a tick of the value axis.
    log : bool
        Whether the value axis is logarithmic.
    """
    xs = [x for entry in lines for x, _ in entry.points]
    left, right, top, bottom = 40.0, width - 12, 24.0, height - 40
    across = Scale(min(xs), max(xs), left + 6, right - 6)
    up = Scale(*span, bottom, top, log)
    ticks = [value for value in across.ticks(8) if value == int(value)]
    parts = [
        y_axis(up, left, right, write, title=value_axis),
        x_axis(across, top, bottom, lambda value: str(int(value)), ticks=ticks, title=axis),
        *(_band(entry, across, up) for entry in lines if entry.band),
        *(_line(entry, across, up) for entry in lines),
    ]
    return picture(frame.name, frame.title, frame.description, (width, height), *parts)


def _band(entry: Line, across: Scale, up: Scale) -> Markup:
    there = [f"{number(across(x))} {number(up(high))}" for x, _, high in entry.band]
    back = [f"{number(across(x))} {number(up(low))}" for x, low, _ in reversed(entry.band)]
    return tag("path", d=f"M{'L'.join(there + back)}z", class_=f"band {entry.look}")


def _line(entry: Line, across: Scale, up: Scale) -> Markup:
    places = [(across(x), up(y)) for x, y in entry.points]
    path = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in places)
    marks = [
        tag(
            "path",
            tag("title", entry.tips[i]) if entry.tips else None,
            d=mark(entry.shape, x, y, 2.6),
            class_=f"dot {entry.look}",
        )
        for i, (x, y) in enumerate(places)
    ]
    look = f"line {entry.look}" + (" dashed" if entry.dashed else "")
    return join([tag("path", d=path, class_=look), *marks])


@dataclass(frozen=True)
class Cloud:
    """Points of one series, drawn with one shape and colour."""

    look: str
    shape: int
    points: tuple[tuple[float, float], ...]


def scatter(
    frame: Frame,
    clouds: Sequence[Cloud],
    *,
    heading: str,
    side: float = 155.0,
    radius: float = 1.9,
) -> Markup:
    """Draw a small square scatter plot without axis values, with the mean of each cloud.

    Both axes have the same scale, so that distances mean the same in every direction.
    """
    points = [point for cloud in clouds for point in cloud.points]
    across, up = _square(points, side, 22.0)
    parts = [
        text(0, 12, heading, "heading"),
        tag("rect", x=0.5, y=20, width=side - 1, height=side - 1, class_="panel"),
    ]
    for cloud in clouds:
        path = "".join(mark(cloud.shape, across(x), up(y), radius) for x, y in cloud.points)
        parts.append(tag("path", d=path, class_=f"cloud {cloud.look}"))
    for cloud in clouds:
        n = len(cloud.points)
        x, y = (sum(p[i] for p in cloud.points) / n for i in (0, 1))
        path = mark(cloud.shape, across(x), up(y), radius * 2.6)
        parts.append(tag("path", d=path, class_=f"centre {cloud.look}"))
    return picture(frame.name, frame.title, frame.description, (side, side + 20), *parts)


def _square(points: Sequence[tuple[float, float]], side: float, top: float) -> tuple[Scale, Scale]:
    """Scales that fit all points into a square without stretching them."""
    low = [min(p[i] for p in points) for i in (0, 1)]
    high = [max(p[i] for p in points) for i in (0, 1)]
    half = max(high[0] - low[0], high[1] - low[1], 1e-12) / 2
    x, y = ((a + b) / 2 for a, b in zip(low, high, strict=True))
    pad = 10.0
    across = Scale(x - half, x + half, pad, side - pad)
    up = Scale(y - half, y + half, top + side - pad - 2, top + pad - 2)
    return across, up

"""Pieces of pictures: scales, ticks, axes, marks, and the frame that names a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emo.report.markup import Markup, join, number, tag

CHARACTER = 7.0  # mean width of a character at the font size of the pictures, in pixels
N_LOOKS = 9


@dataclass(frozen=True)
class Scale:
    """A map from values to pixels.

    Parameters
    ----------
    low, high : float
        Values at the ends; both above 0 when `log`.
    start, stop : float
        Pixels at the ends.
    log : bool
        Equal ratios get equal lengths.

    >>> Scale(0, 10, 100, 200)(5)
    150.0
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of `value`; values outside the ends lie outside."""
        low, high = self._inner(self.low), self._inner(self.high)
        share = (self._inner(value) - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.stop - self.start)

    def ticks(self, n: int = 5) -> list[float]:
        """Return about `n` round values between the ends."""
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high, n)

    def _inner(self, value: float) -> float:
        return math.log10(value) if self.log else value


def _ticks(low: float, high: float, n: int) -> list[float]:
    span = high - low
    if span <= 0:
        return [low]
    rough = span / n
    size: float = 10.0 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 200 else (1,)
    found = [m * 10.0**d for d in decades for m in steps]
    return [value for value in found if low * 0.999 <= value <= high * 1.001]


def picture(
    name: str, title: str, description: str, size: tuple[float, float], *parts: str
) -> Markup:
    """Return an SVG picture with its title and description for screen readers.

    Parameters
    ----------
    name : str
        Unique in the page.
    size : (width, height) in pixels
    """
    width, height = size
    return tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", description, id=f"{name}-desc"),
        *parts,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )


def text(
    x: float,
    y: float,
    words: str,
    look: str = "",
    anchor: str | None = None,
    *,
    transform: str | None = None,
) -> Markup:
    """Return a line of text; `anchor` is ``middle`` or ``end``, ``start`` when None."""
    return tag(
        "text", words, x=x, y=y, class_=look or None, text_anchor=anchor, transform=transform
    )


def line(x1: float, y1: float, x2: float, y2: float, look: str) -> Markup:
    """Return a straight line."""
    return tag("path", d=f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}", class_=look)


def label_width(labels: Sequence[str], most: float = 130) -> float:
    """Width in pixels that the longest label needs, at most `most`."""
    return min(max((len(label) for label in labels), default=0) * CHARACTER + 8, most)


def fitted(label: str, width: float) -> str:
    """Shorten a label to `width` pixels."""
    room = max(int((width - 8) / CHARACTER + 1e-6), 2)
    return label if len(label) <= room else label[: room - 1] + "…"


def x_axis(
    scale: Scale,
    top: float,
    bottom: float,
    write: Callable[[float], str],
    *,
    ticks: Sequence[float] | None = None,
    title: str = "",
) -> Markup:
    """Return vertical grid lines, their values below, and the axis title under them."""
    parts = []
    for value in scale.ticks() if ticks is None else ticks:
        x = scale(value)
        parts += [
            line(x, top, x, bottom, "grid"),
            text(x, bottom + 15, write(value), "tick", "middle"),
        ]
    if title:
        middle = (scale.start + scale.stop) / 2
        parts.append(text(middle, bottom + 32, title, "axis", "middle"))
    return join(parts)


def y_axis(
    scale: Scale,
    left: float,
    right: float,
    write: Callable[[float], str],
    *,
    ticks: Sequence[float] | None = None,
    title: str = "",
) -> Markup:
    """Return horizontal grid lines, their values at the left, and the axis title above them."""
    parts = []
    for value in scale.ticks() if ticks is None else ticks:
        y = scale(value)
        parts += [
            line(left, y, right, y, "grid"),
            text(left - 6, y + 4, write(value), "tick", "end"),
        ]
    if title:
        parts.append(text(0, min(scale.start, scale.stop) - 10, title, "axis"))
    return join(parts)


_MARKS: tuple[Callable[[float], str], ...] = (
    lambda r: (
        f"m{number(-r)} 0a{number(r)} {number(r)} 0 1 0 {number(2 * r)} 0"
        f"a{number(r)} {number(r)} 0 1 0 {number(-2 * r)} 0z"
    ),
    lambda r: f"m{number(-r)} {number(-r)}h{number(2 * r)}v{number(2 * r)}h{number(-2 * r)}z",
    lambda r: f"m0 {number(-1.3 * r)}l{number(1.25 * r)} {number(2.2 * r)}h{number(-2.5 * r)}z",
    lambda r: (
        f"m0 {number(-1.4 * r)}l{number(1.4 * r)} {number(1.4 * r)}"
        f"l{number(-1.4 * r)} {number(1.4 * r)}l{number(-1.4 * r)} {number(-1.4 * r)}z"
    ),
    lambda r: f"m0 {number(1.3 * r)}l{number(1.25 * r)} {number(-2.2 * r)}h{number(-2.5 * r)}z",
    lambda r: (
        f"m{number(-0.5 * r)} {number(-1.4 * r)}h{number(r)}v{number(0.9 * r)}"
        f"h{number(0.9 * r)}v{number(r)}h{number(-0.9 * r)}v{number(0.9 * r)}h{number(-r)}"
        f"v{number(-0.9 * r)}h{number(-0.9 * r)}v{number(-r)}h{number(0.9 * r)}z"
    ),
)


def mark(look: int, x: float, y: float, radius: float) -> str:
    """Return path data of a mark: circle, square, triangle, diamond, triangle down, plus.

    Parameters
    ----------
    look : int
        Index of a series; shapes and colours repeat with different periods.
    """
    return f"M{number(x)} {number(y)}{_MARKS[look % len(_MARKS)](radius)}"


def look_of(index: int) -> str:
    """Class that colours the series `index`; colours repeat after `N_LOOKS`."""
    return f"e{index % N_LOOKS}"

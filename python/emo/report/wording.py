"""How numbers are written: shares, intervals, times, layers, hashes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

NARROW = "\u202f"
DASH = "\u2013"
NONE = "\u2014"


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share in [0, 1] as a percentage.

    >>> percent(0.8333).replace(NARROW, " ")
    '83.3 %'
    """
    return NONE if share is None else f"{100 * share:.{digits}f}{NARROW}%"


def percent_range(low: float, high: float, digits: int = 0) -> str:
    """Write an interval of shares without its unit.

    >>> percent_range(0.801, 0.86)
    '80–86'
    """
    return f"{100 * low:.{digits}f}{DASH}{100 * high:.{digits}f}"


def points(difference: float) -> str:
    """Write a difference of shares in percentage points, with its sign."""
    rounded = round(100 * difference)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else ''}{abs(rounded)}"


def short(value: float | None, digits: int = 3) -> str:
    """Write a number with `digits` significant digits.

    >>> short(0.012345), short(1234.5), short(-0.5)
    ('0.0123', '1234', '−0.500')
    """
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size > 5:
        text = f"{value:.{digits - 1}e}"
    else:
        text = f"{value:.{max(digits - 1 - size, 0)}f}"
    return text.replace("-", "−")


def signed(value: float, digits: int = 3) -> str:
    """Write a number with its sign."""
    return ("+" if value > 0 else "") + short(value, digits)


def plain(value: float) -> str:
    """Write a setting as it was given.

    >>> plain(8.0), plain(0.25)
    ('8', '0.25')
    """
    return f"{value:g}"


def counted(n: int, singular: str, plural: str | None = None) -> str:
    """Write a count with its noun.

    >>> counted(1, "reply", "replies"), counted(1200, "layer")
    ('1 reply', '1,200 layers')
    """
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def listed(names: Sequence[str], joint: str = "and") -> str:
    """Write names as a sentence does.

    >>> listed(["anger", "fear", "disgust"])
    'anger, fear and disgust'
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {joint} {names[-1]}"


def layer_range(layers: Iterable[int]) -> str:
    """Write layers as ranges.

    >>> layer_range([3, 4, 5, 9])
    '3–5, 9'
    """
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ", ".join(f"{a}" if a == b else f"{a}{DASH}{b}" for a, b in runs)


def seconds(value: float) -> str:
    """Write a duration.

    >>> seconds(3.21), seconds(83), seconds(7260)
    ('3.2 s', '1 min 23 s', '2 h 1 min')
    """
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def cut(text: str, length: int) -> str:
    """Shorten a text to `length` characters, marking the cut.

    >>> cut("a long text", 6)
    'a long…'
    """
    return text if len(text) <= length else text[:length].rstrip() + "…"

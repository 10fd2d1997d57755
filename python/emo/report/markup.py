"""HTML and SVG as values: a plain text is escaped wherever it is put in, markup is not."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_VOID = frozenset({"meta", "br", "hr", "col", "wbr"})
_EMPTY_SVG = frozenset({"path", "rect", "line", "circle", "use", "polyline"})
# Characters that HTML forbids, and lone surrogates, which UTF-8 cannot hold.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


class Markup(str):
    """Text that is valid HTML already."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Return `text` as HTML; markup is returned as it is.

    Characters that HTML forbids become U+FFFD.

    >>> escape("<script>")
    '&lt;script&gt;'
    """
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_FORBIDDEN.sub("\ufffd", text)))


def join(parts: Iterable[str], between: str = "") -> Markup:
    """Return the escaped parts one after the other."""
    return Markup(escape(between).join(escape(part) for part in parts))


def tag(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """Return an element.

    Parameters
    ----------
    name : str
    *children : str or None
        Plain texts are escaped; None is left out.
    **attributes : str, number or None
        A final underscore is dropped, others become hyphens; None is left out, and an empty
        text gives a name without a value.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    pairs = (
        f" {_attribute(key)}" + ("" if value == "" else f'="{_value(value)}"')
        for key, value in attributes.items()
        if value is not None
    )
    start = f"<{name}{''.join(pairs)}"
    if name in _VOID:
        return Markup(f"{start}>")
    if name in _EMPTY_SVG and not children:
        return Markup(f"{start}/>")
    return Markup(f"{start}>{join(child for child in children if child is not None)}</{name}>")


def number(value: float, digits: int = 1) -> str:
    """Return a coordinate in as few characters as possible.

    >>> number(12.04), number(-0.04)
    ('12', '0')
    """
    text = f"{value:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else number(value)

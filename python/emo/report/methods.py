"""Names, order and colours of the ways to ask for an emotion."""

from __future__ import annotations

NAMES = {
    "baseline": "no instruction",
    "prompting": "prompting",
    "steering": "steering",
    "random": "random vectors",
    "circuit": "circuit",
}
ORDER = ("prompting", "steering", "circuit", "random", "baseline")


def method_name(name: str) -> str:
    """Name of a method in words."""
    return NAMES.get(name, name)


def method_look(name: str) -> str:
    """Class that colours a method."""
    return f"m-{name}" if name in NAMES else "m-other"

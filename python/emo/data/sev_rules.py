"""Rules that one scenario-event-valence record keeps; each returns what is wrong, or None."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from emo.data.rows import VALENCES
from emo.data.words import forms, words

SCENARIO_WORDS = range(15, 26)
FIRST_PERSON = frozenset(
    ("i", "me", "my", "mine", "myself", "we", "us", "our", "ours", "ourselves")
)
_CLOSING = "\"'”’)]"
_END = re.compile(rf"[.!?…]+[{re.escape(_CLOSING)}]*")
_BREAK = re.compile(rf"{_END.pattern}\s+(?=[\"'“‘(]?[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Mt|No|Jr|Sr|vs|etc|approx)|\b[A-Za-z](?:\.[A-Za-z])*)\.$"
)


def schema_problem(record: Mapping[str, Any]) -> str | None:
    """Say when a record lacks its theme or has an outcome too many."""
    if not isinstance(record.get("theme"), str) or not record["theme"].strip():
        return "'theme' is missing or not a text"
    unknown = sorted(set(record["event"]) - set(VALENCES))
    return f"event has an unknown key {unknown[0]!r}" if unknown else None


def length_problem(scenario: str) -> str | None:
    """Say when a scenario does not have 15 to 25 words.

    >>> length_problem("I waited.")
    'the scenario has 2 words, not 15 to 25'
    """
    n = len(words(scenario))
    low, high = SCENARIO_WORDS[0], SCENARIO_WORDS[-1]
    return None if n in SCENARIO_WORDS else f"the scenario has {n} words, not {low} to {high}"


def sentence_problem(scenario: str) -> str | None:
    """Say when a scenario is not one sentence with an end.

    >>> sentence_problem("At 9 a.m. Mr. Lee called me.")
    >>> sentence_problem("I waited. He came.")
    'the scenario has 2 sentences, not one'
    """
    text = scenario.strip()
    breaks = [match for match in _BREAK.finditer(text) if not _abbreviated(text, match)]
    if breaks:
        return f"the scenario has {len(breaks) + 1} sentences, not one"
    ends = list(_END.finditer(text))
    if not ends or ends[-1].end() < len(text):
        return "the scenario does not end like a sentence"
    return None


def _abbreviated(text: str, match: re.Match[str]) -> bool:
    return _ABBREVIATION.search(text[: match.start() + 1]) is not None


def person_problem(scenario: str) -> str | None:
    """Say when a scenario is not told in the first person.

    >>> person_problem("The train was late.")
    'the scenario is not in the first person'
    """
    told = any(not FIRST_PERSON.isdisjoint(forms(word)) for word in words(scenario))
    return None if told else "the scenario is not in the first person"


def balance_problem(events: Sequence[str]) -> str | None:
    """Say when the events do not lie within 20 % of their mean length in words.

    >>> balance_problem(["One two three", "one two three", "one two three four five"])
    'the events have 3, 3, 5 words: 5 is more than 20 % from the mean of 3.7'
    """
    counts = [len(words(event)) for event in events]
    total = sum(counts)
    far = [count for count in counts if 5 * abs(len(counts) * count - total) > total]
    if not far:
        return None
    mean = f"the mean of {total / len(counts):.1f}"
    shown = ", ".join(map(str, counts))
    return f"the events have {shown} words: {far[0]} is more than 20 % from {mean}"

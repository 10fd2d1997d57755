"""Rules that data sets keep, and what a validation found."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

MAX_SHARED_OPENING = 30
RULES = {
    "encoding": "the file is UTF-8",
    "schema": "each row has the fields of its kind",
    "id": "ids are unique over the files",
    "length": "a scenario has 15 to 25 words",
    "sentence": "a scenario is one sentence",
    "person": "a scenario is in the first person",
    "events": "the three events lie within 20 % of their mean length",
    "emotion-word": "no text of a scenario holds a word of the lexicon",
    "duplicate": "no two texts have the same words in the same order",
    "near-duplicate": "no two texts share more than 80 % of their words",
    "opening": f"at most {MAX_SHARED_OPENING} texts share their first three words",
    "vocabulary": "the texts have enough different words",
    "spans": "the sentences of an emotion have spans, which lie inside and hold a word",
}


@dataclass(frozen=True)
class Finding:
    """One place where a file breaks a rule.

    Parameters
    ----------
    rule : str
        A key of `RULES`.
    file : str
    line : int
        Counted from 1.
    id : str or None
        Id of the row, when it has one.
    what : str
        What is wrong.
    """

    rule: str
    file: str
    line: int
    id: str | None
    what: str


@dataclass(frozen=True)
class ClassReport:
    """How one emotion's sentences in one file compare; no rule, but worth a look.

    Parameters
    ----------
    file, emotion : str
    n : int
        Sentences.
    mean_words : float
        Their mean length in words.
    first_words : tuple of (str, int)
        Their most frequent first words.
    """

    file: str
    emotion: str
    n: int
    mean_words: float
    first_words: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Findings:
    """What a validation found.

    Parameters
    ----------
    found : tuple of Finding
        By file and line; empty for clean files.
    files : tuple of str
    n_rows, n_texts, n_words : int
        Rows read, their texts, and the different words in those.
    min_words : int or None
        Different words asked for; None when that rule was not applied.
    classes : tuple of ClassReport
        The emotions of files with labelled sentences.
    """

    found: tuple[Finding, ...]
    files: tuple[str, ...]
    n_rows: int
    n_texts: int
    n_words: int
    min_words: int | None = None
    classes: tuple[ClassReport, ...] = ()

    @property
    def by_rule(self) -> dict[str, int]:
        """Findings of each rule that is broken, in the order of `RULES`."""
        counts = Counter(finding.rule for finding in self.found)
        return {rule: counts[rule] for rule in RULES if rule in counts}

    def to_json(self) -> dict[str, Any]:
        """Return the findings as a JSON object."""
        return {"clean": not self.found, "rules": self.by_rule} | asdict(self)

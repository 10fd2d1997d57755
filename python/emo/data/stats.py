"""What a data set holds: counts by theme, valence, emotion and language; words; openings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from emo.data.rows import VALENCES, Row, files_of, read_rows
from emo.data.samples import Sample, is_sev, samples_of
from emo.data.words import lowered, opening, words
from emo.errors import DataError

COUNTED = ("theme", "valence", "emotion", "language")
UNSTATED = "(none)"


@dataclass(frozen=True)
class Lengths:
    """Lengths of some texts in words: how many texts, mean, shortest and longest."""

    n: int
    mean: float
    min: int
    max: int


@dataclass(frozen=True)
class Summary:
    """What a data set holds.

    Parameters
    ----------
    files : tuple of str
    n_rows : int
        Records in the files.
    n_samples : int
        Samples they stand for: three for each scenario-event-valence record.
    counts : mapping of str to mapping
        Samples by theme, valence, emotion and language.
    lengths : mapping of str to Lengths
        Words of the scenarios, of the events of each valence, of the sentences, and of the
        sentences of each emotion.
    n_words : int
        Words in all.
    n_different : int
        Different words, in lower case.
    openings : tuple of (str, int)
        First three words that several texts share, most frequent first.
    first_words : mapping of str to tuple of (str, int)
        Most frequent first words of the sentences of each emotion.
    """

    files: tuple[str, ...]
    n_rows: int
    n_samples: int
    counts: Mapping[str, Mapping[str, int]]
    lengths: Mapping[str, Lengths]
    n_words: int
    n_different: int
    openings: tuple[tuple[str, int], ...]
    first_words: Mapping[str, tuple[tuple[str, int], ...]]

    def to_json(self) -> dict[str, Any]:
        """Return the summary as a JSON object."""
        return asdict(self)


def summarise(paths: Sequence[Path], *, top: int = 10, limit: int | None = None) -> Summary:
    """Describe one or more data files, or their first `limit` rows; `top` openings are listed.

    Raises
    ------
    DataError
        When a file is missing, empty or breaks the schema; the message names the line.
    """
    files = [file for path in paths for file in files_of(Path(path))]
    rows = list(islice(chain.from_iterable(map(read_rows, files)), limit))
    if not rows:
        raise DataError(
            f"{', '.join(map(str, files))}: no samples",
            hint="give a file with one JSON object a line",
        )
    samples = [sample for row in rows for sample in samples_of(row.fields, row.where)]
    parts = [part for row in rows for part in texts_of(row)]
    every = [word for _, text in parts for word in lowered(text)]
    shared = Counter(first for _, text in parts if (first := opening(text)) is not None)
    return Summary(
        files=tuple(map(str, files)),
        n_rows=len(rows),
        n_samples=len(samples),
        counts={name: _counts(samples, name) for name in COUNTED},
        lengths=_lengths(parts, samples),
        n_words=len(every),
        n_different=len(set(every)),
        openings=tuple((first, n) for first, n in shared.most_common(top) if n > 1),
        first_words=first_words(samples),
    )


def texts_of(row: Row) -> list[tuple[str, str]]:
    """Name and text of each text of a row: scenario and events, or the sentence."""
    fields = row.fields
    if is_sev(fields):
        events = [(f"{valence} event", fields["event"][valence]) for valence in VALENCES]
        return [("scenario", fields["scenario"]), *events]
    named = [(name, fields.get(name)) for name in ("text", "scenario", "event")]
    return [(name, text) for name, text in named if text is not None]


def first_words(samples: Iterable[Sample], top: int = 3) -> dict[str, tuple[tuple[str, int], ...]]:
    """Most frequent first words of the sentences of each emotion."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        first = opening(sample.content, 1)
        if sample.emotion is not None and first is not None:
            counts[sample.emotion][first] += 1
    return {emotion: tuple(counter.most_common(top)) for emotion, counter in counts.items()}


def _counts(samples: Sequence[Sample], name: str) -> dict[str, int]:
    counts = Counter(getattr(sample, name) or UNSTATED for sample in samples)
    return dict(counts) if set(counts) != {UNSTATED} else {}


def _lengths(parts: Sequence[tuple[str, str]], samples: Sequence[Sample]) -> dict[str, Lengths]:
    groups: dict[str, list[int]] = defaultdict(list)
    for name, text in parts:
        groups[name].append(len(words(text)))
    for sample in samples:
        if sample.emotion is not None:
            groups[sample.emotion].append(len(words(sample.content)))
    return {
        name: Lengths(len(found), sum(found) / len(found), min(found), max(found))
        for name, found in groups.items()
    }

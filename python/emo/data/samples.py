"""Samples: what goes into a model, one row each, from JSONL, CSV or a folder of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.data.rows import VALENCES, Row, files_of, read_rows
from emo.errors import DataError

DEFAULT_EMOTIONS = ("anger", "sadness", "happiness", "fear", "surprise", "disgust")
NEUTRAL = "neutral"
_TEXT_FIELDS = ("id", "group", "emotion", "valence", "language", "theme", "text", "scenario")
_FIELDS = (*_TEXT_FIELDS, "event", "spans")

_FORM = "a sample has 'id', and 'text' or 'scenario' and 'event', all of them texts"
_RECORD = "a record has skeleton_id, theme, scenario and event with its three outcomes"
_SPANS = "spans count the characters of the text from 0, the end excluded: [[0, 5]]"


@dataclass(frozen=True)
class Sample:
    """One input text.

    Parameters
    ----------
    id : str
        Unique in a data set.
    group : str
        Scenario and valence: the key of within-group centring.
    emotion : str or None
        The class of a labelled sentence; None for a scenario with an event.
    text : str or None
        The sentence, or None when `scenario` and `event` are given.
    spans : tuple of (start, end)
        Half-open ranges of the emotion-bearing words in `text`, in code points.
    """

    id: str
    group: str
    emotion: str | None = None
    valence: str | None = None
    language: str | None = None
    theme: str | None = None
    text: str | None = None
    scenario: str | None = None
    event: str | None = None
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def content(self) -> str:
        """The text that the model reads: `text`, or scenario and event."""
        return self.text if self.text is not None else f"{self.scenario} {self.event}"

    def to_row(self) -> dict[str, Any]:
        """Return the sample as a JSON object without empty fields."""
        row: dict[str, Any] = {name: getattr(self, name) for name in _TEXT_FIELDS}
        row["event"] = self.event
        row = {name: value for name, value in row.items() if value is not None}
        if self.spans:
            row["spans"] = [list(span) for span in self.spans]
        return row


def scenario_text(sample: Sample) -> str:
    """Return what a sample must not share with the test data: its scenario, or else its text."""
    return (sample.scenario or sample.content).strip()


def read_samples(path: Path) -> list[Sample]:
    """Read samples from a JSONL, JSON or CSV file, or from all ``.jsonl`` files of a folder.

    A scenario-event-valence record becomes three samples, one for each outcome, whose id and
    group are ``{skeleton_id}-{valence}``.

    Raises
    ------
    DataError
        When a file is missing, empty or breaks the schema; the message names the line.
    """
    samples: list[Sample] = []
    places: dict[str, Row] = {}
    for row in (row for file in files_of(Path(path)) for row in read_rows(file)):
        if "reply" in row.fields:
            raise DataError(
                f"{row.where}: a generated text where a sample is due",
                hint="give the data that the texts were made from",
            )
        for sample in samples_of(row.fields, row.where):
            if sample.id in places:
                raise DataError(
                    f"{row.where}: the id {sample.id!r} is taken by {places[sample.id].where}",
                    hint="make ids unique, across the files of a folder too",
                )
            places[sample.id] = row
            samples.append(sample)
    if not samples:
        raise DataError(f"{path} holds no samples", hint="give a file with one JSON object a line")
    return samples


def samples_hash(samples: Iterable[Sample]) -> str:
    """Hex SHA-256 over the samples' rows in order, independent of file names and layout."""
    digest = hashlib.sha256()
    for sample in samples:
        row = json.dumps(sample.to_row(), sort_keys=True, ensure_ascii=False)
        digest.update(row.encode() + b"\n")
    return digest.hexdigest()


def samples_of(fields: Mapping[str, Any], where: str) -> list[Sample]:
    """Return the three samples of a scenario-event-valence record, or the one of another row.

    Raises
    ------
    DataError
        When the row breaks the schema; `where` names it.
    """
    return expand_sev(fields, where) if is_sev(fields) else [sample_from_row(fields, where)]


def sample_from_row(row: Mapping[str, Any], where: str) -> Sample:
    """Build a sample from a JSON object; `where` names the line in errors.

    Raises
    ------
    DataError
        When a field is missing, of the wrong type, or a span leaves the text.
    """
    for name in (*_TEXT_FIELDS[2:], "event"):
        if row.get(name) is not None and not isinstance(row[name], str):
            raise DataError(f"{where}: {name!r} must be a text", hint=_FORM)
    if not is_name(row.get("id")):
        raise DataError(f"{where}: 'id' is missing", hint="each row needs an id of its own")
    text, scenario, event = (str(row.get(n) or "").strip() for n in ("text", "scenario", "event"))
    if not (text or (scenario and event)):
        raise DataError(f"{where}: needs 'text', or 'scenario' and 'event'", hint=_FORM)
    group = row.get("group")
    sample = Sample(
        id=str(row["id"]),
        group=str(group) if is_name(group) else str(row["id"]),
        spans=spans_of(row.get("spans"), where),
        **{name: row.get(name) or None for name in _FIELDS[2:-1]},
    )
    if any(end > len(sample.content) for _, end in sample.spans):
        raise DataError(
            f"{where}: a span ends behind the text ({len(sample.content)} characters)", hint=_SPANS
        )
    return sample


def is_sev(row: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a scenario-event-valence record."""
    return "skeleton_id" in row or isinstance(row.get("event"), Mapping)


def is_name(value: Any) -> bool:
    """Whether a value can serve as an id: a text that is not blank, or a whole number."""
    return (isinstance(value, str) and bool(value.strip())) or type(value) is int


def expand_sev(row: Mapping[str, Any], where: str) -> list[Sample]:
    """Turn a scenario-event-valence record into one sample for each outcome.

    Raises
    ------
    DataError
        When a field is missing or not a text.
    """
    event, scenario = row.get("event"), row.get("scenario")
    if not is_name(row.get("skeleton_id")):
        raise DataError(f"{where}: 'skeleton_id' is missing", hint=_RECORD)
    if not isinstance(scenario, str) or not scenario.strip():
        raise DataError(f"{where}: 'scenario' is missing or not a text", hint=_RECORD)
    if not isinstance(event, Mapping):
        raise DataError(f"{where}: 'event' must hold positive, neutral and negative", hint=_RECORD)
    samples = []
    for valence in VALENCES:
        text = event.get(valence)
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: event[{valence!r}] is missing or not a text", hint=_RECORD)
        name = f"{row['skeleton_id']}-{valence}"
        fields = {"id": name, "group": name, "valence": valence, "theme": row.get("theme")}
        fields |= {"scenario": scenario, "event": text, "language": row.get("language")}
        samples.append(sample_from_row(fields, where))
    return samples


def spans_of(value: Any, where: str) -> tuple[tuple[int, int], ...]:
    """Read half-open ranges of characters, ``[[start, end], ...]``; null is none.

    Raises
    ------
    DataError
        When a range is not a pair of whole numbers with 0 <= start < end.
    """
    if value is None:
        return ()
    try:
        spans = tuple((start, end) for start, end in value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: 'spans' must be pairs [start, end)", hint=_SPANS) from None
    for start, end in spans:
        if type(start) is not int or type(end) is not int or not 0 <= start < end:
            raise DataError(
                f"{where}: the span [{start}, {end}) is not a range of characters", hint=_SPANS
            )
    return spans

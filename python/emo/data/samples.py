"""Samples: what goes into a model, one row each, from JSONL, CSV or a folder of them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emo.artifacts import read_jsonl
from emo.errors import DataError

VALENCES = ("positive", "neutral", "negative")
_TEXT_FIELDS = ("id", "group", "emotion", "valence", "language", "theme", "text", "scenario")
_FIELDS = (*_TEXT_FIELDS, "event", "spans")


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


def read_samples(path: Path) -> list[Sample]:
    """Read samples from a JSONL or CSV file, or from all ``.jsonl`` files of a folder.

    A scenario-event-valence record becomes three samples, one for each outcome, whose id and
    group are ``{skeleton_id}-{valence}``.

    Raises
    ------
    DataError
        When a file is missing, empty or breaks the schema; the message names the line.
    """
    samples: list[Sample] = []
    for file in _files(Path(path)):
        for where, row in _rows(file):
            samples.extend(_from_row(row, where))
    if not samples:
        raise DataError(f"{path} holds no samples", hint="give a file with one JSON object a line")
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise DataError(f"{path}: the id {sample.id!r} appears twice", hint="make ids unique")
        seen.add(sample.id)
    return samples


def samples_hash(samples: Iterable[Sample]) -> str:
    """Hex SHA-256 over the samples' rows in order, independent of file names and layout."""
    digest = hashlib.sha256()
    for sample in samples:
        row = json.dumps(sample.to_row(), sort_keys=True, ensure_ascii=False)
        digest.update(row.encode() + b"\n")
    return digest.hexdigest()


def sample_from_row(row: Mapping[str, Any], where: str) -> Sample:
    """Build a sample from a JSON object; `where` names the line in errors.

    Raises
    ------
    DataError
        When a field is missing, unknown in type, or a span leaves the text.
    """
    for name in _TEXT_FIELDS[2:] + ("event",):
        if row.get(name) is not None and not isinstance(row[name], str):
            raise DataError(f"{where}: {name!r} must be a text")
    if row.get("id") in (None, ""):
        raise DataError(f"{where}: 'id' is missing")
    text, scenario, event = row.get("text"), row.get("scenario"), row.get("event")
    if not (text or (scenario and event)):
        raise DataError(f"{where}: needs 'text', or 'scenario' and 'event'")
    sample = Sample(
        id=str(row["id"]),
        group=str(row.get("group") or row["id"]),
        spans=_spans(row.get("spans"), where),
        **{name: row.get(name) or None for name in _FIELDS[2:-1]},
    )
    if any(end > len(sample.content) for _, end in sample.spans):
        raise DataError(f"{where}: a span ends behind the text ({len(sample.content)} characters)")
    return sample


def is_sev(row: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a scenario-event-valence record."""
    return "skeleton_id" in row or isinstance(row.get("event"), Mapping)


def expand_sev(row: Mapping[str, Any], where: str) -> list[Sample]:
    """Turn a scenario-event-valence record into one sample for each outcome.

    Raises
    ------
    DataError
        When a field is missing or not a text.
    """
    event = row.get("event")
    for name in ("skeleton_id", "scenario"):
        if row.get(name) in (None, ""):
            raise DataError(f"{where}: {name!r} is missing")
    if not isinstance(event, Mapping):
        raise DataError(f"{where}: 'event' must hold positive, neutral and negative")
    samples = []
    for valence in VALENCES:
        text = event.get(valence)
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: event[{valence!r}] is missing or not a text")
        name = f"{row['skeleton_id']}-{valence}"
        fields = {"id": name, "group": name, "valence": valence, "theme": row.get("theme")}
        fields |= {"scenario": row["scenario"], "event": text, "language": row.get("language")}
        samples.append(sample_from_row(fields, where))
    return samples


def limit_groups(samples: list[Sample], limit: int | None) -> list[Sample]:
    """Return the first `limit` samples (all when None)."""
    return samples if limit is None else samples[:limit]


def with_emotion(sample: Sample, emotion: str | None) -> Sample:
    """Return the sample with another emotion."""
    return replace(sample, emotion=emotion)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(path.glob("*.jsonl"))
        if not files:
            raise DataError(f"the folder {path} holds no .jsonl files")
        return files
    if not path.exists():
        raise DataError(f"no such file: {path}", hint="check the path given as data")
    return [path]


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix == ".csv":
        yield from _csv_rows(path)
        return
    for number, row in read_jsonl(path):
        yield f"{path}, line {number}", row


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from None
    reader = csv.DictReader(io.StringIO(text))
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise DataError(f"{where}: the number of columns differs from the header")
        fields: dict[str, Any] = {name: value or None for name, value in row.items()}
        if fields.get("spans"):
            fields["spans"] = _json_cell(fields["spans"], where)
        yield where, fields


def _json_cell(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise DataError(f"{where}: 'spans' must be JSON, such as [[0, 5]]") from None


def _from_row(row: dict[str, Any], where: str) -> list[Sample]:
    return expand_sev(row, where) if is_sev(row) else [sample_from_row(row, where)]


def _spans(value: Any, where: str) -> tuple[tuple[int, int], ...]:
    if value is None:
        return ()
    try:
        spans = tuple((start, end) for start, end in value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: 'spans' must be pairs [start, end)") from None
    for start, end in spans:
        if type(start) is not int or type(end) is not int or not 0 <= start < end:
            raise DataError(f"{where}: the span [{start}, {end}) is not a range of characters")
    return spans

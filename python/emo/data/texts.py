"""Elicited texts and the verdicts on them, one JSON object a line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emo.artifacts import read_jsonl, write_jsonl
from emo.data.rows import scan_rows
from emo.data.samples import Sample, sample_from_row
from emo.errors import DataError

METHODS = ("baseline", "prompting", "steering", "random", "circuit")

_TEXTS = "give texts as emo generate writes them"
_VERDICTS = "give verdicts as emo judge run writes them"


@dataclass(frozen=True)
class Text:
    """A reply that a model gave to a sample.

    Parameters
    ----------
    id : str
        Unique for (sample, target emotion, method).
    source : Sample
        What the model was asked; its `emotion` is not used here.
    emotion : str or None
        The target; None for the baseline, which names none.
    method : str
        ``baseline``, ``prompting``, ``steering``, ``random`` or ``circuit``.
    reply : str
        The generated text.
    prompt_sha : str
        Hex SHA-256 of the rendered prompt.
    n_tokens : int
        Generated tokens, the end token not counted.
    stopped : bool
        Whether the model ended the reply itself.
    """

    id: str
    source: Sample
    emotion: str | None
    method: str
    reply: str
    prompt_sha: str
    n_tokens: int
    stopped: bool

    @property
    def sample(self) -> str:
        """Id of the sample."""
        return self.source.id

    def to_row(self) -> dict[str, Any]:
        """Return the text as a JSON object."""
        row = self.source.to_row()
        row |= {"id": self.id, "sample": self.source.id, "emotion": self.emotion}
        row |= {"method": self.method, "reply": self.reply, "prompt_sha": self.prompt_sha}
        return row | {"n_tokens": self.n_tokens, "stopped": self.stopped}


@dataclass(frozen=True)
class Verdict:
    """A judge's word on one text: a label, or the reason why there is none.

    Parameters
    ----------
    id, sample, emotion, method : str
        As in the text.
    label : str or None
        An emotion or ``neutral``; None when `unlabelled` says why.
    unlabelled : str or None
        The reason, such as ``empty`` or ``no-answer``.
    score : float or None
        The judge's confidence in [0, 1].
    judge : str
        The judge's name.
    """

    id: str
    sample: str
    emotion: str | None
    method: str
    label: str | None
    unlabelled: str | None
    score: float | None
    judge: str


def text_id(sample: str, emotion: str | None, method: str) -> str:
    """Id of a text.

    >>> text_id("work-01-positive", "anger", "prompting")
    'work-01-positive/anger/prompting'
    """
    return "/".join(part for part in (sample, emotion, method) if part)


def write_texts(path: Path, texts: Iterable[Text]) -> None:
    """Write texts as JSONL, atomically."""
    write_jsonl(path, (text.to_row() for text in texts))


def read_texts(path: Path) -> list[Text]:
    """Read texts.

    Raises
    ------
    DataError
        When the file is missing, empty, or a row lacks a field; the message names the line.
    """
    texts = [text_from_row(row, f"{path}, line {number}") for number, row in read_jsonl(path)]
    if not texts:
        raise DataError(f"{path} holds no texts", hint=_TEXTS)
    _unique((text.id for text in texts), path)
    return texts


def is_texts_file(path: Path) -> bool:
    """Whether the first row of a file of JSON is a generated text rather than a sample."""
    if Path(path).is_dir() or Path(path).suffix == ".csv":
        return False
    first = next(iter(scan_rows(path)), None)
    return first is not None and "reply" in first.fields


def write_verdicts(path: Path, verdicts: Iterable[Verdict]) -> None:
    """Write verdicts as JSONL, atomically."""
    write_jsonl(path, (asdict(verdict) for verdict in verdicts))


def read_verdicts(path: Path) -> list[Verdict]:
    """Read verdicts.

    Raises
    ------
    DataError
        When the file is missing, or a row lacks a field or holds both or neither of `label`
        and `unlabelled`; the message names the line.
    """
    verdicts = [verdict_from_row(row, f"{path}, line {number}") for number, row in read_jsonl(path)]
    if not verdicts:
        raise DataError(f"{path} holds no verdicts", hint=_VERDICTS)
    _unique((verdict.id for verdict in verdicts), path)
    return verdicts


def verdict_from_row(row: Mapping[str, Any], where: str) -> Verdict:
    """Read a verdict from a JSON object; `where` names it in errors.

    Raises
    ------
    DataError
        When a field is missing or of another type.
    """
    names = ("id", "sample", "method", "judge", "emotion", "label", "unlabelled")
    _need_texts(row, names, 4, where, _VERDICTS)
    score = row.get("score")
    if not (score is None or (type(score) in (int, float) and math.isfinite(score))):
        raise DataError(f"{where}: 'score' must be a number or null", hint=_VERDICTS)
    if (row.get("label") is None) == (row.get("unlabelled") is None):
        raise DataError(
            f"{where}: exactly one of 'label' and 'unlabelled' is needed", hint=_VERDICTS
        )
    fields: dict[str, Any] = {name: row.get(name) for name in Verdict.__dataclass_fields__}
    return Verdict(**fields)


def text_from_row(row: Mapping[str, Any], where: str) -> Text:
    """Read a text from a JSON object; `where` names it in errors.

    Raises
    ------
    DataError
        When a field is missing or of another type.
    """
    names = ("id", "sample", "method", "reply", "emotion", "prompt_sha")
    _need_texts(row, names, 4, where, _TEXTS)
    n_tokens = row.get("n_tokens", 0)
    if type(n_tokens) is not int or n_tokens < 0:
        raise DataError(f"{where}: 'n_tokens' must be a count", hint=_TEXTS)
    source = sample_from_row({**row, "id": row["sample"], "emotion": None}, where)
    return Text(
        id=row["id"],
        source=source,
        emotion=row.get("emotion"),
        method=row["method"],
        reply=row["reply"],
        prompt_sha=row.get("prompt_sha") or "",
        n_tokens=n_tokens,
        stopped=bool(row.get("stopped", True)),
    )


def _need_texts(
    row: Mapping[str, Any], names: tuple[str, ...], n_needed: int, where: str, hint: str
) -> None:
    """Demand that all `names` are texts, and that the first `n_needed` are there."""
    for name in names[:n_needed]:
        if row.get(name) is None:
            raise DataError(f"{where}: {name!r} is missing", hint=hint)
    for name in names:
        if row.get(name) is not None and not isinstance(row[name], str):
            raise DataError(f"{where}: {name!r} must be a text", hint=hint)


def _unique(ids: Iterable[str], path: Path) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise DataError(f"{path}: the id {name!r} appears twice", hint="make ids unique")
        seen.add(name)

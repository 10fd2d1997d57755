"""Texts with a label, for training a judge and for measuring one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.data.rows import read_rows
from emo.errors import DataError

_FORM = "each row needs 'text' and 'emotion'; neutral texts have emotion 'neutral'"


@dataclass(frozen=True)
class Labelled:
    """One text with its label.

    Parameters
    ----------
    text : str
        The text, not blank.
    emotion : str
        Its label; ``neutral`` for none.
    group : str or None
        Texts of one group are kept together in cross-validation.
    """

    text: str
    emotion: str
    group: str | None = None


def read_labelled(paths: Sequence[Path]) -> list[Labelled]:
    """Read labelled texts from JSONL, JSON or CSV files with `text` and `emotion`.

    Raises
    ------
    DataError
        When a file is missing, not UTF-8, empty, or a row lacks its text or emotion; the
        message names the line.
    ResourceError
        When a file is there but cannot be read.
    """
    rows = []
    for path in map(Path, paths):
        found = [_labelled(row.fields, row.where) for row in read_rows(path)]
        if not found:
            raise DataError(f"{path} holds no labelled texts", hint=_FORM)
        rows += found
    return rows


def _labelled(row: Mapping[str, Any], where: str) -> Labelled:
    for name in ("text", "emotion"):
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            raise DataError(
                f"{where}: {name!r} is missing or not a text",
                hint=_FORM,
            )
    group = row.get("group")
    return Labelled(row["text"], row["emotion"].strip(), None if not group else str(group))

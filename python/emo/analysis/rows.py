"""Which rows of a store count, and as what: accepted, in a complete group, neutral."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.data.texts import Verdict
from emo.errors import DataError, NumericalError, UsageError
from emo.store import Store

NEUTRAL = "neutral"
_EMOTION_METHODS = (None, "prompting")


@dataclass(frozen=True)
class RowLabels:
    """A class for each row, such that one pass over a tensor serves every method.

    With E emotions, class e holds the accepted rows of emotion e in complete groups, class
    E + e its other accepted rows, class 2E the neutral rows; -1 marks rows left out.

    Parameters
    ----------
    emotions : tuple of str
        Sorted, without neutral.
    labels : (n_rows,) int32 array
    accepted : (n_samples,) bool array
        Samples that were accepted; all when there was no judge.
    complete : int
        Groups with every emotion accepted exactly once.
    dropped : mapping of str to int
        Other groups, by reason: ``incomplete`` or ``repeated``.
    """

    emotions: tuple[str, ...]
    labels: NDArray[np.int32]
    accepted: NDArray[np.bool_]
    complete: int
    dropped: Mapping[str, int]

    @property
    def n_labels(self) -> int:
        """Number of classes, 2E + 1."""
        return 2 * len(self.emotions) + 1

    @property
    def in_complete_groups(self) -> list[list[int]]:
        """For each emotion the class of its rows in complete groups."""
        return [[e] for e in range(len(self.emotions))]

    @property
    def all_accepted(self) -> list[list[int]]:
        """For each emotion the classes of all its accepted rows."""
        n = len(self.emotions)
        return [[e, n + e] for e in range(n)]

    @property
    def neutral(self) -> list[int]:
        """The class of the neutral rows."""
        return [2 * len(self.emotions)]

    def count(self, classes: list[int]) -> int:
        """Rows in some classes."""
        return int(np.isin(self.labels, classes).sum())

    def accepted_per_emotion(self) -> dict[str, int]:
        """Count the accepted rows of each emotion."""
        return {
            name: self.count(classes)
            for name, classes in zip(self.emotions, self.all_accepted, strict=True)
        }


def accepted_ids(verdicts: Iterable[Verdict]) -> frozenset[str]:
    """Ids of the rows whose verdict is the emotion they were made for.

    A row that names no emotion counts when it was judged neutral.
    """
    return frozenset(v.id for v in verdicts if v.label == (v.emotion or NEUTRAL))


def accepted_in(store: Store, verdicts: Iterable[Verdict]) -> frozenset[str]:
    """Ids of the accepted rows, once the verdicts are seen to be about the rows of `store`.

    Raises
    ------
    DataError
        When no verdict is on a row of the store, or one is on a row of another emotion.
    """
    verdicts = list(verdicts)
    rows = {row.get("id"): row for row in store.samples}
    mine = [verdict for verdict in verdicts if verdict.id in rows]
    hint = "give the verdicts on the texts that were captured"
    if not mine:
        raise DataError(
            f"none of the {len(verdicts)} verdicts is on a row of {store.path}", hint=hint
        )
    for verdict in mine:
        captured = rows[verdict.id].get("emotion")
        if captured != verdict.emotion:
            raise DataError(
                f"the verdict on {verdict.id} is about {verdict.emotion or NEUTRAL}, but the row "
                f"of {store.path} about {captured or NEUTRAL}",
                hint=hint,
            )
    return accepted_ids(mine)


def label_rows(store: Store, position: str, accepted: Collection[str] | None = None) -> RowLabels:
    """Give every row of a position its class.

    The key of a group is the sample's `group` with its `valence`. Of rows from generated texts
    only the prompted ones name an emotion by instruction; rows of other methods are left out,
    unless they name no emotion.

    Parameters
    ----------
    store : Store
    position : str
        A position with one row for each sample.
    accepted : collection of str, optional
        Ids of the rows that count; all when None.

    Returns
    -------
    RowLabels

    Raises
    ------
    DataError
        When none of the accepted ids is in the store.
    NumericalError
        When the position has no rows.
    UsageError
        When the store lacks the position, or it has several rows for a sample.
    """
    owners = _one_row_each(store, position)
    samples = store.samples
    keep = _accepted_mask(store, accepted)
    names = {row.get("emotion") for row in samples if _emotion(row)}
    emotions = tuple(sorted(str(name) for name in names))
    index = {name: e for e, name in enumerate(emotions)}
    members: dict[tuple[Any, Any], Counter[int]] = defaultdict(Counter)
    for n in owners:
        emotion = _emotion(samples[n])
        if emotion is not None:
            members[_group(samples[n])][index[emotion]] += int(keep[n])
    complete, dropped = _split_groups(members, len(emotions))
    labels = np.full(len(owners), -1, np.int32)
    for i, n in enumerate(owners):
        emotion = _emotion(samples[n])
        if not keep[n]:
            continue
        if emotion is not None:
            inside = _group(samples[n]) in complete
            labels[i] = index[emotion] + (0 if inside else len(emotions))
        elif samples[n].get("emotion") in (None, NEUTRAL):
            labels[i] = 2 * len(emotions)
    return RowLabels(emotions, labels, keep, len(complete), dropped)


def _emotion(row: Mapping[str, Any]) -> str | None:
    """Return the emotion that a sample's row stands for, None when it stands for none."""
    emotion = row.get("emotion")
    if emotion in (None, NEUTRAL) or row.get("method") not in _EMOTION_METHODS:
        return None
    return str(emotion)


def _group(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row.get("group"), row.get("valence")


def _one_row_each(store: Store, position: str) -> list[int]:
    owners = store.rows(position)[:, 0]
    if not owners.size:
        raise NumericalError(f"{store.path} has no rows at position {position!r}")
    if np.unique(owners).size != owners.size:
        raise UsageError(
            f"position {position!r} has several rows for a sample, but one is needed",
            hint=f"take a pooled position; captured are {', '.join(store.positions)}",
        )
    return [int(n) for n in owners]


def _accepted_mask(store: Store, accepted: Collection[str] | None) -> NDArray[np.bool_]:
    ids = [row.get("id") for row in store.samples]
    if accepted is None:
        return np.ones(len(ids), np.bool_)
    mask = np.array([name in accepted for name in ids], np.bool_)
    if accepted and not mask.any():
        raise DataError(
            f"none of the {len(accepted)} accepted ids is in {store.path}",
            hint="give the verdicts on the texts that were captured",
        )
    return mask


def _split_groups(
    members: Mapping[tuple[Any, Any], Counter[int]], n_emotions: int
) -> tuple[set[tuple[Any, Any]], dict[str, int]]:
    complete: set[tuple[Any, Any]] = set()
    dropped = {"incomplete": 0, "repeated": 0}
    for group, counts in members.items():
        numbers = [counts[e] for e in range(n_emotions)]
        if all(n == 1 for n in numbers):
            complete.add(group)
        else:
            dropped["incomplete" if min(numbers) == 0 else "repeated"] += 1
    return complete, dropped

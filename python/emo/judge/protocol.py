"""What every judge is: texts in, one verdict for each text out.

A verdict is a label or the reason why there is none; a judge that cannot tell never says "no".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from emo.data.samples import Sample
from emo.data.texts import Text, Verdict
from emo.judge.labelled import read_labelled

EMPTY = "empty"
UNKNOWN_TARGET = "unknown-target"
Progress = Callable[[int, int], None]


class Judge(Protocol):
    """A judge of texts.

    Attributes
    ----------
    name : str
        Printed with every accuracy.
    classes : tuple of str
        The labels it can give.
    reliability : mapping
        How good it is on texts that it was not made from: `macro_f1`, `accuracy`, `recall` of
        each class, `n` and the `method`; empty when nobody measured it.
    """

    @property
    def name(self) -> str:
        """Name of the judge."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels that the judge can give."""

    @property
    def reliability(self) -> Mapping[str, Any]:
        """Measured agreement with labelled texts."""

    def judge(self, texts: Sequence[Text], progress: Progress | None = None) -> list[Verdict]:
        """Return one verdict for each text, in order."""


def labelled(text: Text, judge: str, label: str, score: float | None) -> Verdict:
    """Return the verdict that `text` shows `label`."""
    return Verdict(text.id, text.sample, text.emotion, text.method, label, None, score, judge)


def unlabelled(text: Text, judge: str, reason: str) -> Verdict:
    """Return the verdict that `text` has no label, and why."""
    return Verdict(text.id, text.sample, text.emotion, text.method, None, reason, None, judge)


def without_judging(text: Text, classes: Sequence[str]) -> str | None:
    """Return the reason why no judge with these classes can label `text`, or None.

    ``empty`` for a reply without a letter or digit, ``unknown-target`` when the target emotion
    is no class of the judge, so that a miss would say nothing.
    """
    if not any(character.isalnum() for character in text.reply):
        return EMPTY
    if text.emotion is not None and text.emotion not in classes:
        return UNKNOWN_TARGET
    return None


def reasons(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Count the verdicts without a label by reason, most frequent first."""
    counts = Counter(v.unlabelled for v in verdicts if v.unlabelled is not None)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def coverage(verdicts: Sequence[Verdict]) -> float:
    """Share of the verdicts that carry a label; 0 when there are none."""
    return sum(v.label is not None for v in verdicts) / len(verdicts) if verdicts else 0.0


def measured(judge: Judge, path: Path) -> dict[str, Any]:
    """Agreement of a judge with labelled texts in a file that it was not made from.

    Raises
    ------
    DataError
        When the file cannot be used.
    """
    rows = read_labelled([path])
    texts = [
        Text(str(i), Sample(str(i), str(i), text=row.text), None, "labelled", row.text, "", 0, True)
        for i, row in enumerate(rows)
    ]
    labels = [verdict.label for verdict in judge.judge(texts)]
    return agreement([row.emotion for row in rows], labels, method=f"texts of {path.name}")


def agreement(truth: Sequence[str], given: Sequence[str | None], *, method: str) -> dict[str, Any]:
    """Compare a judge's labels with the right ones.

    Parameters
    ----------
    truth : sequence of str
        Right labels.
    given : sequence of str or None
        The judge's labels; None where it gave none, which counts as a miss.
    method : str
        How the labels were come by, such as ``"5-fold cross-validation"``.

    Returns
    -------
    dict
        `method`, `n`, `accuracy`, `macro_f1` (mean over the classes of `truth`), `recall` of
        each class and `coverage`; shares in [0, 1] rounded to four places.
    """
    right, said = np.array(truth), np.array(["" if label is None else label for label in given])
    recall: dict[str, float] = {}
    f1 = []
    for name in sorted(set(truth)):
        hits = int(((right == name) & (said == name)).sum())
        n_true, n_said = int((right == name).sum()), int((said == name).sum())
        recall[name] = round(hits / n_true, 4)
        f1.append(2 * hits / (n_true + n_said))
    return {
        "method": method,
        "n": len(right),
        "accuracy": round(float((right == said).mean()), 4),
        "macro_f1": round(float(np.mean(f1)), 4),
        "recall": recall,
        "coverage": round(float((said != "").mean()), 4),
    }

"""``summary.json`` as typed records: rates, methods, and how rates are put together.

Each `parse` raises KeyError, TypeError or ValueError for a value of another form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emo.analysis.intervals import wilson
from emo.data.rows import VALENCES
from emo.data.texts import METHODS


@dataclass(frozen=True)
class Rate:
    """How often the judge saw the target emotion.

    Parameters
    ----------
    accuracy : float or None
        Share of the labelled replies; None without any.
    low, high : float
        Wilson 95 % interval.
    n, unlabelled : int
        Replies with and without a label.
    perplexity : float or None
    """

    accuracy: float | None
    low: float
    high: float
    n: int
    unlabelled: int
    perplexity: float | None = None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Rate:
        """Read a row of ``summary.json``; the interval is computed where it is not given."""
        n, accuracy = int(row["n"]), finite(row["accuracy"])
        low, high = finite(row.get("low")), finite(row.get("high"))
        if n < 0 or not 0 <= (accuracy or 0) <= 1:
            raise ValueError(f"no rate has accuracy {accuracy} and n {n}")
        if accuracy is None or low is None or high is None:
            low, high = wilson(round((accuracy or 0) * n), n)
        return cls(
            accuracy=None if n == 0 else accuracy,
            low=low,
            high=high,
            n=n,
            unlabelled=int(row.get("unlabelled") or 0),
            perplexity=finite(row.get("perplexity")),
        )

    @property
    def successes(self) -> int:
        """Replies judged as their target."""
        return round((self.accuracy or 0) * self.n)


def pooled(rates: Sequence[Rate]) -> Rate:
    """Pool rates of different replies; the interval is Wilson's for the pooled counts."""
    n = sum(rate.n for rate in rates)
    successes = sum(rate.successes for rate in rates)
    low, high = wilson(successes, n)
    share = successes / n if n else None
    return Rate(share, low, high, n, sum(rate.unlabelled for rate in rates))


def averaged(rates: Sequence[Rate]) -> Rate:
    """Average the rates of several targets over the same replies.

    A reply has one label, so the labels of the targets exclude each other: their sum is a share
    with a Wilson interval, which is divided by the number of targets.
    """
    n, k = max((rate.n for rate in rates), default=0), max(len(rates), 1)
    if n == 0 or any(rate.n != n for rate in rates):
        return pooled(rates)
    successes = min(sum(rate.successes for rate in rates), n)
    low, high = wilson(successes, n)
    return Rate(successes / n / k, low / k, high / k, n, max(rate.unlabelled for rate in rates))


@dataclass(frozen=True)
class Method:
    """Results of one way to ask for an emotion.

    Parameters
    ----------
    by : mapping of emotion to mapping of valence to Rate
    quality : mapping
        ``distinct2``, ``takes_word``, ``n``; empty when not measured.
    perplexity_named : float or None
        Of prompting, after the prompt that names the emotion.
    """

    name: str
    rate: Rate
    by: Mapping[str, Mapping[str, Rate]]
    neutral_share: float | None
    quality: Mapping[str, Any]
    perplexity_named: float | None = None

    def of(self, emotion: str | None = None, valence: str | None = None) -> Rate | None:
        """Rate of an emotion, of a valence, of both, or of everything; None when not measured."""
        if emotion is None and valence is None:
            return self.rate
        emotions = list(self.by) if emotion is None else [emotion]
        cells = [
            [rate for name, rate in self.by.get(e, {}).items() if valence in (None, name)]
            for e in emotions
        ]
        found = [pooled(rates) for rates in cells if rates]
        if not found:
            return None
        if len(found) == 1:
            only = [rate for rates in cells for rate in rates]
            return only[0] if len(only) == 1 else found[0]
        return averaged(found) if self.name == "baseline" else pooled(found)


@dataclass(frozen=True)
class Summary:
    """``summary.json``."""

    methods: Mapping[str, Method]
    judge: Mapping[str, Any]
    seconds: Mapping[str, float]
    steering: Mapping[str, Any]

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Summary:
        """Read the JSON object."""
        quality = value.get("quality") or {}
        rows = value["methods"]
        names = [name for name in METHODS if name in rows]
        names += [name for name in rows if name not in METHODS]
        methods = {name: _method(name, rows[name], quality.get(name) or {}) for name in names}
        seconds = {str(name): float(s) for name, s in (value.get("seconds") or {}).items()}
        steering = dict(value.get("steering") or {})
        return cls(methods, dict(value.get("judge") or {}), seconds, steering)

    @property
    def emotions(self) -> tuple[str, ...]:
        """Target emotions in the order of the file."""
        return tuple(dict.fromkeys(e for m in self.methods.values() for e in m.by))

    @property
    def valences(self) -> tuple[str, ...]:
        """Valences: positive, neutral, negative, then others in the order of the file."""
        found = {v: None for m in self.methods.values() for row in m.by.values() for v in row}
        known = [name for name in VALENCES if name in found]
        return (*known, *(name for name in found if name not in VALENCES))

    @property
    def chance(self) -> float | None:
        """Largest accuracy of replies that ignore their target: 1 / number of emotions."""
        return 1 / len(self.emotions) if self.emotions else None


def _method(name: str, row: Mapping[str, Any], quality: Mapping[str, Any]) -> Method:
    by = {
        str(emotion): {str(valence): Rate.parse(cell) for valence, cell in cells.items()}
        for emotion, cells in (row.get("by") or {}).items()
    }
    neutral, named = (finite(row.get(key)) for key in ("neutral_share", "perplexity_named"))
    return Method(name, Rate.parse(row), by, neutral, dict(quality), named)


def finite(value: Any) -> float | None:
    """Read a number; None for null, for what is no number and for what is not finite."""
    if value is None or isinstance(value, (str, dict, list)):
        return None
    number = float(value)
    return number if math.isfinite(number) else None

"""Whether two rates differ: Newcombe's interval of a difference of two shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

from emo.report.rates import Rate


@dataclass(frozen=True)
class Difference:
    """A difference of shares with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``above``, ``below`` or ``open``, by whether the interval leaves zero out."""
        if self.low > 0:
            return "above"
        return "below" if self.high < 0 else "open"


def difference(first: Rate | None, second: Rate | None) -> Difference | None:
    """Compare two rates of independent replies.

    With p and q the shares and [l, u] their Wilson intervals, the ends are
    p - q - sqrt((p - l_p)^2 + (u_q - q)^2) and p - q + sqrt((u_p - p)^2 + (q - l_q)^2)
    (Newcombe 1998, method 10).

    Returns
    -------
    Difference or None
        Positive when the first is larger; None when either has no labelled reply.
    """
    if first is None or second is None or first.accuracy is None or second.accuracy is None:
        return None
    p, q = first.accuracy, second.accuracy
    down = math.hypot(p - first.low, second.high - q)
    up = math.hypot(first.high - p, q - second.low)
    return Difference(p - q, p - q - down, p - q + up)


def against(rate: Rate | None, level: float | None) -> str:
    """Compare a rate with a fixed level: ``above``, ``below`` or ``open``."""
    if rate is None or rate.accuracy is None or level is None:
        return "open"
    if rate.low > level:
        return "above"
    return "below" if rate.high < level else "open"

"""The clock of the scripts in this folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
PAUSE = 0.1


def timed(task: Callable[[], Result], repeats: int = 1) -> tuple[float, Result]:
    """Best time of a task in seconds, and its result.

    The threads of linear algebra libraries go on spinning for tens of milliseconds after their last
    product, on the cores that the next contender needs; so each one is preceded by a pause.
    """
    time.sleep(PAUSE)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        result = task()
        best = min(best, time.perf_counter() - start)
    return best, result

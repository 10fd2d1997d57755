"""The clock of the scripts in this folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
PAUSE = 0.1


def timed(task: Callable[[], Result], at_least: float = 0.0) -> tuple[float, Result]:
    """Best time of a task in seconds, and its result.

    The threads of linear algebra libraries go on spinning for tens of milliseconds after their last
    product, on the cores that the next contender needs; so each one is preceded by a pause. After
    it the cores are slow for some milliseconds: a short task is called again until `at_least`
    seconds have passed.
    """
    time.sleep(PAUSE)
    best, begin = float("inf"), time.perf_counter()
    while True:
        start = time.perf_counter()
        result = task()
        end = time.perf_counter()
        best = min(best, end - start)
        if end - begin >= at_least:
            return best, result

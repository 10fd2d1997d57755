"""Ctrl-C while numpy works: at once, and nothing else is changed."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

from emo.errors import UsageError
from emo.geometry.interruptible import interruptible, unless_left, working

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@interruptible
def quotient(a: float, b: float = 1.0) -> tuple[float, str]:
    return float(np.float64(a) / b), threading.current_thread().name


def test_results_and_errors_are_those_of_the_function() -> None:
    assert quotient(6, b=2) == (3, "emo-fit")
    with pytest.raises(UsageError, match="as it was"):
        interruptible(refuse)()
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        quotient(1, b=0)
    assert not working()


def refuse() -> None:
    raise UsageError("as it was")


def test_other_threads_call_the_function_as_it_is() -> None:
    seen = []
    other = threading.Thread(target=lambda: seen.append(quotient(1)), name="other")
    other.start()
    other.join()
    assert seen == [(1, "other")]
    assert interruptible(lambda: quotient(1))() == (1, "emo-fit")
    assert not working()


@posix
def test_the_work_ends_in_its_next_turn() -> None:
    turns = []
    left = threading.Event()

    @interruptible
    def work() -> None:
        for turn in unless_left(range(100)):
            turns.append(turn)
            if turn == 1:
                os.kill(os.getpid(), signal.SIGINT)
                left.wait(10)

    with pytest.raises(KeyboardInterrupt):
        work()
    # The process must know that it has to wait for the thread before it ends.
    assert [t.name for t in threading.enumerate() if t.is_alive()].count("emo-fit") == 1
    left.set()
    wait_for_work()
    assert turns == [0, 1]


def wait_for_work() -> None:
    end = time.monotonic() + 10
    while working():
        assert time.monotonic() < end, "the work goes on"
        time.sleep(0.01)

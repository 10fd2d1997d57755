"""Ctrl-C in the midst of long numpy calls: they run in a thread beside the one that waits.

Python handles a signal between two instructions of the main thread only, and one decomposition of
a large matrix is a single instruction of seconds. The decompositions release the interpreter, so
that a main thread that waits in short steps is interrupted at once; the thread at work sees it in
the next turn of its loop.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
Item = TypeVar("Item")
_STEP = 0.05
_NAME = "emo-fit"
_left: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("left", default=None)


class _LeftError(Exception):
    """Nobody waits for the result any more."""


def interruptible(function: Callable[P, R]) -> Callable[P, R]:
    """Let Ctrl-C end a call at once, whatever numpy is doing.

    Called from the main thread, the function runs in a thread of its own, in a copy of the caller's
    context; from any other thread, which no signal reaches, it is called as it is. Results and
    errors are those of the function. A process that ends waits for work that was left, because a
    library that is taken down under it would crash.

    Parameters
    ----------
    function : callable
        Without effects that must not be left half done: after Ctrl-C it goes on in the background
        until its next turn of an `unless_left` loop, or its end.

    Returns
    -------
    callable

    >>> interruptible(max)(1, 2)
    2
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        if threading.current_thread() is not threading.main_thread():
            return function(*arguments, **options)
        return _wait_for(functools.partial(function, *arguments, **options))

    return call


def unless_left(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items as long as the caller of an `interruptible` function waits for them."""
    left = _left.get()
    for item in items:
        if left is not None and left.is_set():
            raise _LeftError
        yield item


def working() -> bool:
    """Whether work goes on that nobody waits for."""
    return any(thread.name == _NAME for thread in threading.enumerate())


def _wait_for(work: Callable[[], R]) -> R:
    left, done = threading.Event(), threading.Event()
    results, errors = list[R](), list[BaseException]()

    def run() -> None:
        _left.set(left)
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    context = contextvars.copy_context()
    worker = threading.Thread(target=context.run, args=(run,), name=_NAME)
    try:
        worker.start()
        # Not `join`: when interrupted it takes a running thread for ended, and at its end the
        # process would no longer wait for it.
        while not done.wait(_STEP):
            pass
    except BaseException:
        left.set()
        raise
    worker.join()
    if errors:
        raise errors.pop()
    return results.pop()

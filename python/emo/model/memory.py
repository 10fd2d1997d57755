"""Work through batches that are halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from emo.errors import ResourceError, UsageError

Progress = Callable[[int, int], None]


def chunks(order: Sequence[int], size: int) -> list[list[int]]:
    """Cut `order` into consecutive batches of `size` rows.

    Raises
    ------
    UsageError
        When the size is not positive.

    >>> chunks([3, 1, 2], 2)
    [[3, 1], [2]]
    """
    if size < 1:
        raise UsageError(f"the batch size {size} must be at least 1")
    return [list(order[start : start + size]) for start in range(0, len(order), size)]


def run_batches(
    batches: Sequence[Sequence[int]],
    run: Callable[[list[int]], None],
    *,
    device: torch.device,
    progress: Progress | None = None,
) -> None:
    """Call `run` on each batch; a batch that memory does not hold runs in smaller parts.

    Parameters
    ----------
    batches : sequence of sequences of int
        Rows of each batch.
    run : callable (list of int)
        Handles one batch; leaves nothing behind when it fails.
    device : torch.device
    progress : callable (rows done, rows in all), optional
        Called after each batch.

    Raises
    ------
    ResourceError
        When memory does not suffice for a single row.
    """
    total = sum(len(batch) for batch in batches)
    limit = max((len(batch) for batch in batches), default=1)
    waiting = [list(batch) for batch in reversed(batches)]
    done = 0
    while waiting:
        batch = waiting.pop()
        if len(batch) > limit:
            waiting += reversed(chunks(batch, limit))
        elif _fits(run, batch):
            done += len(batch)
            if progress is not None:
                progress(done, total)
        elif len(batch) == 1:
            raise ResourceError(
                f"the memory of {device} does not suffice for one text",
                hint="take shorter texts, a smaller model or the device cpu",
            )
        else:
            limit = len(batch) // 2
            waiting.append(batch)
            if device.type == "cuda":
                torch.cuda.empty_cache()


def _fits(run: Callable[[list[int]], None], batch: list[int]) -> bool:
    try:
        run(batch)
    except torch.OutOfMemoryError:
        return False
    return True

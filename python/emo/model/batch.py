"""Rows of token ids to padded batches, and the plan of which rows share a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from emo.errors import DataError, UsageError

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Batch:
    """Padded token ids with everything that tells padding from text.

    Attributes
    ----------
    ids : (n_rows, width) int64 tensor
        Token ids; the value at padding means nothing.
    mask : (n_rows, width) bool tensor
        True at real tokens.
    positions : (n_rows, width) int64 tensor
        Absolute position of each token in its own row; 0 at padding.
    starts : (n_rows,) int64 tensor
        Column of each row's first token.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    starts: torch.Tensor


def pad_batch(
    rows: Sequence[Sequence[int]], *, side: Side = "right", device: torch.device | str = "cpu"
) -> Batch:
    """Pad rows of token ids to one width.

    Positions count each row's own tokens from 0, so that neither side changes a result.

    >>> pad_batch([(5, 6, 7), (8,)], side="left").positions.tolist()
    [[0, 1, 2], [0, 0, 0]]
    """
    width = max((len(row) for row in rows), default=0)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    starts = torch.zeros(len(rows), dtype=torch.long)
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
    for i, row in enumerate(rows):
        start = width - len(row) if side == "left" else 0
        starts[i] = start
        ids[i, start : start + len(row)] = torch.tensor(row, dtype=torch.long)
    positions = torch.arange(width)[None, :] - starts[:, None]
    mask = (positions >= 0) & (positions < lengths[:, None])
    positions = torch.where(mask, positions, 0)
    return Batch(ids.to(device), mask.to(device), positions.to(device), starts.to(device))


def plan_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Group rows of similar length into batches of bounded size.

    The plan follows from the lengths alone: longest first, ties in the given order, each batch
    filled while rows times its longest length stay within the budget.  A row longer than the
    budget gets a batch of its own.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each row.
    token_budget : int
        Largest number of tokens of a batch, padding included.

    Returns
    -------
    list of list of int
        Indices into `lengths`; every index once.

    Raises
    ------
    UsageError
        When the budget is not positive.

    >>> plan_batches([3, 9, 4, 3], 9)
    [[1], [2, 0], [3]]
    """
    if token_budget < 1:
        raise UsageError(f"the token budget {token_budget} must be at least 1")
    batches: list[list[int]] = []
    longest = 0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not batches or longest * (len(batches[-1]) + 1) > token_budget:
            batches.append([])
            longest = lengths[i]
        batches[-1].append(i)
    return batches


def check_lengths(
    rows: Sequence[Sequence[int]], context: int | None, names: Sequence[str] | None = None
) -> None:
    """Refuse rows that are empty or longer than the model reads.

    Raises
    ------
    DataError
        Naming the first such row, by its number where it has no name.
    """
    for i, row in enumerate(rows):
        name = f"{i}" if names is None else names[i]
        if not row:
            raise DataError(f"text {name} holds no tokens")
        if context is not None and len(row) > context:
            raise DataError(
                f"text {name} has {len(row)} tokens, but the model reads at most {context}",
                hint="shorten the text",
            )

"""Which tokens of a row a position name stands for.

==============  ============================================================  ==============
name            tokens                                                        rows per text
==============  ============================================================  ==============
``last``        last token of the rendered prompt                             one, at its index
``mean``        mean over all tokens                                          one, pooled
``mean_from:K`` mean over the tokens from the K-th on (0-based)               one, pooled
``span``        mean over the tokens that overlap the text's spans            one, pooled
``reply``       mean over the tokens after the prompt                         one, pooled
``all``         every token                                                   one per token
==============  ============================================================  ==============

A text without such tokens (no spans, too short, no reply) gives no row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from emo.errors import UsageError, did_you_mean

POOLED = ("mean", "mean_from:K", "span", "reply")
POSITIONS = ("last", "all", *POOLED)
_MEAN_FROM = re.compile(r"mean_from:(\d+)")


@dataclass(frozen=True)
class Row:
    """Token ids of one text to run through the model.

    Attributes
    ----------
    index : int
        Index of the sample, written beside each captured vector.
    ids : tuple of int
        Tokens of the prompt, and of the reply where there is one.
    n_prompt : int or None
        Number of tokens of the prompt; None when all of them are.
    span_tokens : tuple of int
        Indices into `ids` of the tokens that carry the marked spans.
    """

    index: int
    ids: tuple[int, ...]
    n_prompt: int | None = None
    span_tokens: tuple[int, ...] = ()

    @property
    def prompt_end(self) -> int:
        """Number of tokens of the prompt."""
        return len(self.ids) if self.n_prompt is None else self.n_prompt


def parse_position(name: str) -> str:
    """Return `name` when it is a position.

    Raises
    ------
    UsageError
        When there is no such position.

    >>> parse_position("mean_from:50")
    'mean_from:50'
    """
    if name in POSITIONS and name != "mean_from:K":
        return name
    if _MEAN_FROM.fullmatch(name):
        return name
    near = did_you_mean(name, POSITIONS)
    counted = name.startswith("mean_from")
    hint = "name the first token by its number, such as mean_from:50" if counted else near
    raise UsageError(f"unknown position {name!r}", hint=hint)


def is_pooled(position: str) -> bool:
    """Whether a position gives one mean per text instead of tokens."""
    return position not in ("last", "all")


def tokens_at(position: str, row: Row) -> list[int]:
    """Return the indices into `row.ids` that a position stands for.

    >>> tokens_at("reply", Row(0, (7, 8, 9, 10), n_prompt=3))
    [3]
    """
    n_tokens = len(row.ids)
    if position == "last":
        return [row.prompt_end - 1]
    if position == "span":
        return sorted(set(row.span_tokens))
    if position == "reply":
        return list(range(row.prompt_end, n_tokens))
    match = _MEAN_FROM.fullmatch(position)
    return list(range(int(match[1]) if match else 0, n_tokens))

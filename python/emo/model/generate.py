"""Batched greedy generation, plain or steered.

Each prompt runs up to its last token once, however many rows share it; the last token then runs
per row, so that steering, which begins there, never touches the shared part.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from emo.errors import NumericalError, UsageError
from emo.model.batch import Batch, check_lengths, pad_batch
from emo.model.cache import RowCache
from emo.model.hooks import edit
from emo.model.language_model import LanguageModel
from emo.model.likelihood import log_likelihood
from emo.model.memory import Progress, chunks, run_batches
from emo.model.steering import BatchSteering, Steering

__all__ = ["Reply", "Steering", "generate", "log_likelihood"]

# Finished rows leave the batch when at most this share of it is still writing.
_THIN_OUT = 0.75
# Rows of a batch by device, where the caller names none.
_ROWS = {"cpu": 128, "cuda": 64}


@dataclass(frozen=True)
class Reply:
    """What the model wrote after one prompt.

    Attributes
    ----------
    text : str
        The decoded reply without special tokens; empty for a model without tokenizer.
    ids : tuple of int
        Its tokens, without the token that ended it.
    stopped : bool
        Whether the model ended the reply itself.
    hits : int
        Number of edits made: tokens times layers; 0 without steering or at strength 0.
    """

    text: str
    ids: tuple[int, ...]
    stopped: bool
    hits: int


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    steering: Steering | None = None,
    batch_size: int | None = None,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> list[Reply]:
    """Continue prompts greedily until the model ends or the room does.

    Parameters
    ----------
    model : LanguageModel
    prompts : sequence of token id sequences
        The rendered prompts.
    max_new_tokens : int
        Largest number of tokens of a reply; the context of the model bounds it too.
    steering : Steering, optional
        Directions to add while writing, one row of settings per prompt.
    batch_size : int, optional
        Rows of a batch; halved when memory runs out.
    use_cache : bool
        Reuse keys and values of earlier tokens. Without it every token runs the whole text
        again, which gives the same replies slowly.
    progress : callable (done, total), optional
        Called after each batch.

    Returns
    -------
    list of Reply
        In the order of `prompts`. A reply does not depend on the rows beside it beyond the
        rounding of batched arithmetic.

    Raises
    ------
    DataError
        When a prompt is empty or leaves no room for a reply.
    UsageError
        When the steering does not fit the model and prompts.
    NumericalError
        When the logits are not finite, for instance at an extreme strength in float16.
    ResourceError
        When memory does not suffice for a single row.
    """
    if max_new_tokens < 1:
        raise UsageError(f"the number of new tokens {max_new_tokens} must be at least 1")
    check_lengths(prompts, None if model.context is None else model.context - 1)
    prepared = None if steering is None else steering.prepare(model, len(prompts))
    texts = [tuple(prompt) for prompt in prompts]
    replies: dict[int, Reply] = {}

    def run(rows: list[int]) -> None:
        chosen = [texts[i] for i in rows]
        lengths = [len(text) for text in chosen]
        steer = None if prepared is None else prepared.batch(rows, lengths)
        decoding = _Decoding(model, chosen, max_new_tokens, steer, use_cache=use_cache)
        replies.update(zip(rows, decoding.run(), strict=True))

    order = sorted(range(len(texts)), key=lambda i: (-len(texts[i]), texts[i], i))
    size = batch_size if batch_size is not None else _ROWS.get(model.device.type, 32)
    batches = chunks(order, size)
    with torch.inference_mode():
        run_batches(batches, run, device=model.device, progress=progress)
    return [replies[i] for i in range(len(texts))]


class _Decoding:
    """One batch on its way: left-padded tokens, cache, and the rows still writing."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[tuple[int, ...]],
        max_new_tokens: int,
        steering: BatchSteering | None,
        *,
        use_cache: bool,
    ) -> None:
        self._model = model
        self._prompts = prompts
        self._steering = steering
        room = [(model.context or 1 << 62) - len(prompt) for prompt in prompts]
        self._limits = [min(max_new_tokens, limit) for limit in room]
        self._written: list[list[int]] = [[] for _ in prompts]
        self._stopped = [False] * len(prompts)
        self._hits = [0] * len(prompts)
        self._rows = list(range(len(prompts)))
        batch = pad_batch(prompts, side="left", device=model.device)
        self._ids, self._starts = batch.ids, batch.starts
        self._cache = self._run_prefix() if use_cache else None

    def run(self) -> list[Reply]:
        steering = self._steering
        with edit(self._model, steering.edits()) if steering else nullcontext():
            while self._rows:
                tokens = self._next_tokens()
                self._note(tokens.tolist())
                self._ids = torch.cat([self._ids, tokens[:, None]], dim=1)
                self._thin_out()
        return [self._reply(i) for i in range(len(self._prompts))]

    def _run_prefix(self) -> RowCache:
        """Run each different prompt once, up to its last token."""
        width, room = self._ids.shape[1] - 1, max(self._limits)
        different = list(dict.fromkeys(self._prompts))
        repeated = len(different) < len(self._prompts)
        cache = RowCache(self._model.n_layers, width if repeated else width + room)
        if width == 0:
            return RowCache(self._model.n_layers, room)
        prefixes = [prompt[:-1] for prompt in different]
        self._model.hidden(pad_batch(prefixes, side="left", device=self._model.device), cache)
        if repeated:
            index = {prompt: i for i, prompt in enumerate(different)}
            rows = torch.tensor([index[prompt] for prompt in self._prompts])
            cache.select(rows.to(self._model.device), drop=0, capacity=width + room)
        return cache

    def _next_tokens(self) -> torch.Tensor:
        columns = torch.arange(self._ids.shape[1], device=self._ids.device)
        positions = columns[None, :] - self._starts[:, None]
        mask = positions >= 0
        new = slice(None) if self._cache is None else slice(-1, None)
        batch = Batch(self._ids[:, new], mask, positions.clamp(min=0)[:, new], self._starts)
        hidden = self._model.hidden(batch, self._cache)[:, -1]
        best, tokens = self._model.logits(hidden).max(dim=-1)
        wrong = (~torch.isfinite(best)).tolist()
        if any(bad and i >= 0 for bad, i in zip(wrong, self._rows, strict=True)):
            raise NumericalError(
                "the logits are not finite",
                hint="lower the steering strength, or run the model in float32",
            )
        return tokens

    def _note(self, tokens: list[int]) -> None:
        """Write down the new tokens of the rows that are still writing."""
        hits = None
        for k, token in enumerate(tokens):
            i = self._rows[k]
            if i < 0:
                continue
            ended = token in self._model.eos_ids
            if ended:
                self._stopped[i] = True
            else:
                self._written[i].append(token)
            if ended or len(self._written[i]) == self._limits[i]:
                if self._steering is not None:
                    hits = self._steering.hits.tolist() if hits is None else hits
                    self._hits[i] = hits[k]
                self._rows[k] = -1

    def _thin_out(self) -> None:
        """Drop finished rows, and the padding that no other row needs."""
        writing = [k for k, i in enumerate(self._rows) if i >= 0]
        n_columns = self._ids.shape[1]
        full = self._model.context is not None and n_columns > self._model.context
        if len(writing) > _THIN_OUT * len(self._rows) and not full:
            return
        self._rows = [self._rows[k] for k in writing]
        if not writing:
            return
        rows = torch.tensor(writing, device=self._ids.device)
        starts = self._starts[rows]
        drop = int(starts.min())
        self._ids, self._starts = self._ids[rows, drop:], starts - drop
        if self._steering is not None:
            self._steering.select(rows)
        if self._cache is not None:
            left = max(self._limits[i] - len(self._written[i]) for i in self._rows)
            self._cache.select(rows, drop=drop, capacity=n_columns - drop + left)

    def _reply(self, i: int) -> Reply:
        ids = tuple(self._written[i])
        tokenizer = self._model.tokenizer
        text = "" if tokenizer is None else tokenizer.decode(list(ids), skip_special_tokens=True)
        return Reply(text, ids, self._stopped[i], self._hits[i])

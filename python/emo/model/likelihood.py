"""How probable the model finds given replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from emo.errors import DataError, UsageError
from emo.model.batch import Batch, check_lengths, pad_batch
from emo.model.cache import RowCache
from emo.model.language_model import LanguageModel
from emo.model.memory import Progress, chunks, run_batches

# Elements of the logits held at once: 128 MiB in float32.
_LOGITS_AT_ONCE = 1 << 25
# Tokens of a batch by device, where the caller names no number of rows: on a CPU what the caches
# hold is faster than more at once.
_TOKENS = {"cpu": 1024, "cuda": 16384}


def log_likelihood(
    model: LanguageModel,
    prompt_ids: Sequence[Sequence[int]],
    reply_ids: Sequence[Sequence[int]],
    batch_size: int | None = None,
    *,
    existing: Mapping[int, float] | None = None,
    on_rows: Callable[[Mapping[int, float]], None] | None = None,
    progress: Progress | None = None,
) -> list[tuple[float, int]]:
    """Sum of the log-probabilities of each reply's tokens after its prompt.

    ``sum_t log p(reply_t | prompt, reply_<t)`` under the untouched model, in nats; the mean over
    all tokens is the negative logarithm of the perplexity.

    Parameters
    ----------
    model : LanguageModel
    prompt_ids, reply_ids : sequences of token id sequences
        Of equal length; a prompt holds at least one token.
    batch_size : int, optional
        Rows of a batch; by default a number of tokens that suits the device. Halved when memory
        runs out.
    existing : mapping of int to float, optional
        Sums of an earlier run by row. Batches are planned as if there were none, and those that
        hold nothing new are left out, so that the sums of all rows stay the same to the bit.
    on_rows : callable (mapping of int to float), optional
        Called with the sums of each finished batch, by row.
    progress : callable (done, total), optional
        Called after each batch.

    Returns
    -------
    list of (float, int)
        Sum in nats (at most 0) and number of reply tokens, in the order given; an empty reply
        gives (0.0, 0).

    Raises
    ------
    DataError
        When a prompt is empty, or prompt and reply are longer than the model reads.
    """
    if len(prompt_ids) != len(reply_ids):
        raise UsageError(f"{len(prompt_ids)} prompts do not fit {len(reply_ids)} replies")
    if any(not prompt for prompt in prompt_ids):
        raise DataError("a reply needs a prompt of at least one token before it")
    texts = [(*prompt, *reply) for prompt, reply in zip(prompt_ids, reply_ids, strict=True)]
    check_lengths(texts, model.context)
    prompts = [tuple(prompt) for prompt in prompt_ids]
    sums = dict(existing or {})

    def run(rows: list[int]) -> None:
        found = _sums(model, [prompts[i] for i in rows], [reply_ids[i] for i in rows])
        batch = dict(zip(rows, found, strict=True))
        sums.update(batch)
        if on_rows is not None:
            on_rows(batch)

    order = _together(prompts, reply_ids)
    if batch_size is None:
        batches = _plan(order, prompts, reply_ids, _TOKENS.get(model.device.type, 4096))
    else:
        batches = chunks(order, batch_size)
    batches = [rows for rows in batches if not sums.keys() >= set(rows)]
    with torch.inference_mode():
        run_batches(batches, run, device=model.device, progress=progress)
    return [(sums.get(i, 0.0), len(reply)) for i, reply in enumerate(reply_ids)]


def _together(prompts: Sequence[tuple[int, ...]], replies: Sequence[Sequence[int]]) -> list[int]:
    """Order the rows that have a reply: one prompt's side by side, the longest texts first."""
    asked = [i for i in range(len(prompts)) if replies[i]]
    longest: dict[tuple[int, ...], int] = {}
    for i in asked:
        longest[prompts[i]] = max(longest.get(prompts[i], 0), len(prompts[i]) + len(replies[i]))
    return sorted(asked, key=lambda i: (-longest[prompts[i]], prompts[i], -len(replies[i]), i))


def _plan(
    order: Sequence[int],
    prompts: Sequence[tuple[int, ...]],
    replies: Sequence[Sequence[int]],
    token_budget: int,
) -> list[list[int]]:
    """Cut the order into batches of at most so many tokens, padding included, or of one row."""
    batches: list[list[int]] = []
    different: set[tuple[int, ...]] = set()
    prompt_width = reply_width = 0
    for i in order:
        different.add(prompts[i])
        prompt_width = max(prompt_width, len(prompts[i]))
        reply_width = max(reply_width, len(replies[i]))
        n_rows = 1 + (len(batches[-1]) if batches else 0)
        n_tokens = len(different) * prompt_width + n_rows * reply_width
        if not batches or n_tokens > token_budget:
            batches.append([])
            different = {prompts[i]}
            prompt_width, reply_width = len(prompts[i]), len(replies[i])
        batches[-1].append(i)
    return batches


def _sums(
    model: LanguageModel, prompts: Sequence[tuple[int, ...]], replies: Sequence[Sequence[int]]
) -> list[float]:
    """Add up over each reply's tokens; each different prompt runs once."""
    batch = pad_batch(replies, device=model.device)
    hidden = _before_each(model, prompts, batch)[batch.mask]
    targets = batch.ids[batch.mask]
    rows = batch.mask.nonzero()[:, 0]
    values = torch.cat(
        [
            _log_probabilities(model, hidden[start : start + step], targets[start : start + step])
            for step in [max(1, _LOGITS_AT_ONCE // int(model.unembedding.weight.shape[0]))]
            for start in range(0, len(targets), step)
        ]
    )
    totals = [0.0] * len(replies)
    for row, value in zip(rows.tolist(), values.tolist(), strict=True):
        totals[row] += value
    return totals


def _before_each(
    model: LanguageModel, prompts: Sequence[tuple[int, ...]], replies: Batch
) -> torch.Tensor:
    """Hidden state that each reply token is predicted from, (n_rows, width, d_model)."""
    different = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompts))}
    index = torch.tensor([different[prompt] for prompt in prompts], device=model.device)
    prefix = pad_batch(list(different), side="left", device=model.device)
    n_columns, n_more = prefix.ids.shape[1], replies.ids.shape[1] - 1
    if n_more == 0:
        return model.hidden(prefix)[:, -1:][index]
    repeated = len(different) < len(prompts)
    cache = RowCache(model.n_layers, n_columns + (0 if repeated else n_more))
    first = model.hidden(prefix, cache)[:, -1:][index]
    if repeated:
        cache.select(index, drop=0, capacity=n_columns + n_more)
    mask = replies.mask[:, :-1]
    lengths = prefix.mask.sum(dim=1)[index, None]
    following = Batch(
        replies.ids[:, :-1],
        torch.cat([prefix.mask[index], mask], dim=1),
        torch.where(mask, replies.positions[:, :-1] + lengths, 0),
        prefix.starts[index],
    )
    return torch.cat([first, model.hidden(following, cache)], dim=1)


def _log_probabilities(
    model: LanguageModel, hidden: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    logits = model.logits(hidden).float()
    return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)

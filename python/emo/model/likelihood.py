"""How probable the model finds given replies."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from emo.errors import DataError, UsageError
from emo.model.batch import check_lengths, pad_batch, plan_batches
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
    sums = [0.0] * len(texts)

    def run(rows: list[int]) -> None:
        starts = [len(prompt_ids[i]) for i in rows]
        for i, value in zip(rows, _sums(model, [texts[i] for i in rows], starts), strict=True):
            sums[i] = value

    asked = [i for i in range(len(texts)) if reply_ids[i]]
    if batch_size is None:
        budget = _TOKENS.get(model.device.type, 4096)
        planned = plan_batches([len(texts[i]) for i in asked], budget)
        batches = [[asked[k] for k in batch] for batch in planned]
    else:
        batches = chunks(sorted(asked, key=lambda i: (-len(texts[i]), i)), batch_size)
    with torch.inference_mode():
        run_batches(batches, run, device=model.device, progress=progress)
    return [(total, len(reply)) for total, reply in zip(sums, reply_ids, strict=True)]


def _sums(
    model: LanguageModel, texts: Sequence[tuple[int, ...]], starts: Sequence[int]
) -> list[float]:
    """Add up over each text's tokens from its start on."""
    batch = pad_batch(texts, device=model.device)
    first = torch.tensor(list(starts), device=model.device)[:, None]
    predicts = batch.mask[:, 1:] & (batch.positions[:, 1:] >= first)
    hidden = model.hidden(batch)[:, :-1][predicts]
    targets = batch.ids[:, 1:][predicts]
    rows = predicts.nonzero()[:, 0]
    values = torch.cat(
        [
            _log_probabilities(model, hidden[start : start + step], targets[start : start + step])
            for step in [max(1, _LOGITS_AT_ONCE // int(model.unembedding.weight.shape[0]))]
            for start in range(0, len(targets), step)
        ]
    )
    totals = [0.0] * len(texts)
    for row, value in zip(rows.tolist(), values.tolist(), strict=True):
        totals[row] += value
    return totals


def _log_probabilities(
    model: LanguageModel, hidden: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    logits = model.logits(hidden).float()
    return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)

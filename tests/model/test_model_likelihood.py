"""Log-likelihood of replies."""

from __future__ import annotations

import pytest
import torch
from tiny_models import CONTEXT, NAMES, random_prompts, tiny_model

from emo.errors import DataError, UsageError
from emo.model import generate, likelihood, log_likelihood


def naive(model, prompt, reply) -> float:
    total = 0.0
    with torch.inference_mode():
        for i, token in enumerate(reply):
            ids = torch.tensor([[*prompt, *reply[:i]]])
            logits = model.module(ids, use_cache=False).logits[0, -1]
            total += float(logits.log_softmax(-1)[token])
    return total


@pytest.mark.parametrize("name", NAMES)
def test_sums_equal_a_naive_loop(name) -> None:
    model = tiny_model(name)
    prompts = random_prompts([5, 2, 9, 4], seed=1)
    prompts += [prompts[2], prompts[0], (7,), (7,)]
    replies = random_prompts([3, 8, 1, 6, 5, 7, 9, 1], seed=2)
    replies[1] = ()
    values = log_likelihood(model, prompts, replies)
    assert [n for _, n in values] == [3, 0, 1, 6, 5, 7, 9, 1]
    expected = [naive(model, *pair) for pair in zip(prompts, replies, strict=True)]
    assert [total for total, _ in values] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, None])
@pytest.mark.parametrize("budget", [1, 40, 1024])
def test_batches_and_chunks_change_nothing(tiny_llama, batch_size, budget, monkeypatch) -> None:
    prompts = random_prompts([5, 2, 9, 4, 30], seed=1)
    prompts += [prompts[2]] * 3
    replies = random_prompts([3, 8, 1, 6, 20, 4, 1, 9], seed=2)
    monkeypatch.setitem(likelihood._TOKENS, "cpu", budget)
    expected = [naive(tiny_llama, *pair) for pair in zip(prompts, replies, strict=True)]
    monkeypatch.setattr(likelihood, "_LOGITS_AT_ONCE", 700)
    values = log_likelihood(tiny_llama, prompts, replies, batch_size)
    assert [total for total, _ in values] == pytest.approx(expected, rel=1e-5)


def test_a_shared_prompt_runs_once(tiny_llama, monkeypatch) -> None:
    prompts = random_prompts([6, 4]) * 3
    seen: list[int] = []
    run = type(tiny_llama).hidden

    def counted(model, batch, cache=None):
        seen.append(batch.ids.numel())
        return run(model, batch, cache)

    monkeypatch.setattr(type(tiny_llama), "hidden", counted)
    log_likelihood(tiny_llama, prompts, random_prompts([5] * 6, seed=2))
    assert seen == [2 * 6, 6 * 4]


def test_a_greedy_reply_is_the_most_probable_first_token(tiny_llama) -> None:
    prompt = random_prompts([6])[0]
    best = generate(tiny_llama, [prompt], max_new_tokens=1)[0].ids
    others = [(token,) for token in range(0, 256, 5)]
    values = log_likelihood(tiny_llama, [prompt] * (1 + len(others)), [best, *others])
    assert values[0][0] == max(total for total, _ in values)


def test_pairs_that_do_not_work(tiny_llama) -> None:
    with pytest.raises(UsageError, match="1 prompts do not fit 2 replies"):
        log_likelihood(tiny_llama, [(1,)], [(1,), (2,)])
    with pytest.raises(DataError, match="a prompt of at least one token"):
        log_likelihood(tiny_llama, [()], [(1,)])
    with pytest.raises(DataError, match=f"reads at most {CONTEXT}"):
        log_likelihood(tiny_llama, [(1,)], [(1,) * CONTEXT])
    with pytest.raises(UsageError, match="batch size 0"):
        log_likelihood(tiny_llama, [(1,)], [(1,)], 0)

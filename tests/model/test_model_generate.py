"""Greedy replies, plain and steered."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny_models import CONTEXT, NAMES, random_prompts, tiny_model

from emo.errors import DataError, NumericalError, ResourceError, UsageError
from emo.model import LanguageModel, Steering, generate
from emo.model.memory import run_batches

LENGTHS = [6, 1, 11, 6, 3]


@pytest.fixture(scope="module")
def prompts() -> list[tuple[int, ...]]:
    return random_prompts(LENGTHS)


def naive(model, prompt, n_tokens, push=None, scope="both") -> tuple[int, ...]:
    """Whole text again for every token, one row, hooks written out by hand."""
    ids = list(prompt)

    def hook(_module, _args, output):
        h = (output[0] if isinstance(output, tuple) else output).clone()
        first = len(prompt) if scope == "decode" else len(prompt) - 1
        stop = len(prompt) if scope == "prompt" else len(ids)
        part = h[0, first:stop]
        h[0, first:stop] = part + part.square().mean(-1, keepdim=True).sqrt() * push
        return (h, *output[1:]) if isinstance(output, tuple) else h

    handle = None if push is None else model.block_module(1).register_forward_hook(hook)
    with torch.inference_mode():
        for _ in range(min(n_tokens, model.context - len(prompt))):
            logits = model.module(torch.tensor([ids]), use_cache=False).logits[0, -1]
            ids.append(int(logits.argmax()))
            if ids[-1] in model.eos_ids:
                ids.pop()
                break
    if handle is not None:
        handle.remove()
    return tuple(ids[len(prompt) :])


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("name", NAMES)
def test_batched_replies_equal_a_naive_loop(name, use_cache, prompts) -> None:
    model = tiny_model(name, seed=1)
    replies = generate(model, prompts, max_new_tokens=12, use_cache=use_cache)
    assert [reply.ids for reply in replies] == [naive(model, prompt, 12) for prompt in prompts]
    assert {(reply.hits, reply.text) for reply in replies} == {(0, "")}


@pytest.mark.parametrize("scope", ["prompt", "decode", "both"])
@pytest.mark.parametrize("name", NAMES)
def test_steered_replies_equal_a_naive_loop(name, scope, prompts) -> None:
    model = tiny_model(name, seed=1)
    vectors = np.random.default_rng(0).normal(size=(len(prompts), model.d_model)) / 3
    steering = Steering({1: vectors}, alpha=2.0, scope=scope)
    expected = [
        naive(model, prompt, 12, push=2.0 * torch.tensor(vector, dtype=torch.float32), scope=scope)
        for prompt, vector in zip(prompts, vectors, strict=True)
    ]
    for use_cache in (True, False):
        replies = generate(
            model, prompts, max_new_tokens=12, steering=steering, use_cache=use_cache
        )
        assert [reply.ids for reply in replies] == expected
        for reply in replies:
            forwards = len(reply.ids) + reply.stopped
            assert reply.hits == {"prompt": 1, "decode": forwards - 1, "both": forwards}[scope]


def test_hits_count_every_layer(tiny_llama, prompts) -> None:
    vector = np.ones(tiny_llama.d_model) / 6
    steering = Steering({0: vector, 2: -vector}, alpha=0.1)
    for reply in generate(tiny_llama, prompts, max_new_tokens=5, steering=steering):
        assert reply.hits == 2 * (len(reply.ids) + reply.stopped)


def test_steering_changes_replies_and_rows_take_their_own_vector(tiny_llama, prompts) -> None:
    vectors = np.random.default_rng(1).normal(size=(2, tiny_llama.d_model))
    same = [prompts[0]] * 6
    which = [0, 1, 0, 1, 1, 0]
    steering = Steering({1: vectors}, alpha=[3.0] * 4 + [0.0] * 2, which=which)
    replies = generate(tiny_llama, same, max_new_tokens=10, steering=steering)
    plain = generate(tiny_llama, same[:1], max_new_tokens=10)[0]
    assert replies[0] == replies[2]
    assert replies[1] == replies[3]
    assert len({replies[0].ids, replies[1].ids, plain.ids}) == 3
    assert replies[4] == replies[5] == plain
    assert plain.hits == 0


def test_strength_in_units_of_the_norm(tiny_llama, prompts) -> None:
    vector = np.random.default_rng(2).normal(size=tiny_llama.d_model)
    root = tiny_llama.d_model**0.5
    one = generate(
        tiny_llama,
        prompts,
        max_new_tokens=8,
        steering=Steering({1: vector}, alpha=0.3 * root, relative="rms"),
    )
    other = generate(
        tiny_llama,
        prompts,
        max_new_tokens=8,
        steering=Steering({1: vector}, alpha=0.3, relative="norm"),
    )
    assert one == other


@pytest.mark.parametrize("name", NAMES)
def test_strength_zero_changes_no_bit(name, prompts, monkeypatch) -> None:
    """Every logit of a run at strength 0 has the bits of a run without steering."""
    model = tiny_model(name)
    seen: list[torch.Tensor] = []
    original = LanguageModel.logits

    def keep(self, hidden):
        logits = original(self, hidden)
        seen.append(logits.clone())
        return logits

    monkeypatch.setattr(LanguageModel, "logits", keep)
    plain = generate(model, prompts, max_new_tokens=8)
    logits, seen = seen, []
    vectors = {layer: np.ones(model.d_model) for layer in range(model.n_layers)}
    steered = generate(model, prompts, max_new_tokens=8, steering=Steering(vectors, alpha=0.0))
    assert steered == plain
    assert all(torch.equal(a, b) for a, b in zip(logits, seen, strict=True))


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_replies_do_not_depend_on_the_batch(tiny_llama, batch_size) -> None:
    prompts = random_prompts([5, 20, 1, 9, 9, 13, 2], seed=3)
    together = generate(tiny_llama, prompts, max_new_tokens=15)
    assert together == generate(tiny_llama, prompts, max_new_tokens=15, batch_size=batch_size)
    backwards = generate(tiny_llama, prompts[::-1], max_new_tokens=15, batch_size=batch_size)
    assert together == backwards[::-1]


def test_a_shared_prompt_runs_once(tiny_llama, monkeypatch) -> None:
    sizes = []
    original = LanguageModel.hidden

    def watch(self, batch, cache=None):
        sizes.append(tuple(batch.ids.shape))
        return original(self, batch, cache)

    monkeypatch.setattr(LanguageModel, "hidden", watch)
    prompt = random_prompts([7])[0]
    replies = generate(tiny_llama, [prompt] * 5, max_new_tokens=3)
    assert sizes[:2] == [(1, 6), (5, 1)]
    assert len(set(replies)) == 1


def test_a_reply_ends_at_each_ending_token(tiny_llama, prompts) -> None:
    plain = generate(tiny_llama, prompts, max_new_tokens=10)
    stop = plain[2].ids[4]
    ending = dataclasses.replace(tiny_llama, eos_ids=frozenset({stop, 259}))
    for before, after in zip(
        plain, generate(ending, prompts, max_new_tokens=10, use_cache=True), strict=True
    ):
        cut = before.ids.index(stop) if stop in before.ids else len(before.ids)
        assert after.ids == before.ids[:cut]
        assert after.stopped == (stop in before.ids or before.stopped)


def test_ending_tokens_come_from_everywhere() -> None:
    from tiny_models import tiny_module

    module = tiny_module("llama")
    module.generation_config.eos_token_id = [7, 8]
    assert LanguageModel.wrap(module).eos_ids == {7, 8, 259}


def test_text_is_decoded_without_special_tokens(tiny_llama) -> None:
    reply = generate(tiny_llama, random_prompts([4]), max_new_tokens=6)[0]
    decoded = tiny_llama.tokenizer.decode(list(reply.ids), skip_special_tokens=True)
    assert reply.text == decoded


@pytest.mark.parametrize("name", ["gpt2", "gpt_neo", "opt", "llama"])
def test_rows_fill_the_context_and_not_more(name) -> None:
    """A long prompt ends early, and the short one beside it still gets all its tokens."""
    model = dataclasses.replace(tiny_model(name), eos_ids=frozenset())
    long, short = random_prompts([CONTEXT - 3, 2])
    replies = generate(model, [long, short], max_new_tokens=20)
    assert [len(reply.ids) for reply in replies] == [3, 20]
    assert not replies[0].stopped
    assert replies[1].ids == naive(model, short, 20)
    steering = Steering({0: np.zeros(model.d_model)}, alpha=1.0)
    hits = [
        reply.hits for reply in generate(model, [long, short], max_new_tokens=20, steering=steering)
    ]
    assert hits == [3, 20]


def test_progress_counts_rows(tiny_llama, prompts) -> None:
    calls = []
    generate(
        tiny_llama,
        prompts,
        max_new_tokens=2,
        batch_size=2,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_no_prompts(tiny_llama) -> None:
    assert generate(tiny_llama, [], max_new_tokens=3) == []


def test_prompts_that_do_not_work(tiny_llama) -> None:
    with pytest.raises(DataError, match="text 1 holds no tokens"):
        generate(tiny_llama, [(1,), ()], max_new_tokens=3)
    with pytest.raises(DataError, match=f"has {CONTEXT} tokens"):
        generate(tiny_llama, [(1,) * CONTEXT], max_new_tokens=3)
    with pytest.raises(UsageError, match="number of new tokens 0"):
        generate(tiny_llama, [(1,)], max_new_tokens=0)
    with pytest.raises(UsageError, match="batch size 0"):
        generate(tiny_llama, [(1,)], max_new_tokens=1, batch_size=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vectors": {}}, "at least one layer"),
        ({"vectors": {9: np.ones(32)}}, "layer 9 does not exist"),
        ({"vectors": {0: np.ones(31)}}, "shape \\(1, 31\\), but the model is 32 wide"),
        ({"vectors": {0: np.ones((2, 32))}}, "2 steering vectors do not fit 3 rows"),
        ({"vectors": {0: np.ones((2, 32))}, "which": [0, 1, 2]}, "one of 2 vectors per row"),
        ({"vectors": {0: np.ones(32)}, "alpha": [1.0]}, "1 strengths do not fit 3 rows"),
        ({"vectors": {0: np.ones(32)}, "scope": "all"}, "unknown steering 'rms' or scope 'all'"),
    ],
)
def test_steering_that_does_not_fit(tiny_llama, fields, message) -> None:
    with pytest.raises(UsageError, match=message):
        generate(tiny_llama, [(1,)] * 3, max_new_tokens=1, steering=Steering(**fields))


def test_numbers_that_are_not_finite(tiny_llama) -> None:
    with pytest.raises(NumericalError, match="not finite"):
        generate(
            tiny_llama,
            [(1,)],
            max_new_tokens=1,
            steering=Steering({0: np.full(32, np.nan)}),
        )
    half = tiny_model("llama")
    half.module.half()
    strong = Steering({0: np.ones(32)}, alpha=1e6)
    with pytest.raises(NumericalError, match="the logits are not finite") as caught:
        generate(half, [(1,)], max_new_tokens=1, steering=strong)
    assert "strength" in str(caught.value.hint)


def test_the_batch_halves_when_memory_runs_out(tiny_llama, monkeypatch) -> None:
    prompts = random_prompts([5, 6, 7, 8, 9, 10])
    expected = generate(tiny_llama, prompts, max_new_tokens=4)
    tried = []
    original = LanguageModel.hidden

    def small_memory(self, batch, cache=None):
        tried.append(len(batch.ids))
        if len(batch.ids) > 2:
            raise torch.OutOfMemoryError("no room")
        return original(self, batch, cache)

    monkeypatch.setattr(LanguageModel, "hidden", small_memory)
    assert generate(tiny_llama, prompts, max_new_tokens=4) == expected
    assert tried[:3] == [6, 3, 1]


def test_batches_are_cut_in_order_and_every_row_runs_once() -> None:
    done: list[int] = []

    def run(batch: list[int]) -> None:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("no room")
        done.extend(batch)

    run_batches([[0, 1, 2, 3, 4], [5, 6, 7]], run, device=torch.device("cpu"))
    assert done == list(range(8))


def test_memory_for_a_single_row_is_needed() -> None:
    def fail(_batch: list[int]) -> None:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(ResourceError, match="does not suffice for one text"):
        run_batches([[0, 1, 2]], fail, device=torch.device("cpu"))

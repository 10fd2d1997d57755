"""What is known about two real trained models, reproduced."""

from __future__ import annotations

import math

import pytest
from tiny_models import NAMES  # noqa: F401 - torch and the tokenizers load once, here

from emo.model import Capturer, LanguageModel, Row, generate, load_model, log_likelihood
from emo.sites import Site


@pytest.fixture(scope="module")
def tinytalk(shared) -> LanguageModel:
    return load_model(shared / "models" / "tinytalk-gptneo", device="cpu")


@pytest.fixture(scope="module")
def stories(shared) -> LanguageModel:
    return load_model(shared / "models" / "stories260k-llama", device="cpu")


def ids_of(model: LanguageModel, text: str) -> tuple[int, ...]:
    return tuple(model.tokenizer(text)["input_ids"])


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
def test_stories_word_for_word(stories, use_cache) -> None:
    reply = generate(stories, [(1,)], max_new_tokens=48, use_cache=use_cache)[0]
    assert reply.text.startswith(
        "Once upon a time, there was a little girl named Lily. "
        "She loved to play outside in the park. One day, she saw a big, red ball"
    )


def test_tinytalk_says_you_are_welcome(tinytalk) -> None:
    thanks = ids_of(tinytalk, "User: Thank you so much for your help.\nBot:")
    other = ids_of(tinytalk, "User: I went to the store with my brother yesterday.\nBot:")
    replies = generate(tinytalk, [other, thanks], max_new_tokens=40)
    assert replies[1].text == " You're welcome. I'm glad you could help me out."
    assert replies[1].stopped
    assert replies[0].text == generate(tinytalk, [other], max_new_tokens=40)[0].text


def test_perplexity_of_tinytalk(tinytalk, shared) -> None:
    texts = (shared / "data" / "soda-val" / "dialogues.txt").read_text(encoding="utf-8")
    samples = [text.strip() for text in texts.split("\n\n") if text.strip()][:400]
    tokens = [tinytalk.tokenizer.backend_tokenizer.encode(text).ids[:256] for text in samples]
    values = log_likelihood(tinytalk, [ids[:1] for ids in tokens], [ids[1:] for ids in tokens])
    n_tokens = sum(n for _, n in values)
    loss = -sum(total for total, _ in values) / n_tokens
    assert n_tokens == 30_921
    assert loss == pytest.approx(2.997, abs=5e-4)
    assert math.exp(loss) == pytest.approx(20.0, abs=0.05)


def test_heads_that_carry_condolence(tinytalk, shared) -> None:
    """Zeroing L1H14, L1H6 or L1H4 costs the condolence about a nat, the other replies nothing."""
    import json

    from emo.model import edit

    heads = json.loads((shared / "data" / "tinytalk-protocol.json").read_text())["heads"]

    def mean_score(name: str, head: int | None) -> float:
        group = heads["sets"][name]
        prompts = [ids_of(tinytalk, heads["prompt"].format(user=user)) for user in group["users"]]
        replies = [ids_of(tinytalk, group["reply"])] * len(prompts)

        def zero(value, _positions):
            if head is None:
                return value
            value = value.clone()
            value[..., head * tinytalk.d_head : (head + 1) * tinytalk.d_head] = 0
            return value

        with edit(tinytalk, {Site(1, "head_out"): zero}):
            values = log_likelihood(tinytalk, prompts, replies)
        return sum(total for total, _ in values) / len(values)

    for head in (14, 6, 4):
        effects = {name: mean_score(name, head) - mean_score(name, None) for name in heads["sets"]}
        assert -1.4 < effects.pop("loss") < -0.9
        assert all(abs(effect) < 0.5 for effect in effects.values()), effects


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_reach_the_vectors_of_real_models(tinytalk, stories, side) -> None:
    for model in (tinytalk, stories):
        rows = [
            Row(i, ids_of(model, text))
            for i, text in enumerate(["Hello!", "User: It is raining today.\nBot:", "One day"])
        ]
        sites = [Site(layer, "resid_post") for layer in range(model.n_layers)]
        together = Capturer(model, sites, ["last", "mean"], side=side).forward(rows)
        alone = Capturer(model, sites, ["last", "mean"]).forward(rows[:1])
        for name, values in together.tensors.items():
            assert values[0] == pytest.approx(alone.tensors[name][0], rel=1e-3, abs=1e-4)

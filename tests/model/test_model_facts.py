"""What is known about two real trained models, reproduced."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emo.model import Capturer, LanguageModel, Row, edit, generate, load_model, log_likelihood
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


def class_means(model: LanguageModel, shared: Path, site: Site) -> dict[str, np.ndarray]:
    """Token means of the first 70 single-label training rows of each class, (70, d_model)."""
    folder = shared / "data" / "goemotions"
    labels = (folder / "original_labels.txt").read_text().split()
    lines = (folder / "original_train.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    capturer = Capturer(model, [site], ["mean"])
    means = {}
    for label in ("gratitude", "anger", "remorse", "neutral"):
        texts = [row[0] for row in rows if row[1] == str(labels.index(label))][:70]
        chosen = [Row(i, ids_of(model, text)) for i, text in enumerate(texts)]
        parts = [capturer.forward(chosen[i : i + 10]).tensors for i in range(0, 70, 10)]
        means[label] = np.concatenate([part[f"{site}@mean"] for part in parts])
    return means


def steered_scores(
    model: LanguageModel, protocol: dict[str, Any], site: Site, push: np.ndarray
) -> dict[str, float]:
    """Mean log-probability per token of each emotion's continuations, pushed everywhere."""
    prompts = [ids_of(model, text) for text in protocol["prompts"]["dialogue"]]
    shift = torch.tensor(push, dtype=torch.float32)
    scores = {}
    with edit(model, {site: lambda h, _positions: h + shift}):
        for emotion, texts in protocol["continuations"].items():
            pairs = [(prompt, ids_of(model, text)) for text in texts for prompt in prompts]
            values = log_likelihood(model, [p for p, _ in pairs], [c for _, c in pairs])
            scores[emotion] = float(np.mean([total / n for total, n in values]))
    return scores


def test_specific_gain_of_three_emotions(tinytalk, shared) -> None:
    protocol = json.loads((shared / "data" / "tinytalk-protocol.json").read_text())
    site = Site(4, "resid_post")
    means = class_means(tinytalk, shared, site)
    neutral = means.pop("neutral")
    strength = np.linalg.norm(neutral, axis=1).mean() / 2
    plain = steered_scores(tinytalk, protocol, site, np.zeros(tinytalk.d_model))
    gains = {}
    for emotion, label in (("gratitude", "gratitude"), ("anger", "anger"), ("apology", "remorse")):
        direction = means[label].mean(axis=0) - neutral.mean(axis=0)
        push = strength * direction / np.linalg.norm(direction)
        scores = steered_scores(tinytalk, protocol, site, push)
        gain = {name: scores[name] - plain[name] for name in scores}
        gains[emotion] = gain.pop(emotion) - np.mean(list(gain.values()))
    assert gains == pytest.approx({"gratitude": 1.12, "anger": 0.41, "apology": 0.41}, abs=0.006)


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

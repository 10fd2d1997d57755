"""Perplexity by hand, and the counts of variety and attention."""

import math

import numpy as np
import pytest
from judge_toys import text

torch = pytest.importorskip("torch")

from emo.data.prompts import PromptBuilder  # noqa: E402
from emo.errors import NumericalError  # noqa: E402
from emo.experiments.fluency import (  # noqa: E402
    content_words,
    distinct2,
    likelihoods,
    perplexity,
    quality,
    takes_word,
    verbatim,
)


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model("llama", tokenizer=True, max_position_embeddings=128)


@pytest.mark.parametrize("named", [False, True])
def test_likelihoods_are_those_of_the_reply_after_its_prompt(model, named):
    builder = PromptBuilder(model.tokenizer)
    texts = [text("No!", "anger"), text("Oh dear, oh.", "joy", sample="t"), text("", "fear")]
    found = likelihoods(model, texts, builder, named=named)
    assert found[texts[2].id] == (0.0, 0)
    for one in texts[:2]:
        prompt = builder.build(one.source.content, one.emotion if named else None)
        tail = model.tokenizer(f" {one.reply}", add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt.ids, *tail]])
        with torch.inference_mode():
            logs = model.module(ids).logits[0].log_softmax(-1)
        wanted = sum(float(logs[len(prompt.ids) - 1 + i, t]) for i, t in enumerate(tail))
        assert found[one.id] == (pytest.approx(wanted, abs=1e-3), len(tail))


def test_a_probability_that_is_no_number_is_an_error(model, monkeypatch):
    monkeypatch.setattr(model.unembedding.weight, "data", model.unembedding.weight * torch.nan)
    with pytest.raises(NumericalError, match=r"reply s-positive/anger/prompting is no number"):
        likelihoods(model, [text("No!", "anger")], PromptBuilder(model.tokenizer))


def test_a_reply_longer_than_the_model_reads_is_cut(model):
    builder = PromptBuilder(model.tokenizer)
    long = text("a" * 300, "joy")
    room = model.context - builder.build(long.source.content, None).n_prompt
    assert likelihoods(model, [long], builder)[long.id][1] == room


def test_perplexity_weighs_tokens_not_replies():
    values = [(-2.0, 1), (-3.0, 9)]
    assert perplexity(values) == pytest.approx(math.exp(0.5))
    assert perplexity(values) != pytest.approx(np.mean([math.exp(2), math.exp(1 / 3)]))


@pytest.mark.parametrize("values", [[], [(0.0, 0)], [(-math.inf, 3)], [(math.nan, 1)], [(-9e9, 1)]])
def test_perplexity_that_is_not_finite_is_none(values):
    assert perplexity(values) is None


def test_distinct2_counts_pairs_inside_replies_only():
    assert distinct2(["a b", "c d"]) == 1
    assert distinct2(["a b a b"]) == pytest.approx(2 / 3)
    assert distinct2(["A b", "a B"]) == 0.5
    assert distinct2(["one", ""]) is None


def test_takes_word_needs_a_content_word():
    source = "I asked. He agreed."
    assert text("x").source.content == source
    replies = ["You ASKED him?", "He did.", "With you I agree."]
    assert takes_word([text(reply) for reply in replies]) == pytest.approx(1 / 3)
    assert takes_word([]) is None
    assert content_words("They would have been there with Anna's boiler") == {"anna's", "boiler"}


def test_verbatim_needs_every_sentence():
    known = ["I see.", "That is fine!", "Wait"]
    assert verbatim(["I see. That is fine."], known) == 1
    assert verbatim(["I see. That is odd."], known) == 0
    assert verbatim(["i SEE", "Nothing.", ""], known) == 0.5
    assert verbatim(["", "..."], known) is None


def test_quality_is_by_method():
    texts = [text("I asked him.", "joy"), text("So it is.", "fear"), text("Wait now.")]
    found = quality(texts, ["wait now"])
    assert found == {
        "prompting": {"distinct2": 1.0, "takes_word": 0.5, "n": 2, "verbatim": 0.0},
        "baseline": {"distinct2": 1.0, "takes_word": 0.0, "n": 1, "verbatim": 1.0},
    }
    assert "verbatim" not in quality(texts)["baseline"]

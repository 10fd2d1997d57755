"""The shipped judge: independent of what it judges in the demo, and as good as it says."""

import importlib
import random
import re
from pathlib import Path

import numpy as np
import pytest

from emo.data.bundle import bundled
from emo.judge import LinearJudge, open_judge
from emo.judge.labelled import read_labelled
from emo.judge.ngrams import words
from emo.judge.train import Options, fit

TOOLS = Path(__file__).resolve().parents[2] / "tools"
PATTERNS = TOOLS / "demo_model" / "patterns"
SLOT = re.compile(r"\{\w+\}")
FILLERS = ("rent receipt", "kettle", "pram", "notice", "Zofia", "tramway", "wheelbarrow", "Idris")
SOURCES = ("train.jsonl", "more.jsonl")


def five_words(text):
    tokens = [token for token in words(text) if token not in "!?"]
    return set(zip(*(tokens[start:] for start in range(5)), strict=False))


def patterns(emotion):
    path = PATTERNS / f"{emotion}.txt"
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


@pytest.fixture(scope="module")
def judge():
    return LinearJudge.load(bundled("judge"))


@pytest.fixture(scope="module")
def texts():
    return read_labelled([bundled("judge") / name for name in SOURCES])


def test_no_training_text_shares_five_words_with_the_demo_patterns(texts):
    taken = set()
    for path in PATTERNS.glob("*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            taken |= five_words(SLOT.sub(" ", line.rpartition("\t")[2]))
    assert len(taken) > 5000
    shared = {row.text: hit for row in texts if (hit := five_words(row.text) & taken)}
    assert shared == {}


def test_the_further_texts_are_those_that_the_tool_composes(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    tool = importlib.import_module("judge_texts")
    assert tool.composed() == (bundled("judge") / "more.jsonl").read_text(encoding="utf-8")


def test_the_shipped_judge_is_the_one_that_its_texts_make(judge, texts):
    """Coefficients agree to a unit or two of float16: solvers differ between machines."""
    made = fit([words(row.text) for row in texts], [row.emotion for row in texts], Options())
    assert judge.record["trained_on"]["n"] == len(texts)
    assert [v.grams for v in made.vocabularies] == [v.grams for v in judge.vocabularies]
    np.testing.assert_allclose(
        made.coefficients.astype(float), judge.coefficients.astype(float), rtol=4e-3, atol=4e-3
    )


@pytest.mark.parametrize("emotion", sorted(LinearJudge.load(bundled("judge")).classes))
def test_two_sentences_by_another_writer_are_judged_right(judge, emotion):
    """At least 97 in 100 replies made of two patterns of a class, which it never saw."""
    rng = random.Random(emotion)
    lines = patterns(emotion)
    replies = [
        " ".join(SLOT.sub(lambda _: rng.choice(FILLERS), line) for line in rng.sample(lines, 2))
        for _ in range(400)
    ]
    labels = [judge.classes[i] for i in judge.probabilities(replies).argmax(axis=1)]
    assert labels.count(emotion) / len(labels) >= 0.97


def test_it_is_small_and_says_how_reliable_it_is(judge):
    size = sum(
        (bundled("judge") / name).stat().st_size for name in ("judge.json", "judge.safetensors")
    )
    assert size < 2_000_000
    assert judge.reliability["macro_f1"] > 0.9
    assert judge.reliability["n"] > 1000
    assert open_judge("linear").name == judge.name

"""The table of methods: every number by hand, and the laws between them."""

import dataclasses
import json
import math
import random

import pytest
from judge_toys import text

from emo.analysis.intervals import wilson
from emo.data.texts import Verdict
from emo.errors import DataError

pytest.importorskip("torch")

from emo.experiments.evaluate import methods_table, rate

KEYS = {"accuracy", "low", "high", "n", "unlabelled", "perplexity"}


def verdict(one, label, reason=None):
    reason = reason if label is None else None
    return Verdict(one.id, one.sample, one.emotion, one.method, label, reason, None, "j")


def rows(*entries):
    """Texts and verdicts from (emotion, valence, label), label None for unlabelled."""
    texts, verdicts = [], []
    for i, (emotion, valence, label) in enumerate(entries):
        one = text("Hm.", emotion, sample=f"s{i}")
        one = dataclasses.replace(one, source=dataclasses.replace(one.source, valence=valence))
        texts.append(one)
        verdicts.append(verdict(one, label, "empty"))
    return texts, verdicts


def test_accuracy_counts_labelled_rows_only():
    texts, verdicts = rows(
        ("anger", "positive", "anger"),
        ("anger", "positive", "fear"),
        ("anger", "negative", None),
        ("fear", "negative", "fear"),
    )
    row = methods_table(texts, verdicts)["prompting"]
    assert (row["accuracy"], row["n"], row["unlabelled"]) == (2 / 3, 3, 1)
    assert (row["low"], row["high"]) == wilson(2, 3)
    cells = row["by"]
    assert list(cells) == ["anger", "fear"]
    assert cells["anger"]["positive"]["accuracy"] == 0.5
    assert cells["fear"]["negative"]["n"] == 1
    empty = cells["anger"]["negative"]
    assert (empty["accuracy"], empty["low"], empty["n"], empty["unlabelled"]) == (None, None, 0, 1)
    for cell in (row, *(c for by in cells.values() for c in by.values())):
        assert cell.keys() >= KEYS


def test_the_baseline_is_averaged_over_the_targets_of_the_others():
    texts, verdicts = rows(
        ("anger", "positive", "anger"),
        ("fear", "positive", "fear"),
        (None, "positive", "anger"),
        (None, "positive", "neutral"),
        (None, "negative", "neutral"),
        (None, "negative", "fear"),
        (None, "negative", None),
    )
    table = methods_table(texts, verdicts)
    assert list(table) == ["baseline", "prompting"]
    row = table["baseline"]
    assert (row["n"], row["unlabelled"], row["neutral_share"]) == (4, 1, 0.5)
    shares = [1 / 4, 1 / 4]
    assert row["accuracy"] == pytest.approx(sum(shares) / 2)
    low, high = wilson(2, 4)
    assert (row["low"], row["high"]) == (low / 2, high / 2)
    assert row["by"]["anger"]["positive"]["accuracy"] == 0.5
    assert row["by"]["fear"]["positive"]["accuracy"] == 0
    assert row["by"]["fear"]["negative"]["accuracy"] == 0.5
    assert row["by"]["fear"]["negative"]["unlabelled"] == 1


def test_the_baseline_alone_is_held_against_the_default_six():
    texts, verdicts = rows((None, "positive", "anger"), (None, "positive", "neutral"))
    row = methods_table(texts, verdicts)["baseline"]
    assert len(row["by"]) == 6
    assert row["accuracy"] == pytest.approx(1 / 12)
    given = methods_table(texts, verdicts, emotions=["anger", "envy"])["baseline"]
    assert (list(given["by"]), given["accuracy"]) == (["anger", "envy"], 0.25)


def test_perplexity_is_by_method_and_cell():
    texts, verdicts = rows(("anger", "positive", "anger"), ("fear", "positive", "fear"))
    plain = {texts[0].id: (-4.0, 2), texts[1].id: (-1.0, 3)}
    named = {text.id: (-1.0, 2) for text in texts}
    row = methods_table(texts, verdicts, plain, named=named)["prompting"]
    assert row["perplexity"] == pytest.approx(math.e)
    assert row["perplexity_named"] == pytest.approx(math.exp(0.5))
    assert row["by"]["anger"]["positive"]["perplexity"] == pytest.approx(math.exp(2))
    assert methods_table(texts, verdicts)["prompting"]["perplexity"] is None


def test_counts_add_up_and_order_does_not_matter():
    rng = random.Random(0)
    emotions, valences = ("anger", "fear", None), ("positive", "neutral", None)
    labels = ("anger", "fear", "neutral", None)
    entries = [tuple(map(rng.choice, (emotions, valences, labels))) for _ in range(200)]
    texts, verdicts = rows(*entries)
    table = methods_table(texts, verdicts)
    for row in table.values():
        one = [cell for by in row["by"].values() for cell in by.values()]
        copies = 2 if row is table["baseline"] else 1
        assert sum(cell["n"] for cell in one) == copies * row["n"]
        assert sum(cell["unlabelled"] for cell in one) == copies * row["unlabelled"]
        hits = sum((cell["accuracy"] or 0) * cell["n"] for cell in one)
        assert hits / copies == pytest.approx(row["accuracy"] * row["n"])
        assert row["low"] <= row["accuracy"] <= row["high"]
    shuffled = rng.sample(verdicts, len(verdicts))
    assert methods_table(texts, shuffled) == table
    assert json.loads(json.dumps(table, allow_nan=False)) == table


def test_a_text_without_a_verdict_is_an_error():
    texts, verdicts = rows(("anger", "positive", "anger"), ("fear", "positive", "fear"))
    with pytest.raises(DataError, match="1 texts have no verdict, first s1/fear/prompting"):
        methods_table(texts, verdicts[:1])


def test_nothing_labelled_gives_no_rate():
    assert rate(0, 0, 3) == {
        "accuracy": None, "low": None, "high": None, "n": 0, "unlabelled": 3,
    }  # fmt: skip
    texts, verdicts = rows((None, "positive", None))
    row = methods_table(texts, verdicts)["baseline"]
    assert (row["accuracy"], row["neutral_share"]) == (None, None)

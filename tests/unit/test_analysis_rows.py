from dataclasses import replace

import numpy as np
import pytest
from store_toys import EMOTIONS, Toy

from emo.analysis.rows import accepted_ids, label_rows
from emo.data.texts import Verdict
from emo.errors import DataError, NumericalError, UsageError
from emo.store import Store, StorePlan, StoreWriter


def _store(folder, samples, tokens=1) -> Store:
    """A store of one narrow site whose rows carry the given samples."""
    plan: StorePlan = Toy(n_layers=1).plan(parts=("resid_mid",))
    n = len(samples) * tokens
    plan = replace(plan, samples=samples, shards=[{"last": n}])
    rows = np.stack([np.repeat(np.arange(len(samples)), tokens), np.arange(n)], axis=1)
    values = np.random.default_rng(0).standard_normal((n, 6)).astype(np.float32)
    with StoreWriter(folder, plan) as writer:
        writer.write(0, {"L0.resid_mid@last": values}, {"last": rows})
        return writer.finish()


def _row(group, emotion, name=None, **fields):
    return {"id": name or f"{group}/{emotion}", "group": group, "emotion": emotion, **fields}


def _grid(*groups):
    return [_row(g, e) for g in groups for e in EMOTIONS]


def test_everything_counts_without_verdicts(tmp_path):
    found = label_rows(_store(tmp_path / "s", _grid("a", "b")), "last")
    assert found.emotions == EMOTIONS
    assert found.labels.tolist() == [0, 1, 2] * 2
    assert (found.complete, dict(found.dropped)) == (2, {"incomplete": 0, "repeated": 0})


def test_a_group_needs_every_emotion_accepted_exactly_once(tmp_path):
    samples = [*_grid("a", "b", "c"), _row("c", "fear", "c/fear2")]
    accepted = {row["id"] for row in samples} - {"b/anger"}
    found = label_rows(_store(tmp_path / "s", samples), "last", accepted)
    assert found.labels.tolist() == [0, 1, 2, -1, 4, 5, 3, 4, 5, 4]
    assert (found.complete, dict(found.dropped)) == (1, {"incomplete": 1, "repeated": 1})
    assert found.accepted_per_emotion() == {"anger": 2, "fear": 4, "happiness": 3}
    one = label_rows(_store(tmp_path / "t", samples), "last", accepted - {"c/fear2"})
    assert one.complete == 2


def test_the_valence_is_part_of_the_group(tmp_path):
    """A scenario's outcomes must not overwrite one another."""
    samples = [
        _row("a", e, f"a/{v}/{e}", valence=v) for v in ("positive", "negative") for e in EMOTIONS
    ]
    assert label_rows(_store(tmp_path / "s", samples), "last").complete == 2


def test_neutral_and_unnamed_rows_are_the_neutral_class(tmp_path):
    samples = [*_grid("a"), _row("a", "neutral"), _row("b", None)]
    found = label_rows(_store(tmp_path / "s", samples), "last")
    assert found.labels.tolist() == [0, 1, 2, 6, 6]
    assert found.count(found.neutral) == 2


def test_rows_of_other_methods_stand_for_no_emotion(tmp_path):
    samples = [
        _row("a", e, f"{e}/{m}", method=m) for e in EMOTIONS for m in ("prompting", "random")
    ]
    samples.append(_row("a", None, method="baseline"))
    found = label_rows(_store(tmp_path / "s", samples), "last")
    assert found.labels.tolist() == [0, -1, 1, -1, 2, -1, 6]
    assert found.complete == 1


def test_several_rows_for_a_sample_are_refused(tmp_path):
    with pytest.raises(UsageError, match="several rows"):
        label_rows(_store(tmp_path / "s", _grid("a"), tokens=2), "last")


def test_verdicts_of_other_texts_are_refused(tmp_path):
    store = _store(tmp_path / "s", _grid("a"))
    with pytest.raises(DataError, match="none of the 2 accepted ids"):
        label_rows(store, "last", {"x", "y"})
    assert (label_rows(store, "last", set()).labels == -1).all()
    with pytest.raises(UsageError, match="no position"):
        label_rows(store, "mean")


def test_no_rows_at_a_position(tmp_path):
    plan = Toy().plan(parts=("resid_mid",))
    plan = replace(plan, positions=("last", "span"), shards=[{"last": 12, "span": 0}])
    values = np.ones((12, 6), np.float32)
    rows = np.stack([np.arange(12), np.arange(12)], axis=1)
    with StoreWriter(tmp_path / "s", plan) as writer:
        tensors = {f"L{i}.resid_mid@last": values for i in range(2)}
        writer.write(0, tensors, {"last": rows})
        store = writer.finish()
    with pytest.raises(NumericalError, match="no rows at position 'span'"):
        label_rows(store, "span")


def test_only_verdicts_that_agree_are_accepted():
    def verdict(name, emotion, label):
        reason = None if label else "no-answer"
        return Verdict(name, "s", emotion, "prompting", label, reason, None, "test")

    verdicts = [
        verdict("1", "anger", "anger"),
        verdict("2", "anger", "fear"),
        verdict("3", "anger", None),
        verdict("4", None, "neutral"),
        verdict("5", None, None),
        verdict("6", None, "anger"),
    ]
    assert accepted_ids(verdicts) == {"1", "4"}

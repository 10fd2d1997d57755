"""Counts, lengths and openings of data sets."""

import json

import pytest

from emo.data.bundle import bundled
from emo.data.stats import summarise
from emo.errors import DataError


def written(tmp_path, *rows):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_bundled_sets_have_the_stated_counts():
    summary = summarise([bundled("sev.jsonl"), bundled("sev_test.jsonl")])
    assert (summary.n_rows, summary.n_samples) == (320, 960)
    assert set(summary.counts["theme"].values()) == {120}
    assert len(summary.counts["theme"]) == 8
    assert summary.counts["valence"] == {"positive": 320, "neutral": 320, "negative": 320}
    assert summary.counts["emotion"] == {}
    assert (summary.lengths["scenario"].min, summary.lengths["scenario"].max) == (15, 21)
    assert summary.n_different >= 2500
    assert summary.openings[0][1] <= 30


@pytest.mark.parametrize(("name", "n"), [("baseline", 70), ("extended", 100)])
def test_the_small_sets_are_balanced(name, n):
    counts = summarise([bundled("small") / f"{name}.jsonl"]).counts
    assert counts["emotion"] == dict.fromkeys(("gratitude", "anger", "apology", "neutral"), n)


def test_sentences_are_counted_by_emotion(tmp_path):
    path = written(
        tmp_path,
        {"id": "a", "emotion": "fear", "language": "en", "text": "I ran far away."},
        {"id": "b", "emotion": "fear", "language": "en", "text": "I ran far today then."},
        {"id": "c", "emotion": "joy", "text": "We sang."},
    )
    summary = summarise([path])
    assert summary.counts["emotion"] == {"fear": 2, "joy": 1}
    assert summary.counts["language"] == {"en": 2, "(none)": 1}
    fear = summary.lengths["fear"]
    assert (fear.n, fear.mean, fear.min, fear.max) == (2, 4.5, 4, 5)
    assert summary.lengths["text"].n == 3
    assert summary.openings == (("i ran far", 2),)
    assert summary.first_words == {"fear": (("i", 2),), "joy": (("we", 1),)}
    assert (summary.n_words, summary.n_different) == (11, 8)


def test_samples_with_scenario_and_event_count_both(tmp_path):
    path = written(tmp_path, {"id": "a", "scenario": "I sat.", "event": "He came in."})
    lengths = summarise([path]).lengths
    assert (lengths["scenario"].n, lengths["event"].max) == (1, 3)


def test_a_summary_becomes_json():
    told = json.loads(json.dumps(summarise([bundled("sev.jsonl")]).to_json()))
    assert told["n_samples"] == 480
    assert told["lengths"]["positive event"]["n"] == 160


def test_broken_or_empty_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="no samples"):
        summarise([written(tmp_path)])
    with pytest.raises(DataError, match="line 2"):
        summarise([written(tmp_path, {"id": "a", "text": "One."}, {"id": "b"})])

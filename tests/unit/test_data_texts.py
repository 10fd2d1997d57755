"""Texts and verdicts survive a round through their files; broken rows are named."""

import json

import pytest

from emo.data.samples import Sample
from emo.data.texts import (
    Text,
    Verdict,
    is_texts_file,
    read_texts,
    read_verdicts,
    text_id,
    write_texts,
    write_verdicts,
)
from emo.errors import DataError

SOURCE = Sample("w-positive", "w-positive", None, "positive", "en", "work", None, "I asked.", "No.")
TEXT = Text("w-positive/anger/prompting", SOURCE, "anger", "prompting", "Grr!", "ab" * 32, 3, True)
VERDICT = Verdict(TEXT.id, SOURCE.id, "anger", "prompting", "anger", None, 0.9, "linear")


def rewritten(path, **change):
    row = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    path.write_text(json.dumps({**row, **change}) + "\n", encoding="utf-8")
    return path


def test_texts_come_back_as_they_were(tmp_path):
    baseline = Text("w-positive/baseline", SOURCE, None, "baseline", "", "cd" * 32, 0, False)
    write_texts(tmp_path / "t.jsonl", [TEXT, baseline])
    assert read_texts(tmp_path / "t.jsonl") == [TEXT, baseline]
    assert is_texts_file(tmp_path / "t.jsonl")


def test_a_text_of_a_labelled_sentence_has_the_target_as_emotion(tmp_path):
    source = Sample("s", "s", "sadness", text="I wept.")
    write_texts(tmp_path / "t.jsonl", [Text("s/anger/x", source, "anger", "x", "r", "", 1, True)])
    [text] = read_texts(tmp_path / "t.jsonl")
    assert (text.emotion, text.source.emotion, text.source.content) == ("anger", None, "I wept.")


def test_samples_are_no_texts(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text('{"id": "a", "text": "One."}\n', encoding="utf-8")
    assert not is_texts_file(path)
    assert not is_texts_file(tmp_path)


def test_ids_of_texts_leave_out_what_is_not_named():
    assert text_id("s", "anger", "steering") == "s/anger/steering"
    assert text_id("s", None, "baseline") == "s/baseline"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reply": None}, "'reply' is missing"),
        ({"reply": 3}, "'reply' must be a text"),
        ({"sample": None}, "'sample' is missing"),
        ({"emotion": 3}, "'emotion' must be a text"),
        ({"n_tokens": "many"}, "'n_tokens' must be a count"),
        ({"n_tokens": -1}, "'n_tokens' must be a count"),
        ({"scenario": None}, "needs 'text', or 'scenario' and 'event'"),
    ],
)
def test_a_broken_text_is_refused_by_line(tmp_path, change, message):
    path = tmp_path / "t.jsonl"
    write_texts(path, [TEXT])
    with pytest.raises(DataError, match=f"line 1: {message}"):
        read_texts(rewritten(path, **change))


def test_texts_need_ids_of_their_own(tmp_path):
    write_texts(tmp_path / "t.jsonl", [TEXT, TEXT])
    with pytest.raises(DataError, match="appears twice"):
        read_texts(tmp_path / "t.jsonl")


def test_verdicts_come_back_as_they_were(tmp_path):
    empty = Verdict("b", SOURCE.id, None, "baseline", None, "empty", None, "linear")
    write_verdicts(tmp_path / "v.jsonl", [VERDICT, empty])
    assert read_verdicts(tmp_path / "v.jsonl") == [VERDICT, empty]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "exactly one of 'label' and 'unlabelled'"),
        ({"unlabelled": "empty"}, "exactly one of 'label' and 'unlabelled'"),
        ({"judge": None}, "'judge' is missing"),
        ({"label": 3}, "'label' must be a text"),
        ({"score": "high"}, "'score' must be a number"),
        ({"score": True}, "'score' must be a number"),
    ],
)
def test_a_broken_verdict_is_refused_by_line(tmp_path, change, message):
    path = tmp_path / "v.jsonl"
    write_verdicts(path, [VERDICT])
    with pytest.raises(DataError, match=f"line 1: {message}"):
        read_verdicts(rewritten(path, **change))


@pytest.mark.parametrize("read", [read_texts, read_verdicts])
def test_an_empty_file_is_refused(tmp_path, read):
    path = tmp_path / "t.jsonl"
    path.write_text("")
    with pytest.raises(DataError, match="holds no"):
        read(path)

"""Samples from every format, with errors that name the line."""

import json

import pytest

from emo.data.samples import Sample, read_samples, sample_from_row, samples_hash
from emo.errors import DataError

SEV = {
    "skeleton_id": "work-01",
    "theme": "work",
    "scenario": "I asked for a raise.",
    "event": {"positive": "He agreed.", "neutral": "He nodded.", "negative": "He refused."},
}
SENTENCE = {
    "id": "s1", "group": "g1", "emotion": "anger", "valence": "negative", "language": "en",
    "text": "I am furious now.", "spans": [[5, 12]],
}  # fmt: skip


def written(tmp_path, *rows, name="data.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_record_becomes_one_sample_for_each_outcome(tmp_path):
    samples = read_samples(written(tmp_path, SEV))
    assert [sample.id for sample in samples] == [
        "work-01-positive", "work-01-neutral", "work-01-negative",
    ]  # fmt: skip
    assert all(sample.group == sample.id and sample.emotion is None for sample in samples)
    assert samples[0].valence == "positive"
    assert samples[2].content == "I asked for a raise. He refused."


def test_groups_keep_the_valences_of_a_scenario_apart(tmp_path):
    assert len({sample.group for sample in read_samples(written(tmp_path, SEV))}) == 3


def test_a_sentence_keeps_its_fields(tmp_path):
    [sample] = read_samples(written(tmp_path, SENTENCE))
    assert sample.spans == ((5, 12),)
    assert sample.content[slice(*sample.spans[0])] == "furious"
    assert sample.to_row() == SENTENCE


def test_csv_says_the_same_as_json_lines(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(
        "id,group,emotion,valence,language,text,spans\n"
        's1,g1,anger,negative,en,I am furious now.,"[[5, 12]]"\n',
        encoding="utf-8",
    )
    assert read_samples(path) == read_samples(written(tmp_path, SENTENCE))


def test_numbers_serve_as_ids_and_the_id_as_group(tmp_path):
    [sample] = read_samples(written(tmp_path, {"id": 7, "text": "Hello."}))
    assert (sample.id, sample.group) == ("7", "7")


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    written(tmp_path, {"id": "b", "text": "Two."}, name="2.jsonl")
    written(tmp_path, {"id": "a", "text": "One."}, name="1.jsonl")
    assert [sample.id for sample in read_samples(tmp_path)] == ["a", "b"]


def test_ids_are_unique_across_the_files_of_a_folder(tmp_path):
    written(tmp_path, {"id": "a", "text": "One."}, name="1.jsonl")
    written(tmp_path, {"id": "b", "text": "."}, {"id": "a", "text": "Two."}, name="2.jsonl")
    with pytest.raises(DataError, match=r"2\.jsonl, line 2: .* 'a' is taken by .*1\.jsonl, line 1"):
        read_samples(tmp_path)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("\n\n")
    with pytest.raises(DataError, match="holds no samples"):
        read_samples(path)


def test_the_hash_follows_content_not_layout(tmp_path):
    first = samples_hash(read_samples(written(tmp_path, SENTENCE, SEV)))
    shuffled = {name: SENTENCE[name] for name in reversed(SENTENCE)}
    assert samples_hash(read_samples(written(tmp_path, shuffled, SEV, name="x.jsonl"))) == first
    assert samples_hash(read_samples(written(tmp_path, SEV, SENTENCE))) != first
    other = {**SENTENCE, "text": "I am furious now!"}
    assert samples_hash(read_samples(written(tmp_path, other, SEV))) != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "'id' is missing"),
        ({"id": " "}, "'id' is missing"),
        ({"id": {"a": 1}}, "'id' is missing"),
        ({"id": True}, "'id' is missing"),
        ({"text": None}, "needs 'text', or 'scenario' and 'event'"),
        ({"text": "  "}, "needs 'text', or 'scenario' and 'event'"),
        ({"text": 5}, "'text' must be a text"),
        ({"emotion": ["anger"]}, "'emotion' must be a text"),
        ({"spans": [[0, 99]]}, r"a span ends behind the text \(17 characters\)"),
        ({"spans": [[3, 3]]}, r"span \[3, 3\) is not a range"),
        ({"spans": [[-1, 3]]}, r"span \[-1, 3\) is not a range"),
        ({"spans": [[0.0, 3]]}, "is not a range"),
        ({"spans": [[True, 3]]}, "is not a range"),
        ({"spans": [[1, 2, 3]]}, "must be pairs"),
        ({"spans": 3}, "must be pairs"),
    ],
)
def test_a_broken_sentence_is_refused_by_line(tmp_path, change, message):
    path = written(tmp_path, {"id": "a", "text": "One."}, {**SENTENCE, **change})
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        read_samples(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skeleton_id": None}, "'skeleton_id' is missing"),
        ({"scenario": ""}, "'scenario' is missing"),
        ({"scenario": 3}, "'scenario' is missing or not a text"),
        ({"theme": 3}, "'theme' must be a text"),
        ({"event": "He agreed."}, "'event' must hold positive, neutral and negative"),
        ({"event": {"positive": "He agreed."}}, r"event\['neutral'\] is missing"),
        ({"event": {**SEV["event"], "negative": " "}}, r"event\['negative'\] is missing"),
    ],
)
def test_a_broken_record_is_refused_by_line(tmp_path, change, message):
    with pytest.raises(DataError, match=f"line 1: {message}"):
        read_samples(written(tmp_path, {**SEV, **change}))


def test_spans_count_code_points_not_bytes():
    row = {"id": "a", "text": "Ça 😀 nervt mich.", "spans": [[5, 10]]}
    sample = sample_from_row(row, "here")
    assert sample.content[slice(*sample.spans[0])] == "nervt"


def test_a_sample_with_few_fields_writes_few():
    assert Sample("a", "a", text="One.").to_row() == {"id": "a", "group": "a", "text": "One."}

"""The linear judge: training, files, and the states without a label."""

import json

import numpy as np
import pytest
from judge_toys import TOPICS, labelled_texts, text

from emo.errors import ArtifactError, DataError, NumericalError
from emo.judge import LinearJudge
from emo.judge.labelled import Labelled, read_labelled
from emo.judge.train import Options, train

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def judge():
    return train(labelled_texts())


def test_it_tells_its_classes_apart(judge):
    said = judge.judge([text("Quite FURIOUS!"), text("I was delighted."), text("All seated.")])
    assert [verdict.label for verdict in said] == ["anger", "happiness", "neutral"]
    assert all(0.5 < verdict.score <= 1 and verdict.judge == judge.name for verdict in said)


def test_each_text_gets_one_verdict_with_its_own_fields(judge):
    texts = [text("I am livid.", "anger"), text("", "anger"), text("Glad.", None)]
    for given, verdict in zip(texts, judge.judge(texts), strict=True):
        named = (verdict.id, verdict.sample, verdict.emotion, verdict.method)
        assert named == (given.id, given.sample, given.emotion, given.method)
        assert (verdict.label is None) != (verdict.unlabelled is None)


@pytest.mark.parametrize(
    ("reply", "emotion", "reason"),
    [
        ("", None, "empty"),
        (" \n…!", None, "empty"),
        ("Xyzzy quuux?", None, "unknown-words"),
        ("I am livid.", "envy", "unknown-target"),
    ],
)
def test_what_it_cannot_judge_is_unlabelled_with_the_reason(judge, reply, emotion, reason):
    [verdict] = judge.judge([text(reply, emotion)])
    assert (verdict.label, verdict.unlabelled, verdict.score) == (None, reason, None)


def test_shares_sum_to_one_and_do_not_depend_on_the_texts_beside(judge):
    replies = ["I am livid.", "unknowable", "so glad, so glad"]
    shares = judge.probabilities(replies)
    assert shares.shape == (3, 3)
    np.testing.assert_allclose(shares[[0, 2]].sum(axis=1), 1)
    for reply, row in zip(replies, shares, strict=True):
        np.testing.assert_array_equal(judge.probabilities([reply])[0], row)
    assert judge.probabilities([]).shape == (0, 3)


def test_it_comes_back_from_its_folder_bit_for_bit(judge, tmp_path):
    judge.save(tmp_path)
    loaded = LinearJudge.load(tmp_path)
    replies = [row.text for row in labelled_texts()[::7]]
    np.testing.assert_array_equal(loaded.probabilities(replies), judge.probabilities(replies))
    assert (loaded.name, loaded.classes, loaded.record) == (judge.name, judge.classes, judge.record)


def test_training_twice_gives_the_same_bytes(judge, tmp_path):
    judge.save(tmp_path / "a")
    train(labelled_texts()).save(tmp_path / "b")
    for name in ("judge.json", "judge.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_reliability_is_held_out_and_complete(judge):
    found = judge.reliability
    assert found["n"] == 120
    assert set(found["recall"]) == {"anger", "happiness", "neutral"}
    assert 0.9 < found["macro_f1"] <= 1
    assert "cross-validation" in found["method"]


def test_labels_at_random_are_not_reliable():
    rng = np.random.default_rng(0)
    names = [f"word{i}" for i in range(40)]
    rows = [
        Labelled(" ".join(rng.choice(names, 8)), str(rng.choice(["anger", "fear"])))
        for _ in range(200)
    ]
    assert abs(train(rows).reliability["accuracy"] - 0.5) < 0.15


def test_near_duplicates_do_not_flatter_it():
    """Each text is there twice, its label at random: a leak would give 100 %."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(60):
        body, label = " ".join(rng.choice(list(TOPICS), 6)), str(rng.choice(["a", "b"]))
        rows += [Labelled(f"x{i} {body}", label), Labelled(f"{body} y{i}", label)]
    assert train(rows, options=Options(min_texts=1)).reliability["accuracy"] < 0.75


def test_texts_with_two_labels_are_left_out_and_counted():
    rows = [*labelled_texts(), Labelled("BUS 0 leaves Ann furious!", "neutral")]
    record = train(rows).record["trained_on"]
    assert record["n"] == 121
    rows = [*labelled_texts(), Labelled("bus 0 leaves ann FURIOUS.", "neutral")]
    record = train(rows).record["trained_on"]
    assert (record["n"], record["left_out_for_two_labels"]) == (119, 1)


def test_too_few_texts_or_classes_are_refused():
    with pytest.raises(DataError, match="at least two classes"):
        train([row for row in labelled_texts() if row.emotion == "anger"])
    few = [*labelled_texts(), *(Labelled(f"Envy {i} here now.", "envy") for i in range(4))]
    with pytest.raises(NumericalError, match="'envy' has 4 texts"):
        train(few)


def test_two_classes_work():
    judge = train([row for row in labelled_texts() if row.emotion != "neutral"])
    assert judge.judge([text("Livid!")])[0].label == "anger"
    assert judge.judge([text("Overjoyed!")])[0].label == "happiness"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("judge.json", lambda raw: b"{}", "was not written by emo judge train"),
        ("judge.json", lambda raw: raw[:-9], "not a readable judge"),
        ("judge.json", lambda raw: raw.replace(b'"format": 1', b'"format": 9'), "reads up to 1"),
        ("judge.json", lambda raw: raw.replace(b'"anger",', b""), "is not a complete judge"),
        ("judge.json", lambda raw: raw.replace(b'"reliab', b'"x'), "is not a complete judge"),
        ("judge.safetensors", lambda raw: raw[:-1] + b"!", "is not the file"),
        ("judge.safetensors", None, "no such file"),
    ],
)
def test_damaged_judges_are_refused(judge, tmp_path, file, change, message):
    judge.save(tmp_path)
    path = tmp_path / file
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ArtifactError, match=message):
        LinearJudge.load(tmp_path)


def test_labelled_texts_come_from_jsonl_and_csv(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "Hm.", "emotion": " neutral "}\n', encoding="utf-8")
    (tmp_path / "b.csv").write_text("emotion,text,group\nfear,Help!,g\n", encoding="utf-8")
    rows = read_labelled([tmp_path / "a.jsonl", tmp_path / "b.csv"])
    assert rows == [Labelled("Hm.", "neutral"), Labelled("Help!", "fear", "g")]


@pytest.mark.parametrize("row", [{"text": "Hm."}, {"text": " ", "emotion": "fear"}, {"emotion": 3}])
def test_rows_without_text_or_emotion_are_named(tmp_path, row):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "Hm.", "emotion": "fear"}\n' + json.dumps(row), encoding="utf-8")
    with pytest.raises(DataError, match="line 2"):
        read_labelled([path])

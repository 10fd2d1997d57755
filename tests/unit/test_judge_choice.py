"""Which judge a name means, what judges have in common, and going on after a stop."""

import pytest
from judge_toys import labelled_texts, text

from emo.data.partial import PartFile
from emo.errors import UsageError
from emo.judge import agreement, coverage, open_judge
from emo.judge.chat import ChatJudge
from emo.judge.protocol import measured, reasons
from emo.judge.run import judge_texts
from emo.judge.train import train

pytest.importorskip("sklearn")


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("linaer", "did you mean 'linear'"),
        ("chat", "chat:NAME"),
        ("hf:", "hf:NAME"),
        ("/no/such/folder", "known: linear, hf:NAME, chat:MODEL, FOLDER"),
    ],
)
def test_a_misspelt_judge_is_a_usage_error_with_a_hint(spec, hint):
    with pytest.raises(UsageError) as caught:
        open_judge(spec)
    assert hint in caught.value.hint


def test_a_folder_and_a_chat_model_are_opened(tmp_path):
    trained = train(labelled_texts())
    trained.save(tmp_path)
    assert open_judge(str(tmp_path)).name == trained.name
    chat = open_judge("chat:org/model:8b", emotions=("envy",), named=True)
    assert chat == ChatJudge("org/model:8b", ("envy",), named=True)
    assert chat.classes == ("envy", "neutral")


def test_only_a_chat_judge_is_told_the_target():
    with pytest.raises(UsageError, match="cannot be told"):
        open_judge("linear", named=True)


def test_coverage_and_reasons_count_what_has_no_label():
    judge = train(labelled_texts())
    verdicts = judge.judge([text("Livid."), text(""), text("Qqq zzz."), text("")])
    assert coverage(verdicts) == 0.25
    assert list(reasons(verdicts).items()) == [("empty", 2), ("unknown-words", 1)]
    assert coverage([]) == 0


def test_agreement_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    truth = ["a", "a", "b", "b", "b", "c", "c", "a"]
    given = ["a", "b", "b", "b", "c", "c", "a", "a"]
    found = agreement(truth, given, method="x")
    assert found["macro_f1"] == pytest.approx(
        metrics.f1_score(truth, given, average="macro"), abs=1e-4
    )
    assert found["accuracy"] == pytest.approx(5 / 8)
    assert found["recall"] == {"a": 0.6667, "b": 0.6667, "c": 0.5}


def test_a_missing_label_counts_as_a_miss():
    found = agreement(["a", "a", "b"], ["a", None, "b"], method="x")
    assert (found["accuracy"], found["coverage"]) == (0.6667, 0.6667)
    assert found["recall"] == {"a": 0.5, "b": 1.0}


def test_a_judge_is_measured_on_texts_from_a_file(tmp_path):
    path = tmp_path / "check.csv"
    path.write_text("text,emotion\nAll livid.,anger\nAll glad.,neutral\n", encoding="utf-8")
    found = measured(train(labelled_texts()), path)
    assert (found["n"], found["accuracy"], found["method"]) == (2, 0.5, "texts of check.csv")


class Counting:
    """The linear judge, stopped after some texts."""

    def __init__(self, limit):
        self.judge_, self.limit, self.asked = train(labelled_texts()), limit, []
        self.name, self.classes, self.reliability = "c", self.judge_.classes, {}

    def judge(self, texts, progress=None):
        if len(self.asked) + len(texts) > self.limit:
            raise KeyboardInterrupt
        self.asked += [one.id for one in texts]
        return self.judge_.judge(texts, progress)


def test_a_stopped_run_goes_on_and_asks_nothing_twice(tmp_path):
    texts = [text("I am livid.", "anger", sample=f"s{i}") for i in range(600)]
    stopped, again = Counting(300), Counting(1000)
    output = tmp_path / "v.jsonl"
    with pytest.raises(KeyboardInterrupt):
        judge_texts(stopped, texts, part=PartFile(output, {"a": 1}))
    seen = []
    part = PartFile(output, {"a": 1})
    found = judge_texts(again, texts, part=part, progress=lambda *done: seen.append(done))
    assert found == Counting(1000).judge(texts)
    assert stopped.asked + again.asked == [one.id for one in texts]
    assert seen[-1] == (600, 600)

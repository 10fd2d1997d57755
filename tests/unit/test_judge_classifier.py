"""A Hugging Face classifier as a judge, with a real tiny BERT."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from judge_toys import text

from emo.errors import ModelError, UsageError
from emo.judge import open_judge
from emo.judge.classifier import ClassifierJudge, label_names

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LABELS = ("Joy", "anger", "happy", "no emotion")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "i", "am", "livid", "glad", "very", "so")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier")
    (path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    transformers.BertTokenizerFast(vocab=str(path / "vocab.txt")).save_pretrained(path)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=24,
        id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
    )
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def judge(folder):
    return open_judge(f"hf:{folder}")


def test_labels_are_mapped_to_our_emotions(judge, folder):
    assert judge.labels == ("happiness", "anger", "happiness", "neutral")
    assert judge.classes == ("happiness", "anger", "neutral")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert judge.name == f"hf:{folder} ({digest[:8]})"
    assert judge.reliability == {}


def test_probabilities_are_the_models_own_with_synonyms_added(judge):
    encoded = judge.tokenizer("i am livid", return_tensors="pt").to(judge.model.device)
    with torch.inference_mode():
        joy, anger, happy, none = judge.model(**encoded).logits[0].softmax(-1).tolist()
    found = judge.probabilities(["i am livid"])[0]
    np.testing.assert_allclose(found, [joy + happy, anger, none], atol=1e-6)


def test_neither_batch_nor_order_changes_a_verdict(judge):
    replies = ["i am livid", "glad", "so so so very glad i am", "i", "very livid"] * 3
    texts = [text(reply, sample=f"s{i}") for i, reply in enumerate(replies)]
    alone = [judge.judge([one])[0] for one in texts]
    small = dataclasses.replace(judge, batch_size=2)
    for found in (judge.judge(texts), small.judge(texts)):
        assert [v.id for v in found] == [v.id for v in alone]
        assert [v.label for v in found] == [v.label for v in alone]


def test_long_replies_are_cut_to_what_it_reads(judge):
    [verdict] = judge.judge([text("very " * 200 + "glad")])
    assert verdict.label is not None


def test_what_it_cannot_judge_is_unlabelled(judge):
    verdicts = judge.judge([text("", "anger"), text("glad", "envy"), text("glad", "anger")])
    assert [v.unlabelled for v in verdicts] == ["empty", "unknown-target", None]


def test_a_number_that_is_not_finite_is_no_label(judge, monkeypatch):
    wrong = np.full((1, len(judge.classes)), np.nan)
    monkeypatch.setattr(ClassifierJudge, "probabilities", lambda *_: wrong)
    verdict = judge.judge([text("I am so glad.")])[0]
    assert (verdict.label, verdict.unlabelled) == (None, "not-finite")


def test_a_multi_label_classifier_gives_each_label_its_own_share(judge):
    judge.model.config.problem_type = "multi_label_classification"
    try:
        encoded = judge.tokenizer("glad", return_tensors="pt").to(judge.model.device)
        with torch.inference_mode():
            share = judge.model(**encoded).logits[0].sigmoid()[1].item()
        assert judge.probabilities(["glad"])[0, 1] == pytest.approx(share, abs=1e-6)
    finally:
        judge.model.config.problem_type = None


def test_labels_without_names_are_refused():
    with pytest.raises(ModelError, match="have no names"):
        label_names("m", {0: "LABEL_0", 1: "LABEL_1"})


def test_a_language_model_is_no_classifier(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config["architectures"] = ["BertForMaskedLM"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="no sequence classifier"):
        open_judge(f"hf:{tmp_path}")


def test_a_classifier_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError):
        open_judge(f"hf:{tmp_path / 'absent'}")


def test_it_cannot_be_told_the_target(folder):
    with pytest.raises(UsageError, match="cannot be told the target"):
        open_judge(f"hf:{folder}", named=True)

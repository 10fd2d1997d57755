"""Bundled data in a checkout and in an installed package."""

import pytest

from emo.data import bundle
from emo.errors import ResourceError


def test_a_checkout_reads_its_own_data():
    for name in ("sev.jsonl", "sev_test.jsonl", "small", "judge", "emotion_words.txt"):
        assert bundle.bundled(name).exists()


def test_an_installation_reads_the_package_data(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(bundle, "_PACKAGE", tmp_path / "emo")
    (tmp_path / "emo" / "_bundle").mkdir(parents=True)
    (tmp_path / "emo" / "_bundle" / "sev.jsonl").write_text("")
    assert bundle.bundled("sev.jsonl") == tmp_path / "emo" / "_bundle" / "sev.jsonl"


def test_missing_data_is_named():
    with pytest.raises(ResourceError, match=r"the bundled absent\.jsonl is missing"):
        bundle.bundled("absent.jsonl")

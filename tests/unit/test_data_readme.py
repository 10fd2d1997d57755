"""The README of the data sets says what is there, and the sets keep the rules it names."""

import re

import pytest

from emo.data.bundle import bundled
from emo.data.findings import RULES
from emo.data.rows import read_rows
from emo.data.validate import validate
from emo.data.words import bundled_lexicon

README = bundled("README.md").read_text(encoding="utf-8")
COUNTS = dict(re.findall(r"^\| `([^`]+)` \| ([\d,]+) \|", README, re.MULTILINE))


@pytest.mark.parametrize("name", [name for name in COUNTS if name.endswith(".jsonl")])
def test_the_counts_are_those_of_the_files(name):
    assert f"{sum(1 for _ in read_rows(bundled(name))):,}" == COUNTS[name]


def test_every_bundled_set_has_a_row():
    folder = bundled("README.md").parent
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.jsonl")}
    assert {name for name in files if not name.startswith("demo-model/")} <= set(COUNTS)
    assert f"{len(bundled_lexicon()):,}" == COUNTS["emotion_words.txt"]


def test_every_rule_is_named():
    assert [rule for rule in RULES if f"`{rule}`" not in README] == []


def test_written_sentences_keep_their_rules_together():
    assert validate([bundled("small"), bundled("judge") / "train.jsonl"]).found == ()

"""Words, openings and the lexicon of emotion words."""

import pytest

from emo.data.words import (
    bundled_lexicon,
    emotion_words,
    forms,
    lowered,
    opening,
    read_lexicon,
    words,
)
from emo.errors import DataError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I paid 20 euros.", ["I", "paid", "20", "euros"]),
        ("my mother-in-law's", ["my", "mother-in-law's"]),
        ("didn’t -- don't 'quoted'", ["didn’t", "don't", "quoted"]),
        ("café", ["caf"]),
        ("... -- ''", []),
        ("привет", []),
    ],
)
def test_words_follow_the_stated_pattern(text, found):
    assert words(text) == found


def test_lowered_words_have_straight_apostrophes():
    assert lowered("Didn’t I") == ["didn't", "i"]


def test_forms_hold_the_parts_of_a_compound():
    assert forms("Sad-looking") == ["sad-looking", "sad", "looking"]
    assert forms("sad") == ["sad"]


def test_an_opening_needs_enough_words():
    assert opening("He moved me, Later.") == "he moved me"
    assert opening("He moved.") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("She was SAD.", ["SAD"]),
        ("Her grief’s weight", ["grief’s"]),
        ("a joy-filled day", ["joy-filled"]),
        ("We made jam", []),
        ("a nerve-racking wait", ["nerve-racking"]),
    ],
)
def test_only_whole_words_match_in_any_case(text, found):
    assert emotion_words(text, bundled_lexicon()) == found


def test_the_bundled_lexicon_holds_single_lower_case_words():
    lexicon = bundled_lexicon()
    assert len(lexicon) > 1000
    assert {"mad", "grateful", "sorry", "astonished"} <= lexicon
    assert all(word == word.lower() for word in lexicon)


def test_a_lexicon_has_comments_and_one_word_a_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# mine\nSad\n\nnerve-racking\n", encoding="utf-8")
    assert read_lexicon(path) == {"sad", "nerve-racking"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"sad\nvery sad\n", "line 2: 'very sad' is not a single word"),
        (b"sad\n\xff\n", "line 2: not UTF-8"),
        (b"# nothing\n", "holds no words"),
    ],
)
def test_a_broken_lexicon_is_refused_by_line(tmp_path, content, message):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_lexicon(path)

"""Reading of options that several verbs share."""

import pytest

from emo.cli.options import parse_emotions
from emo.data.samples import DEFAULT_EMOTIONS
from emo.errors import UsageError


def test_any_name_is_an_emotion_even_one_like_the_usual_six():
    assert parse_emotions("all") == DEFAULT_EMOTIONS
    assert parse_emotions("angry, surprised,awe,Schadenfreude") == (
        "angry", "surprised", "awe", "Schadenfreude",
    )  # fmt: skip


@pytest.mark.parametrize("slip", ["angr", "Anger", "suprise"])
def test_what_is_no_word_of_its_own_is_taken_for_a_slip(slip):
    with pytest.raises(UsageError, match="nearly one of the usual emotions"):
        parse_emotions(slip)

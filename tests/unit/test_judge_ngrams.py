"""N-grams and their TF-IDF vectors."""

import numpy as np
import pytest

from emo.judge.ngrams import Vocabulary, char_grams, vectors, word_grams, words

TEXTS = ["So sad, so very sad!", "I’m glad.", "Glad and sad", "Nothing here"]


def tokens():
    return [words(text) for text in TEXTS]


def test_words_are_lower_case_with_straight_apostrophes_and_marks():
    assert words("I’m SO glad! Aren't you?") == ["i'm", "so", "glad", "!", "aren't", "you", "?"]
    assert words("… — _ 😀") == []


def test_grams_of_nothing_are_nothing():
    assert word_grams([]) == char_grams([]) == []


def test_vectors_agree_with_scikit_learn():
    text_tools = pytest.importorskip("sklearn.feature_extraction.text")
    vocabulary = Vocabulary.fit("word", tokens(), 1)
    theirs = text_tools.TfidfVectorizer(
        analyzer=lambda text: word_grams(words(text)), sublinear_tf=True, smooth_idf=True
    ).fit(TEXTS)
    assert list(theirs.get_feature_names_out()) == list(vocabulary.grams)
    ours = vectors([vocabulary], tokens()).dot(np.eye(len(vocabulary.grams)))
    np.testing.assert_allclose(ours, theirs.transform(TEXTS).toarray(), atol=1e-6)


def test_each_block_has_length_one_or_zero():
    blocks = [Vocabulary.fit(name, tokens(), 1) for name in ("word", "char")]
    n = len(blocks[0].grams)
    dense = vectors(blocks, [*tokens(), []]).dot(np.eye(n + len(blocks[1].grams)))
    for part in (dense[:, :n], dense[:, n:]):
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), [1, 1, 1, 1, 0])


def test_rare_grams_are_left_out():
    assert Vocabulary.fit("word", tokens(), 2).grams == ("glad", "sad")


def test_no_texts_give_no_rows():
    rows = vectors([Vocabulary.fit("word", tokens(), 1)], [])
    assert rows.dot(np.zeros((9, 2))).shape == (0, 2)

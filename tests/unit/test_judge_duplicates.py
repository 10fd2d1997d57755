"""Near-duplicates: no close pair is ever split, far ones never joined for nothing."""

import random

import numpy as np

from emo.judge.duplicates import near_duplicates
from emo.judge.ngrams import words


def triples(text):
    tokens = [token for token in words(text) if token not in "!?"]
    return set(zip(tokens, tokens[1:], tokens[2:], strict=False)) or {tuple(tokens)}


def random_texts(seed):
    rng = random.Random(seed)
    texts = [" ".join(rng.choices("abcdefg", k=rng.randint(0, 9))) for _ in range(60)]
    return texts + [text + " h" for text in texts[:20]]


def test_groups_are_the_connected_parts_of_all_close_pairs():
    for seed in range(5):
        texts = random_texts(seed)
        groups = near_duplicates(texts)
        graph = list(range(len(texts)))
        for i, first in enumerate(texts):
            for j, second in enumerate(texts[:i]):
                a, b = triples(first), triples(second)
                if len(a & b) / len(a | b) >= 0.5 and graph[i] != graph[j]:
                    graph = [graph[j] if part == graph[i] else part for part in graph]
        same = np.array(graph)[:, None] == np.array(graph)[None, :]
        np.testing.assert_array_equal(groups[:, None] == groups[None, :], same)


def test_texts_without_words_are_close_only_when_they_are_the_same():
    assert near_duplicates(["🙂", "🙁", "...", "🙂"]).tolist() == [0, 1, 2, 0]


def test_named_groups_stay_together():
    texts = ["One thing here.", "Quite another thing.", "A third one now."]
    assert near_duplicates(texts, ["x", None, "x"]).tolist() == [0, 1, 0]


def test_case_and_punctuation_do_not_count():
    assert len(set(near_duplicates(["I see red!", "i SEE red", "I see, red."]).tolist())) == 1


def test_no_texts():
    assert near_duplicates([]).shape == (0,)

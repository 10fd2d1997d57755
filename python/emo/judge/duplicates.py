"""Near-duplicate texts: two texts that share at least half of their word triples.

Two texts are close when the Jaccard index of their sets of three neighbouring words reaches the
threshold; groups are the connected parts. Candidates come from an inverted index over each
text's rarest triples (two sets with Jaccard index t or more always share one of the rarest
``size - ceil(t * size) + 1`` elements of each), so that no pair is missed and few are compared.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emo.judge.ngrams import words

Shingles = frozenset[tuple[str, ...]]


def near_duplicates(
    texts: Sequence[str], groups: Sequence[str | None] | None = None, *, threshold: float = 0.5
) -> NDArray[np.int64]:
    """Find groups of near-duplicate texts and number them.

    Parameters
    ----------
    texts : sequence of str
    groups : sequence of str or None, optional
        Texts with the same name belong together whatever they say.
    threshold : float
        Jaccard index, in (0, 1], from which two texts count as near-duplicates.

    Returns
    -------
    (n_texts,) int64 array
        Group of each text, numbered from 0 in order of first appearance.

    >>> near_duplicates(["The cat sat on a mat.", "Rain again.", "the cat sat on a mat!"]).tolist()
    [0, 1, 0]
    """
    parents = list(range(len(texts)))
    for i, j in _same_names(groups or [None] * len(texts)):
        _join(parents, i, j)
    sets = [_shingles(text) for text in texts]
    for i, j in _candidates(sets, threshold):
        if _find(parents, i) != _find(parents, j) and _jaccard(sets[i], sets[j]) >= threshold:
            _join(parents, i, j)
    roots = [_find(parents, i) for i in range(len(texts))]
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root, len(numbers)) for root in roots], dtype=np.int64)


def _shingles(text: str) -> Shingles:
    tokens = [token for token in words(text) if token not in "!?"] or text.split()
    if len(tokens) < 3:
        return frozenset({tuple(tokens)})
    return frozenset(zip(tokens, tokens[1:], tokens[2:], strict=False))


def _jaccard(first: Shingles, second: Shingles) -> float:
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


def _candidates(sets: Sequence[Shingles], threshold: float) -> list[tuple[int, int]]:
    counts = Counter(shingle for shingles in sets for shingle in shingles)
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    pairs = []
    for i, shingles in enumerate(sets):
        rare_first = sorted(shingles, key=lambda shingle: (counts[shingle], shingle))
        kept = len(shingles) - math.ceil(threshold * len(shingles) - 1e-9) + 1
        for shingle in rare_first[:kept]:
            pairs += [(j, i) for j in holders[shingle]]
            holders[shingle].append(i)
    return pairs


def _same_names(groups: Sequence[str | None]) -> list[tuple[int, int]]:
    first: dict[str, int] = {}
    named = [(name, i) for i, name in enumerate(groups) if name is not None]
    return [(first.setdefault(name, i), i) for name, i in named]


def _find(parents: list[int], i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


def _join(parents: list[int], i: int, j: int) -> None:
    first, second = sorted((_find(parents, i), _find(parents, j)))
    parents[second] = first

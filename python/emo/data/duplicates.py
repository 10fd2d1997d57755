"""Texts that say the same in nearly the same words.

Two texts are near-duplicates when the Jaccard index of their sets of words, the share of common
words among all their words, exceeds a threshold t. Sets with an index of at least t share one
of the ``size - ceil(t * size) + 1`` rarest words of each, so it suffices to compare texts that
meet in an index of those; texts of too different size are skipped.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

NEAR = 0.8
_TOKEN = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


def tokens_of(text: str) -> list[str]:
    """Words of a text in any script, in lower case, to compare it by.

    Where there are none, the text itself stands for them, cut at its spaces.

    >>> tokens_of("Он купил хлеб, OK?")
    ['он', 'купил', 'хлеб', 'ok']
    """
    folded = text.casefold()
    return _TOKEN.findall(folded.replace("’", "'")) or folded.split()


def similar_earlier(
    texts: Sequence[Sequence[str]], *, threshold: float = NEAR
) -> list[tuple[int, float] | None]:
    """For each text, the first earlier one that says nearly the same.

    Parameters
    ----------
    texts : sequence of sequences of str
        The words of each text.
    threshold : float
        Jaccard index in (0, 1) that near-duplicates exceed.

    Returns
    -------
    list of (index, float) or None
        Index of the earlier text and its Jaccard index; None where there is none, and for
        texts without words.

    >>> similar_earlier([["a", "b"], ["c"], ["b", "a"]])
    [None, None, (0, 1.0)]
    """
    sets = [frozenset(words) for words in texts]
    counts = Counter(word for words in sets for word in words)
    holders: dict[str, list[int]] = defaultdict(list)
    indexed: set[frozenset[str]] = set()
    found: list[tuple[int, float] | None] = []
    for index, words in enumerate(sets):
        rarest = _rarest(words, counts, threshold)
        candidates = {earlier for word in rarest for earlier in holders[word]}
        found.append(_first_near(words, sets, sorted(candidates), threshold))
        if words not in indexed:
            indexed.add(words)
            for word in rarest:
                holders[word].append(index)
    return found


def _rarest(words: frozenset[str], counts: Counter[str], threshold: float) -> list[str]:
    kept = len(words) - math.ceil(threshold * len(words) - 1e-9) + 1
    return sorted(words, key=lambda word: (counts[word], word))[:kept]


def _first_near(
    words: frozenset[str], sets: Sequence[frozenset[str]], candidates: list[int], threshold: float
) -> tuple[int, float] | None:
    for index in candidates:
        short, long = sorted((len(words), len(sets[index])))
        if short <= threshold * long:
            continue
        shared = len(words & sets[index])
        jaccard = shared / (short + long - shared)
        if jaccard > threshold:
            return index, jaccard
    return None

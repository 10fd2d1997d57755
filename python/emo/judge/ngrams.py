"""Word and character n-grams of texts as sparse TF-IDF vectors, in plain numpy.

A text becomes two blocks, words (1 to 2 in a row) and characters (3 to 5 in a row, inside a
word and its two edges). In each block the weight of an n-gram is ``(1 + ln count) * idf`` with
``idf = ln((1 + n) / (1 + df)) + 1``; a block is scaled to Euclidean length 1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*|[!?]")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "‐": "-", "‑": "-"})


def words(text: str) -> list[str]:
    """Lower-cased words, exclamation and question marks of a text, in order.

    >>> words("It’s a well-known fact!")
    ["it's", 'a', 'well-known', 'fact', '!']
    """
    return WORD.findall(text.lower().translate(_QUOTES))


def word_grams(tokens: Sequence[str]) -> list[str]:
    """Words and pairs of neighbouring words.

    >>> word_grams(["so", "very", "sad"])
    ['so', 'very', 'sad', 'so very', 'very sad']
    """
    return [*tokens, *(f"{a} {b}" for a, b in pairwise(tokens))]


def char_grams(tokens: Sequence[str]) -> list[str]:
    """Cut words into runs of 3 to 5 characters; ``_`` marks the edges of a word.

    >>> char_grams(["sad"])
    ['_sa', 'sad', 'ad_', '_sad', 'sad_', '_sad_']
    """
    grams = []
    for token in tokens:
        padded = f"_{token}_"
        for size in (3, 4, 5):
            grams += [padded[i : i + size] for i in range(len(padded) - size + 1)]
    return grams


BLOCKS = {"word": word_grams, "char": char_grams}


@dataclass(frozen=True)
class Rows:
    """Sparse rows: row i holds ``values[starts[i]:starts[i + 1]]`` at those ``columns``.

    Parameters
    ----------
    starts : (n + 1,) int64 array
    columns : (m,) int64 array, ascending within a row
    values : (m,) float64 array
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float64]

    def dot(self, dense: NDArray[np.float64]) -> NDArray[np.float64]:
        """Product with a dense [n_columns, k] matrix, summed in column order: [n, k]."""
        out = np.zeros((len(self.starts) - 1, dense.shape[1]))
        for i, (begin, end) in enumerate(zip(self.starts[:-1], self.starts[1:], strict=True)):
            picked = dense[self.columns[begin:end]] * self.values[begin:end, None]
            out[i] = picked.sum(axis=0)
        return out


@dataclass(frozen=True)
class Vocabulary:
    """The n-grams of one block with their weights.

    Parameters
    ----------
    block : str
        ``word`` or ``char``.
    grams : tuple of str
        In ascending order.
    idf : (n_grams,) float64 array
        Weight of each n-gram.
    """

    block: str
    grams: tuple[str, ...]
    idf: NDArray[np.float64]

    @classmethod
    def fit(cls, block: str, texts: Iterable[Sequence[str]], min_texts: int) -> Vocabulary:
        """Collect the n-grams that occur in at least `min_texts` of the tokenised texts."""
        counts: Counter[str] = Counter()
        n = 0
        for tokens in texts:
            counts.update(set(BLOCKS[block](tokens)))
            n += 1
        grams = tuple(sorted(gram for gram, df in counts.items() if df >= min_texts))
        df = np.array([counts[gram] for gram in grams], dtype=np.float64)
        idf = np.log((1 + n) / (1 + df)) + 1
        return cls(block, grams, idf.astype(np.float32).astype(np.float64))

    @cached_property
    def index(self) -> dict[str, int]:
        """Column of each n-gram."""
        return {gram: column for column, gram in enumerate(self.grams)}

    def vector(self, tokens: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Columns and values of one tokenised text, of Euclidean length 1 or empty."""
        index = self.index
        counts = Counter(index[gram] for gram in BLOCKS[self.block](tokens) if gram in index)
        columns = np.array(sorted(counts), dtype=np.int64)
        weights = np.array([counts[column] for column in columns.tolist()], dtype=np.float64)
        values = (1 + np.log(weights)) * self.idf[columns]
        length = float(np.sqrt((values * values).sum()))
        return columns, values / length if length else values


def vectors(vocabularies: Sequence[Vocabulary], texts: Iterable[Sequence[str]]) -> Rows:
    """Vectors of tokenised texts, the blocks side by side in the order of `vocabularies`."""
    columns: list[NDArray[np.int64]] = []
    values: list[NDArray[np.float64]] = []
    starts = [0]
    for tokens in texts:
        offset = total = 0
        for vocabulary in vocabularies:
            column, value = vocabulary.vector(tokens)
            columns.append(column + offset)
            values.append(value)
            offset += len(vocabulary.grams)
            total += len(column)
        starts.append(starts[-1] + total)
    if not columns:
        return Rows(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Rows(np.array(starts, np.int64), np.concatenate(columns), np.concatenate(values))

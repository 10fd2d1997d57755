"""Words of a text, and the lexicon of words that name or show an emotion."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from emo.artifacts import decode, read_input, split_lines
from emo.data.bundle import bundled
from emo.errors import DataError

WORD = re.compile(r"[A-Za-z0-9]+(?:['’-][A-Za-z0-9]+)*")
LEXICON = "emotion_words.txt"


def words(text: str) -> list[str]:
    """Words of a text in order, as written.

    >>> words("The mother-in-law didn’t pay 20 euros.")
    ['The', 'mother-in-law', 'didn’t', 'pay', '20', 'euros']
    """
    return WORD.findall(text)


def lowered(text: str) -> list[str]:
    """Words of a text in lower case, with straight apostrophes.

    >>> lowered("I didn’t.")
    ['i', "didn't"]
    """
    return [word.lower().replace("’", "'") for word in words(text)]


def forms(word: str) -> list[str]:
    """Return the word in lower case, and its parts at hyphens and apostrophes.

    >>> forms("grief's")
    ["grief's", 'grief', 's']
    """
    whole = word.lower().replace("’", "'")
    parts = re.split(r"['-]", whole)
    return [whole, *parts] if len(parts) > 1 else [whole]


def opening(text: str, n: int = 3) -> str | None:
    """First `n` words in lower case; None for a text with fewer.

    >>> opening("He moved me to mornings.")
    'he moved me'
    """
    first = lowered(text)[:n]
    return " ".join(first) if len(first) == n else None


def read_lexicon(path: Path) -> frozenset[str]:
    """Read a list of word forms, one a line; lines that start with ``#`` are comments.

    Raises
    ------
    DataError
        When the file is missing, not UTF-8 or empty, or a line is not a single word; the
        message names the line.
    """
    found = set()
    for number, line in split_lines(read_input(path)):
        where = f"{path}, line {number}"
        word = decode(line, where, begins=number == 1).strip().lower()
        if word.startswith("#"):
            continue
        if not WORD.fullmatch(word):
            raise DataError(f"{where}: {word!r} is not a single word")
        found.add(word.replace("’", "'"))
    if not found:
        raise DataError(f"{path} holds no words")
    return frozenset(found)


@cache
def bundled_lexicon() -> frozenset[str]:
    """Return the bundled lexicon of emotion words, in lower case."""
    return read_lexicon(bundled(LEXICON))


def emotion_words(text: str, lexicon: frozenset[str]) -> list[str]:
    """Words of `text` that are in the lexicon, whole or between hyphens and apostrophes.

    >>> emotion_words("A sad-looking man made Happy noises.", frozenset({"sad", "mad", "happy"}))
    ['sad-looking', 'Happy']
    """
    return [word for word in words(text) if not lexicon.isdisjoint(forms(word))]

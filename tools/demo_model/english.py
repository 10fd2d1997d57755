"""English for the corpus: made-up words and names, a or an, the case of first letters."""

from __future__ import annotations

import random
import re

from material import is_heldout

ONSETS = (
    "b", "br", "bl", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kr", "l", "m", "n",
    "p", "pl", "r", "s", "sk", "st", "t", "tr", "v", "w", "z", "th", "sh", "qu",
)  # fmt: skip
NUCLEI = ("a", "e", "i", "o", "u", "ai", "ee", "oo", "ou")
CODAS = ("", "", "l", "n", "r", "s", "m", "t", "k", "x", "nd", "rk", "lt", "sp", "ck")
NAME_ENDS = ("a", "o", "i", "el", "an", "en", "us", "ine", "ko", "ra")

RUDE = re.compile(
    r"fu[ck]|foo?k|shi|cu[nm]|kun|nig|fag|rap|tit|dic?k|co[ck]|kok|slu|pus|naz|wan|pis|poo|sex"
)
ARTICLE = re.compile(r"\b([Aa])n? (?=\{)")
ARTICLE_MARK = re.compile(r"([Aa])\x00 (?=(\S+))")
SOUNDS_LIKE_YOU = re.compile(
    r"(uni(?!nv|nf|nt|mp|mag|ron|den)|us[ae]|usb|usu|uk|ut[ei]|eu|ewe|one\b|once)", re.IGNORECASE
)
VOWEL_START = re.compile(
    r"([aeiou]|hour\b|heir|honest|honour|x-ray|l-shaped|8|11\b|18\b)", re.IGNORECASE
)


def capitalise(text: str) -> str:
    """Make the first character a capital."""
    return text[:1].upper() + text[1:]


def first_word(text: str) -> str:
    """Take the first word of a text in small letters, without what follows an apostrophe."""
    match = re.match(r"[A-Za-z]+", text)
    return match.group(0).lower() if match else ""


def lower_start(text: str, pattern: str) -> str:
    """Make the first letter small, unless it starts with "I" or a slot."""
    if pattern.startswith("{name}") or re.match(r"I\b", text):
        return text
    return text[:1].lower() + text[1:]


def mark_articles(pattern: str) -> str:
    """Put a mark in place of each a/an before a slot, for what fills the slot decides it."""
    return ARTICLE.sub(lambda m: f"{m.group(1)}\x00 ", pattern)


def takes_an(word: str) -> bool:
    """Whether the word is said with a vowel at its start."""
    if word.startswith("IT"):
        return True
    return bool(VOWEL_START.match(word)) and not SOUNDS_LIKE_YOU.match(word)


def fix_articles(text: str) -> str:
    """Turn the marks left for a/an into the right article."""
    return ARTICLE_MARK.sub(
        lambda m: f"{m.group(1)}n " if takes_an(m.group(2)) else f"{m.group(1)} ", text
    )


def is_usable(word: str, split: str) -> bool:
    """Say whether a made-up word belongs to the split and sounds like no rude word."""
    return is_heldout(word) == (split == "heldout") and not RUDE.search(word)


def syllable(rng: random.Random) -> str:
    """Make up one syllable."""
    return rng.choice(ONSETS) + rng.choice(NUCLEI) + rng.choice(CODAS)


def invented_noun(rng: random.Random, split: str) -> str:
    """Make up a noun of two or three syllables that belongs to the split."""
    while True:
        count = 2 if rng.random() < 0.75 else 3
        word = "".join(syllable(rng) for _ in range(count))
        if 4 <= len(word) <= 10 and is_usable(word, split):
            return word


def invented_name(rng: random.Random, split: str) -> str:
    """Make up a first name that belongs to the split."""
    while True:
        start = syllable(rng)
        word = start + rng.choice(ONSETS)[:1] * (start[-1] in "aeiou") + rng.choice(NAME_ENDS)
        if 4 <= len(word) <= 9 and is_usable(word, split):
            return capitalise(word)

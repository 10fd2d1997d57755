"""Compose data/judge/more.jsonl from the word lists and sentences in tools/judge_texts.

Each class has feelings, qualities, nouns, verbs, exclamations and whole sentences of its own.
The frames that the words are put into, and the topics, places and persons in them, are the same
for all classes, neutral included, so that only the words can tell the classes apart. Sentences
that share five words in a row with a sentence pattern of the demo model are left out: the judge
is never trained on what it judges there.

    python tools/judge_texts.py
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

_TOOLS = Path(__file__).resolve().parent
_SOURCES = _TOOLS / "judge_texts"
_PATTERNS = _TOOLS / "demo_model" / "patterns"
_OUTPUT = _TOOLS.parent / "data" / "judge" / "more.jsonl"

CLASSES = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
SEED = 11
N_TEXTS = 1000
USES = {"feel": 7, "matter": 7, "noun": 6, "verb": 5, "sentence": 2}
_SLOT = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")

Sections = dict[str, list[str]]
Fives = set[tuple[str, ...]]


def main() -> None:
    """Write the texts."""
    _OUTPUT.write_text(composed(), encoding="utf-8")


def composed() -> str:
    """Return the texts of all classes, one JSON object a line."""
    frames, slots = _sections("frames"), _sections("slots")
    forbidden = pattern_fives(_PATTERNS)
    lines = []
    for emotion in CLASSES:
        rng = random.Random(f"{SEED} {emotion}")
        texts = _compose(_sections(emotion), frames, slots, forbidden, rng)
        for number, text in enumerate(texts, 1):
            row = {"id": f"more-{emotion}-{number:03}", "emotion": emotion, "text": text}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)


def five_words(text: str) -> Fives:
    """Return all runs of five words of a text, lower-cased, without punctuation."""
    tokens = _WORD.findall(text.lower().replace("’", "'"))
    return set(zip(*(tokens[start:] for start in range(5)), strict=False))


def pattern_fives(folder: Path) -> Fives:
    """Return all runs of five words of the patterns in a folder, with their slots removed."""
    found: Fives = set()
    for path in sorted(folder.glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            found |= five_words(_SLOT.sub(" ", line.rpartition("\t")[2]))
    return found


def _sections(name: str) -> Sections:
    sections: Sections = {}
    for line in (_SOURCES / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), [])
        elif line:
            current.append(line)
    return sections


def _compose(
    words: Sections, frames: Sections, slots: Sections, forbidden: Fives, rng: random.Random
) -> list[str]:
    """Return texts of one or two sentences, every word and sentence of the class in use."""
    lines = set(_sentences(words, frames, slots, rng))
    pool = sorted(line for line in lines if not five_words(line) & forbidden)
    rng.shuffle(pool)
    texts: list[str] = []
    while len(texts) < N_TEXTS and len(pool) > 2:
        text = pool.pop()
        if rng.random() < 0.4:
            text = f"{text} {pool.pop()}"
        elif rng.random() < 0.15:
            text = f"{rng.choice(words['exclaim'])} {text}"
        if not five_words(text) & forbidden:
            texts.append(text)
    return texts


def _sentences(
    words: Sections, frames: Sections, slots: Sections, rng: random.Random
) -> Iterator[str]:
    for kind, uses in USES.items():
        for entry in words[kind]:
            chosen = [entry] * uses if kind == "sentence" else rng.sample(frames[kind], uses)
            for frame in dict.fromkeys(chosen):
                yield _fill(frame, kind, entry, slots, rng)
    yield from words["exclaim"]


def _fill(frame: str, kind: str, entry: str, slots: Sections, rng: random.Random) -> str:
    forms = dict(zip(("verbs", "verb", "verbed"), entry.split("|"), strict=False))

    def word(match: re.Match[str]) -> str:
        name = match[1].lower()
        if name in slots:
            chosen = rng.choice(slots[name])
        else:
            chosen = forms[name] if kind == "verb" else entry
        return chosen[0].upper() + chosen[1:] if match[1][0].isupper() else chosen

    return _articles(_SLOT.sub(word, frame))


def _articles(text: str) -> str:
    """Write ``an`` before a vowel."""
    return re.sub(r"\b([Aa]) (?=[aeiou](?!ne\b|ni))", r"\1n ", text)


if __name__ == "__main__":
    main()

"""Material of the corpus: the word lists, patterns and replies that one split may use."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
EMOTIONS = ("anger", "sadness", "happiness", "fear", "surprise", "disgust")
NEUTRAL = "neutral"
VALENCES = ("positive", "neutral", "negative")
HELDOUT_PERCENT = 10
REPLY_SLOT = re.compile(r"\{(thing|name|place)\}")


@dataclass(frozen=True)
class Replies:
    """The reply sentences of one emotion, sorted by the slots each one holds."""

    by_slots: dict[frozenset[str], tuple[str, ...]]

    def pool(self, slots: Iterable[str], *, plain: bool) -> tuple[str, ...]:
        """Give all sentences whose slots are all among those given; without slots if plain."""
        given = frozenset(slots)
        return tuple(
            line
            for held, lines in self.by_slots.items()
            if held <= given and (held or plain)
            for line in lines
        )


@dataclass(frozen=True)
class Material:
    """All word lists and patterns that one split may use."""

    things: tuple[str, ...]
    compounds: tuple[str, ...]
    adjectives: tuple[str, ...]
    places: tuple[str, ...]
    names: tuple[str, ...]
    roles: tuple[str, ...]
    my_roles: tuple[str, ...]
    scenarios: tuple[str, ...]
    events: dict[str, tuple[str, ...]]
    mirror: dict[str, tuple[str, ...]]
    replies: dict[str, Replies]


def is_heldout(text: str) -> bool:
    """Whether an entry is reserved for the heldout split, decided by its hash."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELDOUT_PERCENT


def read_lines(path: Path) -> list[str]:
    """Read the non-empty lines of a file, without doubles, in the file's order."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return list(dict.fromkeys(line for line in lines if line))


def of_split(lines: Iterable[str], split: str) -> tuple[str, ...]:
    """Keep the lines that belong to this split."""
    return tuple(line for line in lines if is_heldout(line) == (split == "heldout"))


def load_mirror(path: Path, split: str) -> dict[str, tuple[str, ...]]:
    """Read the user's own emotional sentences of this split, by emotion."""
    found: dict[str, list[str]] = {}
    for line in of_split(read_lines(path), split):
        emotion, _, sentence = line.partition("\t")
        if emotion in EMOTIONS and sentence:
            found.setdefault(emotion, []).append(sentence)
    return {emotion: tuple(lines) for emotion, lines in found.items()}


def load_replies(path: Path) -> Replies:
    """Read the reply sentences of one file; both splits share them."""
    by_slots: dict[frozenset[str], list[str]] = {}
    for line in read_lines(path):
        by_slots.setdefault(frozenset(REPLY_SLOT.findall(line)), []).append(line)
    return Replies({slots: tuple(lines) for slots, lines in by_slots.items()})


@lru_cache(maxsize=4)
def load_material(split: str, patterns: Path) -> Material:
    """Read every list that this split needs."""
    if split not in ("train", "heldout"):
        raise ValueError(f"split must be train or heldout, not {split!r}")

    def words(name: str) -> tuple[str, ...]:
        return of_split(read_lines(HERE / "words" / f"{name}.txt"), split)

    roles = words("roles")
    return Material(
        things=words("things"),
        compounds=words("compounds"),
        adjectives=words("adjectives"),
        places=words("places"),
        names=words("names"),
        roles=tuple(role for role in roles if not role.startswith("my ")),
        my_roles=roles,
        scenarios=of_split(read_lines(HERE / "scenarios.txt"), split),
        events={v: of_split(read_lines(HERE / f"events_{v}.txt"), split) for v in VALENCES},
        mirror=load_mirror(patterns / "mirror_user.txt", split),
        replies={e: load_replies(patterns / f"{e}.txt") for e in (*EMOTIONS, NEUTRAL)},
    )

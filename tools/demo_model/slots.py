"""Slots of a user text: what fills them, and the memory of what was put in."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path

from english import capitalise, fix_articles, invented_name, invented_noun, mark_articles
from material import load_material

INVENTED_SHARE = 0.08
COMPOUND_SHARE = 0.30
EXTRA_ADJECTIVE_SHARE = 0.15
DROP_ADJECTIVE_SHARE = 0.15
REUSE_SHARE = 0.6

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August",
    "September", "October", "November", "December",
)  # fmt: skip
NUMBER_WORDS = (
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "fourteen", "fifteen", "twenty", "thirty", "forty", "fifty",
)  # fmt: skip
HOURS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
)  # fmt: skip

MINUTES = ("00", "15", "20", "30", "45", "50")

ITEM = re.compile(r"(\{adj\} )?\{(thing2?)\}|\{(\w+)\}(th\b)?(-)?")
DETERMINER_MY = re.compile(r"\b([Tt])he my ")


@dataclass(frozen=True)
class Thing:
    """A thing named in the user's text: a noun and perhaps an adjective."""

    noun: str
    adjective: str = ""

    def phrase(self) -> str:
        """Give the noun with its adjective in front, if it has one."""
        return f"{self.adjective} {self.noun}" if self.adjective else self.noun


@dataclass
class Memory:
    """What has been put into the slots of one user text so far."""

    things: list[Thing] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    inherited: dict[str, int] = field(default_factory=dict)

    def start_sentence(self) -> None:
        """Note what earlier sentences hold: only that may be reused in the next one."""
        for kind in ("things", "names", "places", "roles"):
            self.inherited[kind] = len(getattr(self, kind))


class Filler:
    """Fills the slots of user patterns from one random stream."""

    def __init__(self, seed: int, split: str, patterns: Path) -> None:
        """Load the split's material and start its random stream."""
        self.split = split
        self.material = load_material(split, patterns)
        self.rng = random.Random(f"{split}:{seed}")

    def chance(self, share: float) -> bool:
        """Say yes with the given probability."""
        return self.rng.random() < share

    def new_noun(self) -> str:
        """Draw a noun, a compound or a made-up word."""
        if self.chance(INVENTED_SHARE):
            return invented_noun(self.rng, self.split)
        if self.chance(COMPOUND_SHARE):
            return self.rng.choice(self.material.compounds)
        return self.rng.choice(self.material.things)

    def new_thing(self, with_adjective: bool) -> Thing:
        """Draw a new thing, mostly with an adjective where the pattern asks for one."""
        share = 1.0 - DROP_ADJECTIVE_SHARE if with_adjective else EXTRA_ADJECTIVE_SHARE
        adjective = self.rng.choice(self.material.adjectives) if self.chance(share) else ""
        return Thing(self.new_noun(), adjective)

    def thing(self, memory: Memory, with_adjective: bool) -> str:
        """Fill a thing slot: with a thing named before, or a new one."""
        old = memory.things[: memory.inherited["things"]]
        if old and self.chance(REUSE_SHARE):
            again = self.rng.choice(old)
            return again.phrase() if with_adjective and self.chance(0.5) else again.noun
        thing = self.new_thing(with_adjective)
        memory.things.append(thing)
        return thing.phrase()

    def known(self, memory: Memory, kind: str) -> str:
        """Take up a name, place or role of an earlier sentence, or nothing."""
        old = getattr(memory, kind)[: memory.inherited[kind]]
        return self.rng.choice(old) if old and self.chance(REUSE_SHARE) else ""

    def name(self, memory: Memory) -> str:
        """Fill a name slot."""
        name = self.known(memory, "names")
        if not name:
            if self.chance(INVENTED_SHARE):
                name = invented_name(self.rng, self.split)
            else:
                name = self.rng.choice(self.material.names)
            memory.names.append(name)
        return name

    def place(self, memory: Memory) -> str:
        """Fill a place slot."""
        place = self.known(memory, "places") or self.rng.choice(self.material.places)
        memory.places.append(place)
        return place

    def role(self, memory: Memory, after_the: bool) -> str:
        """Fill a role slot; "my cousin" may stand only where "the" can give way."""
        role = self.known(memory, "roles")
        if not role or (role.startswith("my ") and not after_the):
            role = self.rng.choice(self.material.my_roles if after_the else self.material.roles)
        memory.roles.append(role)
        return role

    def number(self, digits: bool) -> str:
        """Draw a number, as digits or as a word."""
        if digits:
            return str(self.rng.randint(4, 20))
        if self.chance(0.5):
            return self.rng.choice(NUMBER_WORDS)
        return str(self.rng.choice((self.rng.randint(2, 20), self.rng.randint(2, 99))))

    def time(self) -> str:
        """Draw a time of day in one of the usual ways of writing it."""
        hour = self.rng.choice(HOURS)
        return self.rng.choice(
            (
                f"{hour} o'clock",
                f"half past {hour}",
                f"a quarter to {hour}",
                f"a quarter past {hour}",
                f"{self.rng.randint(6, 22)}:{self.rng.choice(MINUTES)}",
                f"{self.rng.randint(1, 11)} {self.rng.choice(('am', 'pm'))}",
            )
        )

    def other(self, slot: str, memory: Memory, digits: bool, after_the: bool) -> str:
        """Fill any slot that is not a thing."""
        if slot == "name":
            return self.name(memory)
        if slot == "place":
            return self.place(memory)
        if slot == "role":
            return self.role(memory, after_the)
        if slot == "number":
            return self.number(digits)
        if slot == "time":
            return self.time()
        if slot == "adj":
            return self.rng.choice(self.material.adjectives)
        return self.rng.choice(DAYS if slot == "day" else MONTHS)

    def fill(self, pattern: str, memory: Memory) -> str:
        """Fill a user pattern's slots and remember what was put in."""
        memory.start_sentence()
        text = mark_articles(pattern)

        def put(match: re.Match[str]) -> str:
            if match.group(2):
                return self.thing(memory, bool(match.group(1)))
            before = text[: match.start()]
            digits = bool(match.group(4) or match.group(5)) or before.lower().endswith("number ")
            after_the = before.lower().endswith("the ")
            words = self.other(match.group(3), memory, digits, after_the)
            return words + (match.group(4) or "") + (match.group(5) or "")

        filled = fix_articles(ITEM.sub(put, text))
        filled = DETERMINER_MY.sub(lambda m: "My " if m.group(1) == "T" else "my ", filled)
        return capitalise(filled)

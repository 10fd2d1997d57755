"""Seeded generator of short emotional chat conversations for the tiny demo model.

Each conversation has a system text, a user story (scenario and event) and a reply in one
emotion. The replies copy words of the user's text, so that a small model learns to copy.
All sentences come from the text files beside this module.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).resolve().parent

EMOTIONS = ("anger", "sadness", "happiness", "fear", "surprise", "disgust")
NEUTRAL = "neutral"
VALENCES = ("positive", "neutral", "negative")
BY_VALENCE = {
    "positive": ("happiness", "surprise"),
    "negative": ("anger", "sadness", "fear", "disgust", "surprise"),
    "neutral": (NEUTRAL,),
}

# Shares of the kinds of conversation; they add up to one.
KIND_SHARES = {"named": 0.45, "plain": 0.20, "valence": 0.15, "mirror": 0.20}
# Shares of the shapes of the user's text when no shape is forced.
SHAPE_SHARES = {"both": 0.74, "scenario": 0.08, "event": 0.08, "three": 0.10}

HELDOUT_PERCENT = 10
INVENTED_SHARE = 0.08
COMPOUND_SHARE = 0.30
EXTRA_ADJECTIVE_SHARE = 0.15
DROP_ADJECTIVE_SHARE = 0.15
REUSE_SHARE = 0.6
KEEP_ADJECTIVE_IN_REPLY = 0.35
ONE_SENTENCE_SHARE = 0.15
SLOT_SENTENCE_SHARE = 0.85
JOIN_AND_SHARE = 0.06
JOIN_SEMICOLON_SHARE = 0.04
OPENER_SHARE = 0.04

SYSTEM_NAMED = "Always reply in {emotion}. Keep the reply to at most two sentences."
SYSTEM_PLAIN = "Keep the reply to at most two sentences."

OPENERS = ("Well,", "So,", "Right,", "Okay,", "Hmm,", "Honestly,", "You know,")
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
ITEM = re.compile(r"(\{adj\} )?\{(thing2?)\}|\{(\w+)\}(th\b)?(-)?")
REPLY_SLOT = re.compile(r"\{(thing|name|place)\}")
ARTICLE = re.compile(r"\b([Aa])n? (?=\{)")
ARTICLE_MARK = re.compile(r"([Aa])\x00 (?=(\S+))")
DETERMINER_MY = re.compile(r"\b([Tt])he my ")
SOUNDS_LIKE_YOU = re.compile(
    r"(uni(?!nv|nf|nt|mp|mag|ron|den)|us[ae]|usb|usu|uk|ut[ei]|eu|ewe|one\b|once)", re.IGNORECASE
)
VOWEL_START = re.compile(
    r"([aeiou]|hour\b|heir|honest|honour|x-ray|l-shaped|8|11\b|18\b)", re.IGNORECASE
)
JOINABLE = (
    "i", "the", "that", "this", "it", "my", "you", "there", "a", "an", "what", "we", "they", "he",
    "she", "your", "nobody", "nothing", "everybody", "everyone", "even", "all", "no", "one",
    "somebody", "let", "please", "those", "these",
)  # fmt: skip


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


def pick_share(rng: random.Random, shares: dict[str, float]) -> str:
    """Draw a key by its share."""
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def capitalise(text: str) -> str:
    """Make the first character a capital."""
    return text[:1].upper() + text[1:]


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


class Writer:
    """Writes conversations from one random stream."""

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
        text = ARTICLE.sub(lambda m: f"{m.group(1)}\x00 ", pattern)

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

    def user_patterns(self, valence: str, shape: str) -> list[str]:
        """Draw the patterns of one user text, in order."""
        material = self.material
        scenario = self.rng.choice(material.scenarios)
        event = self.rng.choice(material.events[valence])
        if shape == "scenario":
            return [scenario]
        if shape == "event":
            return [event]
        if shape == "three":
            return [scenario, self.rng.choice(material.events["neutral"]), event]
        return [scenario, event]

    def reply_sentence(self, emotion: str, memory: Memory, want_slot: bool, not_this: str) -> str:
        """Draw a reply pattern that the user's text can fill."""
        stock = {"thing": memory.things, "name": memory.names, "place": memory.places}
        open_slots = [slot for slot, words in stock.items() if words]
        replies = self.material.replies[emotion]
        pool = replies.pool(open_slots, plain=not want_slot)
        pool = tuple(line for line in pool if line != not_this) or replies.pool([], plain=True)
        return self.rng.choice(pool)

    def fill_reply(self, pattern: str, memory: Memory, topic: Thing | None) -> str:
        """Fill a reply pattern with words of the user's text."""

        def put(match: re.Match[str]) -> str:
            slot = match.group(1)
            if slot == "thing" and topic:
                keep = self.chance(KEEP_ADJECTIVE_IN_REPLY)
                return topic.phrase() if keep else topic.noun
            return self.rng.choice(memory.names if slot == "name" else memory.places)

        text = ARTICLE.sub(lambda m: f"{m.group(1)}\x00 ", pattern)
        return capitalise(fix_articles(REPLY_SLOT.sub(put, text)))

    def topic(self, memory: Memory) -> Thing | None:
        """Choose what the reply speaks about: more often the thing named last."""
        if not memory.things:
            return None
        return memory.things[-1] if self.chance(0.5) else self.rng.choice(memory.things)

    def join(self, first: str, second: str, pattern: str) -> str:
        """Put two sentences side by side, or now and then into one."""
        if first.endswith(".") and not second.endswith("?"):
            draw = self.rng.random()
            lowered = lower_start(second, pattern)
            if draw < JOIN_AND_SHARE and first_word(second) in JOINABLE and ", " not in first:
                return f"{first[:-1]}, and {lowered}"
            if JOIN_AND_SHARE <= draw < JOIN_AND_SHARE + JOIN_SEMICOLON_SHARE:
                return f"{first[:-1]}; {lowered}"
        return f"{first} {second}"

    def reply(self, emotion: str, memory: Memory) -> tuple[str, bool]:
        """Write a reply of one or two sentences, and tell whether it copies the user's words."""
        topic = self.topic(memory)
        single = self.chance(ONE_SENTENCE_SHARE)
        first = self.reply_sentence(emotion, memory, self.chance(SLOT_SENTENCE_SHARE), "")
        patterns = [first]
        if not single:
            patterns.append(self.reply_sentence(emotion, memory, False, first))
            self.rng.shuffle(patterns)
        filled = [self.fill_reply(line, memory, topic) for line in patterns]
        if self.chance(OPENER_SHARE) and first_word(filled[0]) in JOINABLE:
            filled[0] = f"{self.rng.choice(OPENERS)} {lower_start(filled[0], patterns[0])}"
        text = filled[0] if single else self.join(filled[0], filled[1], patterns[1])
        return text, any(REPLY_SLOT.search(line) for line in patterns)

    def choose(self, kind: str) -> tuple[str, str, str]:
        """Choose the reply's emotion, the event's valence and the user text's shape."""
        valence = self.rng.choice(VALENCES)
        shape = pick_share(self.rng, SHAPE_SHARES)
        if kind == "named":
            return self.rng.choice(EMOTIONS), valence, shape
        if kind == "mirror":
            return self.rng.choice(sorted(self.material.mirror)), valence, shape
        if kind == "valence":
            shape = "both" if shape == "scenario" else shape
            if self.chance(0.5):
                return NEUTRAL, valence, shape
            valence = self.rng.choice(("positive", "negative"))
            return self.rng.choice(BY_VALENCE[valence]), valence, shape
        return NEUTRAL, valence, shape

    def conversation(self) -> tuple[dict[str, str | bool], bool]:
        """Write one conversation and tell whether its reply copies from the user's text."""
        kind = pick_share(self.rng, KIND_SHARES)
        emotion, valence, shape = self.choose(kind)
        patterns = self.user_patterns(valence, shape)
        if kind == "mirror":
            place = self.rng.randint(0, len(patterns))
            patterns.insert(place, self.rng.choice(self.material.mirror[emotion]))
        memory = Memory()
        user = " ".join(self.fill(pattern, memory) for pattern in patterns)
        reply, copies = self.reply(emotion, memory)
        named = kind == "named"
        system = SYSTEM_NAMED.format(emotion=emotion) if named else SYSTEM_PLAIN
        record: dict[str, str | bool] = {"system": system, "user": user, "reply": reply}
        record |= {"emotion": emotion, "kind": kind, "named": named}
        return record, copies


def first_word(text: str) -> str:
    """Take the first word of a text in small letters, without what follows an apostrophe."""
    match = re.match(r"[A-Za-z]+", text)
    return match.group(0).lower() if match else ""


def lower_start(text: str, pattern: str) -> str:
    """Make the first letter small, unless it starts with "I" or a slot."""
    if pattern.startswith("{name}") or re.match(r"I\b", text):
        return text
    return text[:1].lower() + text[1:]


def generate_marked(
    seed: int, n: int, split: str = "train", patterns: Path = HERE / "patterns"
) -> Iterator[tuple[dict[str, str | bool], bool]]:
    """Like generate, each conversation with a mark: whether the reply copies a slot."""
    writer = Writer(seed, split, patterns)
    for _ in range(n):
        yield writer.conversation()


def generate(
    seed: int, n: int, split: str = "train", patterns: Path = HERE / "patterns"
) -> Iterator[dict[str, str | bool]]:
    """Write n conversations; the same arguments always give the same ones."""
    for record, _ in generate_marked(seed, n, split, patterns):
        yield record


def print_stats(seed: int, n: int, split: str, patterns: Path) -> None:
    """Print the counts, lengths and shares of a sample."""
    material = load_material(split, patterns)
    kinds: Counter[str] = Counter()
    emotions: Counter[str] = Counter()
    words: Counter[str] = Counter()
    users: set[str] = set()
    replies: set[str] = set()
    user_words = reply_words = copied = 0
    for record, copies in generate_marked(seed, n, split, patterns):
        user, reply = str(record["user"]), str(record["reply"])
        kinds[str(record["kind"])] += 1
        emotions[str(record["emotion"])] += 1
        words.update(re.findall(r"[a-z'-]+", f"{user} {reply}".lower()))
        users.add(user)
        replies.add(reply)
        user_words += len(user.split())
        reply_words += len(reply.split())
        copied += copies
    for name in ("things", "compounds", "adjectives", "places", "names", "my_roles", "scenarios"):
        print(f"{name}: {len(getattr(material, name))}")
    print("events:", {valence: len(lines) for valence, lines in material.events.items()})
    print("mirror:", {emotion: len(lines) for emotion, lines in material.mirror.items()})
    print(f"conversations: {n}, kinds: {dict(kinds)}")
    print(f"emotions: {dict(emotions)}")
    print(f"distinct words: {len(words)}, users: {len(users)}, replies: {len(replies)}")
    print(f"mean words: user {user_words / n:.1f}, reply {reply_words / n:.1f}")
    print(f"replies with a slot: {copied / n:.3f}")


def main(argv: list[str] | None = None) -> int:
    """Write a corpus file, print statistics, or show some conversations."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--write", type=Path, metavar="OUT.jsonl")
    parser.add_argument("--stats", action="store_true")
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "heldout"), default="train")
    parser.add_argument("--patterns", type=Path, default=HERE / "patterns")
    args = parser.parse_args(argv)
    if args.stats:
        print_stats(args.seed, args.n, args.split, args.patterns)
    if args.write:
        with args.write.open("w", encoding="utf-8", newline="\n") as out:
            for record in generate(args.seed, args.n, args.split, args.patterns):
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
    if not args.stats and not args.write:
        for record in generate(args.seed, args.n, args.split, args.patterns):
            print(json.dumps(record, ensure_ascii=False, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

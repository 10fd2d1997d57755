"""Writer of the corpus: the user's story, the reply, and the two as a conversation."""

from __future__ import annotations

import random
import re

from english import capitalise, first_word, fix_articles, lower_start, mark_articles
from material import EMOTIONS, NEUTRAL, REPLY_SLOT, VALENCES
from slots import Filler, Memory, Thing

BY_VALENCE = {
    "positive": ("happiness", "surprise"),
    "negative": ("anger", "sadness", "fear", "disgust", "surprise"),
    "neutral": (NEUTRAL,),
}

# Shares of the kinds of conversation; they add up to one.
KIND_SHARES = {"named": 0.45, "plain": 0.20, "valence": 0.15, "mirror": 0.20}
# Shares of the shapes of the user's text when no shape is forced.
SHAPE_SHARES = {"both": 0.74, "scenario": 0.08, "event": 0.08, "three": 0.10}

KEEP_ADJECTIVE_IN_REPLY = 0.35
ONE_SENTENCE_SHARE = 0.15
SLOT_SENTENCE_SHARE = 0.85
JOIN_AND_SHARE = 0.06
JOIN_SEMICOLON_SHARE = 0.04
OPENER_SHARE = 0.04

SYSTEM_NAMED = "Always reply in {emotion}. Keep the reply to at most two sentences."
SYSTEM_PLAIN = "Keep the reply to at most two sentences."

OPENERS = ("Well,", "So,", "Right,", "Okay,", "Hmm,", "Honestly,", "You know,")
JOINABLE = (
    "i", "the", "that", "this", "it", "my", "you", "there", "a", "an", "what", "we", "they", "he",
    "she", "your", "nobody", "nothing", "everybody", "everyone", "even", "all", "no", "one",
    "somebody", "let", "please", "those", "these",
)  # fmt: skip


def pick_share(rng: random.Random, shares: dict[str, float]) -> str:
    """Draw a key by its share."""
    return rng.choices(list(shares), weights=list(shares.values()))[0]


class Writer(Filler):
    """Writes conversations from one random stream."""

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

        text = mark_articles(pattern)
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

"""Seeded generator of short emotional chat conversations for the tiny demo model.

Each conversation has a system text, a user story (scenario and event) and a reply in one
emotion. The replies copy words of the user's text, so that a small model learns to copy.
All sentences come from the text files in this folder.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from material import HERE, load_material
from writer import Writer


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

"""Replies to read: a few of each emotion and method, right and wrong ones, with verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emo.data.texts import Text, Verdict
from emo.report.folder import Run
from emo.report.markup import Markup, join, tag
from emo.report.methods import ORDER, method_look, method_name
from emo.report.tables import missing, paragraph
from emo.report.wording import counted, cut

_RIGHT, _WRONG, _UNTARGETED = 2, 1, 4
_MAX_EMOTIONS, _MAX_REPLY, _MAX_PROMPT = 12, 600, 320
Judged = tuple[Text, Verdict | None]


def replies_section(run: Run) -> Markup:
    """Sample replies beside the judge's word on them."""
    if run.texts is None:
        return missing("the replies", "texts.jsonl")
    verdicts = {verdict.id: verdict for verdict in run.verdicts or []}
    judged = [(text, verdicts.get(text.id)) for text in run.texts]
    emotions = _emotions(run)
    note = (
        f"Drawn at random with seed {run.seed}: up to {_RIGHT} replies that were judged as their "
        f"target and {_WRONG} that was not, for each emotion and method. Right and wrong ones are "
        "drawn apart, so their numbers here say nothing about accuracy."
    )
    groups = [_emotion(run, judged, emotion, i == 0) for i, emotion in enumerate(emotions)]
    parts = [
        paragraph(note),
        missing("the verdicts on them", "verdicts.jsonl") if run.verdicts is None else None,
        *groups,
        _untargeted(run, judged),
    ]
    return join(part for part in parts if part)


def _emotions(run: Run) -> list[str]:
    targets = {text.emotion for text in run.texts or [] if text.emotion is not None}
    return list(run.ordered(targets))[:_MAX_EMOTIONS]


def _emotion(run: Run, judged: Sequence[Judged], emotion: str, first: bool) -> Markup:
    mine = [pair for pair in judged if pair[0].emotion == emotion]
    there = {text.method for text, _ in mine}
    methods = [name for name in ORDER if name in there] + sorted(there - set(ORDER))
    columns = [
        tag(
            "div",
            tag("h3", tag("span", method_name(name), class_=f"name {method_look(name)}")),
            *_drawn(run, [pair for pair in mine if pair[0].method == name], (emotion, name)),
        )
        for name in methods
    ]
    summary = tag("summary", tag("b", emotion), f" · {counted(len(mine), 'reply', 'replies')}")
    grid = tag("div", *columns, class_="replies")
    return tag("details", summary, grid, open="" if first else None, class_="emotion")


def _drawn(run: Run, pairs: Sequence[Judged], key: tuple[str, ...]) -> list[Markup]:
    ordered = _shuffled(run, pairs, key)
    right = [p for p in ordered if p[1] is not None and p[1].label == p[0].emotion][:_RIGHT]
    wrong = [p for p in ordered if p[1] is not None and p[1].label != p[0].emotion][:_WRONG]
    unjudged = [p for p in ordered if p[1] is None][: _RIGHT + _WRONG]
    return [_card(*pair) for pair in (*right, *wrong, *unjudged)]


def _shuffled(run: Run, pairs: Sequence[Judged], key: tuple[str, ...]) -> list[Judged]:
    """Order the replies at random; the order depends on the seed, the key and the ids only."""
    ordered = sorted(pairs, key=lambda pair: pair[0].id)
    spice = [int.from_bytes(name.encode("utf-8", "replace")[:8], "big") for name in key]
    order = np.random.default_rng([run.seed, *spice]).permutation(len(ordered))
    return [ordered[int(i)] for i in order]


def _untargeted(run: Run, judged: Sequence[Judged]) -> Markup | None:
    mine = [pair for pair in judged if pair[0].emotion is None]
    if not mine:
        return None
    cards = [_card(*pair) for pair in _shuffled(run, mine, ("baseline",))[:_UNTARGETED]]
    words = f" · {counted(len(mine), 'reply', 'replies')}"
    summary = tag("summary", tag("b", method_name("baseline")), words)
    return tag("details", summary, tag("div", *cards, class_="replies"), class_="emotion")


def _card(text: Text, verdict: Verdict | None) -> Markup:
    look, words = _word_of(text, verdict)
    source = text.source
    asked = source.text if source.text is not None else f"{source.scenario} {source.event}"
    tail = "" if text.stopped else " (cut off at the length limit)"
    return tag(
        "article",
        tag("p", tag("span", words, class_=f"verdict {look}")),
        tag("p", cut(asked, _MAX_PROMPT), class_="asked", dir="auto"),
        tag("blockquote", cut(text.reply, _MAX_REPLY) or "(empty)", dir="auto"),
        tag("p", f"{source.id}, {counted(text.n_tokens, 'token')}{tail}", class_="note"),
    )


def _word_of(text: Text, verdict: Verdict | None) -> tuple[str, str]:
    if verdict is None:
        return "open", "not judged"
    if verdict.label is None:
        return "open", f"– no label: {verdict.unlabelled}"
    score = f" (score {verdict.score:.2f})" if isinstance(verdict.score, int | float) else ""
    if text.emotion is None:
        return "open", f"judged {verdict.label}{score}"
    if verdict.label == text.emotion:
        return "right", f"✓ judged {verdict.label}{score}"
    return "wrong", f"✗ judged {verdict.label}{score}"

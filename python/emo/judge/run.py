"""Judge many texts, going on where an interrupted run stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from emo.artifacts import sha256_text
from emo.data.partial import PartFile
from emo.data.texts import Text, Verdict, verdict_from_row
from emo.judge.protocol import Judge, Progress

_BLOCK = 64


def judge_settings(judge: Judge, texts: Sequence[Text]) -> dict[str, Any]:
    """Return what decides the verdicts, for the part file of `judge_texts`."""
    content = "\n".join(f"{text.id}\t{text.emotion}\t{text.reply!r}" for text in texts)
    return {"judge": judge.name, "classes": list(judge.classes), "texts": sha256_text(content)}


def judge_texts(
    judge: Judge,
    texts: Sequence[Text],
    *,
    part: PartFile | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Return one verdict for each text, in order.

    Parameters
    ----------
    judge : Judge
    texts : sequence of Text
    part : PartFile, optional
        Keeps the verdicts of finished blocks; texts that have one there are not judged again.
    progress : callable (texts done, texts in all), optional

    Raises
    ------
    ResourceError
        When the judge's endpoint or the disk fails.
    """
    verdicts = {} if part is None else part.read(verdict_from_row)
    waiting = [text for text in texts if text.id not in verdicts]
    for start in range(0, len(waiting), _BLOCK):
        done = len(texts) - len(waiting) + start
        block = judge.judge(waiting[start : start + _BLOCK], _shifted(progress, done, len(texts)))
        verdicts |= {verdict.id: verdict for verdict in block}
        if part is not None:
            part.append(map(asdict, block))
    return [verdicts[text.id] for text in texts]


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    report = progress
    return lambda done, _: report(before + done, total)

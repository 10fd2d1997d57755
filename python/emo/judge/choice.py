"""Open a judge by what the user wrote: ``linear``, ``hf:NAME``, ``chat:MODEL`` or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emo.data.bundle import bundled
from emo.data.samples import DEFAULT_EMOTIONS
from emo.errors import UsageError, did_you_mean
from emo.judge.linear import RECORD, LinearJudge
from emo.judge.protocol import Judge

LINEAR, CLASSIFIER, CHAT = "linear", "hf", "chat"
KINDS = (LINEAR, "hf:NAME", "chat:MODEL", "FOLDER")


def open_judge(
    spec: str,
    *,
    emotions: Sequence[str] = DEFAULT_EMOTIONS,
    named: bool = False,
    device: str = "auto",
    revision: str | None = None,
    batch_size: int | None = None,
) -> Judge:
    """Open a judge.

    Parameters
    ----------
    spec : str
        ``linear`` for the one that comes with the package, a folder made by `emo judge train`,
        ``hf:NAME`` for a Hugging Face sequence classifier, ``chat:MODEL`` for a chat endpoint.
    emotions : sequence of str
        What a chat judge chooses from.
    named : bool
        Name the target to a chat judge.
    device, revision, batch_size
        Of a Hugging Face classifier; no matter for other judges.

    Raises
    ------
    UsageError
        When there is no such judge, or a judge cannot be told the target.
    ArtifactError, ModelError, ResourceError, MissingExtraError
        When the judge cannot be opened.
    """
    kind, _, name = spec.partition(":")
    if named and kind != CHAT:
        raise UsageError(
            f"the judge {spec} reads the reply alone and cannot be told the target",
            hint="leave out --named, or use --judge chat:MODEL",
        )
    if kind in (CLASSIFIER, CHAT) and not name:
        raise UsageError(f"the judge {spec!r} needs a name", hint=f"write {kind}:NAME")
    if spec == LINEAR:
        return LinearJudge.load(bundled("judge"))
    if kind == CLASSIFIER:
        from emo.judge.classifier import ClassifierJudge

        return ClassifierJudge.load(name, revision=revision, device=device, batch_size=batch_size)
    if kind == CHAT:
        from emo.judge.chat import ChatJudge

        return ChatJudge(name, tuple(emotions), named)
    if Path(spec).is_dir() or (Path(spec) / RECORD).is_file():
        return LinearJudge.load(Path(spec))
    raise UsageError(f"unknown judge {spec!r}", hint=_hint(spec))


def _hint(spec: str) -> str:
    hint = did_you_mean(spec, [LINEAR, CLASSIFIER, CHAT])
    return hint if hint.startswith("did you") else did_you_mean(spec, KINDS)

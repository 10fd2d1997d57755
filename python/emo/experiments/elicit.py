"""Elicit replies: ask a model plainly, by naming an emotion, or by steering it.

=============  ==================  =====================================================
method         emotion named       vectors added while the model writes
=============  ==================  =====================================================
``baseline``   no                  none; one reply for each sample
``prompting``  yes                 none
``steering``   no                  the target's direction at each chosen layer
``random``     no                  random unit vectors, one for each target and layer
=============  ==================  =====================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.analysis.directions import Directions, random_directions
from emo.data.prompts import Prompt, PromptBuilder
from emo.data.samples import Sample
from emo.data.texts import Text, text_id
from emo.errors import DataError, ModelError, UsageError, did_you_mean
from emo.model import LanguageModel, Reply, Steering, generate
from emo.model.batch import check_lengths
from emo.model.steering import Relative, Scope
from emo.sites import Site

PLAIN_METHODS = ("baseline", "prompting")
STEERED_METHODS = ("steering", "random")
MAX_NEW_TOKENS = 60
_BLOCK = 128
OnRows = Callable[[Sequence[Text]], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Push:
    """Where, along what and how strongly to steer.

    Parameters
    ----------
    directions : Directions
        Holds `resid_post` of each chosen layer.
    layers : tuple of int
        0-based; each layer is pushed along its own direction.
    alpha : float
        Strength in RMS(h), or in |h| with `relative` "norm".
    relative : {"rms", "norm"}
    scope : {"prompt", "decode", "both"}
        Last prompt token, the tokens written, or both.
    """

    directions: Directions
    layers: tuple[int, ...]
    alpha: float = 8.0
    relative: Relative = "rms"
    scope: Scope = "both"

    def randomised(self, seed: int) -> Push:
        """Return the control: random unit vectors in the place of the directions."""
        control = random_directions(self.directions, seed)
        return Push(control, self.layers, self.alpha, self.relative, self.scope)

    def vectors(self) -> dict[int, NDArray[np.float32]]:
        """Directions of all labels at each layer, (n_labels, d_model).

        Raises
        ------
        UsageError
            When the directions lack a layer.
        """
        found = {}
        for layer in self.layers:
            site = Site(layer, "resid_post")
            if site not in self.directions.unit:
                raise UsageError(
                    f"the directions hold no {site}",
                    hint=did_you_mean(str(site), map(str, self.directions.unit)),
                )
            found[layer] = self.directions.unit[site]
        return found

    def settings(self) -> dict[str, Any]:
        """Return what changes the replies; the vectors by their SHA-256."""
        digest = hashlib.sha256("\n".join(self.directions.labels).encode())
        for vectors in self.vectors().values():
            digest.update(np.ascontiguousarray(vectors, "<f4").tobytes())
        return {
            "vectors": digest.hexdigest(),
            "layers": list(self.layers),
            "alpha": self.alpha,
            "relative": self.relative,
            "scope": self.scope,
        }


@dataclass(frozen=True)
class _Row:
    sample: Sample
    emotion: str | None
    method: str
    prompt: Prompt

    @property
    def id(self) -> str:
        return text_id(self.sample.id, self.emotion, self.method)

    def answered(self, reply: Reply) -> Text:
        return Text(
            id=self.id,
            source=self.sample,
            emotion=self.emotion,
            method=self.method,
            reply=reply.text.strip(),
            prompt_sha=self.prompt.sha,
            n_tokens=len(reply.ids),
            stopped=reply.stopped,
        )


def elicit(
    model: LanguageModel,
    samples: Sequence[Sample],
    *,
    emotions: Sequence[str],
    method: str,
    builder: PromptBuilder,
    push: Push | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int | None = None,
    existing: Mapping[str, Text] | None = None,
    on_rows: OnRows | None = None,
    progress: Progress | None = None,
) -> list[Text]:
    """Generate one reply for each sample and target; greedy, many rows at a time.

    Parameters
    ----------
    model : LanguageModel
    samples : sequence of Sample
    emotions : sequence of str
        The targets; not used by ``baseline``.
    method : str
        One of the table above.
    builder : PromptBuilder
        Of the model's tokenizer.
    push : Push, optional
        For ``steering`` and ``random``.
    existing : mapping of id to Text, optional
        Replies of an interrupted run. A block of rows counts as done when all of it is there,
        so that the replies are the same as without the interruption.
    on_rows : callable, optional
        Called with each finished block.
    progress : callable (rows done, rows in all), optional

    Returns
    -------
    list of Text
        By sample, then by target.

    Raises
    ------
    UsageError
        When method, targets and steering do not fit together.
    ModelError
        When a steered reply was not edited at all.
    DataError, NumericalError, ResourceError
        From generation.
    """
    _check(method, emotions, push)
    targets: Sequence[str | None] = [None] if method == "baseline" else list(emotions)
    rows = _rows(samples, targets, method, builder)
    room = None if model.context is None else model.context - 1
    check_lengths([row.prompt.ids for row in rows], room, [row.id for row in rows])
    known = dict(existing or {})
    finished: dict[str, Text] = {}
    for block in _blocks(rows, batch_size or _BLOCK):
        if all(row.id in known for row in block):
            finished |= {row.id: known[row.id] for row in block}
        else:
            replies = _replies(model, block, push, max_new_tokens, batch_size)
            texts = [row.answered(reply) for row, reply in zip(block, replies, strict=True)]
            finished |= {text.id: text for text in texts}
            if on_rows is not None:
                on_rows(texts)
        if progress is not None:
            progress(len(finished), len(rows))
    return [finished[row.id] for row in rows]


def _check(method: str, emotions: Sequence[str], push: Push | None) -> None:
    known = (*PLAIN_METHODS, *STEERED_METHODS)
    if method not in known:
        raise UsageError(f"unknown method {method!r}", hint=did_you_mean(method, known))
    if method != "baseline" and not emotions:
        raise UsageError(f"{method} needs at least one target emotion")
    if len(set(emotions)) < len(emotions):
        raise UsageError(f"a target emotion is named twice: {', '.join(emotions)}")
    if (method in STEERED_METHODS) != (push is not None):
        lacks = "needs directions and layers" if push is None else "takes no directions"
        raise UsageError(f"the method {method} {lacks}")
    if push is not None:
        if not push.layers:
            raise UsageError("steering needs at least one layer")
        labels = push.directions.labels
        for emotion in emotions:
            if emotion not in labels:
                raise UsageError(
                    f"the directions hold no {emotion!r}", hint=did_you_mean(emotion, labels)
                )


def _rows(
    samples: Sequence[Sample],
    targets: Sequence[str | None],
    method: str,
    builder: PromptBuilder,
) -> list[_Row]:
    if not samples:
        raise DataError("there is nothing to ask: the data is empty", hint="give samples")
    rows = []
    for sample in samples:
        plain = None if method == "prompting" else builder.build(sample.content, None)
        for emotion in targets:
            prompt = builder.build(sample.content, emotion) if plain is None else plain
            rows.append(_Row(sample, emotion, method, prompt))
    return rows


def _blocks(rows: Sequence[_Row], size: int) -> Iterable[list[_Row]]:
    """Rows of similar length together, longest first; the same for any interruption."""
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].prompt.ids), i))
    for start in range(0, len(order), size):
        yield [rows[i] for i in order[start : start + size]]


def _replies(
    model: LanguageModel,
    block: Sequence[_Row],
    push: Push | None,
    max_new_tokens: int,
    batch_size: int | None,
) -> list[Reply]:
    steering = None
    if push is not None:
        which = [push.directions.labels.index(row.emotion) for row in block if row.emotion]
        steering = Steering(push.vectors(), push.alpha, push.relative, push.scope, which)
    replies = generate(
        model,
        [row.prompt.ids for row in block],
        max_new_tokens=max_new_tokens,
        steering=steering,
        batch_size=batch_size,
    )
    if push is not None:
        for row, reply in zip(block, replies, strict=True):
            _check_hits(row, reply, push)
    return replies


def _check_hits(row: _Row, reply: Reply, push: Push) -> None:
    """Refuse a reply that steering never touched, though it should have."""
    passes = len(reply.ids) + reply.stopped
    due = passes - 1 if push.scope == "decode" else 1
    if push.alpha != 0 and due > 0 and reply.hits == 0:
        raise ModelError(
            f"steering did not touch the reply {row.id}: the edit of layers "
            f"{', '.join(map(str, push.layers))} never ran",
            hint="the model's blocks do not run as its family says",
        )

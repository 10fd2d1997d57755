"""Elicit replies into a file; a killed run goes on and ends with the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from emo.data.partial import PartFile
from emo.data.prompts import PromptBuilder
from emo.data.samples import Sample, samples_hash
from emo.data.texts import Text, text_from_row
from emo.errors import DataError
from emo.experiments.elicit import MAX_NEW_TOKENS, Progress, Push, elicit
from emo.model import LanguageModel


def elicit_kept(
    output: Path,
    model: LanguageModel,
    samples: Sequence[Sample],
    *,
    emotions: Sequence[str],
    method: str,
    builder: PromptBuilder,
    push: Push | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[Text], PartFile]:
    """Elicit as `emo.experiments.elicit.elicit` does, with finished rows in ``OUTPUT.part``.

    The caller removes that file when the texts are safe. The batch size is no setting: it
    changes nothing but rounding, and memory may ask for a smaller one.

    Raises
    ------
    SettingsError
        When ``OUTPUT.part`` was begun with another model, data or options.
    """
    settings = {
        "model": model.weight_sha or model.name,
        "tokenizer": model.tokenizer_sha,
        "dtype": str(model.dtype).removeprefix("torch."),
        "template": builder.template_sha,
        "data": samples_hash(samples),
        "method": method,
        "emotions": list(emotions),
        "max_new_tokens": max_new_tokens,
        "steering": None if push is None else push.settings(),
    }
    part = PartFile(output, settings)
    texts = elicit(
        model,
        samples,
        emotions=emotions,
        method=method,
        builder=builder,
        push=push,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        existing=part.read(_reader(samples)),
        on_rows=lambda rows: part.append(row.to_row() for row in rows),
        progress=progress,
    )
    return texts, part


def _reader(samples: Sequence[Sample]) -> Callable[[Mapping[str, Any], str], Text]:
    """Return a reader of rows that were made from these samples."""
    sources = {sample.id: sample for sample in samples}

    def read(row: Mapping[str, Any], where: str) -> Text:
        text = text_from_row(row, where)
        if text.sample not in sources:
            raise DataError(f"{where}: there is no sample {text.sample!r}")
        return replace(text, source=sources[text.sample])

    return read

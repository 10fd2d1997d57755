"""Capture: prompts through the model, vectors into a store, one shard after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.artifacts import sha256_text
from emo.data.prompts import Prompt, PromptBuilder
from emo.data.samples import Sample
from emo.data.texts import Text, text_id
from emo.errors import DataError, UsageError
from emo.model.batch import check_lengths, plan_batches
from emo.model.capture import Captured, Capturer
from emo.model.language_model import LanguageModel
from emo.model.positions import Row, parse_position, tokens_at
from emo.sites import DEFAULT_PARTS, Site
from emo.store import Store, StorePlan, StoreWriter, bytes_needed

TOKEN_BUDGET = 4096
SHARD_BYTES = 64 * 2**20
_STORED_AS = {"bf16": "BF16", "f16": "F16", "f32": "F32"}
_ITEM_BYTES = {"bf16": 2, "f16": 2, "f32": 4}


@dataclass(frozen=True)
class Item:
    """One text to capture, with the row that describes it in ``samples.jsonl``."""

    row: dict[str, Any]
    prompt: Prompt
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class CaptureSettings:
    """What to take and how to store it.

    Parameters
    ----------
    sites : tuple of Site
        Empty for ``resid_mid``, ``resid_post``, ``mlp_act`` and ``head_out`` of every layer.
    positions : tuple of str
        See `emo.model.positions`.
    dtype : str
        ``bf16``, ``f16`` or ``f32``: how vectors are stored.
    token_budget : int
        Largest number of tokens in a batch, padding included. Fixed, so that batches follow
        from the data and a resumed run ends with the same bytes.
    """

    sites: tuple[Site, ...] = ()
    positions: tuple[str, ...] = ("last",)
    dtype: str = "bf16"
    token_budget: int = TOKEN_BUDGET


def items_from_samples(
    samples: Iterable[Sample], builder: PromptBuilder, emotions: Sequence[str]
) -> list[Item]:
    """Prompts of samples: labelled sentences as they stand, events once for each emotion.

    Parameters
    ----------
    emotions : sequence of str
        Emotions to name for samples with a scenario and an event; empty names none.
    """
    items = []
    for sample in samples:
        if sample.text is not None:
            row = _row(sample, sample.id, sample.emotion, None)
            items.append(Item(row, builder.plain(sample.content), sample.spans))
            continue
        for emotion in emotions or (None,):
            method = "prompting" if emotion else "baseline"
            row = _row(sample, text_id(sample.id, emotion, method), emotion, method)
            items.append(Item(row, builder.build(sample.content, emotion)))
    return items


def items_from_texts(texts: Iterable[Text], builder: PromptBuilder) -> list[Item]:
    """Prompts of generated texts with their replies; only prompting names the emotion."""
    items = []
    for text in texts:
        named = text.emotion if text.method == "prompting" else None
        prompt = builder.build(text.source.content, named, reply=text.reply)
        if text.prompt_sha and prompt.sha != text.prompt_sha:
            raise DataError(
                f"the prompt of {text.id} differs from the one its reply was given to",
                hint="capture with the model and template that generated the texts",
            )
        items.append(Item(_row(text.source, text.id, text.emotion, text.method), prompt))
    return items


def capture(
    model: LanguageModel,
    items: Sequence[Item],
    folder: Path,
    settings: CaptureSettings,
    *,
    template_sha: str,
    announce: Callable[[int, int], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Capture `items` into the store `folder`, going on where an earlier run stopped.

    Parameters
    ----------
    announce : callable, optional
        Called before the first forward pass with the bytes of the whole store and the number
        of shards still to be written.
    progress : callable, optional
        Called with (texts done, texts in all).

    Returns
    -------
    Store
        The finished store.

    Raises
    ------
    DataError
        When there is nothing to capture or a text is longer than the model reads.
    SettingsError
        When the folder was begun with other settings; each differing field is named.
    ResourceError
        When the disk or the memory does not suffice.
    NumericalError
        When an activation is not finite in the wanted number format.
    """
    if not items:
        raise DataError("there is nothing to capture: the data is empty", hint="give samples")
    sites = settings.sites or default_sites(model.n_layers)
    capturer = Capturer(model, sites, settings.positions, dtype=settings.dtype)
    rows = [_model_row(index, item, capturer.positions) for index, item in enumerate(items)]
    check_lengths(
        [row.ids for row in rows], model.context, names=[item.row["id"] for item in items]
    )
    shards = _shards(rows, capturer, settings)
    plan = _plan(model, items, rows, shards, capturer, settings, template_sha)
    with StoreWriter(folder, plan) as writer:
        if announce is not None:
            announce(bytes_needed(plan), len(writer.pending))
        done = sum(len(batch) for i in _finished(writer, len(shards)) for batch in shards[i])
        for index in list(writer.pending):
            parts = []
            for batch in shards[index]:
                parts.append(capturer.forward([rows[i] for i in batch]))
                done += len(batch)
                if progress is not None:
                    progress(done, len(rows))
            writer.write(index, *_joined(parts))
        return writer.finish()


def default_sites(n_layers: int, parts: Sequence[str] = DEFAULT_PARTS) -> tuple[Site, ...]:
    """Return the parts of every layer, layer by layer."""
    return tuple(Site(layer, part) for layer in range(n_layers) for part in parts)


def _row(sample: Sample, name: str, emotion: str | None, method: str | None) -> dict[str, Any]:
    row = {
        "id": name,
        "sample": sample.id,
        "group": sample.group,
        "emotion": emotion,
        "valence": sample.valence,
        "language": sample.language,
        "method": method,
    }
    return {key: value for key, value in row.items() if value is not None}


def _model_row(index: int, item: Item, positions: Sequence[str]) -> Row:
    spans = item.prompt.tokens_in(item.spans) if "span" in positions and item.spans else ()
    return Row(index, item.prompt.ids, item.prompt.n_prompt, spans)


def _shards(
    rows: Sequence[Row], capturer: Capturer, settings: CaptureSettings
) -> list[list[list[int]]]:
    """Batches of each shard; both follow from the data and the settings alone."""
    width = sum(capturer.model.width(site) for site in capturer.sites)
    row_bytes = width * _ITEM_BYTES[capturer.dtype] + 16
    shards: list[list[list[int]]] = []
    size = SHARD_BYTES
    for batch in plan_batches([len(row.ids) for row in rows], settings.token_budget):
        n_rows = sum(len(tokens_at(p, rows[i])) if p == "all" else 1
                     for p in capturer.positions for i in batch)  # fmt: skip
        if size + n_rows * row_bytes > SHARD_BYTES and size > 0:
            shards.append([])
            size = 0
        shards[-1].append(batch)
        size += n_rows * row_bytes
    return shards


def _plan(
    model: LanguageModel,
    items: Sequence[Item],
    rows: Sequence[Row],
    shards: Sequence[Sequence[Sequence[int]]],
    capturer: Capturer,
    settings: CaptureSettings,
    template_sha: str,
) -> StorePlan:
    counts = []
    for shard in shards:
        members = [rows[i] for batch in shard for i in batch]
        counts.append({p: _n_rows(p, members) for p in capturer.positions})
    for position in capturer.positions:
        if not any(count[position] for count in counts):
            raise UsageError(
                f"no text has the position {position!r}",
                hint="'reply' needs generated texts, 'span' needs samples with spans",
            )
    description = model.describe()
    fields = {
        "weights": description["weight_sha"],
        "tokenizer": model.tokenizer_sha,
        "template": template_sha,
        "prompts": sha256_text("\n".join(sha256_text(item.prompt.text) for item in items)),
        "attention": str(getattr(model.module.config, "_attn_implementation", "unknown")),
        "computed_in": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "token_budget": settings.token_budget,
    }
    if any(row.span_tokens for row in rows):
        spans = json.dumps([list(row.span_tokens) for row in rows])
        fields["spans"] = sha256_text(spans)
    samples = [
        {**item.row, "text_sha": item.prompt.sha, "n_tokens": len(item.prompt.ids)}
        for item in items
    ]
    return StorePlan(
        fields=fields,
        model=description,
        dtype=_STORED_AS[capturer.dtype],
        sites={site: model.width(site) for site in capturer.sites},
        positions=capturer.positions,
        samples=samples,
        shards=counts,
    )


def _n_rows(position: str, rows: Iterable[Row]) -> int:
    counts = (len(tokens_at(position, row)) for row in rows)
    return sum(counts) if position == "all" else sum(count > 0 for count in counts)


def _finished(writer: StoreWriter, n_shards: int) -> list[int]:
    return [index for index in range(n_shards) if index not in writer.pending]


def _joined(
    parts: Sequence[Captured],
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.int64]]]:
    names = parts[0].rows
    rows = {name: np.concatenate([part.rows[name] for part in parts]) for name in names}
    rows = {name: array for name, array in rows.items() if len(array)}
    tensors = {
        name: np.concatenate([part.tensors[name] for part in parts])
        for name in parts[0].tensors
        if name.partition("@")[2] in rows
    }
    return tensors, rows


def positions_of(names: str) -> tuple[str, ...]:
    """Read a comma-separated list of positions."""
    return tuple(parse_position(name.strip()) for name in names.split(","))

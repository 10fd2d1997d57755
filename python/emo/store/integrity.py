"""Prove that a store is what was written, and describe it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from emo import _core
from emo.artifacts import read_json
from emo.errors import ArtifactError
from emo.sites import tensor_name
from emo.store.manifest import (
    MANIFEST,
    PLAN,
    SHARDS,
    ShardRecord,
    ledger_file,
    read_record,
    shard_file,
    tensor_names,
)
from emo.store.reader import Store

Report = Callable[[int, int], None]


def verify(store: Store, progress: Report | None = None, *, threads: int = 0) -> None:
    """Read every byte of a store and check it against every record of it.

    Checked are the fingerprint, the samples' hash, for each shard the ledger record, names and
    shapes of its tensors, its blake3 hash, its row index, and the chunk hashes that scoring
    relies on.

    Parameters
    ----------
    store : Store
    progress : callable, optional
        Called with (shards done, shards).
    threads : int
        Native threads, 0 for all there are.

    Raises
    ------
    ArtifactError
        Naming the first file that differs.
    NumericalError
        When a stored value is not finite.
    """
    _check_plan(store)
    _ = store.samples
    for index, record in enumerate(store.record.shards):
        _check_record(store, index, record)
        _core.verify_shard(str(store.path / record.file), record.blake3)
        if progress is not None:
            progress(index + 1, len(store.record.shards))
    for position in store.positions:
        store.rows(position)
        _check_chunks(store, position, threads)


def describe(store: Store) -> dict[str, Any]:
    """Describe a store as plain JSON values.

    Returns
    -------
    dict
        ``model, dtype, fingerprint, samples, emotions`` (rows of ``samples.jsonl`` for each),
        ``positions`` (rows at each), ``sites`` (for each part its width and layers), ``shards``,
        ``bytes``.
    """
    parts: dict[str, dict[str, Any]] = {}
    for site, width in sorted(store.sites.items()):
        entry = parts.setdefault(site.part, {"width": width, "layers": []})
        entry["layers"].append(site.layer)
    emotions = Counter(row.get("emotion") or "neutral" for row in store.samples)
    return {
        "model": dict(store.model),
        "dtype": store.record.dtype,
        "fingerprint": store.fingerprint,
        "samples": store.record.n_samples,
        "emotions": dict(sorted(emotions.items())),
        "positions": {name: store.n_rows(name) for name in store.positions},
        "sites": parts,
        "shards": len(store.record.shards),
        "bytes": sum(shard.bytes for shard in store.record.shards),
    }


def _check_plan(store: Store) -> None:
    name = f"{SHARDS}/{PLAN}"
    plan = read_json(store.path / name, "store plan")
    same = isinstance(plan, dict) and plan.get("fingerprint") == store.fingerprint
    if not same or plan.get("fields") != store.record.fields:
        raise _damaged(store, name, f"it differs from {MANIFEST}")


def _check_record(store: Store, index: int, record: ShardRecord) -> None:
    if record.file != shard_file(index):
        raise _damaged(store, MANIFEST, f"shard {index} is recorded as {record.file}")
    if read_record(store.path / ledger_file(index)) != record:
        raise _damaged(store, ledger_file(index), f"it differs from {MANIFEST}")
    store.check_header(record)
    if record.chunks.keys() != tensor_names(record, store.sites).keys():
        raise _damaged(store, MANIFEST, f"the chunk hashes of {record.file} are incomplete")


def _check_chunks(store: Store, position: str, threads: int) -> None:
    """Let one scan of every site check the chunk hashes that scoring relies on."""
    labels = np.zeros(store.n_rows(position), np.int32)
    for site in sorted(store.sites) if labels.size else ():
        _core.moments(
            store.shards(site, position),
            tensor_name(site, position),
            labels,
            1,
            threads=threads,
            io=store.io,
            chunks=store.chunk_hashes(site, position),
        )


def _damaged(store: Store, name: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"{store.path / name} is damaged: {why}",
        hint="restore it from a copy, or capture again into a new folder",
    )

"""Write a store shard by shard, so that a killed run goes on and ends with the same bytes.

Publish order: the shard (temporary file, hashed while written, fsync, link), its ledger record,
and, when all are there, ``samples.jsonl`` and the manifest. A shard counts as finished when its
ledger record is there and its file has the recorded size; everything else is removed and
written again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo import _core
from emo.artifacts import json_bytes, package_version, read_json, write_bytes, write_json
from emo.errors import ArtifactError, ResourceError, UsageError
from emo.sites import tensor_name
from emo.store.encode import encode
from emo.store.lock import LOCK, folder_lock
from emo.store.manifest import (
    ITEM_BYTES,
    MANIFEST,
    PLAN,
    SAMPLES,
    SHARDS,
    STATS,
    ShardRecord,
    StorePlan,
    check_same_settings,
    fingerprint_of,
    ledger_file,
    manifest_json,
    read_record,
    samples_bytes,
    shard_file,
)
from emo.store.reader import Store

_HEADER = 4096
_HEADER_PER_TENSOR = 96
_OWN_NAMES = re.compile(rf"{re.escape(MANIFEST)}|{re.escape(SAMPLES)}|{SHARDS}|{STATS}|\..*")
_LEFTOVER = re.compile(r"\d{5,}\.(safetensors|json)|\..*")


def bytes_needed(plan: StorePlan, shards: list[int] | None = None) -> int:
    """Disk space of a plan's shards (or of some of them), file headers included.

    Parameters
    ----------
    plan : StorePlan
    shards : list of int, optional
        0-based shards; all when None.

    Returns
    -------
    int
        Bytes, an upper estimate to within a header of each shard.
    """
    chosen = range(len(plan.shards)) if shards is None else shards
    row = sum(plan.sites.values()) * ITEM_BYTES[plan.dtype] + 16
    n_tensors = len(plan.positions) * (len(plan.sites) + 1)
    header = -(-n_tensors * _HEADER_PER_TENSOR // _HEADER) * _HEADER + _HEADER
    return sum(sum(plan.shards[i].values()) * row + header for i in chosen)


class StoreWriter:
    """Writes the shards that a plan still lacks; use it as a context manager.

    Parameters
    ----------
    folder : Path
        Made when missing. An earlier run of the same plan is continued.
    plan : StorePlan

    Attributes
    ----------
    pending : list of int
        Shards that are still to be written, ascending.

    Raises
    ------
    SettingsError
        When the folder was begun with another fingerprint; names each differing field.
    ArtifactError
        When the folder holds something else than a store.
    ResourceError
        When another process writes there, or the disk has too little room.
    """

    def __init__(self, folder: Path, plan: StorePlan) -> None:
        self.folder = Path(folder)
        self.plan = plan
        self.pending: list[int] = []
        self._records: dict[int, ShardRecord] = {}
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> StoreWriter:
        _make_folder(self.folder)
        with contextlib.ExitStack() as stack:
            stack.enter_context(folder_lock(self.folder))
            self._begin()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _begin(self) -> None:
        _refuse_foreign(self.folder)
        fields = self.plan.all_fields()
        plan_path = self.folder / SHARDS / PLAN
        if plan_path.exists():
            check_same_settings(self.folder, _old_fields(plan_path), fields)
        _make_folder(self.folder / SHARDS)
        self._collect()
        self._need_space()
        if not plan_path.exists():
            write_json(plan_path, {"fingerprint": fingerprint_of(fields), "fields": fields})
            _sync_folder(self.folder / SHARDS)
        if self.pending:
            (self.folder / MANIFEST).unlink(missing_ok=True)

    def _collect(self) -> None:
        """Find the finished shards and remove what a killed run left behind."""
        self._records = {}
        keep = {PLAN}
        for index in range(len(self.plan.shards)):
            record = _finished(self.folder, index)
            if record is not None and record.rows == _expected_rows(self.plan, index):
                self._records[index] = record
                keep |= {Path(record.file).name, Path(ledger_file(index)).name}
        self.pending = [i for i in range(len(self.plan.shards)) if i not in self._records]
        for path in (self.folder / SHARDS).iterdir():
            if path.name not in keep and _LEFTOVER.fullmatch(path.name):
                path.unlink()
        for name in (MANIFEST, SAMPLES):
            for path in self.folder.glob(f".{name}.*"):
                path.unlink()

    def _need_space(self) -> None:
        needed = bytes_needed(self.plan, self.pending)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ResourceError(
                f"{self.folder} needs {_gib(needed)} more, but its disk has {_gib(free)} free",
                hint="choose another disk, fewer sites or positions, or a smaller dtype",
            )

    def write(
        self,
        index: int,
        tensors: Mapping[str, NDArray[Any]],
        rows: Mapping[str, NDArray[np.int64]],
    ) -> None:
        """Publish one shard and its ledger record.

        Parameters
        ----------
        index : int, 0-based
            One of `pending`.
        tensors : mapping of str to (n_rows, width) array
            ``L12.mlp_act@last`` and so on: float32, or as stored (uint16 bfloat16 bits for
            ``BF16``, float16 for ``F16``). Positions without rows in this shard are left out.
        rows : mapping of str to (n_rows, 2) int64 array
            For each position (sample index, token index or -1 when pooled).

        Raises
        ------
        NumericalError
            When a value is not finite.
        ResourceError
            When the disk is full.
        UsageError
            When the arrays do not fit the plan.
        """
        if index not in self.pending:
            raise UsageError(f"shard {index} is not pending in {self.folder}")
        expected = _expected_rows(self.plan, index)
        arrays = _index_arrays(rows, expected, len(self.plan.samples))
        hashes = {p: hashlib.sha256(arrays[f"rows@{p}"][1].tobytes()).hexdigest() for p in expected}
        arrays |= self._site_arrays(tensors, expected)
        path = self.folder / shard_file(index)
        published = _core.write_shard(str(path), [(name, *arrays[name]) for name in arrays])
        record = ShardRecord(
            file=shard_file(index),
            rows=expected,
            bytes=published["bytes"],
            blake3=published["blake3"],
            index_sha256=hashes,
            chunks=published["chunks"],
        )
        write_json(self.folder / ledger_file(index), record.to_json())
        _sync_folder(self.folder / SHARDS)
        self._records[index] = record
        self.pending.remove(index)

    def _site_arrays(
        self, tensors: Mapping[str, NDArray[Any]], expected: Mapping[str, int]
    ) -> dict[str, tuple[str, NDArray[Any]]]:
        shapes = {
            tensor_name(site, position): (n_rows, self.plan.sites[site])
            for site in sorted(self.plan.sites)
            for position, n_rows in expected.items()
        }
        if shapes.keys() != tensors.keys():
            odd = sorted(shapes.keys() ^ tensors.keys())[0]
            raise UsageError(f"the tensor {odd!r} is missing from the shard, or not planned")
        for name, shape in shapes.items():
            if tensors[name].shape != shape:
                raise UsageError(f"{name} has shape {tensors[name].shape}, planned is {shape}")
        dtype = self.plan.dtype
        return {name: (dtype, encode(name, tensors[name], dtype)) for name in shapes}

    def finish(self) -> Store:
        """Write ``samples.jsonl`` and the manifest; the store is complete from then on.

        Of a store that was complete before, the files stay as they are.

        Returns
        -------
        Store
            The finished store, opened.

        Raises
        ------
        UsageError
            When shards are still pending.
        """
        if self.pending:
            raise UsageError(f"{len(self.pending)} shards of {self.folder} are not written yet")
        records = [self._records[i] for i in range(len(self.plan.shards))]
        manifest = manifest_json(self.plan, records, package_version())
        _publish(self.folder / SAMPLES, samples_bytes(self.plan.samples))
        _publish(self.folder / MANIFEST, json_bytes(manifest))
        return Store.open(self.folder)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ArtifactError(
            f"{folder} is a file, not the folder of a store", hint="choose a new folder"
        ) from None
    except OSError as error:
        raise ResourceError.of("make", folder, error) from None


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds other files, so that nothing of the user's is removed."""
    for path in sorted(folder.iterdir()):
        if path.name != LOCK and not _OWN_NAMES.fullmatch(path.name):
            raise ArtifactError(
                f"{folder} holds {path.name}, which is no part of a store",
                hint="choose an empty or a new folder",
            )
    shards = folder / SHARDS
    if shards.exists() and not (shards / PLAN).exists():
        strangers = sorted(p.name for p in shards.iterdir() if not p.name.startswith("."))
        if strangers:
            raise ArtifactError(
                f"{shards} holds {strangers[0]} but no {PLAN}, so it is not a store begun by emo",
                hint="choose an empty or a new folder",
            )


def _old_fields(path: Path) -> Mapping[str, Any]:
    value = read_json(path, "store plan")
    fields = value.get("fields") if isinstance(value, dict) else None
    if not isinstance(fields, dict) or fingerprint_of(fields) != value.get("fingerprint"):
        raise ArtifactError(
            f"{path} is damaged: its fields do not give its fingerprint",
            hint="choose a new folder and capture again",
        )
    return fields


def _expected_rows(plan: StorePlan, index: int) -> dict[str, int]:
    return {name: n for name, n in plan.shards[index].items() if n}


def _finished(folder: Path, index: int) -> ShardRecord | None:
    """Return the record of a shard that is complete on disk, else None."""
    ledger = folder / ledger_file(index)
    shard = folder / shard_file(index)
    if not (ledger.is_file() and shard.is_file()):
        return None
    record = read_record(ledger)
    complete = record.file == shard_file(index) and record.bytes == shard.stat().st_size
    return record if complete else None


def _index_arrays(
    rows: Mapping[str, NDArray[np.int64]], expected: Mapping[str, int], n_samples: int
) -> dict[str, tuple[str, NDArray[Any]]]:
    if rows.keys() != expected.keys():
        odd = sorted(rows.keys() ^ expected.keys())[0]
        raise UsageError(f"the rows of position {odd!r} are missing, or not planned")
    arrays: dict[str, tuple[str, NDArray[Any]]] = {}
    for position, n_rows in expected.items():
        index = np.ascontiguousarray(rows[position], dtype=np.int64)
        if index.shape != (n_rows, 2):
            raise UsageError(f"rows@{position} has shape {index.shape}, planned is {(n_rows, 2)}")
        if index[:, 0].min() < 0 or index[:, 0].max() >= n_samples or index[:, 1].min() < -1:
            raise UsageError(f"rows@{position} names a sample or token that does not exist")
        arrays[f"rows@{position}"] = ("I64", index)
    return arrays


def _publish(path: Path, data: bytes) -> None:
    try:
        there = path.read_bytes() == data
    except OSError:  # not there, or not to be read: writing puts it right or says why not
        there = False
    if not there:
        write_bytes(path, data)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.2f} GiB"

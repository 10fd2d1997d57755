"""What a store says about itself: plan, shard records, manifest, fingerprint.

A store is a folder: ``emo-store.json`` (the manifest, written last), ``samples.jsonl``, and
``shards/`` with ``00000.safetensors`` (tensors), ``00000.json`` (its ledger record) and
``plan.json`` (fingerprint and fields, written first). ``stats/`` holds cached statistics and is
no part of the store proper.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emo.artifacts import read_json
from emo.errors import ArtifactError, SettingsError, UsageError
from emo.sites import Site, tensor_name

MANIFEST = "emo-store.json"
SAMPLES = "samples.jsonl"
SHARDS = "shards"
PLAN = "plan.json"
STATS = "stats"
KIND = "emo-store"
FORMAT = 1
ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4}
MODEL_KEYS = ("name", "weight_sha", "family", "n_layers", "d_model", "n_heads", "d_head", "d_mlp")
# Entries of the model's record that may change between runs, or have a field of their own.
_OWN_FIELDS = ("name", "folder", "revision", "weight_sha", "tokenizer_sha")
_SHARD_FILE = re.compile(r"shards/\d{5,}\.safetensors")
_SHOWN_FIELDS = 12
_RESTORE = "restore it from a copy, or capture again into a new folder"


@dataclass(frozen=True)
class StorePlan:
    """Everything that is known about a store before the first forward pass.

    Parameters
    ----------
    fields : mapping
        What changes the numbers, as JSON: model and weight hashes, tokenizer, chat template,
        data, prompts, attention implementation, batching. Sites, positions, dtype, samples, the
        split into shards and the format version are added here, so that none is forgotten.
    model : mapping
        What readers need: `MODEL_KEYS` and ``folder`` (None when the model lies in none). All
        but name, folder and revision is in the fingerprint: these may change between runs.
    dtype : str
        ``BF16``, ``F16`` or ``F32``: how every site is stored.
    sites : mapping of Site to int
        Width of each captured site.
    positions : tuple of str
        Token positions, such as ``last``.
    samples : sequence of mapping
        Rows of ``samples.jsonl``.
    shards : sequence of mapping of str to int
        For each shard the number of rows at each position.
    """

    fields: Mapping[str, Any]
    model: Mapping[str, Any]
    dtype: str
    sites: Mapping[Site, int]
    positions: tuple[str, ...]
    samples: Sequence[Mapping[str, Any]]
    shards: Sequence[Mapping[str, int]]

    def __post_init__(self) -> None:
        if self.dtype not in ITEM_BYTES:
            raise UsageError(
                f"a store cannot hold {self.dtype!r}", hint=f"one of {', '.join(ITEM_BYTES)}"
            )
        lacking = [name for name in MODEL_KEYS if name not in self.model]
        if lacking:
            raise UsageError(f"the model's record lacks {', '.join(lacking)}")
        if not (self.sites and self.positions and self.samples and self.shards):
            raise UsageError("a store needs at least one site, position, sample and shard")

    def all_fields(self) -> dict[str, Any]:
        """Return the fields that the fingerprint covers."""
        own = {
            "format": FORMAT,
            "dtype": self.dtype,
            "sites": [f"{site}:{self.sites[site]}" for site in sorted(self.sites)],
            "positions": list(self.positions),
            "samples": hashlib.sha256(samples_bytes(self.samples)).hexdigest(),
            "shards": [[shard.get(name, 0) for name in self.positions] for shard in self.shards],
            "model": {key: self.model[key] for key in self.model if key not in _OWN_FIELDS},
        }
        clash = sorted(own.keys() & self.fields.keys())
        if clash:
            raise UsageError(f"the field {clash[0]!r} is set by the store itself")
        fields: dict[str, Any] = json.loads(json.dumps({**self.fields, **own}))
        return fields


@dataclass(frozen=True)
class ShardRecord:
    """What is known about one published shard; the same in its ledger file and the manifest.

    Parameters
    ----------
    file : str
        Path inside the store.
    rows : mapping of str to int
        Rows at each position (positions without rows have no tensors in this shard).
    bytes, blake3 : int, str
        Size and hash of the file.
    index_sha256 : mapping of str to str
        Hash of each ``rows@position`` tensor's bytes.
    chunks : mapping of str to list of str
        For each tensor, xxh3 of each 8 MiB.
    """

    file: str
    rows: Mapping[str, int]
    bytes: int
    blake3: str
    index_sha256: Mapping[str, str]
    chunks: Mapping[str, Sequence[str]]

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Manifest:
    """The typed content of ``emo-store.json``."""

    fingerprint: str
    fields: Mapping[str, Any]
    model: Mapping[str, Any]
    dtype: str
    sites: Mapping[Site, int]
    positions: tuple[str, ...]
    n_samples: int
    samples_sha256: str
    shards: tuple[ShardRecord, ...]


def shard_file(index: int) -> str:
    """Path of a shard inside its store.

    >>> shard_file(7)
    'shards/00007.safetensors'
    """
    return f"{SHARDS}/{index:05d}.safetensors"


def ledger_file(index: int) -> str:
    """Path of a shard's ledger record inside its store."""
    return f"{SHARDS}/{index:05d}.json"


def samples_bytes(samples: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the bytes of ``samples.jsonl``."""
    rows = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in samples)
    return "".join(rows).encode()


def fingerprint_of(fields: Mapping[str, Any]) -> str:
    """Hex SHA-256 over the canonical JSON of `fields`."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def check_same_settings(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to go on in a folder that was begun with other settings.

    Raises
    ------
    SettingsError
        Naming each differing field with its old and its new value.
    """
    changes = list(_differences(old, new, ""))
    if not changes:
        return
    more = f"; and {len(changes) - _SHOWN_FIELDS} more" if len(changes) > _SHOWN_FIELDS else ""
    raise SettingsError(
        f"{folder} was begun with other settings: {'; '.join(changes[:_SHOWN_FIELDS])}{more}",
        hint="choose another output folder, or give the settings it was begun with",
    )


def _differences(old: Any, new: Any, name: str) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            below = f"{name}.{key}" if name else key
            yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), below)
    elif old != new:
        if isinstance(old, list) and isinstance(new, list):
            old, new = _only(old, new) or old, _only(new, old) or new
        yield f"{name} was {_shown(old)}, now {_shown(new)}"


def _only(items: list[Any], others: list[Any]) -> list[Any]:
    known = {json.dumps(item) for item in others}
    return [item for item in items if json.dumps(item) not in known]


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, _Absent) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def manifest_json(plan: StorePlan, records: Sequence[ShardRecord], version: str) -> dict[str, Any]:
    """Return the manifest as a JSON object."""
    fields = plan.all_fields()
    return {
        "kind": KIND,
        "format": FORMAT,
        "version": version,
        "fingerprint": fingerprint_of(fields),
        "fields": fields,
        "model": dict(plan.model),
        "dtype": plan.dtype,
        "sites": {str(site): plan.sites[site] for site in sorted(plan.sites)},
        "positions": list(plan.positions),
        "samples": {"count": len(plan.samples), "sha256": fields["samples"]},
        "shards": [record.to_json() for record in records],
    }


def read_record(path: Path) -> ShardRecord:
    """Read a ledger record.

    Raises
    ------
    ArtifactError
        When it is missing or damaged.
    """
    with _damaged(path):
        return _record(read_json(path, "ledger record"))


def read_manifest(path: Path) -> tuple[dict[str, Any], Manifest]:
    """Read ``emo-store.json``: its JSON, and the same with types.

    Raises
    ------
    ArtifactError
        When it is foreign, of a newer format, or damaged.
    """
    with _damaged(path):
        value = read_json(path, "store")
    return value, parse_manifest(value, path)


def parse_manifest(value: Any, path: Path) -> Manifest:
    """Check the JSON of a manifest and give it types.

    Raises
    ------
    ArtifactError
        When it is foreign, of a newer format, or damaged.
    """
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise ArtifactError(f"{path} is not the manifest of a store", hint=_RESTORE)
    if not isinstance(value.get("format"), int) or value["format"] > FORMAT:
        raise ArtifactError(
            f"{path} has format {value.get('format')!r}, this version reads up to {FORMAT}",
            hint="upgrade emo-circuits",
        )
    with _damaged(path):
        manifest = Manifest(
            fingerprint=_text(value["fingerprint"]),
            fields=dict(value["fields"]),
            model={**value["model"], **{name: value["model"][name] for name in MODEL_KEYS}},
            dtype=_one_of(value["dtype"], ITEM_BYTES),
            sites={Site.parse(name): _count(width) for name, width in value["sites"].items()},
            positions=tuple(_text(name) for name in value["positions"]),
            n_samples=_count(value["samples"]["count"]),
            samples_sha256=_text(value["samples"]["sha256"]),
            shards=tuple(_record(record) for record in value["shards"]),
        )
        _check_fields(manifest)
        return manifest


def _check_fields(manifest: Manifest) -> None:
    """Compare what a manifest says twice: in itself, and in the fields of its fingerprint."""
    if fingerprint_of(manifest.fields) != manifest.fingerprint:
        raise ValueError("its fields do not give its fingerprint")
    positions = manifest.positions
    described = {
        "sites": [f"{site}:{width}" for site, width in sorted(manifest.sites.items())],
        "dtype": manifest.dtype,
        "positions": list(positions),
        "samples": manifest.samples_sha256,
        "shards": [[shard.rows.get(name, 0) for name in positions] for shard in manifest.shards],
    }
    for field, value in described.items():
        if manifest.fields.get(field) != value:
            raise ValueError(f"its {field} differ from its fields")
    _check_model(manifest)
    for name in MODEL_KEYS:
        check = _count if name.startswith(("n_", "d_")) else _text
        check(manifest.model[name])


def _check_model(manifest: Manifest) -> None:
    """Compare the record of the model with the fields, as far as these tell."""
    model, fields = manifest.model, manifest.fields
    told = {"weight_sha": fields.get("weights"), "tokenizer_sha": fields.get("tokenizer")}
    for name, value in (told | fields.get("model", {})).items():
        if value is not None and model.get(name) != value:
            raise ValueError(f"the model's {name} differs from its fields")


def tensor_names(record: ShardRecord, sites: Mapping[Site, int]) -> dict[str, tuple[int, int]]:
    """Shape of every tensor that a shard holds, the ``rows@position`` tensors included."""
    shapes = {}
    for position, n_rows in record.rows.items():
        if n_rows:
            shapes[f"rows@{position}"] = (n_rows, 2)
            shapes |= {tensor_name(site, position): (n_rows, sites[site]) for site in sites}
    return shapes


@contextlib.contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Turn any surprise while reading a JSON structure into one ArtifactError."""
    try:
        yield
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        UsageError,
    ) as error:
        raise ArtifactError(
            f"{path} is damaged: {type(error).__name__}: {error}",
            hint=_RESTORE,
        ) from None


def _record(value: Any) -> ShardRecord:
    if not _SHARD_FILE.fullmatch(value["file"]):
        raise ValueError(f"shard name {value['file']!r}")
    return ShardRecord(
        file=value["file"],
        rows={_text(name): _count(n) for name, n in value["rows"].items()},
        bytes=_count(value["bytes"]),
        blake3=_text(value["blake3"]),
        index_sha256={_text(name): _text(x) for name, x in value["index_sha256"].items()},
        chunks={_text(name): [_text(x) for x in xs] for name, xs in value["chunks"].items()},
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} should be a text")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} should be a count")
    return value


def _one_of(value: Any, allowed: Mapping[str, int]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} should be one of {', '.join(allowed)}")
    return _text(value)

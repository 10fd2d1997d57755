"""Read a store: what it holds, where its shards are, and rows of it as float32."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo import _core
from emo.errors import ArtifactError, ResourceError, UsageError, did_you_mean
from emo.sites import Site, tensor_name
from emo.store.manifest import (
    MANIFEST,
    PLAN,
    SAMPLES,
    SHARDS,
    Manifest,
    ShardRecord,
    read_manifest,
    tensor_names,
)

_RESTORE = "restore it from a copy, or capture again"


@dataclass(frozen=True)
class Store:
    """A finished store, opened for reading.

    Parameters
    ----------
    path : Path
        The folder.
    manifest : mapping
        The JSON of ``emo-store.json``.
    record : Manifest
        The same, typed.
    io : {"auto", "mmap", "pread"}
        How scans read the shards: mapped, by position, or what a trial of both finds faster. No
        bit depends on it.
    """

    path: Path
    manifest: Mapping[str, Any]
    record: Manifest
    io: str = "auto"

    @classmethod
    def open(cls, path: Path, io: str = "auto") -> Store:
        """Open a store; the shards' sizes are checked, their content is not (see ``verify``).

        Raises
        ------
        ArtifactError
            When there is no store, it is not finished, it is foreign or of a newer format, or
            a shard is missing or truncated.
        """
        path = Path(path)
        if not path.is_dir():
            there = f"{path} is no folder" if path.exists() else f"no such store: {path}"
            raise ArtifactError(there, hint="emo capture makes a store")
        if not (path / MANIFEST).is_file():
            begun = (path / SHARDS / PLAN).is_file() and not (path / MANIFEST).exists()
            raise ArtifactError(
                f"{path} is not a finished store" if begun else f"{path} is not a store",
                hint="run the same capture command again to finish it"
                if begun
                else f"a store holds {MANIFEST}; emo capture makes one",
            )
        store = cls(path, *read_manifest(path / MANIFEST), io)
        for shard in store.record.shards:
            _check_size(path / shard.file, shard)
        return store

    @property
    def model(self) -> Mapping[str, Any]:
        """The model's name, folder, weight hash, family and sizes."""
        return self.record.model

    @property
    def sites(self) -> dict[Site, int]:
        """Captured sites and their widths."""
        return dict(self.record.sites)

    @property
    def positions(self) -> tuple[str, ...]:
        """Captured token positions."""
        return self.record.positions

    @property
    def fingerprint(self) -> str:
        """Hash of everything that changes the numbers."""
        return self.record.fingerprint

    @cached_property
    def samples(self) -> list[dict[str, Any]]:
        """Rows of ``samples.jsonl``, in the order that ``rows`` counts in.

        Raises
        ------
        ArtifactError
            When the file is missing, or is not the one that was written with the store.
        """
        path = self.path / SAMPLES
        if not path.is_file():
            raise ArtifactError(f"{self.path} lacks {SAMPLES}", hint=_RESTORE)
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ResourceError.of("read", path, error) from None
        if hashlib.sha256(raw).hexdigest() != self.record.samples_sha256:
            raise ArtifactError(f"{path} was changed after the capture", hint=_RESTORE)
        return [json.loads(line) for line in raw.splitlines()]

    def site(self, name: Site | str) -> Site:
        """Return a captured site, or say what was captured.

        Raises
        ------
        UsageError
            When the store lacks it.
        """
        site = Site.parse(name) if isinstance(name, str) else name
        if site not in self.record.sites:
            raise UsageError(
                f"{self.path} holds no site {site}",
                hint=self._near(site),
            )
        return site

    def _near(self, site: Site) -> str:
        layers = sorted(other.layer for other in self.record.sites if other.part == site.part)
        if layers:
            return f"{site.part} was captured at the layers {', '.join(map(str, layers))}"
        return did_you_mean(str(site), map(str, sorted(self.record.sites)))

    def position(self, name: str) -> str:
        """Return a captured position, or say what was captured.

        Raises
        ------
        UsageError
            When the store lacks it.
        """
        if name not in self.record.positions:
            raise UsageError(
                f"{self.path} holds no position {name!r}",
                hint=did_you_mean(name, self.record.positions),
            )
        return name

    def width(self, site: Site | str) -> int:
        """Width of a site."""
        return self.record.sites[self.site(site)]

    def n_rows(self, position: str) -> int:
        """Rows at a position, over all shards."""
        self.position(position)
        return sum(shard.rows.get(position, 0) for shard in self.record.shards)

    def shards(self, site: Site | str, position: str) -> list[str]:
        """Paths of the shards that hold rows of a site and position, in row order."""
        self.site(site)
        return [str(self.path / shard.file) for shard in self._holding(position)]

    def chunk_hashes(self, site: Site | str, position: str) -> list[list[str]]:
        """For each path of ``shards(site, position)``, xxh3 of each 8 MiB of the tensor."""
        name = tensor_name(self.site(site), self.position(position))
        return [self._chunks(shard, name) for shard in self._holding(position)]

    def rows(self, position: str) -> NDArray[np.int64]:
        """Which sample and token each row belongs to.

        Returns
        -------
        (n_rows, 2) int64 array
            Sample index, and token index or -1 when the row is pooled over tokens.

        Raises
        ------
        ArtifactError
            When a shard's rows are not those that were written.
        """
        parts = [self._index(shard, position) for shard in self._holding(position)]
        return np.concatenate([np.empty((0, 2), np.int64), *parts])

    def read(
        self,
        site: Site | str,
        position: str,
        start: int = 0,
        stop: int | None = None,
        *,
        check: bool = True,
    ) -> NDArray[np.float32]:
        """Read rows of one tensor, counted over all shards.

        Parameters
        ----------
        site, position
            The tensor.
        start, stop : int
            Half-open range of rows; to the end when `stop` is None.
        check : bool
            Whether to hash the chunks of 8 MiB that hold the rows.

        Returns
        -------
        (n_rows, width) float32 array

        Raises
        ------
        ArtifactError
            When a shard does not hold the tensor in the recorded shape, or its hash differs from
            the recorded one.
        UsageError
            When the range leaves the store.
        """
        site, total = self.site(site), self.n_rows(position)
        stop = total if stop is None else stop
        if not 0 <= start <= stop <= total:
            raise UsageError(f"rows {start} to {stop} of {site}@{position}: there are {total}")
        parts = [np.empty((0, self.width(site)), np.float32)]
        first = 0
        for shard in self._holding(position):
            low, high = max(start - first, 0), min(stop - first, shard.rows[position])
            if low < high:
                path, name = str(self.path / shard.file), tensor_name(site, position)
                chunks = self._chunks(shard, name) if check else None
                parts.append(_core.read_rows(path, name, low, high, chunks=chunks))
            first += shard.rows[position]
        return np.concatenate(parts)

    def _holding(self, position: str) -> list[ShardRecord]:
        self.position(position)
        return [shard for shard in self.record.shards if shard.rows.get(position, 0)]

    def _chunks(self, shard: ShardRecord, name: str) -> list[str]:
        if name not in shard.chunks:
            raise ArtifactError(
                f"{self.path / MANIFEST} has no hashes of {name} in {shard.file}", hint=_RESTORE
            )
        return list(shard.chunks[name])

    def check_header(self, shard: ShardRecord) -> None:
        """Compare names, shapes and number formats in a shard's header with the manifest.

        Raises
        ------
        ArtifactError
            Naming the first tensor that differs.
        """
        path = self.path / shard.file
        expected, found = tensor_names(shard, self.record.sites), {}
        for name, dtype, shape, _, _ in _core.inspect_shard(str(path)):
            found[name] = tuple(shape)
            planned = "I64" if name.startswith("rows@") else self.record.dtype
            if dtype != planned:
                said = f"{path} is damaged: {name} is {dtype}, but {planned} was written"
                raise ArtifactError(said, hint=_RESTORE)
        if found != expected:
            odd = sorted(found.items() ^ expected.items())[0][0]
            said = f"{path} is damaged: {odd} is missing, unplanned or of another shape"
            raise ArtifactError(said, hint=_RESTORE)

    def _index(self, shard: ShardRecord, position: str) -> NDArray[np.int64]:
        path = self.path / shard.file
        self.check_header(shard)
        index = read_index(path, position)
        right = hashlib.sha256(index.tobytes()).hexdigest() == shard.index_sha256.get(position)
        if not right or index.shape != (shard.rows[position], 2):
            raise ArtifactError(
                f"{path} is damaged: rows@{position} differs from what was written",
                hint=_RESTORE,
            )
        return index


def read_index(path: Path, position: str) -> NDArray[np.int64]:
    """Read the ``rows@position`` tensor of one shard, unchecked.

    Raises
    ------
    ArtifactError
        When the shard does not hold it.
    """
    name = f"rows@{position}"
    for tensor, dtype, shape, begin, end in _core.inspect_shard(str(path)):
        if tensor == name and dtype == "I64" and len(shape) == 2:
            with open(path, "rb") as file:
                file.seek(begin)
                raw = file.read(end - begin)
            if len(raw) == end - begin:
                return np.frombuffer(raw, "<i8").reshape(shape)
    raise ArtifactError(f"{path} does not hold {name}", hint="restore the shard from a copy")


def _check_size(path: Path, shard: ShardRecord) -> None:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing", hint=_RESTORE)
    size = path.stat().st_size
    if size != shard.bytes:
        raise ArtifactError(
            f"{path} has {size} bytes, but {shard.bytes} were written",
            hint="restore it from a copy, or delete it and capture again",
        )

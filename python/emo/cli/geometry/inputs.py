"""What vectors come from: stores, directions files and array files, behind one face."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emo.analysis.directions import KIND, METHODS, Directions
from emo.analysis.rows import NEUTRAL, label_rows
from emo.artifacts import sha256_file
from emo.data.vectors import ArrayFile, Vectors
from emo.errors import ArtifactError, NumericalError, UsageError, did_you_mean
from emo.sites import Site
from emo.store import Store, cached_moments


class Source(Protocol):
    """Something that holds vectors, at one or several sites."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of its sites in the order of the model; none when it has no sites."""

    @property
    def relative(self) -> bool:
        """Whether its vectors are relative to their mean already."""

    def vectors(self, site: str | None) -> Vectors:
        """Return one vector for each label."""

    def rows(self, site: str | None, which: str) -> Vectors:
        """Return single rows where there are some, and else the vectors."""

    def record(self, site: str | None) -> dict[str, Any]:
        """Return what tells these vectors from others, for provenance; never a path."""


@dataclass(frozen=True, eq=False)
class StoreSource:
    """Rows of a store, or their means for each emotion."""

    store: Store
    position: str
    threads: int = 0
    relative: bool = False

    @property
    def path(self) -> Path:
        """The folder."""
        return self.store.path

    @property
    def sites(self) -> tuple[str, ...]:
        """Captured sites."""
        return tuple(map(str, sorted(self.store.sites)))

    def vectors(self, site: str | None) -> Vectors:
        """Return the mean row of each emotion."""
        found = label_rows(self.store, self.store.position(self.position))
        lacking = [name for name, n in found.accepted_per_emotion().items() if not n]
        if lacking or not found.emotions:
            raise NumericalError(
                f"{self.path} has no rows of {lacking[0] if lacking else 'any emotion'} at "
                f"{self.position!r}",
                hint="capture rows of every emotion that is to be compared",
            )
        moments = cached_moments(
            self.store, self._site(site), self.position, found.labels, found.n_labels,
            threads=self.threads,
        )  # fmt: skip
        means = moments.merged(found.all_accepted).mean
        return Vectors(found.emotions, np.ascontiguousarray(means), self._name(site))

    def rows(self, site: str | None, which: str) -> Vectors:
        """Return rows labelled by their sample, with the token where there are several."""
        _, chosen = self.chosen_rows(which)
        names = self.row_names()
        values = self.store.read(self._site(site), self.position)
        labels = tuple(name for name, kept in zip(names, chosen.tolist(), strict=True) if kept)
        return Vectors(labels, np.ascontiguousarray(values[chosen]), self._name(site))

    def row_names(self) -> list[str]:
        """Name each row by its sample, and by the token too where samples have several rows."""
        index = self.store.rows(self.store.position(self.position)).tolist()
        names = [str(self.store.samples[n].get("id", n)) for n, _ in index]
        if len(set(names)) == len(names):
            return names
        return [f"{name} {token}" for name, (_, token) in zip(names, index, strict=True)]

    def chosen_rows(self, which: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Sample and token of every row, and which rows are chosen: ``all`` or ``neutral``."""
        index = self.store.rows(self.store.position(self.position))
        neutral = self.is_neutral(index)
        chosen = neutral if which == NEUTRAL else np.ones(len(index), np.bool_)
        if not chosen.any():
            kind = "neutral rows" if which == NEUTRAL else "rows"
            raise NumericalError(
                f"{self.path} has no {kind} at {self.position!r}",
                hint="capture some" + (", or take --rows all" if which == NEUTRAL else ""),
            )
        return index, chosen

    def is_neutral(self, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which rows name no emotion."""
        samples = self.store.samples
        plain = [samples[n].get("emotion") in (None, NEUTRAL) for n in index[:, 0].tolist()]
        return np.array(plain, np.bool_)

    def record(self, site: str | None) -> dict[str, Any]:
        """Return the store's fingerprint and the tensor."""
        return {"kind": "store", "fingerprint": self.store.fingerprint, "site": site,
                "position": self.position}  # fmt: skip

    def _site(self, site: str | None) -> Site:
        if site is None:
            raise UsageError(f"{self.path} has several sites", hint="choose one with --site")
        return self.store.site(site)

    def _name(self, site: str | None) -> str:
        return f"{self.path} at {site}@{self.position}"


@dataclass(frozen=True, eq=False)
class DirectionsSource:
    """Vectors of a directions file."""

    path: Path
    found: Directions

    @property
    def relative(self) -> bool:
        """Whether the mean of the emotions was taken off before the vectors got unit length."""
        return self.found.method == METHODS[0]

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites that have directions."""
        return tuple(map(str, sorted({*self.found.unit, *self.found.delta})))

    def vectors(self, site: str | None) -> Vectors:
        """Return the direction of each emotion."""
        if site is None or site not in self.sites:
            raise UsageError(
                f"{self.path} holds no site {site}", hint=did_you_mean(str(site), self.sites)
            )
        where = Site.parse(site)
        both = {**self.found.delta, **self.found.unit}
        return Vectors(
            self.found.labels, np.ascontiguousarray(both[where]), f"{self.path} at {site}"
        )

    def rows(self, site: str | None, which: str) -> Vectors:
        """Return the same: there are no single rows."""
        return self.vectors(site)

    def record(self, site: str | None) -> dict[str, Any]:
        """Return the file's hash and the site."""
        return {"kind": KIND, "sha256": self._sha256, "site": site}

    @cached_property
    def _sha256(self) -> str:
        return sha256_file(self.path)


@dataclass(frozen=True, eq=False)
class FileSource:
    """Vectors of an array file."""

    file: ArrayFile
    relative: bool = False

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Sites that its arrays are named by."""
        return self.file.sites

    def vectors(self, site: str | None) -> Vectors:
        """Return the vectors of the file, or those at a site."""
        return self.file.vectors(site)

    def rows(self, site: str | None, which: str) -> Vectors:
        """Return the same: there are no single rows."""
        return self.vectors(site)

    def record(self, site: str | None) -> dict[str, Any]:
        """Return the file's hash and the site."""
        return {"kind": "array", "sha256": self._sha256, "site": site}

    @cached_property
    def _sha256(self) -> str:
        return sha256_file(self.path)


def open_source(path: Path, position: str = "last", threads: int = 0, io: str = "auto") -> Source:
    """Open a store, a directions file or an array file.

    Raises
    ------
    ArtifactError
        When it is missing or none of them.
    ResourceError
        When it cannot be read.
    """
    if path.is_dir():
        return StoreSource(Store.open(path, io), position, threads)
    file = ArrayFile(path)
    kind = _kind(file)
    if kind == KIND:
        return DirectionsSource(path, Directions.load(path))
    if kind is not None:
        raise ArtifactError(
            f"{path} holds {kind}, but vectors are needed here",
            hint="give a store, a directions file or an array file",
        )
    return FileSource(file)


def _kind(file: ArrayFile) -> str | None:
    """Kind of an artifact of ours, None for other files."""
    try:
        record = json.loads(file.metadata.get("emo", "null"))
    except ValueError:
        return None
    return str(record["kind"]) if isinstance(record, dict) and "kind" in record else None

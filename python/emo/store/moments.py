"""Moments per label, cached beside the shards.

What a pass over a tensor gives is kept in ``stats/`` under a name made from the shards' hashes and
from all that the pass depends on: the labels alone for column moments, which answer every direction
at once. So a run that was interrupted goes on, and several machines share the work on a store.
Deleting ``stats/`` loses only time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo import _core
from emo.artifacts import Artifact, read_artifact, sha256_array, sha256_text, write_artifact
from emo.errors import ArtifactError, ResourceError
from emo.sites import Site, tensor_name
from emo.store.manifest import STATS
from emo.store.reader import Store

KIND = "moments"
_FORMAT = 1
_NAMES = ("count", "mean", "m2", "positive", "negative")


@dataclass(frozen=True)
class Moments:
    """Column moments for each label.

    Parameters
    ----------
    count : (n_labels,) int64 array
        Rows of each label.
    mean, m2 : (n_labels, width) float64 array
        Mean, and sum of squared deviations from it (0 where a label has no rows).
    positive, negative : (n_labels, width) int64 array
        Rows in which the column is above, and below, zero.
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]

    def merged(self, groups: list[list[int]]) -> Moments:
        """Pool labels.

        Parameters
        ----------
        groups : list of list of int
            For each new label the old labels that it is made of, merged in this order.

        Returns
        -------
        Moments
            With ``len(groups)`` labels; a group of one label keeps its bits.
        """
        parts = [self._pool(group) for group in groups]
        return Moments(*(np.stack([part[i] for part in parts]) for i in range(len(_NAMES))))

    def _pool(self, labels: list[int]) -> tuple[NDArray[Any], ...]:
        live = [i for i in labels if self.count[i]] or labels[:1]
        first = live[0]
        count, mean, m2 = self.count[first], self.mean[first], self.m2[first]
        for i in live[1:]:
            total = count + self.count[i]
            delta = self.mean[i] - mean
            m2 = m2 + self.m2[i] + delta**2 * (float(count) * float(self.count[i]) / float(total))
            mean = mean + delta * (float(self.count[i]) / float(total))
            count = total
        return count, mean, m2, self.positive[live].sum(0), self.negative[live].sum(0)


def cached_moments(
    store: Store,
    site: Site,
    position: str,
    labels: NDArray[np.int32],
    n_labels: int,
    *,
    threads: int = 0,
    keep: bool = False,
) -> Moments:
    """Return column moments per label of one tensor, from the cache where it has them.

    Parameters
    ----------
    store : Store
    site, position
        The tensor.
    labels : (n_rows,) int32 array
        Label of each row, -1 to leave it out.
    n_labels : int
    threads : int
        Native threads, 0 for all there are; the result has the same bits for any number.
    keep : bool
        As for `cached`.

    Returns
    -------
    Moments

    Raises
    ------
    ArtifactError
        When a shard is damaged.
    NumericalError
        When a value is not finite; names the row and the column.
    """
    labels = np.ascontiguousarray(labels, dtype=np.int32)

    def scan() -> Moments:
        return moments_from(
            _core.moments(
                store.shards(site, position),
                tensor_name(site, position),
                labels,
                n_labels,
                threads=threads,
                io=store.io,
                chunks=store.chunk_hashes(site, position),
            )
        )

    return cached(
        store, site, position, [n_labels, sha256_array(labels)], n_labels, scan, keep=keep
    )


def cached(
    store: Store,
    site: Site,
    position: str,
    key: Sequence[int | str],
    n_labels: int,
    scan: Callable[[], Moments],
    *,
    keep: bool = False,
) -> Moments:
    """Return what `scan` gives, from the cache where it is there.

    Parameters
    ----------
    store : Store
    site, position
        The tensor that is scanned.
    key : sequence of int or str
        All that the result depends on beside the tensor.
    n_labels : int
    scan : callable
        Gives moments of `n_labels` labels, or raises.
    keep : bool
        Whether a result that cannot be kept (disk full) is an error; else it costs time, later.

    Returns
    -------
    Moments
        With `n_labels` labels; arrays ``(n_labels, width)``, counts ``(n_labels,)``.

    Raises
    ------
    ResourceError
        When the result is to be kept and cannot be written.
    """
    path = _cache_path(store, site, position, key)
    found = _load(path, n_labels)
    if found is None:
        found = scan()
        _save(path, found, keep=keep)
    return found


def check_cache(store: Store) -> None:
    """Refuse a store whose folder takes no statistics.

    Raises
    ------
    ResourceError
        When it may not be written.
    """
    if not _is_writable(store.path):
        raise ResourceError(
            f"{store.path} may not be written, and statistics are kept in it",
            hint="score without --part, or on a copy",
        )


def moments_from(result: Mapping[str, Any]) -> Moments:
    """Give types to the native module's answer: signed counts, 0 where a label has no rows."""
    live = np.flatnonzero(result["count"])
    n_labels = len(result["count"])
    arrays = {name: _spread(np.asarray(result[name])[live], live, n_labels) for name in _NAMES}
    counts = {name: arrays[name].astype(np.int64) for name in ("count", "positive", "negative")}
    return Moments(**{**arrays, **counts})


def _cache_path(store: Store, site: Site, position: str, key: Sequence[int | str]) -> Path:
    name = tensor_name(site, position)
    whole = [_FORMAT, name, *key, *(shard.blake3 for shard in store.record.shards)]
    found = sha256_text(json.dumps(whole))
    return store.path / STATS / f"{name.replace(':', '-')}-{found[:32]}.safetensors"


def _is_writable(store: Path) -> bool:
    return os.access(store, os.W_OK) and (
        not (store / STATS).exists() or os.access(store / STATS, os.W_OK)
    )


def _save(path: Path, moments: Moments, *, keep: bool) -> None:
    if not keep and not _is_writable(path.parent.parent):
        return
    live = np.flatnonzero(moments.count)
    arrays: dict[str, NDArray[Any]] = {name: getattr(moments, name)[live] for name in _NAMES}
    arrays["live"] = live
    with contextlib.suppress(*(() if keep else (ResourceError,))):
        write_artifact(path, Artifact(KIND, arrays, {"sha256": _digest(arrays)}))


def _load(path: Path, n_labels: int) -> Moments | None:
    """Return the cached moments, or None when there are none or they are damaged."""
    if not path.is_file():
        return None
    try:
        artifact = read_artifact(path, KIND)
    except ArtifactError:
        return None
    arrays = dict(artifact.arrays)
    if artifact.meta.get("sha256") != _digest(arrays):
        return None
    live = arrays.pop("live")
    full = {name: _spread(arrays[name], live, n_labels) for name in _NAMES}
    return Moments(**full)


def _spread(array: NDArray[Any], live: NDArray[np.int64], n_labels: int) -> NDArray[Any]:
    full = np.zeros((n_labels, *array.shape[1:]), array.dtype)
    full[live] = array
    return full


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()

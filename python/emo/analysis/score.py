"""Contributions of neurons and heads to each emotion's direction.

With v the direction and W the output projection of a sublayer, unit j of sample n contributes
c[n, j] = sum over its columns i of g[n, i] * (W^T v)[i]: one column for a neuron, d_head columns
for a head. Zeroing the unit changes <residual, v> by exactly -c, and the contributions of all
units sum to <sublayer output - bias, v>. Neurons use the direction at ``resid_post`` of their
layer, heads the one at ``resid_mid``. Where a norm follows the projection, contributions are
linearised, see `emo.analysis.post_norm`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo import _core
from emo.analysis.directions import Directions
from emo.analysis.intervals import t_interval
from emo.analysis.post_norm import FrozenNorm, frozen_norm
from emo.analysis.rows import RowLabels, label_rows
from emo.analysis.scores import Scores, UnitScores
from emo.artifacts import sha256_array
from emo.errors import ArtifactError, ModelError, NumericalError, SettingsError, UsageError
from emo.sites import Site, tensor_name
from emo.store import (
    Checkpoint,
    Moments,
    Projection,
    Store,
    cached,
    cached_moments,
    check_cache,
    weights_hash,
)
from emo.store.manifest import STATS
from emo.store.moments import moments_from

DIRECTION_PART = {"mlp_act": "resid_post", "head_out": "resid_mid"}
KINDS = {"mlp_act": "neuron", "head_out": "head"}
Report = Callable[[int, int], None]


def score(
    store: Store,
    directions: Directions,
    checkpoint: Checkpoint | None = None,
    *,
    accepted: Collection[str] | None = None,
    threads: int = 0,
    progress: Report | None = None,
) -> Scores:
    """Score every captured neuron and head by its mean contribution over accepted samples.

    Parameters
    ----------
    store : Store
        With ``mlp_act`` or ``head_out`` sites at the directions' position.
    directions : Directions
        With unit vectors at ``resid_post`` (for neurons) or ``resid_mid`` (for heads).
    checkpoint : Checkpoint, optional
        The model's weights; the folder that the store records when None.
    accepted : collection of str, optional
        Ids of the rows that count. When None: those that the directions were made from if they
        come from this store, else all.
    threads : int
        Native threads, 0 for all there are; the bits do not depend on it.
    progress : callable, optional
        Called with (sites done, sites).

    Returns
    -------
    Scores
        Positive means that the unit pushes towards the emotion. What the scans give is kept beside
        the store, so that a run that was interrupted goes on.

    Raises
    ------
    ModelError
        When weights are missing or of another size.
    NumericalError
        When an emotion has fewer than 2 samples, or a value is not finite.
    SettingsError
        When weights, directions and store do not belong to one model.
    UsageError
        When store and directions share no layer to score, or rows are means over tokens in a
        family that norms what a sublayer adds.
    """
    checkpoint = checkpoint or open_checkpoint(store)
    task = _task(store, directions, checkpoint, accepted, threads, keep=False)
    parts: dict[str, list[tuple[int, Moments]]] = {}
    for site, found in task.contributions(task.sites, progress):
        parts.setdefault(KINDS[site.part], []).append((site.layer, found))
    return Scores(
        labels=directions.labels,
        position=directions.position,
        units={kind: _unit_scores(kind, parts[kind]) for kind in KINDS.values() if kind in parts},
        provenance={
            "store": store.fingerprint,
            "model": {name: value for name, value in store.model.items() if name != "folder"},
            "directions": {"method": directions.method, **directions.provenance},
        },
        linearised=checkpoint.family.post_norm,
    )


def scan_part(
    store: Store,
    directions: Directions,
    checkpoint: Checkpoint | None = None,
    *,
    part: tuple[int, int],
    accepted: Collection[str] | None = None,
    threads: int = 0,
    progress: Report | None = None,
) -> int:
    """Scan one part of the sites that `score` needs, and keep what it gives beside the store.

    Parts can be scanned by several machines that share the store; `score` then takes what they kept
    for its own, to the bit. They are cut between sites, so that no sum is cut.

    Parameters
    ----------
    part : (int, int)
        Number of the part, from 1 on, and how many there are.
    store, directions, checkpoint, accepted, threads, progress
        As for `score`.

    Returns
    -------
    int
        Sites that were scanned, 0 where there are more parts than sites.

    Raises
    ------
    UsageError
        When there is no such part; else as `score`.
    ResourceError
        When what a scan gives cannot be kept.
    """
    number, of = part
    if not 1 <= number <= of:
        raise UsageError(f"there is no part {number} of {of}", hint=f"take 1/{of} to {of}/{of}")
    check_cache(store)
    checkpoint = checkpoint or open_checkpoint(store)
    task = _task(store, directions, checkpoint, accepted, threads, keep=True)
    return sum(1 for _ in task.contributions(task.sites[number - 1 :: of], progress))


@dataclass(frozen=True)
class _Task:
    """What scores are made from."""

    store: Store
    directions: Directions
    checkpoint: Checkpoint
    rows: RowLabels
    sites: list[Site]
    threads: int
    keep: bool

    def contributions(
        self, sites: list[Site], progress: Report | None
    ) -> Iterator[tuple[Site, Moments]]:
        """Moments of the contributions of each site's units."""
        for done, site in enumerate(sites, 1):
            yield site, self._of(site)
            if progress is not None:
                progress(done, len(sites))

    def _of(self, site: Site) -> Moments:
        store, directions, rows = self.store, self.directions, self.rows
        norm = None
        if self.checkpoint.family.post_norm:
            norm = frozen_norm(store, site, directions.position, self.checkpoint, self.threads)
        beta = _weights_on_directions(store, site, directions, self.checkpoint, norm, self.threads)
        if site.part == "mlp_act" and norm is None:
            return _neurons(store, site, directions, rows, beta, self.threads, self.keep)
        return _grouped(store, site, directions, rows, beta, norm, self.threads, self.keep)


def _task(
    store: Store,
    directions: Directions,
    checkpoint: Checkpoint,
    accepted: Collection[str] | None,
    threads: int,
    keep: bool,
) -> _Task:
    _check_one_model(store, directions, checkpoint)
    rows = _rows(store, directions, accepted)
    sites = _scored_sites(store, directions)
    return _Task(store, directions, checkpoint, rows, sites, threads, keep)


def open_checkpoint(store: Store, folder: Path | None = None) -> Checkpoint:
    """Open the weights of a store's model: in `folder`, or where the store says.

    Raises
    ------
    ModelError
        When they are not there or cannot be used.
    """
    recorded = store.model.get("folder")
    if folder is None and not recorded:
        raise ModelError(
            f"{store.path} records no model folder", hint="give the model's folder with --model"
        )
    return Checkpoint.open(folder or Path(str(recorded)))


def _check_one_model(store: Store, directions: Directions, checkpoint: Checkpoint) -> None:
    recorded = store.model["weight_sha"]
    made_for = directions.made_for
    if made_for not in (None, recorded):
        raise SettingsError(
            f"the directions come from another model: their weights hash to {made_for}, those "
            f"of {store.path} to {recorded}",
            hint="compute directions from this store",
        )
    found = weights_hash(checkpoint.folder, store.path / STATS / "weights.json")
    if found != recorded:
        raise SettingsError(
            f"{checkpoint.folder} holds other weights than those captured: {found}, the store "
            f"records {recorded}",
            hint="give the captured model's folder with --model",
        )


def _rows(store: Store, directions: Directions, accepted: Collection[str] | None) -> RowLabels:
    if accepted is None and directions.provenance.get("store") == store.fingerprint:
        if len(directions.accepted) != len(store.samples):
            raise ArtifactError(
                f"the directions list {len(directions.accepted)} samples, but {store.path} has "
                f"{len(store.samples)}",
                hint="compute the directions again",
            )
        pairs = zip(store.samples, directions.accepted, strict=True)
        accepted = {row["id"] for row, kept in pairs if kept}
    rows = label_rows(store, store.position(directions.position), accepted)
    counts = rows.accepted_per_emotion()
    few = [name for name in directions.labels if counts.get(name, 0) < 2]
    if few:
        raise NumericalError(
            f"{few[0]} has {counts.get(few[0], 0)} accepted rows in {store.path}, at least 2 are "
            "needed",
            hint="score a store that holds samples of every emotion of the directions",
        )
    return rows


def _scored_sites(store: Store, directions: Directions) -> list[Site]:
    captured = [site for site in sorted(store.sites) if site.part in DIRECTION_PART]
    if not captured:
        raise UsageError(
            f"{store.path} holds no mlp_act and no head_out",
            hint="capture with --sites resid_mid,resid_post,mlp_act,head_out",
        )
    sites = [site for site in captured if _direction_site(site) in directions.unit]
    if not sites:
        raise UsageError(
            "the directions have no unit vectors at resid_post or resid_mid of a captured layer",
            hint="compute directions at resid_mid and resid_post",
        )
    return sites


def _direction_site(site: Site) -> Site:
    return Site(site.layer, DIRECTION_PART[site.part])


def _weights_on_directions(
    store: Store,
    site: Site,
    directions: Directions,
    checkpoint: Checkpoint,
    norm: FrozenNorm | None,
    threads: int,
) -> NDArray[np.float64]:
    """W^T v, or W^T (gain v) before a norm, for every emotion: (E, width) float64."""
    projection = checkpoint.projection(site)
    vectors = directions.unit[_direction_site(site)].astype(np.float64)
    _check_sizes(store, site, projection, vectors.shape[1])
    if norm is not None:
        vectors = vectors * norm.gain
    beta: NDArray[np.float64] = _core.weight_product(
        str(projection.path),
        projection.tensor,
        vectors,
        transposed=projection.transposed,
        threads=threads,
    )
    if not np.isfinite(beta).all():
        raise NumericalError(f"the weights {projection.tensor} in {projection.path} are not finite")
    return beta


def _check_sizes(store: Store, site: Site, projection: Projection, d_model: int) -> None:
    if projection.width != store.width(site) or projection.d_model != d_model:
        raise ModelError(
            f"{projection.tensor} maps {projection.width} to {projection.d_model}, but {site} has "
            f"width {store.width(site)} and the directions {d_model}"
        )


def _neurons(
    store: Store,
    site: Site,
    directions: Directions,
    rows: RowLabels,
    beta: NDArray[np.float64],
    threads: int,
    keep: bool,
) -> Moments:
    """Moments of c = beta g from those of g: the mean scales by beta, m2 by beta squared."""
    columns = cached_moments(
        store, site, directions.position, rows.labels, rows.n_labels, threads=threads, keep=keep
    ).merged(_classes(rows, directions))
    up, down = beta > 0, beta < 0
    return Moments(
        count=columns.count,
        mean=beta * columns.mean,
        m2=beta**2 * columns.m2,
        positive=np.where(up, columns.positive, np.where(down, columns.negative, 0)),
        negative=np.where(up, columns.negative, np.where(down, columns.positive, 0)),
    )


def _grouped(
    store: Store,
    site: Site,
    directions: Directions,
    rows: RowLabels,
    beta: NDArray[np.float64],
    norm: FrozenNorm | None,
    threads: int,
    keep: bool,
) -> Moments:
    """Moments of each unit's contribution, each emotion's rows on its own direction."""
    labels = np.full(len(rows.labels), -1, np.int32)
    for e, classes in enumerate(_classes(rows, directions)):
        labels[np.isin(rows.labels, classes)] = e
    position = directions.position
    width = int(store.model["d_head"]) if site.part == "head_out" else 1
    scales = None if norm is None else norm.scales

    def scan() -> Moments:
        every = moments_from(
            _core.grouped_contributions(
                store.shards(site, position),
                tensor_name(site, position),
                labels,
                len(beta),
                beta,
                width,
                scales=scales,
                threads=threads,
                io=store.io,
                chunks=store.chunk_hashes(site, position),
            )
        )
        own = np.arange(len(beta))
        return Moments(
            count=every.count,
            mean=every.mean[own, own],
            m2=every.m2[own, own],
            positive=every.positive[own, own],
            negative=every.negative[own, own],
        )

    key: list[int | str] = [width, sha256_array(labels), sha256_array(beta)]
    if scales is not None:
        key.append(sha256_array(scales))
    return cached(store, site, position, key, len(beta), scan, keep=keep)


def _classes(rows: RowLabels, directions: Directions) -> list[list[int]]:
    """Row classes of each label of the directions."""
    return [rows.all_accepted[rows.emotions.index(name)] for name in directions.labels]


def _unit_scores(kind: str, layers: list[tuple[int, Moments]]) -> UnitScores:
    """Stack the layers of one kind: arrays are (emotions, layers, units)."""
    found = [moments for _, moments in layers]
    n = found[0].count
    mean = np.stack([m.mean for m in found], axis=1)
    m2 = np.stack([m.m2 for m in found], axis=1)
    positive = np.stack([m.positive for m in found], axis=1)
    if not (np.isfinite(mean).all() and np.isfinite(m2).all()):
        raise NumericalError(f"the contributions of the {kind}s are not finite")
    ends = [t_interval(mean[e], m2[e], int(n[e])) for e in range(len(n))]
    return UnitScores(
        kind=kind,
        layers=tuple(layer for layer, _ in layers),
        n=n,
        mean=mean,
        sd=np.sqrt(m2 / (n[:, None, None] - 1)),
        low=np.stack([low for low, _ in ends]),
        high=np.stack([high for _, high in ends]),
        positive=positive / n[:, None, None],
        rank=rank_units(mean),
    )


def rank_units(mean: NDArray[np.float64]) -> NDArray[np.int32]:
    """Rank units within each emotion and layer, 1 for the largest mean contribution.

    Parameters
    ----------
    mean : (..., n_units) float64 array

    Returns
    -------
    int32 array of the same shape
        Equal means rank in the order of the units.

    >>> rank_units(np.array([0.1, 0.5, -0.2]))
    array([2, 1, 3], dtype=int32)
    """
    order = np.argsort(-mean, axis=-1, kind="stable")
    ranks = np.empty(mean.shape, np.int32)
    numbers = np.broadcast_to(np.arange(1, mean.shape[-1] + 1, dtype=np.int32), mean.shape)
    np.put_along_axis(ranks, order, numbers, axis=-1)
    return ranks

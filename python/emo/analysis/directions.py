"""Emotion directions from label means: unit vectors in the residual stream, deltas in units.

``within-group``: for each group with every emotion accepted once, x_e - mean_e' x_e', averaged
over the groups. The groups being complete, this is the emotion's mean less the mean of those
means. ``minus-neutral``: the emotion's mean less the mean of the neutral rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.analysis.rows import NEUTRAL, RowLabels, label_rows
from emo.artifacts import Artifact, read_artifact, write_artifact
from emo.errors import AGAIN, ArtifactError, NumericalError, UsageError, did_you_mean
from emo.sites import PARTS, Site
from emo.store import Moments, Store, cached_moments

KIND = "directions"
METHODS = ("within-group", "minus-neutral")
DELTA_PARTS = ("mlp_act", "head_out")
UNIT_PARTS = tuple(part for part in PARTS if part not in DELTA_PARTS)
_ROUNDING = 1e-7
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Directions:
    """Directions of every emotion at every site.

    Parameters
    ----------
    labels : tuple of str
        The E emotions, sorted.
    method : str
        ``within-group``, ``minus-neutral`` or ``random``.
    position : str
        Token position the rows come from.
    unit : mapping of Site to (E, d_model) float32 array
        Unit vectors, at sites of the residual stream's width.
    norms : mapping of Site to (E,) float64 array
        Norms of the vectors before normalisation; under ``within-group`` the sum over
        emotions of norm times unit vector is 0.
    delta : mapping of Site to (E, width) float32 array
        Difference vectors at ``mlp_act`` and ``head_out``, not normalised.
    counts : mapping of str to int
        Rows behind each emotion, and behind ``neutral`` where it was used.
    groups : mapping of str to int
        ``complete``, and those dropped as ``incomplete`` or ``repeated``.
    accepted : (n_samples,) bool array
        Samples of the store that were accepted.
    provenance : mapping
        Fingerprint of the store, the model and its weight hash.
    """

    labels: tuple[str, ...]
    method: str
    position: str
    unit: Mapping[Site, NDArray[np.float32]]
    norms: Mapping[Site, NDArray[np.float64]]
    delta: Mapping[Site, NDArray[np.float32]]
    counts: Mapping[str, int]
    groups: Mapping[str, int]
    accepted: NDArray[np.bool_]
    provenance: Mapping[str, Any]

    @property
    def made_for(self) -> str | None:
        """Hash of the weights of the model that they were made for; None when not recorded."""
        model = self.provenance.get("model")
        found = model.get("weight_sha") if isinstance(model, Mapping) else None
        return found if isinstance(found, str) else None

    def save(self, path: Path) -> None:
        """Write the directions as one safetensors file, atomically.

        Raises
        ------
        ResourceError
            When the disk is full or the folder cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {"accepted": self.accepted.astype(np.uint8)}
        for site, vectors in self.unit.items():
            arrays[f"unit/{site}"] = vectors
            arrays[f"norm/{site}"] = self.norms[site]
        arrays |= {f"delta/{site}": vectors for site, vectors in self.delta.items()}
        meta = {
            "labels": list(self.labels),
            "method": self.method,
            "position": self.position,
            "counts": dict(self.counts),
            "groups": dict(self.groups),
        }
        write_artifact(path, Artifact(KIND, arrays, meta, self.provenance))

    @classmethod
    def load(cls, path: Path) -> Directions:
        """Read a directions file.

        Raises
        ------
        ArtifactError
            When it is missing, damaged or of another kind.
        """
        artifact = read_artifact(path, KIND)
        meta, arrays = artifact.meta, artifact.arrays
        try:
            unit, norms, delta = (_at(arrays, name) for name in ("unit", "norm", "delta"))
            loaded = cls(
                labels=tuple(meta["labels"]),
                method=meta["method"],
                position=meta["position"],
                unit=unit,
                norms=norms,
                delta=delta,
                counts=meta["counts"],
                groups=meta["groups"],
                accepted=arrays["accepted"].astype(np.bool_),
                provenance=artifact.provenance,
            )
        except (KeyError, TypeError, UsageError) as error:
            said = f"{path} is not a readable {KIND} file: {error}"
            raise ArtifactError(said, hint=AGAIN) from None
        _check_shapes(path, loaded)
        return loaded


def directions(
    store: Store,
    accepted: Collection[str] | None = None,
    *,
    method: str = "within-group",
    position: str = "last",
    sites: Iterable[Site] | None = None,
    threads: int = 0,
    progress: Report | None = None,
) -> Directions:
    """Compute directions from the label means of a store.

    Parameters
    ----------
    store : Store
    accepted : collection of str, optional
        Ids of the rows that count (see `accepted_ids`); all when None.
    method : str
        ``within-group`` or ``minus-neutral``.
    position : str
        A position with one row for each sample. With ``minus-neutral`` at ``span`` the neutral
        rows are taken at ``mean``, since neutral sentences mark no span.
    sites : iterable of Site, optional
        Where; all captured sites when None.
    threads : int
        Native threads, 0 for all there are; the bits do not depend on it.
    progress : callable, optional
        Called with (sites done, sites).

    Returns
    -------
    Directions
        Positive along an emotion's vector means: more of it.

    Raises
    ------
    NumericalError
        When no group is complete, neutral rows are missing, or a vector is zero or not finite.
    UsageError
        For an unknown method, site or position.
    """
    if method not in METHODS:
        raise UsageError(f"unknown method {method!r}", hint=did_you_mean(method, METHODS))
    chosen = sorted(store.sites) if sites is None else [store.site(site) for site in sites]
    rows = label_rows(store, store.position(position), accepted)
    reference = _neutral_rows(store, rows, method, position, accepted)
    counts = _need_rows(store, rows, method, reference)
    raw: dict[Site, NDArray[np.float64]] = {}
    for done, site in enumerate(chosen, 1):
        moments = cached_moments(store, site, position, rows.labels, rows.n_labels, threads=threads)
        if method == "within-group":
            neutral = None
        elif reference.rows is rows:
            neutral = moments
        else:
            labels, n_labels = reference.rows.labels, rows.n_labels
            neutral = cached_moments(
                store, site, reference.position, labels, n_labels, threads=threads
            )
        raw[site] = _raw_vectors(moments, rows, neutral, site)
        if progress is not None:
            progress(done, len(chosen))
    units = {site: raw[site] for site in chosen if site.part in UNIT_PARTS}
    norms = {site: np.linalg.norm(vectors, axis=1) for site, vectors in units.items()}
    return Directions(
        labels=rows.emotions,
        method=method,
        position=position,
        unit={s: (units[s] / norms[s][:, None]).astype(np.float32) for s in units},
        norms=norms,
        delta={s: raw[s].astype(np.float32) for s in chosen if s.part in DELTA_PARTS},
        counts=counts,
        groups={"complete": rows.complete, **rows.dropped},
        accepted=rows.accepted,
        provenance={"store": store.fingerprint, "model": _model_record(store)},
    )


def random_directions(real: Directions, seed: int) -> Directions:
    """Draw control directions: random ones with the norms of the real ones.

    Each site has its own stream, so a draw does not depend on which other sites there are.

    Parameters
    ----------
    real : Directions
    seed : int, at least 0

    Returns
    -------
    Directions
        Method ``random``; unit vectors uniform on the sphere, deltas uniform on spheres of the
        real deltas' norms. They do not sum to 0 over emotions.
    """
    unit = {site: _on_sphere(vectors, seed, site) for site, vectors in real.unit.items()}
    delta = {
        site: _on_sphere(vectors, seed, site) * np.linalg.norm(vectors, axis=1, keepdims=True)
        for site, vectors in real.delta.items()
    }
    provenance = {**real.provenance, "random": {"seed": seed, "method": real.method}}
    return replace(
        real,
        method="random",
        unit={site: vectors.astype(np.float32) for site, vectors in unit.items()},
        delta={site: vectors.astype(np.float32) for site, vectors in delta.items()},
        provenance=provenance,
    )


def _on_sphere(like: NDArray[np.float32], seed: int, site: Site) -> NDArray[np.float64]:
    rng = np.random.default_rng([seed, site.layer, PARTS.index(site.part)])
    vectors = rng.standard_normal(like.shape)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _raw_vectors(
    moments: Moments, rows: RowLabels, neutral: Moments | None, site: Site
) -> NDArray[np.float64]:
    """Vectors before normalisation, checked to stand above the rounding of the means."""
    if neutral is None:
        used = moments.merged(rows.in_complete_groups)
        vectors: NDArray[np.float64] = used.mean - used.mean.mean(axis=0)
    else:
        used = moments.merged(rows.all_accepted)
        vectors = used.mean - neutral.merged([rows.neutral]).mean
    norms = np.linalg.norm(vectors, axis=1)
    spread = np.sqrt((used.m2 / used.count[:, None]).sum(axis=1))
    for e, name in enumerate(rows.emotions):
        if not np.isfinite(norms[e]) or norms[e] <= _ROUNDING * spread[e]:
            raise NumericalError(
                f"the direction of {name} at {site} is zero or not finite (norm {norms[e]:.3g}): "
                "the rows do not differ there",
                hint="leave the site out with --sites",
            )
    return vectors


@dataclass(frozen=True)
class _Reference:
    """Where the neutral rows are read."""

    position: str
    rows: RowLabels


def _neutral_rows(
    store: Store,
    rows: RowLabels,
    method: str,
    position: str,
    accepted: Collection[str] | None,
) -> _Reference:
    if method == "within-group" or position != "span" or rows.count(rows.neutral):
        return _Reference(position, rows)
    if "mean" not in store.positions:
        raise NumericalError(
            f"no neutral row of {store.path} has a span, and there is no position 'mean' to "
            "compare with",
            hint="capture with --positions span,mean",
        )
    return _Reference("mean", label_rows(store, "mean", accepted))


def _need_rows(store: Store, rows: RowLabels, method: str, reference: _Reference) -> dict[str, int]:
    """Rows behind each emotion, or the reason why there are not enough."""
    if method == "within-group":
        return _need_groups(store, rows)
    counts = rows.accepted_per_emotion()
    empty = [name for name, n in counts.items() if n == 0]
    n_neutral = reference.rows.count(rows.neutral)
    if not counts or empty or not n_neutral:
        raise NumericalError(
            f"{method} needs rows of every emotion and neutral rows; accepted in {store.path}: "
            f"{_listed({**counts, NEUTRAL: n_neutral})}",
            hint="capture neutral texts too, or use --method within-group",
        )
    return {**counts, NEUTRAL: n_neutral}


def _need_groups(store: Store, rows: RowLabels) -> dict[str, int]:
    n = len(rows.emotions)
    if n < 2:
        raise NumericalError(
            f"within-group needs rows of at least 2 emotions, {store.path} has {n}",
            hint="capture texts elicited for several emotions, or use minus-neutral",
        )
    if not rows.complete:
        raise NumericalError(
            f"no group has all {n} emotions accepted exactly once (1 is needed, "
            f"{sum(rows.dropped.values())} were dropped); rows accepted: "
            f"{_listed(rows.accepted_per_emotion())}",
            hint="generate for more samples, or use another judge; labelled sentences need "
            "--method minus-neutral",
        )
    return dict.fromkeys(rows.emotions, rows.complete)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def _model_record(store: Store) -> dict[str, Any]:
    return {name: value for name, value in store.model.items() if name != "folder"}


def _at(arrays: Mapping[str, NDArray[Any]], name: str) -> dict[Site, NDArray[Any]]:
    found = (key for key in arrays if key.startswith(f"{name}/"))
    return dict(sorted((Site.parse(key.partition("/")[2]), arrays[key]) for key in found))


def _check_shapes(path: Path, loaded: Directions) -> None:
    n = len(loaded.labels)
    tables = [*loaded.unit.values(), *loaded.delta.values()]
    right = all(t.ndim == 2 and len(t) == n and t.dtype.kind == "f" for t in tables)
    right &= all(isinstance(name, str) for name in (*loaded.labels, loaded.method, loaded.position))
    right &= all(
        isinstance(counts, dict) and all(type(n) is int for n in counts.values())
        for counts in (loaded.counts, loaded.groups)
    )
    if not right or loaded.norms.keys() != loaded.unit.keys():
        raise ArtifactError(f"{path} is damaged: its arrays do not fit its {n} labels", hint=AGAIN)
    if not all(np.isfinite(table).all() for table in tables):
        raise NumericalError(f"{path} holds values that are not finite", hint=AGAIN)

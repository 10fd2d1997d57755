"""Where emotions come apart: probes and components by layer, directions across sublayers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from emo.analysis.directions import Directions
from emo.analysis.intervals import bootstrap
from emo.analysis.rows import NEUTRAL, label_rows
from emo.data.partial import PartFile
from emo.errors import DataError, NumericalError, import_extra
from emo.experiments.layers import across_layers
from emo.geometry.pca import independent_edge
from emo.store import Store

N_FOLDS = 5
MAX_ROWS = 900
MAX_POINTS = 300
SUBLAYERS = ("resid_mid", "resid_post")
_RESAMPLES = 500
_MAX_STEPS = 100
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ProbeRows:
    """Rows of a store that a probe is trained and tested on.

    Parameters
    ----------
    rows : (n,) int64 array
        Row numbers at the position.
    labels : (n,) int64 array
        Index into `classes`.
    groups : (n,) int64 array
        Rows of one group never lie on both sides of a split.
    classes : tuple of str
        Emotions, and ``neutral`` where there are such rows.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: tuple[str, ...]


def geometry(
    store: Store,
    directions: Directions | None = None,
    accepted: Collection[str] | None = None,
    *,
    position: str = "last",
    seed: int = 0,
    part: PartFile | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Probe scores, principal components and the heat map, as in ``geometry.json``.

    Parameters
    ----------
    store : Store
        With ``resid_post``; one tensor is read at a time.
    directions : Directions, optional
        For the heat map and the comparison of layers.
    accepted : collection of str, optional
        Ids of the rows that count; all when None.
    position : str
    seed : int
        Of folds, shuffled labels, resampling and the choice of rows.
    part : PartFile, optional
        Keeps what is found of each finished layer, which is not probed again.
    progress : callable (layers done, layers in all), optional

    Returns
    -------
    dict
        `layers`: for each `layer` its `pca` (`points` in units of the residual stream, `labels`,
        `explained` shares, `null` the share of the first that independent columns reach) and its
        `probe` (see `probe`); `cosine`: see `cosine_map`; `rsa` and
        `overlap`: see `across_layers`.

    Raises
    ------
    NumericalError
        When there are fewer than two classes or too few groups.
    UsageError
        When the store lacks the position.
    """
    chosen = probe_rows(store, position, accepted, seed=seed)
    sites = sorted(site for site in store.sites if site.part == "resid_post")
    known = {} if part is None else part.read(_layer)
    layers = []
    for done, site in enumerate(sites, 1):
        found = known.get(str(site))
        if found is None:
            acts = store.read(site, position)[chosen.rows]
            found = {"layer": site.layer, "pca": _components(acts, chosen, seed)}
            found["probe"] = probe(acts, chosen, seed)
            if part is not None:
                part.append([{"id": str(site), **found}])
        layers.append(found)
        if progress is not None:
            progress(done, len(sites))
    cosine = None if directions is None else cosine_map(directions)
    return {"layers": layers, "cosine": cosine, **across_layers(directions, seed=seed)}


def _layer(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    names = ("layer", "pca", "probe")
    if not row.keys() >= set(names):
        raise DataError(f"{where}: there is no layer")
    return {name: row[name] for name in names}


def probe_rows(
    store: Store, position: str, accepted: Collection[str] | None = None, *, seed: int = 0
) -> ProbeRows:
    """Choose the rows for probes: all that have a label, or whole groups drawn at random.

    Raises
    ------
    NumericalError
        When there are fewer than two classes, or fewer groups than folds.
    """
    found = label_rows(store, position, accepted)
    n = len(found.emotions)
    rows = np.flatnonzero(found.labels >= 0)
    labels = found.labels[rows].astype(np.int64)
    labels = np.where(labels == 2 * n, n, labels % max(n, 1))
    owners = store.rows(position)[rows, 0]
    names = [_group(store.samples[owner]) for owner in owners.tolist()]
    groups = np.unique(np.array(names), return_inverse=True)[1]
    kept = np.isin(groups, _draw_groups(groups, seed))
    used = np.unique(labels[kept])
    classes = tuple((*found.emotions, NEUTRAL)[label] for label in used.tolist())
    chosen = ProbeRows(rows[kept], np.searchsorted(used, labels[kept]), groups[kept], classes)
    n_groups = len(np.unique(chosen.groups))
    if len(classes) < 2 or n_groups < N_FOLDS:
        raise NumericalError(
            f"a probe needs two classes and {N_FOLDS} groups, there are {len(classes)} and "
            f"{n_groups} among the rows that count",
            hint="capture more samples, or accept more of them",
        )
    return chosen


def probe(acts: NDArray[np.float32], chosen: ProbeRows, seed: int = 0) -> dict[str, float]:
    """Held-out macro-F1 of a linear probe, and of one trained on shuffled labels.

    Multinomial logistic regression (C = 1, at most 100 steps) on centred rows scaled to a mean
    square of 1 per dimension; 5 folds; no group on both sides.

    Parameters
    ----------
    acts : (n, d_model) float32 array
    chosen : ProbeRows
        Of the same n rows.
    seed : int

    Returns
    -------
    dict
        `f1`, mean over the classes, in [0, 1]; `low`, `high`, its 95 % interval over resampled
        groups; `shuffled`, the control.
    """
    folds = _folds(chosen, seed)
    shuffled = np.random.default_rng(seed).permutation(chosen.labels)
    # Threads that wait for each other cost ten times what these small fits take.
    with threadpool_limits(1, user_api="blas"):
        given = _held_out(acts, chosen.labels, folds)
        control = _held_out(acts, shuffled, folds)
    n = len(chosen.classes)
    tables = _tables(chosen, given, n)
    low, high = bootstrap(tables, _macro_f1, seed=seed, n_resamples=_RESAMPLES)
    pairs = np.zeros((n, n))
    np.add.at(pairs, (shuffled, control), 1.0)
    f1 = _macro_f1(tables)
    return {
        name: round(value, 4)
        for name, value in {
            "f1": f1,
            "low": min(low, f1),
            "high": max(high, f1),
            "shuffled": _macro_f1(pairs[None]),
        }.items()
    }


def cosine_map(directions: Directions) -> dict[str, Any]:
    """Mean cosine between the directions of one emotion at two sublayers.

    Entry (i, j) is the mean over the emotions of <u_i, u_j>, unit vectors of the sublayers in
    the order of the model: `resid_mid` and `resid_post` of each layer, 2L of them.

    Returns
    -------
    dict
        `sublayers`: names; `matrix`: symmetric rows in [-1, 1], with ones on the diagonal.
    """
    sites = sorted(
        (site for site in directions.unit if site.part in SUBLAYERS),
        key=lambda site: (site.layer, SUBLAYERS.index(site.part)),
    )
    if not sites:
        return {"sublayers": [], "matrix": []}
    units = np.stack([directions.unit[site].astype(np.float64) for site in sites])
    matrix = np.einsum("ied,jed->ij", units, units) / units.shape[1]
    rounded = np.round(np.clip(matrix, -1, 1), 4)
    return {"sublayers": [str(site) for site in sites], "matrix": rounded.tolist()}


def _group(row: dict[str, Any]) -> str:
    return str(row.get("group") or row.get("sample") or row["id"])


def _draw_groups(groups: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """All groups, or as many in random order as hold at most `MAX_ROWS` rows."""
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    if sizes.sum() <= MAX_ROWS:
        return order
    return order[np.cumsum(sizes[order]) <= MAX_ROWS]


def _folds(chosen: ProbeRows, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    selection = import_extra("sklearn.model_selection", "geometry")
    splitter = selection.StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(chosen.labels)), chosen.labels, chosen.groups))


def _held_out(
    acts: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> NDArray[np.int64]:
    """Label of each row from the fold that did not train on it."""
    linear_model = import_extra("sklearn.linear_model", "geometry")
    exceptions = import_extra("sklearn.exceptions", "geometry")
    given = np.full(len(labels), -1, dtype=np.int64)
    for train, test in folds:
        if len(np.unique(labels[train])) == 1:  # a shuffle of few rows can leave one class
            given[test] = labels[train][0]
            continue
        mean = acts[train].mean(axis=0, dtype=np.float64)
        scale = max(float(np.sqrt(np.mean((acts[train] - mean) ** 2))), 1e-30)
        model = linear_model.LogisticRegression(max_iter=_MAX_STEPS, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
            model.fit((acts[train] - mean) / scale, labels[train])
        given[test] = model.predict((acts[test] - mean) / scale)
    return given


def _tables(chosen: ProbeRows, given: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Confusion of each group, (n_groups, n, n): true class, then given class."""
    index = np.unique(chosen.groups, return_inverse=True)[1]
    tables = np.zeros((int(index.max()) + 1, n, n))
    np.add.at(tables, (index, chosen.labels, given), 1.0)
    return tables


def _macro_f1(tables: NDArray[np.float64]) -> float:
    """Mean F1 over the classes that occur, from confusions that are added up."""
    total = tables.sum(axis=0)
    hits, both = np.diag(total), total.sum(axis=0) + total.sum(axis=1)
    occurs = both > 0
    return float((2 * hits[occurs] / both[occurs]).mean())


def _components(acts: NDArray[np.float32], chosen: ProbeRows, seed: int) -> dict[str, Any]:
    decomposition = import_extra("sklearn.decomposition", "geometry")
    pca = decomposition.PCA(2, random_state=seed)
    points = pca.fit_transform(acts.astype(np.float64))
    draw = np.random.default_rng(seed).permutation(len(points))[:MAX_POINTS]
    shown = np.sort(draw)
    return {
        "points": [[float(f"{x:.5g}") for x in point] for point in points[shown].tolist()],
        "labels": [chosen.classes[label] for label in chosen.labels[shown].tolist()],
        "explained": [round(float(share), 4) for share in pca.explained_variance_ratio_],
        "null": _chance_share(acts),
    }


def _chance_share(acts: NDArray[np.float32]) -> float | None:
    """Share that the first component of independent columns reaches; None for equal rows."""
    variances = acts.var(axis=0, ddof=1, dtype=np.float64)
    if not variances.any():
        return None
    return round(min(independent_edge(variances, len(acts)) / float(variances.sum()), 1.0), 4)

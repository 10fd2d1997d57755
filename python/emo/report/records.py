"""``strength.json`` and ``geometry.json`` as typed records.

Each `parse` raises KeyError, TypeError or ValueError for a value of another form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.report.rates import Rate, finite


@dataclass(frozen=True)
class Setting:
    """One row of the strength grid: where, how strongly, and what came of it."""

    layers: tuple[int, ...]
    alpha: float
    position: str
    accuracy: float | None
    perplexity: float | None
    ratio: float | None
    rate: Rate | None = None
    control: Rate | None = None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Setting:
        """Read a row of ``strength.json``."""
        return cls(
            layers=tuple(int(layer) for layer in row["layers"]),
            alpha=float(row["alpha"]),
            position=str(row.get("position") or ""),
            accuracy=finite(row.get("accuracy")),
            perplexity=finite(row.get("perplexity")),
            ratio=finite(row.get("perplexity_ratio")),
            rate=Rate.parse(row) if "n" in row else None,
            control=Rate.parse(row["control"]) if row.get("control") else None,
        )

    @property
    def key(self) -> tuple[tuple[int, ...], float, str]:
        """What tells a setting from the others."""
        return self.layers, self.alpha, self.position


@dataclass(frozen=True)
class Strength:
    """``strength.json``.

    Parameters
    ----------
    choice : Setting or None
        None when no setting stayed within the limit.
    mildest : Setting or None
        The setting to go on with when there is no choice.
    relative : str
        Unit of alpha: ``rms`` or ``norm`` of the residual stream.
    """

    choice: Setting | None
    mildest: Setting | None
    grid: tuple[Setting, ...]
    baseline_perplexity: float | None
    limit_ratio: float | None
    relative: str

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Strength:
        """Read the JSON object."""
        return cls(
            choice=Setting.parse(value["choice"]) if value.get("choice") else None,
            mildest=Setting.parse(value["mildest"]) if value.get("mildest") else None,
            grid=tuple(Setting.parse(row) for row in value["grid"]),
            baseline_perplexity=finite(value.get("baseline_perplexity")),
            limit_ratio=finite(value.get("limit_ratio")),
            relative=str(value.get("relative") or ""),
        )

    @property
    def used(self) -> Setting | None:
        """The setting that the run steered with."""
        return self.choice or self.mildest


@dataclass(frozen=True)
class Layer:
    """Geometry of one layer.

    Parameters
    ----------
    points : (n, 2) float64 array
        The first two principal components; empty when there is no picture.
    labels : tuple of str
        Emotion of each point.
    explained : tuple of float
        Share of the variance of each component.
    null : float or None
        Share of the first that independent columns reach; None in runs made before there was any.
    probe : mapping of str to float
        ``f1``, ``low``, ``high``, ``shuffled``; empty when there is no probe.
    """

    layer: int
    points: NDArray[np.float64]
    labels: tuple[str, ...]
    explained: tuple[float, ...]
    null: float | None
    probe: Mapping[str, float]


@dataclass(frozen=True)
class Similarity:
    """How alike the layers arrange the emotions; `sites` is empty where `reason` says why.

    Parameters
    ----------
    r, p_family : (L, L) float64 arrays
        Correlations, and p corrected for all pairs.
    null_max : float or None
        Largest correlation of different layers over the permutations.
    """

    sites: tuple[str, ...]
    reason: str
    r: NDArray[np.float64]
    p_family: NDArray[np.float64]
    null_max: float | None
    n: int
    permutations: int
    exact: bool
    metric: str
    correlation: str
    warnings: tuple[str, ...]

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Similarity:
        """Read the JSON object."""
        sites = _sites(value)
        return cls(
            sites=sites,
            reason=str(value.get("reason") or ""),
            r=_square(value.get("r", ()), sites),
            p_family=_square(value.get("p_family", ()), sites),
            null_max=finite(value.get("null_max")),
            n=int(value.get("n", 0)),
            permutations=int(value.get("permutations", 0)),
            exact=bool(value.get("exact")),
            metric=str(value.get("metric") or ""),
            correlation=str(value.get("correlation") or ""),
            warnings=tuple(str(note) for note in value.get("warnings", ())),
        )


@dataclass(frozen=True)
class Overlap:
    """How far the layers' subspaces overlap; `sites` is empty where `reason` says why.

    Parameters
    ----------
    overlap : (L, L) float64 array
    k : tuple of int
        Dimension of each layer's subspace, of `d`.
    chance, null_low, null_high : float
        Mean and 95 % of random subspaces.
    """

    sites: tuple[str, ...]
    reason: str
    overlap: NDArray[np.float64]
    k: tuple[int, ...]
    d: int
    chance: float
    null_low: float
    null_high: float

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Overlap:
        """Read the JSON object."""
        sites = _sites(value)
        null = ("chance", "null_low", "null_high")
        return cls(
            sites,
            str(value.get("reason") or ""),
            _square(value.get("overlap", ()), sites),
            tuple(int(k) for k in value.get("k", ())) or (0,),
            int(value.get("d", 0)),
            *(float(value[name]) if sites else 0.0 for name in null),
        )


@dataclass(frozen=True)
class Geometry:
    """``geometry.json``; `similarity` and `overlap` are None in runs made before there were any."""

    layers: tuple[Layer, ...]
    sublayers: tuple[str, ...]
    cosine: NDArray[np.float64]
    similarity: Similarity | None = None
    overlap: Overlap | None = None

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Geometry:
        """Read the JSON object."""
        cosine = value.get("cosine") or {"sublayers": [], "matrix": []}
        sublayers = tuple(str(name) for name in cosine["sublayers"])
        return cls(
            layers=tuple(_layer(row) for row in value["layers"]),
            sublayers=sublayers,
            cosine=_square(cosine["matrix"], sublayers),
            similarity=Similarity.parse(value["rsa"]) if value.get("rsa") else None,
            overlap=Overlap.parse(value["overlap"]) if value.get("overlap") else None,
        )


def _sites(value: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(name) for name in value.get("sites", ()))


def _square(rows: Any, names: tuple[str, ...]) -> NDArray[np.float64]:
    return np.array(rows, np.float64).reshape(len(names), len(names))


def _layer(row: Mapping[str, Any]) -> Layer:
    pca, probe = row.get("pca") or {}, row.get("probe") or {}
    labels = tuple(str(label) for label in pca.get("labels", ()))
    return Layer(
        layer=int(row["layer"]),
        points=np.array(pca.get("points", ()), np.float64).reshape(len(labels), 2),
        labels=labels,
        explained=tuple(float(share) for share in pca.get("explained", ())),
        null=finite(pca.get("null")),
        probe={name: x for name, x in ((n, finite(v)) for n, v in probe.items()) if x is not None},
    )

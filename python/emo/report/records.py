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
    probe : mapping of str to float
        ``f1``, ``low``, ``high``, ``shuffled``; empty when there is no probe.
    """

    layer: int
    points: NDArray[np.float64]
    labels: tuple[str, ...]
    explained: tuple[float, ...]
    probe: Mapping[str, float]


@dataclass(frozen=True)
class Geometry:
    """``geometry.json``."""

    layers: tuple[Layer, ...]
    sublayers: tuple[str, ...]
    cosine: NDArray[np.float64]

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Geometry:
        """Read the JSON object."""
        cosine = value.get("cosine") or {"sublayers": [], "matrix": []}
        sublayers = tuple(str(name) for name in cosine["sublayers"])
        matrix = np.array(cosine["matrix"], np.float64).reshape(len(sublayers), len(sublayers))
        return cls(tuple(_layer(row) for row in value["layers"]), sublayers, matrix)


def _layer(row: Mapping[str, Any]) -> Layer:
    pca, probe = row.get("pca") or {}, row.get("probe") or {}
    labels = tuple(str(label) for label in pca.get("labels", ()))
    return Layer(
        layer=int(row["layer"]),
        points=np.array(pca.get("points", ()), np.float64).reshape(len(labels), 2),
        labels=labels,
        explained=tuple(float(share) for share in pca.get("explained", ())),
        probe={name: x for name, x in ((n, finite(v)) for n, v in probe.items()) if x is not None},
    )

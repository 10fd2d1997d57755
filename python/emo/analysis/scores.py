"""The table of unit scores: top units, safetensors, CSV and Parquet."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.artifacts import Artifact, read_artifact, write_artifact, write_bytes
from emo.errors import AGAIN, ArtifactError, UsageError, did_you_mean

KIND = "scores"
LINEARISED = (
    "linearised: a norm follows each projection, and every sample keeps its own factor of it; "
    "zeroing a unit also changes that factor"
)
INTERVAL = "95 % interval of the mean, Student's t with n - 1 degrees of freedom"
TABLES = (".csv", ".parquet")
COLUMNS = ("kind", "emotion", "layer", "unit", "n", "mean", "sd", "low", "high", "positive", "rank")
_TABLES = ("mean", "sd", "low", "high", "positive", "rank")


@dataclass(frozen=True)
class UnitScores:
    """Scores of all units of one kind.

    Parameters
    ----------
    kind : str
        ``neuron`` or ``head``.
    layers : tuple of int
        The L scored layers, 0-based, ascending.
    n : (E,) int64 array
        Accepted rows of each emotion.
    mean, sd : (E, L, n_units) float64 array
        Mean and standard deviation of the contribution, in units of the residual stream;
        positive means that the unit pushes towards the emotion.
    low, high : (E, L, n_units) float64 array
        95 % interval of the mean, Student's t.
    positive : (E, L, n_units) float64 array
        Share of rows with a positive contribution.
    rank : (E, L, n_units) int32 array
        1 for the largest mean in its emotion and layer.
    """

    kind: str
    layers: tuple[int, ...]
    n: NDArray[np.int64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    positive: NDArray[np.float64]
    rank: NDArray[np.int32]


@dataclass(frozen=True)
class Unit:
    """One unit's score for one emotion."""

    kind: str
    emotion: str
    layer: int
    unit: int
    n: int
    mean: float
    sd: float
    low: float
    high: float
    positive: float
    rank: int


@dataclass(frozen=True)
class Scores:
    """Scores of neurons and heads for every emotion.

    Parameters
    ----------
    labels : tuple of str
        The E emotions.
    position : str
        Token position of the rows.
    units : mapping of str to UnitScores
        By kind: ``neuron``, ``head``.
    provenance : mapping
        Store, model and directions behind the scores.
    linearised : bool
        The model norms what a sublayer adds, and contributions hold each sample's norm fixed.
    """

    labels: tuple[str, ...]
    position: str
    units: Mapping[str, UnitScores]
    provenance: Mapping[str, Any]
    linearised: bool = False

    def top(self, n: int, kind: str, emotion: str) -> list[Unit]:
        """Return the `n` units with the largest mean contribution over all layers.

        Parameters
        ----------
        n : int
        kind : str
            ``neuron`` or ``head``.
        emotion : str

        Returns
        -------
        list of Unit
            Descending; ties in the order of layers and units.

        Raises
        ------
        UsageError
            When the kind or the emotion was not scored.
        """
        table, e = self._table(kind), self._label(emotion)
        flat = table.mean[e].ravel()
        order = np.argsort(-flat, kind="stable")[:n]
        width = table.mean.shape[2]
        return [self._unit(table, e, int(i) // width, int(i) % width) for i in order]

    def save(self, path: Path) -> list[Path]:
        """Write the scores as safetensors, and beside it as CSV (and Parquet with pyarrow).

        Parameters
        ----------
        path : Path
            The safetensors file; the tables get its name with ``.csv`` and ``.parquet``.

        Returns
        -------
        list of Path
            The files written; each appears whole or not at all, the safetensors file last.

        Raises
        ------
        ResourceError
            When the disk is full or the folder cannot be written.
        UsageError
            When `path` is the name of a table.
        """
        path = Path(path)
        check_name(path)
        written = [path.with_suffix(TABLES[0])]
        write_bytes(written[0], "".join(self._csv_lines()).encode())
        if importlib.util.find_spec("pyarrow") is not None:
            written.append(path.with_suffix(TABLES[1]))
            write_bytes(written[1], _parquet(self._columns()))
        write_artifact(path, self._artifact())
        return [path, *written]

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Read the safetensors file of scores.

        Raises
        ------
        ArtifactError
            When it is missing, damaged or of another kind.
        """
        artifact = read_artifact(path, KIND)
        try:
            units = {
                kind: UnitScores(
                    kind=kind,
                    layers=tuple(layers),
                    **{name: artifact.arrays[f"{kind}/{name}"] for name in ("n", *_TABLES)},
                )
                for kind, layers in artifact.meta["layers"].items()
            }
            labels = tuple(artifact.meta["labels"])
            for table in units.values():
                _check_table(table, labels)
            return cls(
                labels,
                str(artifact.meta["position"]),
                units,
                artifact.provenance,
                linearised=bool(artifact.meta.get("linearised", False)),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            said = f"{path} is not a readable {KIND} file: {error}"
            raise ArtifactError(said, hint=AGAIN) from None

    def _artifact(self) -> Artifact:
        arrays: dict[str, NDArray[Any]] = {}
        for kind, table in self.units.items():
            arrays |= {f"{kind}/{name}": getattr(table, name) for name in ("n", *_TABLES)}
        meta = {
            "labels": list(self.labels),
            "position": self.position,
            "layers": {kind: list(table.layers) for kind, table in self.units.items()},
            "interval": INTERVAL,
            "linearised": self.linearised,
        }
        return Artifact(KIND, arrays, meta, self.provenance)

    def _table(self, kind: str) -> UnitScores:
        if kind not in self.units:
            raise UsageError(f"no {kind}s were scored", hint=did_you_mean(kind, self.units))
        return self.units[kind]

    def _label(self, emotion: str) -> int:
        if emotion not in self.labels:
            raise UsageError(
                f"unknown emotion {emotion!r}", hint=did_you_mean(emotion, self.labels)
            )
        return self.labels.index(emotion)

    def _unit(self, table: UnitScores, e: int, i: int, unit: int) -> Unit:
        at = (e, i, unit)
        return Unit(
            kind=table.kind,
            emotion=self.labels[e],
            layer=table.layers[i],
            unit=unit,
            n=int(table.n[e]),
            mean=float(table.mean[at]),
            sd=float(table.sd[at]),
            low=float(table.low[at]),
            high=float(table.high[at]),
            positive=float(table.positive[at]),
            rank=int(table.rank[at]),
        )

    def _csv_lines(self) -> Iterator[str]:
        yield ",".join(COLUMNS) + "\n"
        for kind, table in self.units.items():
            for e, emotion in enumerate(self.labels):
                for i, layer in enumerate(table.layers):
                    head = f"{kind},{_cell(emotion)},{layer},"
                    n = int(table.n[e])
                    columns = [getattr(table, name)[e, i].tolist() for name in _TABLES]
                    rows = zip(range(table.mean.shape[2]), *columns, strict=True)
                    for unit, mean, sd, low, high, positive, rank in rows:
                        yield (
                            f"{head}{unit},{n},{mean:.9g},{sd:.9g},{low:.9g},{high:.9g},"
                            f"{positive:.9g},{rank}\n"
                        )

    def _columns(self) -> dict[str, Any]:
        """Columns of the table, one entry for each kind, emotion, layer and unit."""
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in COLUMNS}
        for kind, table in self.units.items():
            shape = table.mean.shape
            emotions = np.array(self.labels)[:, None, None]
            layers = np.array(table.layers, np.int32)[:, None]
            fixed = {
                "kind": np.array(kind),
                "emotion": emotions,
                "layer": layers,
                "unit": np.arange(shape[2], dtype=np.int32),
                "n": table.n[:, None, None],
            }
            for name in COLUMNS:
                values = fixed[name] if name in fixed else getattr(table, name)
                parts[name].append(np.broadcast_to(values, shape).ravel())
        return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def check_name(path: Path) -> None:
    """Refuse a path for scores that is the name of a table.

    Raises
    ------
    UsageError
        When it ends in ``.csv`` or ``.parquet``.
    """
    if path.suffix in TABLES:
        raise UsageError(
            f"{path} is named like a table",
            hint=f"write {path.with_suffix('.safetensors')}; the tables are made beside it",
        )


def _check_table(table: UnitScores, labels: tuple[str, ...]) -> None:
    shape = (len(labels), len(table.layers), *table.mean.shape[2:])
    right = all(getattr(table, name).shape == shape for name in _TABLES)
    right &= all(isinstance(label, str) for label in labels)
    right &= all(type(layer) is int for layer in table.layers)
    if not right or len(shape) != 3 or table.n.shape != shape[:1]:
        raise ValueError(f"the arrays of the {table.kind}s do not fit its labels and layers")


def _cell(text: str) -> str:
    """Quote a text for CSV where it needs quotes."""
    if any(mark in text for mark in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _parquet(columns: dict[str, Any]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()

"""What a run folder holds, read into typed records; parts that are not there yet are None."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeVar

from emo.analysis.directions import Directions
from emo.analysis.scores import Scores
from emo.artifacts import read_json
from emo.data.texts import Text, Verdict, read_texts, read_verdicts
from emo.errors import ArtifactError, DataError
from emo.report.rates import Summary
from emo.report.records import Geometry, Strength

REPORT = "report.html"
RUN = "run.json"
_AGAIN = "the same emo run command makes it again"
PARTS = {
    "data": "data.json",
    "texts": "texts.jsonl",
    "verdicts": "verdicts.jsonl",
    "summary": "summary.json",
    "strength": "strength.json",
    "directions": "directions.safetensors",
    "scores": "scores.safetensors",
    "geometry": "geometry.json",
}
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Run:
    """The artifacts of a run folder.

    Parameters
    ----------
    configuration : mapping
        ``run.json``: model, data, options, version, seed.
    data, texts, verdicts, summary, strength, directions, scores, geometry
        The artifact of each stage, None when the stage has not been done.
    """

    configuration: Mapping[str, Any]
    data: Mapping[str, Any] | None
    texts: list[Text] | None
    verdicts: list[Verdict] | None
    summary: Summary | None
    strength: Strength | None
    directions: Directions | None
    scores: Scores | None
    geometry: Geometry | None

    @property
    def model_name(self) -> str:
        """Name of the model as it was given, of a path only the last part."""
        name = str(_record(self.configuration, "model").get("name") or "unnamed model")
        return PurePath(name).name if PurePath(name).is_absolute() else name

    @property
    def seed(self) -> int:
        """Seed of the run."""
        seed = self.configuration.get("seed")
        return seed if isinstance(seed, int) and seed >= 0 else 0

    @property
    def emotions(self) -> tuple[str, ...]:
        """Emotions of the run, in the order of the evaluation or else of the directions."""
        if self.summary is not None and self.summary.emotions:
            return self.summary.emotions
        if self.directions is not None:
            return self.directions.labels
        if self.scores is not None:
            return self.scores.labels
        found = {verdict.emotion for verdict in self.verdicts or [] if verdict.emotion is not None}
        return tuple(sorted(found))

    def ordered(self, emotions: Collection[str]) -> tuple[str, ...]:
        """Return `emotions` in the run's order, unknown ones last and sorted."""
        known = [name for name in self.emotions if name in emotions]
        return (*known, *sorted(set(emotions) - set(known)))

    def look(self, emotion: str) -> int:
        """Index of the colour and shape of an emotion, the same in every picture."""
        order = self.emotions
        return order.index(emotion) if emotion in order else len(order)


def read_run(folder: Path) -> Run:
    """Read what there is of a run.

    Raises
    ------
    ArtifactError
        When `folder` is no run folder, or an artifact in it is damaged.
    """
    folder = Path(folder)
    if not (folder / RUN).is_file():
        there = "is not a folder" if not folder.is_dir() else f"has no {RUN}"
        raise ArtifactError(
            f"{folder} is not a run folder: it {there}", hint="give a folder made by `emo run`"
        )
    configuration = _json(folder / RUN, "run configuration", _mapping)
    _need_mapping(configuration, folder / RUN)
    return Run(
        configuration=configuration,
        data=_part(folder, "data", lambda path: _json(path, "data statistics", _statistics)),
        texts=_part(folder, "texts", read_texts),
        verdicts=_part(folder, "verdicts", read_verdicts),
        summary=_part(folder, "summary", lambda path: _json(path, "summary", Summary.parse)),
        strength=_part(folder, "strength", lambda path: _json(path, "strength", Strength.parse)),
        directions=_part(folder, "directions", Directions.load),
        scores=_part(folder, "scores", Scores.load),
        geometry=_part(folder, "geometry", lambda path: _json(path, "geometry", Geometry.parse)),
    )


def missing_parts(folder: Path) -> list[str]:
    """File names of the artifacts that a finished run has and `folder` lacks."""
    return [name for name in PARTS.values() if not (Path(folder) / name).is_file()]


def _part(folder: Path, name: str, read: Callable[[Path], _Read]) -> _Read | None:
    path = folder / PARTS[name]
    if not path.is_file():
        return None
    try:
        return read(path)
    except DataError as error:
        raise ArtifactError(str(error), hint=error.hint) from None


def _json(path: Path, what: str, parse: Callable[[Any], _Read]) -> _Read:
    value = read_json(path, what)
    try:
        return parse(value)
    except KeyError as error:
        said = f"{path} is not a readable {what}: {error} is missing"
        raise ArtifactError(said, hint=_AGAIN) from None
    except (TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} is not a readable {what}: {error}", hint=_AGAIN) from None


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("it holds no object")
    return value


def _statistics(value: Any) -> dict[str, Any]:
    for name, counts in _mapping(value).items():
        for field in ("valences", "themes", "words") if isinstance(counts, dict) else ():
            if not isinstance(counts.get(field) or {}, dict):
                raise TypeError(f"the {field} of {name} are no object")
    return _mapping(value)


def _need_mapping(configuration: Mapping[str, Any], path: Path) -> None:
    for name in ("model", "data", "options"):
        if not isinstance(configuration.get(name, {}), dict):
            raise ArtifactError(
                f"{path} is not a readable run configuration: {name} is no object", hint=_AGAIN
            )


def _record(configuration: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    record: Mapping[str, Any] = configuration.get(name, {})
    return record

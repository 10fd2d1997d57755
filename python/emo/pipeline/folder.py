"""Stages in a run folder: each is done once, and again only when what it read has changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.artifacts import read_json, sha256_file, sha256_text, write_json
from emo.errors import ArtifactError, SettingsError

RECORDS = ".stages"
_NEW = "choose another folder with -o"


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Parameters
    ----------
    name : str
        Unique in a run; shown to the user.
    reads, writes : tuple of str
        Names of artifacts in the run folder. A folder counts by its `emo-store.json`.
    work : callable
        Does the step; called with nothing, writes every artifact of `writes`.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    work: Callable[[], None]


def refuse_foreign(folder: Path) -> None:
    """Refuse to begin a run in a folder that holds other things.

    Raises
    ------
    ArtifactError
        When there is no ``run.json`` in it, but something else.
    """
    if (folder / "run.json").exists() or not folder.is_dir():
        return
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if others:
        raise ArtifactError(f"{folder} holds {others[0]}, which is no part of a run", hint=_NEW)


def check_configuration(folder: Path, configuration: Mapping[str, Any]) -> None:
    """Write ``run.json``, or refuse when the folder was begun with other settings.

    Raises
    ------
    SettingsError
        Naming each differing field.
    ArtifactError
        When the folder holds something else than a run.
    """
    path = folder / "run.json"
    wanted = json.loads(json.dumps(configuration))
    if not path.exists():
        refuse_foreign(folder)
        write_json(path, wanted)
        return
    found = read_json(path, "run configuration")
    if not isinstance(found, dict):
        raise ArtifactError(f"{path} is not the configuration of a run", hint=_NEW)
    changes = _changes(found, wanted)
    if changes:
        raise SettingsError(
            f"{folder} was begun with other settings: {'; '.join(changes)}",
            hint=f"{_NEW}, or give the settings it was begun with",
        )


def _changes(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Word each field that differs, inner fields as ``model.name``."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = sorted(found.keys() | wanted.keys())
        return [
            change
            for key in names
            for change in _changes(found.get(key), wanted.get(key), f"{name}.{key}".strip("."))
        ]
    if found == wanted:
        return []
    return [f"{name} was {json.dumps(found)}, now {json.dumps(wanted)}"]


def run_stages(
    folder: Path, stages: Sequence[Stage], announce: Callable[[str, bool], None]
) -> dict[str, float]:
    """Do every stage that is not done yet; returns the seconds each took when it was done.

    Parameters
    ----------
    announce : callable
        Called before each stage with its name and whether it is already done.
    """
    seconds: dict[str, float] = {}
    for stage in stages:
        record_path = folder / RECORDS / f"{stage.name}.json"
        inputs = hashes(folder, stage.reads)
        record = _read_record(record_path)
        done = record is not None and _is_done(folder, stage, record, inputs)
        announce(stage.name, done)
        if record is None or not done:
            began = time.perf_counter()
            stage.work()
            record = {
                "inputs": inputs,
                "outputs": hashes(folder, stage.writes),
                "seconds": round(time.perf_counter() - began, 2),
            }
            write_json(record_path, record)
        seconds[stage.name] = record["seconds"]
    return seconds


def _read_record(path: Path) -> dict[str, Any] | None:
    """Return the record of a stage, None when there is none or it is damaged."""
    try:
        record = read_json(path, "stage record")
    except ArtifactError:
        return None
    fields = ("inputs", "outputs", "seconds")
    whole = isinstance(record, dict) and all(name in record for name in fields)
    return record if whole and isinstance(record["seconds"], (int, float)) else None


def _is_done(
    folder: Path, stage: Stage, record: Mapping[str, Any], inputs: Mapping[str, str]
) -> bool:
    if record["inputs"] != inputs or not all(_file(folder, n).exists() for n in stage.writes):
        return False
    return bool(record["outputs"] == hashes(folder, stage.writes))


def _file(folder: Path, name: str) -> Path:
    path = folder / name
    return path / "emo-store.json" if path.suffix == "" else path


def hashes(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Hex SHA-256 of each artifact by its name; a folder counts by its `emo-store.json`."""
    return {name: sha256_file(_file(folder, name)) for name in names}


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a configuration."""
    return sha256_text(json.dumps(configuration, sort_keys=True))

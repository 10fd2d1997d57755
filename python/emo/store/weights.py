"""Weights straight from a checkpoint's safetensors files, without the model being loaded.

Only the output projections are asked for: ``W_down`` (input ``mlp_act``) and ``W_O`` (input
``head_out``). Names come from the architecture's row in `emo.families`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.artifacts import read_json, write_json
from emo.errors import ArtifactError, ModelError, ResourceError, UsageError
from emo.families import Family, Weight, family_of
from emo.sites import Site

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
_PREFIXES = (
    "",
    "model.",
    "transformer.",
    "gpt_neox.",
    "language_model.",
    "language_model.model.",
    "model.language_model.",
)
_PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
_PROJECTIONS: Mapping[str, tuple[Weight, Weight]] = {
    "mlp_act": ("down_proj", "down_bias"),
    "head_out": ("out_proj", "out_bias"),
}
_BLOCK = 1 << 22
_SETTLED = 2.0
_FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Projection:
    """Where an output projection lies.

    Parameters
    ----------
    path : Path
        A safetensors file.
    tensor : str
        Name of the weight in it: ``[d_model, width]``, or ``[width, d_model]`` if `transposed`.
    transposed : bool
    d_model, width : int
        Sizes of its output and its input.
    bias : tuple of (Path, str), optional
        File and name of the bias, where there is one.
    """

    path: Path
    tensor: str
    transposed: bool
    d_model: int
    width: int
    bias: tuple[Path, str] | None


@dataclass(frozen=True)
class Checkpoint:
    """A model folder with its configuration and the file of every tensor.

    Parameters
    ----------
    folder : Path
    config : mapping
        The content of ``config.json``.
    family : Family
    tensors : mapping of str to str
        For each tensor the file that holds it.
    """

    folder: Path
    config: Mapping[str, Any]
    family: Family
    tensors: Mapping[str, str]

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Open a model folder.

        Raises
        ------
        ModelError
            When the folder, its configuration or its safetensors weights are missing or
            damaged, when its weights are pickled, or its architecture is unknown.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ModelError(
                f"the model folder {folder} does not exist",
                hint="give the folder of the model that was captured with --model",
            )
        config = _config(folder)
        return cls(folder, config, family_of(_model_type(config, folder)), _tensor_files(folder))

    def locate(self, names: str | Iterable[str]) -> tuple[Path, str]:
        """Find a tensor under one of its names, with or without the usual prefixes.

        Parameters
        ----------
        names : str or iterable of str
            Most likely first.

        Returns
        -------
        (Path, str)
            The file and the tensor's name in it.

        Raises
        ------
        ModelError
            When the checkpoint holds none of them.
        """
        names = [names] if isinstance(names, str) else list(names)
        for name in names:
            for prefix in _PREFIXES:
                if prefix + name in self.tensors:
                    return self.folder / self.tensors[prefix + name], prefix + name
        raise ModelError(
            f"{self.folder} holds no weight {names[0]!r}",
            hint="is it the whole checkpoint of this architecture?",
        )

    def projection(self, site: Site) -> Projection:
        """Find the output projection that reads `site`.

        Parameters
        ----------
        site : Site
            An ``mlp_act`` or ``head_out`` site.

        Raises
        ------
        ModelError
            When the checkpoint lacks it, or it is not a float matrix.
        UsageError
            When the site feeds no output projection.
        """
        if site.part not in _PROJECTIONS:
            raise UsageError(f"{site} feeds no output projection", hint="mlp_act or head_out")
        weight, bias_name = _PROJECTIONS[site.part]
        path, name = self.locate(self.family.weight_names(weight, site.layer))
        rows, columns = _matrix_shape(path, name)
        transposed = self.family.transposed
        d_model, width = (columns, rows) if transposed else (rows, columns)
        try:
            bias = self.locate(self.family.weight_names(bias_name, site.layer))
        except ModelError:
            bias = None
        return Projection(path, name, transposed, d_model, width, bias)


def weights_hash(folder: Path, cache: Path | None = None) -> str:
    """Hash the weights of a model folder.

    Parameters
    ----------
    folder : Path
    cache : Path, optional
        A small file that remembers the hash of files of one size, time and inode, so that a
        large model is read once.

    Returns
    -------
    str
        Hex SHA-256 over the contents of its safetensors files in the order of their names.

    Raises
    ------
    ModelError
        When the folder holds no readable safetensors weights.
    """
    folder = Path(folder)
    files = [folder / name for name in sorted(set(_tensor_files(folder).values()))]
    state = [_file_state(path) for path in files]
    known = _remembered(cache, state)
    if known is not None:
        return known
    found = _hash_contents(files)
    # A file written moments ago could change again without its time showing it.
    old = time.time() - max(path.stat().st_mtime for path in files) > _SETTLED
    if cache is not None and old and state == [_file_state(path) for path in files]:
        # A cache that cannot be written costs time, not correctness.
        with contextlib.suppress(ResourceError):
            write_json(cache, {"files": state, "sha256": found})
    return found


def _file_state(path: Path) -> list[str | int]:
    about = path.stat()
    return [path.name, about.st_size, about.st_mtime_ns, about.st_ino]


def _remembered(cache: Path | None, state: list[list[str | int]]) -> str | None:
    if cache is None or not cache.is_file():
        return None
    try:
        value = read_json(cache, "weight hash")
    except ArtifactError:
        return None
    if isinstance(value, dict) and value.get("files") == state:
        return str(value.get("sha256"))
    return None


def _hash_contents(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    view = memoryview(bytearray(_BLOCK))
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while n := file.readinto(view):
                digest.update(view[:n])
    return digest.hexdigest()


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = read_json(folder / CONFIG, "model configuration")
    except ArtifactError as error:
        raise ModelError(str(error)) from None
    if not isinstance(config, dict):
        raise ModelError(f"{folder / CONFIG} is not a model configuration")
    return config


def _model_type(config: Mapping[str, Any], folder: Path) -> str:
    text = config.get("text_config")
    name = (text if isinstance(text, dict) else config).get("model_type")
    if not isinstance(name, str):
        raise ModelError(f"{folder / CONFIG} names no model_type")
    return name


def _tensor_files(folder: Path) -> dict[str, str]:
    """Return the file of every tensor, from the index of several files or from the one file."""
    if not (folder / INDEX).is_file():
        if not (folder / SINGLE).is_file():
            raise _no_safetensors(folder)
        return dict.fromkeys(_header(folder / SINGLE), SINGLE)
    try:
        table = read_json(folder / INDEX, "weight index")["weight_map"]
        files = {str(name): str(file) for name, file in table.items()}
    except (ArtifactError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{folder / INDEX} is not a readable index of weights") from None
    for file in sorted(set(files.values())):
        if Path(file).name != file:
            raise ModelError(f"{folder / INDEX} names a file outside its folder: {file}")
        if not (folder / file).is_file():
            raise ModelError(f"{folder} lacks {file}", hint="download the checkpoint again")
    return files


def _no_safetensors(folder: Path) -> ModelError:
    pickled = sorted(path for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled:
        return ModelError(
            f"{folder} holds pickled weights only ({pickled[0].name})",
            hint="save it again with save_pretrained(..., safe_serialization=True)",
        )
    return ModelError(f"{folder} holds no {SINGLE} and no {INDEX}")


def _matrix_shape(path: Path, name: str) -> tuple[int, int]:
    entry = _header(path).get(name)
    if not isinstance(entry, dict):
        raise ModelError(f"{path} does not hold {name!r}, although its index says so")
    shape, dtype = entry.get("shape"), entry.get("dtype")
    if dtype not in _FLOATS or not isinstance(shape, list) or len(shape) != 2:
        raise ModelError(
            f"{name!r} in {path} is {dtype} of shape {shape}, but a float matrix is needed",
            hint="quantised checkpoints cannot be scored: give the original with --model",
        )
    return int(shape[0]), int(shape[1])


def _header(path: Path) -> dict[str, Any]:
    """Read the JSON header of a safetensors file: 8 bytes of length, then the JSON."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(path.stat().st_size, 100_000_000):
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("the header is no object")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from None
    header.pop("__metadata__", None)
    return header

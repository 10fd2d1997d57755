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
from emo.families import Family, Weight, family_of, is_family
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
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_OTHER_FORMATS = (".gguf", ".ggml", ".h5", ".msgpack", ".onnx", ".npz")
_AGAIN = "download the model again, or copy it again"
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
        config = read_config(folder)
        return cls(folder, config, family_of(model_type(config, folder)), tensor_files(folder))

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
    files = [folder / name for name in sorted(set(tensor_files(folder).values()))]
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


def read_config(folder: Path, name: str = CONFIG) -> dict[str, Any]:
    """Read the ``config.json`` of a model folder, or another JSON object of it.

    Raises
    ------
    ModelError
        When it is missing or damaged.
    """
    path = folder / name
    if not path.is_file():
        raise ModelError(
            f"{folder} holds no model: {name} is missing", hint="give the folder that holds it"
        )
    try:
        config = read_json(path, "model configuration")
    except ArtifactError as error:
        raise ModelError(str(error), hint=_AGAIN) from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not a model configuration", hint=_AGAIN)
    return config


def model_type(config: Mapping[str, Any], folder: Path) -> str:
    """Return the ``model_type`` of a configuration, or of its text part where only that is known.

    Raises
    ------
    ModelError
        When there is none.
    """
    name, text = config.get("model_type"), config.get("text_config")
    if isinstance(text, dict) and not is_family(name):
        name = text.get("model_type")
    if not isinstance(name, str):
        raise ModelError(f"{folder / CONFIG} names no model_type", hint=_AGAIN)
    return name


def tensor_files(folder: Path) -> dict[str, str]:
    """Return the file of every tensor, from the index of several files or from the one file.

    Raises
    ------
    ModelError
        When there are no safetensors weights, or their index or header is damaged.
    """
    if not (folder / INDEX).is_file():
        if not (folder / SINGLE).is_file():
            raise no_weights(str(folder), (path.name for path in folder.iterdir()))
        return dict.fromkeys(_header(folder / SINGLE), SINGLE)
    try:
        table = read_json(folder / INDEX, "weight index")["weight_map"]
        files = {str(name): str(file) for name, file in table.items()}
        if not files:
            raise KeyError("weight_map")
    except (ArtifactError, KeyError, TypeError, AttributeError):
        said = f"{folder / INDEX} is not a readable index of weights"
        raise ModelError(said, hint=_AGAIN) from None
    for file in sorted(set(files.values())):
        if Path(file).name != file:
            raise ModelError(
                f"{folder / INDEX} names a file outside its folder: {file}", hint=_AGAIN
            )
        if not (folder / file).is_file():
            raise ModelError(
                f"{folder} lacks the weight file {file} that its index names", hint=_AGAIN
            )
    return files


def no_weights(name: str, files: Iterable[str]) -> ModelError:
    """Word why a model with these files has no weights that can be read."""
    present = sorted(files)
    for suffixes, what in ((_PICKLED, "pickled"), (_OTHER_FORMATS, "unsupported")):
        found = [file for file in present if file.endswith(suffixes)]
        if found:
            return ModelError(
                f"{name} has {what} weights ({found[0]}): only safetensors are read",
                hint="if you trust the file, convert it once with transformers: "
                f"AutoModelForCausalLM.from_pretrained({name!r}).save_pretrained(FOLDER), "
                "and save the tokenizer there too",
            )
    others = [file for file in present if file.endswith(".safetensors")]
    named = f" (it has {others[0]})" if others else ""
    return ModelError(f"{name} holds no weights: {SINGLE} is missing{named}", hint=_AGAIN)


def _matrix_shape(path: Path, name: str) -> tuple[int, int]:
    entry = _header(path).get(name)
    if not isinstance(entry, dict):
        raise ModelError(f"{path} does not hold {name!r}, although its index says so", hint=_AGAIN)
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
        header.pop("__metadata__", None)
        needed = (
            8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        )
        if needed > path.stat().st_size:
            raise ValueError(f"it is cut off: {needed} bytes are needed")
    except OSError as error:
        raise ResourceError.of("read", path, error) from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        said = f"{path} is not a readable safetensors file: {error}"
        raise ModelError(said, hint=_AGAIN) from None
    return header

"""Where a model comes from: a folder or a hub id, checked before anything is loaded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.errors import ModelError, ResourceError
from emo.store.weights import INDEX, SINGLE, no_weights, read_config, tensor_files

_TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
_GENERATION = "generation_config.json"
_TEXT_FILES = (*_TOKENIZER_FILES, "config.json", _GENERATION, INDEX)
_WEIGHT_PATTERNS = (SINGLE, "model-*.safetensors")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
# Seconds for one answer of the hub; its client tries six times with 23 s of waiting in between,
# which together stays within a minute.
_TIMEOUT = 5.0
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Source:
    """A checked snapshot of a model on this machine.

    Attributes
    ----------
    name : str
        As given by the user.
    folder : Path
        Absolute path of the folder with `config.json` and the weights.
    revision : str or None
        Commit of the hub, None for a plain folder.
    config : dict
        Content of `config.json`.
    weights : tuple of Path
        The safetensors files, sorted by name.
    """

    name: str
    folder: Path
    revision: str | None
    config: dict[str, Any]
    weights: tuple[Path, ...]

    def weight_sha(self) -> str:
        """sha256 over the contents of the weight files in the order of their names."""
        return _hash_files(self.weights)

    def tokenizer_sha(self) -> str:
        """sha256 over the contents of the tokenizer's files in the order of their names."""
        present = (self.folder / name for name in _TOKENIZER_FILES)
        return _hash_files([path for path in present if path.is_file()])


def find_model(name: str, *, revision: str | None, remote_code: bool = False) -> Source:
    """Find a model by folder or hub id; download from the hub what is missing.

    Parameters
    ----------
    name : str
        A folder, or an id such as ``Qwen/Qwen2.5-0.5B-Instruct``.
    revision : str or None
        Branch, tag or commit of the hub.
    remote_code : bool
        Fetch the repository's Python files as well.

    Raises
    ------
    ModelError
        When there is no such folder or repository, or its weights are not safetensors.
    ResourceError
        When the hub cannot be reached and the model is not on this machine.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _open(name, folder.resolve(), None)
    if folder.exists():
        raise ModelError(f"{name} is a file, not a model folder", hint="name its folder")
    if not _HUB_ID.fullmatch(name):
        raise ModelError(
            f"there is no folder {name}", hint="give a model folder, or a hub id: OWNER/NAME"
        )
    snapshot = _download(name, revision, remote_code=remote_code)
    return _open(name, snapshot, snapshot.name)


def _open(name: str, folder: Path, revision: str | None) -> Source:
    config = read_config(folder)
    if (folder / _GENERATION).exists():
        read_config(folder, _GENERATION)  # a damaged one would be left out without a word
    weights = sorted(set(tensor_files(folder).values()))
    return Source(name, folder, revision, config, tuple(folder / file for file in weights))


def _download(name: str, revision: str | None, *, remote_code: bool) -> Path:
    """Snapshot of a hub model; what is on this machine already serves without the hub."""
    from huggingface_hub import HfApi, constants, errors

    wanted = [*_TEXT_FILES, *_WEIGHT_PATTERNS, *(["*.py"] if remote_code else [])]
    network_errors = (OSError, getattr(errors, "HTTPError", OSError))
    if constants.HF_HUB_OFFLINE:
        return _cached(name, revision, wanted, "offline mode is on")
    try:
        info = HfApi().model_info(name, revision=revision, timeout=_TIMEOUT)
        _check_weights(name, {item.rfilename for item in info.siblings or ()})
        return _snapshot(name, revision, wanted)
    except errors.GatedRepoError:
        raise ModelError(
            f"the model {name} is gated", hint="accept its licence on the hub and log in"
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"the model {name} has no revision {revision!r}") from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"there is no folder and no hub model {name!r} that you may read",
            hint="check the spelling, or log in if the model is private",
        ) from None
    except errors.HFValidationError as error:
        raise ModelError(f"{name!r} is no model id: {error}") from None
    except network_errors as error:
        return _cached(name, revision, wanted, f"the hub cannot be reached ({_short(error)})")


def _check_weights(name: str, present: set[str]) -> None:
    """Refuse a hub model without safetensors before anything of it is downloaded."""
    if present.isdisjoint((SINGLE, INDEX)):
        raise no_weights(name, present)


def _snapshot(
    name: str, revision: str | None, wanted: list[str], *, local_only: bool = False
) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        name,
        revision=revision,
        allow_patterns=wanted,
        etag_timeout=_TIMEOUT,
        local_files_only=local_only,
    )
    return Path(folder)


def _cached(name: str, revision: str | None, wanted: list[str], reason: str) -> Path:
    from huggingface_hub.errors import HFValidationError

    try:
        return _snapshot(name, revision, wanted, local_only=True)
    except HFValidationError as error:
        raise ModelError(f"{name!r} is no model id: {error}") from None
    except OSError:
        raise ResourceError(
            f"there is no folder {name!r}, and the hub model of that name is not complete on this "
            f"machine: {reason}",
            hint="name a model folder, or connect to the hub once",
        ) from None


def _short(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _hash_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()

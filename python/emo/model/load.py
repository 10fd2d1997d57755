"""Load a causal language model and prove that its family row fits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from emo.errors import EmoError, ModelError, ResourceError, UsageError, did_you_mean, import_extra
from emo.families import family_of
from emo.model.language_model import LanguageModel
from emo.model.source import Source, find_model
from emo.model.verify import verify_family
from emo.store.weights import model_type

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")
_AGAIN = "download the model again, or copy it again"
_SHORT_DTYPES = {"f32": "float32", "fp32": "float32", "bf16": "bfloat16", "f16": "float16"}


def load_model(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    threads: int = 0,
) -> LanguageModel:
    """Load a model from a folder or the hub, ready for hooks, capture and generation.

    Only safetensors are read, code of a repository runs on request only, and the arithmetic of
    the model's family is checked on real tokens before it is returned.

    Parameters
    ----------
    name_or_folder : str or Path
        Folder of the model, or its hub id.
    revision : str, optional
        Branch, tag or commit of the hub.
    device : str
        `auto` (CUDA where there is one, else the CPU), `cpu`, `cuda` (or `cuda:1`), `mps`.
    dtype : str
        `auto` (the checkpoint's own on CUDA, float32 elsewhere), `float32`, `bfloat16`,
        `float16`.
    trust_remote_code : bool
        Let code of the repository run.
    threads : int
        Threads of torch on the CPU, for the whole process; as torch chooses when 0.

    Returns
    -------
    LanguageModel

    Raises
    ------
    UsageError
        When the device or number format cannot be used here.
    ModelError
        When the model does not exist, cannot be read, or does not fit its family.
    ResourceError
        When the hub cannot be reached or memory does not suffice.
    """
    import_extra("transformers", "model")
    if threads:
        torch.set_num_threads(threads)
    place = pick_device(device)
    number_format = _dtype(dtype, place)
    source = find_model(str(name_or_folder), revision=revision, remote_code=trust_remote_code)
    family = family_of(model_type(source.config, source.folder))
    if source.config.get("quantization_config"):
        raise ModelError(
            f"{source.name} is quantised: its weights cannot be read as numbers",
            hint="take the unquantised model",
        )
    with silent():
        tokenizer = _tokenizer(source, trust_remote_code=trust_remote_code)
        module = _module(source, number_format, trust_remote_code=trust_remote_code)
    try:
        module.to(place)
        model = LanguageModel.wrap(
            module,
            tokenizer,
            family=family,
            name=source.name,
            folder=source.folder,
            revision=source.revision,
            weight_sha=source.weight_sha(),
            tokenizer_sha=source.tokenizer_sha(),
        )
        verify_family(model)
    except torch.OutOfMemoryError:
        raise ResourceError(
            f"{source.name} does not fit into the memory of {place}",
            hint="take a smaller model, the number format bfloat16, or the device cpu",
        ) from None
    return model


def pick_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes a GPU where there is one.

    Raises
    ------
    UsageError
        When there is no such device here.
    """
    kind = name.partition(":")[0]
    if kind not in DEVICES or (":" in name and not name.partition(":")[2].isdigit()):
        raise UsageError(f"unknown device {name!r}", hint=did_you_mean(name, DEVICES))
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    usable = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not usable[kind]:
        raise UsageError(f"this machine has no usable {kind} device", hint="use the device cpu")
    return torch.device(name)


def _dtype(name: str, device: torch.device) -> torch.dtype | str:
    name = _SHORT_DTYPES.get(name, name)
    if name not in DTYPES:
        raise UsageError(f"unknown number format {name!r}", hint=did_you_mean(name, DTYPES))
    if name == "auto":
        return "auto" if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _tokenizer(source: Source, *, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    loader: Any = AutoTokenizer
    try:
        tokenizer = loader.from_pretrained(
            source.folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
        tokenizer("A word.")
        return tokenizer
    # The library names no set of exceptions for files that are damaged.
    except Exception as error:
        raise unusable(f"the tokenizer of {source.name} cannot be read", error) from None


def _module(source: Source, dtype: torch.dtype | str, *, trust_remote_code: bool) -> Any:
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    try:
        module, report = loader.from_pretrained(
            source.folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except Exception as error:
        raise unusable(f"{source.name} cannot be loaded", error) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"the weights of {source.name} lack {len(missing)}, first {missing[0]}", hint=_AGAIN
        )
    return module


def unusable(what: str, error: Exception) -> EmoError:
    """Word whatever a library raised while it read a model's files."""
    if isinstance(error, EmoError):
        return error
    if isinstance(error, OSError) and ResourceError.covers(error):
        return ResourceError.of("read", error.filename or "the model", error)
    if isinstance(error, MemoryError) or "not enough memory" in str(error):
        return ResourceError(f"{what}: not enough memory", hint="take a smaller model")
    said = str(error) if isinstance(error, (OSError, ValueError)) else repr(error)
    wants_code = "trust_remote_code" in said
    hint = "--trust-remote-code runs its own code, if you trust it" if wants_code else _AGAIN
    return ModelError(f"{what}: {said}", hint=hint)


@contextmanager
def silent() -> Iterator[None]:
    """Keep transformers from talking while it loads."""
    from transformers import utils

    logging: Any = utils.logging
    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()

"""Fixtures that several test folders share; torch is imported only by those that need it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from emo.model import LanguageModel

# A shell ignores the signal for what it runs in the background, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with models and data that are not part of this project."""
    if not (SHARED / "models").is_dir():
        pytest.skip(f"needs the models and data in {SHARED}, which is absent here")
    return SHARED


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., LanguageModel]:
    """Factory of random models: ``tiny_model("gpt2", seed=1, tokenizer=True, **config)``."""
    from tiny_models import tiny_model

    return tiny_model


@pytest.fixture(scope="session")
def tiny_llama(tiny_model: Callable[..., LanguageModel]) -> LanguageModel:
    """Random three-layer Llama with a byte tokenizer."""
    return tiny_model("llama", tokenizer=True)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Any) -> Path:
    """Folder with the random Llama and its tokenizer, as `load_model` reads it."""
    folder: Path = tmp_path_factory.mktemp("tiny-llama")
    tiny_llama.module.save_pretrained(folder)
    tiny_llama.tokenizer.save_pretrained(folder)
    return folder

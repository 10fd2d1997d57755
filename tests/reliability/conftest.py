"""A world of every kind of file: built once, copied for each test, which works inside its copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def whole_world(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Any]) -> Path:
    """Folder with a model, data and results of every verb; not to be changed."""
    from refusals import build_world

    world = tmp_path_factory.mktemp("world")
    build_world(world, tiny_model("llama", tokenizer=True, max_position_embeddings=512))
    return world


@pytest.fixture
def world(whole_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Copy of the world as the working folder."""
    copy = tmp_path / "w"
    shutil.copytree(whole_world, copy)
    monkeypatch.chdir(copy)
    yield copy
    shutil.rmtree(copy)

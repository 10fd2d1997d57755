"""Capture into a store: resume to the same bytes, refuse other settings, right vectors."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emo.data.prompts import PromptBuilder
from emo.data.samples import Sample
from emo.data.texts import Text
from emo.errors import DataError, ResourceError, SettingsError, UsageError
from emo.experiments import capture as room
from emo.experiments.capture import (
    CaptureSettings,
    Item,
    capture,
    items_from_samples,
    items_from_texts,
)
from emo.model import LanguageModel
from emo.sites import Site
from emo.store import Store

SETTINGS = CaptureSettings(positions=("last", "mean"), dtype="f32", token_budget=400)


def _events(n: int = 6) -> list[Sample]:
    return [
        Sample(f"s{i}", f"s{i}", scenario="I waited. " * (i % 3 + 1), event=f"Bus {i} came.")
        for i in range(n)
    ]


def _bytes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def llama(tiny_model: Callable[..., LanguageModel]) -> LanguageModel:
    model = tiny_model("llama", tokenizer=True, max_position_embeddings=512)
    return replace(model, weight_sha="0" * 64, tokenizer_sha="1" * 64)


@pytest.fixture
def items(llama: LanguageModel) -> list[Item]:
    builder = PromptBuilder(llama.tokenizer)
    return items_from_samples(_events(), builder, ("anger", "fear"))


def test_other_spans_are_another_store(llama: LanguageModel, tmp_path: Path) -> None:
    settings = replace(SETTINGS, positions=("last", "span"))
    sample = Sample("a", "a", text="What a lovely day.", spans=((7, 13),))
    builder = PromptBuilder(llama.tokenizer)
    marked = items_from_samples([sample], builder, ())
    moved = items_from_samples([replace(sample, spans=((0, 4),))], builder, ())
    _capture(llama, marked, tmp_path / "s", settings)
    with pytest.raises(SettingsError, match="spans was"):
        _capture(llama, moved, tmp_path / "s", settings)
    whole = _capture(llama, marked, tmp_path / "whole")
    assert _capture(llama, moved, tmp_path / "whole").fingerprint == whole.fingerprint


def _capture(
    model: LanguageModel, items: list[Item], folder: Path, settings: CaptureSettings = SETTINGS
) -> Store:
    return capture(model, items, folder, settings, template_sha="t")


def test_rows_are_the_vectors_of_the_last_prompt_token(
    llama: LanguageModel, items: list[Item], tmp_path: Path
) -> None:
    store = _capture(llama, items, tmp_path / "store")
    site = Site(1, "resid_post")
    rows, vectors = store.rows("last"), store.read(site, "last")
    assert sorted(rows[:, 0].tolist()) == list(range(len(items)))
    for (sample, token), vector in zip(rows.tolist(), vectors, strict=True):
        ids = items[sample].prompt.ids
        assert token == len(ids) - 1
        with torch.inference_mode():
            states = llama.module(torch.tensor([ids]), output_hidden_states=True).hidden_states
        np.testing.assert_allclose(vector, states[2][0, -1].numpy(), rtol=1e-4, atol=1e-5)


def test_an_interrupted_capture_ends_with_the_same_bytes(
    llama: LanguageModel, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SHARD_BYTES", 20_000)
    whole = _capture(llama, items, tmp_path / "whole")
    assert len(whole.record.shards) > 2
    for stop in (1, len(items) // 2, len(items)):

        def interrupt(done: int, total: int, stop: int = stop) -> None:
            if done >= stop:
                raise KeyboardInterrupt

        folder = tmp_path / f"stopped-{stop}"
        with pytest.raises(KeyboardInterrupt):
            capture(llama, items, folder, SETTINGS, template_sha="t", progress=interrupt)
        assert not (folder / "emo-store.json").exists()
        _capture(llama, items, folder)
        assert _bytes(folder) == _bytes(tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dtype": "bf16"}, "dtype"),
        ({"positions": ("last",)}, "positions"),
        ({"token_budget": 500}, "token_budget"),
        ({"sites": (Site(0, "mlp_act"),)}, "sites"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    llama: LanguageModel,
    items: list[Item],
    tmp_path: Path,
    change: dict[str, object],
    field: str,
) -> None:
    _capture(llama, items, tmp_path)
    before = _bytes(tmp_path)
    with pytest.raises(SettingsError, match=field):
        _capture(llama, items, tmp_path, replace(SETTINGS, **change))
    assert _bytes(tmp_path) == before


def test_another_template_is_refused(
    llama: LanguageModel, items: list[Item], tmp_path: Path
) -> None:
    _capture(llama, items, tmp_path)
    with pytest.raises(SettingsError, match="template was"):
        capture(llama, items, tmp_path, SETTINGS, template_sha="other")


def test_a_full_disk_is_named_before_anything_runs(
    llama: LanguageModel, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("emo.store.writer.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(ResourceError, match="free"):
        _capture(llama, items, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_replies_are_averaged_over_their_tokens(llama: LanguageModel, tmp_path: Path) -> None:
    builder = PromptBuilder(llama.tokenizer)
    text = Text("s0/anger/prompting", _events(1)[0], "anger", "prompting", "No, no.", "", 5, True)
    (item,) = items_from_texts([text], builder)
    assert len(item.prompt.ids) > item.prompt.n_prompt
    settings = replace(SETTINGS, positions=("reply", "all"))
    store = _capture(llama, [item], tmp_path, settings)
    site = Site(2, "mlp_act")
    every, mean = store.read(site, "all"), store.read(site, "reply")
    expected = every[item.prompt.n_prompt :].mean(axis=0)
    np.testing.assert_allclose(mean[0], expected, rtol=1e-4, atol=1e-6)


def test_a_reply_to_another_prompt_is_refused(llama: LanguageModel) -> None:
    builder = PromptBuilder(llama.tokenizer)
    text = Text("s0/anger/prompting", _events(1)[0], "anger", "prompting", "No.", "0" * 64, 5, True)
    with pytest.raises(DataError, match="differs from the one"):
        items_from_texts([text], builder)


def test_a_position_that_no_text_has_is_refused(
    llama: LanguageModel, items: list[Item], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="'reply'"):
        _capture(llama, items, tmp_path, replace(SETTINGS, positions=("reply",)))


def test_a_text_that_is_too_long_is_named_by_its_id(llama: LanguageModel, tmp_path: Path) -> None:
    samples = [Sample(f"s{i}", f"s{i}", text="word " * length) for i, length in ((3, 2), (7, 200))]
    items = items_from_samples(samples, PromptBuilder(llama.tokenizer), ())
    with pytest.raises(DataError, match="text s7 has"):
        _capture(llama, items, tmp_path)


def test_empty_data_is_refused(llama: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to capture"):
        _capture(llama, [], tmp_path)

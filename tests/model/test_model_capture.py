"""Captured vectors: right rows, right positions, whatever shares the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CONTEXT, NAMES, random_prompts, tiny_model

from emo.errors import DataError, NumericalError, ResourceError, UsageError
from emo.model import Capturer, LanguageModel, Row, plan_batches, record
from emo.model.batch import pad_batch
from emo.model.positions import parse_position, tokens_at
from emo.sites import PARTS, Site

LENGTHS = [9, 4, 14, 1, 9]
POSITIONS = ("last", "mean", "mean_from:5", "span", "reply", "all")


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    prompts = random_prompts(LENGTHS)
    return [
        Row(10 + i, ids, n_prompt=max(1, len(ids) - 3), span_tokens=(1, 3) if i % 2 == 0 else ())
        for i, ids in enumerate(prompts)
    ]


def full_values(model: LanguageModel, row: Row, site: Site) -> np.ndarray:
    with torch.inference_mode(), record(model, [site]) as seen:
        model.module(torch.tensor([row.ids]), use_cache=False)
    return seen[site][0].numpy()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", NAMES)
def test_batch_of_many_equals_batch_of_one(name, side, rows) -> None:
    model = tiny_model(name)
    sites = [Site(layer, part) for layer in (0, model.n_layers - 1) for part in PARTS]
    capturer = Capturer(model, sites, POSITIONS, side=side)
    together = capturer.forward(rows)
    alone = [Capturer(model, sites, POSITIONS).forward([row]) for row in rows]
    for tensor, values in together.tensors.items():
        expected = np.concatenate([one.tensors[tensor] for one in alone])
        np.testing.assert_allclose(
            values, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=tensor
        )
    for position, labels in together.rows.items():
        expected = np.concatenate([one.rows[position] for one in alone])
        np.testing.assert_array_equal(labels, expected)


def test_positions_pick_the_right_tokens(tiny_llama, rows) -> None:
    site = Site(1, "mlp_act")
    captured = Capturer(tiny_llama, [site], POSITIONS, side="left").forward(rows)
    whole = {row.index: full_values(tiny_llama, row, site) for row in rows}
    for position in POSITIONS:
        expected, labels = [], []
        for row in rows:
            tokens = tokens_at(position, row)
            if position in ("last", "all"):
                expected += [whole[row.index][token] for token in tokens]
                labels += [(row.index, token) for token in tokens]
            elif tokens:
                expected.append(whole[row.index][tokens].mean(axis=0))
                labels.append((row.index, -1))
        values = captured.tensors[f"L1.mlp_act@{position}"]
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, np.array(expected), rtol=1e-4, atol=1e-5)
        assert captured.rows[position].tolist() == [list(label) for label in labels]
        assert captured.rows[position].dtype == np.int64


def test_last_is_the_end_of_the_prompt_and_not_of_the_row() -> None:
    row = Row(0, (5, 6, 7, 8), n_prompt=2)
    assert tokens_at("last", row) == [1]
    assert tokens_at("reply", row) == [2, 3]
    assert tokens_at("mean_from:3", row) == [3]
    assert tokens_at("mean_from:4", row) == []
    assert tokens_at("last", Row(0, (5, 6, 7, 8))) == [3]


def test_a_text_without_the_position_gives_no_row(tiny_llama) -> None:
    captured = Capturer(tiny_llama, [Site(0, "resid_mid")], ["span"]).forward([Row(0, (1, 2))])
    assert captured.tensors["L0.resid_mid@span"].shape == (0, 32)
    assert captured.rows["span"].shape == (0, 2)


def test_only_the_blocks_run(tiny_llama, rows, monkeypatch) -> None:
    def fail(*_args):
        raise AssertionError("the unembedding ran")

    monkeypatch.setattr(tiny_llama.unembedding, "forward", fail)
    Capturer(tiny_llama, [Site(0, "resid_mid")]).forward(rows)


def test_number_formats(rows) -> None:
    model = tiny_model("llama")
    site = [Site(0, "resid_post")]
    wide = Capturer(model, site, ["last", "mean"]).forward(rows)
    half = Capturer(model, site, ["last", "mean"], dtype="f16").forward(rows)
    brain = Capturer(model, site, ["last", "mean"], dtype="bf16").forward(rows)
    for name, values in wide.tensors.items():
        assert half.tensors[name].dtype == np.float16
        np.testing.assert_array_equal(half.tensors[name], values.astype(np.float16))
        expected = torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16)
        assert brain.tensors[name].dtype == np.uint16
        np.testing.assert_array_equal(brain.tensors[name], expected)
    model.module.bfloat16()
    assert Capturer(model, site).dtype == "bf16"


def test_values_that_a_number_format_cannot_hold_are_an_error(rows) -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.submodule("model.embed_tokens").weight.mul_(1e6)
    with pytest.raises(NumericalError, match=r"L0.resid_pre@last .* not finite as f16") as caught:
        Capturer(model, [Site(0, "resid_pre")], dtype="f16").forward(rows)
    assert caught.value.hint == "capture as bf16 or f32"


def test_widths(tiny_llama) -> None:
    capturer = Capturer(tiny_llama, [Site(0, "mlp_act"), Site(2, "head_out")], ["last", "mean"])
    assert capturer.widths() == {
        "L0.mlp_act@last": 48,
        "L2.head_out@last": 32,
        "L0.mlp_act@mean": 48,
        "L2.head_out@mean": 32,
    }


def test_settings_that_do_not_exist(tiny_llama) -> None:
    site = Site(0, "resid_mid")
    with pytest.raises(UsageError, match="unknown position 'lest'") as caught:
        Capturer(tiny_llama, [site], ["lest"])
    assert caught.value.hint == "did you mean 'last'?"
    with pytest.raises(UsageError, match="unknown position 'mean_from:K'"):
        parse_position("mean_from:K")
    with pytest.raises(UsageError, match="unknown number format 'f64'"):
        Capturer(tiny_llama, [site], dtype="f64")
    with pytest.raises(UsageError, match="layer 3 does not exist"):
        Capturer(tiny_llama, [Site(3, "resid_mid")])


def test_texts_that_do_not_fit(tiny_llama) -> None:
    capturer = Capturer(tiny_llama, [Site(0, "resid_mid")])
    with pytest.raises(DataError, match="text 1 holds no tokens"):
        capturer.forward([Row(0, (1,)), Row(1, ())])
    with pytest.raises(DataError, match=f"has {CONTEXT + 1} tokens, but the model reads at most"):
        capturer.forward([Row(0, (1,) * (CONTEXT + 1))])


def test_memory_that_runs_out_names_a_smaller_budget(tiny_llama, rows, monkeypatch) -> None:
    def fail(*_args, **_kwargs):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(LanguageModel, "hidden", fail)
    with pytest.raises(ResourceError, match=r"5 texts \(70 tokens\)") as caught:
        Capturer(tiny_llama, [Site(0, "resid_mid")]).forward(rows)
    assert caught.value.hint == "pass a batch size of at most 35 tokens"


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 100))
def test_plan_covers_every_row_once_within_the_budget(lengths, budget) -> None:
    plan = plan_batches(lengths, budget)
    assert sorted(i for batch in plan for i in batch) == list(range(len(lengths)))
    assert plan == plan_batches(list(lengths), budget)
    for batch in plan:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    ordered = [lengths[i] for batch in plan for i in batch]
    assert ordered == sorted(lengths, reverse=True)


def test_plan_refuses_an_empty_budget() -> None:
    with pytest.raises(UsageError, match="token budget 0"):
        plan_batches([1], 0)


def test_padding_sides() -> None:
    left = pad_batch([(5, 6, 7), (8,)], side="left")
    assert left.ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert left.mask.tolist() == [[True, True, True], [False, False, True]]
    right = pad_batch([(5, 6, 7), (8,)])
    assert right.ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert right.positions.tolist() == [[0, 1, 2], [0, 0, 0]]

"""Contributions against a real model: zero a unit with a hook, see its contribution go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import NAMES, random_prompts, tiny_model

from emo.analysis.directions import directions
from emo.analysis.score import score
from emo.errors import UsageError
from emo.families import family_of
from emo.model import edit, record
from emo.model.batch import pad_batch
from emo.model.capture import Capturer, Row
from emo.sites import DEFAULT_PARTS, Site
from emo.store import StorePlan, StoreWriter, weights_hash

EMOTIONS = ("anger", "fear", "happiness")
N_GROUPS = 4
POST_NORM = [name for name in NAMES if family_of(name).post_norm]
KINDS = {"head": ("head_out", "resid_mid"), "neuron": ("mlp_act", "resid_post")}


@pytest.fixture(scope="module", params=NAMES)
def scored(request, tmp_path_factory):
    """A model, its prompts, directions from its store, and the scores."""
    folder = tmp_path_factory.mktemp(request.param)
    model = tiny_model(request.param)
    prompts = random_prompts([5 + i % 4 for i in range(N_GROUPS * len(EMOTIONS))])
    store = _captured(model, prompts, folder)
    found = directions(store, threads=1)
    return model, prompts, found, score(store, found, threads=1)


def _captured(model, prompts, folder, position="last"):
    model.module.save_pretrained(folder / "model")
    sites = [Site(layer, part) for layer in range(model.n_layers) for part in DEFAULT_PARTS]
    capturer = Capturer(model, sites, [position], dtype="f32")
    taken = capturer.forward([Row(i, ids, len(ids)) for i, ids in enumerate(prompts)])
    record = model.describe() | {
        "folder": str(folder / "model"),
        "weight_sha": weights_hash(folder / "model"),
    }
    samples = [
        {"id": f"{g}/{emotion}", "group": str(g), "emotion": emotion}
        for g in range(N_GROUPS)
        for emotion in EMOTIONS
    ]
    plan = StorePlan(
        fields={},
        model=record,
        dtype="F32",
        sites={site: model.width(site) for site in sites},
        positions=(position,),
        samples=samples,
        shards=[{position: len(samples)}],
    )
    with StoreWriter(folder / "store", plan) as writer:
        writer.write(0, taken.tensors, taken.rows)
        return writer.finish()


def _last(model, prompts, site, edits=None):
    """Values of `site` at the last token of each prompt: (n, width) float64."""
    batch = pad_batch(prompts, side="left")
    with torch.inference_mode(), record(model, [site]) as seen, edit(model, edits or {}):
        model.hidden(batch)
    return seen[site][:, -1].double().numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_zeroing_a_unit_takes_exactly_its_contribution(scored, kind):
    model, prompts, found, scores = scored
    if model.family.post_norm:
        pytest.skip("linearised: zeroing a unit changes the norm that follows")
    part, at = KINDS[kind]
    size = model.d_head if kind == "head" else 1
    for layer in range(model.n_layers):
        site, residual = Site(layer, part), Site(layer, at)
        before = _last(model, prompts, residual)
        n_units = model.width(site) // size
        for unit in sorted({0, n_units // 2, n_units - 1}):
            columns = slice(unit * size, (unit + 1) * size)

            def zero(value, _positions, columns=columns):
                value = value.clone()
                value[..., columns] = 0
                return value

            change = _last(model, prompts, residual, {site: zero}) - before
            for e in range(len(EMOTIONS)):
                v = found.unit[residual][e].astype(np.float64)
                effect = (change @ v)[e :: len(EMOTIONS)].mean()
                contribution = scores.units[kind].mean[e, layer, unit]
                # float32 forward passes: 1e-6 of the residual's size
                size_of = np.abs(before).max() * model.d_model**0.5
                assert effect == pytest.approx(-contribution, abs=2e-6 * size_of)


def test_contributions_sum_to_what_the_sublayer_adds(scored):
    model, prompts, found, scores = scored
    for kind, (part, at) in KINDS.items():
        out = "attn_out" if kind == "head" else "mlp_out"
        for layer in range(model.n_layers):
            site = Site(layer, part)
            # the projection of zeros is the bias: zero all units to see it
            bias = _last(model, prompts, Site(layer, out), {site: lambda value, _: value * 0})
            added = _last(model, prompts, Site(layer, out)) - bias
            for e in range(len(EMOTIONS)):
                v = found.unit[Site(layer, at)][e].astype(np.float64)
                total = scores.units[kind].mean[e, layer].sum()
                expected = (added @ v)[e :: len(EMOTIONS)].mean()
                assert total == pytest.approx(expected, abs=2e-5 * (1 + np.abs(added).max()))


def test_only_families_with_a_norm_behind_the_projection_are_linearised(scored):
    model, *_, scores = scored
    assert scores.linearised == (model.family.name in ("gemma2", "gemma3", "gemma3_text", "olmo2"))


def _frozen(model, prompts, site, v):
    """Twin in numpy: each unit's contribution with the norm's factor that the model used.

    Returns (n, width) contributions and (n,) what the bias adds.
    """
    head = site.part == "head_out"
    norm, out = (
        (model.family.attn_norm, model.family.out_proj)
        if head
        else (model.family.mlp_norm, model.family.down_proj)
    )
    module, norm = model.block_module(site.layer, out), model.block_module(site.layer, norm)
    weight = module.weight.double().numpy()
    bias = np.zeros(len(weight)) if module.bias is None else module.bias.double().numpy()
    g = _last(model, prompts, site)
    p = g @ weight.T + bias
    with torch.inference_mode():
        unit = norm(torch.ones(1, model.d_model)).double().numpy()[0]  # gain, eps aside
        added = norm(torch.tensor(p, dtype=torch.float32)).double().numpy()
    gain = unit * (1 + model.family.eps(model.module.config.to_dict())) ** 0.5
    scale = (added / (gain * p)).mean(axis=1)
    return scale[:, None] * g * (weight.T @ (gain * v)), scale * ((gain * bias) @ v)


@pytest.mark.parametrize(
    ("name", "config"),
    [(name, {}) for name in POST_NORM]
    + [("olmo2", {"attention_bias": True}), ("gemma2", {"rms_norm_eps": 0.3})],
)
def test_frozen_norms(name, config, tmp_path):
    """Every unit's statistics equal the twin's, and their sum is what the sublayer adds."""
    model = tiny_model(name, **config)
    prompts = random_prompts([5 + i % 4 for i in range(N_GROUPS * len(EMOTIONS))])
    store = _captured(model, prompts, tmp_path)
    found = directions(store, threads=1)
    scores = score(store, found, threads=1)
    for kind, (part, at) in KINDS.items():
        out = "attn_out" if kind == "head" else "mlp_out"
        for layer in range(model.n_layers):
            added = _last(model, prompts, Site(layer, out))
            for e in range(len(EMOTIONS)):
                v = found.unit[Site(layer, at)][e].astype(np.float64)
                columns, bias = _frozen(model, prompts, Site(layer, part), v)
                size = model.d_head if kind == "head" else 1
                every = columns.reshape(len(columns), -1, size).sum(-1)
                units, table = every[e :: len(EMOTIONS)], scores.units[kind]
                error = 2e-5 * (1 + np.abs(added).max())
                np.testing.assert_allclose(table.mean[e, layer], units.mean(0), atol=error)
                np.testing.assert_allclose(table.sd[e, layer], units.std(0, ddof=1), atol=error)
                total = (added @ v - bias)[e :: len(EMOTIONS)].mean()
                assert table.mean[e, layer].sum() == pytest.approx(total, abs=error)


@pytest.mark.parametrize("name", POST_NORM)
def test_means_over_tokens_have_no_frozen_norm(name, tmp_path):
    model = tiny_model(name)
    prompts = random_prompts([5] * N_GROUPS * len(EMOTIONS))
    store = _captured(model, prompts, tmp_path, position="mean")
    found = directions(store, position="mean", threads=1)
    with pytest.raises(UsageError, match="means over tokens") as caught:
        score(store, found, threads=1)
    assert "--position last" in str(caught.value.hint)

"""Steering and heads of two real trained models, by a protocol that needs no judge.

The protocol's file holds prompts, continuations and sets of heads; what came out when it was first
run is written here, with how far another draw of random vectors may move it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import NAMES  # noqa: F401 - torch and the tokenizers load once, here

from emo.analysis.directions import Directions, directions
from emo.data.prompts import PromptBuilder
from emo.data.samples import Sample
from emo.experiments.capture import CaptureSettings, capture, items_from_samples
from emo.experiments.specificity import Continuations, Specificity, neutral_norm, specificity
from emo.model import LanguageModel, edit, load_model, log_likelihood
from emo.sites import Site
from emo.store import Store

EMOTIONS = ("gratitude", "anger", "apology")
# GoEmotions has no apology; remorse stands for it.
CLASSES = {"gratitude": "gratitude", "anger": "anger", "remorse": "apology", "neutral": "neutral"}
ROWS_PER_CLASS = 70
LAYERS = {"tinytalk-gptneo": (2, 4, 6), "stories260k-llama": (1, 2, 3)}
PROMPTS = {"tinytalk-gptneo": "dialogue", "stories260k-llama": "story"}
# Layer 4 of tinytalk gets more, for its z; elsewhere 20 as in the protocol.
N_RANDOM = {("tinytalk-gptneo", 4): 40}


@pytest.fixture(scope="module")
def protocol(shared) -> dict[str, Any]:
    return json.loads((shared / "data" / "tinytalk-protocol.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sentences(shared) -> list[Sample]:
    """The first 70 training rows of each class that carry this one label."""
    folder = shared / "data" / "goemotions"
    labels = (folder / "original_labels.txt").read_text(encoding="utf-8").split()
    found: dict[str, list[Sample]] = {name: [] for name in CLASSES.values()}
    for line in (folder / "original_train.tsv").read_text(encoding="utf-8").split("\n"):
        text, _, rest = line.partition("\t")
        numbers, _, comment = rest.partition("\t")
        name = CLASSES.get(labels[int(numbers)]) if numbers.isdigit() else None
        if name is not None and len(found[name]) < ROWS_PER_CLASS:
            found[name].append(Sample(f"{name}-{comment}", comment, emotion=name, text=text))
    return [sample for rows in found.values() for sample in rows]


@pytest.fixture(scope="module", params=LAYERS)
def captured(
    request, shared, sentences, tmp_path_factory
) -> tuple[LanguageModel, Store, Directions]:
    """A model, its store of token-averaged residual streams, and directions minus neutral."""
    model = load_model(shared / "models" / request.param, device="cpu")
    builder = PromptBuilder(model.tokenizer)
    sites = tuple(Site(layer, "resid_post") for layer in LAYERS[request.param])
    store = capture(
        model,
        items_from_samples(sentences, builder, ()),
        tmp_path_factory.mktemp("facts") / "store",
        CaptureSettings(sites, ("mean",), "f32"),
        template_sha=builder.template_sha,
    )
    return model, store, directions(store, method="minus-neutral", position="mean", threads=1)


@pytest.fixture(scope="module")
def cells(captured, protocol) -> dict[int, Specificity]:
    """The check at each layer: three emotions, and random vectors of the same norm."""
    model, store, found = captured
    name = Path(model.name).name
    texts = Continuations(
        protocol["prompts"][PROMPTS[name]],
        {emotion: protocol["continuations"][emotion] for emotion in EMOTIONS},
    )
    return {
        layer: specificity(
            model,
            found,
            texts,
            site=Site(layer, "resid_post"),
            strength=neutral_norm(store, Site(layer, "resid_post")) / 2,
            n_random=N_RANDOM.get((name, layer), 20),
        )
        for layer in LAYERS[name]
    }


only_tinytalk = pytest.mark.parametrize("captured", ["tinytalk-gptneo"], indirect=True)
only_stories = pytest.mark.parametrize("captured", ["stories260k-llama"], indirect=True)


def standard_error(z: np.ndarray, n: int) -> np.ndarray:
    """Of a z score against n random vectors: of their mean, 1/n, and spread, z^2 / 2(n - 1)."""
    return np.sqrt(1 / n + z**2 / (2 * (n - 1)))


@only_tinytalk
def test_every_class_stands_behind_the_directions(captured) -> None:
    _, store, found = captured
    assert found.counts == dict.fromkeys((*sorted(EMOTIONS), "neutral"), ROWS_PER_CLASS)
    assert len(store.samples) == 4 * ROWS_PER_CLASS


@only_tinytalk
def test_tinytalk_is_steered_at_every_layer(cells) -> None:
    assert all((cell.specific > 0).all() for cell in cells.values())
    # At most one random vector does as much for gratitude, whichever layer is pushed.
    assert all(cell.p[0] <= 2 / 21 + 1e-9 for cell in cells.values())
    # A gain holds no draw: nothing but rounding can move it.
    expected = {2: (0.748, 0.098, 0.277), 6: (0.762, 0.684, 0.445)}
    for layer, gains in expected.items():
        assert cells[layer].specific == pytest.approx(gains, abs=0.01)


@only_tinytalk
def test_gains_at_layer_4_of_tinytalk(cells) -> None:
    """The known gains are rounded to two decimals; they hold no draw."""
    assert cells[4].specific == pytest.approx((1.12, 0.41, 0.41), abs=0.006)
    own, others = np.diagonal(cells[4].gains), cells[4].gains.sum(axis=1)
    assert (own - (others - own) / 2) == pytest.approx(cells[4].specific)


@only_tinytalk
def test_z_at_layer_4_of_tinytalk(cells) -> None:
    """Both the z against 400 random vectors and the one first found against 20.

    The first is known to 4 %, ours from 40 vectors to 12 to 14 %: 30 % is more than two standard
    errors.  The second is a draw of 20, so it may differ by three standard errors of both.
    """
    z = cells[4].z
    assert z == pytest.approx((4.67, 2.18, 2.36), rel=0.3)
    first = np.array([4.6, 3.9, 2.7])
    error = np.hypot(standard_error(first, 20), standard_error(z, 40))
    assert (np.abs(first - z) < 3 * error).all()


@only_stories
def test_stories_are_not_steered(cells) -> None:
    """No emotion's gain stands above its largest random vector: a sound tool says so."""
    for cell in cells.values():
        assert (cell.specific < cell.random.max(axis=0)).all()
        assert (cell.p > 0.05).all()
        assert (cell.z < 2).all()


def test_condolence_lies_in_three_heads_of_128(shared, protocol) -> None:
    """Of all heads whose loss costs other replies nothing, these cost the condolence most."""
    model = load_model(shared / "models" / "tinytalk-gptneo", device="cpu")
    sets = protocol["heads"]["sets"]
    others = [name for name in sets if name != "loss"]
    plain = {name: head_score(model, protocol["heads"], [name]) for name in sets}
    cost = {
        (layer, head): head_score(model, protocol["heads"], ["loss"], (layer, head)) - plain["loss"]
        for layer in range(model.n_layers)
        for head in range(model.n_heads)
    }
    strongest = sorted(cost, key=lambda unit: cost[unit])[:6]
    beside = {
        unit: head_score(model, protocol["heads"], others, unit)
        - np.mean([plain[name] for name in others])
        for unit in strongest
    }
    # L1H10 costs the condolence most of all, but the other replies a third of a nat as well.
    assert set(strongest[:4]) == {(1, 10), (1, 14), (1, 6), (1, 4)}
    assert beside[1, 10] < -0.3
    only = [unit for unit in strongest if abs(beside[unit]) < 0.1]
    assert only[:3] == [(1, 14), (1, 6), (1, 4)]
    assert [cost[unit] for unit in only[:3]] == pytest.approx([-1.33, -1.23, -0.98], abs=0.02)
    assert [beside[unit] for unit in only[:3]] == pytest.approx([0, 0, 0], abs=0.05)
    assert cost[only[3]] > -0.95


def head_score(
    model: LanguageModel,
    heads: dict[str, Any],
    sets: list[str],
    zeroed: tuple[int, int] | None = None,
) -> float:
    """Summed log-probability of the replies, averaged over prompts, perhaps without one head."""

    def ids_of(text: str) -> tuple[int, ...]:
        return tuple(model.tokenizer(text)["input_ids"])

    def zero(value: torch.Tensor, _positions: torch.Tensor) -> torch.Tensor:
        assert zeroed is not None
        value = value.clone()
        value[..., zeroed[1] * model.d_head : (zeroed[1] + 1) * model.d_head] = 0
        return value

    pairs = [
        (ids_of(heads["prompt"].format(user=user)), ids_of(heads["sets"][name]["reply"]))
        for name in sets
        for user in heads["sets"][name]["users"]
    ]
    with edit(model, {Site(zeroed[0], "head_out"): zero} if zeroed else {}):
        values = log_likelihood(model, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return float(np.mean([total for total, _ in values]))

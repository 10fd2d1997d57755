"""Specific gains: laws, a twin written out by hand, and a direction known to work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import tiny_model

from emo.analysis.directions import Directions
from emo.errors import DataError, NumericalError, UsageError
from emo.experiments.specificity import (
    Continuations,
    Specificity,
    neutral_norm,
    random_units,
    specific_gains,
    specificity,
    split_tokens,
)
from emo.sites import Site

SITE = Site(2, "resid_post")
WORDS = {"anger": (" grr", " argh!"), "fear": (" eek",), "joy": (" yay", " hooray", " whee")}
TEXTS = Continuations(("It rains.", "A bus came by, and she said"), WORDS)


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama", tokenizer=True, seed=3)


def directions_at(units, labels=tuple(WORDS), site=SITE) -> Directions:
    units = np.asarray(units, np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    norms = {site: np.ones(len(labels))}
    return Directions(
        labels, "within-group", "mean", {site: units}, norms, {}, {}, {}, np.ones(0, bool), {}
    )


@pytest.fixture(scope="module")
def drawn() -> Directions:
    return directions_at(np.random.default_rng(0).normal(size=(3, 32)))


def test_specific_gains_of_all_emotions_cancel() -> None:
    gains = np.random.default_rng(0).normal(size=(7, 4))
    found = specific_gains(gains)
    assert found.sum(axis=1) == pytest.approx(0, abs=1e-12)
    assert found[3, 1] == pytest.approx(gains[3, 1] - np.delete(gains[3], 1).mean())
    assert specific_gains(gains + 5.0) == pytest.approx(found, abs=1e-12)


def test_z_and_p_by_hand() -> None:
    random = np.array([[0.1, -0.1], [0.3, -0.3], [-0.1, 0.1], [0.5, -0.5]])
    found = Specificity(SITE, ("anger", "fear"), 1.0, np.array([[0.6, 0.2], [0, 0.3]]), random, 0)
    assert found.specific == pytest.approx([0.4, 0.3])
    spread = np.sqrt(((random[:, 0] - 0.2) ** 2).sum() / 3)
    assert found.z == pytest.approx([0.2 / spread, 0.5 / spread])
    assert found.p == pytest.approx([2 / 5, 1 / 5])
    assert found.to_json()["emotions"]["fear"] == {
        "specific": 0.3, "z": round(0.5 / spread, 4), "p": 0.2, "largest_random": 0.1,
    }  # fmt: skip


def naive_scores(model, push) -> list[float]:
    """One text at a time through the bare module, the vector added by a hook of its own."""

    def hook(_module, _args, output):
        h = output[0] if isinstance(output, tuple) else output
        h = h + torch.tensor(push, dtype=torch.float32)
        return (h, *output[1:]) if isinstance(output, tuple) else h

    handle = model.block_module(SITE.layer).register_forward_hook(hook)
    means = []
    for texts in WORDS.values():
        values = []
        for prompt in TEXTS.prompts:
            for text in texts:
                before = len(model.tokenizer(prompt)["input_ids"])
                ids = torch.tensor([model.tokenizer(prompt + text)["input_ids"]])
                with torch.inference_mode():
                    logs = model.module(ids).logits.log_softmax(-1)[0, before - 1 : -1]
                values.append(logs.gather(1, ids[0, before:, None]).mean().item())
        means.append(float(np.mean(values)))
    handle.remove()
    return means


def test_gains_equal_a_naive_loop(model, drawn) -> None:
    found = specificity(model, drawn, TEXTS, site=SITE, strength=1.5, n_random=2, seed=4)
    base = np.array(naive_scores(model, np.zeros(32)))
    for e, unit in enumerate(drawn.unit[SITE]):
        expected = np.array(naive_scores(model, 1.5 * unit)) - base
        assert found.gains[e] == pytest.approx(expected, abs=2e-5)
    control = random_units(2, 32, SITE, 4)[1]
    expected = specific_gains(np.array(naive_scores(model, 1.5 * control)) - base)
    assert found.random[1] == pytest.approx(expected, abs=2e-5)


def test_the_unembedding_of_a_byte_makes_that_byte_likely(model) -> None:
    """In the last layer, u_a * w_norm (less the mean of all bytes') is the gradient towards `a`."""
    bytes_of = {"anger": "a", "fear": "b", "joy": "c"}
    ids = [model.tokenizer(letter)["input_ids"][-1] for letter in bytes_of.values()]
    rows = model.unembedding.weight.double().numpy()
    norm = model.submodule(f"{model.family.body}.{model.family.final_norm}").weight.double().numpy()
    towards = directions_at((rows[ids] - rows.mean(axis=0)) * norm)
    texts = Continuations(TEXTS.prompts, {name: (letter,) for name, letter in bytes_of.items()})
    found = specificity(model, towards, texts, site=SITE, strength=4.0, seed=1)
    assert (found.specific > found.random.max(axis=0)).all()
    assert (found.z > 2).all()
    assert found.p == pytest.approx(1 / 21)


def test_draws_follow_from_seed_and_site() -> None:
    units = random_units(5, 16, SITE, 0)
    assert np.linalg.norm(units, axis=1) == pytest.approx(1)
    assert np.array_equal(units, random_units(5, 16, SITE, 0))
    assert np.array_equal(units[:3], random_units(3, 16, SITE, 0))
    for other in (random_units(5, 16, SITE, 1), random_units(5, 16, Site(1, "resid_post"), 0)):
        assert not np.isclose(units, other).any(axis=1).any()


def test_merged_tokens_belong_to_the_continuation() -> None:
    assert split_tokens([1, 2, 3], [1, 2, 3, 4]) == ((1, 2, 3), (4,))
    assert split_tokens([1, 2, 3], [1, 2, 9]) == ((1, 2), (9,))
    assert split_tokens([1, 2, 3], [1, 2, 3]) == ((1, 2, 3), ())


@pytest.mark.parametrize(
    ("texts", "options", "error", "words"),
    [
        (TEXTS, {"site": Site(1, "resid_post")}, UsageError, "no L1.resid_post"),
        (TEXTS, {"strength": 0.0}, UsageError, "must be positive"),
        (TEXTS, {"strength": float("nan")}, UsageError, "must be positive"),
        (TEXTS, {"n_random": 1}, UsageError, "at least 2"),
        (TEXTS, {"seed": -1}, UsageError, "at least 0"),
        (TEXTS, {"strength": 1e38}, NumericalError, "one effect"),
        (TEXTS, {"strength": 1e-30}, NumericalError, "one effect"),
        (Continuations(("So",), {"fear": ("!",)}), {}, DataError, "two emotions"),
        (Continuations(("So",), {"fear": ("!",), "awe": ("?",)}), {}, UsageError, "no 'awe'"),
        (Continuations(("So",), {"fear": ("!",), "joy": ()}), {}, DataError, "joy has no prompts"),
        (Continuations((), WORDS), {}, DataError, "anger has no prompts"),
        (Continuations(("So",), {"fear": ("!",), "joy": ("",)}), {}, DataError, "holds no tokens"),
    ],
)  # fmt: skip
def test_what_is_refused(model, drawn, texts, options, error, words) -> None:
    settings = {"site": SITE, "strength": 1.0, "n_random": 2, **options}
    with pytest.raises(error, match=words):
        specificity(model, drawn, texts, **settings)


def test_another_width_is_refused(model) -> None:
    with pytest.raises(UsageError, match="16 wide"):
        specificity(model, directions_at(np.eye(3, 16)), TEXTS, site=SITE, strength=1.0)


def test_progress_counts_the_vectors(model, drawn) -> None:
    calls: list[tuple[int, int]] = []
    specificity(
        model, drawn, TEXTS, site=SITE, strength=1.0, n_random=2,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    assert calls == [(i, 5) for i in range(1, 6)]


def test_norm_of_the_neutral_rows(tmp_path) -> None:
    from store_toys import Toy

    store = Toy(n_groups=5).write_store(tmp_path / "s")
    with pytest.raises(NumericalError, match="no neutral rows"):
        neutral_norm(store, Site(0, "resid_post"), "last")
    with pytest.raises(UsageError, match="no position"):
        neutral_norm(store, Site(0, "resid_post"), "mean")

"""The choice of strength: the rule on made-up grids, the whole on a real tiny Llama."""

import json
from dataclasses import replace

import numpy as np
import pytest

from emo.data.samples import Sample, scenario_text
from emo.errors import DataError, UsageError

torch = pytest.importorskip("torch")

from emo.analysis.directions import Directions  # noqa: E402
from emo.data.prompts import PromptBuilder  # noqa: E402
from emo.experiments.elicit import Push, elicit  # noqa: E402
from emo.experiments.evaluate import rate  # noqa: E402
from emo.experiments.fluency import likelihoods, perplexity  # noqa: E402
from emo.experiments.strength import Cell, Plan, Strength, choose, pick, ranked  # noqa: E402
from emo.judge.protocol import labelled, unlabelled  # noqa: E402
from emo.sites import Site  # noqa: E402

EMOTIONS = ("anger", "joy")
SAMPLES = [Sample(f"s{i}", f"s{i}", scenario="Hi." * i, event="Ok.") for i in (1, 2)]
PLAN = Plan(depths=("0", "1-2"), alphas=(1.0, 8.0), max_new_tokens=5)


class VowelJudge:
    """Calls a reply angry when it holds an ``a``; cannot tell when it is short."""

    name, classes, reliability = "vowels", EMOTIONS, {}

    def judge(self, texts, progress=None):
        return [
            labelled(one, self.name, "anger" if "a" in one.reply else "joy", None)
            if len(one.reply) > 2
            else unlabelled(one, self.name, "short")
            for one in texts
        ]


def cell(hits, n, ppl, alpha=1.0, control=None):
    held = None if control is None else rate(control, 10, 0)
    return Cell((0,), alpha, "last", rate(hits, n, 0), ppl, control=held)


@pytest.mark.parametrize(
    ("cells", "order"),
    [
        ([cell(1, 4, 10), cell(3, 4, 20), cell(4, 4, 31)], [1, 0]),
        ([cell(3, 4, 20), cell(3, 4, 19), cell(3, 4, 19)], [1, 2, 0]),
        ([cell(3, 4, 30.0), cell(2, 4, 10)], [0, 1]),
        ([cell(3, 4, None), cell(0, 4, 10)], [1]),
        ([cell(0, 0, 10), cell(0, 4, 12)], [1]),
        ([cell(4, 4, 31), cell(4, 4, 40)], []),
        ([], []),
    ],
)
def test_the_most_accurate_within_three_times_the_baseline_come_first(cells, order):
    assert ranked(cells, 10.0, 3.0) == order


def test_without_a_baseline_nothing_is_fluent():
    assert ranked([cell(4, 4, 10)], None, 3.0) == []


@pytest.mark.parametrize(
    ("cells", "chosen"),
    [
        ([cell(4, 4, 10, control=5), cell(3, 4, 10, control=1)], 1),
        ([cell(3, 4, 10, control=1), cell(4, 4, 10, control=2)], 0),
        ([cell(4, 4, 10, control=9), cell(3, 4, 10, control=5)], 1),
        ([], None),
    ],
)
def test_random_vectors_must_not_do_the_same(cells, chosen):
    assert pick(cells, 0.2) is (None if chosen is None else cells[chosen])


def test_the_mildest_setting_is_there_when_nothing_is_chosen():
    cells = (cell(4, 4, 90, 8.0), cell(2, 4, 40, 4.0), cell(1, 4, None, 16.0))
    strength = Strength(None, cells, 10.0)
    assert strength.mildest is cells[1]
    found = strength.to_json()
    assert found["choice"] is None
    assert [row["perplexity_ratio"] for row in found["grid"]] == [9, 4, None]


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model("llama", tokenizer=True, max_position_embeddings=128)


@pytest.fixture(scope="module")
def directions(model):
    def drawn(seed):
        rng = np.random.default_rng(seed)
        unit = {}
        for layer in range(model.n_layers):
            raw = rng.standard_normal((2, model.d_model))
            unit[Site(layer, "resid_post")] = (raw / np.linalg.norm(raw)).astype(np.float32)
        norms = {site: np.ones(2) for site in unit}
        return Directions(EMOTIONS, "x", "last", unit, norms, {}, {}, {}, np.ones(2, bool), {})

    return {"last": drawn(0), "reply": drawn(1)}


def _push(directions, cell):
    return Push(directions[cell.position], cell.layers, cell.alpha, "rms", cell.scope)


def test_the_whole_grid_is_tried_and_every_cell_can_be_had_again(model, directions):
    builder = PromptBuilder(model.tokenizer)
    seen = []
    found = choose(
        model, SAMPLES, directions, VowelJudge(), builder,
        emotions=EMOTIONS, plan=PLAN, progress=lambda *done: seen.append(done),
    )  # fmt: skip
    wanted = [(p, ls, a) for p in ("last", "reply") for ls in ((0,), (1, 2)) for a in (1.0, 8.0)]
    assert [(c.position, c.layers, c.alpha) for c in found.cells] == wanted
    assert seen == [(i, 8) for i in range(1, 9)]
    shared = {"emotions": EMOTIONS, "builder": builder, "max_new_tokens": 5}
    plain = elicit(model, SAMPLES, method="baseline", **shared)
    assert found.baseline_perplexity == pytest.approx(
        perplexity(list(likelihoods(model, plain, builder).values()))
    )
    one = found.cells[5]
    push = Push(directions["reply"], (0,), 8.0)
    texts = elicit(model, SAMPLES, method="steering", push=push, **shared)
    verdicts = VowelJudge().judge(texts)
    hits = sum(v.label == v.emotion for v in verdicts)
    assert one.rate["n"] == sum(v.label is not None for v in verdicts)
    assert one.accuracy == pytest.approx(hits / max(one.rate["n"], 1))
    values = list(likelihoods(model, texts, builder).values())
    assert one.perplexity == pytest.approx(perplexity(values), rel=1e-5)
    order = ranked(found.cells, found.baseline_perplexity, PLAN.limit_ratio)
    tried = [found.cells[number] for number in order if found.cells[number].control]
    assert found.choice == pick(tried, found.baseline_accuracy + PLAN.control_margin)
    assert tried
    control = elicit(
        model, SAMPLES, method="random", push=_push(directions, tried[0]).randomised(0), **shared
    )
    verdicts = VowelJudge().judge(control)
    assert tried[0].control["n"] == sum(v.label is not None for v in verdicts)
    row = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {"layers", "alpha", "position", "accuracy", "perplexity", "perplexity_ratio"} <= set(
        row["grid"][0]
    )
    assert len(row["grid"]) == 8
    again = choose(model, SAMPLES, directions, VowelJudge(), builder, emotions=EMOTIONS, plan=PLAN)
    assert again.to_json() == found.to_json()


def test_nothing_stronger_than_what_broke_the_limit_is_tried(model, directions):
    builder = PromptBuilder(model.tokenizer)
    seen = []
    found = choose(
        model, SAMPLES, directions, VowelJudge(), builder,
        emotions=EMOTIONS, plan=replace(PLAN, alphas=(8.0, 1.0), limit_ratio=0.01),
        progress=lambda *done: seen.append(done),
    )  # fmt: skip
    assert [(c.position, c.layers, c.alpha) for c in found.cells] == [
        (position, layers, 1.0) for position in ("last", "reply") for layers in ((0,), (1, 2))
    ]
    assert seen[-1] == (8, 8)
    assert found.choice is None
    plan = replace(PLAN, alphas=(8.0,), prompt_alphas=(1.0,), scope="prompt", limit_ratio=0.01)
    found = choose(model, SAMPLES, directions, VowelJudge(), builder, emotions=EMOTIONS, plan=plan)
    assert {c.alpha for c in found.cells} == {1.0}


def test_test_data_is_refused(model, directions):
    builder = PromptBuilder(model.tokenizer)
    with pytest.raises(
        DataError, match=r"1 discovery samples tell a scenario of the test data, first s2"
    ):
        choose(
            model, SAMPLES, directions, VowelJudge(), builder,
            emotions=EMOTIONS, plan=PLAN, held_out={scenario_text(SAMPLES[1]), "other"},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(alphas=()), "empty"),
        (Plan(positions=("mean",)), "no directions at the position 'mean'"),
        (Plan(depths=("9",)), "layer 9 does not exist"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(model, directions, plan, message):
    builder = PromptBuilder(model.tokenizer)
    with pytest.raises(UsageError, match=message):
        choose(model, SAMPLES, directions, VowelJudge(), builder, emotions=EMOTIONS, plan=plan)

"""The commands one after the other on two real trained models: capture, directions, score, steer.

Each test looks at what one command left behind; all of them run once for each model.
"""

from __future__ import annotations

import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny_models import NAMES  # noqa: F401 - torch and the tokenizers load once, here

from emo.analysis.directions import Directions
from emo.analysis.scores import Scores
from emo.cli import main
from emo.data.bundle import bundled
from emo.data.prompts import PromptBuilder
from emo.data.texts import Text, read_texts
from emo.experiments.elicit import Push
from emo.experiments.specificity import Continuations, neutral_norm, specificity
from emo.model import Steering, generate, load_model
from emo.sites import DEFAULT_PARTS, Site, parse_layers
from emo.store import Store

# What the two models are: layers, heads, width of the MLP.
SHAPES = {"tinytalk-gptneo": (8, 16, 512), "stories260k-llama": (5, 8, 172)}
LABELS = ("anger", "apology", "gratitude")
PER_CLASS = 70
QUESTIONS = ("I will call you later.", "It is raining today.", "The meeting is at three.")
MAX_NEW_TOKENS = 16
STEERING = ("--alpha", "8", "--layers", "0.4-0.7", "--max-new-tokens", str(MAX_NEW_TOKENS))


@dataclass(frozen=True)
class Ran:
    """What the commands wrote for one model; `said` is their stdout."""

    model: Path
    folder: Path
    said: dict[str, str]

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def store(self) -> Store:
        return Store.open(self.folder / "store")

    @property
    def directions(self) -> Directions:
        return Directions.load(self.folder / "directions.safetensors")

    def texts(self, name: str) -> list[Text]:
        return read_texts(self.folder / f"{name}.jsonl")


def emo(*arguments: object) -> str:
    """Run a command that must end well; its stdout."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert caught.value.code == 0, err.getvalue()
    return out.getvalue()


@pytest.fixture(scope="module", params=SHAPES)
def ran(request, shared, tmp_path_factory) -> Ran:
    model = shared / "models" / request.param
    folder = tmp_path_factory.mktemp(request.param)
    store, vectors = folder / "store", folder / "directions.safetensors"
    on = ("--model", model, "--device", "cpu")
    rows = [{"id": f"q{i}", "text": text} for i, text in enumerate(QUESTIONS)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ask = ("generate", *on, "--data", folder / "questions.jsonl", "--json", "--quiet")
    steer = (*ask, "--directions", vectors, "--steer", "each", *STEERING)
    sentences = bundled("small") / "baseline.jsonl"
    said = {
        "capture": emo(
            "capture", *on, "--data", sentences, "--positions", "last,mean,span", "-o", store
        ),
        "directions": emo(
            "directions", store, "--method", "minus-neutral", "--position", "mean",
            "--threads", "1", "-o", vectors,
        ),
        "score": emo(
            "score", store, "--directions", vectors, "--top", "5", "--threads", "1",
            "-o", folder / "scores.safetensors",
        ),
        "steered": emo(*steer, "-o", folder / "steered.jsonl"),
        "untouched": emo(*steer, "--alpha", "0", "-o", folder / "untouched.jsonl"),
        "plain": emo(
            *ask, "--no-instruct", "--max-new-tokens", MAX_NEW_TOKENS, "-o", folder / "plain.jsonl"
        ),
    }  # fmt: skip
    return Ran(model, folder, said)


def test_capture_takes_every_sentence_at_every_site(ran) -> None:
    n_layers, n_heads, d_mlp = SHAPES[ran.name]
    store = ran.store
    assert (store.model["n_layers"], store.model["n_heads"], store.model["d_mlp"]) == (
        n_layers, n_heads, d_mlp,
    )  # fmt: skip
    assert set(store.sites) == {Site(i, part) for i in range(n_layers) for part in DEFAULT_PARTS}
    # Neutral sentences carry no marked words, so they have no row at `span`.
    n_rows = {name: len(store.rows(name)) for name in ("last", "mean", "span")}
    assert n_rows == {"last": 4 * PER_CLASS, "mean": 4 * PER_CLASS, "span": 3 * PER_CLASS}
    for site in (Site(0, "head_out"), Site(n_layers - 1, "resid_post"), Site(1, "mlp_act")):
        for name, n in n_rows.items():
            values = store.read(site, name)
            assert values.shape == (n, store.width(site))
            assert np.isfinite(values).all()
            assert (values.std(axis=0) > 0).all()


def test_marked_words_differ_from_the_whole_sentence(ran) -> None:
    store = ran.store
    at = {
        name: dict(
            zip(store.rows(name)[:, 0], store.read(Site(2, "resid_post"), name), strict=True)
        )
        for name in ("mean", "span")
    }
    without = set(at["mean"]) - set(at["span"])
    assert {store.samples[i]["emotion"] for i in without} == {"neutral"}
    cosines = [
        np.dot(span, at["mean"][i]) / np.linalg.norm(span) / np.linalg.norm(at["mean"][i])
        for i, span in at["span"].items()
    ]
    assert 0.1 < np.mean(cosines) < 0.99


def test_directions_are_unit_vectors_from_all_rows(ran) -> None:
    n_layers, _, d_mlp = SHAPES[ran.name]
    found, store = ran.directions, ran.store
    names = np.array([store.samples[i]["emotion"] for i in store.rows("mean")[:, 0]])
    assert found.labels == LABELS
    assert found.counts == dict.fromkeys((*LABELS, "neutral"), PER_CLASS)
    assert len(found.unit) == len(found.delta) == 2 * n_layers
    for site, vectors in found.unit.items():
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
        assert (found.norms[site] > 0).all()
        acts = store.read(site, "mean").astype(np.float64)
        for e, label in enumerate(LABELS):
            apart = acts[names == label].mean(axis=0) - acts[names == "neutral"].mean(axis=0)
            assert vectors[e] * found.norms[site][e] == pytest.approx(apart, abs=1e-6)
    assert found.delta[Site(0, "mlp_act")].shape == (3, d_mlp)
    for label in LABELS:
        assert f"│ {label} " in ran.said["directions"]


def test_scores_name_the_strongest_units(ran) -> None:
    n_layers, n_heads, d_mlp = SHAPES[ran.name]
    scores = Scores.load(ran.folder / "scores.safetensors")
    for kind, n_units in (("neuron", d_mlp), ("head", n_heads)):
        table = scores.units[kind]
        assert table.mean.shape == (3, n_layers, n_units)
        assert all(np.isfinite(array).all() for array in (table.mean, table.low, table.high))
        assert (table.low <= table.mean).all()
        assert (table.mean <= table.high).all()
        for label in LABELS:
            assert f"{label}: top {kind}s" in ran.said["score"]
            top = scores.top(5, kind, label)
            assert all(unit.mean > 0 and unit.low > 0 for unit in top)
            shown = [line.split("│")[1:5] for line in lines_below(ran.said["score"], label, kind)]
            assert [[cell.strip() for cell in line] for line in shown] == [
                [str(unit.layer), str(unit.unit), str(unit.rank), f"{unit.mean:.4g}"]
                for unit in top
            ]
    with (ran.folder / "scores.csv").open(newline="") as file:
        assert sum(1 for _ in csv.DictReader(file)) == 3 * n_layers * (d_mlp + n_heads)


def lines_below(said: str, label: str, kind: str) -> list[str]:
    """The five rows of the table with this title."""
    lines = said[said.index(f"{label}: top {kind}s") :].splitlines()
    return [line for line in lines if line.startswith("│")][:5]


def test_steered_replies_are_there_for_every_target(ran) -> None:
    assert json.loads(ran.said["steered"]) == {
        "method": "steering", "emotions": list(LABELS), "texts": 9,
    }  # fmt: skip
    texts = ran.texts("steered")
    assert [(text.source.id, text.emotion) for text in texts] == [
        (f"q{i}", label) for i in range(len(QUESTIONS)) for label in LABELS
    ]
    plain = {text.source.id: text for text in ran.texts("plain")}
    assert {text.method for text in texts} == {"steering"}
    for text in texts:
        # The prompt names no emotion, and steering changed the reply.
        assert text.prompt_sha == plain[text.source.id].prompt_sha
        assert text.reply != plain[text.source.id].reply
        assert 0 < text.n_tokens <= MAX_NEW_TOKENS


def test_strength_0_is_the_untouched_model(ran) -> None:
    plain = {text.source.id: text.reply for text in ran.texts("plain")}
    assert [text.reply for text in ran.texts("untouched")] == [
        plain[f"q{i}"] for i in range(len(QUESTIONS)) for _ in LABELS
    ]


def test_every_token_written_was_steered_at_every_layer(ran) -> None:
    """Repeat the command's replies in Python: the same texts, and as many hits as forward passes.

    Scope `both` edits the last prompt token and every token written, so each forward pass once at
    each of the layers; the end of a reply is a pass of its own.
    """
    model = load_model(ran.model, device="cpu")
    texts = ran.texts("steered")
    builder = PromptBuilder(model.tokenizer)
    push = Push(ran.directions, parse_layers("0.4-0.7", model.n_layers), 8.0)
    which = [LABELS.index(text.emotion or "") for text in texts]
    replies = generate(
        model,
        [builder.build(text.source.content, None).ids for text in texts],
        max_new_tokens=MAX_NEW_TOKENS,
        steering=Steering(push.vectors(), push.alpha, push.relative, push.scope, which),
    )
    assert [reply.text.strip() for reply in replies] == [text.reply for text in texts]
    for reply in replies:
        assert reply.hits == len(push.layers) * (len(reply.ids) + reply.stopped)


@pytest.mark.parametrize("ran", ["tinytalk-gptneo"], indirect=True)
def test_small_sentences_steer_tinytalk_towards_gratitude(ran, shared) -> None:
    """At layer 4, half as well as the protocol's larger set of comments, but not by chance.

    Against 400 random vectors z is 2.1, and 12 of them do as much (p = 0.03); the draw of 40 here
    bounds p by 0.1.
    """
    protocol = json.loads((shared / "data" / "tinytalk-protocol.json").read_text())
    site = Site(4, "resid_post")
    found = specificity(
        load_model(ran.model, device="cpu"),
        ran.directions,
        Continuations(protocol["prompts"]["dialogue"], protocol["continuations"]),
        site=site,
        strength=neutral_norm(ran.store, site) / 2,
        n_random=40,
    )
    assert (found.specific > 0).all()
    gratitude = found.labels.index("gratitude")
    # 0.527 from float32 activations; the store's bfloat16 moves it in the third decimal.
    assert found.specific[gratitude] == pytest.approx(0.527, abs=0.02)
    assert found.p[gratitude] < 0.1

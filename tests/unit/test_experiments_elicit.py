"""Elicitation with a real tiny Llama: methods, targets per row, resuming, hit counts."""

import dataclasses

import numpy as np
import pytest

from emo.data.samples import Sample
from emo.data.texts import read_texts, text_id, write_texts
from emo.errors import DataError, ModelError, SettingsError, UsageError

torch = pytest.importorskip("torch")

from emo.analysis.directions import Directions  # noqa: E402
from emo.data.prompts import PromptBuilder, system_text  # noqa: E402
from emo.experiments import elicit as room  # noqa: E402
from emo.experiments.elicit import Push, elicit  # noqa: E402
from emo.experiments.replies import elicit_kept  # noqa: E402
from emo.model import Steering, generate  # noqa: E402
from emo.sites import Site  # noqa: E402

EMOTIONS = ("anger", "fear", "joy")
SAMPLES = [
    Sample(f"s{i}-neutral", f"s{i}-neutral", valence="neutral", scenario="Hi." * i, event="Ok.")
    for i in range(1, 6)
]


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model("llama", tokenizer=True, max_position_embeddings=160)


@pytest.fixture(scope="module")
def builder(model):
    return PromptBuilder(model.tokenizer)


@pytest.fixture(scope="module")
def directions(model):
    rng = np.random.default_rng(0)
    unit = {}
    for layer in range(model.n_layers):
        raw = rng.standard_normal((len(EMOTIONS), model.d_model))
        raw /= np.linalg.norm(raw, axis=1, keepdims=True)
        unit[Site(layer, "resid_post")] = raw.astype(np.float32)
    norms = {site: np.ones(len(EMOTIONS)) for site in unit}
    return Directions(
        EMOTIONS, "within-group", "last", unit, norms, {}, {}, {}, np.ones(3, bool), {}
    )


@pytest.fixture
def ask(model, builder):
    def run(method, emotions=EMOTIONS, samples=SAMPLES, **options):
        options = {"max_new_tokens": 6, **options}
        return elicit(model, samples, emotions=emotions, method=method, builder=builder, **options)

    return run


def test_the_baseline_asks_each_sample_once_and_names_nothing(ask, builder):
    texts = ask("baseline")
    assert [text.id for text in texts] == [text_id(s.id, None, "baseline") for s in SAMPLES]
    for text in texts:
        assert (text.emotion, text.method) == (None, "baseline")
        assert text.prompt_sha == builder.build(text.source.content, None).sha


def test_prompting_names_each_target(ask, builder):
    texts = ask("prompting")
    assert [text.id for text in texts] == [
        text_id(sample.id, emotion, "prompting") for sample in SAMPLES for emotion in EMOTIONS
    ]
    for text in texts:
        prompt = builder.build(text.source.content, text.emotion)
        assert system_text(text.emotion) in prompt.text
        assert text.prompt_sha == prompt.sha


def test_steering_pushes_each_row_along_its_own_target_and_names_none(
    ask, model, builder, directions
):
    push = Push(directions, (0, 2), alpha=6.0)
    texts = ask("steering", push=push)
    assert len({text.reply for text in texts if text.sample == "s1-neutral"}) > 1
    for text in texts:
        prompt = builder.build(text.source.content, None)
        row = EMOTIONS.index(text.emotion)
        vectors = {layer: directions.unit[Site(layer, "resid_post")][row] for layer in (0, 2)}
        [alone] = generate(
            model, [prompt.ids], max_new_tokens=6, steering=Steering(vectors, alpha=6.0)
        )
        assert (text.prompt_sha, text.reply) == (prompt.sha, alone.text.strip())
        assert (text.n_tokens, text.stopped) == (len(alone.ids), alone.stopped)
        assert alone.hits == 2 * (len(alone.ids) + alone.stopped)


def test_strength_zero_is_the_baseline(ask, directions):
    plain = {text.sample: text.reply for text in ask("baseline")}
    for text in ask("steering", push=Push(directions, (1,), alpha=0.0)):
        assert text.reply == plain[text.sample]


def test_random_vectors_are_unit_differ_by_target_and_follow_the_seed(ask, directions):
    push = Push(directions, (0, 1), alpha=6.0)
    control = push.randomised(1)
    for layer, vectors in control.vectors().items():
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
        assert abs(np.corrcoef(vectors)[0, 1]) < 0.9
        assert not np.array_equal(vectors, push.vectors()[layer])
    replies = [text.reply for text in ask("random", push=control)]
    assert replies == [text.reply for text in ask("random", push=push.randomised(1))]
    assert replies != [text.reply for text in ask("random", push=push.randomised(2))]
    settings = [p.settings()["vectors"] for p in (push, control, push.randomised(2))]
    assert len(set(settings)) == 3


@pytest.mark.parametrize("batch_size", [3, 100])
def test_the_batch_size_does_not_change_the_replies(ask, directions, batch_size):
    push = Push(directions, (1,), alpha=4.0)
    wanted = ask("steering", push=push)
    assert ask("steering", push=push, batch_size=batch_size) == wanted


def elicit_to_file(output, *args, **options):
    texts, part = elicit_kept(output, *args, **options)
    write_texts(output, texts)
    part.remove()


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(model, builder, tmp_path):
    options = {"emotions": EMOTIONS, "method": "prompting", "builder": builder}
    options |= {"max_new_tokens": 4, "batch_size": 4}
    elicit_to_file(tmp_path / "whole", model, SAMPLES, **options)

    def stop(done, total):
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        elicit_to_file(tmp_path / "part", model, SAMPLES, **options, progress=stop)
    assert not (tmp_path / "part").exists()
    lines = (tmp_path / "part.part").read_bytes().splitlines(keepends=True)
    assert len(lines) == 9
    (tmp_path / "part.part").write_bytes(b"".join(lines[:7]) + lines[7][:20])
    with pytest.raises(SettingsError, match="max_new_tokens was 4, now 5"):
        elicit_to_file(tmp_path / "part", model, SAMPLES, **{**options, "max_new_tokens": 5})
    elicit_to_file(tmp_path / "part", model, SAMPLES, **options)
    assert (tmp_path / "part").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part", "whole"]
    assert len(read_texts(tmp_path / "whole")) == 15


def test_finished_blocks_are_not_generated_again(ask):
    known = {text.id: text for text in ask("prompting")}
    changed = {id_: dataclasses.replace(text, reply="kept") for id_, text in known.items()}
    seen = []
    texts = ask("prompting", existing=changed, on_rows=seen.extend, batch_size=4)
    assert {text.reply for text in texts} == {"kept"}
    assert seen == []


def test_a_reply_that_was_never_touched_is_an_error(ask, directions, monkeypatch):
    real = generate

    def dead(*args, **options):
        return [dataclasses.replace(reply, hits=0) for reply in real(*args, **options)]

    monkeypatch.setattr(room, "generate", dead)
    with pytest.raises(ModelError, match="steering did not touch"):
        ask("steering", push=Push(directions, (1,), alpha=4.0))
    ask("steering", push=Push(directions, (1,), alpha=0.0))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("prompt", {}, "unknown method"),
        ("prompting", {"emotions": ()}, "at least one target"),
        ("prompting", {"emotions": ("joy", "joy")}, "named twice"),
        ("steering", {}, "needs directions"),
        ("baseline", {"push": ((1,), EMOTIONS)}, "takes no directions"),
        ("steering", {"push": ((), EMOTIONS)}, "at least one layer"),
        ("steering", {"push": ((7,), EMOTIONS)}, "hold no L7.resid_post"),
        ("steering", {"push": ((1,), ("anger", "envy")), "emotions": ("envy",)}, "no 'envy'"),
    ],
)
def test_what_does_not_fit_together_is_refused(ask, directions, method, options, message):
    if "push" in options:
        options["push"] = Push(directions, options["push"][0])
    with pytest.raises(UsageError, match=message):
        ask(method, **options)


def test_no_samples_are_refused(ask):
    with pytest.raises(DataError, match="nothing to ask"):
        ask("baseline", samples=[])

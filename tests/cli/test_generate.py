"""``emo generate`` on a tiny model's folder, by exit code, file and output."""

import json

import numpy as np
import pytest

from emo.cli import main
from emo.data.samples import DEFAULT_EMOTIONS
from emo.data.texts import read_texts
from emo.sites import Site

torch = pytest.importorskip("torch")

from emo.analysis.directions import Directions  # noqa: E402

EMOTIONS = ("anger", "joy")


@pytest.fixture
def emo(capsys):
    """Run a command: (exit code, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    path = tmp_path_factory.mktemp("generate")
    model = tiny_model("llama", tokenizer=True, max_position_embeddings=160)
    model.module.save_pretrained(path / "model")
    model.tokenizer.save_pretrained(path / "model")
    event = {"positive": "Yes.", "neutral": "Hm.", "negative": "No."}
    row = {"skeleton_id": "a", "theme": "work", "scenario": "I asked.", "event": event}
    (path / "sev.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    unit = {}
    for layer in range(model.n_layers):
        raw = rng.standard_normal((2, model.d_model))
        unit[Site(layer, "resid_post")] = (raw / np.linalg.norm(raw)).astype(np.float32)
    norms = {site: np.ones(2) for site in unit}
    Directions(
        EMOTIONS, "within-group", "last", unit, norms, {}, {}, {}, np.ones(2, bool), {}
    ).save(path / "directions")
    return path


@pytest.fixture
def generate(emo, folder, tmp_path):
    def run(*arguments, output="texts.jsonl"):
        fixed = ["--model", folder / "model", "--data", folder / "sev.jsonl", "--device", "cpu"]
        fixed += ["--max-new-tokens", 3, "-o", tmp_path / output]
        return emo("generate", *fixed, *arguments)

    return run


def test_by_default_each_of_six_emotions_is_named(generate, tmp_path):
    code, out, err = generate()
    assert (code, out) == (0, "")
    texts = read_texts(tmp_path / "texts.jsonl")
    assert len(texts) == 18
    assert {text.method for text in texts} == {"prompting"}
    assert tuple(text.emotion for text in texts[:6]) == DEFAULT_EMOTIONS
    assert "18 replies (prompting)" in err
    assert [path.name for path in tmp_path.iterdir()] == ["texts.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "method", "n", "emotions"),
    [
        (["--no-instruct"], "baseline", 3, []),
        (["--emotions", "envy, pride"], "prompting", 6, ["envy", "pride"]),
        (["--emotions", "envy", "--limit", "2"], "prompting", 2, ["envy"]),
        (["DIRECTIONS", "--steer", "each", "--layers", "1-2"], "steering", 6, ["anger", "joy"]),
        (["DIRECTIONS", "--steer", "joy", "--alpha-norm", "0.5"], "steering", 3, ["joy"]),
        (
            ["DIRECTIONS", "--steer", "each", "--emotions", "joy", "--random-control", "3"],
            "random",
            3,
            ["joy"],
        ),
    ],
)
def test_options_choose_the_method(generate, folder, tmp_path, arguments, method, n, emotions):
    given = [
        piece
        for argument in arguments
        for piece in (
            ["--directions", folder / "directions"] if argument == "DIRECTIONS" else [argument]
        )
    ]
    code, out, _ = generate(*given, "--json", "--quiet")
    assert code == 0
    assert json.loads(out) == {"method": method, "emotions": emotions, "texts": n}
    texts = read_texts(tmp_path / "texts.jsonl")
    assert (len(texts), {text.method for text in texts}) == (n, {method})


def test_strength_zero_is_the_baseline_and_strengths_convert(generate, folder, tmp_path):
    steer = ["--directions", folder / "directions", "--steer", "joy", "--layers", "1"]
    width = 32**0.5
    generate("--no-instruct", output="plain")
    generate(*steer, "--alpha", "0", output="zero")
    generate(*steer, "--alpha", 2 * width, output="rms")
    generate(*steer, "--alpha-norm", "2", output="norm")
    generate(*steer, output="default")
    generate(*steer, "--alpha", "8", output="eight")
    replies = {path.name: [text.reply for text in read_texts(path)] for path in tmp_path.iterdir()}
    assert replies["zero"] == replies["plain"]
    assert replies["rms"] == replies["norm"]
    assert replies["default"] == replies["eight"]


def test_the_same_command_gives_the_same_bytes(generate, tmp_path):
    generate("--emotions", "joy", output="a")
    generate("--emotions", "joy", "--batch-size", "1", output="b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--steer", "joy"], 2, "--directions and --steer go together"),
        (["--alpha", "3"], 2, "belong to steering"),
        (["--emotions", " , "], 2, "names no emotion"),
        (["--emotions", "joy,joy"], 2, "twice"),
        (["--max-new-tokens", "0"], 2, "--max-new-tokens"),
        (["DIRECTIONS", "--steer", "envy"], 2, "envy"),
        (["DIRECTIONS", "--steer", "joy", "--emotions", "anger"], 2, "names the target already"),
        (["DIRECTIONS", "--steer", "joy", "--layers", "9"], 2, "layer 9 does not exist"),
        (["DIRECTIONS", "--steer", "joy", "--alpha", "1", "--alpha-norm", "1"], 2, "not both"),
        (["DIRECTIONS", "--steer", "joy", "--alpha", "nan"], 2, "no finite number"),
        (["--directions", "absent", "--steer", "joy"], 5, "absent"),
        (["--data", "absent"], 3, "absent"),
        (["--model", "/absent/model"], 4, "/absent/model"),
    ],
)
def test_refusals_have_their_codes(generate, folder, tmp_path, arguments, code, words):
    given = [
        piece
        for argument in arguments
        for piece in (
            ["--directions", folder / "directions"] if argument == "DIRECTIONS" else [argument]
        )
    ]
    found, _, err = generate(*given)
    assert (found, words in err) == (code, True), err
    assert err.count("error:") == 1
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_is_refused_with_other_settings(generate, tmp_path):
    part = tmp_path / "texts.jsonl.part"
    part.write_text('{"settings": {"method": "baseline"}}\n{"id": "x"}\n', encoding="utf-8")
    code, _, err = generate()
    assert code == 6
    assert 'method was "baseline", now "prompting"' in err

"""Work that was begun with other settings, and results of another model: exit code 6."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from refusals import Case, cases, remove, run_emo
from safetensors.numpy import load_file, save_file

DIRECTIONS = "directions.safetensors"
CAPTURE = "capture --model model --data texts.jsonl --positions last,reply --dtype f32 -o store"
SCORE = f"score store --directions {DIRECTIONS} --model model -o out"
STEER = f"generate --model model --data events.jsonl --directions {DIRECTIONS} --steer fear -o out"
GENERATE = "generate --model model --data events.jsonl --emotions anger,fear -o out"
JUDGE = "judge run texts.jsonl --judge judge -o out"
RUN = "run --model model --data events.jsonl --emotions anger,fear"
NEW = "another output folder"


def other_weights(dtype: type = np.float32) -> Callable[[], object]:
    """Damage: weights of another model, or the same in another number format."""

    def damage() -> None:
        path = "model/model.safetensors"
        tensors = {name: array.astype(dtype) for name, array in load_file(path).items()}
        tensors["model.norm.weight"] = tensors["model.norm.weight"] * dtype(0.5)
        save_file(tensors, path, metadata={"format": "pt"})

    return damage


@cases(
    ("same-dtype", 6, CAPTURE.replace("f32", "bf16"), 'dtype was "F32", now "BF16"', NEW),
    ("positions", 6, CAPTURE.replace("last,reply", "last"), "positions was", NEW),
    ("sites", 6, f"{CAPTURE} --sites mlp_act", "sites was", NEW),
    ("limit", 6, f"{CAPTURE} --limit 3", "samples was", NEW),
    ("budget", 6, f"{CAPTURE} --batch-size 64", "token_budget was 4096, now 64", NEW),
    ("data", 6, CAPTURE.replace("texts", "labelled").replace("last,reply", "last"), "samples", NEW),
    ("weights", 6, CAPTURE, "weights was", NEW, other_weights()),
    ("checkpoint-dtype", 6, CAPTURE, "weights was", NEW, other_weights(np.float16)),
    ("score-weights", 6, SCORE, "model holds other weights", "--model", other_weights()),
    ("score-dtype", 6, SCORE, "model holds other weights", "--model", other_weights(np.float16)),
    ("steer-weights", 6, STEER, "made for another model", "compute its directions",
     other_weights()),
    ("run", 6, f"{RUN} -o run", "run was begun with other settings: data.discovery.n was", "-o"),
)  # fmt: skip
def test_what_was_made_with_other_settings(world: Path, case: Case) -> None:
    case.check()


def test_directions_of_another_model(world: Path) -> None:
    other_weights()()
    remove("other", DIRECTIONS)
    for command in (CAPTURE.replace("-o store", "-o other"), f"directions other -o {DIRECTIONS}"):
        assert run_emo(command).code == 0
    Case("score", 6, SCORE, "directions come from another model", "from this store").check()


@pytest.mark.parametrize(
    ("command", "changed", "says"),
    [
        (GENERATE, f"{GENERATE} --max-new-tokens 7", "max_new_tokens was 60, now 7"),
        (GENERATE, GENERATE.replace("anger,fear", "fear"), "emotions was"),
        (GENERATE, f"{GENERATE} --limit 2", "data was"),
        (STEER, f"{STEER} --alpha 2", "steering was"),
        (JUDGE, f"{JUDGE} --limit 2", "texts was"),
        (JUDGE, JUDGE.replace("--judge judge", ""), "judge was"),
    ],
)
def test_rows_begun_with_other_settings(
    world: Path, monkeypatch: pytest.MonkeyPatch, command: str, changed: str, says: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("emo.data.partial.PartFile.remove", lambda self: None)
        assert run_emo(command).code == 0
    Case("part", 6, changed, says, "delete").check()


def test_a_run_begun_with_other_settings(world: Path) -> None:
    # A random model's replies give no directions, but the settings of the folder are kept.
    assert run_emo(f"{RUN} -o begun").code == 9
    settings = json.loads(Path("begun/run.json").read_text())
    for option, says in (
        ("--seed 1", "seed was 0, now 1"),
        ("--smoke", "options.alphas was"),
        ("--limit 2", "options.limit was"),
        ("--judge judge", "options.judge was"),
    ):
        Case(option, 6, f"{RUN} {option} -o begun", says, "-o").check()
    assert json.loads(Path("begun/run.json").read_text()) == settings

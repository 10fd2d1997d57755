"""Numbers that allow no answer: not finite, too few, no difference. Exit code 9."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from refusals import Case, cases, remove, run_emo, write
from safetensors.numpy import load_file, save_file

from emo import _core
from emo.artifacts import Artifact, read_artifact, write_artifact, write_jsonl

SHARD = "shards/00000.safetensors"
DIRECTIONS = "directions.safetensors"
COMPUTE = "directions store -o out"
SCORE = f"score store --directions {DIRECTIONS} -o out"
STEER = f"generate --model model --data events.jsonl --directions {DIRECTIONS} --steer fear -o out"
CAPTURE = "capture --model model --data events.jsonl"


def forged(name: str, edit: Callable[[np.ndarray[Any, Any]], object]) -> Callable[[], object]:
    """Damage: a tensor edited as if it had been captured so, with all hashes right."""

    def damage() -> None:
        remove("store/stats")
        tensors = load_file(f"store/{SHARD}")
        edit(tensors[name])
        Path("store", SHARD).unlink()
        kinds = {"int64": "I64", "float32": "F32"}
        arrays = [(key, kinds[str(array.dtype)], array) for key, array in tensors.items()]
        said = _core.write_shard(f"store/{SHARD}", arrays)
        manifest = json.loads(Path("store/emo-store.json").read_text())
        manifest["shards"][0] |= {key: said[key] for key in ("bytes", "blake3", "chunks")}
        write("store/emo-store.json", manifest)()
        write("store/shards/00000.json", manifest["shards"][0])()

    return damage


def set_to(value: float, row: int = 3, column: int = 5) -> Callable[[np.ndarray[Any, Any]], object]:
    """Edit: one number replaced."""
    return lambda array: array.__setitem__((row, column), value)


def same_rows(array: np.ndarray[Any, Any]) -> None:
    """Edit: no difference between samples."""
    array[:] = array[0]


def weights(factor: float) -> Callable[[], object]:
    """Damage: the weights of the second layer scaled."""

    def damage() -> None:
        path = "model/model.safetensors"
        tensors = load_file(path)
        for name in ("mlp.down_proj", "self_attn.o_proj"):
            tensors[f"model.layers.1.{name}.weight"] *= np.float32(factor)
        save_file(tensors, path, metadata={"format": "pt"})

    return damage


def vectors(value: float) -> Callable[[], object]:
    """Damage: a number in the directions replaced."""

    def damage() -> None:
        found = read_artifact(Path(DIRECTIONS), "directions")
        arrays = {name: array.copy() for name, array in found.arrays.items()}
        arrays["unit/L1.resid_post"][0, 0] = value
        edited = Artifact("directions", arrays, found.meta, found.provenance)
        write_artifact(Path(DIRECTIONS), edited)

    return damage


@cases(
    ("nan", 9, COMPUTE, "row 3", "", forged("L1.mlp_act@last", set_to(np.nan))),
    ("infinite", 9, COMPUTE, "row 3", "", forged("L1.resid_post@last", set_to(np.inf))),
    ("verify", 9, "store verify store", "row 3", "", forged("L2.mlp_act@reply", set_to(np.nan))),
    ("score", 9, SCORE, "row 3", "", forged("L2.head_out@last", set_to(-np.inf))),
    ("score-mlp", 9, SCORE, "row 3", "", forged("L0.mlp_act@last", set_to(np.nan))),
    ("steer-nan", 9, STEER, "not finite", "", vectors(np.nan)),
    ("score-nan", 9, SCORE, "not finite", "", vectors(np.inf)),
    ("strength", 9, f"{STEER} --alpha 1e38", "not finite", "strength"),
    ("strength-f32", 9, f"{STEER} --alpha 1e39", "strength is not finite", "smaller strength"),
    ("nan-weights", 9, f"{CAPTURE} -o out", "not finite", "", weights(np.nan)),
    ("infinite-weights", 9, f"{CAPTURE} -o out", "not finite", "", weights(np.inf)),
    ("nan-generate", 9, "generate --model model --data events.jsonl -o out", "not finite", "",
     weights(np.nan)),
)  # fmt: skip
def test_numbers_that_are_not_finite(world: Path, case: Case) -> None:
    case.check()


def test_a_capture_that_leaves_the_range_of_its_format(world: Path) -> None:
    weights(1e6)()
    Case("f16", 9, f"{CAPTURE} --dtype f16 -o out", "L1.", "bf16", leaves=("out",)).check()
    assert not Path("out/emo-store.json").exists()
    result = run_emo("store info out")
    assert (result.code, result.lines("hint: ")) == (
        5, ["hint: run the same capture command again to finish it"],
    )  # fmt: skip
    assert run_emo(f"{CAPTURE} --dtype bf16 -o out").code == 6


def only(emotion: str, *, label: str | None = None) -> Callable[[], object]:
    """Damage: verdicts that accept one emotion, or give all one label."""

    def damage() -> None:
        rows = [json.loads(line) for line in Path("verdicts.jsonl").read_text().splitlines()]
        for row in rows:
            row["label"] = label or (emotion if row["emotion"] == emotion else "neutral")
        write_jsonl(Path("verdicts.jsonl"), rows)

    return damage


VERDICTS = "--verdicts verdicts.jsonl -o out"


@cases(
    ("no-difference", 9, COMPUTE, "L0.resid_mid is zero", "--sites",
     forged("L0.resid_mid@last", same_rows)),
    ("one-emotion", 9, f"directions store {VERDICTS}", "fear 6", "more samples", only("fear")),
    ("none", 9, f"directions store {VERDICTS}", "anger 0", "", only("fear", label="neutral")),
    ("neutral", 9, "directions store --method minus-neutral -o out", "neutral 0", "neutral"),
    ("score-few", 9, f"score store --directions {DIRECTIONS} {VERDICTS}", "anger has 0", "every",
     only("fear")),
    ("judge", 9, "judge train few.jsonl -o out", "5 are needed", "add texts",
     lambda: write_jsonl(Path("few.jsonl"), [{"text": f"word {n}", "emotion": "ab"[n % 2]}
                                             for n in range(6)])),
)  # fmt: skip
def test_numbers_that_are_too_few(world: Path, case: Case) -> None:
    case.check()


def test_a_run_whose_replies_nobody_accepts(world: Path) -> None:
    command = "run --model model --data events.jsonl --emotions anger,fear -o out"
    case = Case("run", 9, command, "no group", "", leaves=("out",))
    case.check()
    assert not {"summary.json", "report.html", "directions-last.safetensors"} & {
        path.name for path in Path("out").iterdir()
    }
    before = {path: path.read_bytes() for path in Path("out").glob("*.jsonl")}
    case.check()
    assert {path: path.read_bytes() for path in Path("out").glob("*.jsonl")} == before

"""Stores and result files that are damaged, foreign or not there: exit code 5."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import (
    Case,
    cases,
    change,
    check_lines,
    cut,
    flip,
    folder,
    remove,
    run_emo,
    without,
    write,
)

from emo import _core
from emo.artifacts import Artifact, read_artifact, write_artifact

MANIFEST = "store/emo-store.json"
SHARD = "store/shards/00000.safetensors"
LEDGER = "store/shards/00000.json"
PLAN = "store/shards/plan.json"
DIRECTIONS = "directions.safetensors"
STORE = {
    "info": "store info store",
    "verify": "store verify store",
    "directions": "directions store -o out",
    "score": f"score store --directions {DIRECTIONS} -o out",
}
VERIFY, COMPUTE = STORE["verify"], STORE["directions"]
SCORE = STORE["score"]
STEER = f"generate --model model --data events.jsonl --directions {DIRECTIONS} --steer fear -o out"


def header(old: str, new: str) -> Callable[[], object]:
    """Damage: a header of the shard, of the same length, with another text in it."""

    def damage() -> None:
        raw = Path(SHARD).read_bytes()
        length = int.from_bytes(raw[:8], "little")
        text = raw[8 : 8 + length].decode().replace(old, new).rstrip().ljust(length)
        assert len(text) == length
        Path(SHARD).write_bytes(raw[:8] + text.encode() + raw[8 + length :])

    return damage


def flip_tensor(name: str) -> Callable[[], object]:
    """Damage: one bit of one tensor turned over."""

    def damage() -> None:
        begin = next(entry[3] for entry in _core.inspect_shard(SHARD) if entry[0] == name)
        flip(SHARD, (begin + 0.5) / Path(SHARD).stat().st_size)()

    return damage


@pytest.mark.parametrize("verb", STORE)
@cases(
    ("missing", 5, "", "no such store: store", "emo capture", without("store")),
    ("file", 5, "", "store is no folder", "emo capture",
     lambda: (remove("store"), write("store", "x")())),
    ("empty", 5, "", "store is not a store", "emo-store.json", folder("store")),
    ("unfinished", 5, "", "not a finished store", "same capture command", without(MANIFEST)),
    ("manifest-text", 5, "", MANIFEST, "", write(MANIFEST, "{")),
    ("manifest-list", 5, "", MANIFEST, "", write(MANIFEST, [])),
    ("manifest-folder", 5, "", "store is not a store", "", folder(MANIFEST)),
    ("manifest-deep", 5, "", MANIFEST, "", write(MANIFEST, "[" * 100_000)),
    ("manifest-binary", 5, "", MANIFEST, "", write(MANIFEST, b"\xff\xfe\x00")),
    ("kind", 5, "", MANIFEST, "", change(MANIFEST, "kind", to="other-store")),
    ("newer", 5, "", "format 99", "upgrade", change(MANIFEST, "format", to=99)),
    ("dtype", 5, "", MANIFEST, "", change(MANIFEST, "dtype", to="BF16")),
    ("position", 5, "", MANIFEST, "", change(MANIFEST, "positions", 0, to="mean")),
    ("escape", 5, "", MANIFEST, "",
     change(MANIFEST, "shards", 0, "file", to="../../secret.safetensors")),
    ("sites", 5, "", MANIFEST, "", change(MANIFEST, "sites", to={})),
    ("fields", 5, "", MANIFEST, "", change(MANIFEST, "fields", "weights", to="0" * 64)),
    ("lost-shard", 5, "", SHARD, "", without(SHARD)),
    ("cut", 5, "", SHARD, "bytes", cut(SHARD)),
    ("longer", 5, "", SHARD, "", lambda: write(SHARD, Path(SHARD).read_bytes() + b"\0")()),
    ("shard-folder", 5, "", SHARD, "", folder(SHARD)),
    ("samples", 5, "", "samples.jsonl", "", cut("store/samples.jsonl", 0.9)),
    ("no-samples", 5, "", "samples.jsonl", "", without("store/samples.jsonl")),
)  # fmt: skip
def test_stores_that_cannot_be_opened(world: Path, verb: str, case: Case) -> None:
    Case(verb, 5, STORE[verb], case.says, "", case.damage).check()


@cases(
    ("flip", 5, VERIFY, "00000.safetensors", "", flip(SHARD)),
    ("flip-index", 5, VERIFY, "00000.safetensors", "", flip(SHARD, 0.1)),
    ("swapped", 5, VERIFY, "00000.safetensors", "", header("L0.", "L9.")),
    ("ledger", 5, VERIFY, "00000.json", "", change(LEDGER, "bytes", to=1)),
    ("ledger-text", 5, VERIFY, "00000.json", "", write(LEDGER, "{")),
    ("no-ledger", 5, VERIFY, "00000.json", "", without(LEDGER)),
    ("plan", 5, VERIFY, "plan.json", "", change(PLAN, "fingerprint", to="0")),
    ("no-plan", 5, VERIFY, "plan.json", "", without(PLAN)),
    ("model-size", 5, COMPUTE, MANIFEST, "", change(MANIFEST, "model", "n_layers", to="many")),
    ("flip-directions", 5, COMPUTE, "00000.safetensors", "", flip_tensor("L0.resid_mid@last")),
    ("flip-score", 5, SCORE, "00000.safetensors", "", flip_tensor("L2.mlp_act@last")),
    ("header", 5, COMPUTE, "00000.safetensors", "", header("{", "[")),
    ("named-bf16", 5, COMPUTE, "00000.safetensors", "", header("F32", "BF16")),
    ("f16", 5, COMPUTE, "00000.safetensors", "", header("F32", "F16")),
    ("other-tensors", 5, COMPUTE, "00000.safetensors", "", header("L0.", "L9.")),
)  # fmt: skip
def test_damaged_shards(world: Path, case: Case) -> None:
    remove("store/stats")
    case.check()


Edit = Callable[[dict[str, Any], dict[str, Any]], object]


def rewrite(edit: Edit) -> Callable[[], object]:
    """Damage: directions with edited arrays and record."""

    def damage() -> None:
        found = read_artifact(Path(DIRECTIONS), "directions")
        arrays, meta = dict(found.arrays), dict(found.meta)
        edit(arrays, meta)
        write_artifact(Path(DIRECTIONS), Artifact("directions", arrays, meta, found.provenance))

    return damage


UNIT = "unit/L0.resid_post"


@pytest.mark.parametrize("command", [SCORE, STEER], ids=["score", "steer"])
@cases(
    ("missing", 5, "", "no such file", "directions", without(DIRECTIONS)),
    ("folder", 5, "", DIRECTIONS, "directions", folder(DIRECTIONS)),
    ("empty", 5, "", DIRECTIONS, "", write(DIRECTIONS, b"")),
    ("text", 5, "", DIRECTIONS, "", write(DIRECTIONS, "not safetensors")),
    ("cut", 5, "", DIRECTIONS, "", cut(DIRECTIONS)),
    ("flip", 5, "", DIRECTIONS, "", flip(DIRECTIONS, 0.0)),
    ("scores", 5, "", "holds scores", "directions",
     lambda: write(DIRECTIONS, Path("scores.safetensors").read_bytes())()),
    ("weights", 5, "", "not written by emo", "directions",
     lambda: write(DIRECTIONS, Path("model/model.safetensors").read_bytes())()),
    ("no-label", 5, "", DIRECTIONS, "", rewrite(lambda a, m: m.pop("labels"))),
    ("labels", 5, "", DIRECTIONS, "", rewrite(lambda a, m: m.update(labels=["x"]))),
    ("label-type", 5, "", DIRECTIONS, "", rewrite(lambda a, m: m.update(labels=[1, 2]))),
    ("site", 5, "", DIRECTIONS, "", rewrite(lambda a, m: a.update({"unit/x": a[UNIT]}))),
    ("norm", 5, "", DIRECTIONS, "", rewrite(lambda a, m: a.pop("norm/L0.resid_post"))),
    ("shape", 5, "", DIRECTIONS, "", rewrite(lambda a, m: a.update({UNIT: a[UNIT][0]}))),
    ("kind", 5, "", DIRECTIONS, "",
     rewrite(lambda a, m: a.update({UNIT: a[UNIT].astype(np.int32)}))),
)  # fmt: skip
def test_damaged_directions(world: Path, command: str, case: Case) -> None:
    Case(case.name, 5, command, case.says, case.hint, case.damage).check()


JUDGE = "judge run texts.jsonl --judge judge -o out"


@cases(
    ("no-record", 5, JUDGE, "judge.json", "", without("judge/judge.json")),
    ("text", 5, JUDGE, "judge.json", "", write("judge/judge.json", "{")),
    ("foreign", 5, JUDGE, "judge.json", "", write("judge/judge.json", {"kind": "x"})),
    ("list", 5, JUDGE, "judge.json", "", write("judge/judge.json", [])),
    ("newer", 5, JUDGE, "format 9", "upgrade", change("judge/judge.json", "format", to=9)),
    ("format", 5, JUDGE, "judge", "", change("judge/judge.json", "format", to="x")),
    ("blocks", 5, JUDGE, "judge", "", change("judge/judge.json", "blocks", to=7)),
    ("classes", 5, JUDGE, "judge", "", change("judge/judge.json", "classes", to=["a"])),
    ("class-type", 5, JUDGE, "judge", "", change("judge/judge.json", "classes", to=[1, 2])),
    ("no-reliability", 5, JUDGE, "judge", "", change("judge/judge.json", "reliability", to=3)),
    ("reliability", 5, JUDGE, "judge", "", change("judge/judge.json", "reliability", to={"n": 1})),
    ("no-arrays", 5, JUDGE, "judge.safetensors", "", without("judge/judge.safetensors")),
    ("flip", 5, JUDGE, "judge.safetensors", "", flip("judge/judge.safetensors")),
    ("cut", 5, JUDGE, "judge.safetensors", "", cut("judge/judge.safetensors")),
    ("store", 5, "judge run texts.jsonl --judge store -o out", "judge.json", ""),
)  # fmt: skip
def test_damaged_judges(world: Path, case: Case) -> None:
    case.check()


@cases(
    ("missing", 5, "report none", "none is not a run folder", "emo run"),
    ("file", 5, "report texts.jsonl", "is not a run folder", "emo run"),
    ("store", 5, "report store", "has no run.json", "emo run"),
    ("run", 5, "report run", "run.json", "", write("run/run.json", "{")),
    ("run-list", 5, "report run", "run.json", "", write("run/run.json", [])),
    ("summary", 5, "report run", "summary.json", "", write("run/summary.json", "{")),
    ("texts", 5, "report run", "texts.jsonl", "", write("run/texts.jsonl", "{")),
    ("verdicts", 5, "report run", "verdicts.jsonl", "", cut("run/verdicts.jsonl", 0.501)),
    ("strength", 5, "report run", "strength.json", "", write("run/strength.json", {})),
    ("geometry", 5, "report run", "geometry.json", "", write("run/geometry.json", "{")),
    ("directions", 5, "report run", "directions.safetensors", "",
     cut("run/directions.safetensors")),
    ("scores", 5, "report run", "scores.safetensors", "", cut("run/scores.safetensors")),
    ("begun", 5, "run --model model --data events.jsonl --emotions anger,fear -o run",
     "run.json", "", write("run/run.json", "{")),
    ("begun-list", 5, "run --model model --data events.jsonl --emotions anger,fear -o run",
     "run.json", "", write("run/run.json", [])),
)  # fmt: skip
def test_damaged_runs(world: Path, case: Case) -> None:
    case.check()


CAPTURE = "capture --model model --data texts.jsonl --positions last,reply --dtype f32 -o store"
GENERATE = (
    "generate --model model --data events.jsonl --emotions anger,fear --max-new-tokens 4"
    " -o texts.jsonl"
)
TEXT = "bus-0-positive/anger/prompting"


@cases(
    ("foreign", 5, f"{CAPTURE}/..", "directions.safetensors", "new folder"),
    ("begun-by-others", 5, CAPTURE, "plan.json", "new folder", without(PLAN)),
    ("plan", 5, CAPTURE, "plan.json", "new folder", change(PLAN, "fields", "device", to="x")),
    ("plan-text", 5, CAPTURE, "plan.json", "", write(PLAN, "{")),
    ("plan-list", 5, CAPTURE, "plan.json", "", write(PLAN, [])),
    ("ledger", 5, CAPTURE, "00000.json", "", write(LEDGER, "{")),
    ("ledger-fields", 5, CAPTURE, "00000.json", "", write(LEDGER, {"file": 7})),
    ("part-text", 5, GENERATE, "texts.jsonl.part, line 1 is damaged", "delete",
     write("texts.jsonl.part", "a\nb\n")),
)  # fmt: skip
def test_damage_in_what_is_to_be_continued(world: Path, case: Case) -> None:
    case.check()


@pytest.mark.parametrize(
    "row", [{"id": "x"}, {"id": "bus-0-positive/anger/prompting"}, {"id": 7}, []]
)
def test_rows_of_a_part_file_that_cannot_be_used(world: Path, row: Any) -> None:
    for command, output in ((GENERATE, "texts.jsonl"), (JUDGE, "out")):
        before = Path(output).read_bytes() if Path(output).exists() else None
        part = Path(f"{output}.part")
        settings = _settings_of(command, part)
        part.write_text(json.dumps({"settings": settings}) + "\n" + json.dumps(row) + "\n")
        result = run_emo(command)
        assert result.code == 5, result.err
        check_lines(result, f"{output}.part, ", f"delete {output}.part")
        assert (Path(output).read_bytes() if Path(output).exists() else None) == before


def _settings_of(command: str, part: Path) -> Any:
    """Settings that a command writes into its part file, seen when it refuses others."""
    part.write_text('{"settings": {}}\n{"id": "a"}\n')
    said = run_emo(command).lines("error: ")[0].partition("settings: ")[2]
    changed = dict(piece.split(" was null, now ") for piece in said.split("; "))
    return {name: json.loads(value) for name, value in changed.items()}

"""Random damage to every file that a verb reads: a sound answer or an error, never a traceback."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusals import check_lines, remove, run_emo

# Damages to each file; more of them with EMO_FUZZ_TRIALS=200.
TRIALS = int(os.environ.get("EMO_FUZZ_TRIALS", "5"))
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 7, 10**30, 0.5, 1e308, "", "x", "\ud800", "L9.mlp_act", [], {}, [None], [[]],
    {"x": 1}, [1, "a", {}],
)  # fmt: skip
SCORE = "score store --directions directions.safetensors"
STEER = (
    "generate --model model --data events.jsonl --directions directions.safetensors --steer fear"
    " --max-new-tokens 1 --limit 1 -o out"
)
CAPTURE = "capture --model model --data texts.jsonl --positions last,reply --dtype f32 -o"
# Each file with the commands that read it.
READERS = {
    "store/emo-store.json": ("store info store", "store verify store", "directions store -o out"),
    "store/shards/00000.json": ("store verify store", f"{CAPTURE} store"),
    "store/shards/plan.json": ("store verify store", f"{CAPTURE} store"),
    "store/shards/00000.safetensors": ("store verify store", "directions store -o out"),
    "store/samples.jsonl": ("store info store",),
    "directions.safetensors": (
        f"{SCORE} -o out",
        STEER,
    ),
    "judge/judge.json": ("judge run texts.jsonl --judge judge -o out",),
    "judge/judge.safetensors": ("judge run texts.jsonl --judge judge -o out",),
    "events.jsonl": ("data validate events.jsonl", "data stats events.jsonl"),
    "labelled.jsonl": ("judge train labelled.jsonl -o out", "data validate labelled.jsonl"),
    "texts.jsonl": ("judge run texts.jsonl --judge judge -o out", f"{CAPTURE} out"),
    "verdicts.jsonl": ("directions store --verdicts verdicts.jsonl -o out",),
    "model/config.json": (f"{CAPTURE} out", STEER),
    "model/tokenizer.json": (f"{CAPTURE} out",),
    "model/tokenizer_config.json": (f"{CAPTURE} out",),
    "model/generation_config.json": (STEER,),
    "model/model.safetensors": (
        f"{CAPTURE} out",
        f"{SCORE} --model model -o out",
    ),
    "run/run.json": ("report run",),
    "run/data.json": ("report run",),
    "run/summary.json": ("report run",),
    "run/strength.json": ("report run",),
    "run/geometry.json": ("report run",),
    "run/texts.jsonl": ("report run",),
    "run/verdicts.jsonl": ("report run",),
    "run/directions.safetensors": ("report run",),
    "run/scores.safetensors": ("report run",),
}


def damaged(raw: bytes, name: str, rng: random.Random) -> bytes:
    """Return the bytes with one piece of damage: to a value of their JSON, or to any byte."""
    kind = rng.randrange(4)
    if kind < 3 and name.endswith(".json"):
        return json.dumps(_edited(json.loads(raw), rng)).encode()
    if kind < 3 and name.endswith(".jsonl"):
        lines = raw.splitlines()
        number = rng.randrange(len(lines))
        lines[number] = json.dumps(_edited(json.loads(lines[number]), rng)).encode()
        return b"\n".join(lines) + b"\n"
    if kind < 3 and name.endswith(".safetensors"):
        return _with_header(raw, rng)
    return _with_bytes(raw, rng)


def _edited(value: Any, rng: random.Random) -> Any:
    """Replace or remove one place inside a JSON value, deep ones as often as shallow ones."""
    places = list(_places(value))
    if not places:
        return rng.choice(ODD)
    holder, key = rng.choice(places)
    if rng.random() < 0.25:
        del holder[key]
    else:
        holder[key] = rng.choice(ODD)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], (dict, list)):
            found += _places(value[key])
    return found


def _with_header(raw: bytes, rng: random.Random) -> bytes:
    """Edit the JSON header of a safetensors file, or the record inside it."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    record = json.loads(header.get("__metadata__", {}).get("emo", "null"))
    if record is not None and rng.random() < 0.6:
        header["__metadata__"]["emo"] = json.dumps(_edited(record, rng))
    else:
        header = _edited(header, rng)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + raw[8 + length :]


def _with_bytes(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw))
    damages: list[Callable[[], bytes]] = [
        lambda: raw[:at],
        lambda: raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :],
        lambda: raw[:at] + rng.randbytes(9) + raw[at:],
        lambda: raw[:at] + bytes(min(16, len(raw) - at)) + raw[at + 16 :],
        lambda: raw[:at] + raw[at + 1 + rng.randrange(40) :],
    ]
    return rng.choice(damages)()


@pytest.mark.parametrize("name", READERS)
def test_damage_never_ends_in_a_traceback(world: Path, name: str) -> None:
    rng = random.Random(name)
    raw = Path(name).read_bytes()
    for trial in range(TRIALS):
        content = damaged(raw, name, rng)
        for command in READERS[name]:
            Path(name).write_bytes(content)
            remove("store/stats", "out", "out.csv", "out.parquet", "out.part")
            result = run_emo(command)
            told = f"trial {trial} of {command}\n{result.err}\n{content[:3000]!r}"
            assert result.code in (0, 2, 3, 4, 5, 6, 8, 9), told
            if result.code:
                check_lines(result)
                assert not Path("out").is_file(), told
            if name.startswith("store/") and "capture" in command:
                Path(name).write_bytes(content)

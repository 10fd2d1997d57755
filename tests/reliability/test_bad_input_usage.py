"""Flags and arguments that cannot be used: exit code 2, and what was probably meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from refusals import Case, cases, folder, write

GENERATE = "generate --model model --data events.jsonl"
STEER = f"{GENERATE} --directions directions.safetensors"
CAPTURE = "capture --model model --data texts.jsonl"


@cases(
    ("verb", 2, "scores store", "unknown verb 'scores'", "did you mean 'score'?"),
    ("verb-in-group", 2, "data valdate x", "'valdate'", "did you mean 'validate'?"),
    ("store-verb", 2, "store check store", "'check'", "known: info, verify"),
    ("help", 2, "help", "'help'", "emo --help"),
    ("judge-verb", 2, "judge trian x -o y", "'trian'", "did you mean 'train'?"),
    ("option", 2, f"{GENERATE} --alfa 3 -o out", "--alfa", "see emo generate --help"),
    ("no-option", 2, "capture --model model -o out", "'--data'", "see emo capture --help"),
    ("no-argument", 2, "data validate", "FILE", "see emo data validate --help"),
    ("no-number", 2, f"{GENERATE} --limit many -o out", "'many'", "see emo generate --help"),
    ("zero", 2, f"{CAPTURE} --batch-size 0 -o out", "0", "see emo capture --help"),
    ("seed", 2, "run --model model --data events.jsonl --seed -1 -o out", "-1", "see emo run"),
    ("judge-seed", 2, "judge train labelled.jsonl --seed -1 -o out", "-1", "see emo judge train"),
    ("demo-seed", 2, "demo --seed 5000000000 -o out", "5000000000", "see emo demo"),
    ("threads", 2, "directions store --threads 9999 -o out", "9999", "see emo dir"),
    ("score-threads", 2, "score store --directions directions.safetensors --threads 9999 -o out",
     "9999", "see emo score"),
    ("device", 2, f"{CAPTURE} --device gpu -o out", "'gpu'", "see emo capture --help"),
    ("dtype", 2, f"{CAPTURE} --dtype bf8 -o out", "'bf8'", "see emo capture --help"),
    ("method", 2, "directions store --method within -o out", "'within'", "see emo directions"),
)  # fmt: skip
def test_verbs_and_options(world: Path, case: Case) -> None:
    case.check()


@cases(
    ("steer", 2, f"{STEER} --steer angr -o out", "no 'angr'", "did you mean 'anger'?"),
    ("steer-far", 2, f"{STEER} --steer joy -o out", "no 'joy'", "known: anger, fear"),
    ("steer-each", 2, f"{STEER} --steer eahc -o out", "no 'eahc'", "did you mean 'each'?"),
    ("emotion-slip", 2, f"{GENERATE} --emotions angr -o out", "'angr'", "did you mean 'anger'?"),
    ("emotion-case", 2, f"{GENERATE} --emotions fear,Anger -o out", "'Anger'", "'anger'?"),
    ("emotion-all", 2, f"{CAPTURE} --emotions ALL -o out", "'ALL'", "did you mean 'all'?"),
    ("steer-emotions", 2, f"{STEER} --steer each --emotions anger,fera -o out",
     "no 'fera'", "did you mean 'fear'?"),
    ("run-emotion", 2, "run --model model --data events.jsonl --emotions angr,fear -o out",
     "'angr'", "did you mean 'anger'?"),
    ("run-one-emotion", 2, "run --model model --data events.jsonl --emotions fear -o out",
     "two emotions", "--emotions"),
    ("emotions-twice", 2, f"{GENERATE} --emotions fear,fear -o out", "twice", "--emotions"),
    ("no-emotions", 2, f"{GENERATE} --emotions , -o out", "no emotion", "anger"),
    ("judge", 2, "judge run texts.jsonl --judge liner -o out", "'liner'", "did you mean 'linear'?"),
    ("run-judge", 2, "run --model model --data events.jsonl --judge liner -o out",
     "'liner'", "did you mean 'linear'?"),
    ("judge-name", 2, "judge run texts.jsonl --judge hf: -o out", "needs a name", "hf:NAME"),
    ("judge-folder", 5, "judge run texts.jsonl --judge model -o out", "model is not a judge",
     "emo judge train"),
    ("judge-named", 2, "judge run texts.jsonl --named -o out", "cannot be told", "--named"),
)  # fmt: skip
def test_emotions_and_judges(world: Path, case: Case) -> None:
    case.check()


@cases(
    ("site", 2, f"{CAPTURE} --sites mlp_akt -o out", "'mlp_akt'", "did you mean 'mlp_act'?"),
    ("no-site", 2, f"{CAPTURE} --sites , -o out", "''", "known: resid_pre"),
    ("site-form", 2, f"{CAPTURE} --sites L1:mlp_act -o out", "'L1:mlp_act'", "L12.mlp_act"),
    ("site-layer", 2, f"{CAPTURE} --sites L9.mlp_act -o out", "layer 9", "0 to 2"),
    ("position", 2, f"{CAPTURE} --positions lst -o out", "'lst'", "did you mean 'last'?"),
    ("position-mean", 2, f"{CAPTURE} --positions mean_from:K -o out", "mean_from:K", "from:50"),
    ("no-spans", 2, f"{CAPTURE} --positions span -o out", "no text has the position 'span'",
     "samples with spans"),
    ("store-site", 2, "directions store --sites L1.mlp_akt -o out", "'mlp_akt'", "'mlp_act'?"),
    ("store-part", 2, "directions store --sites mlp_out -o out", "no mlp_out", "mlp_act"),
    ("store-layer", 2, "directions store --sites L9.mlp_act -o out", "L9.mlp_act", "0, 1, 2"),
    ("store-position", 2, "directions store --position lst -o out", "'lst'", "'last'?"),
    ("layers", 2, f"{STEER} --steer fear --layers 1-9 -o out", "layer 3", "0 to 2"),
    ("layers-text", 2, f"{STEER} --steer fear --layers top -o out", "'top'", "11-20"),
    ("layers-back", 2, f"{STEER} --steer fear --layers 2-1 -o out", "backwards", "1-2"),
    ("layers-share", 2, f"{STEER} --steer fear --layers 0.5-1.5 -o out", "between 0 and 1", "0.4"),
    ("alpha", 2, f"{STEER} --steer fear --alpha nan -o out", "nan", "--alpha"),
    ("alpha-norm", 2, f"{STEER} --steer fear --alpha-norm inf -o out", "inf", "--alpha-norm"),
    ("alphas", 2, f"{STEER} --steer fear --alpha 1 --alpha-norm 1 -o out", "not both", "leave"),
    ("alpha-alone", 2, f"{GENERATE} --alpha 2 -o out", "belong to steering", "--directions"),
    ("layers-alone", 2, f"{GENERATE} --layers 99 -o out", "belong to steering", "--directions"),
    ("scope-alone", 2, f"{GENERATE} --scope both -o out", "belong to steering", "--directions"),
    ("steer-alone", 2, f"{GENERATE} --steer fear -o out", "go together", "--steer each"),
    ("steer-and-emotions", 2, f"{STEER} --steer fear --emotions fear -o out",
     "names the target already", "--emotions"),
)  # fmt: skip
def test_sites_positions_layers_and_strengths(world: Path, case: Case) -> None:
    case.check()


FILES = {
    "generate": f"{GENERATE} --emotions fear",
    "data-import": "data import events.jsonl",
    "judge-run": "judge run texts.jsonl",
    "directions": "directions store",
    "score": "score store --directions directions.safetensors",
}
FOLDERS = {
    "capture": CAPTURE,
    "judge-train": "judge train labelled.jsonl",
    "run": "run --model model --data events.jsonl",
    "demo": "demo",
}


@pytest.mark.parametrize("verb", FILES)
def test_a_folder_where_the_output_is_a_file(world: Path, verb: str) -> None:
    command = f"{FILES[verb]} -o out"
    Case(verb, 2, command, "out is a folder", "out/", folder("out")).check()


@pytest.mark.parametrize("verb", FOLDERS)
def test_a_file_where_the_output_is_a_folder(world: Path, verb: str) -> None:
    Case(verb, 2, f"{FOLDERS[verb]} -o out", "out is a file", "folder", write("out", "x")).check()


@pytest.mark.parametrize("verb", FILES | FOLDERS)
def test_a_file_on_the_way_to_the_output(world: Path, verb: str) -> None:
    command = (FILES | FOLDERS)[verb]
    Case(verb, 2, f"{command} -o events.jsonl/new/out", "events.jsonl is a file", "-o").check()


@cases(
    ("import", 2, "data import events.jsonl -o events.jsonl", "its own input", "-o"),
    ("generate", 2, f"{GENERATE} -o ./events.jsonl", "its own input", "-o"),
    ("steer", 2, f"{STEER} --steer fear -o directions.safetensors", "its own input", "-o"),
    ("judge", 2, "judge run texts.jsonl -o texts.jsonl", "its own input", "-o"),
    ("check", 2, "judge run texts.jsonl --check labelled.jsonl -o labelled.jsonl", "own input",
     "-o"),
    ("directions", 2, "directions store --verdicts verdicts.jsonl -o verdicts.jsonl", "own input",
     "-o"),
    ("score", 2, "score store --directions directions.safetensors -o directions.safetensors",
     "own input", "-o"),
    ("score-csv", 2, "score store --directions directions.safetensors -o out.csv",
     "named like a table", "out.safetensors"),
    ("run-foreign", 5, "run --model model --data events.jsonl -o judge", "judge.json",
     "another folder"),
    ("demo-foreign", 5, "demo -o judge", "judge.json", "another folder"),
    ("train-foreign", 5, "judge train labelled.jsonl -o model", "no part of a judge", "new folder"),
    ("import-csv", 2, "data import events.jsonl -o out.csv", "JSON lines", ".jsonl"),
    ("pipe", 2, "data import events.jsonl -o out", "no regular file", "-o",
     lambda: os.mkfifo("out")),
)  # fmt: skip
def test_outputs_that_would_destroy_something(world: Path, case: Case) -> None:
    case.check()

"""Input data that is missing, empty, damaged or of another kind: exit code 3 and the line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from refusals import Case, cases, folder, run_emo, without, write

# Each verb that reads data, with the file it reads.
SAMPLES = {
    "validate": ("events.jsonl", "data validate events.jsonl"),
    "stats": ("events.jsonl", "data stats events.jsonl"),
    "import": ("events.jsonl", "data import events.jsonl -o out"),
    "generate": ("events.jsonl", "generate --model model --data events.jsonl -o out"),
    "capture": ("events.jsonl", "capture --model model --data events.jsonl -o out"),
    "run": ("events.jsonl", "run --model model --data events.jsonl -o out"),
    "judge-train": ("labelled.jsonl", "judge train labelled.jsonl -o out"),
    "judge-check": ("labelled.jsonl", "judge run texts.jsonl --check labelled.jsonl -o out"),
}
RESULTS = {
    "judge-run": ("texts.jsonl", "judge run texts.jsonl -o out"),
    "capture-texts": ("texts.jsonl", "capture --model model --data texts.jsonl -o out"),
    "directions": ("verdicts.jsonl", "directions store --verdicts verdicts.jsonl -o out"),
    "score": (
        "verdicts.jsonl",
        "score store --directions directions.safetensors --verdicts verdicts.jsonl -o out",
    ),
}
READERS = SAMPLES | RESULTS
GARBAGE = {
    "empty": b"",
    "blank": b"\n \n\n",
    "no-json": b"a,b\n1,2\n",
    "cut-off": b'{"id": "a"',
    "no-object": b"[1, 2]\n",
    "utf-16": '{"id": "a"}\n'.encode("utf-16"),
    "no-utf-8": b'{"id": "\xff"}\n',
    "nan": b'{"id": "a", "text": "x", "score": NaN}\n',
    "deep": b'{"id": ' + b"[" * 100_000 + b"\n",
    "huge-number": b'{"id": "a", "n": 1' + b"0" * 5000 + b"}\n",
    "twice": b'{"id": "a", "id": "b"}\n',
    "surrogate": b'{"id": "a", "text": "\\ud800"}\n',
    "nul": b"\x00" * 64,
}


@pytest.mark.parametrize("verb", READERS)
def test_no_such_file(world: Path, verb: str) -> None:
    name, command = READERS[verb]
    Case(verb, 3, command, name, "check the path", without(name)).check()


@pytest.mark.parametrize("verb", READERS)
def test_a_folder_where_a_file_is_due(world: Path, verb: str) -> None:
    name, command = READERS[verb]
    Case(verb, 3, command, name, "", folder(name)).check()


@pytest.mark.parametrize("content", GARBAGE)
@pytest.mark.parametrize("verb", READERS)
def test_no_readable_rows(world: Path, verb: str, content: str) -> None:
    name, command = READERS[verb]
    raw = GARBAGE[content]
    # The findings of a validation are a table; its error counts them.
    where = f"{name}, line 1" if raw.strip() and verb != "validate" else name
    Case(verb, 3, command, where, "", write(name, raw)).check()


GENERATE = "generate --model model --data"
SENTENCE = {"id": "a", "text": "She smiled."}
EVENT = {"skeleton_id": "s", "theme": "t", "scenario": "I wait.", "event": {}}


def rows(path: str, *values: object) -> Callable[[], object]:
    """Damage: other rows."""
    return write(path, "".join(json.dumps(value) + "\n" for value in values))


@cases(
    ("no-id", 3, f"{GENERATE} d -o out", "d, line 1: 'id'", "an id of its own",
     rows("d", {"text": "x"})),
    ("no-text", 3, f"{GENERATE} d -o out", "line 2: needs 'text'", "'scenario'",
     rows("d", SENTENCE, {"id": "b"})),
    ("text-type", 3, f"{GENERATE} d -o out", "'text' must be a text", "a sample has",
     rows("d", {"id": "a", "text": 3})),
    ("same-id", 3, f"{GENERATE} d -o out", "line 2: the id 'a' is taken by d, line 1", "unique",
     rows("d", SENTENCE, SENTENCE)),
    ("span", 3, "capture --model model --data d -o out", "ends behind the text", "from 0",
     rows("d", {**SENTENCE, "spans": [[0, 99]]})),
    ("span-form", 3, "capture --model model --data d -o out", "'spans'", "[[0, 5]]",
     rows("d", {**SENTENCE, "spans": 7})),
    ("event", 3, f"{GENERATE} d -o out", "event['positive']", "three outcomes", rows("d", EVENT)),
    ("scenario", 3, f"{GENERATE} d -o out", "'scenario' is missing", "three outcomes",
     rows("d", {**EVENT, "scenario": " "})),
    ("no-jsonl", 3, f"{GENERATE} judge -o out", "no .jsonl files", "give a file"),
    ("shared-ids", 3, f"{GENERATE} d -o out", "d/b.jsonl, line 1: the id 'a'", "a folder too",
     lambda: (folder("d")(), rows("d/a.jsonl", SENTENCE)(), rows("d/b.jsonl", SENTENCE)())),
    ("csv", 3, f"{GENERATE} d.csv -o out", "d.csv, line 2: 1 columns", "header line",
     write("d.csv", "id,text\na\n")),
    ("csv-tabs", 3, f"{GENERATE} d.csv -o out", "d.csv, line 1: columns", "commas",
     write("d.csv", "id\ttext\na\tb\n")),
    ("csv-twice", 3, f"{GENERATE} d.csv -o out", "line 1: the column 'text' is there twice", "CSV",
     write("d.csv", "id,text,text\na,b,c\n")),
    ("csv-quote", 3, f"{GENERATE} d.csv -o out", "d.csv, line 2: not CSV", "quotes",
     write("d.csv", 'id,text\na,"x\n')),
    ("array", 3, f"{GENERATE} d -o out", "d, line 1: not JSON", "array", write("d", '[{"id": 1}')),
    ("texts", 3, f"{GENERATE} texts.jsonl -o out", "a generated text where a sample is due",
     "the data that the texts were made from"),
    ("import-sentences", 3, "data import labelled.jsonl -o out", "line 1", "data validate"),
    ("long", 3, "capture --model model --data d -o out", "a", "shorten",
     rows("d", {"id": "a", "text": "word " * 500})),
    ("long-prompt", 3, f"{GENERATE} d -o out", "a", "shorten",
     rows("d", {"id": "a", "text": "word " * 500})),
)  # fmt: skip
def test_samples(world: Path, case: Case) -> None:
    case.check()


RUN = "run --model model -o out --data"


@cases(
    ("sentences", 3, f"{RUN} labelled.jsonl", "labelled sentences", "emo directions"),
    ("one-scenario", 3, f"{RUN} d", "too few to split", "--test-data",
     rows("d", {"id": "a", "group": "g", "scenario": "x", "event": "y"})),
    ("same-texts", 3, f"{RUN} events.jsonl --test-data events.jsonl", "6 samples of the test data",
     "without common scenarios"),
    ("no-test-data", 3, f"{RUN} events.jsonl --test-data none", "none", "check the path"),
)  # fmt: skip
def test_data_of_a_run(world: Path, case: Case) -> None:
    case.check()


TEXT = {"id": "t", "sample": "s", "method": "prompting", "text": "x", "reply": "y"}
VERDICT = {"id": "t", "sample": "s", "method": "prompting", "label": "fear", "judge": "j"}
JUDGE = "judge run d -o out"
DIRECTIONS = "directions store --verdicts d -o out"


@cases(
    ("samples", 3, "judge run events.jsonl -o out", "line 1: 'id' is missing", "emo generate"),
    ("verdicts", 3, "judge run verdicts.jsonl -o out", "'reply' is missing", "emo generate"),
    ("reply-type", 3, JUDGE, "'reply' must be a text", "generate", rows("d", {**TEXT, "reply": 1})),
    ("count", 3, JUDGE, "'n_tokens'", "emo generate", rows("d", {**TEXT, "n_tokens": -1})),
    ("same-text", 3, JUDGE, "the id 't' appears twice", "unique", rows("d", TEXT, TEXT)),
    ("texts", 3, "directions store --verdicts texts.jsonl -o out", "line 1", "emo judge run"),
    ("no-label", 3, DIRECTIONS, "exactly one of 'label'", "emo judge run",
     rows("d", {**VERDICT, "label": None})),
    ("both", 3, DIRECTIONS, "exactly one of 'label'", "emo judge run",
     rows("d", {**VERDICT, "unlabelled": "empty"})),
    ("score", 3, DIRECTIONS, "'score'", "emo judge run", rows("d", {**VERDICT, "score": "x"})),
    ("same-verdict", 3, DIRECTIONS, "the id 't' appears twice", "unique",
     rows("d", VERDICT, VERDICT)),
    ("foreign", 3, DIRECTIONS, "none of the 1 verdicts is on a row of store", "were captured",
     rows("d", VERDICT)),
    ("other-emotion", 3, DIRECTIONS, "about fear, but the row of store about anger", "captured",
     rows("d", {**VERDICT, "id": "bus-0-positive/anger/prompting", "emotion": "fear"})),
    ("foreign-score", 3,
     "score store --directions directions.safetensors --verdicts d -o out",
     "none of the 1 verdicts is on a row of store", "were captured", rows("d", VERDICT)),
    ("other-prompts", 3, "capture --model model --data d -o out", "the prompt of t differs",
     "model and template", rows("d", {**TEXT, "prompt_sha": "0" * 64})),
)  # fmt: skip
def test_texts_and_verdicts(world: Path, case: Case) -> None:
    case.check()


@cases(
    ("no-emotion", 3, "judge train d -o out", "d, line 1: 'emotion'", "neutral",
     rows("d", {"text": "x"})),
    ("samples", 3, "judge train events.jsonl -o out", "line 1: 'text'", "'text' and 'emotion'"),
    ("one-class", 3, "judge train d -o out", "two classes, there is ['joy']", "another emotion",
     rows("d", {"text": "x", "emotion": "joy"})),
)  # fmt: skip
def test_labelled_texts(world: Path, case: Case) -> None:
    case.check()


def test_a_validation_lists_what_its_error_counts(world: Path) -> None:
    rows("d", SENTENCE, {"id": "b"})()
    result = run_emo("data validate d --json")
    assert json.loads(result.out)["found"][0]["line"] == 2
    assert result.lines("error: ") == ["error: 1 findings in d: schema 1"]

"""Published records come in with their content unchanged and their faults counted."""

import csv
import json

import pytest

from emo.data.imports import import_sev
from emo.data.samples import read_samples
from emo.errors import DataError, UsageError

EVENT = {
    "positive": "The pump ran without a sound at the first press of its button.",
    "neutral": "The pump was entered in the register under number forty.",
    "negative": "The pump was a joy to nobody; oil covered each tile of the floor.",
}
FIRST = {
    "theme": "Work/Job",
    "scenario": "I fixed the pump in the cellar",
    "event": EVENT,
    "skeleton_id": "work_00",
    "source": "written by hand",
}
SECOND = {
    "theme": "School/Academia",
    "scenario": " Two spaces,  kept; “quotes” kept ",
    "event": {name: f"{text} – é {name}" for name, text in EVENT.items()},
    "skeleton_id": "school_00",
}


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def imported(tmp_path, content, name="published.jsonl"):
    source, target = tmp_path / name, tmp_path / "out.jsonl"
    source.write_text(content, encoding="utf-8")
    findings = import_sev(source, target)
    text = target.read_text(encoding="utf-8")
    return findings, [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("kind", ["lines", "array", "csv", "csv-json"])
def test_content_is_unchanged_from_every_format(tmp_path, kind):
    if kind == "lines":
        _, rows = imported(tmp_path, lines(FIRST, SECOND))
    elif kind == "array":
        text = json.dumps([FIRST, SECOND], indent=2)
        _, rows = imported(tmp_path, text, "published.json")
    else:
        path = tmp_path / "source.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            names = ["event"] if kind == "csv-json" else [f"event_{name}" for name in EVENT]
            writer = csv.writer(file)
            writer.writerow(["skeleton_id", "theme", "scenario", *names, "source"])
            for row in (FIRST, SECOND):
                events = list(row["event"].values())
                cells = [json.dumps(row["event"])] if kind == "csv-json" else events
                writer.writerow([row["skeleton_id"], row["theme"], row["scenario"], *cells, "x"])
        _, rows = imported(tmp_path, path.read_text(encoding="utf-8"), "published.csv")
    names = ("skeleton_id", "theme", "scenario", "event")
    assert rows == [{name: row[name] for name in names} for row in (FIRST, SECOND)]
    assert tuple(rows[0]) == names


def test_broken_rules_are_counted_not_refused(tmp_path):
    findings, rows = imported(tmp_path, lines(FIRST))
    assert len(rows) == 1
    assert findings.by_rule == {"length": 1, "sentence": 1, "emotion-word": 1}
    assert findings.found[0].file.endswith("out.jsonl")


def test_repeated_ids_are_counted_and_other_outcomes_left_out(tmp_path):
    mixed = {**SECOND, "event": {**SECOND["event"], "mixed": "Both."}}
    findings, rows = imported(tmp_path, lines(FIRST, mixed, FIRST))
    assert findings.by_rule["id"] == 1
    assert [row["skeleton_id"] for row in rows] == ["work_00", "school_00", "work_00"]
    assert rows[1]["event"] == SECOND["event"]


def test_the_result_can_be_read(tmp_path):
    imported(tmp_path, lines(FIRST, SECOND))
    samples = read_samples(tmp_path / "out.jsonl")
    assert len(samples) == 6
    assert samples[0].event == EVENT["positive"]


def test_whole_numbers_become_ids(tmp_path):
    _, rows = imported(tmp_path, lines({**FIRST, "skeleton_id": 12}))
    assert rows[0]["skeleton_id"] == "12"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines(FIRST, {**SECOND, "scenario": None}), r"line 2: 'scenario' is missing or not"),
        (lines(FIRST, {**SECOND, "theme": None}), "line 2: 'theme' is missing"),
        (lines(FIRST, {**SECOND, "event": {"positive": "x"}}), r"line 2: event\['neutral'\]"),
        (lines(FIRST, {"id": "a", "text": "One."}), "line 2: not a scenario-event-valence"),
        (lines(FIRST) + "\n{\n{\n", r"line 3: not JSON .* \(and 1 more lines\)"),
        ("", "holds no records"),
    ],
)
def test_schema_errors_are_refused_by_line_and_nothing_is_written(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        imported(tmp_path, content)
    assert not (tmp_path / "out.jsonl").exists()


def test_the_result_is_json_lines_not_csv(tmp_path):
    with pytest.raises(UsageError, match="the result is JSON lines"):
        import_sev(tmp_path / "published.jsonl", tmp_path / "out.csv")

"""``emo data``: exit codes, tables on stdout, talk on stderr."""

import json

import pytest

from emo.cli import main
from emo.data.bundle import bundled

PAIR = (bundled("sev.jsonl"), bundled("sev_test.jsonl"))
RECORD = json.loads(PAIR[0].read_text("utf-8").splitlines()[0])


@pytest.fixture
def emo(capsys):
    """Run a command: (exit code, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


def written(tmp_path, *rows, name="data.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_bundled_pair_is_clean(emo):
    code, out, err = emo("data", "validate", *PAIR)
    assert (code, err) == (0, "")
    assert "320 rows, 1,280 texts" in out
    assert "(2,500 asked for): clean" in out


@pytest.mark.parametrize("name", ["small"])
def test_the_small_sets_are_clean(emo, name):
    code, out, _ = emo("data", "validate", bundled(name))
    assert (code, "715 rows, 715 texts" in out) == (0, True)


def test_findings_are_a_table_and_exit_with_3(emo, tmp_path):
    first = written(tmp_path, RECORD, name="a[red].jsonl")
    path = written(tmp_path, {**RECORD, "scenario": "I was [sad] :smile: today."})
    code, out, err = emo("data", "validate", first, path)
    assert code == 3
    [line] = [line for line in out.splitlines() if "emotion-word" in line]
    assert line.startswith(f"{path}:1 ")
    assert f"{RECORD['skeleton_id']} ({first}:1)" in out
    error, hint = err.splitlines()
    assert hint == "hint: each is listed above with its file and line"
    assert error.startswith("error: 6 findings in ")
    assert error.endswith("id 1, length 1, emotion-word 1, duplicate 3")


def test_a_broken_line_is_named_and_exits_with_3(emo, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(json.dumps(RECORD).encode() + b"\n\n{\n\xff\n")
    code, out, err = emo("data", "validate", path)
    assert code == 3
    assert f"{path}:3 " in out
    assert f"{path}:4 " in out
    assert err.splitlines()[0] == f"error: 2 findings in {path}: encoding 1, schema 1"


def test_json_has_the_findings_and_still_exits_with_3(emo, tmp_path):
    path = written(tmp_path, RECORD, RECORD)
    code, out, err = emo("data", "validate", path, "--json")
    told = json.loads(out)
    assert code == 3
    assert err.startswith("error: 5 findings")
    assert told["rules"] == {"id": 1, "duplicate": 4}
    assert {finding["line"] for finding in told["found"]} == {2}
    code, out, _ = emo("data", "validate", *PAIR, "--json")
    assert (code, json.loads(out)["clean"]) == (0, True)


def test_the_vocabulary_can_be_asked_for(emo, tmp_path):
    path = written(tmp_path, RECORD)
    assert emo("data", "validate", path)[0] == 0
    code, _, err = emo("data", "validate", path, "--min-words", 2500)
    assert (code, "vocabulary 1" in err) == (3, True)


@pytest.mark.parametrize("verb", ["validate", "stats"])
def test_missing_files_are_data_errors(emo, tmp_path, verb):
    code, out, err = emo("data", verb, tmp_path / "absent.jsonl")
    assert (code, out) == (3, "")
    assert err.startswith("error: no such file: ")
    assert "\nhint: " in err


@pytest.mark.parametrize("verb", ["validate", "stats"])
def test_at_least_one_file_is_needed(emo, verb):
    code, _, err = emo("data", verb)
    assert (code, err.startswith("error: Missing argument")) == (2, True)


def test_stats_count(emo):
    code, out, err = emo("data", "stats", *PAIR)
    assert (code, err) == (0, "")
    assert "320 rows, 960 samples" in out
    assert "housing" in out
    code, out, _ = emo("data", "stats", *PAIR, "--json")
    assert json.loads(out)["counts"]["valence"]["negative"] == 320


def test_stats_of_the_first_rows(emo, tmp_path):
    path = written(tmp_path, RECORD, {"skeleton_id": "broken"})
    code, out, _ = emo("data", "stats", path, PAIR[1], "--limit", 1)
    assert (code, out.splitlines()[0]) == (0, "1 rows, 3 samples")


def test_stats_of_sentences_show_first_words(emo):
    _, out, _ = emo("data", "stats", bundled("small") / "baseline.jsonl")
    [line] = [line for line in out.splitlines() if line.startswith("apology ") and "." in line]
    assert line.split()[1] == "70"


def test_import_writes_and_counts(emo, tmp_path):
    row = {**RECORD, "scenario": "I waited", "meta": 1}
    source = tmp_path / "published.json"
    source.write_text(json.dumps([row]), encoding="utf-8")
    target = tmp_path / "out.jsonl"
    code, out, err = emo("data", "import", source, "-o", target)
    assert (code, err) == (0, f"wrote 1 records to {target}\n")
    assert "length" in out
    assert "sentence" in out
    assert json.loads(target.read_text("utf-8"))["scenario"] == "I waited"
    code, out, err = emo("data", "import", source, "-o", target, "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"rows": 1, "rules": {"length": 1, "sentence": 1}}


def test_import_without_a_file_prints_the_records(emo, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text(bundled("sev.jsonl").read_text("utf-8").splitlines(True)[0], "utf-8")
    code, out, err = emo("data", "import", source)
    assert (code, out) == (0, source.read_text("utf-8"))
    assert "no rule is broken" in err
    assert emo("data", "import", source, "--json")[0] == 2


def test_the_same_sentence_twice_is_found_in_any_script(emo, tmp_path):
    source = tmp_path / "in.jsonl"
    texts = (
        "我昨天在商店里买了新鞋。",
        "Она купила хлеб.",
        "我昨天在商店里买了新鞋。",
        "Он купил WC.",
    )
    rows = [json.dumps({"id": f"s{i}", "text": text}) for i, text in enumerate(texts)]
    source.write_text("\n".join(rows), "utf-8")
    code, out, _ = emo("data", "validate", source)
    assert code == 3
    assert "1 findings" in out
    code, out, _ = emo("data", "validate", source, "--quiet")
    assert (code, out) == (3, "")


def test_import_refuses_other_rows_by_line(emo, tmp_path):
    path = written(tmp_path, RECORD, {"id": "a", "text": "One."})
    code, _, err = emo("data", "import", path, "-o", tmp_path / "out.jsonl")
    assert code == 3
    assert "line 2: not a scenario-event-valence record" in err
    assert not (tmp_path / "out.jsonl").exists()


def test_import_of_clean_records_says_so(emo, tmp_path):
    path = written(tmp_path, RECORD)
    _, out, _ = emo("data", "import", path, "-o", tmp_path / "out.jsonl")
    assert out == "no rule is broken\n"
    again = (tmp_path / "out.jsonl").read_bytes()
    assert json.loads(again) == RECORD

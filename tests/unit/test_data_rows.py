"""Rows of JSON lines, JSON arrays and CSV, readable or not, with their line numbers."""

import json

import pytest

from emo.data.rows import files_of, read_rows, scan_rows
from emo.errors import DataError


def written(tmp_path, content, name="data.jsonl"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def fields(path):
    return [(row.line, dict(row.fields)) for row in read_rows(path)]


def problems(path):
    return [(row.line, row.rule, str(row.problem)) for row in scan_rows(path) if row.problem]


def test_blank_lines_count_but_hold_nothing(tmp_path):
    path = written(tmp_path, '{"id": 1}\n\n  \r\n{"id": 2}\r\n')
    assert fields(path) == [(1, {"id": 1}), (4, {"id": 2})]


@pytest.mark.parametrize("name", ["data.jsonl", "data.csv", "data.json"])
def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path, name):
    content = {"data.jsonl": '{"id": "a"}', "data.csv": "id\na\n", "data.json": '[{"id": "a"}]'}
    path = written(tmp_path, b"\xef\xbb\xbf" + content[name].encode(), name)
    assert [row["id"] for _, row in fields(path)] == ["a"]


def test_a_json_array_names_the_line_of_each_element(tmp_path):
    text = '[\n {"id": "a", "text": "one, [two]"},\n\n {"id":\n "b"}, {"id": "c"}\n]\n'
    path = written(tmp_path, text, "data.json")
    assert [(line, row["id"]) for line, row in fields(path)] == [(2, "a"), (4, "b"), (5, "c")]


def test_an_empty_array_has_no_rows(tmp_path):
    assert fields(written(tmp_path, " [ ] ")) == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("name", ["data.jsonl", "data.csv", "data.json"])
def test_another_encoding_is_an_error_with_a_line(tmp_path, name, encoding):
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    path = written(tmp_path, mark + '{"id": "é"}\n{"id": "é"}\n'.encode(encoding), name)
    with pytest.raises(DataError, match="line 1: not UTF-8") as caught:
        fields(path)
    assert caught.value.hint == "save the file as UTF-8"
    assert ("UTF-16" in str(caught.value)) == encoding.startswith("utf-16")


def test_a_file_in_utf_16_has_one_problem_not_one_a_line(tmp_path):
    path = written(tmp_path, ('{"id": "a"}\n' * 50).encode("utf-16"))
    assert [(line, rule) for line, rule, _ in problems(path)] == [(1, "encoding")]


def test_a_mark_of_utf_16_further_on_is_a_bad_line_among_good_ones(tmp_path):
    path = written(tmp_path, b'{"id": "a"}\n\n\xff\xfe{"id": "b"}\n{"id": "c"}\n')
    assert [row.fields.get("id") for row in scan_rows(path)] == ["a", None, "c"]
    [(line, rule, said)] = problems(path)
    assert (line, rule, "UTF-16" in said) == (3, "encoding", False)


def test_scanning_goes_on_behind_a_bad_line(tmp_path):
    path = written(tmp_path, b'{"id": "a"}\n{"id": \n{"id": "\xe9"}\n[1]\n{"id": "b"}\n')
    rows = list(scan_rows(path))
    assert [row.fields.get("id") for row in rows] == ["a", None, None, None, "b"]
    assert [(line, rule) for line, rule, _ in problems(path)] == [
        (2, "schema"), (3, "encoding"), (4, "schema"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"id": 1}, {"id": 2}', "line 1: not JSON"),
        ('[\n{"id": 1},\n]', "line 3: not JSON"),
        ('[{"id": 1}\n{"id": 2}]', "line 2: not JSON"),
        ("[" * 200_000, "line 1: not JSON"),
        ('[\n"a"]', "line 2: a JSON object is needed"),
        ('[{"id": 1}] x', "line 1: not JSON"),
    ],
)
def test_a_broken_array_is_refused_by_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        fields(written(tmp_path, text, "data.json"))


def test_csv_rows_may_span_lines_and_skip_blank_ones(tmp_path):
    path = written(tmp_path, 'id,text\r\n\r\na,"one\r\ntwo"\r\n\r\nb,three\r\n', "data.csv")
    assert fields(path) == [
        (3, {"id": "a", "text": "one\r\ntwo"}),
        (6, {"id": "b", "text": "three"}),
    ]


def test_empty_cells_are_missing_values_and_spans_are_json(tmp_path):
    path = written(tmp_path, 'id,emotion,spans\na,,"[[0, 3]]"\n', "data.csv")
    assert fields(path) == [(2, {"id": "a", "emotion": None, "spans": [[0, 3]]})]


@pytest.mark.parametrize("prefix", ["", "event_", "event."])
def test_csv_columns_of_outcomes_make_one_event(tmp_path, prefix):
    names = ",".join(prefix + name for name in ("positive", "neutral", "negative"))
    path = written(tmp_path, f"skeleton_id,theme,scenario,{names}\nw,t,s,p,u,n\n", "sev.csv")
    event = {"positive": "p", "neutral": "u", "negative": "n"}
    assert fields(path)[0][1]["event"] == event


def test_a_csv_cell_may_hold_the_event_as_json(tmp_path):
    event = json.dumps({"positive": "p"}).replace('"', '""')
    path = written(tmp_path, f'skeleton_id,event\nw,"{event}"\n', "sev.csv")
    assert fields(path)[0][1]["event"] == {"positive": "p"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,text\na\n", "line 2: 1 columns, but the header has 2"),
        ("id,text\na,b,c\n", "line 2: 3 columns, but the header has 2"),
        ('id,text\na,"b\nc\n', "line 2: not CSV"),
        ('id,spans\na,"[[0,"\n', "line 2: 'spans' must be JSON"),
        ("id;text\na;b\n", "line 1: columns are separated by commas"),
    ],
)
def test_a_broken_csv_is_refused_by_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        fields(written(tmp_path, text, "data.csv"))


def test_a_folder_stands_for_its_json_lines_in_order(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "c.csv", "README.md"):
        written(tmp_path, "", name)
    assert [path.name for path in files_of(tmp_path)] == ["a.jsonl", "b.jsonl"]


def test_missing_files_and_empty_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no such file: .*absent"):
        files_of(tmp_path / "absent")
    with pytest.raises(DataError, match=r"holds no \.jsonl files"):
        files_of(tmp_path)

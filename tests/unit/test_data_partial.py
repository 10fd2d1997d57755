"""Finished rows beside an output: torn lines, other settings, damage."""

import json

import pytest

from emo.data.partial import PartFile
from emo.errors import ArtifactError, SettingsError

ROWS = [{"id": "a", "x": 1}, {"id": "b", "x": "é\n"}]


def test_rows_come_back_by_id(tmp_path):
    PartFile(tmp_path / "o", {"model": "m"}).append(ROWS[:1])
    part = PartFile(tmp_path / "o", {"model": "m"})
    part.append(ROWS[1:])
    again = PartFile(tmp_path / "o", {"model": "m"})
    assert list(again.rows.values()) == ROWS
    again.remove()
    again.remove()
    assert not part.path.exists()


def test_nothing_is_written_before_the_first_rows(tmp_path):
    part = PartFile(tmp_path / "o", {"a": 1})
    assert (part.rows, list(tmp_path.iterdir())) == ({}, [])


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_torn_line_is_dropped_and_the_rest_goes_on(tmp_path, cut):
    PartFile(tmp_path / "o", {"a": 1}).append(ROWS)
    path = tmp_path / "o.part"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    part = PartFile(tmp_path / "o", {"a": 1})
    missing = [row for row in ROWS if row["id"] not in part.rows]
    assert missing
    part.append(missing)
    assert path.read_bytes() == whole


def test_other_settings_are_refused_field_by_field(tmp_path):
    PartFile(tmp_path / "o", {"model": "m", "alpha": 8}).append(ROWS)
    with pytest.raises(SettingsError, match=r"alpha was 8, now 4.*seed was null, now 1"):
        PartFile(tmp_path / "o", {"model": "m", "alpha": 4, "seed": 1})


def test_without_rows_other_settings_begin_anew(tmp_path):
    (tmp_path / "o.part").write_text('{"settings": {"a": 1}}\n', encoding="utf-8")
    PartFile(tmp_path / "o", {"a": 2}).append(ROWS)
    assert list(PartFile(tmp_path / "o", {"a": 2}).rows) == ["a", "b"]


@pytest.mark.parametrize("line", ["{", "[1]", json.dumps({"x": 1})])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "o.part"
    path.write_text('{"settings": {}}\n{"id": "a"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="line 3 is damaged"):
        PartFile(tmp_path / "o", {})

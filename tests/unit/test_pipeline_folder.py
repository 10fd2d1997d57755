"""A run folder does each stage once, and again only when what it read has changed."""

from pathlib import Path

import pytest

from emo.errors import SettingsError
from emo.pipeline.folder import Stage, check_configuration, run_stages


def _copy(folder: Path, source: str, target: str, calls: list[str]) -> Stage:
    def work() -> None:
        calls.append(target)
        (folder / target).write_text((folder / source).read_text() + "!")

    return Stage(target, (source,), (target,), work)


@pytest.fixture
def chain(tmp_path: Path) -> tuple[Path, list[Stage], list[str]]:
    calls: list[str] = []
    (tmp_path / "a.txt").write_text("a")
    stages = [
        _copy(tmp_path, "a.txt", "b.txt", calls),
        _copy(tmp_path, "b.txt", "c.txt", calls),
    ]
    return tmp_path, stages, calls


def _run(folder: Path, stages: list[Stage]) -> list[tuple[str, bool]]:
    said: list[tuple[str, bool]] = []
    run_stages(folder, stages, lambda name, done: said.append((name, done)))
    return said


def test_stages_are_done_once(chain: tuple[Path, list[Stage], list[str]]) -> None:
    folder, stages, calls = chain
    assert _run(folder, stages) == [("b.txt", False), ("c.txt", False)]
    assert _run(folder, stages) == [("b.txt", True), ("c.txt", True)]
    assert calls == ["b.txt", "c.txt"]
    assert (folder / "c.txt").read_text() == "a!!"


def test_changed_input_runs_what_depends_on_it(
    chain: tuple[Path, list[Stage], list[str]],
) -> None:
    folder, stages, calls = chain
    _run(folder, stages)
    (folder / "b.txt").write_text("other")
    _run(folder, stages)
    assert calls == ["b.txt", "c.txt", "b.txt"]
    (folder / "a.txt").write_text("x")
    _run(folder, stages)
    assert (folder / "c.txt").read_text() == "x!!"


def test_missing_output_is_made_again(chain: tuple[Path, list[Stage], list[str]]) -> None:
    folder, stages, calls = chain
    _run(folder, stages)
    (folder / "c.txt").unlink()
    _run(folder, stages)
    assert calls == ["b.txt", "c.txt", "c.txt"]


def test_interrupted_stage_leaves_earlier_ones_done(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    calls: list[str] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    first = _copy(tmp_path, "a.txt", "b.txt", calls)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, [first, Stage("c", ("b.txt",), ("c.txt",), interrupted)])
    assert _run(tmp_path, [first]) == [("b.txt", True)]


def test_other_settings_are_refused_field_by_field(tmp_path: Path) -> None:
    check_configuration(tmp_path, {"seed": 1, "model": "a"})
    check_configuration(tmp_path, {"seed": 1, "model": "a"})
    with pytest.raises(SettingsError, match=r"seed was 1, now 2") as caught:
        check_configuration(tmp_path, {"seed": 2, "model": "a"})
    assert "model" not in str(caught.value)

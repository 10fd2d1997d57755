"""``emo report``, by exit code and output."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from report_runs import Made, write_run

from emo.cli import main

SMALL = Made(n_layers=4, n_heads=4, n_neurons=8, n_points=12, n_samples=6)
Result = tuple[object, str, str]


@pytest.fixture
def emo(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


def test_a_finished_run(emo: Callable[..., Result], tmp_path: Path) -> None:
    write_run(tmp_path, SMALL)
    assert emo("report", tmp_path) == (0, f"{tmp_path / 'report.html'}\n", "")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_an_unfinished_run(emo: Callable[..., Result], tmp_path: Path) -> None:
    write_run(tmp_path, SMALL)
    (tmp_path / "geometry.json").unlink()
    code, out, err = emo("report", tmp_path)
    assert (code, out) == (0, f"{tmp_path / 'report.html'}\n")
    assert err == "not in this run yet: geometry.json\n"
    assert emo("report", tmp_path, "--quiet")[2] == ""


def test_json(emo: Callable[..., Result], tmp_path: Path) -> None:
    write_run(tmp_path, SMALL)
    code, out, _ = emo("report", tmp_path, "--json")
    assert code == 0
    assert json.loads(out) == {
        "report": str(tmp_path / "report.html"),
        "bytes": (tmp_path / "report.html").stat().st_size,
        "missing": [],
    }


def test_no_run_folder(emo: Callable[..., Result], tmp_path: Path) -> None:
    code, out, err = emo("report", tmp_path)
    assert (code, out) == (5, "")
    assert err.startswith(f"error: {tmp_path} is not a run folder")
    assert "hint:" in err


def test_no_argument(emo: Callable[..., Result]) -> None:
    assert emo("report")[0] == 2

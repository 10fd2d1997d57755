"""Ctrl-C and kills at any moment: exit code 130, nothing half written, and the work goes on.

A command is interrupted before each of its file operations in turn, in this process; and really,
by signals, in processes of their own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from refusals import changes, check_lines, run_emo, snapshot

EVENTS = {"open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.truncate", "fcntl.flock"}
# Every verb that writes, with what it leaves for the next run to go on with.
WRITERS = {
    "data import events.jsonl -o OUT": (),
    "generate --model model --data events.jsonl --emotions anger --max-new-tokens 2"
    " --batch-size 2 -o OUT": ("OUT.part",),
    "capture --model model --data texts.jsonl --sites L0.mlp_act,L1.resid_post -o OUT": ("OUT",),
    "judge run texts.jsonl --judge judge -o OUT": ("OUT.part",),
    "judge train labelled.jsonl -o OUT": ("OUT",),
    "directions store --sites L1.resid_post -o OUT": (),
    "score store --directions directions.safetensors -o OUT.safetensors": (
        "OUT.csv",
        "OUT.parquet",
    ),
}


@dataclass
class Interruptions:
    """Counts the file operations on an output, and interrupts before one of them."""

    name: str = ""
    moment: int = 0
    seen: int = 0

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        """See an operation; as an audit hook it cannot be taken away again, only be idle."""
        if not self.name or event not in EVENTS:
            return
        if event != "fcntl.flock" and self.name not in str(arguments[0]):
            return
        self.seen += 1
        if self.seen == self.moment:
            raise KeyboardInterrupt

    @contextmanager
    def at(self, name: str, moment: int) -> Iterator[None]:
        """Interrupt before the given operation on a path that holds `name`."""
        self.name, self.moment, self.seen = name, moment, 0
        try:
            yield
        finally:
            self.name = ""


INTERRUPTIONS = Interruptions()
sys.addaudithook(INTERRUPTIONS.hook)


@pytest.mark.parametrize("verb", WRITERS)
def test_interrupted_before_any_file_operation(world: Path, verb: str) -> None:
    assert run_emo(verb.replace("OUT", "whole")).code == 0
    moment, before = 0, snapshot(Path())
    while True:
        moment += 1
        name = f"o{moment}"
        command = verb.replace("OUT", name)
        with INTERRUPTIONS.at(name, moment):
            result = run_emo(command)
        if INTERRUPTIONS.seen < moment:
            break
        assert result.code == 130, result.err
        check_lines(result, "interrupted", f"the same command {after(verb)}")
        leaves = tuple(path.replace("OUT", name) for path in WRITERS[verb])
        left = changes(before, snapshot(Path()), leaves)
        # An output that is there is whole.
        assert all(Path(path).read_bytes() == _whole(path, name).read_bytes() for path in left)
        assert not list(Path().rglob(f".*{name}*")), "a temporary file was left"
        assert run_emo(command).code == 0
        _compare(name)
        before = snapshot(Path())
    assert moment > 3, "the file operations were not seen"


def after(verb: str) -> str:
    """Tell what the next run does: only these keep what was done."""
    resumes = verb.startswith(("generate", "capture", "judge run", "score"))
    return "goes on where it stopped" if resumes else "starts over"


def _whole(path: str | Path, name: str) -> Path:
    return Path(str(path).replace(name, "whole"))


def _compare(name: str) -> None:
    """Demand the bytes of the uninterrupted command."""
    assert not Path(f"{name}.part").exists()
    for path in Path().glob("whole*"):
        mine = Path(path.name.replace("whole", name))
        if path.is_dir():
            pairs = zip(sorted(path.rglob("*")), sorted(mine.rglob("*")), strict=True)
        else:
            pairs = zip([path], [mine], strict=True)
        for one, other in pairs:
            assert one.is_dir() or one.read_bytes() == other.read_bytes(), other
        if path.is_dir():
            shutil.rmtree(mine)


def test_an_error_that_an_interrupt_brings_about(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(path: Path) -> Iterator[object]:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("a library does not expect this")

    monkeypatch.setattr("emo.data.stats.read_rows", stumble)
    result = run_emo("data stats events.jsonl")
    assert result.code == 130
    check_lines(result, "interrupted", "starts over")


def _start(command: str, *python: str, stdout: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *(python or ("-m", "emo.cli")), *command.split()],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell without job control starts its background processes deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.005)


MANY = "generate --model model --data events.jsonl --batch-size 1 --max-new-tokens 20 -o OUT"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_while_rows_are_made(world: Path, number: signal.Signals) -> None:
    process = _start(MANY.replace("OUT", "out"))
    _wait_for(Path("out.part"), process)
    os.killpg(process.pid, number)
    err = process.communicate(timeout=60)[1]
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert [line for line in err.splitlines() if line.startswith("error:")] == [
            "error: interrupted"
        ]
    else:
        assert process.returncode == -signal.SIGKILL
    assert "Traceback" not in err
    assert not Path("out").exists()
    assert Path("out.part").read_bytes().count(b"\n") >= 1
    assert run_emo(MANY.replace("OUT", "out")).code == 0
    assert run_emo(MANY.replace("OUT", "whole")).code == 0
    assert Path("out").read_bytes() == Path("whole").read_bytes()
    assert not Path("out.part").exists()


ALIGN = """
from emo.cli import main
from emo.geometry import ridge

decompose = ridge._decompose

def told(gram):
    print("ready", flush=True)
    return decompose(gram)

ridge._decompose = told
main("geometry align rows.npy rows.npy --method ridge".split())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_a_signal_while_numpy_decomposes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    """However the moment falls, the process ends with the code of an interrupt, and soon."""
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", np.random.default_rng(0).normal(size=(2800, 2200)))
    # A busy machine may take the processor away for as long, but not three times.
    assert any(_seconds_to_end(delay) < 0.5 for _ in range(3))


def _seconds_to_end(delay: float) -> float:
    process = _start("", "-c", ALIGN, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    ended = time.monotonic()
    assert process.returncode == 130, err
    assert "error: interrupted\nhint: the same command starts over" in err
    return ended - sent

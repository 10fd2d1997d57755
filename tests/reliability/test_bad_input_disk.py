"""Disks that are full, files that may not be read or written, a network that is away: code 8."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from refusals import Case, cases, changes, check_lines, remove, run_emo, snapshot

from emo.store import folder_lock

resource = pytest.importorskip("resource", reason="needs the limits and permissions of Unix")

DIRECTIONS = "directions.safetensors"
# Every verb that writes, with its output as OUT.
WRITERS = {
    "import": "data import events.jsonl -o OUT",
    "generate": "generate --model model --data events.jsonl --max-new-tokens 2 -o OUT",
    "capture": "capture --model model --data texts.jsonl -o OUT",
    "judge-run": "judge run texts.jsonl --judge judge -o OUT",
    "judge-train": "judge train labelled.jsonl -o OUT",
    "directions": "directions store -o OUT",
    "score": f"score store --directions {DIRECTIONS} -o OUT",
    "run": "run --model model --data events.jsonl --emotions anger,fear -o OUT",
}
# What an unfinished command leaves for the next one.
BEGUN = {
    "generate": ("out.part",),
    "judge-run": ("out.part",),
    "capture": ("out",),
    "judge-train": ("out",),
    "run": ("out",),
}


@contextlib.contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Let no file grow above a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("verb", WRITERS)
def test_files_that_cannot_be_written_whole(world: Path, verb: str) -> None:
    command = WRITERS[verb].replace("OUT", "out")
    before = snapshot(Path())
    with largest_file(150):
        result = run_emo(command)
    assert result.code == 8, result.err
    check_lines(result, "File too large", "")
    left = changes(before, snapshot(Path()), BEGUN.get(verb, ()))
    assert left == []
    assert not [path for path in Path().rglob(".*") if path.is_file() and path.name != ".lock"]


@pytest.mark.parametrize("verb", ["generate", "capture", "judge-run"])
def test_what_a_full_disk_stopped_goes_on(world: Path, verb: str) -> None:
    command = WRITERS[verb]
    assert run_emo(command.replace("OUT", "whole")).code == 0
    for n_bytes in (150, 700, 1500):
        with largest_file(n_bytes):
            run_emo(command.replace("OUT", "out"))
    assert run_emo(command.replace("OUT", "out")).code == 0
    assert not Path("out.part").exists()
    if verb == "capture":
        os.chdir("out")
        stopped = snapshot(Path())
        os.chdir("../whole")
        assert stopped == snapshot(Path())
    else:
        assert Path("out").read_bytes() == Path("whole").read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=16k", "none", str(place)]
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, *options], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("verb", WRITERS)
def test_a_full_disk(world: Path, small_disk: Path, verb: str) -> None:
    (small_disk / "filler").write_bytes(b"x" * 16384)
    command = WRITERS[verb].replace("OUT", f"{small_disk}/out")
    result = run_emo(command)
    assert result.code == 8, result.err
    check_lines(result, str(small_disk), "free some space" if verb != "capture" else "")
    assert {path.name for path in small_disk.iterdir()} <= {"filler", "out"}
    assert all(path.stat().st_size for path in small_disk.rglob("*") if path.is_file())


def test_a_capture_says_before_it_begins_that_the_disk_is_too_small(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearly_full = SimpleNamespace(total=0, used=0, free=1000)
    monkeypatch.setattr("emo.store.writer.shutil.disk_usage", lambda path: nearly_full)
    command = WRITERS["capture"].replace("OUT", "out")
    Case("capture", 8, command, "more, but its disk has", "fewer sites", leaves=("out",)).check()


@contextlib.contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Take from root, for a while, the right to pass over permissions."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root passes over permissions here")
    libc = ctypes.CDLL(None)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    saved = ctypes.create_string_buffer(24)
    assert libc.capget(header, saved) == 0
    rights = list(struct.unpack("=6I", saved.raw[:24]))
    rights[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, ctypes.create_string_buffer(struct.pack("=6I", *rights))) == 0
    try:
        yield
    finally:
        assert libc.capset(header, saved) == 0


@contextlib.contextmanager
def mode(path: str, bits: int) -> Iterator[None]:
    """Give a file other permissions for a while."""
    old = Path(path).stat().st_mode
    Path(path).chmod(bits)
    try:
        with bound_by_permissions():
            yield
    finally:
        Path(path).chmod(old)


CAPTURE = "capture --model model --data events.jsonl -o out"
SCORE = f"score store --directions {DIRECTIONS} --model model -o out"


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("events.jsonl", "data validate events.jsonl"),
        ("events.jsonl", "data stats events.jsonl"),
        ("events.jsonl", "data import events.jsonl -o out"),
        ("events.jsonl", CAPTURE),
        ("labelled.jsonl", "judge train labelled.jsonl -o out"),
        ("texts.jsonl", "judge run texts.jsonl -o out"),
        ("verdicts.jsonl", "directions store --verdicts verdicts.jsonl -o out"),
        ("model/config.json", CAPTURE),
        ("model/config.json", SCORE),
        ("model/model.safetensors", CAPTURE),
        ("model/model.safetensors", SCORE),
        ("model/tokenizer.json", CAPTURE),
        ("model", CAPTURE),
        ("store", "store info store"),
        ("store/emo-store.json", "store info store"),
        ("store/samples.jsonl", "store info store"),
        ("store/shards/00000.safetensors", "store verify store"),
        ("store/shards/00000.safetensors", "directions store -o out"),
        ("store/shards/00000.json", "store verify store"),
        (DIRECTIONS, SCORE),
        (DIRECTIONS, f"generate --model model --data events.jsonl --directions {DIRECTIONS}"
         " --steer fear -o out"),
        ("judge/judge.json", "judge run texts.jsonl --judge judge -o out"),
        ("judge/judge.safetensors", "judge run texts.jsonl --judge judge -o out"),
        ("run/run.json", "report run"),
        ("run/summary.json", "report run"),
        ("run/texts.jsonl", "report run"),
        ("run/scores.safetensors", "report run"),
        ("texts.jsonl.part", WRITERS["generate"].replace("OUT", "texts.jsonl")),
    ],
)  # fmt: skip
def test_files_that_may_not_be_read(world: Path, path: str, command: str) -> None:
    remove("store/stats")
    Path("texts.jsonl.part").touch()
    before = snapshot(Path())
    with mode(path, 0):
        result = run_emo(command)
    assert result.code == 8, result.err
    check_lines(result, Path(path).name, "permissions")
    assert changes(before, snapshot(Path())) == []


@pytest.mark.parametrize("verb", WRITERS)
def test_folders_that_may_not_be_written(world: Path, verb: str) -> None:
    Path("closed").mkdir()
    with mode("closed", 0o555):
        Case(verb, 8, WRITERS[verb].replace("OUT", "closed/out"), "closed", "permissions").check()


def test_a_report_that_may_not_be_written(world: Path) -> None:
    with mode("run", 0o555):
        Case("report", 8, "report run", "run", "permissions").check()


@pytest.mark.parametrize("verb", ["capture", "run"])
def test_a_folder_that_another_process_writes_to(world: Path, verb: str) -> None:
    Path("out").mkdir()
    with folder_lock(Path("out")):
        command = WRITERS[verb].replace("OUT", "out")
        Case(verb, 8, command, "another process is writing to out", "wait for it").check()


LONG = "x" * 300


@cases(
    ("name", 8, f"data stats {LONG}", "File name too long", "shorter"),
    ("output", 8, f"data import events.jsonl -o {LONG}", "File name too long", "shorter"),
    ("model", 8, f"capture --model {LONG} --data events.jsonl -o out", "File name too long", "sh"),
)
def test_names_that_are_too_long(world: Path, case: Case) -> None:
    case.check()


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("verb", ["data stats", "judge train -o out", "data validate"])
def test_a_disk_that_does_not_answer(world: Path, verb: str) -> None:
    Case(verb, 8, f"{verb} /proc/self/mem", "Input/output error", "check the disk").check()


@cases(
    ("model", 8, "capture --model nobody/nothing --data events.jsonl -o out", "nobody/nothing",
     "name a model folder"),
    ("judge", 8, "judge run texts.jsonl --judge hf:nobody/nothing -o out", "nobody/nothing",
     "name a model folder"),
)  # fmt: skip
def test_a_hub_that_is_away(world: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    case.check()


def test_an_installation_without_its_model(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emo.data.bundle._CHECKOUT", Path("elsewhere"))
    monkeypatch.setattr("emo.data.bundle._PACKAGE", Path("elsewhere"))
    Case("demo", 8, "demo -o out", "is missing from this installation", "install").check()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_an_output_stream_that_is_full_or_closed(world: Path) -> None:
    def run(stdout: int) -> tuple[int, str]:
        command = [sys.executable, "-m", "emo.cli", "data", "stats", "events.jsonl"]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
        return done.returncode, done.stderr

    with open("/dev/full", "w") as full:
        code, err = run(full.fileno())
    assert (code, err.splitlines()[0]) == (
        8, "error: cannot write the output: No space left on device",
    )  # fmt: skip
    assert len(err.splitlines()) == 2
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run(writer) == (0, "")
    finally:
        os.close(writer)

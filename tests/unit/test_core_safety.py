"""What must not kill or hang the process: truncation, Ctrl-C, forks, foreign signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reference import write_store

from emo import _core
from emo.errors import ArtifactError, UsageError
from emo.geometry.align import align

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@posix
@pytest.mark.parametrize("io", ["mmap", "pread", "auto"])
def test_truncation_under_a_running_scan_is_a_clean_error(tmp_path: Path, io: str) -> None:
    raw = np.random.default_rng(0).normal(size=(8000, 600))
    (path,), _, _ = write_store(tmp_path, raw, "BF16")
    labels = np.zeros(8000, np.int32)
    timer = threading.Timer(0.02, os.truncate, (path, 100_000))
    timer.start()
    end = time.monotonic() + 20

    def scan_until_it_fails() -> None:
        while time.monotonic() < end:
            _core.moments([path], "x", labels, 1, io=io)

    with pytest.raises(ArtifactError):
        scan_until_it_fails()
    timer.join()


@posix
def test_a_foreign_bus_error_still_ends_the_process(tmp_path: Path) -> None:
    (path,), _, _ = write_store(tmp_path, np.ones((4000, 100)), "F32")
    script = f"""
import mmap, os, sys
import numpy as np
from emo import _core
if sys.argv[1] == "first":
    import faulthandler; faulthandler.enable()
path = {str(path)!r}
_core.moments([path], "x", np.zeros(4000, np.int32), 1, io="mmap")
if sys.argv[1] == "last":
    import faulthandler; faulthandler.enable()
    _core.moments([path], "x", np.zeros(4000, np.int32), 1, io="mmap")
copy = path + ".copy"
with open(copy, "wb") as file:
    file.write(bytes(1 << 20))
with open(copy, "r+b") as file:
    view = mmap.mmap(file.fileno(), 1 << 20)
    os.truncate(copy, 4096)
    print(view[1 << 19])
"""
    for order in ("none", "first", "last"):
        done = subprocess.run(
            [sys.executable, "-c", script, order], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == -signal.SIGBUS, (order, done.stderr.decode())
        assert (b"Bus error" in done.stderr) == (order != "none")


@posix
def test_a_handler_of_python_still_gets_a_sent_signal(tmp_path: Path) -> None:
    (path,), _, _ = write_store(tmp_path, np.ones((4, 10)), "F32")
    got = []
    old = signal.signal(signal.SIGBUS, lambda number, _: got.append(number))
    try:
        _core.moments([path], "x", np.zeros(4, np.int32), 1, io="mmap")
        os.kill(os.getpid(), signal.SIGBUS)
        time.sleep(0.01)
    finally:
        signal.signal(signal.SIGBUS, old)
    assert got == [signal.SIGBUS]


@posix
@pytest.mark.parametrize(
    "kernel",
    [
        "moments",
        "project",
        "grouped_contributions",
        "weight_product",
        "hash_file",
        "procrustes",
        "ridge",
    ],
)
def test_interrupting_takes_less_than_a_fifth_of_a_second(
    tmp_path: Path, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMO_SIMD", "scalar")
    (path,), _, _ = write_store(tmp_path, np.ones((8000, 1024)), "BF16")
    rows = np.random.default_rng(0).normal(size=(2800, 2200))
    many = np.ones((200, 1024 if kernel == "project" else 8000))
    calls = {
        "moments": lambda: [
            _core.moments([path], "x", np.zeros(8000, np.int32), 1) for _ in range(100)
        ],
        "project": lambda: _core.project([path], "x", many),
        "grouped_contributions": lambda: [
            _core.grouped_contributions(
                [path], "x", np.zeros(8000, np.int32), 1, np.ones((40, 1024)), 64
            )
            for _ in range(100)
        ],
        "weight_product": lambda: _core.weight_product(path, "x", many, transposed=False),
        "hash_file": lambda: [_core.hash_file(path) for _ in range(10_000)],
        "procrustes": lambda: align(rows, rows),
        "ridge": lambda: align(rows, rows, method="ridge"),
    }
    # A busy machine may take the processor away for as long, but not three times.
    assert any(seconds_to_leave(calls[kernel]) < 0.2 for _ in range(3))


def seconds_to_leave(call: Callable[[], object]) -> float:
    """Seconds from a Ctrl-C, sent half a second after the call, to its end."""
    sent = []

    def interrupt() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.5, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call()
    left = time.monotonic()
    timer.join()
    for thread in threading.enumerate():  # what numpy has begun, it ends
        if thread.name == "emo-fit":
            thread.join()
    return left - sent[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_pool_is_made_anew_after_a_fork(tmp_path: Path) -> None:
    (path,), _, _ = write_store(tmp_path, np.ones((4000, 100)), "F32")
    script = f"""
import os, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from emo import _core
scan = lambda: _core.moments([{str(path)!r}], "x", np.zeros(4000, np.int32), 1, threads=2)
first = scan()["mean"]
child = os.fork()
if child == 0:
    os._exit(0 if (scan()["mean"] == first).all() else 3)
assert (scan()["mean"] == first).all()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert done.returncode == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
@pytest.mark.parametrize(("asked", "started"), [("", 1), ("3", 3)])
def test_the_pool_keeps_to_the_affinity_unless_told(
    tmp_path: Path, asked: str, started: int
) -> None:
    (path,), _, _ = write_store(tmp_path, np.ones((40, 10)), "F32")
    script = f"""
import os, time
from pathlib import Path
import numpy as np
from emo import _core
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
_core.project([{str(path)!r}], "x", np.ones((1, 10)))
time.sleep(0.5)  # a thread takes its name when it first runs
names = [p.joinpath("comm").read_text() for p in Path("/proc/self/task").iterdir()]
print(sum(name.startswith("emo-") for name in names))
"""
    environment = {**os.environ, "EMO_NUM_THREADS": asked}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    assert int(done.stdout) == started


def test_several_threads_may_scan_at_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (path,), _, _ = write_store(tmp_path, rng.normal(size=(3000, 100)), "F32")
    labels = np.zeros(3000, np.int32)
    wanted = _core.moments([path], "x", labels, 1)["m2"].tobytes()
    seen: list[bytes] = []

    def scan(threads: int) -> None:
        for _ in range(5):
            seen.append(_core.moments([path], "x", labels, 1, threads=threads)["m2"].tobytes())

    workers = [threading.Thread(target=scan, args=(1 + index % 3,)) for index in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert seen == [wanted] * 30


def test_the_environment_sets_threads_and_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,), _, _ = write_store(tmp_path, np.ones((4, 10)), "F32")
    monkeypatch.setenv("EMO_NUM_THREADS", "zero")
    with pytest.raises(UsageError, match="EMO_NUM_THREADS"):
        _core.project([path], "x", np.ones((1, 10)))
    _core.project([path], "x", np.ones((1, 10)), threads=1)
    monkeypatch.setenv("EMO_NUM_THREADS", "3")
    _core.project([path], "x", np.ones((1, 10)))
    monkeypatch.setenv("EMO_SIMD", "mmx")
    with pytest.raises(UsageError, match="this machine has scalar"):
        _core.project([path], "x", np.ones((1, 10)))
    monkeypatch.setenv("EMO_SIMD", "scalar")
    assert _core.build_info()["simd"] == "scalar"


def test_a_forced_instruction_set_leaves_all_of_them_to_the_tests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("EMO_SIMD", raising=False)
    tiers = _core.build_info()["tiers"]
    assert tiers[0] == "scalar"
    assert _core.build_info()["simd"] in tiers
    for tier in tiers:
        monkeypatch.setenv("EMO_SIMD", tier)
        assert (_core.build_info()["simd"], _core.build_info()["tiers"]) == (tier, tiers)


def test_flushing_of_small_numbers_elsewhere_changes_nothing(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tiny = np.full((100, 40), 6e-8)
    paths, _, values = write_store(tmp_path, tiny, "F16")
    before = torch.set_flush_denormal(True)
    try:
        found = _core.project(paths, "x", np.ones((1, 40)), threads=5)
    finally:
        torch.set_flush_denormal(False)
    assert before
    np.testing.assert_allclose(found[:, 0], values.sum(1), rtol=1e-6)

"""A writer killed at any moment resumes and ends with the bytes of an uninterrupted run.

The killing happens in a process of its own (this file run as a script), which forks a writer for
each moment: once before each file operation that Python reports, of a store's first run and of
one that finds it finished, and at random times.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from store_toys import Toy, tree

from emo.errors import ArtifactError
from emo.store import Store, StoreWriter

TOY = Toy(n_groups=4, n_layers=1)
CUTS = (3, 9)
RANDOM_KILLS = 15
EVENTS = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.chmod", "fcntl.flock")


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals and forks")
def test_killed_writers_end_with_the_same_bytes():
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    first, again = map(int, done.stdout.split())
    assert min(first, again) > 15, "the file operations were not seen"


def _write(folder, before_shard=lambda: None):
    with StoreWriter(folder, TOY.plan(cuts=CUTS)) as writer:
        for index in list(writer.pending):
            before_shard()
            TOY.write_shard(writer, index)
        writer.finish()


def _fork(work):
    """Run `work` in a child; return its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return child


def _status(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _die_at(moment, folder):
    """Write, but die without any clean-up at the given file operation."""
    seen = 0

    def hook(event, _):
        nonlocal seen
        if event in EVENTS:
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    def work():
        sys.addaudithook(hook)
        _write(folder)

    return work


def _check(folder, whole):
    """A killed store either is complete or says how to finish; resumed, it equals `whole`."""
    try:
        Store.open(folder)
    except ArtifactError as error:
        said = str(error)
    else:
        said = "complete"
        files = tree(folder)
        files.pop(".lock", None)
        assert files == whole
    known = ("complete", "not a finished store", "not a store", "no such store")
    assert any(words in said for words in known), said
    _write(folder)
    assert tree(folder) == whole


def _kill_each(folder_of, whole):
    """Kill a writer at its first file operation, its second, and so on; return their number."""
    moment = 1
    while code := _status(_fork(_die_at(moment, folder_of(moment)))):
        assert code == -signal.SIGKILL, code
        _check(folder_of(moment), whole)
        moment += 1
    return moment - 1


def main():
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=in_memory) as name:
        base = Path(name)
        _write(base / "whole")
        whole = tree(base / "whole")
        started = time.monotonic()
        assert _status(_fork(lambda: _write(base / "timed"))) == 0
        duration = time.monotonic() - started
        moments = _kill_each(lambda moment: base / f"at-{moment}", whole)
        again = _kill_each(lambda _: base / "timed", whole)
        rng = random.Random(0)
        for trial in range(RANDOM_KILLS):
            folder = base / f"random-{trial}"
            for _ in range(2):
                child = _fork(lambda folder=folder: _write(folder))
                time.sleep(rng.random() * duration)
                os.kill(child, signal.SIGKILL)
                _status(child)
            _check(folder, whole)
        print(moments, again)


if __name__ == "__main__":
    main()

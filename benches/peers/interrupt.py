"""Ctrl-C in every kernel: the time from the signal to the return, against a limit of 0.2 s.

A kernel that runs for seconds is interrupted a few times in its midst; the slowest return counts.

    python benches/peers/interrupt.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from emo import _core
from emo.geometry.align import align

LIMIT = 0.2
ROWS, WIDTH = 60_000, 2048


def kernels(folder: Path) -> dict[str, Callable[[], object]]:
    """Calls that run for longer than it takes to interrupt them."""
    values = np.random.default_rng(0).integers(0, 0x3F80, (ROWS, WIDTH), np.uint16)
    path = folder / "x.safetensors"
    chunks = [_core.write_shard(path, [("x", "BF16", values)])["chunks"]["x"]]
    labels, many = np.zeros(ROWS, np.int32), np.ones((200, WIDTH))
    pages = [path] * 200
    repeated = np.tile(labels, 200)
    return {
        "moments": lambda: _core.moments(pages, "x", repeated, 1),
        "moments checked": lambda: _core.moments(pages, "x", repeated, 1, chunks=chunks * 200),
        "project": lambda: _core.project([path], "x", many),
        "grouped_contributions": lambda: _core.grouped_contributions(
            [path], "x", labels, 1, many, 128
        ),
        "weight_product": lambda: _core.weight_product(
            path, "x", np.ones((200, ROWS)), transposed=False
        ),
        "hash_file": lambda: [_core.hash_file(path) for _ in range(1000)],
        **geometry(path, labels),
    }


def geometry(path: Path, labels: Any) -> dict[str, Callable[[], object]]:
    """Calls of the kernels behind `emo geometry`."""
    rng = np.random.default_rng(1)
    matrix = rng.random((171, 171))
    matrix += matrix.T
    np.fill_diagonal(matrix, 0)
    pairs = np.stack([matrix[:30, i : i + 30] + matrix[:30, i : i + 30].T for i in range(0, 60)])
    pairs[:, range(30), range(30)] = 0
    flat = pairs.reshape(len(pairs), -1)
    bases = list(rng.standard_normal((400, 40, WIDTH)).astype(np.float32))
    rows = rng.standard_normal((20_000, WIDTH)).astype(np.float32)
    doubles = rows[:8000].astype(np.float64)
    many, pilot = rng.standard_normal((600, WIDTH)), np.zeros((1, WIDTH))
    test = {"permutations": 10**8, "exact": False, "two_sided": False, "seed": 0}
    return {
        "rsa": lambda: _core.rsa(matrix, matrix, correlation="spearman", **test),
        "rsa_grid": lambda: _core.rsa_grid(flat, flat, 30, correlation="pearson", **test),
        "dissimilarity": lambda: _core.dissimilarity(doubles, "cosine"),
        "subspace_overlaps": lambda: [
            _core.subspace_overlaps(bases, [1e-6] * len(bases), double=True, bases=False)
            for _ in range(20)
        ],
        "cross_moments": lambda: _core.cross_moments([path], "x", [path], "x", labels, 1),
        "gram_product": lambda: _core.gram_product([path], "x", labels, pilot, many),
        "gram_product_array": lambda: _core.gram_product_array(rows, pilot, many),
        "align procrustes": lambda: align(doubles[:3000], doubles[:3000]),
        "align ridge": lambda: align(doubles[:3000], doubles[:3000], method="ridge"),
    }


def seconds_to_stop(call: Callable[[], object], delay: float) -> float | None:
    """Seconds from the signal to its exception; None when the call ended before."""
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(delay, interrupt)
    stopped = None
    with contextlib.suppress(KeyboardInterrupt):
        try:
            timer.start()
            call()
        except KeyboardInterrupt:
            stopped = time.perf_counter() - sent[0]
        timer.cancel()
        timer.join()
    for thread in threading.enumerate():  # what numpy has begun, it ends
        if thread.name == "emo-fit":
            thread.join()
    return stopped


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    # A shell ignores the signal for what it runs in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    worst: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, call in kernels(Path(folder)).items():
            for turn in range(options.rounds):
                stopped = seconds_to_stop(call, 0.2 + 0.05 * turn)
                if stopped is None:
                    raise SystemExit(f"{name} ended before it could be interrupted")
                worst[name] = max(worst.get(name, 0.0), stopped)
    slowest = max(worst, key=worst.__getitem__)
    row = {
        "name": "ctrl-c in any kernel",
        "ratio": round(LIMIT / worst[slowest], 2),
        "goal": 1.0,
        "peer": f"limit {LIMIT} s",
        "reason": None,
        "detail": {name: f"{1000 * took:.1f} ms" for name, took in worst.items()},
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()

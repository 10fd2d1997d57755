"""Permutation tests of representational similarity beside scikit-bio's `mantel`.

Both get the same two dissimilarity matrices and take as many random permutations; the correlations
must agree and the p-values lie within what two random samples allow. The grid of all pairs of
layers is set against `mantel` pair by pair (a sample of pairs, scaled up to all). The exact test
has a limit of half a second.

    python benches/peers/rsa.py [--rounds 16]
"""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skbio import DistanceMatrix
from skbio.stats.distance import mantel
from timing import timed

from emo import _core
from emo.geometry.rsa import dissimilarity, rsa_grid

PERMUTATIONS = 10_000
ROWS = (
    ("rsa-n30-pearson", 30, "pearson", 25.0),
    ("rsa-n30-spearman", 30, "spearman", 40.0),
    ("rsa-n171-spearman", 171, "spearman", 15.0),
    ("rsa-n171-pearson", 171, "pearson", 4.0),
)
LAYERS = (56, 64)
PAIRS = 4
EXACT_LIMIT = 0.5
SHORT = 0.1
Array = NDArray[np.float64]


def vectors(n: int, seed: int) -> Array:
    """Conditions with a common part: every set is somewhat like every other."""
    common = np.random.default_rng(0).standard_normal((n, 16))
    rng = np.random.default_rng(seed + 1)
    mixed = common @ rng.standard_normal((16, 64)) / 4 + 4 * rng.standard_normal((n, 64))
    return np.asarray(mixed)


def ours(x: Array, y: Array, correlation: str, *, exact: bool = False) -> dict[str, Any]:
    found = _core.rsa(
        x, y, correlation=correlation, permutations=PERMUTATIONS, exact=exact, two_sided=False,
        seed=0,
    )  # fmt: skip
    return dict(found)


def by_mantel(x: DistanceMatrix, y: DistanceMatrix, correlation: str) -> tuple[float, float]:
    r, p, _ = mantel(x, y, correlation, PERMUTATIONS, alternative="greater", seed=1)
    return float(r), float(p)


def agree(found: dict[str, Any], r: float, p: float) -> None:
    """Two estimates of p from as many permutations differ by a few standard errors at most."""
    spread = 6 * np.sqrt(2 * max(p * (1 - p), 1 / PERMUTATIONS) / PERMUTATIONS)
    if abs(found["r"] - r) > 1e-6 or abs(found["p"] - p) > spread:
        raise SystemExit(f"mantel says r {r}, p {p}; ours {found['r']}, {found['p']}")


def pairs(rounds: int) -> list[dict[str, Any]]:
    """Every pair in every round, so that a slow while of the machine befalls all of them."""
    best = {name: dict.fromkeys(("ours", "peer"), float("inf")) for name, *_ in ROWS}
    for _ in range(rounds):
        for name, n, correlation, _ in ROWS:
            x, y = (dissimilarity(vectors(n, seed)) for seed in (0, 1))
            first, second = DistanceMatrix(x), DistanceMatrix(y)
            seconds, found = timed(lambda x=x, y=y, by=correlation: ours(x, y, by), SHORT)
            best[name]["ours"] = min(best[name]["ours"], seconds)
            seconds, (r, p) = timed(
                lambda x=first, y=second, by=correlation: by_mantel(x, y, by), SHORT
            )
            best[name]["peer"] = min(best[name]["peer"], seconds)
            agree(found, r, p)
    return [row(name, best[name], goal, "scikit-bio mantel") for name, _, _, goal in ROWS]


def grid(rounds: int) -> dict[str, Any]:
    n = 30
    xs, ys = ([vectors(n, seed + start) for seed in range(count)]
              for start, count in zip((0, 100), LAYERS, strict=True))  # fmt: skip
    matrices = [[DistanceMatrix(dissimilarity(v)) for v in side[:PAIRS]] for side in (xs, ys)]
    best = dict.fromkeys(("ours", "peer"), float("inf"))
    for _ in range(rounds):
        seconds, found = timed(lambda: rsa_grid(xs, ys, permutations=PERMUTATIONS))
        best["ours"] = min(best["ours"], seconds)
        spent = []
        for at, (first, second) in enumerate(zip(*matrices, strict=True)):
            seconds, (r, p) = timed(lambda a=first, b=second: by_mantel(a, b, "pearson"), SHORT)
            spent.append(seconds)
            agree({"r": found.r[at, at], "p": found.p[at, at]}, r, p)
        best["peer"] = min(best["peer"], float(np.mean(spent)) * LAYERS[0] * LAYERS[1])
    return row("rsa-all-56x64-n30", best, 400.0, f"scikit-bio mantel, {PAIRS} pairs scaled to all")


def exact(rounds: int) -> dict[str, Any]:
    x, y = (dissimilarity(vectors(11, seed)) for seed in (0, 1))
    best = {"ours": float("inf"), "peer": EXACT_LIMIT}
    for _ in range(rounds):
        seconds, found = timed(lambda: ours(x, y, "spearman", exact=True))
        best["ours"] = min(best["ours"], seconds)
    if not found["exact"] or found["permutations"] != 39_916_800:
        raise SystemExit("the exact test did not take all permutations")
    return row("rsa-exact-n11", best, 1.0, "limit of 0.5 s")


def row(name: str, best: dict[str, float], goal: float, peer: str) -> dict[str, Any]:
    ratio = best["peer"] / best["ours"]
    detail = {"seconds": best, "permutations": PERMUTATIONS, "simd": _core.build_info()["simd"]}
    reason = None if ratio >= goal else REASONS.get(name)
    return {
        "name": name, "ratio": ratio, "goal": goal, "peer": peer, "reason": reason,
        "detail": detail,
    }  # fmt: skip


_PEER = (
    "scikit-bio 0.7.4 permutes in compiled code and ranks once, so that Spearman costs it no more "
    "than Pearson. Timed part by part with AVX2 (cargo bench -p emo-benches --bench instructions "
    "-- time), "
)
_SMALL = _PEER + (
    "drawing a permutation takes 39 % of our time, its product 50 %, its inverse 11 %; waking the "
    "threads and preparing the ranks take a tenth of the call."
)
REASONS = {
    "rsa-n30-pearson": _SMALL,
    "rsa-n30-spearman": _SMALL,
    "rsa-n171-spearman": _PEER + "permuted products take 83 % of our time, the draw of the "
    "permutations 13 %, their inverses 4 %.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=16)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    for found in pairs(rounds):
        print(json.dumps(found), flush=True)
    print(json.dumps(grid(max(1, rounds // 4))), flush=True)
    print(json.dumps(exact(rounds)), flush=True)


if __name__ == "__main__":
    main()

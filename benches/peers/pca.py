"""Ten components of 20000 rows of 3072, beside torch.pca_lowrank at equal error.

The rows have a power-law spectrum and a mean, as activations do. The error is the share of the
best possible captured variance that is missed: 1 - tr(C S C^T) / sum of the 10 largest eigenvalues
of the covariance S of the rows as they are stored, for orthonormal components C. torch holds the
rows as float32 in memory; of its oversampling (`q`, of which the first 10 components count) and
`niter` it takes the fastest pair whose error is not above the largest of ours. Ours reads the same
array, or a store of the rows in two shards (float32, bfloat16).

    python benches/peers/pca.py [--rounds 5] [--rows 20000]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timing import timed

from emo import _core
from emo.geometry.krylov import leading
from emo.geometry.pca import Pca, _finish, _runs, pca

D, K = 3072, 10
Array = NDArray[Any]


def make_rows(n: int) -> torch.Tensor:
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(D, D))[0]
    scales = torch.arange(1, D + 1, dtype=torch.float32) ** -0.5
    return (torch.randn(n, D) * scales) @ axes.T + torch.randn(D)


def from_store(paths: list[Path], n: int) -> Pca:
    """What `pca_store` does, on plain shards that hold a half of the rows each."""
    labels, half = np.zeros(n, np.int32), n // 2
    starts = [divmod(start, half) for start in _runs(n)]
    sample = [_core.read_rows(paths[at], "x", row, min(row + 32, half)) for at, row in starts]
    found = leading(
        lambda pilot, block, columns: _core.gram_product(
            paths, "x", labels, pilot[None], block, columns=columns
        ),
        np.concatenate(sample),
        K,
        0,
    )
    return _finish(found, K, 0)


def error_for(rows: torch.Tensor) -> Callable[[Array], float]:
    """Share of the best possible captured variance that components of these rows miss."""
    centred = rows.double() - rows.double().mean(0)
    covariance = (centred.T @ centred).numpy() / (len(rows) - 1)
    optimum = np.linalg.eigvalsh(covariance)[-K:].sum()

    def error(components: Array) -> float:
        basis = np.linalg.qr(components.astype(np.float64).T)[0]
        return float(1 - np.einsum("ij,ik,kj->", basis, covariance, basis, optimize=True) / optimum)

    return error


def pass_beside_products(rows: torch.Tensor, n_vectors: int = 24) -> float:
    """Time of one pass of ours over that of torch's two products of the same shapes."""
    vectors = torch.randn(n_vectors, D)
    block, pilot = vectors.double().numpy(), np.zeros((1, D))
    ours = min(
        timed(lambda: _core.gram_product_array(rows.numpy(), pilot, block, columns=False))[0]
        for _ in "12345"
    )
    theirs = min(timed(lambda: rows.T @ (rows @ vectors.T))[0] for _ in "12345")
    return ours / theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=20000)
    options = parser.parse_args()
    rows = make_rows(options.rows)
    array = rows.numpy()
    error, rounded = error_for(rows), error_for(rows.to(torch.bfloat16).float())
    with tempfile.TemporaryDirectory() as folder:
        stores = {}
        for dtype in ("F32", "BF16"):
            stored = rows.to(torch.bfloat16).view(torch.uint16) if dtype == "BF16" else rows
            stores[dtype] = [Path(folder) / f"{dtype}-{part}.safetensors" for part in range(2)]
            for path, half in zip(stores[dtype], np.array_split(stored.numpy(), 2), strict=True):
                _core.write_shard(path, [("x", dtype, half)])
        contenders: dict[str, Callable[[], Pca]] = {
            "float32 array": lambda: pca(array, K),
            "float32 store": lambda: from_store(stores["F32"], len(array)),
            "bfloat16 store": lambda: from_store(stores["BF16"], len(array)),
        }
        ours = {
            name: (rounded if "bfloat16" in name else error)(task().components)
            for name, task in contenders.items()
        }
        allowed = max(ours.values())

        def by_torch(q: int, niter: int) -> Array:
            torch.manual_seed(1)
            return torch.pca_lowrank(rows, q=q, niter=niter)[2].T[:K].numpy()

        fitting: list[tuple[float, int, int, float]] = []
        for q in (K + 6, K + 14, K + 22, K + 38):
            for niter in range(2, 16):
                spent, components = timed(lambda q=q, niter=niter: by_torch(q, niter))
                if (missed := error(components)) <= allowed:
                    fitting.append((spent, q, niter, missed))
                    break
        _, q, niter, missed = min(fitting)
        best = dict.fromkeys([*contenders, "torch"], float("inf"))
        threads = sorted({1, torch.get_num_threads()})
        for _ in range(options.rounds):
            for name, task in contenders.items():
                best[name] = min(best[name], timed(task)[0])
            for count in threads:
                torch.set_num_threads(count)
                best["torch"] = min(best["torch"], timed(lambda: by_torch(q, niter))[0])
    share = pass_beside_products(rows)
    reason = (
        "Both sides are bound by multiply-adds. By perf, products take two thirds of a pass of "
        "ours, taking off the mean and adding up in double precision the rest. A pass of 24 "
        f"vectors takes {share:.2f} of the time of torch's two products alone; more must come "
        "from fewer passes."
    )
    for name in contenders:
        ratio = best["torch"] / best[name]
        row = {
            "name": f"pca-{name.replace(' ', '-')}",
            "ratio": ratio,
            "goal": 3.0,
            "peer": f"torch.pca_lowrank, q={q}, niter={niter}, float32 array",
            "reason": None if ratio >= 3 else reason,
            "detail": {"seconds": best, "error": ours, "torch error": missed, "threads": threads},
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

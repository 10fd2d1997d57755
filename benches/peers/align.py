"""Alignment side by side with scipy, torch and scikit-learn on the same arrays.

Each contender fits the same map in double precision; they run alternately in one process, the best
of N runs counts, and the peers' threads are those of their libraries. Residuals are checked: ours
may be no larger. scipy's decomposition of an 8192 x 8192 matrix takes minutes on two cores, so that
the wide row runs once (``--wide-rounds``); ``--wide 0`` leaves it out.

    python benches/peers/align.py [--rounds N] [--wide 8192] [--wide-rounds 1]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
import sklearn
import torch
from numpy.typing import NDArray
from scipy.linalg import lstsq, orthogonal_procrustes
from sklearn.linear_model import LinearRegression, Ridge
from timing import timed

from emo.geometry import ridge
from emo.geometry.procrustes import procrustes

Matrix = NDArray[np.float64]
Task = Callable[[], Any]
ROWS, WIDTH = 4096, 1024
PENALTY = 10.0
EXACT = 1 + 1e-9


def pairs(n: int, dx: int, dy: int) -> tuple[Matrix, Matrix]:
    """Centred rows of two spaces that share a third of their variance."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, dx))
    y = rng.standard_normal((n, dy)) * 1.4
    y[:, :dx] += x @ np.linalg.qr(rng.standard_normal((dx, dx)))[0] if dx <= 2048 else x
    return x - x.mean(0), y - y.mean(0)


def apply(found: Any, x: Matrix) -> Matrix:
    for factor in found.factors:
        x = x @ factor
    return x


def torch_procrustes(x: Matrix, y: Matrix) -> Matrix:
    left, _, right = torch.linalg.svd(torch.from_numpy(x).T @ torch.from_numpy(y))
    return (left @ right).numpy()


def torch_ridge(x: Matrix, y: Matrix) -> Matrix:
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    gram = a.T @ a
    gram.diagonal().add_(PENALTY)
    return torch.cholesky_solve(a.T @ b, torch.linalg.cholesky(gram)).numpy()


def torch_lstsq(x: Matrix, y: Matrix) -> Matrix:
    return torch.linalg.lstsq(torch.from_numpy(x), torch.from_numpy(y)).solution.numpy()


def scipy_ridge(x: Matrix, y: Matrix) -> Matrix:
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += PENALTY
    return scipy.linalg.solve(gram, x.T @ y, assume_a="pos")


def best_times(tasks: dict[str, Task], rounds: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Best time of each task over alternating rounds, and what it gave."""
    best = dict.fromkeys(tasks, float("inf"))
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for name, task in tasks.items():
            spent, results[name] = timed(task)
            best[name] = min(best[name], spent)
    return best, results


def row(
    name: str,
    goal: float,
    tasks: dict[str, Task],
    losses: dict[str, Callable[[Any], float]],
    rounds: int,
    detail: dict[str, Any],
) -> None:
    """Print one comparison; the first task is ours."""
    best, results = best_times(tasks, rounds)
    ours = next(iter(tasks))
    loss = {task: float(losses.get(task, losses["*"])(results[task])) for task in tasks}
    worst = max(loss[task] for task in tasks)
    if not loss[ours] <= min(loss.values()) * EXACT:
        raise SystemExit(f"{name}: our loss {loss[ours]} is above {loss}")
    peer = min((task for task in tasks if task != ours), key=best.__getitem__)
    seconds = {task: round(value, 4) for task, value in best.items()}
    detail |= {"seconds": seconds, "loss_spread": worst / loss[ours] - 1, "rounds": rounds}
    detail |= {"versions": [np.__version__, scipy.__version__, torch.__version__]}
    detail |= {"sklearn": sklearn.__version__, "torch_threads": torch.get_num_threads()}
    detail |= {"OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE")}
    ratio = round(best[peer] / best[ours], 2)
    print(
        json.dumps(
            {
                "name": name,
                "ratio": ratio,
                "goal": goal,
                "peer": peer,
                "reason": None,
                "detail": detail,
            }
        ),
        flush=True,
    )


def wide(width: int, rounds: int) -> None:
    x, y = pairs(2000, width, width)
    tasks: dict[str, Task] = {
        "emo": lambda: procrustes(x, y),
        "scipy.linalg.orthogonal_procrustes": lambda: orthogonal_procrustes(x, y)[0],
    }
    losses: dict[str, Any] = {
        "emo": lambda found: np.linalg.norm(apply(found, x) - y),
        "*": lambda found: np.linalg.norm(x @ found - y),
    }
    name = f"Procrustes N=2000 < d={width}"
    row(name, 9, tasks, losses, rounds, {"n": 2000, "d": width})


def tall(n: int, width: int, rounds: int) -> None:
    x, y = pairs(n, width, width)
    shape = {"n": n, "d": width}

    def residual(found: Matrix) -> float:
        return float(np.linalg.norm(x @ found - y))

    def penalised(found: Matrix) -> float:
        return residual(found) ** 2 + PENALTY * float((found**2).sum())

    tasks: dict[str, Task] = {
        "emo": lambda: procrustes(x, y),
        "scipy.linalg.orthogonal_procrustes": lambda: orthogonal_procrustes(x, y)[0],
        "torch.linalg.svd": lambda: torch_procrustes(x, y),
    }
    losses: dict[str, Any] = {"emo": lambda found: residual(found.factors[0]), "*": residual}
    row(f"Procrustes N={n} >= d={width}", 0.95, tasks, losses, rounds, dict(shape))

    tasks = {
        "emo": lambda: ridge.solve(x, y, PENALTY),
        "scipy.linalg.solve": lambda: scipy_ridge(x, y),
        "torch.cholesky_solve": lambda: torch_ridge(x, y),
        "sklearn Ridge(cholesky)": lambda: (
            Ridge(PENALTY, fit_intercept=False, solver="cholesky").fit(x, y).coef_.T
        ),
    }
    row(f"ridge N={n} >= d={width}", 0.95, tasks, {"*": penalised}, rounds, dict(shape))

    tasks = {
        "emo": lambda: ridge.solve(x, y),
        "scipy.linalg.lstsq gelsy": lambda: lstsq(x, y, lapack_driver="gelsy")[0],
        "torch.linalg.lstsq": lambda: torch_lstsq(x, y),
        "sklearn LinearRegression": lambda: LinearRegression(fit_intercept=False).fit(x, y).coef_.T,
    }
    row(f"least squares N={n} >= d={width}", 0.95, tasks, {"*": residual}, rounds, dict(shape))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--wide", type=int, default=8192, help="width of the wide row, 0 for none")
    parser.add_argument("--wide-rounds", type=int, default=1)
    options = parser.parse_args()
    tall(options.rows, options.width, options.rounds)
    if options.wide:
        wide(options.wide, options.wide_rounds)


if __name__ == "__main__":
    main()

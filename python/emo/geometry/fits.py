"""Maps as each method fits them to training pairs, with what shuffled pairs reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo.errors import NumericalError, UsageError
from emo.geometry import procrustes as rotations
from emo.geometry import ridge
from emo.geometry.mapping import Map
from emo.geometry.pairs import Pairs
from emo.geometry.shuffles import Shuffled, linear_null, rotation_null

Matrix = NDArray[np.float64]
_ILL = 1e7


@dataclass(frozen=True)
class Fit:
    """What a method found, before it is judged."""

    map: Map
    null: Shuffled
    condition: float
    rank: int
    penalty: float | None = None
    penalties: tuple[float, ...] | None = None
    loo: tuple[float, ...] | None = None
    nuclear: float | None = None
    warnings: tuple[str, ...] = ()


def fit_procrustes(pairs: Pairs, permutations: int, seed: int, scaled: bool) -> Fit:
    """Rotate, with one common factor where `scaled`."""
    n, dx = pairs.x.shape
    found = rotations.procrustes(pairs.x, pairs.y)
    size = float(np.linalg.norm(pairs.x))
    factor = found.nuclear / size**2 if scaled else 1.0
    values = np.linalg.svd(pairs.x, compute_uv=False)
    kept = values[values > values[0] * max(pairs.x.shape) * np.finfo(np.float64).eps]
    warnings = []
    if n - 1 < dx:
        warnings.append(
            f"Procrustes on {n} training pairs in {dx} dimensions: any two sets of so few vectors "
            f"can be aligned; the map has rank {found.rank} and drops what lies outside, so that "
            "held-out results differ from those of a completed rotation"
        )
    return Fit(
        map=Map(pairs.mean_x, pairs.mean_y, found.factors, factor),
        null=rotation_null(pairs, permutations, seed, scaled=scaled),
        condition=float(kept[0] / kept[-1]),
        rank=found.rank,
        nuclear=found.nuclear / (size * float(np.linalg.norm(pairs.y))),
        warnings=tuple(warnings),
    )


def check_penalties(given: ArrayLike | None) -> Matrix:
    """Check given penalties; an empty array stands for the usual ones."""
    penalties = np.sort(np.atleast_1d(np.asarray([] if given is None else given, np.float64)))
    if penalties.ndim != 1 or not np.isfinite(penalties).all() or (penalties <= 0).any():
        raise UsageError("penalties must be numbers above 0", hint="method lstsq has no penalty")
    if given is not None and not penalties.size:
        raise UsageError("no penalties are given, at least one is needed")
    return penalties


def fit_linear(pairs: Pairs, given: Matrix | None, permutations: int, seed: int) -> Fit:
    """Fit ridge with `given` penalties (empty: the usual ones), least squares with None."""
    n, dx = pairs.x.shape
    if given is None and n - 1 < dx:
        raise NumericalError(
            f"least squares on {n} training pairs in {dx} dimensions: any outputs are interpolated",
            hint="use method ridge, or more pairs",
        )
    fits = ridge.path(pairs.x, pairs.y)
    if given is None:
        penalties = np.zeros(1)
    else:
        penalties = given if given.size else ridge.default_penalties(fits.eigenvalues)
    loo = [fits.leave_one_out(pairs.y, float(penalty)) for penalty in penalties]
    best = int(np.argmin(loo))
    penalty = float(penalties[best])
    factors = fits.coefficients(penalty)
    return Fit(
        map=Map(pairs.mean_x, pairs.mean_y, factors),
        null=linear_null(pairs, fits, penalties, permutations, seed),
        condition=fits.condition,
        rank=fits.rank,
        penalty=None if given is None else penalty,
        penalties=None if given is None else tuple(float(p) for p in penalties),
        loo=None if given is None else tuple(loo),
        warnings=_doubts(fits, given is None, best, penalties, dx),
    )


def _doubts(
    fits: ridge.Path, plain: bool, best: int, penalties: Matrix, dx: int
) -> tuple[str, ...]:
    notes = []
    if plain and fits.rank < dx:
        notes.append(
            f"x has rank {fits.rank} of {dx}: the least-squares map of smallest norm is taken"
        )
    if plain and fits.condition > _ILL:
        notes.append(
            f"x has condition number {fits.condition:.1e}: coefficients of least squares are "
            "not to be trusted, ridge is safer"
        )
    if not plain and len(penalties) > 1 and best in (0, len(penalties) - 1):
        end = "smallest" if best == 0 else "largest"
        notes.append(f"the best penalty is the {end} of the path: extend it there")
    return tuple(notes)

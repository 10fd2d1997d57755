"""Maps as each method fits them to training pairs, with what shuffled pairs reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo.errors import NumericalError, UsageError
from emo.geometry import procrustes as rotations
from emo.geometry import ridge
from emo.geometry.interruptible import unless_left
from emo.geometry.mapping import Map
from emo.geometry.pairs import Pairs
from emo.geometry.shuffles import Shuffled, linear_null, rotation_null
from emo.geometry.spans import span

Matrix = NDArray[np.float64]
_ILL = 1e5


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
    rotations.check_widths(dx, pairs.y.shape[1])
    x, y = span(pairs.x), span(pairs.y)
    found = rotations.rotation(x, y)
    size = float(np.linalg.norm(pairs.x))
    factor = found.nuclear / size**2 if scaled else 1.0
    warnings = []
    if n - 1 < dx:
        warnings.append(
            f"Procrustes on {n} training pairs in {dx} dimensions: any two sets of so few vectors "
            f"can be aligned; the map has rank {found.rank} and drops what lies outside, so that "
            "held-out results differ from those of a completed rotation"
        )
    return Fit(
        map=Map(pairs.mean_x, pairs.mean_y, found.factors, factor),
        null=rotation_null(pairs, (x, y), permutations, seed, scaled=scaled),
        condition=x.condition,
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
    check_determined(given, n, dx)
    fits = ridge.path(pairs.x, pairs.y)
    penalties = choices(given, fits)
    scores = pairs.x @ fits.axes
    tried = unless_left(penalties)
    loo = [fits.squared_errors(scores, pairs.y, float(p)) / pairs.y.size for p in tried]
    null = linear_null(pairs, fits, penalties, permutations, seed)
    return linear_fit((pairs.mean_x, pairs.mean_y), fits, given is None, (penalties, loo), null)


def check_determined(given: Matrix | None, n: int, dx: int) -> None:
    """Refuse least squares that would interpolate.

    Raises
    ------
    NumericalError
        When there is no penalty and not more pairs than columns.
    """
    if given is None and n - 1 < dx:
        raise NumericalError(
            f"least squares on {n} training pairs in {dx} dimensions: any outputs are interpolated",
            hint="use method ridge, or more pairs",
        )


def choices(given: Matrix | None, fits: ridge.Path) -> Matrix:
    """Penalties to choose from: none but 0 for least squares."""
    if given is None:
        return np.zeros(1)
    return given if given.size else ridge.default_penalties(fits.eigenvalues)


def linear_fit(
    means: tuple[Matrix, Matrix],
    fits: ridge.Path,
    plain: bool,
    tried: tuple[Matrix, list[float]],
    null: Shuffled,
) -> Fit:
    """Take the penalty with the smallest leave-one-out error of those `tried`."""
    penalties, loo = tried
    best = int(np.argmin(loo))
    penalty = float(penalties[best])
    return Fit(
        map=Map(*means, fits.coefficients(penalty)),
        null=null,
        condition=fits.condition,
        rank=fits.rank,
        penalty=None if plain else penalty,
        penalties=None if plain else tuple(float(p) for p in penalties),
        loo=None if plain else tuple(loo),
        warnings=_doubts(fits, plain, best, len(penalties)),
    )


def _doubts(fits: ridge.Path, plain: bool, best: int, tried: int) -> tuple[str, ...]:
    dx = len(fits.axes)
    if plain and fits.rank < dx:
        return (f"x has rank {fits.rank} of {dx}: the least-squares map of smallest norm is taken",)
    if plain and fits.condition > _ILL:
        return (
            f"x has condition number {fits.condition:.1e}: coefficients of least squares are "
            "not to be trusted, ridge is safer",
        )
    if not plain and tried > 1 and best == 0:
        return ("the best penalty is the smallest of the path: extend it there",)
    if not plain and tried > 1 and best == tried - 1:
        return ("the best penalty is the largest of the path: x hardly predicts y",)
    return ()

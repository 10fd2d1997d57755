"""The result of an alignment, and how a fitted map is judged on held-out pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo.errors import NumericalError
from emo.geometry.fits import Fit
from emo.geometry.mapping import Map
from emo.geometry.pairs import Pairs

Matrix = NDArray[np.float64]
_TIE = 1e-12


@dataclass(frozen=True)
class Alignment:
    """How well one space maps to another, beside shuffled pairs.

    Parameters
    ----------
    method : str
        ``procrustes``, ``ridge`` or ``lstsq``.
    r2_heldout, r2_train : float
        ``1 - |y - map(x)|^2 / |y - mean|^2`` over rows and columns, of held-out and of training
        pairs; the mean is that of the training rows in both.
    cosine : float
        Mean cosine of mapped and true held-out rows, both relative to the training mean of y.
    cosine_before : float or None
        The same without a map, each set relative to its own mean; None where widths differ.
    null_mean, null_high, null_max : float
        Mean, 97.5 % quantile and maximum of `r2_heldout` when training pairs are shuffled.
    p : float
        ``(b + 1) / (permutations + 1)``, b shuffles with an R^2 as high.
    permutations : int
    condition : float
        Largest over smallest singular value of the centred training rows of x, without those that
        are zero to rounding.
    rank : int
        Numerical rank of the same; for Procrustes that of the map.
    penalty : float or None
        Ridge penalty with the smallest leave-one-out error.
    penalties, loo : tuple of float, or None
        All penalties, and the mean squared leave-one-out error of each on the training pairs.
    n, dx, dy : int
        Pairs, held-out ones included, and widths.
    nuclear : float or None
        Procrustes: nuclear norm of the product of the centred training sets, each of Frobenius
        norm 1; 1 for a rotated and scaled copy.
    nuclear_null_mean, nuclear_null_max : float or None
        The same of shuffled pairs.
    scale : float or None
        Procrustes: common factor after the rotation.
    seed : int
    warnings : tuple of str
        Why the result may mislead.
    """

    method: str
    r2_heldout: float
    r2_train: float
    cosine: float
    cosine_before: float | None
    null_mean: float
    null_high: float
    null_max: float
    p: float
    permutations: int
    condition: float
    rank: int
    penalty: float | None
    penalties: tuple[float, ...] | None
    loo: tuple[float, ...] | None
    n: int
    dx: int
    dy: int
    nuclear: float | None
    nuclear_null_mean: float | None
    nuclear_null_max: float | None
    scale: float | None
    seed: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Scores:
    """What a map reaches; fields as in `Alignment`."""

    r2_heldout: float
    r2_train: float
    cosine: float
    cosine_before: float | None


def score(pairs: Pairs, fitted: Map) -> Scores:
    """Judge a map on training and held-out pairs."""
    held = fitted.apply_directions(pairs.x_held)
    same = pairs.x.shape[1] == pairs.y.shape[1]
    return Scores(
        r2_heldout=_r2(held, pairs.y_held),
        r2_train=_r2(fitted.apply_directions(pairs.x), pairs.y),
        cosine=float(cosines(held, pairs.y_held).mean()),
        cosine_before=float(cosines(pairs.x_held, pairs.y_held).mean()) if same else None,
    )


def report(
    scores: Scores,
    fit: Fit,
    *,
    method: str,
    n: int,
    seed: int,
    notes: tuple[str, ...],
    compared: float | None = None,
) -> Alignment:
    """Put scores beside their null; `compared` is the R^2 that the null belongs to, if another."""
    observed = scores.r2_heldout if compared is None else compared
    null = fit.null
    b = int((null.r2 >= observed - _TIE).sum())
    return Alignment(
        method=method,
        r2_heldout=scores.r2_heldout,
        r2_train=scores.r2_train,
        cosine=scores.cosine,
        cosine_before=scores.cosine_before,
        null_mean=float(null.r2.mean()),
        null_high=float(np.quantile(null.r2, 0.975)),
        null_max=float(null.r2.max()),
        p=(b + 1) / (len(null.r2) + 1),
        permutations=len(null.r2),
        condition=fit.condition,
        rank=fit.rank,
        penalty=fit.penalty,
        penalties=fit.penalties,
        loo=fit.loo,
        n=n,
        dx=fit.map.dx,
        dy=fit.map.dy,
        nuclear=fit.nuclear,
        nuclear_null_mean=None if null.nuclear is None else float(null.nuclear.mean()),
        nuclear_null_max=None if null.nuclear is None else float(null.nuclear.max()),
        scale=fit.map.scale if method == "procrustes" else None,
        seed=seed,
        warnings=(*notes, *fit.warnings),
    )


def _r2(found: Matrix, wanted: Matrix) -> float:
    total = float((wanted**2).sum())
    if total == 0:
        raise NumericalError(
            "the held-out rows of y all equal the training mean, R^2 is undefined",
            hint="hold out more rows",
        )
    return 1 - float(((wanted - found) ** 2).sum()) / total


def cosines(a: Matrix, b: Matrix) -> Matrix:
    """Cosine of each row of a with that of b; 0 for a row without length."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dots = np.einsum("ij,ij->i", a, b)
    found: Matrix = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    return found

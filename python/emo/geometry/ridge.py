"""Ridge and least squares with many outputs, from one eigendecomposition of the smaller Gram.

With ``X^T X = V diag(w) V^T``, or ``X X^T = U diag(w) U^T`` for fewer rows than columns, the fit
of every penalty p is ``X V diag(1 / (w + p)) V^T X^T Y``, and the error of each row left out of
its own fit is ``e_i / (1 - h_i - 1/N)``: h is the diagonal of the hat matrix, and the means,
which are fitted too, add the 1/N (Allen's PRESS; Golub, Heath and Wahba 1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Path:
    """Fits of every penalty of centred rows, decomposed once.

    Parameters
    ----------
    eigenvalues : (r,) float64 array
        Of the smaller Gram matrix, ascending, those above rounding only.
    scores : (n, r) float64 array
        X in the coordinates of its principal axes.
    products : (r, dy) float64 array
        ``scores.T @ y``.
    axes : (dx, r) float64 array
        Principal axes.
    """

    eigenvalues: Matrix
    scores: Matrix
    products: Matrix
    axes: Matrix

    @property
    def rank(self) -> int:
        """Numerical rank of X."""
        return len(self.eigenvalues)

    @property
    def condition(self) -> float:
        """Largest over smallest singular value of X, those at rounding left out."""
        return float(np.sqrt(self.eigenvalues[-1] / self.eigenvalues[0]))

    def coefficients(self, penalty: float) -> tuple[Matrix, Matrix]:
        """Factors (dx, r), (r, dy) of the coefficients."""
        return self.axes, self.products / (self.eigenvalues + penalty)[:, None]

    def leverage(self, penalty: float) -> Matrix:
        """Diagonal of the hat matrix, the 1/N of the means included; (n,)."""
        share: Matrix = (self.scores**2) @ (1 / (self.eigenvalues + penalty))
        return share + 1 / len(self.scores)

    def leave_one_out(self, y: Matrix, penalty: float) -> float:
        """Mean squared error over rows and columns of each row left out of its own fit."""
        fitted = (self.scores / (self.eigenvalues + penalty)) @ self.products
        gap = np.maximum(1 - self.leverage(penalty), np.finfo(np.float64).eps)
        return float((((y - fitted) / gap[:, None]) ** 2).mean())

    def hat(self, rows: Matrix, penalty: float) -> Matrix:
        """Matrix (m, n) that turns training outputs into predictions for `rows` (m, dx)."""
        return ((rows @ self.axes) / (self.eigenvalues + penalty)) @ self.scores.T


def path(x: Matrix, y: Matrix) -> Path:
    """Decompose centred rows.

    Parameters
    ----------
    x, y : (n, dx), (n, dy) float64 arrays
        Columns of mean 0.
    """
    n, d = x.shape
    wide = n <= d
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    keep = values > values[-1] * max(n, d) * np.finfo(np.float64).eps
    values, vectors = values[keep], vectors[:, keep]
    if wide:
        scores, axes = vectors * np.sqrt(values), (x.T @ vectors) / np.sqrt(values)
    else:
        scores, axes = x @ vectors, vectors
    return Path(values, scores, scores.T @ y, axes)


def default_penalties(eigenvalues: Matrix) -> Matrix:
    """Eleven penalties from 1e-6 to 1e4 times the mean eigenvalue of the Gram matrix."""
    return np.geomspace(1e-6, 1e4, 11) * float(eigenvalues.mean())

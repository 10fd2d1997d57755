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

from emo.geometry.interruptible import interruptible

Matrix = NDArray[np.float64]
_PROBES = 4
_ROUGH = 1e7
_SINGULAR = 1e12


@dataclass(frozen=True)
class Path:
    """Fits of every penalty of centred rows, decomposed once.

    Parameters
    ----------
    n : int
        Rows.
    eigenvalues : (r,) float64 array
        Of the smaller Gram matrix, ascending, those above rounding only.
    axes : (dx, r) float64 array
        Principal axes.
    products : (r, dy) float64 array
        ``axes.T @ X.T @ Y``.
    """

    n: int
    eigenvalues: Matrix
    axes: Matrix
    products: Matrix

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

    def gap(self, scores: Matrix, penalty: float) -> Matrix:
        """One less the leverage of training rows, the 1/N of the means included; (m,).

        `scores` are the rows times the axes.
        """
        leverage = (scores**2) @ (1 / (self.eigenvalues + penalty)) + 1 / self.n
        room: Matrix = np.maximum(1 - leverage, np.finfo(np.float64).eps)
        return room

    def squared_errors(self, scores: Matrix, y: Matrix, penalty: float) -> float:
        """Sum over rows and columns of the squared error of each row left out of its own fit."""
        errors = y - (scores / (self.eigenvalues + penalty)) @ self.products
        errors /= self.gap(scores, penalty)[:, None]
        return float(np.vdot(errors, errors))


@interruptible
def path(x: Matrix, y: Matrix) -> Path:
    """Decompose centred rows.

    Parameters
    ----------
    x, y : (n, dx), (n, dy) float64 arrays
        Columns of mean 0.
    """
    n, d = x.shape
    if n > d:
        return path_of(x.T @ x, x.T @ y, n)
    values, vectors = _decompose(x @ x.T)
    axes = (x.T @ vectors) / np.sqrt(values)
    return Path(n, values, axes, np.sqrt(values)[:, None] * (vectors.T @ y))


def path_of(xx: Matrix, xy: Matrix, n: int) -> Path:
    """Decompose the cross-moments (dx, dx) and (dx, dy) of n centred rows."""
    values, vectors = _decompose(xx)
    return Path(n, values, vectors, vectors.T @ xy)


def _decompose(gram: Matrix) -> tuple[Matrix, Matrix]:
    values, vectors = np.linalg.eigh(gram)
    keep = values > values[-1] * len(values) * np.finfo(np.float64).eps
    return values[keep], vectors[:, keep]


@interruptible
def solve(x: Matrix, y: Matrix, penalty: float = 0.0) -> Matrix:
    """Coefficients (dx, dy) of one penalty for more rows than columns, by the normal equations.

    Where these lose digits the residual is solved for once more, and where no digits would be left
    a singular value decomposition takes their place. The condition number of the Gram matrix G is
    estimated from above, as ``|G| |G^-1|`` in Frobenius norms, the second from random vectors
    that are solved for beside the outputs.

    Parameters
    ----------
    x, y : (n, dx), (n, dy) float64 arrays
        n > dx.
    penalty : float
        0 for least squares.
    """
    gram, products = x.T @ x, x.T @ y
    gram[np.diag_indices_from(gram)] += penalty
    d, probes = len(gram), np.random.default_rng(0).standard_normal((len(gram), _PROBES))
    try:
        both = np.linalg.solve(gram, np.concatenate([products, probes], axis=1))
    except np.linalg.LinAlgError:
        return _minimum_norm(x, y, penalty)
    found, solved = np.ascontiguousarray(both[:, :-_PROBES]), both[:, -_PROBES:]
    inverse = np.linalg.norm(solved) / np.linalg.norm(probes) * np.sqrt(d)
    condition = np.linalg.norm(gram) * inverse
    if not condition < _SINGULAR:
        return _minimum_norm(x, y, penalty)
    if condition > _ROUGH:
        found += np.linalg.solve(gram, x.T @ (y - x @ found) - penalty * found)
    return np.asarray(found, np.float64)


def _minimum_norm(x: Matrix, y: Matrix, penalty: float) -> Matrix:
    """Least squares of the rows with those of the penalty below them."""
    d = x.shape[1]
    if penalty > 0:
        x = np.concatenate([x, np.sqrt(penalty) * np.eye(d)])
        y = np.concatenate([y, np.zeros((d, y.shape[1]))])
    return np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], np.float64)


def default_penalties(eigenvalues: Matrix) -> Matrix:
    """Eleven penalties from 1e-6 to 1e4 times the mean eigenvalue of the Gram matrix."""
    return np.geomspace(1e-6, 1e4, 11) * float(eigenvalues.mean())

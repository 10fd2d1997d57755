"""Rows in coordinates of their own span, where they are fewer than their columns.

``X = L Q^T`` with Q (d, r) orthonormal, from the Cholesky factor L of the small Gram matrix
``X X^T``: no matrix of d x d, and matrix products do nearly all the work. Centred rows lie in the
N - 1 dimensions orthogonal to ``(1, ..., 1)``, so the rows are first reflected onto them (the
reflection sends that vector to the first axis), which leaves a Gram matrix that can be factored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
EPSILON = float(np.finfo(np.float64).eps)
_ONE_PASS = 1e4
_TWO_PASSES = 1e12


@dataclass(frozen=True)
class Span:
    """Rows as ``coordinates @ basis.T``.

    Parameters
    ----------
    coordinates : (n, r) float64 array
    basis : (d, r) float64 array, or None
        Orthonormal columns; None where the coordinates are the rows themselves.
    """

    coordinates: Matrix
    basis: Matrix | None

    def of(self, rows: Matrix) -> Matrix:
        """Coordinates of other rows, what lies outside the span left out."""
        return rows if self.basis is None else rows @ self.basis

    @property
    def condition(self) -> float:
        """Largest over smallest singular value of the rows above rounding."""
        values = _eigenvalues(self.coordinates.T @ self.coordinates)
        kept = values[values > values[-1] * len(values) * EPSILON]
        return float(np.sqrt(kept[-1] / kept[0]))


def span(rows: Matrix) -> Span:
    """Orthonormal basis of the rows where they are fewer than the columns.

    Parameters
    ----------
    rows : (n, d) float64 array
        Centred or not.

    Returns
    -------
    Span
    """
    n, d = rows.shape
    centred = _is_centred(rows)
    if n - centred >= d:
        return Span(rows, None)
    reflected = _reflect(rows)[1:] if centred else rows
    gram = reflected @ reflected.T
    values = _eigenvalues(gram)
    if values[0] * _TWO_PASSES <= values[-1]:
        found = _by_eigenvectors(rows, rows @ rows.T if centred else gram)
        return found or _by_svd(rows)
    basis, factor = _orthonormal(reflected, gram)
    if values[0] * _ONE_PASS < values[-1]:
        basis, second = _orthonormal(basis, basis @ basis.T)
        factor = factor @ second
    if centred:
        factor = _reflect(np.concatenate([np.zeros((1, n - 1)), factor]))
    return Span(factor, basis.T)


def _is_centred(rows: Matrix) -> bool:
    """Whether the means are zero to rounding."""
    along = np.linalg.norm(rows.sum(0)) / np.sqrt(len(rows))
    return bool(along <= max(rows.shape) * EPSILON * np.linalg.norm(rows))


def _eigenvalues(gram: Matrix) -> Matrix:
    return np.asarray(np.linalg.eigvalsh(gram), np.float64)


def _orthonormal(rows: Matrix, gram: Matrix) -> tuple[Matrix, Matrix]:
    """Orthonormal rows Q and a lower triangle L with ``rows = L @ Q``."""
    factor = np.asarray(np.linalg.cholesky(gram), np.float64)
    return np.asarray(np.linalg.solve(factor, rows), np.float64), factor


def _reflect(rows: Matrix) -> Matrix:
    """Exchange the direction ``(1, ..., 1)`` among the rows with the first axis."""
    n = len(rows)
    axis = np.full(n, 1 / np.sqrt(n))
    axis[0] += 1
    reflected: Matrix = rows - np.outer(axis, (axis @ rows) * (2 / (axis @ axis)))
    return reflected


def _by_eigenvectors(rows: Matrix, gram: Matrix) -> Span | None:
    """Leave out rows that depend on the others to rounding; None where others nearly do."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > values[-1] * len(values) * EPSILON
    wide, least = vectors[:, kept], np.sqrt(values[-1]) * max(rows.shape) * EPSILON
    lost = np.linalg.norm(vectors[:, ~kept].T @ rows, axis=1).max(initial=0.0)
    if not kept.any() or values[kept][0] * _TWO_PASSES <= values[-1] or lost > least:
        return None
    singular = np.sqrt(values[kept])
    basis = (wide.T @ rows) / singular[:, None]
    basis, second = _orthonormal(basis, basis @ basis.T)
    return Span((wide * singular) @ second, basis.T)


def _by_svd(rows: Matrix) -> Span:
    """Take the slow way, for rows that depend on each other."""
    left, singular, right = np.linalg.svd(rows, full_matrices=False)
    kept = int((singular > singular[0] * max(rows.shape) * EPSILON).sum())
    return Span(left[:, :kept] * singular[:kept], right[:kept].T)

"""Orthogonal Procrustes: the rotation that brings one set of vectors closest to another.

Minimise ``|X Q - Y|`` over Q (dx, dy) with orthonormal rows, dx <= dy: Q is the polar factor of
``X^T Y`` (Schönemann 1966). With fewer rows than columns everything happens in the spans of the
rows: ``X = A Qx^T``, ``Y = B Qy^T`` with A and B at most N wide, W the polar factor of ``A^T B``,
and ``Q = Qx W Qy^T`` is kept in these factors: a partial isometry of rank at most N - 1 after
centring, which sends everything outside the span of X to zero. A completed square rotation would
send it somewhere, arbitrarily; held-out rows have parts there, so its held-out error differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo.errors import UsageError
from emo.geometry.interruptible import interruptible
from emo.geometry.spans import EPSILON, Span, span

Matrix = NDArray[np.float64]
_CLEAN = 1e-11
_SHAKY = 1e-6


@dataclass(frozen=True)
class Rotation:
    """A semi-orthogonal matrix ``factors[0] @ factors[1] ...`` and how well it fits.

    Parameters
    ----------
    factors : tuple of float64 arrays
        Product (dx, dy).
    nuclear : float
        Nuclear norm of ``X^T Y``, the trace that the rotation reaches.
    rank : int
        Dimensions that are rotated; the others go to zero.
    """

    factors: tuple[Matrix, ...]
    nuclear: float
    rank: int


def polar(matrix: Matrix) -> tuple[Matrix, float]:
    """Polar factor ``U V^T`` of ``M = U S V^T``, and the nuclear norm ``sum S``.

    From the eigenvectors of the smaller of ``M^T M`` and ``M M^T``, which takes half the time of
    a singular value decomposition. Its columns then lack orthogonality by about e = eps cond(M)^2;
    a step ``W (3 - W^T W) / 2`` squares that, and where e is too large for it the singular value
    decomposition is taken. Either way W is orthonormal to 1e-11, and its trace with M, the nuclear
    norm, is short of the best by a share of at most e^2.

    Parameters
    ----------
    matrix : (a, b) float64 array

    Returns
    -------
    ((a, b) float64 array, float)
        With ``min(a, b)`` singular values of 1.
    """
    if matrix.shape[0] < matrix.shape[1]:
        turned, nuclear = polar(matrix.T)
        return turned.T, nuclear
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    if len(values) == 0 or values[0] <= values[-1] * EPSILON / _SHAKY:
        left, singular, right = np.linalg.svd(matrix, full_matrices=False)
        return left @ right, float(singular.sum())
    images = matrix @ vectors
    singular = np.linalg.norm(images, axis=0)
    turn: Matrix = (images / singular) @ vectors.T
    if values[0] * _CLEAN < values[-1] * EPSILON:
        turn = turn @ (1.5 * np.eye(len(values)) - 0.5 * (turn.T @ turn))
    return turn, float(singular.sum())


def nuclear_norm(matrix: Matrix) -> float:
    """Sum of the singular values."""
    return float(np.linalg.svd(matrix, compute_uv=False).sum())


@interruptible
def procrustes(x: Matrix, y: Matrix) -> Rotation:
    """Rotate `x` onto `y`, paired row by row; nothing is centred or scaled.

    Parameters
    ----------
    x, y : (n, dx), (n, dy) float64 arrays
        dx <= dy.

    Returns
    -------
    Rotation

    Raises
    ------
    UsageError
        When dx > dy.
    """
    check_widths(x.shape[1], y.shape[1])
    return rotation(span(x), span(y))


def rotation(x: Span, y: Span) -> Rotation:
    """Rotate one span onto another."""
    turn, nuclear = polar(x.coordinates.T @ y.coordinates)
    before = () if x.basis is None else (x.basis,)
    after = () if y.basis is None else (y.basis.T,)
    return Rotation((*before, turn, *after), nuclear, min(turn.shape))


def check_widths(dx: int, dy: int) -> None:
    """Refuse to rotate into a narrower space.

    Raises
    ------
    UsageError
        When dx > dy.
    """
    if dx > dy:
        raise UsageError(
            f"orthogonal Procrustes cannot map {dx} dimensions into {dy}",
            hint="align the other way (exchange the two inputs), or pad y with zeros to the "
            f"width {dx}",
        )

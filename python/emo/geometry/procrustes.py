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

Matrix = NDArray[np.float64]


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


@dataclass(frozen=True)
class Span:
    """Rows in coordinates of their own span: ``rows = coordinates @ basis.T``.

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


def span(rows: Matrix) -> Span:
    """Orthonormal basis of the rows where they are fewer than the columns."""
    n, d = rows.shape
    if n > d:
        return Span(rows, None)
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    keep = values > values[0] * max(n, d) * np.finfo(np.float64).eps
    return Span(left[:, keep] * values[keep], np.ascontiguousarray(right[keep].T))


def polar(matrix: Matrix) -> tuple[Matrix, float]:
    """Polar factor ``U V^T`` of ``U S V^T``, and the nuclear norm ``sum S``."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right, float(values.sum())


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
    after = () if y.basis is None else (np.ascontiguousarray(y.basis.T),)
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

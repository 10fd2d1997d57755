"""Row spans of vectors: orthonormal bases of their true rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo import _core
from emo.errors import NumericalError, UsageError
from emo.geometry.interruptible import interruptible

Vectors = NDArray[np.float32] | NDArray[np.float64]


def orthonormal_basis(vectors: ArrayLike, k: int | None = None) -> NDArray[np.float64]:
    """Return an orthonormal basis of the row span of vectors, or of its leading directions.

    The rank is that of the rows scaled to length 1: a row counts when what the rows before it
    leave of it is longer than max(n, d) times the rounding unit of the dtype, so that directions
    stored in single precision which sum to zero are found to be dependent. With `k` the basis
    holds the leading right singular vectors of the rows as they are: the k-dimensional subspace
    that keeps most of the sum of squares.

    Parameters
    ----------
    vectors : (n, d) float array
        One vector per row, not centred here.
    k : int, optional
        Dimensions to keep, at least 1.

    Returns
    -------
    (rank, d) float64 array
        Orthonormal rows; fewer than `k` where the rank is lower, none where all rows are zero.

    Raises
    ------
    NumericalError
        When a value is not finite.
    UsageError
        When `vectors` is no matrix of numbers, or `k` is below 1.

    >>> orthonormal_basis([[3.0, 0.0, 0.0], [6.0, 0.0, 0.0]]).shape
    (1, 3)
    """
    rows = as_vectors(vectors, "vectors")
    check_finite(rows, "vectors")
    check_dimensions(k)
    if k is not None:
        return leading_directions(rows, k)
    if not rows.any():
        return np.empty((0, rows.shape[1]))
    found = _core.subspace_overlaps([rows], [rank_tolerance(rows)], double=True, bases=True)
    return found["bases"]


@interruptible
def leading_directions(rows: Vectors, k: int) -> NDArray[np.float64]:
    """Return the leading right singular vectors of finite rows, at most k and their rank."""
    _, sizes, right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    rank = int((sizes > rank_tolerance(rows) * sizes.max(initial=0.0)).sum())
    return np.ascontiguousarray(right[: min(rank, k)])


def as_vectors(vectors: ArrayLike, name: str) -> Vectors:
    """Give vectors as a C-contiguous matrix of single or double precision.

    Raises
    ------
    UsageError
        When it is no matrix of numbers with at least one column.
    """
    array = np.asarray(vectors)
    if array.ndim != 2 or array.shape[1] == 0:
        raise UsageError(
            f"{name} has shape {array.shape}, a matrix of vectors in its rows is needed",
            hint="pass an array of shape (n, d)",
        )
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{name} holds {array.dtype}, real numbers are needed")
    kept = array.dtype if array.dtype == np.float32 else np.float64
    rows: Vectors = np.ascontiguousarray(array, dtype=kept)
    return rows


def check_finite(rows: Vectors, name: str) -> None:
    """Fail on a value that is not finite, naming its row and column.

    Raises
    ------
    NumericalError
        Naming the first of them.
    """
    if np.isfinite(rows.sum()) or np.isfinite(rows).all():
        return
    row, column = np.argwhere(~np.isfinite(rows))[0]
    raise NumericalError(
        f"{name} holds {rows[row, column]} at row {row}, column {column}",
        hint="leave this vector out, or compute it again in a wider dtype",
    )


def check_dimensions(k: int | None) -> None:
    """Fail on a number of dimensions below 1.

    Raises
    ------
    UsageError
        When `k` is given and below 1.
    """
    if k is not None and k < 1:
        raise UsageError(f"k is {k}, a subspace needs at least 1 dimension")


def rank_tolerance(rows: Vectors) -> float:
    """Relative size below which a vector counts as dependent on others."""
    return float(max(rows.shape) * np.finfo(rows.dtype).eps)

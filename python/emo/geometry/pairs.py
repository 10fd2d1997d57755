"""Paired rows of two spaces: checked, split into training and held-out rows, centred."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo.errors import NumericalError, UsageError
from emo.geometry.permutations import permutations

Matrix = NDArray[np.float64]
SPLIT_STREAM = 1
MIN_ROWS = 4


@dataclass(frozen=True)
class Pairs:
    """Training and held-out rows, both relative to the training means.

    Parameters
    ----------
    x, y : (n_train, dx), (n_train, dy) float64 arrays
    x_held, y_held : (n_held, dx), (n_held, dy) float64 arrays
    mean_x, mean_y : (dx,), (dy,) float64 arrays
        Means of the training rows, already subtracted.
    notes : tuple of str
        What is doubtful about the rows.
    """

    x: Matrix
    y: Matrix
    x_held: Matrix
    y_held: Matrix
    mean_x: Matrix
    mean_y: Matrix
    notes: tuple[str, ...]


def rows_of(vectors: ArrayLike, name: str) -> Matrix:
    """Check one set of rows and give it in double precision.

    Raises
    ------
    UsageError
        When it is no matrix of numbers with at least one column.
    NumericalError
        When a value is not finite, or there are too few rows.
    """
    array = np.asarray(vectors)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiu":
        raise UsageError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, "
            "a matrix of numbers [n, d] is needed"
        )
    if len(array) < MIN_ROWS:
        raise NumericalError(
            f"{name} has {len(array)} rows, an alignment needs at least {MIN_ROWS}",
            hint="give more pairs",
        )
    array = np.ascontiguousarray(array, np.float64)
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise NumericalError(
            f"{name} holds {array[row, column]} at row {row}, column {column}",
            hint="leave this row out of both sets",
        )
    return array


def held_out(n: int, holdout: float, seed: int) -> NDArray[np.bool_]:
    """Choose the rows that are held out: `holdout` of them, at least 1, by a seeded shuffle.

    Returns
    -------
    (n,) bool array
        True where a row is held out.

    Raises
    ------
    UsageError
        When `holdout` is not a share strictly between 0 and 1.
    """
    if not 0 < holdout < 1:
        raise UsageError(f"holdout is {holdout}, it must lie between 0 and 1", hint="take 0.2")
    n_held = min(max(round(holdout * n), 1), n - MIN_ROWS + 1)
    chosen = np.zeros(n, np.bool_)
    chosen[permutations(n, 1, seed=seed, stream=SPLIT_STREAM)[0, :n_held]] = True
    return chosen


def split_pairs(x: ArrayLike, y: ArrayLike, holdout: float, seed: int) -> Pairs:
    """Check, split and centre paired rows.

    Raises
    ------
    UsageError
        When the sets cannot be paired.
    NumericalError
        When values are not finite, rows are too few, or the rows of a set are all the same.
    """
    x, y = rows_of(x, "x"), rows_of(y, "y")
    if len(x) != len(y):
        raise UsageError(
            f"x has {len(x)} rows and y has {len(y)}, row i of x must belong to row i of y"
        )
    held = held_out(len(x), holdout, seed)
    train_x, train_y = x[~held], y[~held]
    mean_x, mean_y = train_x.mean(0), train_y.mean(0)
    train_x -= mean_x
    train_y -= mean_y
    notes = [*_varies(x, train_x, "x"), *_varies(y, train_y, "y"), *_duplicates(x, y)]
    return Pairs(train_x, train_y, x[held] - mean_x, y[held] - mean_y, mean_x, mean_y, tuple(notes))


def _varies(rows: Matrix, centred: Matrix, name: str) -> list[str]:
    tiny = np.abs(rows).max() * len(rows) * np.finfo(np.float64).eps
    flat = int((np.abs(centred).max(0) <= tiny).sum())
    if flat == rows.shape[1]:
        raise NumericalError(
            f"the rows of {name} are all the same, there is nothing to align",
            hint="check how the vectors were made",
        )
    if flat == 0:
        return []
    return [f"{flat} of {rows.shape[1]} columns of {name} are constant and carry nothing"]


def _duplicates(x: Matrix, y: Matrix) -> list[str]:
    """Count pairs that repeat, and rows of one set that repeat beside another row of the other."""
    again, n = _repeated(x, y), len(x)
    notes = []
    if again:
        notes.append(
            f"{again} of {n} pairs repeat another one: a held-out pair may have been trained on"
        )
    for name, rows in (("x", x), ("y", y)):
        if (alone := _repeated(rows) - again) > 0:
            more = "more rows" if again else f"of {n} rows"
            notes.append(f"{alone} {more} of {name} repeat another one, which is paired otherwise")
    return notes


def _repeated(*sets: Matrix) -> int:
    """How many rows, taken together over the sets, equal an earlier one."""
    joint = zip(*sets, strict=True)
    distinct = {b"".join((row + 0.0).tobytes() for row in rows) for rows in joint}  # -0.0 is 0.0
    return len(sets[0]) - len(distinct)

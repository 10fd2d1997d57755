"""An affine map from one space of vectors to another, its linear part kept as thin factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo.errors import NumericalError, UsageError
from emo.geometry.subspace import orthonormal_basis, rank_tolerance

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Map:
    """``x -> scale (x - mean_x) F1 F2 ... + mean_y``.

    Parameters
    ----------
    mean_x, mean_y : (dx,), (dy,) float64 arrays
        Means of the pairs that the map was fitted on.
    factors : tuple of float64 arrays
        Matrices whose product is (dx, dy); from few pairs they are thin, so that no dx x dy matrix
        is ever made.
    scale : float
        A common factor, 1 unless the map is a scaled rotation.
    """

    mean_x: Matrix
    mean_y: Matrix
    factors: tuple[Matrix, ...]
    scale: float = 1.0

    @property
    def dx(self) -> int:
        """Width of what it takes."""
        return len(self.mean_x)

    @property
    def dy(self) -> int:
        """Width of what it gives."""
        return len(self.mean_y)

    @property
    def rank(self) -> int:
        """Most dimensions that the image of the linear part can have."""
        return min(int(min(factor.shape)) for factor in self.factors)

    def apply(self, vectors: ArrayLike) -> Matrix:
        """Map points: rows of activations, or vectors measured from the same origin.

        Parameters
        ----------
        vectors : (k, dx) float array, or (dx,)

        Returns
        -------
        (k, dy) float64 array, or (dy,)

        Raises
        ------
        UsageError
            When the width is another one.
        NumericalError
            When a value is not finite.
        """
        points = self._check(vectors)
        return self._through(points - self.mean_x) + self.mean_y

    def apply_directions(self, vectors: ArrayLike) -> Matrix:
        """Map directions, differences of points: the linear part alone, without the means.

        Parameters, returns and errors as for `apply`.
        """
        return self._through(self._check(vectors))

    def image(self) -> Matrix:
        """Orthonormal rows (rank, dy) that span everything that directions are mapped to."""
        last = self.factors[-1]
        for factor in reversed(self.factors[1:-1]):
            last = factor @ last
        return _full_basis(last) if len(last) <= self.dy else orthonormal_basis(last)

    def _through(self, vectors: Matrix) -> Matrix:
        for factor in self.factors:
            vectors = vectors @ factor
        return vectors * self.scale

    def _check(self, vectors: ArrayLike) -> Matrix:
        array = np.asarray(vectors, np.float64)
        if array.ndim not in (1, 2) or array.shape[-1] != self.dx:
            raise UsageError(
                f"vectors of shape {array.shape} do not fit a map from {self.dx} dimensions"
            )
        if not np.isfinite(array).all():
            raise NumericalError("vectors to be mapped hold values that are not finite")
        return array


def _full_basis(rows: Matrix) -> Matrix:
    """Orthonormalise rows by reflections, which is faster where none depends on the others."""
    lengths = np.linalg.norm(rows, axis=1)
    if not lengths.all():
        return orthonormal_basis(rows)
    columns, left = np.linalg.qr((rows / lengths[:, None]).T)
    if np.abs(np.diag(left)).min() <= rank_tolerance(rows):
        return orthonormal_basis(rows)
    return np.ascontiguousarray(columns.T)

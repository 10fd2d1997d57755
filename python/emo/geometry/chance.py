"""Overlap of random subspaces: draws of the null from a bidiagonal model, O(k) each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emo.errors import UsageError


def random_overlaps(
    k1: int, k2: int, d: int, *, draws: int = 1000, seed: int = 0
) -> NDArray[np.float64]:
    """Draw overlaps of independent uniformly random k1- and k2-dimensional subspaces of R^d.

    The squared cosines of their principal angles follow a Jacobi ensemble. Its bidiagonal model
    (Edelman and Sutton, The beta-Jacobi matrix model, 2008, beta = 1) needs 2 p - 1 beta variates
    for p = min(k1, k2), where plain sampling orthonormalises d x p Gaussians. For k1 + k2 > d the
    subspaces meet in k1 + k2 - d dimensions, and the rest is drawn for their complements.

    Parameters
    ----------
    k1, k2 : int
        Dimensions, 1 to d.
    d : int
        Dimension of the space.
    draws : int
        Number of draws.
    seed : int
        Seed of the Philox generator.

    Returns
    -------
    (draws,) float64 array
        Mean squared cosine over min(k1, k2) angles; their mean is max(k1, k2) / d.

    Raises
    ------
    UsageError
        When a dimension or the number of draws is not possible.
    """
    if not (1 <= k1 <= d and 1 <= k2 <= d and draws >= 1 and seed >= 0):
        raise UsageError(
            f"{draws} draws of {k1}- and {k2}-dimensional subspaces of {d} dimensions, seed {seed}"
        )
    small, large = min(k1, k2), max(k1, k2)
    common = max(k1 + k2 - d, 0)
    p, q = (small, large) if common == 0 else (d - large, d - small)
    total = np.full(draws, float(common))
    rng = np.random.Generator(np.random.Philox(seed))
    below: NDArray[np.float64] | None = None
    for i in range(p, 0, -1):
        # Squared cosines of the two rotations of step i; `below` is the last step's 1 - c^2.
        cosine = rng.beta((q - p + i) / 2, (d - q - p + i) / 2, draws)
        other = 1.0 if below is None else below
        total += cosine * other
        if i > 1:
            turn = rng.beta((i - 1) / 2, (d - 2 * p + i) / 2, draws)
            total += (1 - cosine) * turn
            below = 1 - turn
    return total / small

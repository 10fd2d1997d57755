"""Random permutations: the same for any number of threads, and replayed by numpy.

Uses of the same seed are told apart by their stream: 0 permutes the conditions of RSA, 1 splits
pairs into training and held-out ones, 2 shuffles the training pairs, 3 samples pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emo import _core
from emo.errors import UsageError


def permutations(n: int, count: int, *, seed: int, stream: int) -> NDArray[np.uint32]:
    """Draw the permutations 0 to `count` - 1 of ``0 .. n - 1``, see ``_core.permutations``.

    Parameters
    ----------
    n, count : int
    seed, stream : int
        0 or more, below 2^64.

    Returns
    -------
    (count, n) uint32 array

    Raises
    ------
    UsageError
        When the seed is out of range, or there would be too many places.

    >>> sorted(permutations(4, 1, seed=1, stream=0)[0].tolist())
    [0, 1, 2, 3]
    """
    check_seed(seed)
    return _core.permutations(n, count, seed, stream=stream)


def check_seed(seed: int) -> None:
    """Refuse a seed that is no key of the generator.

    Raises
    ------
    UsageError
        When it is negative or does not fit 64 bits.
    """
    if not 0 <= seed < 2**64:
        raise UsageError(f"seed is {seed}", hint="give a number from 0 to 2**64 - 1")

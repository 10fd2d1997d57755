"""Permutations counted by their index: the same for any thread, order or language.

Permutation `index` of stream `stream` is a Fisher-Yates shuffle driven by Philox4x64-10 with the
key (seed, 0) and the counter words (block, stream, index, 0), blocks from 1 on, which is what
``numpy.random.Philox(key=seed, counter=[0, stream, index, 0])`` gives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emo.errors import UsageError

_WORD = 1 << 64
_HALF = 1 << 32


def permutation(n: int, *, seed: int, stream: int = 0, index: int = 0) -> NDArray[np.int64]:
    """Draw a permutation of ``0 .. n - 1``.

    Words are taken as two halves of 32 bits, the low one first. For i = n - 1 down to 1 a half h
    is drawn until the low 32 bits of h (i + 1) are at least 2^32 mod (i + 1), and entry i is
    exchanged with the entry of the high 32 bits (Lemire 2019).

    Parameters
    ----------
    n : int
        Number of items.
    seed, stream, index : int
        0 or more, below 2^64.

    Returns
    -------
    (n,) int64 array

    Raises
    ------
    UsageError
        When an argument is negative or too large.

    >>> sorted(permutation(4, seed=1).tolist())
    [0, 1, 2, 3]
    """
    for name, value in (("seed", seed), ("stream", stream), ("index", index)):
        if not 0 <= value < _WORD:
            raise UsageError(f"{name} is {value}, it must be at least 0 and below 2^64")
    if not 0 <= n < _HALF:
        raise UsageError(f"a permutation of {n} items is not possible")
    counter = np.array([0, stream, index, 0], np.uint64)
    generator = np.random.Philox(key=seed, counter=counter)
    order = list(range(n))
    halves: list[int] = []
    for i in range(n - 1, 0, -1):
        bound, product = i + 1, 0
        while True:
            if not halves:
                words = generator.random_raw(i // 2 + 8).astype("<u8")
                halves = words.view("<u4").tolist()[::-1]
            product = halves.pop() * bound
            if product % _HALF >= _HALF % bound:
                break
        j = product >> 32
        order[i], order[j] = order[j], order[i]
    return np.array(order, np.int64)

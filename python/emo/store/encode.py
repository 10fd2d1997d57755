"""Numbers as they lie in a shard: bfloat16 bit patterns, float16, float32.

numpy has no bfloat16, so a bfloat16 array is a uint16 array of bit patterns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo.errors import NumericalError, UsageError

_KINDS = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}
_EXPONENT = 0x7F80


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round float32 to the nearest bfloat16, ties to even.

    Parameters
    ----------
    values : float32 array of any shape
        Finite values.

    Returns
    -------
    uint16 array of the same shape
        Bit patterns.

    >>> hex(to_bf16(np.array([1.0], dtype=np.float32))[0])
    '0x3f80'
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Widen bfloat16 bit patterns to float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def encode(name: str, values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Bring `values` to the store's dtype.

    Parameters
    ----------
    name : str
        Tensor name, for messages.
    values : (rows, width) array
        float32, or already as stored (uint16 bit patterns for ``BF16``, float16 for ``F16``).
    dtype : str
        ``BF16``, ``F16`` or ``F32``.

    Returns
    -------
    (rows, width) contiguous array
        uint16, float16 or float32.

    Raises
    ------
    NumericalError
        When a value is not finite, or leaves the range of the dtype; names row and column.
    UsageError
        When the array's type cannot be stored as `dtype`.
    """
    stored = _KINDS[dtype]
    if values.dtype == stored and dtype != "F32":
        encoded = np.ascontiguousarray(values)
    elif values.dtype == np.float32:
        _need_finite(name, np.isfinite(values))
        with np.errstate(over="ignore"):
            encoded = to_bf16(values) if dtype == "BF16" else values.astype(stored, order="C")
    else:
        raise UsageError(f"{name}: an array of {values.dtype} cannot be stored as {dtype}")
    finite = (encoded & _EXPONENT) != _EXPONENT if dtype == "BF16" else np.isfinite(encoded)
    _need_finite(name, finite)
    return encoded


def _need_finite(name: str, finite: NDArray[np.bool_]) -> None:
    if finite.all():
        return
    row, column = (int(i) for i in np.argwhere(~finite)[0])
    raise NumericalError(
        f"{name}: row {row}, column {column} is not finite or too large for the store's dtype",
        hint="run the model in float32 or bfloat16, or store as f32",
    )

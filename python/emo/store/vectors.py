"""One-dimensional weights of a checkpoint: gains of norms, biases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo import _core
from emo.errors import ModelError, ResourceError
from emo.store.encode import from_bf16

_STORED = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}


def read_vector(path: Path, name: str) -> NDArray[np.float64]:
    """Read a vector of a safetensors file.

    Parameters
    ----------
    path : Path
    name : str
        A BF16, F16 or F32 tensor with one dimension.

    Returns
    -------
    (n,) float64 array
        Exact copies of the stored values.

    Raises
    ------
    ArtifactError
        When the file is damaged.
    ModelError
        When it does not hold such a tensor.
    """
    for tensor, dtype, shape, begin, end in _core.inspect_shard(str(path)):
        if tensor == name and dtype in _STORED and len(shape) == 1:
            values = np.frombuffer(_read(path, begin, end), _STORED[dtype])
            wide = from_bf16(values) if dtype == "BF16" else values
            return wide.astype(np.float64)
    raise ModelError(
        f"{path} holds no float vector {name!r}",
        hint="is it the whole checkpoint of this architecture?",
    )


def _read(path: Path, begin: int, end: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(begin)
            return file.read(end - begin)
    except OSError as error:
        raise ResourceError.of("read", path, error) from None

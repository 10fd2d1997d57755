"""Native kernels of `emo`: arrays in, small arrays out.

Signatures and summaries; ``help(emo._core)`` and that of each function tell the rest.
"""

from collections.abc import Sequence
from os import PathLike
from typing import TypedDict, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "InternalError",
    "build_info",
    "cross_moments",
    "dissimilarity",
    "gram_product",
    "gram_product_array",
    "grouped_contributions",
    "hash_file",
    "inspect_shard",
    "moments",
    "project",
    "read_rows",
    "rsa",
    "rsa_grid",
    "permutations",
    "subspace_overlaps",
    "verify_shard",
    "weight_product",
    "write_shard",
]

class InternalError(RuntimeError):
    """A bug of the native core; please report it."""

@final
class _Moments(TypedDict):
    count: NDArray[np.uint64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    positive: NDArray[np.uint64]
    negative: NDArray[np.uint64]

@final
class _Rsa(TypedDict):
    r: float
    p: float
    permutations: int
    exact: bool
    exceeding: int
    ties: int
    null_mean: float
    null_max: float

@final
class _RsaGrid(TypedDict):
    r: NDArray[np.float64]
    p: NDArray[np.float64]
    p_family: NDArray[np.float64]
    null_max: NDArray[np.float64]
    exceeding: NDArray[np.uint64]
    permutations: int
    exact: bool

@final
class _Written(TypedDict):
    bytes: int
    blake3: str
    chunks: dict[str, list[str]]

@final
class _BuildInfo(TypedDict):
    version: str
    simd: str
    tiers: list[str]
    profile: str

def inspect_shard(path: str | PathLike[str]) -> list[tuple[str, str, list[int], int, int]]:
    """List the tensors of a safetensors file in the order of their bytes."""

def write_shard(
    path: str | PathLike[str], tensors: Sequence[tuple[str, str, NDArray[np.generic]]]
) -> _Written:
    """Write a safetensors file that appears whole or not at all."""

def verify_shard(path: str | PathLike[str], blake3: str) -> None:
    """Check the header and the blake3 of a whole shard."""

def hash_file(path: str | PathLike[str]) -> str:
    """Blake3 of a file, 64 hexadecimal digits."""

def read_rows(
    path: str | PathLike[str],
    tensor: str,
    start: int,
    stop: int,
    *,
    chunks: Sequence[str] | None = None,
) -> NDArray[np.float32]:
    """Read rows `start` to `stop` of a BF16, F16 or F32 matrix as single precision."""

def moments(
    shards: Sequence[str | PathLike[str]],
    tensor: str,
    labels: NDArray[np.int32],
    n_labels: int,
    *,
    threads: int = 0,
    io: str = "auto",
    chunks: Sequence[Sequence[str]] | None = None,
) -> _Moments:
    """Count, mean, M2 and signs of every column, for the rows of each label."""

def grouped_contributions(
    shards: Sequence[str | PathLike[str]],
    tensor: str,
    labels: NDArray[np.int32],
    n_labels: int,
    weights: NDArray[np.float64],
    group_width: int,
    *,
    scales: NDArray[np.float64] | None = None,
    threads: int = 0,
    io: str = "auto",
    chunks: Sequence[Sequence[str]] | None = None,
) -> _Moments:
    """Moments of the contributions of groups of columns to directions."""

def weight_product(
    path: str | PathLike[str],
    tensor: str,
    directions: NDArray[np.float64],
    *,
    transposed: bool,
    threads: int = 0,
) -> NDArray[np.float64]:
    """Pull directions back through an output projection: ``beta = v @ W``."""

def project(
    shards: Sequence[str | PathLike[str]],
    tensor: str,
    vectors: NDArray[np.float64],
    *,
    threads: int = 0,
    io: str = "auto",
    chunks: Sequence[Sequence[str]] | None = None,
) -> NDArray[np.float32]:
    """Project every row on vectors: ``out[n, k] = <x[n], vectors[k]>``."""

def build_info() -> _BuildInfo:
    """Version, instruction set, all sets of this processor and profile of this module."""

# ---- Alignment ---------------------------------------------------------------------------------

@final
class _CrossMoments(TypedDict):
    count: NDArray[np.uint64]
    mean_x: NDArray[np.float64]
    mean_y: NDArray[np.float64]
    xx: NDArray[np.float64]
    yy: NDArray[np.float64]
    xy: NDArray[np.float64]

def cross_moments(
    shards_x: Sequence[str | PathLike[str]],
    tensor_x: str,
    shards_y: Sequence[str | PathLike[str]],
    tensor_y: str,
    labels: NDArray[np.int32],
    n_labels: int,
    *,
    threads: int = 0,
    io: str = "auto",
    chunks_x: Sequence[Sequence[str]] | None = None,
    chunks_y: Sequence[Sequence[str]] | None = None,
) -> _CrossMoments:
    """Means and centred cross-products of two tensors whose rows belong together."""

# ---- Permutation tests of representational similarity ----------------------------------------

def dissimilarity(
    vectors: NDArray[np.float64], metric: str, *, threads: int = 0
) -> NDArray[np.float64]:
    """Dissimilarities of all pairs of rows."""

def permutations(n: int, count: int, seed: int, *, stream: int = 0) -> NDArray[np.uint32]:
    """Draw random permutations: those that `rsa` and `rsa_grid` use are of stream 0."""

def rsa(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    correlation: str,
    permutations: int,
    exact: bool,
    two_sided: bool,
    seed: int,
    threads: int = 0,
) -> _Rsa:
    """Correlate the upper triangles of two dissimilarity matrices; permute the conditions of `y`."""

def rsa_grid(
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    n: int,
    *,
    correlation: str,
    permutations: int,
    exact: bool,
    two_sided: bool,
    seed: int,
    threads: int = 0,
) -> _RsaGrid:
    """Test all pairs of two lists of dissimilarity matrices with the same permutations."""

# ---- subspaces -------------------------------------------------------------------------------

@final
class _Overlaps(TypedDict):
    overlap: NDArray[np.float64]
    bases: NDArray[np.float64]
    ranks: NDArray[np.int64]

def subspace_overlaps(
    sets: Sequence[NDArray[np.float32] | NDArray[np.float64]],
    tolerances: Sequence[float],
    *,
    double: bool,
    bases: bool,
    threads: int = 0,
) -> _Overlaps:
    """Overlap of the row spans of every pair of sets: ``|U_i U_j^T|_F^2 / min(k_i, k_j)``."""

# ---- principal components --------------------------------------------------------------------

@final
class _Pass(TypedDict):
    product: NDArray[np.float64]
    sum: NDArray[np.float64]
    square: NDArray[np.float64]
    count: int
    repeated: int

def gram_product(
    shards: Sequence[str | PathLike[str]],
    tensor: str,
    labels: NDArray[np.int32],
    pilot: NDArray[np.float64],
    vectors: NDArray[np.float64],
    *,
    columns: bool = True,
    threads: int = 0,
    io: str = "auto",
    chunks: Sequence[Sequence[str]] | None = None,
) -> _Pass:
    """Multiply vectors by the Gram matrix of a tensor's rows less a pilot, in one pass."""

def gram_product_array(
    x: NDArray[np.float32] | NDArray[np.float64],
    pilot: NDArray[np.float64],
    vectors: NDArray[np.float64],
    *,
    columns: bool = True,
    threads: int = 0,
) -> _Pass:
    """Multiply vectors by the Gram matrix of an array's rows less a pilot, in one pass."""

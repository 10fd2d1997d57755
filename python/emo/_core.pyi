"""Native kernels of `emo`: arrays in, small arrays out.

Rows of a tensor are counted over all `shards` in the given order and cut into fixed tiles, whose
partial results are merged in order: the number of threads, the split into shards, the way of
reading and the instruction set (environment variable ``EMO_SIMD``: ``scalar``, ``avx2``,
``avx512``) leave the same bits. Array arguments must be C-contiguous and of the stated dtype; they
are used in place, without a copy. Every call releases the interpreter and ends within 0.2 s of
Ctrl-C.

Common arguments
----------------
threads : int
    Number of threads; 0 takes ``EMO_NUM_THREADS``, or what affinity and control group allow.
io : {"auto", "mmap", "pread"}
    Map the shards or read them by position.
chunks : list of list of str, optional
    Recorded xxh3 of each 8 MiB chunk of the tensor, one list per shard; checked in passing.
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
    "rsa_permutations",
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
    """List the tensors of a safetensors file in the order of their bytes.

    The header is read strictly: no duplicate keys, plain names, checked products, bounded rank and
    size, and tensors that cover the data exactly.

    Returns
    -------
    list of (name, dtype, shape, begin, end)
        `dtype` as in the file (``"BF16"``); `begin` and `end` are absolute byte offsets.

    Raises
    ------
    ArtifactError
        The file is missing, truncated, or breaks one of the rules.
    """

def write_shard(
    path: str | PathLike[str], tensors: Sequence[tuple[str, str, NDArray[np.generic]]]
) -> _Written:
    """Write a safetensors file that appears whole or not at all.

    The header is padded so that the data begin at byte 4096 (or a multiple). The file is written
    under a passing name, hashed meanwhile, flushed, linked to `path` and the folder flushed.

    Parameters
    ----------
    path : path
        Where it will appear; a file that is there already is never replaced.
    tensors : sequence of (name, dtype, array)
        Written in this order. `dtype` is ``"BF16"`` (uint16 bit patterns), ``"F16"`` (float16 or
        uint16), ``"F32"`` (float32) or ``"I64"`` (int64).

    Returns
    -------
    dict
        `bytes` of the file, its `blake3`, and `chunks`: the xxh3 of every 8 MiB of each tensor.

    Raises
    ------
    UsageError
        A name, dtype, array or shape that cannot be written.
    ResourceError
        The file exists, or the disk or the permissions do not allow it.
    """

def verify_shard(path: str | PathLike[str], blake3: str) -> None:
    """Check the header and the blake3 of a whole shard.

    Raises
    ------
    ArtifactError
        The file is missing, its header is bad, or its hash is another one.
    """

def hash_file(path: str | PathLike[str]) -> str:
    """Blake3 of a file, 64 hexadecimal digits.

    Raises
    ------
    ArtifactError
        The file is missing or is no regular file.
    ResourceError
        It cannot be read.
    """

def read_rows(
    path: str | PathLike[str],
    tensor: str,
    start: int,
    stop: int,
    *,
    chunks: Sequence[str] | None = None,
) -> NDArray[np.float32]:
    """Read rows `start` to `stop` of a BF16, F16 or F32 matrix as single precision.

    Parameters
    ----------
    chunks : sequence of str, optional
        Recorded xxh3 of each 8 MiB of the tensor; those that hold a byte of the rows are compared.

    Returns
    -------
    (stop - start, width) float32 array
        Exact copies of the stored values.

    Raises
    ------
    ArtifactError
        The file or the tensor is missing, damaged or not a floating matrix, or a chunk differs.
    UsageError
        Rows beyond the end.
    """

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
    """Count, mean, M2 and signs of every column, for the rows of each label.

    ``mean = sum x / n``, ``m2 = sum (x - mean)^2``. Single-precision partial sums around a pilot
    over at most 64 rows, double precision from there on: the relative error of `m2` stays below
    1e-6 for data like normal noise around any mean.

    Parameters
    ----------
    shards : sequence of paths
        Files that hold `tensor`, in row order.
    tensor : str
        Name of a BF16, F16 or F32 matrix, the same width and dtype everywhere.
    labels : (n,) int32 array
        Label of each row over all shards; -1 leaves the row out.
    n_labels : int
        Number of labels; larger than every label.

    Returns
    -------
    dict
        `count` (n_labels,); `mean`, `m2`, `positive` (rows above zero) and `negative` (rows below
        zero), each (n_labels, width). A label without rows has zeros.

    Raises
    ------
    ArtifactError
        A shard is missing, damaged, truncated meanwhile, or fails a recorded chunk hash.
    NumericalError
        A used row holds a value that is not finite; the message names row and column.
    UsageError
        Labels or options that do not fit.
    """

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
    """Moments of the contributions of groups of columns to directions.

    ``c[n, k, g] = sum of x[n, j] * weights[k, j] over the columns j of group g``. Positive means
    that the group pushes towards direction k when `weights` is the direction pulled back through
    the output projection (`weight_product`).

    Parameters
    ----------
    shards, tensor, labels, n_labels
        As in `moments`.
    weights : (k, width) float64 array
        One row per direction.
    group_width : int
        Neighbouring columns of a group: 1 for neurons, the head width for heads.
    scales : (n,) float64 array, optional
        Multiplies every c[n]: the frozen factor of a norm that follows the projection.

    Returns
    -------
    dict
        As `moments`; `count` (n_labels,), the other arrays (n_labels, k, width // group_width).

    Raises
    ------
    ArtifactError, NumericalError, UsageError
        As `moments`; also when `group_width` does not divide the width.
    """

def weight_product(
    path: str | PathLike[str],
    tensor: str,
    directions: NDArray[np.float64],
    *,
    transposed: bool,
    threads: int = 0,
) -> NDArray[np.float64]:
    """Pull directions back through an output projection: ``beta = v @ W``.

    Parameters
    ----------
    path : path
        A safetensors file of the checkpoint.
    tensor : str
        W as (d, m), `nn.Linear`; or as (m, d) when `transposed`, GPT-2's `Conv1D`.
    directions : (k, d) float64 array
        One direction per row.
    transposed : bool
        Whether W is stored as (m, d).

    Returns
    -------
    (k, m) float64 array
        Weight of each of the m inputs for each direction.

    Raises
    ------
    ArtifactError, NumericalError, UsageError
        As `moments`.
    """

def project(
    shards: Sequence[str | PathLike[str]],
    tensor: str,
    vectors: NDArray[np.float64],
    *,
    threads: int = 0,
    io: str = "auto",
    chunks: Sequence[Sequence[str]] | None = None,
) -> NDArray[np.float32]:
    """Project every row on vectors: ``out[n, k] = <x[n], vectors[k]>``.

    Sums are taken in double precision and rounded once.

    Parameters
    ----------
    shards, tensor
        As in `moments`.
    vectors : (k, width) float64 array
        One vector per row.

    Returns
    -------
    (n, k) float32 array
        Rows over all shards.

    Raises
    ------
    ArtifactError, NumericalError, UsageError
        As `moments`.
    """

def build_info() -> _BuildInfo:
    """Version, instruction set, all sets of this processor and profile of this module.

    Returns
    -------
    dict
        `version`; `simd`, the one in use, and `tiers`, all that ``EMO_SIMD`` may name here; and
        `profile`, ``release`` or ``debug``.

    Raises
    ------
    UsageError
        ``EMO_SIMD`` names instructions that this processor lacks.
    """

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
    """Means and centred cross-products of two tensors whose rows belong together.

    For the rows of each label, with x and y relative to the label's means:
    ``xx = X^T X``, ``yy = Y^T Y``, ``xy = X^T Y``, summed in double precision in a fixed order.
    Memory is that of the result and does not grow with the number of rows.

    Parameters
    ----------
    shards_x, tensor_x, shards_y, tensor_y
        As in `moments`, for each of the two; row i of one belongs to row i of the other, wherever
        either is cut into shards.
    labels : (n,) int32 array
        Label of each pair; -1 leaves it out.
    n_labels : int
        Number of labels; larger than every label.
    chunks_x, chunks_y : list of list of str, optional
        As `chunks`, for each of the two.

    Returns
    -------
    dict
        `count` (n_labels,), `mean_x` (n_labels, dx), `mean_y` (n_labels, dy), `xx`
        (n_labels, dx, dx), `yy` (n_labels, dy, dy), `xy` (n_labels, dx, dy). A label without rows
        has zeros.

    Raises
    ------
    ArtifactError, NumericalError
        As `moments`.
    UsageError
        Labels or options that do not fit, or another number of rows.
    """

# ---- Permutation tests of representational similarity ----------------------------------------

def dissimilarity(
    vectors: NDArray[np.float64], metric: str, *, threads: int = 0
) -> NDArray[np.float64]:
    """Dissimilarities of all pairs of rows.

    Parameters
    ----------
    vectors : (n, d) float64 array
    metric : {"cosine", "correlation", "euclidean"}

    Returns
    -------
    (n, n) float64 array
        Symmetric, zeros on the diagonal; the same bits for any threads and instructions.

    Raises
    ------
    NumericalError
        A value is not finite, or a row is zero (cosine) or constant (correlation).
    UsageError
        An unknown metric, or no columns.
    """

def rsa_permutations(n: int, count: int, seed: int, *, stream: int = 0) -> NDArray[np.uint16]:
    """Draw the random permutations that `rsa` and `rsa_grid` use, as (count, n) places.

    Permutation i uses the words w of ``numpy.random.Philox(key=seed, counter=[0, stream, i, 0])``.
    For bound = n, n - 1, ... 2 the places bound - 1 and ``w * bound >> 64`` are exchanged, and w
    becomes ``w * bound % 2**64``. The longest runs of bounds whose product P is at most 2**40 share
    one w; where what is left of it is below ``2**64 % P``, the run is drawn again with the next.
    """

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
    """Correlate the upper triangles of two dissimilarity matrices; permute the conditions of `y`.

    Parameters
    ----------
    x, y : (n, n) float64 arrays
        4 <= n <= 2048.
    correlation : {"pearson", "spearman"}
        Pearson correlations within 1e-10 are ties; Spearman is exact in integers.
    permutations : int
        Random permutations; all n! are taken when that is not more.
    exact : bool
        Take all n!, n <= 12.
    two_sided : bool
        Count correlations by their size.
    seed : int
        0 to 2**64 - 1, see `rsa_permutations`.

    Returns
    -------
    dict
        `r`; `p` = (exceeding + 1) / (permutations + 1), or exceeding / n! when exact; `exceeding`,
        and `ties` among them, both with the identity when exact; `null_mean` (within 1e-3, some
        1e-6 in practice; exact for Spearman with few conditions) and `null_max`, both without it.

    Raises
    ------
    NumericalError
        Fewer than 4 conditions, values that are not finite, or that are all equal.
    UsageError
        Options or shapes that do not fit, or too many conditions.
    """

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
    """Test all pairs of two lists of dissimilarity matrices with the same permutations.

    Parameters
    ----------
    xs, ys : (a, n * n) and (b, n * n) float64 arrays
        One flat matrix per row.
    n : int
        Conditions.
    correlation, permutations, exact, two_sided, seed
        As in `rsa`, whose `r`, `p`, `exceeding` and `null_max` each pair gets.

    Returns
    -------
    dict
        Arrays (a, b); `p_family` is p against the largest correlation over all pairs.

    Raises
    ------
    NumericalError, UsageError
        As `rsa`.
    """

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
    """Overlap of the row spans of every pair of sets: ``|U_i U_j^T|_F^2 / min(k_i, k_j)``.

    Bases are made by Cholesky-QR2; where rows are nearly dependent a Householder QR with column
    pivoting finds the rank.

    Parameters
    ----------
    sets : m arrays (n_i, d) of float32 or float64
        Vectors in the rows.
    tolerances : m floats
        For each set the length below which a unit row, less what the others explain of it, counts
        as dependent.
    double : bool
        Sum in double precision throughout; otherwise in single precision over 128 columns and in
        double precision from there on, so that an overlap errs by less than 1e-6.
    bases : bool
        Give the bases as well.

    Returns
    -------
    dict
        ``overlap`` (m, m), symmetric, at most 1; ``ranks`` (m,); ``bases`` (sum of ranks, d), one
        set below the other, or (0, d).

    Raises
    ------
    NumericalError
        A value is not finite, named by set, row and column, or a set spans nothing.
    UsageError
        An array of another dtype, layout or width.
    """

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
    threads: int = 0,
    io: str = "auto",
    chunks: Sequence[Sequence[str]] | None = None,
) -> _Pass:
    """Multiply vectors by the Gram matrix of a tensor's rows less a pilot, in one pass.

    ``product[k] = sum_n (x[n] - pilot) <x[n] - pilot, vectors[k]>``, in single precision over at
    most 64 rows or 256 columns and in double precision from there on.

    Parameters
    ----------
    shards, tensor
        As in `moments`.
    labels : (n,) int32 array
        0 for rows that count, -1 for those left out.
    pilot : (1, width) float64 array
        Subtracted from every row; close to the mean.
    vectors : (k, width) float64 array
        One vector per row, at least one.

    Returns
    -------
    dict
        ``product`` (k, width); ``sum`` and ``square`` (width,), of the rows less the pilot;
        ``count`` of rows, and how many are ``repeated``: their products with the first vectors
        equal an earlier row's to the bit.

    Raises
    ------
    ArtifactError, NumericalError, UsageError
        As `moments`.
    """

def gram_product_array(
    x: NDArray[np.float32] | NDArray[np.float64],
    pilot: NDArray[np.float64],
    vectors: NDArray[np.float64],
    *,
    threads: int = 0,
) -> _Pass:
    """Do the same for an array in memory.

    Parameters
    ----------
    x : (n, width) float32 or float64 array
        Rows, all used.
    pilot, vectors
        As in `gram_product`.

    Returns
    -------
    dict
        As from `gram_product`.

    Raises
    ------
    NumericalError, UsageError
        As `gram_product`.
    """

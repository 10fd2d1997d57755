"""Principal components of vectors or of a store's rows, beside the level that chance reaches.

A seeded random block is multiplied by the rows' covariance, one pass over the rows for each
product, and the components are those of the covariance within the span of all blocks so far
(randomised block Krylov iteration; Musco and Musco, 2015). Each pass shrinks what the components
miss by about the same factor; passes end when the next would add less than 1e-4 of their variance,
or when the blocks span everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo import _core
from emo.errors import NumericalError, UsageError
from emo.geometry.subspace import as_vectors, check_dimensions
from emo.sites import Site, tensor_name
from emo.store import Store

OVERSAMPLING = 14
MAX_PASSES = 12
_GROWTH = 1e-4
_PILOT_ROWS = 32
# Products are summed in single precision: what is smaller than this share of the largest variance
# is rounding.
_FLOOR = 1e-6
Multiply: TypeAlias = "Callable[[NDArray[np.float64], NDArray[np.float64], bool], _core._Pass]"


@dataclass(frozen=True)
class Pca:
    """Principal components.

    Parameters
    ----------
    mean : (d,) float64 array
        Mean of the rows.
    components : (k, d) float64 array
        Orthonormal directions of largest variance, largest first; in each the entry of largest
        size is positive.
    variances : (k,) float64 array
        Variance along each component, over n - 1; components below 1e-6 of the first are left out.
    explained : (k,) float64 array
        Shares of the total variance.
    null : float
        Share of the first component that independent columns with these variances reach: the
        upper edge of their generalised Marchenko-Pastur law, over the total variance.
    n, d : int
        Rows and columns.
    seed : int
        Seed of the random start.
    warnings : tuple of str
        What makes the numbers unsound.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    variances: NDArray[np.float64]
    explained: NDArray[np.float64]
    null: float
    n: int
    d: int
    seed: int
    warnings: tuple[str, ...]


def pca(x: ArrayLike, k: int, *, seed: int = 0, threads: int = 0) -> Pca:
    """Compute the k leading principal components of the rows of an array.

    Parameters
    ----------
    x : (n, d) float array
        Samples in the rows; centred here.
    k : int
        Components, at least 1.
    seed : int
        Seed of the random start.
    threads : int
        Native threads, 0 for all there are.

    Returns
    -------
    Pca
        With fewer than `k` components, and a warning, where the rows span fewer.

    Raises
    ------
    NumericalError
        When there are fewer than 2 rows, all rows are equal, or a value is not finite.
    UsageError
        When `x` is no matrix, or `k` is below 1.
    """
    rows = as_vectors(x, "x")
    check_dimensions(k)
    _check_rows(len(rows))

    def multiply(
        pilot: NDArray[np.float64], block: NDArray[np.float64], columns: bool
    ) -> _core._Pass:
        return _core.gram_product_array(rows, pilot[None], block, columns=columns, threads=threads)

    return _components(multiply, _pilot(rows[:_PILOT_ROWS]), k, seed)


def pca_store(
    store: Store,
    site: Site | str,
    position: str,
    k: int,
    *,
    rows: NDArray[np.int64] | NDArray[np.bool_] | None = None,
    seed: int = 0,
    threads: int = 0,
) -> Pca:
    """Compute the k leading principal components of the rows of one tensor of a store.

    Parameters
    ----------
    store : Store
    site, position
        The tensor.
    k : int
        Components, at least 1.
    rows : (n_used,) int array or (n_rows,) bool array, optional
        Rows that count; all when None.
    seed : int
        Seed of the random start.
    threads : int
        Native threads, 0 for all there are; the shards' split and the threads change no bit.

    Returns
    -------
    Pca

    Raises
    ------
    ArtifactError
        When a shard is damaged.
    NumericalError
        When there are fewer than 2 rows, all rows are equal, or a value is not finite.
    UsageError
        When the store lacks the tensor or a row, or `k` is below 1.
    """
    site = store.site(site)
    check_dimensions(k)
    used = used_rows(rows, store.n_rows(position))
    _check_rows(int(used.sum()))
    first = int(used.argmax())
    head = store.read(site, position, first, min(first + _PILOT_ROWS, len(used)))
    labels = np.where(used, 0, -1).astype(np.int32)
    shards, chunks = store.shards(site, position), store.chunk_hashes(site, position)
    name = tensor_name(site, position)

    def multiply(
        pilot: NDArray[np.float64], block: NDArray[np.float64], columns: bool
    ) -> _core._Pass:
        return _core.gram_product(
            shards, name, labels, pilot[None], block,
            columns=columns, threads=threads, io=store.io, chunks=chunks,
        )  # fmt: skip

    return _components(multiply, _pilot(head[used[first : first + len(head)]]), k, seed)


def used_rows(rows: NDArray[np.int64] | NDArray[np.bool_] | None, n: int) -> NDArray[np.bool_]:
    """Give chosen rows as a mask over n rows.

    Raises
    ------
    UsageError
        When an index or the mask's length does not fit, or an index is repeated.
    """
    if rows is None:
        return np.ones(n, bool)
    chosen = np.asarray(rows)
    if chosen.dtype == np.bool_ and chosen.shape == (n,):
        return chosen.astype(np.bool_)
    fits = chosen.dtype.kind in "iu" and chosen.ndim == 1
    if not fits or chosen.min(initial=0) < 0 or chosen.max(initial=-1) >= n:
        raise UsageError(f"rows must be a mask of {n} rows or indices below {n}")
    mask = np.zeros(n, bool)
    mask[chosen] = True
    if mask.sum() != len(chosen):
        raise UsageError("rows names a row twice")
    return mask


def independent_edge(columns: NDArray[np.float64], n: int) -> float:
    """Largest variance of a component that n rows of independent columns reach.

    For columns of variances s_j the largest eigenvalue of the sample covariance tends to the
    smallest f(a) = a + a/(n - 1) * sum_j s_j / (a - s_j) over a > max(s), the upper edge of the
    generalised Marchenko-Pastur law (Silverstein and Choi, 1995); with equal variances it is
    s (1 + sqrt(d / (n - 1)))^2. A column s_1 that stands out from that edge of the others
    has the eigenvalue f(s_1) of the others. Shuffling each column on its own gives this level.

    Parameters
    ----------
    columns : (d,) float64 array
        Variance of each column, the largest above 0.
    n : int
        Rows, at least 2.

    Returns
    -------
    float
    """
    ordered = np.sort(columns) / columns.max()
    s, low = ordered[:-1], 1.0
    high = 1 + np.sqrt((s * s).sum() / (n - 1))
    # The derivative 1 - sum s_j^2 / (a - s_j)^2 / (n - 1) grows with a: bisect its sign.
    for _ in range(60):
        middle = (low + high) / 2
        gap = np.maximum(middle - s, np.finfo(float).tiny)
        low, high = (middle, high) if ((s / gap) ** 2).sum() > n - 1 else (low, middle)
    noise = (s / np.maximum(high - s, np.finfo(float).eps)).sum() / (n - 1)
    return float(columns.max() * high * (1 + noise))


def _check_rows(n: int) -> None:
    if n < 2:
        raise NumericalError(f"{n} rows have no variance", hint="at least 2 rows are needed")


def _pilot(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Mean of a few rows; the passes name what is not finite."""
    with np.errstate(all="ignore"):
        return np.asarray(np.nan_to_num(rows.mean(0, dtype=np.float64), posinf=0, neginf=0))


def _components(multiply: Multiply, pilot: NDArray[np.float64], k: int, seed: int) -> Pca:
    """Iterate over passes `multiply(pilot, block, columns)`; the first gives mean and variances."""
    d = len(pilot)
    width = min(-(-(k + OVERSAMPLING) // 8) * 8, d)
    rng = np.random.Generator(np.random.Philox(seed))
    block = np.ascontiguousarray(np.linalg.qr(rng.standard_normal((d, width)))[0].T)
    first = multiply(pilot, block, True)
    n = int(first["count"])
    shift = first["sum"] / n
    mean = pilot + shift
    columns = np.maximum(first["square"] / n - shift**2, 0) * (n / (n - 1))
    product = first["product"] - np.outer(n * (block @ shift), shift)
    basis, small = block, np.empty((0, 0))
    held: list[float] = []
    while True:
        image = product / (n - 1)
        across = basis @ image.T
        small = _bordered(small, across)
        values = np.maximum(np.linalg.eigvalsh(small)[::-1][:k], 0)
        held.append(float(values.sum()))
        if len(held) == MAX_PASSES or _next_growth(held) < _GROWTH * held[-1]:
            break
        block = _new_directions(basis, image - across.T @ basis, float(values[0]))
        if len(block) == 0:
            break
        product = multiply(mean, block, False)["product"]
        basis = np.vstack([basis, block])
    values, vectors = np.linalg.eigh(small)
    found = values[::-1][:k]
    kept = found > _FLOOR * found.max(initial=0.0)
    return _finish(
        mean=mean,
        components=(vectors[:, ::-1][:, :k].T @ basis)[kept],
        variances=found[kept],
        columns=columns,
        n=n,
        k=k,
        seed=seed,
        repeated=int(first["repeated"]),
    )


def _bordered(small: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance within the span of the old blocks, and with a new one in the last columns."""
    old = len(small)
    corner = (across[old:] + across[old:].T) / 2
    return np.block([[small, across[:old]], [across[:old].T, corner]])


def _next_growth(held: list[float]) -> float:
    """Variance that the next pass will add, if it shrinks as it did in the last ones."""
    if len(held) < 3:
        return np.inf
    before, last = held[-2] - held[-3], held[-1] - held[-2]
    return last * min(last / before, 1.0) if before > 0 else 0.0


def _new_directions(
    basis: NDArray[np.float64], rest: NDArray[np.float64], largest: float
) -> NDArray[np.float64]:
    """Orthonormal rows for what the basis leaves of an image, above the rounding of its sums."""
    squares, turns = np.linalg.eigh(rest @ rest.T)
    sizes = np.sqrt(np.maximum(squares[::-1], 0))
    kept = int((sizes > _FLOOR * largest).sum())
    kept = min(kept, basis.shape[1] - len(basis))
    fresh = (turns[:, ::-1][:, :kept] / sizes[:kept]).T @ rest
    # Once more, since what is left of a nearly invariant block is mostly rounding.
    fresh -= (fresh @ basis.T) @ basis
    return np.ascontiguousarray(np.linalg.qr(fresh.T)[0].T)


def _finish(
    *,
    mean: NDArray[np.float64],
    components: NDArray[np.float64],
    variances: NDArray[np.float64],
    columns: NDArray[np.float64],
    n: int,
    k: int,
    seed: int,
    repeated: int,
) -> Pca:
    total = float(columns.sum())
    # Equal rows less their mean leave its rounding at most.
    if not total > 1e-28 * float(mean @ mean) or len(variances) == 0:
        raise NumericalError(
            f"all {n} rows are equal, they have no principal component",
            hint="check that the rows come from different samples",
        )
    largest = np.abs(components).argmax(1)
    signs = np.sign(components[np.arange(len(components)), largest])
    null = min(independent_edge(columns, n) / total, 1.0)
    explained = np.minimum(variances / total, 1.0)
    warnings = []
    if len(variances) < k:
        warnings.append(
            f"{n} rows of {len(mean)} columns hold {len(variances)} components, not {k}"
        )
    if n <= k:
        warnings.append(f"{n} rows for {k} components: they fit any rows exactly")
    if repeated:
        warnings.append(f"{repeated} of {n} rows repeat an earlier row")
    if explained[0] <= null:
        warnings.append(
            f"the first component explains {explained[0]:.3f}, independent columns reach {null:.3f}"
        )
    return Pca(
        mean=mean,
        components=components * signs[:, None],
        variances=variances,
        explained=explained,
        null=null,
        n=n,
        d=len(mean),
        seed=seed,
        warnings=tuple(warnings),
    )

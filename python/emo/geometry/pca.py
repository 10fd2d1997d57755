"""Principal components of vectors or of a store's rows, beside the level that chance reaches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emo import _core
from emo.errors import NumericalError, UsageError
from emo.geometry.krylov import Leading, leading
from emo.geometry.subspace import as_vectors, check_dimensions
from emo.sites import Site, tensor_name
from emo.store import Store

SAMPLE = 2048
_SHARE = 8
_RUN = 32


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

    sample = np.concatenate([rows[start : start + _RUN] for start in _runs(len(rows))])
    return _finish(leading(multiply, sample, k, seed, threads), k, seed)


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

    sample = _sample(store, site, position, np.flatnonzero(used))
    return _finish(leading(multiply, sample, k, seed, threads), k, seed)


def _runs(n: int) -> Iterator[int]:
    """First rows of the runs that a sample of n rows is made of."""
    count = max(min(SAMPLE, n // _SHARE) // _RUN, 1)
    return map(int, np.linspace(0, max(n - _RUN, 0), count))


def _sample(
    store: Store, site: Site, position: str, used: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Read some of the used rows from all over the store, unchecked: the passes check them all."""
    parts = []
    for start in _runs(len(used)):
        run = used[start : start + _RUN]
        run = run[run < run[0] + _SHARE * _RUN]
        rows = store.read(site, position, int(run[0]), int(run[-1]) + 1, check=False)
        parts.append(rows[run - run[0]])
    return np.concatenate(parts)


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


def _finish(found: Leading, k: int, seed: int) -> Pca:
    n, mean, columns = found.n, found.mean, found.columns
    components, variances = found.vectors, found.variances
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
    if found.repeated:
        warnings.append(f"{found.repeated} of {n} rows repeat an earlier row")
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

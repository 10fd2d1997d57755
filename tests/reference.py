"""Plain numpy twins of the native kernels, and the stored formats in a few lines."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo import _core

Array = NDArray[Any]


def to_bits(values: Array, dtype: str) -> Array:
    """Array as it is stored: bit patterns for BF16 (round to nearest even)."""
    single = np.ascontiguousarray(values, np.float32)
    if dtype == "BF16":
        bits = single.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return single.astype({"F16": np.float16, "F32": np.float32}[dtype])


def from_bits(stored: Array, dtype: str) -> Array:
    """Exact double-precision values of a stored array."""
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return stored.astype(np.float64)


def moments(values: Array, labels: Array, n_labels: int) -> dict[str, Array]:
    """Count, mean, M2 and signs of each column for the rows of each label, in two passes."""
    shape = (n_labels, *values.shape[1:])
    out: dict[str, Array] = {
        "count": np.zeros(n_labels, np.uint64),
        "mean": np.zeros(shape),
        "m2": np.zeros(shape),
        "positive": np.zeros(shape, np.uint64),
        "negative": np.zeros(shape, np.uint64),
    }
    for label in range(n_labels):
        rows = values[labels == label]
        out["count"][label] = len(rows)
        if len(rows):
            out["mean"][label] = rows.mean(0)
            out["m2"][label] = ((rows - rows.mean(0)) ** 2).sum(0)
            out["positive"][label] = (rows > 0).sum(0)
            out["negative"][label] = (rows < 0).sum(0)
    return out


def contributions(values: Array, weights: Array, group_width: int) -> Array:
    """Contribution of each group of columns to each direction, (n, k, groups)."""
    products = values[:, None, :] * weights[None]
    return products.reshape(len(values), len(weights), -1, group_width).sum(-1)


def project(values: Array, vectors: Array) -> Array:
    """Dot product of every row with every vector, (n, k)."""
    dots = [(row * vector).sum() for row in values for vector in vectors]
    return np.array(dots).reshape(len(values), len(vectors))


def weight_product(weight: Array, directions: Array, transposed: bool) -> Array:
    """Directions pulled back through W (d, m), or stored as (m, d): ``v @ W``."""
    columns = weight if transposed else weight.T
    return project(columns, directions).T


def read_rows(stored: Array, dtype: str, start: int, stop: int) -> Array:
    """Rows of a stored array in single precision."""
    return from_bits(stored[start:stop], dtype).astype(np.float32)


def raw_shard(path: Path, header: Mapping[str, Any] | bytes, data: bytes) -> Path:
    """Write a safetensors file byte by byte, without any check."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def write_store(
    folder: Path, values: Array, dtype: str, cuts: Iterable[int] = (), pad: int = 0
) -> tuple[list[Path], list[list[str]], Array]:
    """Shards of tensor ``x``, cut before the rows `cuts`; its chunk hashes and exact values.

    With `pad` the tensor begins that many bytes after an aligned place.
    """
    stored = to_bits(values, dtype)
    paths, chunks = [], []
    for index, part in enumerate(np.split(stored, sorted(cuts))):
        path = folder / f"{index}.safetensors"
        if pad:
            begin, end = pad, pad + part.nbytes
            entry = {"dtype": dtype, "shape": list(part.shape), "data_offsets": [begin, end]}
            before = {"dtype": "U8", "shape": [pad], "data_offsets": [0, pad]}
            raw_shard(path, {"pad": before, "x": entry}, b"\x07" * pad + part.tobytes())
        else:
            written = _core.write_shard(path, [("x", dtype, np.ascontiguousarray(part))])
            chunks.append(written["chunks"]["x"])
        paths.append(path)
    return paths, chunks, from_bits(stored, dtype)


# ---- subspaces and principal components ------------------------------------------------------


def row_span(vectors: Array, tolerance: float) -> Array:
    """Orthonormal basis by Gram-Schmidt, the longest remaining unit row first."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    rest = np.divide(vectors, norms, out=np.zeros(vectors.shape), where=norms > 0)
    basis = np.empty((0, vectors.shape[1]))
    while len(rest) and np.linalg.norm(rest, axis=1).max() > tolerance:
        pivot = rest[np.linalg.norm(rest, axis=1).argmax()]
        pivot = pivot - (pivot @ basis.T) @ basis
        basis = np.vstack([basis, pivot / np.linalg.norm(pivot)])
        for _ in range(2):
            rest = rest - (rest @ basis.T) @ basis
    return basis


def subspace_overlap(x: Array, y: Array) -> float:
    """Mean squared cosine of the principal angles between two orthonormal bases."""
    cosines = np.linalg.svd(x @ y.T, compute_uv=False)
    return float((cosines**2).sum() / min(len(x), len(y)))


def principal_angles(x: Array, y: Array) -> Array:
    """Angles between two orthonormal bases, ascending; small ones lose digits."""
    cosines = np.linalg.svd(x @ y.T, compute_uv=False)
    angles: Array = np.arccos(np.clip(cosines, -1, 1))
    return angles


def random_overlaps(k1: int, k2: int, d: int, draws: int, seed: int) -> Array:
    """Overlaps of the first k1 axes with spans of orthonormalised Gaussians."""
    gaussian = np.random.default_rng(seed).normal(size=(draws, d, k2))
    spans = np.linalg.qr(gaussian)[0]
    return (spans[:, :k1] ** 2).sum((1, 2)) / min(k1, k2)


def components(x: Array, k: int) -> dict[str, Array]:
    """First k principal components of rows, by a singular value decomposition."""
    _, sizes, right = np.linalg.svd(x - x.mean(0), full_matrices=False)
    squares = sizes**2
    return {
        "mean": x.mean(0),
        "components": right[:k],
        "variances": squares[:k] / (len(x) - 1),
        "explained": squares[:k] / squares.sum(),
    }


def gram_product(values: Array, pilot: Array, vectors: Array) -> dict[str, Array]:
    """Product of the Gram matrix of the rows less a pilot with vectors, and the columns' sums."""
    x = values - pilot
    return {"product": vectors @ x.T @ x, "sum": x.sum(0), "square": (x**2).sum(0)}


# Alignment --------------------------------------------------------------------------------------


def cross_moments(x: Array, y: Array, labels: Array, n_labels: int) -> dict[str, Array]:
    """Means and centred cross-products of the rows of each label."""
    dx, dy = x.shape[1], y.shape[1]
    out: dict[str, Array] = {
        "count": np.zeros(n_labels, np.uint64),
        "mean_x": np.zeros((n_labels, dx)),
        "mean_y": np.zeros((n_labels, dy)),
        "xx": np.zeros((n_labels, dx, dx)),
        "yy": np.zeros((n_labels, dy, dy)),
        "xy": np.zeros((n_labels, dx, dy)),
    }
    for label in range(n_labels):
        a, b = x[labels == label], y[labels == label]
        out["count"][label] = len(a)
        if len(a):
            out["mean_x"][label], out["mean_y"][label] = a.mean(0), b.mean(0)
            a, b = a - a.mean(0), b - b.mean(0)
            out["xx"][label], out["yy"][label], out["xy"][label] = a.T @ a, b.T @ b, a.T @ b
    return out


def procrustes(x: Array, y: Array) -> Array:
    """Orthogonal Procrustes by the singular value decomposition of a (dx, dy) matrix."""
    left, _, right = np.linalg.svd(x.T @ y, full_matrices=False)
    product: Array = left @ right
    return product


def ridge(x: Array, y: Array, penalty: float) -> Array:
    """Coefficients (dx, dy) for centred rows."""
    solution: Array = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return solution


def leave_one_out(x: Array, y: Array, penalty: float) -> float:
    """Mean squared error of each row, predicted from all others; means fitted anew."""
    errors = []
    for i in range(len(x)):
        a, b = np.delete(x, i, 0), np.delete(y, i, 0)
        fitted = ridge(a - a.mean(0), b - b.mean(0), penalty)
        errors.append(y[i] - b.mean(0) - (x[i] - a.mean(0)) @ fitted)
    return float(np.mean(np.square(errors)))


# ---- permutation tests of representational similarity ------------------------------------------

TIE = 1e-10


def permutation(n: int, seed: int, index: int, stream: int = 0) -> Array:
    """Permutation `index` of `permutations`: several bounds share one word."""
    words = iter(np.random.Philox(key=seed, counter=[0, stream, index, 0]).random_raw(4 * n + 64))
    order, bound = np.arange(n), n
    while bound > 1:
        bounds = [bound]
        while bounds[-1] > 2 and math.prod(bounds) * (bounds[-1] - 1) <= 2**40:
            bounds.append(bounds[-1] - 1)
        total = math.prod(bounds)
        while True:
            word, places = int(next(words)), []
            for one in bounds:
                places.append(word * one >> 64)
                word = word * one % 2**64
            if word >= 2**64 % total:
                break
        for one, place in zip(bounds, places, strict=True):
            order[[one - 1, place]] = order[[place, one - 1]]
        bound = bounds[-1] - 1
    return order


def distances(vectors: Array, metric: str) -> Array:
    """Dissimilarities of all pairs of rows."""
    if metric == "euclidean":
        return np.array([[np.linalg.norm(x - y) for y in vectors] for x in vectors])
    rows = vectors - vectors.mean(1, keepdims=True) if metric == "correlation" else vectors
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return 1 - unit @ unit.T


def ranks(values: Array) -> Array:
    """Twice the average rank, counted from one half: values below plus values up to each."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    doubled: Array = (2 * np.cumsum(counts) - counts)[place]
    return doubled


def triangle_correlation(x: Array, y: Array, correlation: str) -> float:
    """Correlation of the upper triangles, by average ranks for Spearman."""
    a, b = (d[np.triu_indices(len(d), 1)] for d in (x, y))
    if correlation == "spearman":
        a, b = ranks(a), ranks(b)
    return float(np.corrcoef(a, b)[0, 1])


def rsa(
    x: Array, y: Array, orders: Iterable[Array], correlation: str, two_sided: bool, exact: bool
) -> dict[str, Any]:
    """Correlation of two matrices, and of one with the other's conditions in each order."""
    r = triangle_correlation(x, y, correlation)
    each = (triangle_correlation(x, y[np.ix_(order, order)], correlation) for order in orders)
    null = np.array(list(each))
    found, nulls = (abs(r), np.abs(null)) if two_sided else (r, null)
    exceeding = int((nulls >= found - TIE).sum())
    return {
        "r": r,
        "null": null,
        "exceeding": exceeding,
        "ties": int((np.abs(nulls - found) <= TIE).sum()),
        "p": exceeding / len(null) if exact else (exceeding + 1) / (len(null) + 1),
        "null_mean": null.mean(),
        "null_max": nulls.max(),
    }


def rsa_grid(
    xs: list[Array], ys: list[Array], orders: Array, correlation: str, two_sided: bool
) -> dict[str, Array]:
    """Every pair of matrices by itself, and p against the largest of all in each order."""
    tests = [[rsa(x, y, orders, correlation, two_sided, False) for y in ys] for x in xs]
    pairs = {k: np.array([[test[k] for test in row] for row in tests]) for k in tests[0][0]}
    sized = np.abs if two_sided else np.asarray
    largest = sized(pairs["null"]).max((0, 1))
    exceeding = (largest >= sized(pairs["r"])[..., None] - TIE).sum(-1)
    return {**pairs, "p_family": (exceeding + 1) / (len(largest) + 1)}

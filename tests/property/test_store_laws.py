"""Laws of every kernel that reads a store: on random shapes, dtypes, cuts and byte offsets."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import write_store

from emo import _core
from emo.errors import NumericalError

Array = NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """A tensor ``x`` in shards: raw values, how they are stored, and where."""

    raw: Array
    dtype: str
    cuts: tuple[int, ...]
    pad: int
    io: str
    threads: int

    @property
    def labels(self) -> NDArray[np.int32]:
        return np.zeros(len(self.raw), np.int32)

    @property
    def vectors(self) -> Array:
        return np.random.default_rng(1).normal(size=(3, self.raw.shape[1]))

    @property
    def pilot(self) -> Array:
        return np.full((1, self.raw.shape[1]), 0.5)

    @property
    def options(self) -> dict[str, Any]:
        return {"io": self.io, "threads": self.threads}

    def write(self, folder: str) -> tuple[list[Path], Array]:
        paths, _, values = write_store(Path(folder), self.raw, self.dtype, self.cuts, self.pad)
        return paths, values


@st.composite
def stores(draw: st.DrawFn, least: int = 0) -> Stored:
    n, width = draw(st.integers(least, 150)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Stored(
        raw=rng.normal(draw(st.floats(-20, 20)), draw(st.floats(0.01, 10)), (n, width)),
        dtype=draw(st.sampled_from(["BF16", "F16", "F32"])),
        cuts=tuple(draw(st.lists(st.integers(0, n), max_size=3))),
        pad=draw(st.integers(0, 9)),
        io=draw(st.sampled_from(["mmap", "pread"])),
        threads=draw(st.integers(1, 3)),
    )


KERNELS: dict[str, Callable[[list[Path], Stored], Any]] = {
    "moments": lambda p, s: _core.moments(p, "x", s.labels, 1, **s.options),
    "project": lambda p, s: _core.project(p, "x", s.vectors, **s.options),
    "grouped_contributions": lambda p, s: _core.grouped_contributions(
        p, "x", s.labels, 1, s.vectors, 1, **s.options
    ),
    "cross_moments": lambda p, s: _core.cross_moments(p, "x", p, "x", s.labels, 1, **s.options),
    "gram_product": lambda p, s: _core.gram_product(
        p, "x", s.labels, s.pilot, s.vectors, **s.options
    ),
}


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=25, deadline=None)
@given(stores(least=1), st.data())
def test_one_poisoned_cell_is_named_by_row_and_column(
    kernel: str, stored: Stored, data: st.DataObject
) -> None:
    n, width = stored.raw.shape
    row, column = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, width - 1))
    stored.raw[row, column] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with tempfile.TemporaryDirectory() as folder:
        paths, _ = stored.write(folder)
        with pytest.raises(NumericalError, match=rf"row {row}, column {column}\b"):
            KERNELS[kernel](paths, stored)


@settings(max_examples=40, deadline=None)
@given(stores(), st.data())
def test_rows_come_back_as_they_were_stored(stored: Stored, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(stored.raw)))
    stop = data.draw(st.integers(start, len(stored.raw)))
    bits = reference.to_bits(stored.raw, stored.dtype)
    with tempfile.TemporaryDirectory() as folder:
        (path,), _, _ = write_store(Path(folder), stored.raw, stored.dtype, (), stored.pad)
        found = _core.read_rows(path, "x", start, stop)
    wanted = reference.read_rows(bits, stored.dtype, start, stop)
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.float32


@settings(max_examples=40, deadline=None)
@given(stores(), st.integers(1, 40), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_cross_moments_are_those_of_plain_products(
    stored: Stored, width: int, n_labels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    n = len(stored.raw)
    labels = rng.integers(-1, n_labels, n).astype(np.int32)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        x, values_x = stored.write(first)
        raw, cuts = rng.normal(-3, 1, (n, width)), rng.integers(0, n + 1, 2)
        y, _, values_y = write_store(Path(second), raw, stored.dtype, cuts)
        found = _core.cross_moments(x, "x", y, "x", labels, n_labels, **stored.options)
    wanted = reference.cross_moments(values_x, values_y, labels, n_labels)
    np.testing.assert_array_equal(found["count"], wanted["count"])
    # Double precision throughout: 150 terms of at most the largest square, each rounded by 2^-53
    # of a sum of 150 of them: 150^2 2^-53 = 2.5e-12 at the very worst.
    largest = max(np.abs(v).max(initial=1.0) for v in (values_x, values_y))
    for key in ("mean_x", "mean_y", "xx", "yy", "xy"):
        np.testing.assert_allclose(found[key], wanted[key], rtol=0, atol=2.5e-12 * largest**2)


@settings(max_examples=40, deadline=None)
@given(stores(), st.integers(1, 20), st.booleans(), st.integers(0, 2**32 - 1))
def test_gram_products_are_those_of_plain_products(
    stored: Stored, k: int, single: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    n, width = stored.raw.shape
    labels = rng.integers(-1, 1, n).astype(np.int32)
    pilot = np.full((1, width), float(np.float32(stored.raw[:5].mean() if n else 0)))
    vectors = rng.normal(size=(k, width))
    with tempfile.TemporaryDirectory() as folder:
        paths, values = stored.write(folder)
        streamed = _core.gram_product(paths, "x", labels, pilot, vectors, **stored.options)
    kept = values[labels == 0]
    in_memory = _core.gram_product_array(
        kept.astype(np.float32 if single else np.float64), pilot, vectors, threads=stored.threads
    )
    wanted = reference.gram_product(kept, pilot, vectors)
    x = np.abs(kept - pilot)
    # At most 70 columns and 64 rows are summed in single precision, and each row, vector and dot
    # product is rounded: fewer than 140 roundings of 2^-24 each, 8.4e-6 of the sum of the sizes.
    sizes = {
        "product": np.abs(vectors) @ x.T @ x,
        "sum": x.sum(0),
        "square": (x**2).sum(0),
    }
    for found in (streamed, in_memory):
        assert found["count"] == len(kept)
        for key, size in sizes.items():
            error = np.abs(found[key] - wanted[key])
            assert (error <= 1e-5 * size + 1e-30).all(), key

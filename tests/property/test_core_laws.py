"""Laws of the native kernels on random shapes and values."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import write_store

from emo import _core
from emo.errors import ArtifactError

shapes = st.tuples(st.integers(0, 150), st.integers(1, 70))
dtypes = st.sampled_from(["BF16", "F16", "F32"])
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(shapes, dtypes, seeds, st.integers(1, 4), st.floats(-50, 50), st.floats(0.01, 10))
def test_moments_are_those_of_two_plain_passes(
    shape: tuple[int, int], dtype: str, seed: int, n_labels: int, mean: float, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, n_labels, shape[0]).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        cuts = rng.integers(0, shape[0] + 1, 2)
        paths, _, values = write_store(
            Path(folder), rng.normal(mean, spread, shape), dtype, cuts, int(rng.integers(0, 4))
        )
        found = _core.moments(paths, "x", labels, n_labels)
    wanted = reference.moments(values, labels, n_labels)
    np.testing.assert_array_equal(found["positive"], wanted["positive"])
    np.testing.assert_array_equal(found["negative"], wanted["negative"])
    deviation = np.sqrt(wanted["m2"].max(initial=0))
    np.testing.assert_allclose(found["mean"], wanted["mean"], rtol=1e-12, atol=1e-6 * deviation)
    np.testing.assert_allclose(found["m2"], wanted["m2"], rtol=2e-6, atol=1e-12 * mean**2 + 1e-12)


@settings(max_examples=25, deadline=None)
@given(shapes, dtypes, seeds)
def test_the_order_of_rows_and_the_split_into_labels_change_nothing(
    shape: tuple[int, int], dtype: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.normal(1, 1, shape)
    order = rng.permutation(shape[0])
    labels = rng.integers(0, 3, shape[0]).astype(np.int32)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        ordered, _, _ = write_store(Path(first), raw, dtype)
        shuffled, _, _ = write_store(Path(second), raw[order], dtype)
        by_label = _core.moments(ordered, "x", labels, 3)
        again = _core.moments(shuffled, "x", labels[order], 3)
        whole = _core.moments(ordered, "x", np.zeros(shape[0], np.int32), 1)
    np.testing.assert_array_equal(by_label["positive"], again["positive"])
    np.testing.assert_allclose(by_label["m2"], again["m2"], rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(by_label["count"].sum(0), whole["count"][0])
    np.testing.assert_array_equal(by_label["negative"].sum(0), whole["negative"][0])
    if shape[0]:
        weights = by_label["count"].astype(np.float64)
        mean = (by_label["mean"] * weights[:, None]).sum(0) / weights.sum()
        np.testing.assert_allclose(mean, whole["mean"][0], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 20), dtypes, seeds)
def test_projection_is_linear(n: int, k: int, width: int, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, k, width))
    with tempfile.TemporaryDirectory() as folder:
        paths, _, _ = write_store(Path(folder), rng.normal(size=(n, width)), dtype)
        both = _core.project(paths, "x", 2 * a - b)
        apart = 2 * _core.project(paths, "x", a) - _core.project(paths, "x", b)
        product = _core.weight_product(paths[0], "x", a, transposed=True)
        single = _core.project(paths, "x", a)
    np.testing.assert_allclose(both, apart, atol=1e-4)
    np.testing.assert_array_equal(product.T.astype(np.float32), single)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 299), st.integers(0, 255))
def test_no_header_ends_in_anything_but_a_clean_error(noise: bytes, at: int, byte: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (path,), _, _ = write_store(folder, np.ones((3, 4)), "F32")
        good = bytearray(path.read_bytes())
        good[at % 120] = byte
        for index, content in enumerate((noise, bytes(good), bytes(good[:4100]))):
            other = folder / f"bad{index}"
            other.write_bytes(content)
            try:
                rows = _core.inspect_shard(other)
            except ArtifactError:
                continue
            assert sum(row[4] - row[3] for row in rows) <= len(content)

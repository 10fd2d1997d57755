"""Projections and weight products against their numpy twins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import reference
from reference import write_store

from emo import _core
from emo.errors import NumericalError, UsageError


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize(
    ("rows", "width", "k"), [(1, 1, 1), (33, 130, 3), (700, 257, 20), (64, 48, 0)]
)
def test_products_equal_their_twins(
    tmp_path: Path, dtype: str, rows: int, width: int, k: int
) -> None:
    rng = np.random.default_rng(width)
    paths, chunks, values = write_store(tmp_path, rng.normal(size=(rows, width)), dtype)
    across, down = rng.normal(size=(k, width)), rng.normal(size=(k, rows))
    projected = _core.project(paths, "x", across, chunks=chunks)
    assert (projected.dtype, projected.shape) == (np.float32, (rows, k))
    np.testing.assert_allclose(projected, reference.project(values, across), rtol=1e-6, atol=1e-5)
    linear = _core.weight_product(paths[0], "x", down, transposed=False)
    np.testing.assert_allclose(linear, reference.weight_product(values, down, False), atol=1e-11)
    conv1d = _core.weight_product(paths[0], "x", across, transposed=True)
    np.testing.assert_allclose(conv1d, reference.weight_product(values, across, True), atol=1e-11)
    assert linear.dtype == conv1d.dtype == np.float64


def test_projection_runs_over_all_shards(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths, _, values = write_store(tmp_path, rng.normal(size=(50, 9)), "F32", [0, 10, 10, 49])
    vectors = rng.normal(size=(2, 9))
    found = _core.project(paths, "x", vectors)
    np.testing.assert_allclose(found, reference.project(values, vectors), atol=1e-5)


def test_misfits_are_refused(tmp_path: Path) -> None:
    (path,), _, _ = write_store(tmp_path, np.ones((4, 6)), "F32")
    with pytest.raises(UsageError, match="5 columns"):
        _core.project([path], "x", np.ones((1, 5)))
    with pytest.raises(UsageError, match="directions of 4"):
        _core.weight_product(path, "x", np.ones((1, 5)), transposed=False)
    with pytest.raises(UsageError, match="directions of 6"):
        _core.weight_product(path, "x", np.ones((1, 5)), transposed=True)
    for transposed, width in ((False, 4), (True, 6)):
        with pytest.raises(NumericalError, match="inf"):
            _core.weight_product(path, "x", np.full((1, width), np.inf), transposed=transposed)


def test_a_projection_too_large_for_single_precision_is_an_error(tmp_path: Path) -> None:
    paths, _, _ = write_store(tmp_path, np.full((2, 2), 3e38), "F32")
    with pytest.raises(NumericalError, match="row 0 on vector 0 overflows"):
        _core.project(paths, "x", np.ones((1, 2)))

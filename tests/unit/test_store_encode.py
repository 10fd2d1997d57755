import numpy as np
import pytest

from emo.errors import NumericalError, UsageError
from emo.store.encode import encode, from_bf16, to_bf16


def test_bfloat16_rounds_like_another_library():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml-dtypes is not installed")
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values) & (np.abs(values) < 3e38)]
    expected = values.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(to_bf16(values), expected)


def test_widening_is_exact():
    bits = np.arange(0, 0x7F80, dtype=np.uint16)
    assert np.array_equal(to_bf16(from_bf16(bits)), bits)


def test_stored_types_pass_unchanged():
    bits = np.array([[0x3F80, 0xBF80]], np.uint16)
    assert np.array_equal(encode("t", bits, "BF16"), bits)
    half = np.array([[1.5, -2]], np.float16)
    assert np.array_equal(encode("t", half, "F16"), half)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(dtype, bad):
    values = np.ones((3, 4), np.float32)
    values[1, 2] = bad
    with pytest.raises(NumericalError, match=r"L0\.mlp_act@last: row 1, column 2"):
        encode("L0.mlp_act@last", values, dtype)


def test_overflow_of_the_stored_type_is_an_error():
    with pytest.raises(NumericalError, match="too large"):
        encode("t", np.full((1, 1), 1e6, np.float32), "F16")
    with pytest.raises(NumericalError, match="too large"):
        encode("t", np.full((1, 1), np.finfo(np.float32).max, np.float32), "BF16")


def test_bits_that_are_not_finite_are_found():
    with pytest.raises(NumericalError, match="row 0, column 1"):
        encode("t", np.array([[0, 0x7F80]], np.uint16), "BF16")


def test_other_types_are_refused():
    with pytest.raises(UsageError, match="float64"):
        encode("t", np.ones((1, 1)), "F32")

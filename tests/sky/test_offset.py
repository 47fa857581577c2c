"""Values relative to an offset: what is written is what is computed with."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hipsgen.sky.mask_planes import NO_DATA
from hipsgen.sky.offset import absolute, as_in_file, relative

FINITE = st.floats(-(2.0**100), 2.0**100, width=32)
VALUES = arrays(np.float32, (3, 3), elements=FINITE | st.just(np.nan))
OFFSETS = st.floats(-1e9, 1e9).filter(bool)


@given(VALUES, OFFSETS)
def test_values_read_back_equal_the_values_used(values: np.ndarray, offset: float) -> None:
    used = as_in_file(values, offset)
    written = absolute(used, offset)
    assert (used.dtype, written.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(relative(written, offset), used)
    np.testing.assert_array_equal(absolute(as_in_file(used, offset), offset), written)


@given(VALUES, OFFSETS)
def test_values_are_rounded_as_float64_rounds_the_sum(values: np.ndarray, offset: float) -> None:
    used = as_in_file(values, offset)
    step = np.spacing(np.maximum(np.abs(values.astype(float)), abs(offset)))
    known = ~np.isnan(values)
    assert (np.abs(used.astype(float) - values)[known] <= step[known]).all()
    np.testing.assert_array_equal(np.isnan(used), ~known)


@given(VALUES)
def test_without_an_offset_nothing_changes(values: np.ndarray) -> None:
    flags = np.array([[NO_DATA, 5]], np.int32)
    for pixels in (values, flags):
        for function in (absolute, relative, as_in_file):
            assert function(pixels, 0.0) is pixels
    assert relative(flags, 3.0) is flags
    np.testing.assert_array_equal(relative(values.astype(float), 0.0), values)

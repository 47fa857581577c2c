"""What every stretch promises: linear, asinh; Lupton for color."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.sky.stretch import (
    STRETCHES,
    Asinh,
    Channel,
    Linear,
    Lupton,
    SkyLevel,
    Stretch,
    choose_stretch,
)
from tests.profiles import examples

GRAY = [Linear(-3.0, 30.0), Asinh(-3.0, 30.0, 0.0, 2.0), Asinh(1e-12, 5e-12, 2e-12, 1e-13)]
COLOR = Lupton(
    (Channel(0.0, 1.0), Channel(0.5, 1.2, 0.9), Channel(-0.3, 2.0, 1.3)),
    high=200.0,
)


@pytest.fixture(params=GRAY, ids=lambda s: s.describe()[:20])
def stretch(request: pytest.FixtureRequest) -> Linear | Asinh:
    return request.param


def ramp(stretch: Linear | Asinh) -> np.ndarray:
    """From far below the lower cut to far above the upper one."""
    width = stretch.high - stretch.low
    return np.linspace(stretch.low - 2 * width, stretch.high + 2 * width, 5001, dtype=np.float32)


def test_gray_is_uint8_of_the_same_shape(stretch: Stretch):
    values = np.zeros((7, 9), np.float32)
    levels = stretch(values)
    assert levels.dtype == np.uint8
    assert levels.shape == values.shape


def test_gray_0_is_missing_data_and_nothing_else(stretch: Stretch):
    values = np.concatenate([ramp(stretch), [np.nan, np.inf, -np.inf]]).astype(np.float32)
    levels = stretch(values)
    np.testing.assert_array_equal(levels == 0, np.isnan(values))
    assert levels[-2] == 255
    assert levels[-1] == 1


def test_gray_never_falls_where_the_value_rises(stretch: Stretch):
    levels = stretch(ramp(stretch)).astype(int)
    assert (np.diff(levels) >= 0).all()


def test_gray_uses_all_levels_between_the_cuts(stretch: Linear | Asinh):
    levels = stretch(np.linspace(stretch.low, stretch.high, 20_001, dtype=np.float64))
    assert levels[0] == 1
    assert levels[-1] == 255
    assert set(levels.tolist()) == set(range(1, 256))


def test_gray_says_what_it_does_in_one_line(stretch: Stretch):
    text = stretch.describe()
    assert "\n" not in text
    assert text.split()[0] in STRETCHES


@examples(0.5)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=60),
    st.sampled_from(STRETCHES),
)
def test_a_stretch_chosen_from_any_sample_tells_data_from_none(values: list[float], name: str):
    sample = np.array(values, np.float32)
    stretch = choose_stretch(name, SkyLevel.of(sample))
    levels = stretch(np.append(np.sort(sample), np.float32(np.nan)))
    assert levels[-1] == 0
    assert (levels[:-1] > 0).all()
    assert (np.diff(levels[:-1].astype(int)) >= 0).all()


def test_cuts_that_do_not_increase_and_unknown_names_are_refused():
    level = SkyLevel.of(np.arange(10.0))
    with pytest.raises(ValueError, match="do not increase"):
        choose_stretch("linear", level, (2.0, 2.0))
    with pytest.raises(ValueError, match="'log' is not one of asinh, linear"):
        choose_stretch("log", level)
    with pytest.raises(ValueError, match="no finite value"):
        SkyLevel.of(np.full(3, np.nan))


def test_color_is_rgba_uint8():
    levels = COLOR(np.zeros((3, 5, 6), np.float32))
    assert levels.dtype == np.uint8
    assert levels.shape == (5, 6, 4)


def test_color_is_transparent_exactly_where_no_band_has_data():
    bands = np.random.default_rng(1).normal(0, 50, (3, 20, 20)).astype(np.float32)
    bands[:, 3, 4] = np.nan
    bands[0, 5, 6] = np.nan  # one band alone
    bands[1:, 7, 8] = np.nan
    levels = COLOR(bands)
    missing = np.isnan(bands).all(axis=0)
    np.testing.assert_array_equal(levels[..., 3] == 0, missing)
    assert set(np.unique(levels[..., 3])) == {0, 255}
    assert (levels[missing] == 0).all()


def test_color_is_never_darker_where_all_bands_are_brighter():
    source = np.array([1.0, 0.8, 0.6])[:, None, None]
    zero = np.array([c.zero for c in COLOR.channels])[:, None, None]
    gain = np.array([c.gain for c in COLOR.channels])[:, None, None]
    bands = zero + source * np.linspace(-10, 2000, 4001)[None, None, :] / gain
    # the sum may fall by the rounding of three bytes
    total = COLOR(bands)[0, :, :3].astype(int).sum(axis=-1)
    assert (np.maximum.accumulate(total) - total).max() <= 2


def test_a_bright_source_keeps_its_hue():
    color = np.array([3.0, 2.0, 1.0])[:, None, None]
    gain = np.array([c.gain for c in COLOR.channels])[:, None, None]
    levels = COLOR(color / gain * np.array([60.0, 1e4, 1e6])[None, None, :])[0, :, :3]
    shares = levels / levels.max(axis=-1, keepdims=True)
    np.testing.assert_allclose(shares, [[1, 2 / 3, 1 / 3]] * 3, atol=0.03)

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hipsgen.sky.stretch import (
    STRETCHES,
    Asinh,
    Channel,
    Linear,
    Lupton,
    SkyLevel,
    choose_stretch,
)
from tests.sky import SEEDED

SKY, NOISE = 12.0, 3.0
Image = npt.NDArray[np.float32]


def field(seed: int = 1, sky: float = SKY, noise: float = NOISE, n: int = 300) -> Image:
    """Noise, and stars over a few per cent of it."""
    rng = np.random.default_rng(seed)
    image = rng.normal(sky, noise, (n, n))
    rows, cols = np.mgrid[-7:8, -7:8]
    profile = np.exp(-(rows**2 + cols**2) / 2 / 1.7**2)
    for peak in noise * 10 ** rng.uniform(0.5, 4, n * n // 4000):
        r, c = rng.integers(8, n - 8, 2)
        image[r - 7 : r + 8, c - 7 : c + 8] += peak * profile
    return image.astype(np.float32)


# gray


@SEEDED
@given(
    arrays(np.float32, 40, elements=st.floats(-1e9, 1e9, width=32)),
    st.sampled_from(STRETCHES),
    st.floats(-1e5, 1e5),
    st.floats(1e-3, 1e6),
    st.just(0.0) | st.floats(1e-12, 1e3),
)
def test_brighter_is_never_darker(values, name, zero, span, sigma) -> None:
    level = SkyLevel(zero, sigma, zero + span, zero - span, zero + 2 * span)
    levels = choose_stretch(name, level)(np.sort(values)[None]).astype(int)
    assert (np.diff(levels) >= 0).all()


@pytest.mark.parametrize("name", STRETCHES)
def test_bad_pixels_of_any_size_are_white_or_darkest(name: str) -> None:
    wild = np.array([[3e38, -3e38, np.inf, -np.inf]], np.float32)
    assert choose_stretch(name, SkyLevel(0.0, 1e-3, 0.05, -1.0, 1.0))(wild).tolist() == [
        [255, 1, 255, 1]
    ]


@SEEDED
@given(
    arrays(np.float32, (4, 5), elements=st.floats(width=32, allow_nan=True)),
    st.sampled_from(STRETCHES),
)
def test_missing_is_level_0_and_data_1_to_255(values, name) -> None:
    levels = choose_stretch(name, SkyLevel(0.0, 1.0, 50.0, -5.0, 1e4))(values)
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels == 0, np.isnan(values))


@pytest.mark.parametrize("name", STRETCHES)
def test_the_cuts_are_the_first_and_the_last_level(name: str) -> None:
    stretch = choose_stretch(name, SkyLevel(1.0, 2.0, 500.0, -9.0, 1e5))
    values = np.array([[stretch.low - 9, stretch.low, stretch.high, stretch.high * 9]], np.float32)
    assert stretch(values).tolist() == [[1, 1, 255, 255]]


def test_linear_is_linear_and_asinh_lifts_what_is_faint() -> None:
    values = np.linspace(0, 1000, 11, dtype=np.float32)[None]
    straight = Linear(0, 1000)(values)[0].astype(int)
    assert np.ptp(np.diff(straight)) <= 1
    bent = Asinh(0, 1000, 0, 10)(values)[0].astype(int)
    assert (bent[1:-1] > straight[1:-1]).all()
    assert bent[1] > 100


@pytest.mark.parametrize("noise", [1e-12, 3.0, 1e6])
@pytest.mark.parametrize("sky", [0.0, 4.0, -1.0])
def test_noise_of_the_sky_is_seen_dark_but_not_black(sky: float, noise: float) -> None:
    image = field(sky=sky * noise, noise=noise)
    levels = choose_stretch("asinh", SkyLevel.of(image))(image)
    assert 20 <= np.median(levels) <= 90
    low, high = np.percentile(levels, [16, 70])
    assert (high - low) / 1.5 > 1
    assert (levels <= 1).mean() < 0.01
    assert (levels == 255).mean() < 0.01


def test_users_cuts_are_taken() -> None:
    level = SkyLevel.of(field())
    for name in STRETCHES:
        stretch = choose_stretch(name, level, (-1.0, 77.0))
        assert (stretch.low, stretch.high) == (-1.0, 77.0)
        assert stretch(np.array([[-1.0, 77.0]])).tolist() == [[1, 255]]


@pytest.mark.parametrize("cuts", [(5.0, 1e4), (-1e4, -5.0)])
def test_users_cuts_may_leave_the_sky_outside(cuts: tuple[float, float]) -> None:
    levels = choose_stretch("asinh", SkyLevel.of(field(sky=0.0)), cuts)(
        np.linspace(*cuts, 50)[None]
    )
    assert levels[0, 0] == 1
    assert levels[0, -1] == 255
    assert (np.diff(levels.astype(int)) >= 0).all()


@pytest.mark.parametrize("cuts", [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("nan"))])
def test_cuts_that_do_not_increase_are_refused(cuts: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="do not increase"):
        choose_stretch("asinh", SkyLevel.of(field()), cuts)


def test_an_unknown_stretch_is_refused_with_the_names_of_the_known() -> None:
    with pytest.raises(ValueError, match="'log' is not one of asinh, linear"):
        choose_stretch("log", SkyLevel.of(field()))


def test_stretches_describe_themselves_with_their_numbers() -> None:
    assert Linear(-1.5, 20).describe() == "linear -1.5 20"
    assert Asinh(-1.5, 20, 0.25, 3).describe() == "asinh -1.5 20 zero 0.25 soft 3"


# the sky's level


def test_sky_and_noise_are_found_under_stars_and_holes() -> None:
    image = field()
    image[::7] = np.nan
    level = SkyLevel.of(image)
    assert level.zero == pytest.approx(SKY, abs=0.3 * NOISE)
    assert level.sigma == pytest.approx(NOISE, rel=0.15)
    assert level.minimum == np.nanmin(image)
    assert level.maximum == np.nanmax(image)
    assert level.high == pytest.approx(np.nanquantile(image, 0.998))


def test_noise_of_pure_noise_is_its_standard_deviation() -> None:
    image = np.random.default_rng(2).normal(-7, 0.5, 100_000)
    level = SkyLevel.of(image)
    assert level.zero == pytest.approx(-7, abs=0.01)
    assert level.sigma == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("name", STRETCHES)
@pytest.mark.parametrize(
    "values",
    [
        np.zeros(5),
        np.full(5, -3.25),
        np.full(3, 1e-20),
        np.array([4.0]),
        np.array([0.0] * 1000 + [1.0]),
        np.array([0.0] * 1000 + [1e6] * 20),
        np.array([-1.0] + [0.0] * 1000),
        np.array([0.0, 1.0]),
        np.array([np.nan, np.inf, 3.0, -np.inf, 4.0]),
    ],
)
def test_constant_and_sparse_samples_still_make_a_stretch(
    values: npt.NDArray[np.float64], name: str
) -> None:
    level = SkyLevel.of(values)
    low, high = level.cuts()
    assert low < high
    levels = choose_stretch(name, level)(values[None])[0]
    np.testing.assert_array_equal(levels == 0, np.isnan(values))
    if level.minimum < level.maximum:
        dark, bright = (levels[values == v].max() for v in (level.minimum, level.maximum))
        assert dark < bright


def test_cuts_of_a_variance_begin_at_its_minimum() -> None:
    """A variance: narrow and skew, its sigma reaches below zero."""
    variance = np.random.default_rng(1).exponential(2.0, 10_000)
    low, high = SkyLevel.of(variance).cuts()
    assert 0.0 <= low < 0.02
    assert high > np.median(variance)


def test_cuts_of_noise_lie_within_the_sample() -> None:
    noise = np.random.default_rng(2).normal(10.0, 1.0, 100_000)
    level = SkyLevel.of(noise[noise > 10.0 - 2.5])  # less than 3 sigma below the median
    assert level.is_noisy
    assert level.cuts() == (level.minimum, level.maximum)


def poisson_counts() -> Image:
    """Exposure counts of a dithered survey: integers, more in the middle."""
    x, y = np.mgrid[-1:1:300j, -1:1:300j]
    return np.round(12 * np.exp(-(x**2) - y**2)).astype(np.float32)


def probability() -> Image:
    """Probability per pixel of a position: most of the sky has almost none."""
    x, y = np.mgrid[-6:6:300j, -6:6:300j]
    density = np.exp(-(x**2) - (y - 0.3 * x**2) ** 2)
    return (density / density.sum()).astype(np.float32)


def steps() -> Image:
    """Variance of coadds of two depths, with a little noise."""
    image = np.where(np.arange(300) < 110, 4.0, 9.0) + np.zeros((300, 1))
    return (image * (1 + 0.01 * np.random.default_rng(5).normal(size=image.shape))).astype("f4")


NO_SKY = {
    "ramp": np.linspace(0, 1, 90_000, dtype=np.float32),
    "ramp below zero": np.linspace(-7, -3, 90_000, dtype=np.float32),
    "two levels": np.repeat(np.float32([-5.0, -4.0]), 1000),
    "counts": poisson_counts(),
    "probability": probability(),
    "steps of a variance": steps(),
    "pure noise": np.random.default_rng(7).normal(0, 1, 6000).astype(np.float32),
}


@pytest.mark.parametrize("name", NO_SKY)
def test_cuts_lie_within_the_range_of_the_sample(name: str) -> None:
    values = NO_SKY[name]
    low, high = SkyLevel.of(values).cuts()
    assert values.min() <= low < high <= values.max()


@pytest.mark.parametrize("stretch", STRETCHES)
@pytest.mark.parametrize("name", ["ramp", "ramp below zero"])
def test_a_ramp_is_shown_from_black_to_white(name: str, stretch: str) -> None:
    values = NO_SKY[name]
    for sample in (values, np.append(values, np.float32([-1e6, 1e6]))):  # with bad pixels
        levels = choose_stretch(stretch, SkyLevel.of(sample))(values[None])[0]
        assert 0.3 * 255 < levels.mean() < 0.7 * 255
        assert levels.min() == 1
        assert levels.max() == 255


@pytest.mark.parametrize("name", ["two levels", "counts", "steps of a variance"])
def test_levels_of_a_depth_map_differ_in_the_preview(name: str) -> None:
    values = NO_SKY[name]
    levels = choose_stretch("asinh", SkyLevel.of(values))(values.reshape(len(values), -1))
    assert np.percentile(levels, 98) - np.percentile(levels, 2) > 150


def test_cuts_of_noise_below_stars_are_3_and_30_sigma() -> None:
    """The cuts of images of the sky, on which existing surveys rely."""
    level = SkyLevel.of(field())
    low, high = level.cuts()
    assert low == level.zero - 3 * level.sigma
    assert high == max(level.high, level.zero + 30 * level.sigma)


def test_a_constant_sample_is_neither_black_nor_white() -> None:
    constant = np.full((4, 4), 42.0)
    for name in STRETCHES:
        assert 60 < choose_stretch(name, SkyLevel.of(constant))(constant)[0, 0] < 200


def test_a_sample_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="the sample has no finite value"):
        SkyLevel.of(np.array([np.nan, np.inf]))


# color


CHANNELS = (Channel(1.0, 0.5, 2.0), Channel(-2.0, 1.0, 1.0), Channel(5.0, 4.0, 0.25))
COLOR = Lupton(CHANNELS, high=300.0)


def bands_of(rgb: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Undo zero points and gains: (3, n, m) over the sky in units of the intensity."""
    return np.stack([v / c.gain + c.zero for v, c in zip(rgb, CHANNELS, strict=True)])


def test_hue_is_kept_from_the_outskirts_of_a_source_to_its_saturated_core() -> None:
    hue = np.array([1.0, 0.6, 0.3])
    peak = np.geomspace(60, 1e6, 40)
    levels = COLOR(bands_of(hue[:, None, None] * peak[None, None]))[0, :, :3].astype(float)
    assert (levels.max(axis=1) > 90).all()
    for band in (1, 2):
        np.testing.assert_allclose(levels[:, band] / levels[:, 0], hue[band], atol=0.04)
    assert levels[-1].tolist() == pytest.approx([255, 153, 76], abs=1)


def test_brightness_grows_with_intensity() -> None:
    peak = np.linspace(-5, 400, 2000)
    levels = COLOR(bands_of(np.array([1.0, 1.0, 1.0])[:, None, None] * peak))[0, :, :3]
    assert (levels == levels[:, :1]).all()
    assert (np.diff(levels[:, 0].astype(int)) >= 0).all()
    assert levels[0, 0] == 0
    assert levels[-1, 0] == 255


def noise_bands(seed: int = 3) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.stack([rng.normal(c.zero, c.sigma, (200, 200)) for c in CHANNELS])


def test_noise_of_the_sky_is_gray_and_seen() -> None:
    levels = COLOR(noise_bands())[..., :3].astype(float)
    luminance = levels.mean(axis=-1)
    assert 15 <= np.median(luminance) <= 90
    assert luminance.std() > 1
    color = (levels - luminance[..., None]).std()
    assert color < 0.3 * luminance.std()


def test_transparent_only_where_no_band_has_data() -> None:
    bands = noise_bands()[:, :8, :8]
    for k in range(8):
        bands[[bool(k & bit) for bit in (1, 2, 4)], k] = np.nan
    levels = COLOR(bands)
    assert levels.shape == (8, 8, 4)
    assert (levels[7] == 0).all()
    assert (levels[:7, :, 3] == 255).all()


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_band_counts_as_the_mean_of_the_others(missing: int) -> None:
    rgb = np.array([80.0, 120.0, 40.0])
    others = np.delete(rgb, missing).mean()
    gone = rgb.copy()
    gone[missing] = np.nan
    rgb[missing] = others
    np.testing.assert_array_equal(
        COLOR(bands_of(gone[:, None, None])), COLOR(bands_of(rgb[:, None, None]))
    )


def test_a_band_alone_is_gray() -> None:
    only = np.array([np.nan, 55.0, np.nan])[:, None, None]
    red, green, blue, alpha = COLOR(bands_of(only))[0, 0]
    assert red == green == blue > 50
    assert alpha == 255


def test_colors_brighter_than_white_keep_their_ratios() -> None:
    rgb = np.array([2000.0, 100.0, 10.0])[:, None, None]
    red, green, blue, _ = COLOR(bands_of(rgb))[0, 0].tolist()
    assert red == 255
    assert green == pytest.approx(255 * 100 / 2000, abs=1)
    assert blue == pytest.approx(255 * 10 / 2000, abs=1)


def test_a_band_far_below_the_sky_beside_a_bright_one_is_black_not_wrapped() -> None:
    levels = COLOR(bands_of(np.array([900.0, -500.0, 900.0])[:, None, None]))[0, 0]
    assert levels[1] == 0
    assert levels[0] == levels[2] == 255


def test_color_without_noise_or_light_is_still_defined() -> None:
    flat = Lupton((Channel(0, 0), Channel(0, 0), Channel(0, 0)), high=0.0)
    levels = flat(np.zeros((3, 2, 2)))
    assert (levels[..., 3] == 255).all()
    assert "high 0" in flat.describe()


def test_color_describes_itself_with_its_numbers() -> None:
    wanted = "lupton zero/gain 1/2 -2/1 5/0.25 high 300 noise 0.57735"
    assert COLOR.describe() == wanted

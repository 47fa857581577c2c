from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.sky import resample
from hipsgen.sky import sample_kernels as kernels
from hipsgen.sky.grid import PixelMap
from hipsgen.sky.resample import DEFAULT_INTERPOLATION, INTERPOLATIONS, margin
from tests import naive
from tests.sky import SEEDED, weights_of

Image = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
TABLES = tuple(name for name in INTERPOLATIONS if name != "nearest")
SKY_NOISE = 10.0


def sigma_of(fwhm: float) -> float:
    return float(fwhm / np.sqrt(8 * np.log(2)))


def star(size: int, x: float, y: float, sigma: float, peak: float = 1.0) -> FloatArray:
    rows, cols = np.mgrid[:size, :size]
    return np.asarray(peak * np.exp(-((cols - x) ** 2 + (rows - y) ** 2) / 2 / sigma**2))


def turned_grid(
    n: int, center: float, step: float, degrees: float
) -> tuple[FloatArray, FloatArray]:
    """n x n positions, `step` apart, turned about (center, center)."""
    v, u = np.mgrid[:n, :n] * step - (n - 1) / 2 * step
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return center + cos * u - sin * v, center + sin * u + cos * v


def resampled(pixels: Image, x: FloatArray, y: FloatArray, *interpolation: str) -> Image:
    return resample.resample(pixels, PixelMap.from_positions(x, y), *interpolation)


def unlimited(pixels: Image, x: FloatArray, y: FloatArray) -> Image:
    """The default without its limiter."""
    polynomials = resample.polynomials("optimal")
    at = PixelMap.from_positions(x, y)
    out, holed = np.empty(x.shape, np.float32), np.empty(at.state.shape, np.bool_)
    kernels.SAMPLERS[6](pixels, 0, 0, at, polynomials, False, False, out, holed)
    return out


def around(pixels: Image, x: FloatArray, y: FloatArray, reach: int) -> Image:
    """(k, n, m): the pixels up to `reach` from the cell in which a position lies."""
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    span = range(1 - reach, reach + 1)
    return np.stack([pixels[j + b, i + a] for b, a in product(span, span)])


# against the oracle


@SEEDED
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    holes=st.sampled_from([0.0, 0.1, 0.5]),
    bright=st.booleans(),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
def test_every_interpolation_agrees_with_naive(seed, shape, holes, bright, interpolation) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 1, shape).astype(np.float32)
    if bright:
        pixels[rng.integers(shape[0]), rng.integers(shape[1])] = 1e5
    pixels[rng.random(shape) < holes] = np.nan
    x, y = rng.uniform(-1.5, shape[1] + 0.5, (6, 6)), rng.uniform(-1.5, shape[0] + 0.5, (6, 6))
    got = resampled(pixels, x, y, interpolation)
    if interpolation == "nearest":
        wanted = naive.nearest(pixels, x, y)
    else:
        weights = weights_of(interpolation)
        wanted = naive.sample(pixels, x, y, weights, interpolation == "optimal")
    wanted = naive.keep_missing(pixels, x, y, wanted)
    # sums of many taps are float32, relative to the contrast under the kernel
    contrast = np.nanmax(pixels, initial=0.0) - np.nanmin(pixels, initial=0.0)
    exact = interpolation in ("nearest", "bilinear")
    atol = 1e-9 * (1e5 if bright else 1) if exact else 5e-7 * contrast
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=atol)


# what every interpolation keeps


@pytest.mark.parametrize("value", [0.0, 1.0, -17.3, 1e30, 1e-30, 26214.4])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_constants_are_reproduced_exactly_holes_and_edges_or_not(
    interpolation: str, value: float
) -> None:
    rng = np.random.default_rng(5)
    pixels = np.full((30, 30), value, np.float32)
    pixels[rng.random(pixels.shape) < 0.2] = np.nan
    x, y = rng.uniform(-0.5, 29.49, (2, 60, 60))
    got = resampled(pixels, x, y, interpolation)
    assert set(got[~np.isnan(got)].tolist()) == {float(np.float32(value))}


@pytest.mark.parametrize("interpolation", ["bilinear", "optimal"])
def test_slopes_are_reproduced_exactly(interpolation: str) -> None:
    rng = np.random.default_rng(6)
    rows, cols = np.mgrid[:40, :40]
    pixels = (3.0 * cols - 1.25 * rows + 7).astype(np.float32)
    x, y = rng.uniform(3, 36, (2, 90, 90))
    got = resampled(pixels, x, y, interpolation)
    np.testing.assert_allclose(got, 3.0 * x - 1.25 * y + 7, atol=1e-5)


def test_lanczos3_displaces_slopes_by_no_more_than_a_fiftieth_of_a_pixel() -> None:
    pixels = np.tile(np.arange(40, dtype=np.float32), (40, 1))
    x = np.tile(np.linspace(10, 20, 301), (2, 1))
    off = resampled(pixels, x, np.full_like(x, 20.3), "lanczos3") - x
    assert 0.01 < np.abs(off).max() < 0.02


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_positions_on_pixels_give_those_pixels(interpolation: str) -> None:
    rng = np.random.default_rng(7)
    pixels = rng.normal(size=(15, 18)).astype(np.float32)
    y, x = np.mgrid[:15, :18].astype(float)
    got = resampled(pixels, x, y, interpolation)
    np.testing.assert_allclose(got, pixels, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_turning_and_mirroring_the_image_turns_and_mirrors_the_result(interpolation: str) -> None:
    rng = np.random.default_rng(8)
    pixels = rng.normal(size=(12, 12)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    x, y = rng.uniform(-0.4, 11.4, (2, 40, 40))
    plain = resampled(pixels, x, y, interpolation)
    mirrored = resampled(np.ascontiguousarray(pixels[:, ::-1]), 11 - x, y, interpolation)
    turned = resampled(np.ascontiguousarray(pixels.T), y, x, interpolation)
    negative = resampled(-pixels, x, y, interpolation)
    for other in (mirrored, turned, -negative):
        np.testing.assert_allclose(other, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("interpolation", TABLES)
def test_weights_of_every_fraction_sum_to_one_and_mirror(interpolation: str) -> None:
    table = resample.weights(interpolation, np.linspace(0, 1, 257))
    np.testing.assert_allclose(table.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(table, table[::-1, ::-1], atol=1e-11)


# missing pixels


@SEEDED
@given(st.integers(0, 2**32), st.sampled_from(INTERPOLATIONS), st.floats(0.02, 0.6))
def test_missing_is_where_the_nearest_pixel_is_missing_or_a_lone_one_would_vanish(
    seed, interpolation, holes
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.normal(size=(16, 13)).astype(np.float32)
    pixels[rng.random(pixels.shape) < holes] = np.nan
    x, y = rng.uniform(-0.5, 12.499, (20, 20)), rng.uniform(-0.5, 15.499, (20, 20))
    got = resampled(pixels, x, y, interpolation)
    nearest = pixels[np.floor(y + 0.5).astype(int), np.floor(x + 0.5).astype(int)]
    assert np.isnan(got)[np.isnan(nearest)].all()
    wanted = naive.keep_missing(pixels, x, y, nearest)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_hole_is_the_same_in_one_tile_and_in_the_two_halves_of_it(interpolation: str) -> None:
    for edge in np.linspace(38.0, 42.0, 41):
        pixels = np.ones((60, 90), np.float32)
        pixels[20:40, 40:80] = np.nan
        row, col = np.mgrid[0:50, 0:60].astype(float)
        x, y = col + edge - 30, row + 5.3
        whole = np.isnan(resampled(pixels, x, y, interpolation))
        halves = [
            resampled(pixels, x[:, k], y[:, k], interpolation)
            for k in (slice(0, 30), slice(30, 60))
        ]
        np.testing.assert_array_equal(np.isnan(np.hstack(halves)), whole)


def test_positions_that_are_nowhere_are_missing_and_harm_no_other() -> None:
    pixels = np.ones((9, 9), np.float32)
    pixels[4, 4] = np.nan
    row, col = np.mgrid[0:9, 0:9].astype(float)
    x, y = col + 0.2, row + 0.2
    x[2, 2], y[5, 5], x[3, 6] = np.nan, np.inf, -1e300
    got = resampled(pixels, x, y, "bilinear")
    assert np.isnan(got).sum() == 4


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_lone_missing_pixel_never_vanishes(interpolation: str) -> None:
    # askew as at the poles, and coarser than the input
    row, col = np.mgrid[0:20, 0:20]
    vanished = 0
    for dx, dy in np.random.default_rng(4).uniform(0, 1, (200, 2)):
        pixels = np.ones((40, 40), np.float32)
        pixels[20, 20] = np.nan
        x, y = 7.5 + dx + 1.3 * col - 0.1 * row, 7.5 + dy + 0.5 * col + 0.9 * row
        missing = np.isnan(resampled(pixels, x, y, interpolation))
        vanished += not missing.any()
        assert missing.sum() <= 2
    assert vanished == 0


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_image_ends_half_a_pixel_beyond_its_outer_pixels(interpolation: str) -> None:
    pixels = np.ones((9, 14), np.float32)
    x = np.array([[-0.5, -0.5 - 1e-9, 13.5 - 1e-9, 13.5, 5, 5, np.nan, 5]])
    y = np.array([[4, 4, 4, 4, -0.5 - 1e-9, 8.5, 4, np.nan]])
    got = resampled(pixels, x, y, interpolation)
    np.testing.assert_array_equal(np.isnan(got[0]), [False, True, False, True] + 4 * [True])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_lone_missing_pixel_stays_and_stays_alone(interpolation: str) -> None:
    pixels = np.ones((21, 21), np.float32)
    pixels[10, 10] = np.nan
    y, x = np.mgrid[4:17, 4:17] + 0.3
    missing = np.isnan(resampled(pixels, x, y, interpolation))
    assert missing.sum() == 1
    assert missing[6, 6]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("degrees", [0.0, 30.0, 45.0])
def test_a_hole_keeps_its_size_to_half_a_pixel_shifted_and_turned(
    degrees: float, interpolation: str
) -> None:
    pixels = np.ones((61, 61), np.float32)
    pixels[21:41, 21:41] = np.nan  # a square from 20.5 to 40.5
    x, y = turned_grid(41, 30.37, 1.0, degrees)
    missing = np.isnan(resampled(pixels, x, y, interpolation))
    beyond = np.maximum(np.abs(x - 30.5), np.abs(y - 30.5)) - 10.0
    assert missing[beyond < -1e-9].all()
    assert not missing[beyond > 1e-9].any()
    assert missing.sum() == pytest.approx(400, abs=4 * 20 * 0.5)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@SEEDED
@given(seed=st.integers(0, 2**32))
def test_the_result_does_not_depend_on_the_section_that_was_read(interpolation, seed) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.normal(size=(60, 60)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    low = rng.integers(0, 30, 2)
    (row, col), (rows, cols) = low, rng.integers(1, 20, 2)
    x, y = rng.uniform(col - 0.5, col + cols, (9, 9)), rng.uniform(row - 0.5, row + rows, (9, 9))
    # as PixelMap.section asks for it
    reach = margin(interpolation)
    top, left = max(0, int(y.min()) - reach), max(0, int(x.min()) - reach)
    part = pixels[top : int(y.max()) + reach + 2, left : int(x.max()) + reach + 2]
    whole = resampled(pixels, x, y, interpolation)
    alone = resampled(part, x - left, y - top, interpolation)
    assert alone.tobytes() == whole.tobytes()


def test_margin_is_what_a_kernel_reaches() -> None:
    assert {name: margin(name) for name in INTERPOLATIONS} == {
        "nearest": 1, "bilinear": 1, "lanczos3": 3, "optimal": 3, "lanczos5": 5,
    }  # fmt: skip


def test_where_no_weight_is_left_the_nearest_pixel_stands_in() -> None:
    # only the nearest pixel and, bright and far, those with negative weights
    pixels = np.full((12, 12), np.nan, np.float32)
    pixels[5, 5] = 3.0
    pixels[[5, 6, 7, 7, 4, 4], [7, 4, 5, 6, 5, 6]] = 1e6
    pixels[5, 4] = 1e6
    at = np.full((1, 1), 5.45)
    assert unlimited(pixels, at, at)[0, 0] == 3.0


# stars


PEAKS = {  # per cent, from the docstring of hipsgen.sky.resample: mean, and worst
    (3.0, "bilinear"): (-9.4, -14.3), (3.0, "lanczos3"): (0.4, 0.7),
    (3.0, "lanczos5"): (0.1, 0.2), (3.0, "optimal"): (-0.1, -0.3),
    (3.5, "bilinear"): (-7.1, -10.7), (3.5, "lanczos3"): (0.4, 0.8),
    (3.5, "lanczos5"): (0.1, 0.2), (3.5, "optimal"): (0.0, 0.0),
    (4.0, "bilinear"): (-5.5, -8.3), (4.0, "lanczos3"): (0.4, 0.7),
    (4.0, "lanczos5"): (0.1, 0.2), (4.0, "optimal"): (0.0, -0.1),
}  # fmt: skip


def peak_errors(fwhm: float, interpolation: str) -> FloatArray:
    """Per cent, over sub-pixel positions of the star."""
    found = []
    for dx, dy in product(np.arange(12) / 12, repeat=2):
        image = star(21, 10 + dx, 10 + dy, sigma_of(fwhm)).astype(np.float32)
        at = np.array([[10 + dx]]), np.array([[10 + dy]])
        found.append(resampled(image, *at, interpolation)[0, 0] - 1.0)
    return 100 * np.array(found)


@pytest.mark.parametrize(("fwhm", "interpolation"), PEAKS)
def test_peaks_of_stars_are_as_the_table_says(fwhm: float, interpolation: str) -> None:
    off = peak_errors(fwhm, interpolation)
    mean, worst = PEAKS[fwhm, interpolation]
    assert off.mean() == pytest.approx(mean, abs=0.06)
    assert off[np.abs(off).argmax()] == pytest.approx(worst, abs=0.06)


def test_the_default_is_right_to_half_a_percent_at_four_pixels() -> None:
    off = peak_errors(4.0, DEFAULT_INTERPOLATION)
    assert abs(off.mean()) < 0.5
    assert np.abs(off).max() < 0.5


@pytest.mark.parametrize("fwhm", [2.5, 3.0, 6.0])
def test_the_limiter_leaves_the_peaks_of_sharp_stars_alone(fwhm: float) -> None:
    for dx, dy in product([0.0, 0.2, 0.5], [0.0, 0.4, 0.5]):
        image = star(21, 10 + dx, 10 + dy, sigma_of(fwhm)).astype(np.float32)
        at = np.array([[10 + dx]]), np.array([[10 + dy]])
        assert resampled(image, *at) == unlimited(image, *at)


@pytest.mark.parametrize("degrees", [10.0, 33.0, 72.0])
@pytest.mark.parametrize("fwhm", [3.5, 4.0])
def test_flux_of_a_star_is_kept_on_a_turned_grid(fwhm: float, degrees: float) -> None:
    image = star(81, 40.2, 39.7, sigma_of(fwhm)).astype(np.float32)
    step = 1.0065  # 0.2013" on 0.2"
    x, y = turned_grid(51, 40.1, step, degrees)
    flux = resampled(image, x, y).sum(dtype=float) * step**2
    assert flux == pytest.approx(image.sum(dtype=float), rel=1e-4)


@pytest.mark.parametrize("degrees", [10.0, 33.0])
def test_a_star_stays_where_it_is(degrees: float) -> None:
    image = star(81, 40.2, 39.7, sigma_of(4.0)).astype(np.float32)
    x, y = turned_grid(51, 40.1, 1.0065, degrees)
    got = resampled(image, x, y)
    assert np.average(x, weights=got) == pytest.approx(40.2, abs=1e-3)
    assert np.average(y, weights=got) == pytest.approx(39.7, abs=1e-3)


# no rings


@pytest.fixture(scope="module", params=[(40.2, 39.7, 1.5), (40.0, 40.0, 1.5), (40.5, 40.3, 1.2)])
def saturated(request: pytest.FixtureRequest) -> Image:
    rng = np.random.default_rng(9)
    clipped = np.minimum(star(81, *request.param, peak=1e7), 1e5)
    return (clipped + rng.normal(0, SKY_NOISE, clipped.shape)).astype(np.float32)


def undershoot(image: Image, got: FloatArray, x: FloatArray, y: FloatArray) -> float:
    return float((around(image, x, y, 2).min(axis=0) - got).max())


def overshoot(image: Image, got: FloatArray, x: FloatArray, y: FloatArray) -> float:
    return float((got - around(image, x, y, 2).max(axis=0)).max())


def test_no_ring_round_a_star_clipped_by_saturation(saturated: Image) -> None:
    x, y = turned_grid(150, 40.0, 0.21, 17.0)
    got = resampled(saturated, x, y)
    textbook = resampled(saturated, x, y, "lanczos3")
    print(
        f"below the 4x4 pixels round a saturated star: lanczos3 "
        f"{undershoot(saturated, textbook, x, y):.0f}, default "
        f"{undershoot(saturated, got, x, y):.0f}, noise of the sky {SKY_NOISE:.0f}"
    )
    assert undershoot(saturated, textbook, x, y) > 1000
    assert undershoot(saturated, got, x, y) < 6 * SKY_NOISE
    assert overshoot(saturated, got, x, y) < 6 * SKY_NOISE
    # nor is anything much below the sky's own lowest pixel
    assert got.min() > saturated.min() - 2 * SKY_NOISE


@pytest.mark.parametrize(("cx", "cy", "sigma"), [(40.2, 39.7, 1.5), (40.5, 40.3, 1.2)])
def test_no_ring_round_a_hole_where_saturation_is_masked(
    cx: float, cy: float, sigma: float
) -> None:
    rng = np.random.default_rng(12)
    image = (star(81, cx, cy, sigma, 1e7) + rng.normal(0, SKY_NOISE, (81, 81))).astype(np.float32)
    image[image > 9e4] = np.nan
    x, y = turned_grid(150, 40.0, 0.21, 17.0)
    got = resampled(image, x, y)
    lowest = np.fmin.reduce(around(image, x, y, 2))
    assert np.nanmax(lowest - got) < 6 * SKY_NOISE
    # and on the flank that is left it is nearer to the star than bilinear, which never overshoots
    flank = ~np.isnan(got) & np.isnan(around(image, x, y, 3)).any(axis=0)
    truth = 1e7 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 2 / sigma**2)
    plain = resampled(image, x, y, "bilinear")
    assert np.std((got - truth)[flank]) < np.std((plain - truth)[flank])


def test_no_ring_round_a_hole_in_the_sky() -> None:
    rng = np.random.default_rng(10)
    image = rng.normal(1000, SKY_NOISE, (81, 81)).astype(np.float32)
    image[30:50, 30:50] = np.nan
    x, y = turned_grid(150, 40.0, 0.21, 17.0)
    got = resampled(image, x, y)
    edge = ~np.isnan(got) & np.isnan(around(image, x, y, 3)).any(axis=0)
    assert abs(got[edge].mean() - 1000) < 0.2 * SKY_NOISE
    assert np.abs(got[edge] - 1000).max() < 6 * SKY_NOISE


def test_in_pure_noise_the_limiter_touches_less_than_a_thousandth_and_biases_nothing() -> None:
    rng = np.random.default_rng(11)
    image = rng.normal(0, 1, (1000, 1000)).astype(np.float32)
    x, y = rng.uniform(3, 996, (2, 900, 900))
    got, free = resampled(image, x, y), unlimited(image, x, y)
    assert (got != free).mean() < 1e-3
    assert abs((got - free).mean(dtype=float)) < 1e-4


# arguments


def test_an_unknown_interpolation_is_refused_with_the_names_of_the_known() -> None:
    image, at = np.zeros((4, 4), np.float32), np.zeros((2, 2))
    with pytest.raises(ValueError, match="'cubic' is not one of optimal, bilinear, nearest"):
        resampled(image, at, at, "cubic")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4), np.int16),
        np.zeros((2, 4, 4), np.float32),
        np.zeros(4, np.float32),
        np.zeros((4, 4), np.dtype(np.float32).newbyteorder()),
    ],
)
def test_images_that_are_not_2d_native_float32_are_refused(image: npt.NDArray[np.generic]) -> None:
    at = np.zeros((2, 2))
    with pytest.raises(ValueError, match="must be 2-D native float32"):
        resampled(image, at, at)  # type: ignore[arg-type]


@pytest.mark.parametrize(("x", "y"), [((2, 2), (2, 3)), ((4,), (4,)), ((1, 2, 2), (1, 2, 2))])
def test_positions_of_two_shapes_or_not_2d_are_refused(
    x: tuple[int, ...], y: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="both must have one 2-D shape"):
        resampled(np.zeros((4, 4), np.float32), np.zeros(x), np.zeros(y))

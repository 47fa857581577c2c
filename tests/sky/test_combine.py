import numpy as np
import numpy.typing as npt
import pytest

from hipsgen.sky.combine import DEFAULT_OVERLAP, OVERLAPS, Accumulator
from hipsgen.sky.grid import PixelMap
from hipsgen.sky.grid_kernels import CELL, OUTSIDE
from tests import naive

WIDTH = 64
SHAPE = (40, 50)  # rows, columns of a coadd
SCALE = 0.2 / 3600
Image = npt.NDArray[np.float32]


def lying(x0: float, y0: float, width: int = WIDTH) -> PixelMap:
    """A tile whose first pixel lies at (x0, y0) on the coadd, pixel for pixel."""
    rows, cols = np.mgrid[:width, :width].astype(float)
    return PixelMap.from_positions(cols + x0, rows + y0)


def seen(image: Image, position: PixelMap, shape: tuple[int, int] = SHAPE) -> Image:
    """Values of a tile, NaN where it is off the coadd."""
    x, y = position.positions()
    on = (x >= -0.5) & (x < shape[1] - 0.5) & (y >= -0.5) & (y < shape[0] - 0.5)
    return np.where(on, image, np.float32(np.nan)).astype(np.float32)


def combined(overlap: str, *coadds: tuple[Image, PixelMap]) -> Image:
    gathered = Accumulator(WIDTH, overlap)
    for values, position in coadds:
        gathered.add(values, position, SHAPE, SCALE)
    return gathered.result()


def some_coadds(seed: int, n: int = 4) -> list[tuple[Image, PixelMap]]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        position = lying(*rng.uniform(-40, 20, 2))
        values = seen(rng.normal(5, 100, (WIDTH, WIDTH)).astype(np.float32), position)
        values[rng.random(values.shape) < 0.05] = np.nan
        found.append((values, position))
    return found


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("seed", range(3))
def test_overlaps_agree_with_naive(overlap: str, seed: int) -> None:
    coadds = some_coadds(seed)
    total, weight = np.zeros((2, WIDTH, WIDTH))
    for values, at in coadds:
        if overlap == "mean":
            total, weight = naive.add_mean(values, total, weight)
        elif overlap == "feather":
            ramp = 0.25 * min(SHAPE)
            total, weight = naive.add_feathered(values, *at.positions(), SHAPE, ramp, total, weight)
        else:
            total, weight = naive.keep_deepest(values, *at.positions(), SHAPE, SCALE, total, weight)
    wanted = naive.divide(total, weight)
    np.testing.assert_allclose(combined(overlap, *coadds), wanted, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("seed", range(3))
def test_cells_that_are_off_a_coadd_change_nothing(overlap: str, seed: int) -> None:
    coadds = some_coadds(seed)
    sparse = [(values, without_cells_outside(values, at)) for values, at in coadds]
    assert any((at.state == OUTSIDE).any() for _, at in sparse)
    np.testing.assert_allclose(
        combined(overlap, *sparse), combined(overlap, *coadds), rtol=2e-7, atol=0
    )


def without_cells_outside(values: Image, at: PixelMap) -> PixelMap:
    """The map with the state that cells without a value have in a build."""
    n = at.state.shape[0]
    empty = np.isnan(values).reshape(n, CELL, n, CELL).all(axis=(1, 3))
    return at._replace(state=np.where(empty, OUTSIDE, at.state).astype(np.uint8))


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_a_tile_has_a_value_exactly_where_a_coadd_has_one(overlap: str) -> None:
    coadds = some_coadds(7)
    nowhere = np.all([np.isnan(values) for values, _ in coadds], axis=0)
    assert 0 < nowhere.mean() < 1
    np.testing.assert_array_equal(np.isnan(combined(overlap, *coadds)), nowhere)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_a_coadd_alone_is_unchanged_to_its_edge(overlap: str) -> None:
    ((values, position),) = some_coadds(8, 1)
    values[0, 0] = np.float32(1e30)
    np.testing.assert_array_equal(combined(overlap, (values, position)), values)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_coadds_that_say_the_same_are_unchanged(overlap: str) -> None:
    rng = np.random.default_rng(9)
    image = rng.normal(5, 100, (WIDTH, WIDTH)).astype(np.float32)
    places = [lying(-5.0, -5.0), lying(-10.3, 3.7), lying(2.2, -12.1), lying(-0.5, -0.5)]
    got = combined(overlap, *((seen(image, at), at) for at in places))
    known = ~np.isnan(got)
    assert known.any()
    np.testing.assert_allclose(got[known], image[known], rtol=2e-7)


def test_nothing_added_is_nothing() -> None:
    assert np.isnan(Accumulator(8).result()).all()


def test_mean_is_the_mean_of_those_that_have_a_value() -> None:
    coadds = some_coadds(10)
    stack = np.array([values for values, _ in coadds], float)
    known = ~np.isnan(stack).all(axis=0)
    np.testing.assert_allclose(
        combined("mean", *coadds)[known], np.nanmean(stack[:, known], axis=0), rtol=1e-6, atol=1e-5
    )


def test_primary_is_one_coadd_unchanged_the_one_in_which_the_point_lies_deepest() -> None:
    coadds = some_coadds(11)
    got = combined("primary", *coadds)
    depth = np.array([_depth(at, SHAPE) for _, at in coadds])
    depth[[np.isnan(values) for values, _ in coadds]] = -1
    for r, c in np.argwhere(~np.isnan(got)):
        deepest = int(depth[:, r, c].argmax())
        assert got[r, c] == coadds[deepest][0][r, c]


def test_primary_does_not_depend_on_the_order_of_the_coadds() -> None:
    coadds = some_coadds(12)
    np.testing.assert_array_equal(
        combined("primary", *coadds), combined("primary", *reversed(coadds))
    )


def test_primary_takes_the_first_of_equally_deep_coadds() -> None:
    one, at = np.ones((WIDTH, WIDTH), np.float32), lying(0.0, 0.0)
    got = combined("primary", (seen(one, at), at), (seen(2 * one, at), at))
    assert np.nanmax(got) == 1


def test_primary_compares_depths_on_the_sky_not_in_pixels() -> None:
    # 10 pixels deep in a coarse coadd is deeper than 30 in a fine one
    one = np.ones((WIDTH, WIDTH), np.float32)
    gathered = Accumulator(WIDTH, "primary")
    gathered.add(one, lying(30.0, 30.0), (1000, 1000), 0.2 / 3600)
    gathered.add(2 * one, lying(10.0, 10.0), (1000, 1000), 1.0 / 3600)
    assert (gathered.result() == 2).all()


def _depth(at: PixelMap, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    rows, cols = shape
    x, y = at.positions()
    return np.minimum.reduce([x + 0.5, cols - 0.5 - x, y + 0.5, rows - 0.5 - y])


def two_backgrounds(overlap: str, shape: tuple[int, int], width: int = 256) -> Image:
    """A coadd of ones that ends at column 189, and one of zeros that begins at column 100."""
    gathered = Accumulator(width, overlap)
    for value, at in ((1.0, lying(110.2, 20.0, width)), (0.0, lying(-100.3, 20.0, width))):
        values = np.full((width, width), value, np.float32)
        gathered.add(seen(values, at, shape), at, shape, SCALE)
    return gathered.result()


def test_feather_leaves_no_seam_between_coadds_of_different_backgrounds() -> None:
    got = two_backgrounds("feather", (300, 300))
    step = np.abs(np.diff(got, axis=1))
    assert np.nanmax(got) == 1
    assert np.nanmin(got) == 0
    assert np.nanmax(step) < 0.03
    # `mean` and `primary` do have one
    assert np.nanmax(np.abs(np.diff(two_backgrounds("mean", (300, 300)), axis=1))) > 0.4
    assert np.nanmax(np.abs(np.diff(two_backgrounds("primary", (300, 300)), axis=1))) > 0.9


def test_feather_goes_to_nothing_at_the_edge_of_each_coadd() -> None:
    # in the middle of a large coadd of ones a small one of zeros begins and ends unnoticed
    ones, zeros = np.ones((WIDTH, WIDTH), np.float32), np.zeros((WIDTH, WIDTH), np.float32)
    gathered = Accumulator(WIDTH, "feather")
    gathered.add(ones, lying(500.0, 500.0), (1000, 1000), SCALE)
    inner = lying(-10.0, -10.0)
    gathered.add(seen(zeros, inner), inner, SHAPE, SCALE)
    got = gathered.result()
    assert got[30, 35] == pytest.approx(0.5, abs=1e-6)
    assert got[10, 35] > 0.99
    # 1.5 / ramp, the steepest slope of the weights, on the shorter side's quarter
    assert np.abs(np.diff(got, axis=0)).max() < 1.5 / (0.25 * 40)
    assert np.abs(np.diff(got, axis=1)).max() < 1.5 / (0.25 * 40)


def test_an_unknown_overlap_is_refused_with_the_names_of_the_known() -> None:
    with pytest.raises(ValueError, match="'median' is not one of feather, primary, mean"):
        Accumulator(8, "median")


def test_the_default_is_feather() -> None:
    assert DEFAULT_OVERLAP == "feather"

import healpy
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.sky.pyramid import Layer, parent_of, shrink
from hipsgen.sky.tiles import Tile, nested_index
from tests import naive
from tests.sky import SEEDED

WIDTH = 16


def random_layer(rng: np.random.Generator, width: int = WIDTH, missing: float = 0.4) -> Layer:
    """Coverages of any size, and pixels without data."""
    value = rng.normal(3, 100, (width, width)).astype(np.float32)
    coverage = rng.uniform(0.01, 1, value.shape).astype(np.float32)
    gone = rng.random(value.shape) < missing
    value[gone], coverage[gone] = np.nan, 0
    return Layer(value, coverage)


def light(*layers: Layer) -> float:
    return sum(float(np.nansum(v.coverage * v.value.astype(float))) for v in layers)


@SEEDED
@given(st.integers(0, 2**32), st.sets(st.integers(0, 3), min_size=1), st.floats(0, 1))
def test_parents_agree_with_naive(seed: int, places: set[int], missing: float) -> None:
    rng = np.random.default_rng(seed)
    children = {place: random_layer(rng, missing=missing) for place in places}
    got = parent_of(children.items(), WIDTH)
    value, coverage = np.full((WIDTH, WIDTH), np.nan), np.zeros((WIDTH, WIDTH))
    half = WIDTH // 2
    quarters = {0: (half, 0), 1: (0, 0), 2: (half, half), 3: (0, half)}
    for place, child in children.items():
        row, col = quarters[place]
        at = slice(row, row + half), slice(col, col + half)
        value[at], coverage[at] = naive.halve(child.value, child.coverage)
    np.testing.assert_allclose(got.value, value, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(got.coverage, coverage, rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(got.value), got.coverage == 0)


@pytest.mark.parametrize("tile", [Tile(0, 4), Tile(1, 7), Tile(3, 300), Tile(11, 12345678)])
def test_a_parents_pixel_lies_in_the_middle_of_its_four_childrens_pixels(tile: Tile) -> None:
    # the children carry as values the x, y, z of their pixels as healpy has them
    nside = (2 << tile.order) * WIDTH
    index = nested_index(WIDTH)
    for axis in range(3):
        children = {}
        for child in tile.children:
            at = healpy.pix2vec(nside, child.npix * WIDTH**2 + index, nest=True)[axis]
            children[child.npix & 3] = at
        # in pixels from the tile's middle, for float32 has too few digits for positions
        center = np.stack(healpy.pix2vec(nside // 2, tile.npix * WIDTH**2 + index, nest=True))[axis]
        side = 1.0 / nside
        shown = {
            place: Layer(((at - center.mean()) / side).astype(np.float32))
            for place, at in children.items()
        }
        got = parent_of(shown.items(), WIDTH).value * side + center.mean()
        assert np.abs(got - center).max() < 0.05 * side * (4 if tile.order == 0 else 1)


@SEEDED
@given(st.integers(0, 2**32), st.sets(st.integers(0, 3), min_size=1))
def test_light_is_conserved_going_up(seed: int, places: set[int]) -> None:
    rng = np.random.default_rng(seed)
    children = {place: random_layer(rng) for place in places}
    parent = parent_of(children.items(), WIDTH)
    # a parent's pixel has the area of four
    size = sum(float(np.nansum(c.coverage * np.abs(c.value))) for c in children.values())
    assert 4 * light(parent) == pytest.approx(light(*children.values()), abs=1e-6 * size)
    assert 4 * parent.coverage.sum(dtype=float) == pytest.approx(
        sum(c.coverage.sum(dtype=float) for c in children.values()), rel=1e-6
    )


def test_a_constant_stays_that_constant_however_ragged_the_coverage() -> None:
    rng = np.random.default_rng(2)
    layer = random_layer(rng, 64, missing=0.7)
    constant = Layer(np.where(layer.coverage > 0, np.float32(1.1), layer.value), layer.coverage)
    for _ in range(6):
        constant = parent_of([(k, constant) for k in range(4)], 64)
    assert set(constant.value[constant.coverage > 0].tolist()) == {float(np.float32(1.1))}


def test_an_edge_keeps_its_place_at_every_order() -> None:
    # the footprint neither grows nor shrinks by more than half a pixel
    width, covered = 64, 0.66
    leaf = np.full((width, width), np.nan, np.float32)
    leaf[:, : round(covered * width)] = 1
    layer = Layer(leaf)
    while layer.value.shape[0] > 1:
        shown = (~np.isnan(layer.visible())).mean()
        assert shown == pytest.approx(covered, abs=0.51 / layer.value.shape[0] + 0.01)
        layer = shrink(layer, layer.value.shape[0] // 2)


def test_visible_shows_what_is_at_least_half_covered() -> None:
    value = np.array([[1, 2], [3, np.nan]], np.float32)
    coverage = np.array([[0.49, 0.5], [1, 0]], np.float32)
    np.testing.assert_array_equal(
        Layer(value, coverage).visible(), np.array([[np.nan, 2], [3, np.nan]], np.float32)
    )


def test_a_survey_smaller_than_a_pixel_does_not_vanish_from_low_orders() -> None:
    leaf = np.full((WIDTH, WIDTH), np.nan, np.float32)
    leaf[3, 9] = 7.0
    layer = Layer(leaf)
    for _ in range(11):
        layer = parent_of([(2, layer)], WIDTH)
        shown = layer.visible()
        assert (~np.isnan(shown)).sum() == 1
        assert shown[~np.isnan(shown)] == 7.0


def test_visible_of_an_empty_layer_is_empty() -> None:
    empty = Layer(np.full((4, 4), np.nan, np.float32))
    assert np.isnan(empty.visible()).all()
    assert np.isnan(empty.visible()).all()


def test_there_is_no_parent_of_no_children() -> None:
    assert parent_of([], WIDTH) is None
    assert parent_of([(2, None)], WIDTH) is None


def test_a_leaf_is_covered_where_it_has_data() -> None:
    value = np.array([[0, np.nan], [-1, np.inf]], np.float32)
    np.testing.assert_array_equal(Layer(value).coverage, [[1, 0], [1, 1]])


@pytest.mark.parametrize("width", [16, 8, 1])
def test_shrink_is_the_mean_of_squares_weighted_by_coverage(width: int) -> None:
    layer = random_layer(np.random.default_rng(3))
    small = shrink(layer, width)
    assert small.value.shape == small.coverage.shape == (width, width)
    area = (WIDTH // width) ** 2
    size = float(np.nansum(layer.coverage * np.abs(layer.value)))
    assert area * light(small) == pytest.approx(light(layer), abs=1e-6 * size)
    block: npt.NDArray[np.float32] = layer.coverage[-WIDTH // width :, : WIDTH // width]
    assert small.coverage[-1, 0] == pytest.approx(block.mean(), rel=1e-5)

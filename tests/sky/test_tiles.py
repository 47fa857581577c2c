import healpy
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.sky.tiles import (
    MAX_ORDER,
    Tile,
    cell_centers,
    corner_grids,
    deinterleave,
    face_to_vectors,
    nested_index,
    order_for,
    pixel_area,
    pixel_size,
    vectors_to_npix,
)
from tests.sky import SEEDED

ARCSEC_DEG = 1 / 3600
FACES = range(12)
# healpy goes down to order 29, so a tile of 512 pixels to order 20


@st.composite
def tiles(draw: st.DrawFn, lowest: int = 0, highest: int = MAX_ORDER) -> Tile:
    order = draw(st.integers(lowest, highest))
    return Tile(order, draw(st.integers(0, 12 * 4**order - 1)))


def interleave(x: int, y: int) -> int:
    return sum((x >> k & 1) << 2 * k | (y >> k & 1) << 2 * k + 1 for k in range(32))


def separation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(2 * np.arcsin(np.clip(np.linalg.norm(a - b, axis=-1) / 2, 0, 1)))


def assert_pixels_as_in_healpy(tile: Tile, width: int, rows: list[int], cols: list[int]) -> None:
    got = tile.vectors(np.array(rows), np.array(cols), width)
    index = [
        tile.npix * width**2 + interleave(width - 1 - r, c) for r, c in zip(rows, cols, strict=True)
    ]
    wanted = np.stack(healpy.pix2vec((1 << tile.order) * width, index, nest=True), axis=-1)
    # healpy's own vectors are good to some 1e-15; a thousandth of a pixel where that is larger
    limit = max(1e-3 * np.radians(pixel_size(tile.order, width)), 4e-15)
    assert separation(got, wanted).max() < limit
    np.testing.assert_allclose(np.linalg.norm(got, axis=-1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("order", range(21))
@pytest.mark.parametrize("face", FACES)
def test_pixels_lie_where_healpy_puts_them(face: int, order: int) -> None:
    rng = np.random.default_rng([order, face])
    per_face = 4**order
    # the first tile, the last (the poles' for the caps), the corners east and west, and any
    east, west = int("01" * order or "0", 2), int("10" * order or "0", 2)
    places = {0, per_face - 1, east, west, *rng.integers(0, per_face, 3).tolist()}
    rows, cols = (
        [0, 0, 511, 511, *rng.integers(0, 512, 20)],
        [0, 511, 0, 511, *rng.integers(0, 512, 20)],
    )
    for place in places:
        assert_pixels_as_in_healpy(Tile(order, face * per_face + place), 512, rows, cols)


@SEEDED
@given(tiles(highest=20), st.integers(0, 9), st.randoms(use_true_random=False))
def test_pixels_lie_where_healpy_puts_them_for_any_tile_width(tile, bits, random) -> None:
    width = 1 << bits
    places = [[random.randrange(width) for _ in range(5)] for _ in range(2)]
    assert_pixels_as_in_healpy(tile, width, *places)


@pytest.mark.parametrize("face", FACES)
def test_every_pixel_of_a_base_tile_agrees_with_healpy_in_angles(face: int) -> None:
    width = 64
    rows, cols = np.mgrid[:width, :width]
    x, y, z = np.moveaxis(Tile(0, face).vectors(rows, cols, width), -1, 0)
    lon, lat = healpy.pix2ang(width, face * width**2 + nested_index(width), nest=True, lonlat=True)
    np.testing.assert_allclose(np.degrees(np.arcsin(z)), lat, atol=1e-12)
    off = np.degrees(np.arctan2(y, x)) - lon
    np.testing.assert_allclose((off + 180) % 360 - 180, 0.0, atol=1e-12)


def test_orientation_is_that_of_the_standard() -> None:
    # x grows to the north-east and downwards, y to the north-west and along the columns: so north
    # of a tile is the end of its bottom row, east the start of the bottom row
    tile, end = Tile(3, 300), 511
    south, west, east, north = (
        tile.vectors(r, c, 512) for r, c in ((end, 0), (end, end), (0, 0), (0, end))
    )
    assert north[2] > max(east[2], west[2]) > south[2]
    assert min(east[2], west[2]) > south[2]
    eastward = np.cross([0, 0, 1], tile.vectors(255.5, 255.5, 512))
    assert east @ eastward > 0 > west @ eastward


@pytest.mark.parametrize("order", [0, 3, 11, 20, 29])
@pytest.mark.parametrize("north", [True, False])
def test_the_corner_of_the_tiles_round_a_pole_is_the_pole(order: int, north: bool) -> None:
    side = 1 << 2 * order
    for face in range(4) if north else range(8, 12):
        tile = Tile(order, face * side + (side - 1 if north else 0))
        row, col = (-0.5, 511.5) if north else (511.5, -0.5)
        corner = tile.vectors(row, col, 512)
        assert separation(corner, np.array([0, 0, 1.0 if north else -1.0])) < 1e-15
        beside = tile.vectors(*((0, 511) if north else (511, 0)), 512)
        # the center of the first pixel is sqrt(2/3)/nside of the pole away, to every digit
        assert np.hypot(*beside[:2]) == pytest.approx(np.sqrt(2 / 3) / (512 << order), rel=1e-6)


def test_base_faces_meet_along_each_of_their_edges() -> None:
    t = np.linspace(0, 1, 33)[1:-1]
    zero, one = 0 * t, 0 * t + 1
    around = ((t, zero), (t, one), (zero, t), (one, t))
    edges = [(face, face_to_vectors(face, x, y)) for face in FACES for x, y in around]
    for face, edge in edges:
        twins = [
            other_face
            for other_face, other in edges
            if other_face != face
            and min(separation(other, edge).max(), separation(other[::-1], edge).max()) < 1e-14
        ]
        assert len(twins) == 1


@SEEDED
@given(tiles(highest=28))
def test_children_are_four_and_know_their_parent(tile: Tile) -> None:
    assert len(set(tile.children)) == 4
    assert [c.npix for c in tile.children] == [4 * tile.npix + k for k in range(4)]
    assert {c.parent for c in tile.children} == {tile}


@SEEDED
@given(tiles(highest=19), st.floats(-0.5, 511.5), st.floats(-0.5, 511.5))
def test_a_position_of_a_tile_lies_in_one_of_its_children(tile, row, col) -> None:
    # x is bit 0 and runs against the rows, y is bit 1 and runs along the columns
    place = (1 if row < 255.5 else 0) | (2 if col >= 255.5 else 0)
    child_row = 2 * row + 0.5 - (0 if row < 255.5 else 512)
    child_col = 2 * col + 0.5 - (512 if col >= 255.5 else 0)
    there = tile.children[place].vectors(child_row, child_col, 512)
    limit = max(1e-3 * np.radians(pixel_size(tile.order, 512)), 4e-15)
    assert separation(tile.vectors(row, col, 512), there) < limit


@SEEDED
@given(tiles(), st.integers(0, MAX_ORDER))
def test_ancestor_is_the_parent_taken_again_and_again(tile: Tile, order: int) -> None:
    if order > tile.order:
        with pytest.raises(ValueError, match=r".+"):
            tile.ancestor(order)
        return
    parent = tile
    while parent.order > order:
        parent = parent.parent
    assert tile.ancestor(order) == parent


@SEEDED
@given(tiles())
def test_path_is_the_standards_with_directories_of_ten_thousand(tile: Tile) -> None:
    norder, directory, name = tile.path("fits").split("/")
    assert norder == f"Norder{tile.order}"
    assert name == f"Npix{tile.npix}.fits"
    start = int(directory.removeprefix("Dir"))
    assert start % 10000 == 0
    assert start <= tile.npix < start + 10000


def test_tiles_sort_by_order_then_along_the_nested_curve() -> None:
    assert sorted([Tile(2, 5), Tile(1, 7), Tile(2, 4)]) == [Tile(1, 7), Tile(2, 4), Tile(2, 5)]


@pytest.mark.parametrize(
    ("order", "npix"), [(-1, 0), (30, 0), (0, 12), (0, -1), (3, 768), (29, 12 * 4**29)]
)
def test_tiles_that_do_not_exist_are_refused_by_name(order: int, npix: int) -> None:
    with pytest.raises(ValueError, match=f"no tile {npix} at order {order}"):
        Tile(order, npix)


def test_a_base_tile_has_no_parent_and_the_deepest_no_children() -> None:
    with pytest.raises(ValueError, match="order -1"):
        _ = Tile(0, 3).parent
    with pytest.raises(ValueError, match="order 30"):
        _ = Tile(29, 3).children


@SEEDED
@given(st.integers(0, 2**29 - 1), st.integers(0, 2**29 - 1))
def test_deinterleave_undoes_interleave(x: int, y: int) -> None:
    assert deinterleave(interleave(x, y)) == (x, y)


@pytest.mark.parametrize("bits", range(10))
def test_nested_index_numbers_every_pixel_once_as_deinterleave_reads_it(bits: int) -> None:
    width = 1 << bits
    index = nested_index(width)
    assert sorted(index.ravel().tolist()) == list(range(width**2))
    for row, col in {(0, 0), (width - 1, 0), (0, width - 1), (width // 2, width // 3)}:
        assert deinterleave(int(index[row, col])) == (width - 1 - row, col)


@pytest.mark.parametrize("order", range(21))
def test_pixel_size_is_healpys(order: int) -> None:
    nside = 512 << order
    assert pixel_size(order, 512) == pytest.approx(healpy.nside2resol(nside) * 180 / np.pi)
    area = healpy.nside2pixarea(nside, degrees=True) * 3600**2
    assert pixel_area(order, 512) == pytest.approx(area)


@pytest.mark.parametrize(
    ("scale", "width", "order"),
    [
        (0.2, 512, 11),
        (0.2, 256, 12),
        (0.1, 512, 12),
        (0.19, 512, 12),
        (300.0, 512, 1),
        (1e6, 512, 0),
    ],
)
def test_order_for_known_pixel_scales(scale: float, width: int, order: int) -> None:
    assert order_for(scale * ARCSEC_DEG, width) == order


@SEEDED
@given(st.floats(1e-8, 5.0), st.sampled_from([64, 256, 512, 1024]))
def test_order_for_is_the_coarsest_with_pixels_at_most_5_percent_larger(scale, width) -> None:
    order = order_for(scale, width)
    assert pixel_size(order, width) <= 1.05 * scale or order == MAX_ORDER
    assert order == 0 or pixel_size(order - 1, width) > 1.05 * scale


def test_order_for_stops_at_the_deepest_order() -> None:
    assert order_for(1e-30, 512) == MAX_ORDER


def test_deinterleave_takes_arrays_too() -> None:
    x, y = np.random.default_rng(0).integers(0, 1 << 29, (2, 1000))
    bits = np.array([interleave(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)])
    got_x, got_y = deinterleave(bits)
    np.testing.assert_array_equal(got_x, x)
    np.testing.assert_array_equal(got_y, y)


@pytest.mark.parametrize("order", [0, 1, 5, 14, 29])
def test_a_million_vectors_lie_in_the_tiles_that_healpy_names(order: int) -> None:
    rng = np.random.default_rng(order)
    vectors = rng.normal(size=(1_000_000, 3))
    vectors[:1000, :2] *= 1e-9  # close to the poles
    vectors[1000:1010, :2] = 0.0  # and on them
    vectors[1010:100_000, 2] = 0.0
    # where the formula changes: sin(latitude) = 2/3, nearly
    edge = np.copysign(2 / np.sqrt(5), vectors[100_000:300_000, 2])
    vectors[100_000:300_000, 2] = edge * np.hypot(*vectors[100_000:300_000, :2].T)
    # on the meridians where base faces meet
    turn = rng.integers(0, 8, 100_000) * np.pi / 4
    vectors[300_000:400_000, :2] = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    wanted = healpy.vec2pix(1 << order, *vectors.T, nest=True)
    np.testing.assert_array_equal(vectors_to_npix(vectors, order), wanted)


@SEEDED
@given(tiles(highest=22), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_position_in_a_tile_lies_in_that_tile(tile: Tile, x: float, y: float) -> None:
    assert vectors_to_npix(tile.vectors(x - 0.5, y - 0.5, 1), tile.order) == tile.npix


@SEEDED
@given(st.lists(tiles(highest=12), min_size=1, max_size=4), st.integers(0, 3))
def test_corner_grids_are_the_corners_of_the_tiles_below(roots: list[Tile], depth: int) -> None:
    order, m = roots[0].order, 1 << depth
    npix = np.array([tile.npix % (12 << 2 * order) for tile in roots])
    grids = corner_grids(order, npix, depth)
    assert grids.shape == (len(roots), m + 1, m + 1, 3)
    for grid, root in zip(grids, npix.tolist(), strict=True):
        for below in range(m * m):
            x, y = deinterleave(below)
            tile = Tile(order + depth, (root << 2 * depth) + below)
            south, east = tile.vectors(0.5, -0.5, 1), tile.vectors(-0.5, -0.5, 1)
            north, west = tile.vectors(-0.5, 0.5, 1), tile.vectors(0.5, 0.5, 1)
            found = grid[[x, x + 1, x + 1, x], [y, y, y + 1, y + 1]]
            assert separation(found, np.stack([south, east, north, west])).max() < 1e-15


@pytest.mark.parametrize("order", [0, 1, 7, 13, 20])
def test_centers_of_cells_are_those_of_healpy_and_lie_in_their_cells(order: int) -> None:
    count = 12 << 2 * order
    rng = np.random.default_rng(order)
    npix = np.arange(count) if count < 1000 else rng.integers(0, count, 3000)
    centers = cell_centers(order, npix)
    wanted = np.stack(healpy.pix2vec(1 << order, npix, nest=True), axis=-1)
    assert separation(centers, wanted).max() < 4e-15
    np.testing.assert_array_equal(vectors_to_npix(centers, order), npix)

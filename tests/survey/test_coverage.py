"""Coverage: cells, ranges, MOC and Allsky against brute force, healpy and mocpy."""

import healpy
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from mocpy import MOC

from hipsgen.errors import SurveyError
from hipsgen.sky.pyramid import Layer
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import (
    ALLSKY_ORDERS,
    allsky,
    allsky_shape,
    allsky_width,
    measure_tile,
    moc_bytes,
    moc_of,
    moc_order,
    read_moc,
    sky_fraction,
    to_ranges,
)
from tests.oracles import interleaved
from tests.profiles import examples

WIDTH = 64


def random_tile(seed: int, share: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32)
    values[rng.random((WIDTH, WIDTH)) > share] = np.nan
    return values


@pytest.mark.parametrize("tile", [Tile(3, 0), Tile(3, 767), Tile(11, 12345678), Tile(0, 5)])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 1.0])
def test_cells_are_those_in_which_healpy_finds_a_pixel_with_data(tile: Tile, share: float):
    values = random_tile(tile.npix, share)
    pixel_order = tile.order + 6
    pixels = tile.npix * WIDTH * WIDTH + interleaved(WIDTH)[~np.isnan(values)]
    expected = np.unique(pixels >> 2 * (pixel_order - moc_order(tile.order)))
    found = measure_tile(tile, values)[0]
    assert found.dtype == np.uint64
    np.testing.assert_array_equal(found, expected)


def test_cells_of_the_deepest_orders_are_not_deeper_than_a_moc_goes():
    for order in (25, 26, 27, 28):
        tile = Tile(order, (12 << 2 * order) - 1)
        cells = measure_tile(tile, np.zeros((WIDTH, WIDTH), np.float32))[0]
        below = 2 * (moc_order(order) - order)
        assert moc_order(order) <= 29
        np.testing.assert_array_equal(cells, (tile.npix << below) + np.arange(1 << below))


def test_one_pixel_covers_the_cell_in_which_healpy_puts_it():
    tile = Tile(4, 1000)
    for row, col in ((0, 0), (0, 63), (63, 0), (20, 45)):
        values = np.full((WIDTH, WIDTH), np.nan, np.float32)
        values[row, col] = 1.0
        (cell,) = measure_tile(tile, values)[0]
        place = healpy.vec2pix(1 << 7, *tile.vectors(row, col, WIDTH), nest=True)
        assert cell == place


@examples(2)
@given(st.sets(st.integers(0, 200), max_size=60))
def test_ranges_hold_the_same_cells_without_gaps(cells: set[int]):
    ranges = to_ranges(np.array(sorted(cells), np.uint64))
    assert ranges.dtype == np.uint64
    inside = [k for first, end in ranges.tolist() for k in range(first, end)]
    assert inside == sorted(cells)
    assert (ranges[1:, 0] > ranges[:-1, 1]).all()  # neighbors are joined


def flat(moc: MOC, order: int) -> set[int]:
    return set(moc.degrade_to_order(order).flatten().tolist()) if not moc.empty() else set()


@examples(0.6)
@given(
    st.lists(st.sets(st.integers(0, 12 * 4**6 - 1), max_size=40), max_size=4),
    st.booleans(),
)
def test_a_moc_of_blocks_is_their_union(blocks: list[set[int]], whole: bool):
    """Blocks touch, may come in any order, and may overlap where a build was resumed."""
    blocks = [*blocks, set(range(4096, 8192)), set(range(8192, 8200))] if whole else blocks
    moc = moc_of((to_ranges(np.array(sorted(b), np.uint64)) for b in reversed(blocks)), 6)
    expected = set().union(*blocks)
    assert set(moc.flatten().tolist()) == expected
    assert moc.max_order == 6
    assert moc.sky_fraction == pytest.approx(len(expected) / (12 * 4**6))


@pytest.mark.parametrize(
    ("frame", "letter"), [("equatorial", "C"), ("galactic", "G"), ("ecliptic", "E")]
)
def test_a_moc_file_is_read_by_hipsgen_and_by_mocpy(frame: str, letter: str, tmp_path):
    cells = np.sort(np.random.default_rng(0).choice(12 * 4**8, 500, replace=False))
    moc = moc_of([to_ranges(cells.astype(np.uint64))], 8)
    data = moc_bytes(moc, frame)
    path = tmp_path / "Moc.fits"
    path.write_bytes(data)
    assert set(read_moc(data).flatten().tolist()) == set(cells.tolist())
    assert read_moc(data).max_order == 8
    with fits.open(path) as hdus:
        assert hdus[1].header["COORDSYS"] == letter
        assert hdus[1].header["ORDERING"] == "NUNIQ"
        assert hdus[1].header["MOCORDER"] == 8
    if frame == "equatorial":
        assert set(MOC.load(str(path), format="fits").flatten().tolist()) == set(cells.tolist())


@pytest.mark.parametrize("order", [3, 14, 20, 26, 29])
def test_the_sky_fraction_of_a_few_cells_is_not_rounded(order: int):
    ranges = np.array([[0, 2], [(12 << 2 * order) - 1, 12 << 2 * order]], np.uint64)
    assert sky_fraction(moc_of([ranges], order)) == pytest.approx(3 / (12 * 4.0**order), rel=1e-14)
    assert sky_fraction(moc_of([], order)) == 0.0


def test_the_same_moc_makes_the_same_bytes():
    moc = moc_of([np.array([[3, 9]], np.uint64)], 5)
    assert moc_bytes(moc, "equatorial") == moc_bytes(moc, "equatorial")
    assert b"DATE" not in moc_bytes(moc, "equatorial")


def test_an_empty_moc_is_written_and_read():
    data = moc_bytes(moc_of([], 5), "equatorial")
    assert read_moc(data).empty()


@pytest.mark.parametrize("order", [0, 3, 8, 12, 24, 25, 27, 29])
def test_the_last_cells_of_every_order_come_back(order: int):
    """Their numbers have up to 62 bits, more than a double holds."""
    count = 12 << 2 * order
    cells = sorted({0, count // 3, count - 3, count - 1})
    moc = MOC.from_healpix_cells(
        np.array(cells, np.uint64), np.full(len(cells), order, np.uint8), max_depth=order
    )
    back = read_moc(moc_bytes(moc, "equatorial"))
    assert back == moc
    assert sorted(back.flatten().tolist()) == cells


def test_the_range_form_of_mocpy_is_read():
    cells = np.sort(np.random.default_rng(1).choice(12 * 4**7, 300, replace=False))
    moc = moc_of([to_ranges(cells.astype(np.uint64))], 7)
    hdus = moc.serialize("fits", v1_compatible=False)
    assert hdus[1].header["ORDERING"] == "RANGE"
    import io

    buffer = io.BytesIO()
    hdus.writeto(buffer)
    back = read_moc(buffer.getvalue())
    assert back.max_order == 7
    assert set(back.flatten().tolist()) == set(cells.tolist())


def table(name: str, numbers: list[int], **cards: object) -> bytes:
    import io

    column = fits.Column(name, "K", array=np.array(numbers, np.int64))
    hdu = fits.BinTableHDU.from_columns([column])
    hdu.header.update(cards)
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    return buffer.getvalue()


DAMAGED = {
    "nothing": b"",
    "text": b"no MOC" * 1000,
    "half a header": b"SIMPLE  =                    T".ljust(2880),
    "half a range": table("RANGE", [1, 5, 9], ORDERING="RANGE", MOCORD_S=3),
    "a number that is no cell": table("UNIQ", [0, 3, 17], ORDERING="NUNIQ", MOCORDER=3),
    "an order that is a word": table("UNIQ", [4, 17], ORDERING="NUNIQ", MOCORDER="x"),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.filterwarnings("ignore:Error validating header")
def test_a_damaged_moc_is_a_survey_error(name: str):
    with pytest.raises(SurveyError, match=r"Moc\.fits cannot be read"):
        read_moc(DAMAGED[name])


@pytest.mark.parametrize("order", ALLSKY_ORDERS)
def test_an_allsky_has_the_tiles_in_rows_from_the_top_left(order: int):
    """HiPS 1.0, 4.3.2: floor(sqrt(12 4^K)) in a row, from left to right and top to bottom."""
    count = 12 * 4**order
    columns, rows = allsky_shape(order)
    assert columns == int(np.floor(np.sqrt(count)))
    assert (rows - 1) * columns < count <= rows * columns
    ramp = np.arange(64, dtype=np.float32).reshape(8, 8) / 100
    layers = {n: Layer(n + ramp) for n in range(count) if n % 7 != 3}
    image = allsky(layers, order, 8)
    assert image.shape == (rows * 8, columns * 8)
    upright = image[::-1]  # as a picture, top row first
    for npix in range(rows * columns):
        row, column = npix // columns, npix % columns
        seen = upright[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8][::-1]
        if npix in layers:
            np.testing.assert_array_equal(seen, layers[npix].value)
        else:
            assert np.isnan(seen).all()


def test_tiles_in_an_allsky_are_at_most_64_pixels_wide():
    assert [allsky_width(w) for w in (8, 64, 128, 512)] == [8, 64, 64, 64]
    assert [allsky_shape(k) for k in range(4)] == [(3, 4), (6, 8), (13, 15), (27, 29)]

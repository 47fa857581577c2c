"""pixel_map against the exact position of every pixel, on images of every troublesome kind."""

from collections.abc import Callable

import healpy
import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.images.wcs import ImageWcs
from hipsgen.sky.frames import from_icrs, to_icrs
from hipsgen.sky.grid import TOLERANCE, PixelMap, build_grid
from hipsgen.sky.polygon import to_vectors
from hipsgen.sky.tiles import Tile, nested_index, pixel_size
from tests.pixel_maps import pixel_map
from tests.sky import SEEDED

WIDTH = 512
ARCSEC = 1 / 3600
KINK = float(np.degrees(np.arcsin(2 / 3)))  # 41.81 deg, where HEALPix changes its formula
FloatArray = npt.NDArray[np.float64]


def header(
    projection: str, lon: float, lat: float, scale: float, shape: tuple[int, int], **more: object
) -> fits.Header:
    """An image centerd on (lon, lat), north up, east left; scale in degrees."""
    rows, cols = shape
    names = ("GLON", "GLAT") if more.pop("galactic", False) else ("RA", "DEC")
    made = fits.Header({"NAXIS": 2, "NAXIS1": cols, "NAXIS2": rows})
    for axis, name, value, size, step in (
        (1, names[0], lon, cols, -scale),
        (2, names[1], lat, rows, scale),
    ):
        made[f"CTYPE{axis}"] = f"{name:-<4}-{projection}"
        made[f"CRVAL{axis}"], made[f"CRPIX{axis}"] = value, (size + 1) / 2
        # not CDELT, with which wcslib applies TPV's polynomials to pixels
        made[f"CD{axis}_{axis}"], made[f"CUNIT{axis}"] = step, "deg"
    if names[0] == "RA":
        made["RADESYS"] = "ICRS"
    made.update(more)
    return made


def image(*args: object, **more: object) -> ImageWcs:
    return ImageWcs(header(*args, **more), args[-1])


def tile_at(lon: float, lat: float, order: int, frame: str = "equatorial") -> Tile:
    vector = from_icrs(to_vectors(lon, lat), frame)
    return Tile(order, int(healpy.vec2pix(1 << order, *vector, nest=True)))


def exact(
    tile: Tile,
    frame: str,
    to_pixel: Callable[..., tuple[FloatArray, FloatArray]],
    width: int = WIDTH,
) -> FloatArray:
    rows, cols = np.mgrid[:width, :width].astype(float)
    return np.stack(to_pixel(to_icrs(tile.vectors(rows, cols, width), frame)))


def errors(found: PixelMap, truth: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Of all pixels that the map has; those that it has not must be off the image."""
    x, y = found.positions()
    assert np.isnan(x)[np.isnan(truth[0])].all()
    assert not np.isnan(x)[_inside(truth, shape)].any()
    off = np.hypot(x - truth[0], y - truth[1])
    return np.asarray(off[~np.isnan(off)])


def assert_exact(tile: Tile, to_pixel: ImageWcs, frame: str = "equatorial") -> PixelMap:
    """Never off by a thousandth of a pixel; but for one pixel in a hundred within tolerance.

    Of the tile's own grid, and cut out of one over the 4x4 tiles with which it has a grandparent.
    """
    truth = exact(tile, frame, to_pixel)
    alone = pixel_map(tile, WIDTH, frame, to_pixel, to_pixel.shape)
    for found in (alone, cut_out(tile, frame, to_pixel)):
        assert found is not None
        off = errors(found, truth, to_pixel.shape)
        assert off.max() < 1e-3
        assert (off > np.sqrt(2) * TOLERANCE).mean() < 0.01
    assert alone is not None
    return alone


def cut_out(tile: Tile, frame: str, to_pixel: ImageWcs, depth: int = 2) -> PixelMap | None:
    """The map of a tile as a part of the grid over one `depth` orders above it."""
    top = tile.ancestor(max(0, tile.order - depth))
    count = 1 << tile.order - top.order
    grid = build_grid(top, count * WIDTH, frame, to_pixel, to_pixel.shape)
    assert grid is not None
    # tiles in their window are numbered as pixels in a tile
    inside = tile.npix - (top.npix << 2 * (tile.order - top.order))
    row, col = np.argwhere(nested_index(count) == inside)[0]
    return grid.map(int(row) * WIDTH, int(col) * WIDTH, WIDTH)


@pytest.mark.parametrize("frame", ["equatorial", "galactic"])
@pytest.mark.parametrize(
    ("lon", "lat"),
    [
        (150.1, 2.2),
        (53.16, -28.1),
        (45.0, 0.0),
        (0.0, 0.01),
        (0.0, 62.0),
        (359.999, -30.0),
        (12.3, KINK),
        (20.0, KINK + 0.01),
        (45.0, -KINK),
        (101.0, -KINK),
        (0.0, 90.0),
        (123.0, 89.99),
        (77.0, -90.0),
        (192.8595, 27.1283),
        (266.405, -28.936),
    ],
)
def test_tangent_coadds_anywhere(lon: float, lat: float, frame: str) -> None:
    coadd = image("TAN", lon, lat, 0.2 * ARCSEC, (4200, 4200))
    assert_exact(tile_at(lon, lat, 11, frame), coadd, frame)


@pytest.mark.parametrize("face", [0, 2, 9, 11])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.47, 1.0])
def test_tiles_cut_in_two_by_the_kink_of_healpix(face: int, share: float) -> None:
    # on faces of the caps the kink is the diagonal x + y = 1: tiles whose two indices add up to
    # nside - 1, of which the corners west and east lie on it
    order, nside = 11, 1 << 11
    x = min(int(share * nside), nside - 1)
    npix = face * nside**2 + sum(
        (x >> k & 1) << 2 * k | ((nside - 1 - x) >> k & 1) << 2 * k + 1 for k in range(order)
    )
    tile = Tile(order, npix)
    assert abs(tile.vectors(0, 0, WIDTH)[2]) == pytest.approx(2 / 3, abs=1e-6)
    lon, lat = _lonlat(tile.vectors(255.5, 255.5, WIDTH))
    assert_exact(tile, image("TAN", lon, lat, 0.2 * ARCSEC, (1000, 1000)))


@pytest.mark.parametrize("north", [True, False])
@pytest.mark.parametrize("quarter", range(4))
def test_all_four_tiles_that_touch_a_pole(north: bool, quarter: int) -> None:
    faces = 4**11
    npix = (quarter + 1) * faces - 1 if north else (8 + quarter) * faces
    center = (33.0, 89.99 if north else -89.99)
    found = assert_exact(Tile(11, npix), image("TAN", *center, 0.2 * ARCSEC, (4000, 4000)))
    assert found.section((4000, 4000), 3) is not None


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize(("lon", "lat"), [(53.16, -28.1), (10.0, KINK), (0.3, 89.5)])
def test_tiles_of_low_orders_on_a_small_image(lon: float, lat: float, order: int) -> None:
    scale = pixel_size(order, WIDTH)
    coadd = image("TAN", lon, lat, scale, (60, 80))
    assert_exact(tile_at(lon, lat, order), coadd)


@pytest.mark.parametrize("frame", ["equatorial", "galactic"])
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("projection", ["CAR", "AIT", "SIN", "ZEA"])
def test_maps_of_the_whole_sky(projection: str, order: int, frame: str) -> None:
    sky = image(projection, 0.0, 0.0, 0.5, (361, 720), galactic=True)
    rng = np.random.default_rng(order)
    for npix in {4**order - 1, *rng.integers(0, 12 * 4**order, 2).tolist()}:
        tile = Tile(order, npix)
        found = pixel_map(tile, 256, frame, sky, sky.shape)
        truth = exact(tile, frame, sky, 256)
        if found is None:
            assert not _inside(truth, sky.shape).any()
        else:
            assert errors(found, truth, sky.shape).max(initial=0.0) < 1e-3


def test_the_seam_of_a_map_round_the_sky_is_cut_at_one_pixel() -> None:
    sky = image("CAR", 0.0, 0.0, 0.5, (361, 720))
    found = assert_exact(tile_at(180.0, 3.0, 2), sky)
    x, _ = found.positions()
    jumps = np.abs(np.diff(x, axis=1)) > 360
    assert jumps.any()
    assert jumps.sum(axis=1).max() == 1
    assert x.min() >= -0.5
    assert x.max() < 719.5


def test_what_a_projection_does_not_show_is_nan() -> None:
    half = image("SIN", 0.0, 0.0, 0.3, (400, 400))
    tile = tile_at(90.0, 0.0, 0)
    found = pixel_map(tile, WIDTH, "equatorial", half, half.shape)
    truth = exact(tile, "equatorial", half)
    assert found is not None
    assert 0.1 < np.isnan(truth[0]).mean() < 0.9
    assert errors(found, truth, half.shape).max() < 1e-3


SIP = {
    "A_ORDER": 3, "B_ORDER": 3, "A_2_0": 2.3e-6, "A_0_2": -1.1e-6, "A_1_1": 1.7e-6, "A_3_0": 3e-10,
    "B_2_0": -1.9e-6, "B_0_2": 2.9e-6, "B_1_1": 0.9e-6, "B_0_3": -4e-10,
}  # fmt: skip
TPV = {
    "PV1_1": 1.0002, "PV1_4": 3e-3, "PV1_5": -2e-3, "PV1_7": 5e-3,
    "PV2_1": 0.9997, "PV2_4": -2e-3, "PV2_6": 4e-3, "PV2_7": -3e-3,
}  # fmt: skip


@pytest.mark.parametrize(("lon", "lat"), [(53.16, -28.1), (0.0, KINK)])
@pytest.mark.parametrize("name", ["TAN-SIP", "TPV"])
def test_distorted_exposures(name: str, lon: float, lat: float) -> None:
    size, scale = (4000, 4000), 0.2 * ARCSEC
    made = header(name[:3], lon, lat, scale, size, **(TPV if name == "TPV" else SIP))
    if name == "TAN-SIP":
        made["CTYPE1"], made["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    straight, exposure = image("TAN", lon, lat, scale, size), ImageWcs(made, size)
    for tile in (tile_at(lon, lat, 11), tile_at(lon, lat + 0.09, 11)):
        found = assert_exact(tile, exposure)
        undistorted = exact(tile, "equatorial", straight)
        off = np.stack(found.positions()) - undistorted
        assert np.nanmax(np.hypot(*off)) > 0.1


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 64])
def test_tiles_narrower_than_a_cell(width: int) -> None:
    coadd = image("TAN", 53.0, -28.0, 0.5, (90, 90))
    tile = tile_at(53.0, -28.0, 2)
    rows, cols = np.mgrid[:width, :width].astype(float)
    x, y = coadd(tile.vectors(rows, cols, width))
    found = pixel_map(tile, width, "equatorial", coadd, coadd.shape)
    assert found is not None
    assert found.positions()[0].shape == (width, width)
    assert errors(found, np.stack([x, y]), coadd.shape).max() < 1e-3


@pytest.mark.parametrize("order", [3, 7, 11])
@pytest.mark.parametrize("size", [1, 3, 11])
def test_an_image_smaller_than_a_grid_cell_is_found(size: int, order: int) -> None:
    # nowhere near a node of the grid
    tile = tile_at(53.16, -28.1, order)
    lon, lat = _lonlat(tile.vectors(200.3, 311.2, WIDTH))
    stamp = image("TAN", lon, lat, pixel_size(order, WIDTH), (size, size))
    found = pixel_map(tile, WIDTH, "equatorial", stamp, stamp.shape)
    assert found is not None
    truth = exact(tile, "equatorial", stamp)
    assert _inside(truth, stamp.shape).any()
    assert found.section(stamp.shape, 3) == (slice(0, size), slice(0, size))


def test_a_tile_clearly_beside_the_image_has_no_map() -> None:
    coadd = image("TAN", 53.16, -28.1, 0.2 * ARCSEC, (1000, 1000))
    for away in (0.2, 1.0, 20.0):
        beside = tile_at(53.16, -28.1 + away, 11)
        assert pixel_map(beside, WIDTH, "equatorial", coadd, coadd.shape) is None


@SEEDED
@given(
    order=st.integers(0, 12),
    projection=st.sampled_from(["TAN", "CAR", "AIT", "ZEA", "SIN"]),
    width=st.sampled_from([16, 64, 256]),
    z=st.floats(-1, 1),
    lon=st.floats(0, 360),
    size=st.sampled_from([(1, 1), (30, 5), (400, 400)]),
    fineness=st.sampled_from([0.3, 1.0, 3.0]),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    off=st.tuples(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7)),
    frame=st.sampled_from(["equatorial", "galactic"]),
)
def test_a_tile_with_a_pixel_on_the_image_always_has_a_map_and_the_right_section(
    order, projection, width, z, lon, size, fineness, place, off, frame
) -> None:
    tile = tile_at(lon, float(np.degrees(np.arcsin(z))), order, frame)
    # an image about a place in the tile, or a little beside it
    scale = min(fineness * pixel_size(order, width), 0.9)
    lon0, lat0 = _lonlat(
        to_icrs(tile.vectors(place[0] * width - 0.5, place[1] * width - 0.5, width), frame)
    )
    lat0 = float(np.clip(lat0 + off[1] * scale * size[0], -89.9, 89.9))
    lon0 = (lon0 + off[0] * scale * size[1]) % 360
    if projection == "CAR":  # oblique unless it is about the equator
        lat0 = 0.0
    coadd = image(projection, lon0, lat0, scale, size)
    found = pixel_map(tile, width, frame, coadd, size)
    truth = exact(tile, frame, coadd, width)
    inside = _inside(truth, size)
    if found is None:
        assert not inside.any()
        return
    at = np.stack(found.positions())
    assert np.hypot(*(at - truth))[inside].max(initial=0.0) < 1e-3
    section = found.section(size, 2)
    if section is None:
        assert not inside.any()
    elif inside.any():
        x, y = at[:, inside]
        for s, values, limit in ((section[0], y, size[0]), (section[1], x, size[1])):
            assert s.start <= max(0, np.floor(values.min()) - 2)
            assert s.stop >= min(limit, np.floor(values.max()) + 2 + 1)
            assert 0 <= s.start < s.stop <= limit


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-7])
def test_the_tolerance_is_kept(tolerance: float) -> None:
    coadd = image("TAN", 53.16, -28.1, 10 * ARCSEC, (2000, 2000))
    tile = tile_at(53.16, -28.1, 5)
    found = pixel_map(tile, WIDTH, "equatorial", coadd, coadd.shape, tolerance=tolerance)
    assert found is not None
    assert errors(found, exact(tile, "equatorial", coadd), coadd.shape).max() < 2 * tolerance


@pytest.mark.parametrize("width", [0, 48, 500])
def test_a_width_that_is_no_power_of_two_is_refused(width: int) -> None:
    coadd = image("TAN", 53.0, -28.0, 0.5, (90, 90))
    with pytest.raises(ValueError, match=f"{width} is not a power of two"):
        pixel_map(tile_at(53.0, -28.0, 2), width, "equatorial", coadd, coadd.shape)


def test_section_is_none_when_no_pixel_is_inside() -> None:
    outside = PixelMap.from_positions(np.full((4, 4), -0.6), np.full((4, 4), np.nan))
    assert outside.section((10, 10), 3) is None


def _lonlat(vector: FloatArray) -> tuple[float, float]:
    x, y, z = vector
    return float(np.degrees(np.arctan2(y, x)) % 360), float(
        np.degrees(np.arctan2(z, np.hypot(x, y)))
    )


def _inside(at: FloatArray, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    (x, y), (rows, cols) = at, shape
    return np.asarray((x >= -0.5) & (x < cols - 0.5) & (y >= -0.5) & (y < rows - 0.5))


@pytest.mark.parametrize("margin", [1, 3, 5])
@pytest.mark.parametrize(("turn", "shape"), [(0.0, (300, 400)), (35.0, (900, 150)), (80.0, (7, 9))])
def test_the_sections_a_grid_needs_hold_all_pixels_round_its_positions(
    turn: float, shape: tuple[int, int], margin: int
) -> None:
    scale, angle = 0.2 * ARCSEC, np.radians(turn)
    matrix = {
        "CD1_1": -scale * np.cos(angle), "CD1_2": scale * np.sin(angle),
        "CD2_1": scale * np.sin(angle), "CD2_2": scale * np.cos(angle),
    }  # fmt: skip
    coadd = image("TAN", 53.0, -28.0, scale, shape, **matrix)
    tile = tile_at(53.0, -28.0, 11)
    grid = build_grid(tile, WIDTH, "equatorial", coadd, shape)
    assert grid is not None
    assert grid.is_smooth
    sections = grid.needed(margin)
    needed = np.zeros(shape, bool)
    for rows, cols in sections:
        assert not needed[rows].any()  # from the top down, once each
        needed[rows, cols] = True
    x, y = exact(tile, "equatorial", coadd)
    on = _inside(np.stack([x, y]), shape)
    wanted = np.zeros(shape, bool)
    for dy in range(-margin + 1, margin + 1):
        for dx in range(-margin + 1, margin + 1):
            j, i = np.floor(y[on]).astype(int) + dy, np.floor(x[on]).astype(int) + dx
            there = (j >= 0) & (j < shape[0]) & (i >= 0) & (i < shape[1])
            wanted[j[there], i[there]] = True
    assert wanted.any()
    assert not (wanted & ~needed).any()
    if shape == (900, 150):
        assert needed.mean() < 0.9  # and not simply all of it


def test_a_grid_over_a_kink_is_not_smooth() -> None:
    coadd = image("TAN", 12.3, KINK, 0.2 * ARCSEC, (4200, 4200))
    grid = build_grid(tile_at(12.3, KINK, 9), 4 * WIDTH, "equatorial", coadd, coadd.shape)
    assert grid is not None
    assert not grid.is_smooth

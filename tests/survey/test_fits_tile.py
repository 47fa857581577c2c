"""FITS tiles: their WCS against healpy and astropy, their checksums, their cards."""

import io
import re
import subprocess
from pathlib import Path

import healpy
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import Tile
from hipsgen.survey.fits_tile import FitsTile
from tests.conftest import needs
from tests.oracles import interleaved
from tests.sky import SEEDED

WIDTH = 64
AXES = {
    "equatorial": ("RA---HPX", "DEC--HPX"),
    "galactic": ("GLON-HPX", "GLAT-HPX"),
    "ecliptic": ("ELON-HPX", "ELAT-HPX"),
}


def header(tile: Tile, width: int = WIDTH, **cards: object) -> fits.Header:
    made = FitsTile(**cards)  # type: ignore[arg-type]
    return fits.Header.fromstring(bytes(made.encode(np.zeros((width, width), np.float32), tile)))


def tiles() -> list[Tile]:
    """All faces, low and high orders; corners of faces and the poles among them."""
    chosen = [Tile(0, k) for k in range(12)] + [Tile(1, k) for k in range(48)]
    rng = np.random.default_rng(0)
    for order in (2, 3, 7, 11, 16, 20):
        inside = 1 << 2 * order
        for face in range(12):
            places = (0, inside - 1, (inside - 1) // 3, int(rng.integers(inside)))
            chosen += [Tile(order, face * inside + place) for place in places]
    return chosen


def separation(lon1: np.ndarray, lat1: np.ndarray, lon2: np.ndarray, lat2: np.ndarray) -> float:
    """Largest, in degrees."""
    a, b = healpy.ang2vec(lon1, lat1, lonlat=True), healpy.ang2vec(lon2, lat2, lonlat=True)
    return float(np.degrees(np.linalg.norm(a - b, axis=-1).max()))


@pytest.mark.parametrize("frame", AXES)
def test_the_wcs_puts_every_pixel_where_healpy_has_it(frame: str):
    """HiPS 1.0, 4.2.1: a pixel of a tile is a HEALPix cell `log2(width)` orders deeper."""
    inside = interleaved(WIDTH)
    rng = np.random.default_rng(1)
    for tile in tiles():
        wcs = WCS(header(tile, frame=frame))
        rows = np.concatenate([[0, 0, WIDTH - 1, WIDTH - 1], rng.integers(0, WIDTH, 30)])
        cols = np.concatenate([[0, WIDTH - 1, 0, WIDTH - 1], rng.integers(0, WIDTH, 30)])
        cells = tile.npix * WIDTH * WIDTH + inside[rows, cols]
        lon, lat = healpy.pix2ang((1 << tile.order) * WIDTH, cells, nest=True, lonlat=True)
        found = wcs.wcs_pix2world(cols, rows, 0)
        # within 0.01 deg of a pole wcslib loses half of its digits: sqrt(1 - |z|) is 1e-8 rad
        polar = np.abs(lat).max() > 89.99
        assert separation(lon, lat, *found) < (5e-7 if polar else 1e-9), tile
        x, y = wcs.wcs_world2pix(lon, lat, 0)
        if tile.order <= 11:
            assert np.hypot(x - cols, y - rows).max() < 1e-5, tile


def test_the_wcs_holds_for_other_widths():
    for width in (32, 128, 512):
        tile = Tile(3, 401)
        wcs = WCS(header(tile, width))
        cells = tile.npix * width * width + interleaved(width)[::7, ::5]
        rows, cols = (a[::7, ::5] for a in np.indices((width, width)))
        lon, lat = healpy.pix2ang((1 << tile.order) * width, cells, nest=True, lonlat=True)
        found = wcs.wcs_pix2world(cols.ravel(), rows.ravel(), 0)
        assert separation(lon.ravel(), lat.ravel(), *found) < 1e-9


@pytest.mark.parametrize("frame", AXES)
def test_the_cards_name_frame_unit_band_and_tile(frame: str):
    cards = header(Tile(11, 12345678), frame=frame, unit="nJy", band="r", pixel_area=0.04)
    assert (cards["CTYPE1"], cards["CTYPE2"]) == AXES[frame]
    assert (cards["PV2_1"], cards["PV2_2"]) == (4, 3)
    assert (cards["ORDER"], cards["NPIX"]) == (11, 12345678)
    assert (cards["BUNIT"], cards["FILTER"], cards["PIXAREA"]) == ("nJy", "r", 0.04)
    assert ("RADESYS" in cards) == (frame == "equatorial")
    assert ("EQUINOX" in cards) == (frame == "ecliptic")
    assert cards["BITPIX"] == -32


def test_cards_of_what_is_not_known_are_left_out():
    cards = header(Tile(3, 3))
    assert not {"BUNIT", "FILTER", "PIXAREA"} & set(cards)
    allsky = fits.Header.fromstring(
        bytes(FitsTile(unit="Jy").encode(np.zeros((64, 192), np.float32)))
    )
    assert "CTYPE1" not in allsky
    assert allsky["BUNIT"] == "Jy"


@pytest.mark.parametrize("frame", AXES)
def test_every_card_is_written_as_astropy_writes_it(frame: str):
    """Keyword for keyword, digit for digit, at all orders."""
    for tile in tiles():
        for card in header(tile, frame=frame, unit="nJy", band="it's r", pixel_area=0.04).cards:
            assert fits.Card(card.keyword, card.value, card.comment).image == card.image


@SEEDED
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.integers(0, 20))
def test_checksums_are_right_whatever_the_pixels(seed: int, rows: int, cols: int, order: int):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 2**32, (rows, cols), dtype=np.uint32).view(np.float32)
    tile = Tile(order, int(rng.integers(12 << 2 * order)))
    with fits.open(io.BytesIO(FitsTile().encode(pixels, tile)), checksum=True) as hdus:
        assert hdus[0].verify_checksum() == hdus[0].verify_datasum() == 1
        np.testing.assert_array_equal(hdus[0].data, pixels)  # an Allsky is not square


PLANES = (("BAD", 0), ("DETECTED_NEGATIVE", 6), ("OTHER", 30))


def test_flags_come_back_to_the_last_bit_with_their_names():
    flags = np.random.default_rng(4).integers(-(2**31), 2**31, (WIDTH, WIDTH)).astype(np.int32)
    form = FitsTile("galactic", band="r", planes=PLANES)
    data = bytes(form.encode(flags, Tile(9, 1234567)))
    back = form.decode(data)
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, flags)
    with fits.open(io.BytesIO(data), do_not_scale_image_data=True) as hdus:
        np.testing.assert_array_equal(hdus[0].data, flags)
        cards = hdus[0].header
    assert (cards["BITPIX"], cards["BLANK"], cards["FILTER"]) == (32, -(2**31), "r")
    assert {k[3:]: v for k, v in cards.items() if k.startswith("MP_")} == dict(PLANES)
    with pytest.raises(SurveyError, match="BITPIX is -32, not 32"):
        form.decode(samples()[0])
    with pytest.raises(SurveyError, match="truncated"):
        form.decode(data[:-5000])


def samples() -> list[bytes]:
    pixels = np.random.default_rng(3).normal(size=(WIDTH, WIDTH)).astype(np.float32)
    pixels[10:20, :5] = np.nan
    made = FitsTile("galactic", "MJy/sr", "Ks", 1.0).encode(pixels, Tile(9, 1234567))
    mask = FitsTile(planes=PLANES).encode(np.arange(64 * 64).reshape(64, 64), Tile(9, 1234567))
    allsky = FitsTile().encode(np.full((64, 192), np.nan, np.float32))
    return [bytes(made), bytes(allsky), bytes(mask)]


@pytest.mark.parametrize("data", samples(), ids=["tile", "allsky", "mask"])
def test_checksums_are_right(data: bytes):
    """astropy warns of a wrong one, and warnings are errors here."""
    with fits.open(io.BytesIO(data), checksum=True) as hdus:
        assert {"CHECKSUM", "DATASUM"} <= set(hdus[0].header)
        assert hdus[0].verify_checksum() == 1
        assert hdus[0].verify_datasum() == 1


@pytest.mark.parametrize("place", [10 * 80 + 60, 3000, 2880 + 4 * 64 * 30])
def test_a_flipped_byte_fails_the_checksum(place: int):
    data = bytearray(samples()[0])
    data[place] ^= 0x11
    from astropy.utils.exceptions import AstropyUserWarning

    with pytest.warns(AstropyUserWarning, match="verification failed"):
        fits.open(io.BytesIO(bytes(data)), checksum=True).close()


@pytest.mark.parametrize("data", samples(), ids=["tile", "allsky", "mask"])
def test_fitsverify_has_nothing_to_say(data: bytes, tmp_path: Path):
    program = needs("fitsverify", "fitsverify")
    path = tmp_path / "tile.fits"
    path.write_bytes(data)
    done = subprocess.run([program, "-e", str(path)], capture_output=True, text=True, check=False)
    full = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, full.stdout
    assert re.search(r"0 warning\(s\) and 0 error\(s\)", full.stdout), full.stdout


def test_the_data_are_plain_float32_after_one_header():
    """What every reader of HiPS can take: no scaling, no compression, no extension."""
    pixels = np.arange(WIDTH * WIDTH, dtype=np.float32).reshape(WIDTH, WIDTH)
    data = FitsTile().encode(pixels, Tile(3, 5))
    assert len(data) % 2880 == 0
    start = len(data) - (-(-pixels.nbytes // 2880)) * 2880
    raw = np.frombuffer(data[start : start + pixels.nbytes], ">f4").reshape(pixels.shape)
    np.testing.assert_array_equal(raw, pixels)
    with fits.open(io.BytesIO(data)) as hdus:
        assert len(hdus) == 1


def test_any_kind_of_float_is_taken():
    pixels = np.random.default_rng(0).normal(size=(8, 8))
    for kind in (pixels, pixels.astype(">f8"), pixels.astype(np.float32), pixels.T.copy().T):
        back = FitsTile().decode(FitsTile().encode(kind))
        np.testing.assert_array_equal(back, pixels.astype(np.float32))


def test_a_table_or_a_cube_is_no_tile():
    from hipsgen.errors import SurveyError

    for hdu in (
        fits.PrimaryHDU(),
        fits.PrimaryHDU(np.zeros((2, 3, 4), np.float32)),
        fits.BinTableHDU.from_columns([fits.Column("a", "D", array=[1.0])]),
    ):
        buffer = io.BytesIO()
        hdu.writeto(buffer)
        with pytest.raises(SurveyError):
            FitsTile().decode(buffer.getvalue())


def test_the_blank_of_large_integers_is_exact():
    first = (1 << 60) + np.arange(4)
    hdu = fits.PrimaryHDU(first.reshape(2, 2))
    hdu.header["BLANK"] = int(first[1])
    buffer = io.BytesIO()
    hdu.writeto(buffer)
    back = FitsTile().decode(buffer.getvalue())
    assert np.isnan(back).ravel().tolist() == [False, True, False, False]


def test_a_rice_compressed_tile_of_other_makers_is_read():
    pixels = np.random.default_rng(0).normal(100, 5, (64, 64)).astype(np.float32)
    pixels[3, 4] = np.nan
    buffer = io.BytesIO()
    made = fits.CompImageHDU(pixels, compression_type="RICE_1", quantize_level=16)
    fits.HDUList([fits.PrimaryHDU(), made]).writeto(buffer)
    back = FitsTile().decode(buffer.getvalue())
    np.testing.assert_array_equal(np.isnan(back), np.isnan(pixels))
    np.testing.assert_allclose(back, pixels, atol=1.0)

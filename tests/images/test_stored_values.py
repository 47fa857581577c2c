"""Integers with BZERO and BLANK: compared with numpy on the numbers that are stored.

astropy is no oracle here: by its default, unsigned integers lose their BLANK.
"""

import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images.coadd_fits import FitsReader, open_fits
from hipsgen.images.fits_folder import FitsFolder
from hipsgen.images.layout import layout_of
from hipsgen.images.staging import with_components
from hipsgen.images.stored_values import mask_bits, physical_values
from hipsgen.images.uris import uri_of
from hipsgen.survey.fits_tile import FitsTile
from tests.images.making import COLS, ROWS, tan_header

KINDS = {
    "bytes": (np.uint8, 0, 1),
    "signed bytes": (np.uint8, -128, 1),
    "short": (np.int16, 0, 1),
    "unsigned short": (np.int16, 1 << 15, 1),
    "long": (np.int32, 0, 1),
    "unsigned long": (np.int32, 1 << 31, 1),
    "scaled short": (np.int16, 100.5, 0.25),
    "scaled long": (np.int32, -3.0, 1e-3),
}
CODINGS = (None, "RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1")
WHOLE = slice(0, ROWS), slice(0, COLS)


def write(path: Path, kind: str, coding: str | None, has_blank: bool) -> np.ndarray:
    """Write an image of stored integers; return its values, float64, NaN where it is blank."""
    dtype, zero, scale = KINDS[kind]
    rng = np.random.default_rng(3)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -1 << 20), min(limits.max, 1 << 20)
    stored = rng.integers(low + 1, high, (ROWS, COLS)).astype(dtype)
    blank = int(low)
    stored[5:15, 20:30] = blank
    header = tan_header(BUNIT="adu")
    raw = fits.ImageHDU(stored, header)
    if coding is not None:
        raw = fits.CompImageHDU(stored, header, compression_type=coding)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList([fits.PrimaryHDU(), raw]).writeto(path)
    # only the cards are added: astropy scales what it writes itself
    with fits.open(path, mode="update", disable_image_compression=True) as hdus:
        hdus[1].header["BZERO"] = zero
        hdus[1].header["BSCALE"] = scale
        if has_blank:
            hdus[1].header["BLANK" if coding is None else "ZBLANK"] = blank
    values = stored.astype(float) * scale + zero
    if has_blank:
        values[stored == blank] = np.nan
    return values


def corpus() -> list[tuple[str, str | None, bool]]:
    # PLIO_1 stores no negative number, and HCOMPRESS_1 no long blanks without loss in astropy
    return [
        (kind, coding, has_blank)
        for kind, coding, has_blank in product(KINDS, CODINGS, (True, False))
        if coding != "PLIO_1" or KINDS[kind][0] is np.uint8
    ]


@pytest.mark.parametrize(("kind", "coding", "has_blank"), corpus())
def test_values_and_missing_pixels_follow_the_stored_integers(
    kind: str, coding: str | None, has_blank: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.fits"
    exact = write(path, kind, coding, has_blank)
    truth = exact.astype(np.float32)
    (ref,) = FitsFolder([str(path)], FitsReader(), False).refs()
    reader = FitsReader()
    np.testing.assert_array_equal(reader.read(ref, WHOLE), truth)
    section = slice(3, 17), slice(18, 33)
    np.testing.assert_array_equal(reader.read(ref, section), truth[section])
    image = reader.cutout(ref, section).image  # float64 if float32 may not hold it
    np.testing.assert_array_equal(image, exact[section].astype(image.dtype))
    assert image.dtype == (np.float64 if "long" in kind else np.float32)


def test_bits_of_a_mask_are_those_that_are_stored() -> None:
    for bitpix, dtype, zero in ((8, np.uint8, 0), (16, np.int16, 1 << 15), (32, np.int32, 0)):
        wanted = np.array([[0, 1, (1 << bitpix) - 1, 1 << bitpix - 1]])
        stored = (wanted - zero).astype(np.int64).astype(dtype)
        found = mask_bits(stored, fits.Header({"BZERO": zero, "BLANK": int(stored[0, 0])}))
        assert (found.astype(np.int64) & 0xFFFFFFFF).tolist() == wanted.tolist()
    wanted = np.array([[0, 1, (1 << 64) - 1, 1 << 63, (1 << 53) + 1]], np.uint64)
    stored = (wanted ^ np.uint64(1 << 63)).view(np.int64)
    found = mask_bits(stored, fits.Header({"BZERO": 1 << 63}))
    np.testing.assert_array_equal(found.view(np.uint64), wanted)
    with pytest.raises(CoaddError, match="not stored as integers"):
        mask_bits(np.zeros((2, 2), np.float32), fits.Header())


@pytest.mark.parametrize("cards", [{"BLANK": "none"}, {"BLANK": 1.5}, {"BZERO": "x"}])
def test_scale_keywords_that_are_not_numbers_are_refused_by_name(cards: dict[str, object]) -> None:
    (keyword,) = cards
    with pytest.raises(CoaddError, match=f"its {keyword} = .* is not a"):
        physical_values(np.zeros((2, 2), np.int16), fits.Header(cards))


def test_a_blank_written_as_a_decimal_is_read_as_integer() -> None:
    values = physical_values(np.array([[-32768, 5]], np.int16), fits.Header({"BLANK": -32768.0}))
    np.testing.assert_array_equal(values, [[np.nan, 5.0]])


def test_files_are_opened_without_scaling(tmp_path: Path) -> None:
    write(tmp_path / "a.fits", "unsigned short", None, True)
    with open_fits(str(tmp_path / "a.fits")) as hdus:
        assert hdus[1].section[0:1, 0:1].dtype.kind == "i"


def test_a_file_assembled_from_components_keeps_the_stored_numbers(tmp_path: Path) -> None:
    kind = "unsigned short"
    truth = write(tmp_path / "a.fits", kind, None, True)
    options = {"do_not_scale_image_data": True, "memmap": False}
    with fits.open(tmp_path / "a.fits", **options) as hdus:
        image = hdus[1]
        primary = fits.PrimaryHDU(image.data, image.header)
        primary.header.update({"BZERO": KINDS[kind][1], "BSCALE": 1})
        primary.writeto(tmp_path / "image.fits", output_verify="ignore")
        primary.writeto(tmp_path / "mask.fits", output_verify="ignore")
    parts = {name: uri_of(tmp_path / f"{name}.fits") for name in ("image", "mask")}
    uri = with_components(parts["image"], parts)
    with open_fits(uri) as hdus:
        np.testing.assert_array_equal(layout_of(hdus, 0).pixels(WHOLE), truth)
        np.testing.assert_array_equal(layout_of(hdus, 1).pixels(WHOLE), truth)


@pytest.mark.parametrize("coding", [None, "RICE_1"])
@pytest.mark.parametrize("kind", ["unsigned short", "signed bytes", "scaled short"])
def test_missing_pixels_in_tiles_of_other_programs_stay_missing(
    kind: str, coding: str | None, tmp_path: Path
) -> None:
    truth = write(tmp_path / "a.fits", kind, coding, True)
    found = FitsTile().decode((tmp_path / "a.fits").read_bytes())
    np.testing.assert_array_equal(found, truth.astype(np.float32))


ASINH = {"BSOFTEN": 2.25, "BOFFSET": -0.5}


def linear(stored: np.ndarray, scale: float = 1.0, zero: float = 0.0) -> np.ndarray:
    """Linear values of asinh magnitudes: BOFFSET + BSOFTEN (exp(C / a) - exp(-C / a))."""
    magnitudes = stored.astype(float) * scale + zero
    e = 10 ** (0.4 * magnitudes)
    return -0.5 + 2.25 * (e - 1 / e)


@pytest.mark.parametrize("coding", [None, "GZIP_2", "RICE_1"])
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_asinh_magnitudes_become_linear(dtype: type, coding: str | None, tmp_path: Path) -> None:
    """Stacks of Pan-STARRS: BSOFTEN and BOFFSET, in addition to BSCALE, BZERO and BLANK."""
    stored = np.random.default_rng(4).uniform(-9.0, 9.0, (ROWS, COLS))
    scale, zero = 1.0, 0.0
    if dtype is np.int16:
        scale, zero = 2.5e-4, 0.75
        stored = stored / scale
    stored = stored.astype(dtype)
    stored[5:15, 20:30] = -32768 if dtype is np.int16 else np.nan
    header = tan_header(**ASINH)
    image: fits.ImageHDU = fits.ImageHDU(stored, header)
    if coding is not None:
        level = 0 if coding == "GZIP_2" else 16
        image = fits.CompImageHDU(stored, header, compression_type=coding, quantize_level=level)
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "a.fits")
    if dtype is np.int16:
        with fits.open(tmp_path / "a.fits", mode="update", disable_image_compression=True) as hdus:
            hdus[1].header.update({"BSCALE": scale, "BZERO": zero})
            hdus[1].header["BLANK" if coding is None else "ZBLANK"] = -32768
    elif coding == "RICE_1":
        stored = fits.getdata(tmp_path / "a.fits", 1)
    truth = linear(stored, scale, zero)
    truth[5:15, 20:30] = np.nan
    (ref,) = FitsFolder([str(tmp_path / "a.fits")], FitsReader(), False).refs()
    reader = FitsReader()
    found = reader.read(ref, WHOLE)
    np.testing.assert_allclose(found, truth, rtol=2e-6)
    section = slice(3, 17), slice(18, 33)
    np.testing.assert_array_equal(reader.read(ref, section), found[section])
    np.testing.assert_array_equal(reader.cutout(ref, section).image, found[section])


@pytest.mark.parametrize(
    "cards",
    [{"BSOFTEN": 2.0}, {"BSOFTEN": 0.0, "BOFFSET": 1.0}, {"BSOFTEN": "x", "BOFFSET": 1.0}],
)
def test_an_incomplete_asinh_scale_is_refused_by_name(
    cards: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones((ROWS, COLS), np.float32), tan_header(**cards)).writeto(path)
    with pytest.raises(CoaddError, match="BSOFTEN"):
        list(FitsFolder([str(path)], FitsReader(), True).refs())


def test_the_variance_of_asinh_magnitudes_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    ones = np.ones((ROWS, COLS), np.float32)
    image = fits.ImageHDU(ones, tan_header(**ASINH), name="IMAGE")
    variance = fits.ImageHDU(ones, tan_header(), name="VARIANCE")
    fits.HDUList([fits.PrimaryHDU(), image, variance]).writeto(path)
    ref = CoaddRef(uri_of(path), "x", "1")
    with pytest.raises(CoaddError, match=r"asinh magnitudes \(BSOFTEN, BOFFSET\).* variance"):
        FitsReader(plane="variance").info(ref)
    assert FitsReader().cutout(ref, WHOLE).variance is None


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_a_cutout_of_scaled_integers_keeps_digits_beyond_float32(
    dtype: type, tmp_path: Path
) -> None:
    path = tmp_path / "a.fits"
    stored = np.arange(ROWS * COLS, dtype=np.int64).reshape(ROWS, COLS).astype(np.uint8)
    fits.PrimaryHDU(stored.astype(dtype), tan_header(BUNIT="d")).writeto(path)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header["BZERO"], hdus[0].header["BSCALE"] = 60000.0, 1e-5
    (ref,) = FitsFolder([str(path)]).refs()
    image = FitsReader().cutout(ref, WHOLE).image
    np.testing.assert_array_equal(image, 60000.0 + 1e-5 * stored)

"""Integers with BZERO and BLANK: compared with numpy on the numbers that are stored.

astropy is no oracle here: by its default, unsigned integers lose their BLANK.
"""

import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.errors import CoaddError
from hipsgen.images.coadd_fits import FitsReader, open_fits
from hipsgen.images.fits_folder import FitsFolder
from hipsgen.images.layout import layout_of
from hipsgen.images.staging import with_components
from hipsgen.images.stored_values import mask_bits, physical_values
from hipsgen.images.uris import uri_of
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
def test_values_and_holes_are_those_of_the_stored_integers(
    kind: str, coding: str | None, has_blank: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.fits"
    truth = write(path, kind, coding, has_blank).astype(np.float32)
    (ref,) = FitsFolder([str(path)], FitsReader(), False).refs()
    reader = FitsReader()
    np.testing.assert_array_equal(reader.read(ref, WHOLE), truth)
    section = slice(3, 17), slice(18, 33)
    np.testing.assert_array_equal(reader.read(ref, section), truth[section])
    np.testing.assert_array_equal(reader.cutout(ref, section).image, truth[section])


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
    with pytest.raises(CoaddError, match="no whole numbers"):
        mask_bits(np.zeros((2, 2), np.float32), fits.Header())


@pytest.mark.parametrize("cards", [{"BLANK": "none"}, {"BLANK": 1.5}, {"BZERO": "x"}])
def test_what_is_no_number_is_refused_by_name(cards: dict[str, object]) -> None:
    (keyword,) = cards
    with pytest.raises(CoaddError, match=f"its {keyword} = .* is not a"):
        physical_values(np.zeros((2, 2), np.int16), fits.Header(cards))


def test_a_blank_written_as_a_decimal_is_the_integer() -> None:
    values = physical_values(np.array([[-32768, 5]], np.int16), fits.Header({"BLANK": -32768.0}))
    np.testing.assert_array_equal(values, [[np.nan, 5.0]])


def test_files_are_opened_without_scaling(tmp_path: Path) -> None:
    write(tmp_path / "a.fits", "unsigned short", None, True)
    with open_fits(str(tmp_path / "a.fits")) as hdus:
        assert hdus[1].section[0:1, 0:1].dtype.kind == "i"


def test_a_file_put_together_of_components_keeps_the_stored_numbers(tmp_path: Path) -> None:
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

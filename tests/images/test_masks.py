"""Mask planes are found by the names in the file, never by a bit from memory."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images.coadd_fits import DEFAULT_EXCLUDED, FitsReader
from hipsgen.images.masks import bit_mask, plane_bits
from hipsgen.images.uris import uri_of
from samples.coadd import CURRENT_PLANES, OLDER_PLANES, Coadd
from samples.exposure import Form, write_exposure
from samples.skymap import make_tracts
from tests.images.making import COLS, ROWS, noise, tan_header, write

EVERYTHING = (slice(0, ROWS), slice(0, COLS))
HOLE = np.zeros((ROWS, COLS), bool)
HOLE[5:9, 10:20] = True
EDGE = np.zeros((ROWS, COLS), bool)
EDGE[:, 40:42] = True


def afw(path: Path, no_data: int, edge: int) -> CoaddRef:
    """Planes as `MP_NAME = bit`, long names with HIERARCH."""
    mask = (HOLE * (1 << no_data) | EDGE * (1 << edge)).astype(np.int32)
    header = tan_header(EXTTYPE="MASK")
    header["HIERARCH MP_NO_DATA"] = no_data
    header["HIERARCH MP_SENSOR_EDGE"] = edge
    header["MP_SAT"] = 1
    write(
        path,
        fits.PrimaryHDU(),
        fits.ImageHDU(noise(), tan_header(EXTTYPE="IMAGE", BUNIT="nJy")),
        fits.ImageHDU(mask, header),
        fits.ImageHDU(noise(), tan_header(EXTTYPE="VARIANCE")),
    )
    return CoaddRef(uri_of(path), "x")


def lsst_images(path: Path, no_data: int, edge: int) -> CoaddRef:
    """Planes as `MSKNnnnn = NAME`."""
    mask = (HOLE * (1 << no_data) | EDGE * (1 << edge)).astype(np.int32)
    header = tan_header()
    header[f"MSKN{no_data:04d}"] = "NO_DATA"
    header[f"MSKM{no_data:04d}"] = 1 << no_data
    header[f"MSKN{edge:04d}"] = "SENSOR_EDGE"
    header["MSKN0001"] = "SAT"
    write(
        path,
        fits.PrimaryHDU(),
        fits.ImageHDU(noise(), tan_header(BUNIT="nJy"), name="IMAGE"),
        fits.ImageHDU(mask, header, name="MASK"),
    )
    return CoaddRef(uri_of(path), "x")


@pytest.fixture(params=[afw, lsst_images], ids=["MP_", "MSKN"])
def make(request: pytest.FixtureRequest):
    return request.param


@pytest.mark.parametrize(("no_data", "edge"), [(8, 16), (0, 8), (16, 0), (30, 3)])
def test_no_data_is_missing_by_default_and_nothing_else(make, no_data, edge, tmp_path: Path):
    ref = make(tmp_path / "x.fits", no_data, edge)
    pixels = FitsReader().read(ref, EVERYTHING)
    np.testing.assert_array_equal(np.isnan(pixels), HOLE)
    np.testing.assert_array_equal(pixels[~HOLE], noise()[~HOLE])
    section = (slice(4, 8), slice(12, 45))
    np.testing.assert_array_equal(FitsReader().read(ref, section), pixels[section])


@pytest.mark.parametrize(("no_data", "edge"), [(8, 16), (0, 8), (16, 0)])
def test_other_planes_are_missing_on_request(make, no_data, edge, tmp_path: Path):
    ref = make(tmp_path / "x.fits", no_data, edge)
    for names, missing in (
        ((), np.zeros_like(HOLE)),
        (("SENSOR_EDGE",), EDGE),
        (("NO_DATA", "SENSOR_EDGE"), HOLE | EDGE),
        (("STREAK",), np.zeros_like(HOLE)),
    ):
        pixels = FitsReader(excluded=names).read(ref, EVERYTHING)
        np.testing.assert_array_equal(np.isnan(pixels), missing)


def test_info_names_the_planes_and_those_left_out(make, tmp_path: Path):
    ref = make(tmp_path / "x.fits", 8, 16)
    info = FitsReader(excluded=("NO_DATA", "STREAK", "SENSOR_EDGE")).info(ref)
    assert set(info.planes) == {"NO_DATA", "SENSOR_EDGE", "SAT"}
    assert info.excluded == ("NO_DATA", "SENSOR_EDGE")
    assert DEFAULT_EXCLUDED == ("NO_DATA",)


def test_a_flagged_pixel_with_a_value_is_missing_all_the_same(tmp_path: Path):
    """The two forms of the sample have the same planes at other bits."""
    image = np.random.default_rng(1).normal(5, 1, (50, 60)).astype(np.float32)
    flagged = np.zeros((50, 60), bool)
    flagged[20:30, 5:15] = True
    assert CURRENT_PLANES["SENSOR_EDGE"] != OLDER_PLANES["SENSOR_EDGE"]
    for calibrated, planes in ((True, CURRENT_PLANES), (False, OLDER_PLANES)):
        for name in ("NO_DATA", "SENSOR_EDGE", "CLIPPED"):
            path = tmp_path / f"{calibrated}{name}.fits"
            mask = (flagged * (1 << planes[name])).astype(np.int32)
            coadd = Coadd(image, mask, np.ones_like(image), planes)
            write_exposure(
                path, coadd, make_tracts(200)[0], (0, 0, 60, 50), "r", Form(calibrated, "GZIP_2")
            )
            reader = FitsReader(excluded=(name,))
            pixels = reader.read(CoaddRef(uri_of(path), "x"), (slice(0, 50), slice(0, 60)))
            np.testing.assert_array_equal(np.isnan(pixels), flagged)
            assert set(reader.info(CoaddRef(uri_of(path), "x")).planes) == set(planes)


def test_a_mask_of_another_shape_is_not_the_images(tmp_path: Path):
    header = tan_header(EXTTYPE="MASK", MP_BAD=0)
    write(
        tmp_path / "x.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(noise(), tan_header(EXTTYPE="IMAGE")),
        fits.ImageHDU(np.ones((3, 3), np.int32), header),
    )
    ref = CoaddRef(uri_of(tmp_path / "x.fits"), "x")
    assert FitsReader(excluded=("BAD",)).info(ref).planes == {}
    assert not np.isnan(FitsReader(excluded=("BAD",)).read(ref, EVERYTHING)).any()


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_a_mask_that_is_cut_off_is_named(tmp_path: Path):
    ref = afw(tmp_path / "x.fits", 0, 1)
    path = tmp_path / "x.fits"
    with fits.open(path) as hdus:
        place = hdus[2].fileinfo()
    os.truncate(path, place["datLoc"])
    with pytest.raises(CoaddError, match=r"truncated: [0-9]+ bytes of its mask"):
        FitsReader().info(ref)
    assert FitsReader(excluded=()).info(ref).shape == (ROWS, COLS)


@pytest.mark.filterwarnings("ignore")  # astropy does, in several ways
@pytest.mark.parametrize("beyond", [1, 8, 1500])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_ends_in_a_header_is_not_taken_for_one_without_a_mask(
    tmp_path: Path, beyond: int, packed: bool
):
    ref = afw(tmp_path / "x.fits", 0, 1)
    path = tmp_path / "x.fits"
    with fits.open(path) as hdus:
        place = hdus[2].fileinfo()
    os.truncate(path, place["hdrLoc"] + beyond)
    if packed:
        (tmp_path / "x.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
        ref = CoaddRef(uri_of(tmp_path / "x.fits.gz"), "x")
    with pytest.raises(CoaddError, match="truncated: it ends in the header of HDU 2"):
        FitsReader().info(ref)


def test_plane_bits_reads_both_spellings_and_nothing_else():
    header = fits.Header()
    header["MP_BAD"] = 0
    header["HIERARCH MP_DETECTED_NEGATIVE"] = 6
    header["MP_NOTE"] = "no number"
    header["MSKN0012"] = "CLIPPED "
    header["MSKD0012"] = "a description"
    header["MSKM0012"] = 4096
    assert plane_bits(header) == {"BAD": 0, "DETECTED_NEGATIVE": 6, "CLIPPED": 12}
    assert bit_mask({"A": 0, "B": 4, "C": 31}, ("B", "C", "unknown")) == (1 << 4) | (1 << 31)
    assert bit_mask({}, ("NO_DATA",)) == 0


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
@pytest.mark.parametrize("compression", [None, "GZIP_1", "GZIP_2", "RICE_1"])
def test_a_reader_of_masks_gives_their_bits(kind, compression, tmp_path: Path):
    """Whatever their type; of a sign, too."""
    width = 8 * np.dtype(kind).itemsize
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 1 << width, (ROWS, COLS), dtype=np.uint64)
    mask = bits.astype(f"u{width // 8}").view(kind)
    header = tan_header(EXTTYPE="MASK", MP_BAD=0, MP_LAST=width - 1)
    hdu = fits.ImageHDU(mask, header)
    if compression:
        hdu = fits.CompImageHDU(mask, header, compression_type=compression)
    write(
        tmp_path / "x.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(noise(), tan_header(EXTTYPE="IMAGE")),
        hdu,
    )
    ref, reader = CoaddRef(uri_of(tmp_path / "x.fits"), "x"), FitsReader((), plane="mask")
    found = reader.read(ref, EVERYTHING)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found.view(np.uint32), bits)
    section, out = (slice(3, 20), slice(7, 31)), np.empty((17, 24), np.float32)
    parts = [(slice(3, 9), slice(7, 20)), (slice(9, 20), slice(8, 31))]
    given = reader.read(ref, section, parts, out)
    assert np.shares_memory(given, out)
    for rows, cols in parts:
        at = slice(rows.start - 3, rows.stop - 3), slice(cols.start - 7, cols.stop - 7)
        np.testing.assert_array_equal(given.view(np.uint32)[at], bits[rows, cols])
    assert reader.info(ref).planes == {"BAD": 0, "LAST": width - 1}
    assert reader.info(ref).in_parts == (compression is None)


def test_a_variance_is_multiplied_with_the_square_of_what_the_image_is(tmp_path: Path):
    header = tan_header(EXTTYPE="IMAGE", FLUXMAG0=1e12)
    variance = np.abs(noise(seed=4))
    write(
        tmp_path / "x.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(noise(), header),
        fits.ImageHDU(variance, tan_header(EXTTYPE="VARIANCE")),
    )
    ref = CoaddRef(uri_of(tmp_path / "x.fits"), "x")
    image, square = FitsReader(), FitsReader(plane="variance")
    info = square.info(ref)
    assert (info.unit, info.unit_in) == ("nJy**2", "count**2")
    assert info.scale == pytest.approx(image.info(ref).scale ** 2)
    np.testing.assert_allclose(
        square.read(ref, EVERYTHING), variance.astype(float) * info.scale, rtol=1e-6
    )

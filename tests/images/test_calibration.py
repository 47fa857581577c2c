"""Values come out in nJy whenever the file says how, and in its own unit when it does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.source import CoaddInfo
from hipsgen.images.uris import uri_of
from samples.archive import Field, archive_hdus
from samples.coadd import CURRENT_PLANES, OLDER_PLANES, Coadd
from samples.exposure import FLUXMAG0, NANOJANSKY_PER_COUNT, Form, write_exposure
from samples.skymap import make_tracts
from tests.images.making import COLS, ROWS, noise, tan_header, write

EVERYTHING = (slice(0, ROWS), slice(0, COLS))
CORNER = (slice(3, 20), slice(7, 31))


def exposure(path: Path, unit: str | None, archive: list[Any] | None, **primary: Any) -> CoaddRef:
    """An afw-like file: empty primary, image, archive."""
    first = fits.PrimaryHDU()
    if archive is not None:
        first.header["AR_HDU"] = 3
        first.header["HIERARCH ARCHIVE_ID_PHOTOCALIB"] = 1
    first.header.update(primary)
    header = tan_header(EXTTYPE="IMAGE")
    if unit is not None:
        header["BUNIT"] = unit
    write(path, first, fits.ImageHDU(noise(), header, name="IMAGE"), *(archive or []))
    return CoaddRef(uri_of(path), "x")


def outcome(ref: CoaddRef) -> tuple[CoaddInfo, float]:
    """The info, and what the pixels were multiplied with."""
    reader = FitsReader()
    pixels = reader.read(ref, EVERYTHING)
    factor = pixels / noise()
    assert np.ptp(factor) < 1e-5 * factor.mean()
    part = reader.read(ref, CORNER)
    np.testing.assert_array_equal(part, pixels[CORNER])
    return reader.info(ref), float(factor.mean())


def test_a_physical_unit_is_kept(tmp_path: Path):
    for unit in ("nJy", "MJy/sr", "Jy/beam", "mag", "nanomaggy"):
        info, factor = outcome(exposure(tmp_path / f"{unit.replace('/', ' ')}.fits", unit, None))
        assert (info.unit, info.unit_in, info.calibration) == (unit, unit, "BUNIT")
        assert factor == info.scale == 1.0


@pytest.mark.parametrize("unit", [None, "", "adu", "ADU", "DN", "count", "electron"])
def test_counts_with_a_photocalib_become_njy(unit: str | None, tmp_path: Path):
    ref = exposure(tmp_path / "x.fits", unit, archive_hdus(57.5, "r"))
    info, factor = outcome(ref)
    assert (info.unit, info.calibration) == ("nJy", "PhotoCalib")
    assert info.unit_in == (unit or "count")
    assert factor == pytest.approx(57.5, rel=1e-6)
    assert info.scale == 57.5


@pytest.mark.parametrize("mean", [1.0, 57.5])
def test_njy_with_a_photocalib_is_not_calibrated_twice(mean: float, tmp_path: Path):
    ref = exposure(tmp_path / "x.fits", "nJy", archive_hdus(mean, "r"))
    info, factor = outcome(ref)
    assert (info.unit, info.scale, factor, info.calibration) == ("nJy", 1.0, 1.0, "BUNIT")


def test_the_photocalib_that_the_header_names_is_taken_not_that_of_an_input(tmp_path: Path):
    """lsst.afw.table.io: the id in the header leads through the index to table and row."""
    index, calibrations, label = archive_hdus(57.5, "r")
    rows = fits.FITS_rec.from_columns(calibrations.columns, nrows=3)
    for name, values in {"calibrationMean": [1.5, 57.5, 2.5], "field": [0, 0, 0]}.items():
        rows[name] = values
    rows["flags"] = [[True]] * 3
    several = fits.BinTableHDU(rows, calibrations.header)
    entries = fits.FITS_rec.from_columns(index.columns, nrows=4)
    entries["id"] = [7, 1, 8, 2]
    entries["cat.archive"] = [1, 1, 1, 2]
    entries["row0"] = [0, 1, 2, 0]
    entries["nrows"] = [1, 1, 1, 1]
    entries["name"] = ["PhotoCalib", "PhotoCalib", "PhotoCalib", "FilterLabel"]
    archive = [fits.BinTableHDU(entries, index.header), several, label]
    info, factor = outcome(exposure(tmp_path / "x.fits", None, archive))
    assert info.calibration == "PhotoCalib"
    assert factor == pytest.approx(57.5, rel=1e-6)


def test_fluxmag0_alone_gives_njy(tmp_path: Path):
    for where in ("image", "primary"):
        path = tmp_path / f"{where}.fits"
        if where == "primary":
            exposure(path, None, None, FLUXMAG0=FLUXMAG0)
        else:
            write(path, fits.PrimaryHDU(noise(), tan_header(FLUXMAG0=FLUXMAG0)))
        info, factor = outcome(CoaddRef(uri_of(path), "x"))
        assert (info.unit, info.unit_in, info.calibration) == ("nJy", "count", "FLUXMAG0")
        assert factor == pytest.approx(NANOJANSKY_PER_COUNT, rel=1e-5)


@pytest.mark.parametrize("flux", [0.0, -1.0, "unknown"])
def test_a_fluxmag0_that_is_none_is_not_used(flux: Any, tmp_path: Path):
    info, factor = outcome(exposure(tmp_path / "x.fits", "adu", None, FLUXMAG0=flux))
    assert (info.unit, factor) == ("adu", 1.0)


def test_a_file_that_says_nothing_keeps_its_values_and_has_no_unit(tmp_path: Path):
    write(tmp_path / "x.fits", fits.PrimaryHDU(noise(), tan_header()))
    info, factor = outcome(CoaddRef(uri_of(tmp_path / "x.fits"), "x"))
    assert (info.unit, info.unit_in, info.calibration) == ("", "", "none")
    assert factor == 1.0


def test_counts_that_nothing_calibrates_stay_counts(tmp_path: Path):
    info, factor = outcome(exposure(tmp_path / "x.fits", "adu", None))
    assert (info.unit, factor) == ("adu", 1.0)


COEFFICIENTS = np.array([[57.5, 3.0, -1.0], [2.0, 0.5, 0.25]])


def chebyshev(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The field at places between -1 and 1, by T_k(cos t) = cos(k t)."""
    return sum(
        c * np.cos(j * np.arccos(y)) * np.cos(i * np.arccos(x))
        for (j, i), c in np.ndenumerate(COEFFICIENTS)
    )


@pytest.mark.parametrize("origin", ["LTV", "A", "none"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_photocalib_that_varies_is_evaluated_at_every_pixel(
    origin: str, compressed: bool, tmp_path: Path
):
    """lsst.afw: the borders of the box, half a pixel beyond the outermost centers, are -1 and 1."""
    x0, y0 = (0, 0) if origin == "none" else (4100, 8200)
    # of a tract's pixels, one more on each side than the image has
    box = (x0 - 1, y0 - 1, x0 + COLS, y0 + ROWS)
    ref = exposure(tmp_path / "x.fits", None, archive_hdus(57.5, "r", Field(box, COEFFICIENTS)))
    cards = {
        "LTV": {"LTV1": -x0, "LTV2": -y0},
        "A": {"CTYPE1A": "LINEAR", "CRPIX1A": 1, "CRVAL1A": x0, "CRPIX2A": 1, "CRVAL2A": y0},
        "none": {},
    }[origin]
    with fits.open(tmp_path / "x.fits", mode="update") as hdus:
        hdus[1].header.update(cards)
        if compressed:
            hdus[1] = fits.CompImageHDU(
                hdus[1].data, hdus[1].header, "IMAGE", "GZIP_2", quantize_level=0
            )
    x = (np.arange(COLS) + 1.5) / (COLS + 2) * 2 - 1
    y = (np.arange(ROWS)[:, None] + 1.5) / (ROWS + 2) * 2 - 1
    truth = noise() * chebyshev(x, y)
    reader = FitsReader()
    assert reader.info(ref).unit == "nJy"
    assert reader.info(ref).scale == 57.5
    np.testing.assert_allclose(reader.read(ref, EVERYTHING), truth, rtol=1e-6)
    np.testing.assert_array_equal(reader.read(ref, CORNER), reader.read(ref, EVERYTHING)[CORNER])
    out = np.full((ROWS, COLS), -1.0, np.float32)
    parts = [(slice(0, 3), slice(4, 9)), (slice(3, 7), slice(0, 2))]
    reader.read(ref, EVERYTHING, parts, out)
    for part in parts:
        np.testing.assert_allclose(out[part], truth[part], rtol=1e-6)
    with fits.open(tmp_path / "x.fits", mode="append") as hdus:
        hdus.append(fits.ImageHDU(noise(seed=8), tan_header(EXTTYPE="VARIANCE")))
    variance = FitsReader(plane="variance")
    assert (variance.info(ref).unit, variance.info(ref).scale) == ("nJy**2", 57.5**2)
    square = noise(seed=8) * chebyshev(x, y) ** 2
    np.testing.assert_allclose(variance.read(ref, EVERYTHING), square, rtol=1e-6)


def test_a_photocalib_that_varies_in_an_unknown_way_is_refused(tmp_path: Path):
    archive = archive_hdus(57.5, "r", Field((0, 0, 9, 9), COEFFICIENTS))
    archive[0].data["name"][2] = "TransformBoundedField"
    ref = exposure(tmp_path / "x.fits", None, archive)
    for ask in (FitsReader().info, lambda r: FitsReader().read(r, EVERYTHING)):
        with pytest.raises(
            CoaddError, match=r"no ChebyshevBoundedField 3; .*TransformBoundedField"
        ):
            ask(ref)


def test_an_archive_without_the_photocalib_it_names_is_refused(tmp_path: Path):
    archive = archive_hdus(57.5, "r")
    archive[0].data["id"] = [5, 6]
    with pytest.raises(CoaddError, match="its archive has no PhotoCalib 1"):
        FitsReader().info(exposure(tmp_path / "x.fits", None, archive))


@pytest.mark.parametrize("compression", ["GZIP_2", "RICE_1"])
def test_both_forms_of_the_sample_hold_the_same_njy(compression: str, tmp_path: Path):
    tract = make_tracts(200)[0]
    box = (0, 0, 60, 50)
    rng = np.random.default_rng(0)
    image = rng.normal(20.0, 2.0, (50, 60)).astype(np.float32)
    image[10:14, 20:30] = np.nan
    mask = np.zeros((50, 60), np.int32)
    read = {}
    for calibrated, planes in ((True, CURRENT_PLANES), (False, OLDER_PLANES)):
        path = tmp_path / f"{calibrated}.fits"
        coadd = Coadd(image, mask, np.ones_like(image), planes)
        write_exposure(path, coadd, tract, box, "r", Form(calibrated, compression))
        ref = CoaddRef(uri_of(path), "x")
        info = FitsReader().info(ref)
        assert info.unit == "nJy"
        assert info.calibration == ("BUNIT" if calibrated else "PhotoCalib")
        assert info.scale == pytest.approx(1.0 if calibrated else NANOJANSKY_PER_COUNT)
        read[calibrated] = FitsReader().read(ref, (slice(0, 50), slice(0, 60)))
    tolerance = 0.3 if compression == "RICE_1" else 1e-5
    np.testing.assert_array_equal(np.isnan(read[True]), np.isnan(image))
    np.testing.assert_allclose(read[True], read[False], rtol=1e-6, atol=tolerance)
    np.testing.assert_allclose(read[True], image, rtol=1e-6, atol=tolerance)


def test_a_unit_that_is_given_replaces_every_calibration(tmp_path: Path):
    ref = exposure(tmp_path / "x.fits", "adu", archive_hdus(57.5, "r"), FLUXMAG0=FLUXMAG0)
    with fits.open(tmp_path / "x.fits", mode="append") as hdus:
        hdus.append(fits.ImageHDU(noise(seed=8), tan_header(EXTTYPE="VARIANCE")))
    for plane, unit, seed in (("image", "MJy/sr", 0), ("variance", "MJy/sr**2", 8)):
        reader = FitsReader(plane=plane, unit="MJy/sr")
        info = reader.info(ref)
        assert (info.unit, info.unit_in, info.scale, info.calibration) == (
            unit,
            unit,
            1.0,
            "stated",
        )
        np.testing.assert_array_equal(reader.read(ref, EVERYTHING), noise(seed=seed))

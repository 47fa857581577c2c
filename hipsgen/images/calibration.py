"""What a coadd's values must be multiplied with, and the unit they then have."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError
from hipsgen.images.afw_archive import archived, flag_of
from hipsgen.images.source import Section

# AB zero point of 1 nJy: -2.5 log10(1e-9 / 3631)
_NJY_ZERO_POINT = 31.4
_COUNTS = {"adu", "dn", "count", "counts", "ct", "electron", "electrons"}


@dataclass(frozen=True)
class ChebyshevField:
    """A factor that varies over an image: a sum of Chebyshev polynomials, as lsst.afw has them.

    box: x and y of the first and of the last pixel in which it is defined, in the pixels of the
    image. coefficients: of T_j(y) T_i(x) in row j, column i. Where a pixel's middle lies in the
    box, whose borders are those of pixels, is what the polynomials are functions of
    (lsst.afw.math.ChebyshevBoundedField).
    """

    box: tuple[float, float, float, float]
    coefficients: tuple[tuple[float, ...], ...]

    def at(self, section: Section) -> npt.NDArray[np.float32]:
        """The factor at every pixel of a section (rows, columns)."""
        first_x, first_y, last_x, last_y = self.box
        rows, cols = (np.arange(s.start, s.stop, dtype=np.float64) for s in section)
        x = 2 * (cols - first_x + 0.5) / (last_x - first_x + 1) - 1
        y = 2 * (rows - first_y + 0.5) / (last_y - first_y + 1) - 1
        grid = np.polynomial.chebyshev.chebgrid2d(y, x, np.array(self.coefficients))
        return np.asarray(grid, np.float32)


@dataclass(frozen=True)
class Calibration:
    """values x scale = values in `unit`; unit_in: the unit before; source: where scale is from.

    field: to be multiplied with instead, where that varies; scale is its mean.
    """

    unit: str
    scale: float = 1.0
    unit_in: str = ""
    source: str = "none"
    field: ChebyshevField | None = None

    def squared(self) -> "Calibration":
        """That of a variance; but its values are to be multiplied with the field twice."""
        unit, unit_in = (f"{text}**2" if text else "" for text in (self.unit, self.unit_in))
        return replace(self, unit=unit, scale=self.scale**2, unit_in=unit_in)


def calibration_of(hdus: Any, image: Any) -> Calibration:
    """Read the calibration of an image HDU in its file.

    In this order: a physical BUNIT; the PhotoCalib of an lsst.afw archive; FLUXMAG0; the BUNIT as
    it stands. Raises CoaddError for a PhotoCalib that varies in a way that is not known here.
    """
    unit = str(image.header.get("BUNIT", "")).strip()
    if unit and unit.lower() not in _COUNTS:
        return Calibration(unit, 1.0, unit, "BUNIT")
    found = photo_calib(hdus, first_pixel(image.header))
    if found is not None:
        mean, field = found
        return Calibration("nJy", mean, unit or "count", "PhotoCalib", field)
    for header in (image.header, hdus[0].header):
        flux = header.get("FLUXMAG0")
        if isinstance(flux, int | float) and flux > 0:
            scale = 10 ** (0.4 * _NJY_ZERO_POINT) / flux
            return Calibration("nJy", scale, unit or "count", "FLUXMAG0")
    return Calibration(unit, 1.0, unit, "BUNIT" if unit else "none")


def first_pixel(header: Any) -> tuple[int, int]:
    """x, y of an image's first pixel in the pixels of its parent, a tract; 0, 0 without one."""
    if "LTV1" in header and "LTV2" in header:
        return round(-header["LTV1"]), round(-header["LTV2"])
    x, y = (header.get(f"CRVAL{k}A", 0) + 1 - header.get(f"CRPIX{k}A", 1) for k in (1, 2))
    return round(x), round(y)


def photo_calib(hdus: Any, first: tuple[int, int]) -> tuple[float, ChebyshevField | None] | None:
    """nJy per count, and how it varies, from the PhotoCalib of the exposure, None without one.

    Coadds may hold PhotoCalibs of their inputs as well, so the exposure's own is looked up through
    the archive index (lsst.afw.table.io): id -> registry and row. first: see `first_pixel`.
    """
    header = hdus[0].header
    wanted = header.get("ARCHIVE_ID_PHOTOCALIB", header.get("PHOTOCALIB_ID"))
    number = header.get("AR_HDU")
    if wanted is None or number is None or not 0 < number <= len(hdus):
        tables = [hdu for hdu in hdus if hdu.header.get("AR_NAME") == "PhotoCalib"]
        if len(tables) != 1 or len(tables[0].data) != 1:
            return None
        table, row = tables[0], tables[0].data[0]
    else:
        table, row = archived(hdus, number - 1, wanted, "PhotoCalib")  # AR_HDU counts from 1
    if flag_of(table, row, "isConstant"):
        return float(row["calibrationMean"]), None
    if not number:
        raise CoaddError("its PhotoCalib varies over the image, and no archive says how")
    _, values = archived(hdus, number - 1, row["field"], "ChebyshevBoundedField")
    across = int(values["order_x"]) + 1
    x, y = first
    box = (
        float(values["bbox_min_x"]) - x,
        float(values["bbox_min_y"]) - y,
        float(values["bbox_max_x"]) - x,
        float(values["bbox_max_y"]) - y,
    )
    rows = np.asarray(values["coefficients"], np.float64).reshape(-1, across).tolist()
    return float(row["calibrationMean"]), ChebyshevField(box, tuple(map(tuple, rows)))

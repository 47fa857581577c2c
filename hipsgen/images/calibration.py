"""Read the photometric calibration of a coadd: scale of its values and the resulting unit."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError
from hipsgen.images.afw_archive import find_archived, read_flag
from hipsgen.images.source import Section

# AB zero point of 1 nJy: -2.5 log10(1e-9 / 3631)
_NJY_ZERO_POINT = 31.4
STATED = "stated"  # source of a calibration: the user gave the unit of the values
_COUNTS = {"adu", "dn", "count", "counts", "ct", "electron", "electrons"}


@dataclass(frozen=True)
class ChebyshevField:
    """A factor that varies over an image: a sum of Chebyshev polynomials, as defined by lsst.afw.

    The polynomials are functions of the position of a pixel's center in the box, whose borders are
    those of its outermost pixels and correspond to -1 and 1 (lsst.afw.math.ChebyshevBoundedField).

    Attributes
    ----------
    box
        x and y of the first and of the last pixel of the domain, in pixels of the image.
    coefficients
        Coefficient of T_j(y) T_i(x) in row j, column i.
    """

    box: tuple[float, float, float, float]
    coefficients: tuple[tuple[float, ...], ...]

    def at(self, section: Section) -> npt.NDArray[np.float32]:
        """Return the factor, float32, at every pixel of a section (rows, columns)."""
        first_x, first_y, last_x, last_y = self.box
        rows, cols = (np.arange(s.start, s.stop, dtype=np.float64) for s in section)
        x = 2 * (cols - first_x + 0.5) / (last_x - first_x + 1) - 1
        y = 2 * (rows - first_y + 0.5) / (last_y - first_y + 1) - 1
        grid = np.polynomial.chebyshev.chebgrid2d(y, x, np.array(self.coefficients))
        return np.asarray(grid, np.float32)


@dataclass(frozen=True)
class Calibration:
    """Conversion of the values of a file to physical units: values x scale are in `unit`.

    Attributes
    ----------
    unit
        Unit of the calibrated values, "" if unknown.
    scale
        Factor; if `field` is given, its mean.
    unit_in
        Unit of the values in the file.
    source
        Where the scale comes from.
    field
        Factor to use instead of `scale` if it varies over the image.
    """

    unit: str
    scale: float = 1.0
    unit_in: str = ""
    source: str = "none"
    field: ChebyshevField | None = None

    def squared(self) -> "Calibration":
        """Return the calibration of a variance; a varying `field` must be applied twice."""
        unit, unit_in = (f"{text}**2" if text else "" for text in (self.unit, self.unit_in))
        return replace(self, unit=unit, scale=self.scale**2, unit_in=unit_in)


def calibration_of(hdus: Any, image: Any) -> Calibration:
    """Read the calibration of an image HDU.

    Sources, in this order: a physical BUNIT; the PhotoCalib of an lsst.afw archive; FLUXMAG0; BUNIT
    unchanged. Raises CoaddError if a PhotoCalib varies in an unsupported way.
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
    """Return x, y of an image's first pixel in the pixels of its tract; 0, 0 if there is none."""
    if "LTV1" in header and "LTV2" in header:
        return round(-header["LTV1"]), round(-header["LTV2"])
    x, y = (header.get(f"CRVAL{k}A", 0) + 1 - header.get(f"CRPIX{k}A", 1) for k in (1, 2))
    return round(x), round(y)


def photo_calib(hdus: Any, first: tuple[int, int]) -> tuple[float, ChebyshevField | None] | None:
    """Read the PhotoCalib of an exposure: nJy per count, and its variation; None if there is none.

    A coadd may contain the PhotoCalibs of its inputs as well, so that of the exposure is looked up
    in the archive index (lsst.afw.table.io): object id to table and row. first: see `first_pixel`.
    """
    header = hdus[0].header
    object_id = header.get("ARCHIVE_ID_PHOTOCALIB", header.get("PHOTOCALIB_ID"))
    number = header.get("AR_HDU")
    if object_id is None or number is None or not 0 < number <= len(hdus):
        tables = [hdu for hdu in hdus if hdu.header.get("AR_NAME") == "PhotoCalib"]
        if len(tables) != 1 or len(tables[0].data) != 1:
            return None
        table, row = tables[0], tables[0].data[0]
    else:
        # AR_HDU counts from 1
        table, row = find_archived(hdus, number - 1, object_id, "PhotoCalib")
    if read_flag(table, row, "isConstant"):
        return float(row["calibrationMean"]), None
    if not number:
        raise CoaddError("its PhotoCalib varies over the image, but the file has no archive of it")
    _, values = find_archived(hdus, number - 1, row["field"], "ChebyshevBoundedField")
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

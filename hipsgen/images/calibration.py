"""What a coadd's values must be multiplied with, and the unit they then have."""

from dataclasses import dataclass
from typing import Any

from hipsgen.errors import CoaddError

# AB zero point of 1 nJy: -2.5 log10(1e-9 / 3631)
_NJY_ZERO_POINT = 31.4
_COUNTS = {"adu", "dn", "count", "counts", "ct", "electron", "electrons"}


@dataclass(frozen=True)
class Calibration:
    """values x scale = values in `unit`; unit_in: the unit before; source: where scale is from."""

    unit: str
    scale: float = 1.0
    unit_in: str = ""
    source: str = "none"


def calibration_of(hdus: Any, image: Any) -> Calibration:
    """Read the calibration of an image HDU in its file.

    In this order: a physical BUNIT; the PhotoCalib of an lsst.afw archive; FLUXMAG0; the BUNIT as
    it stands. Raises CoaddError for a PhotoCalib that varies over the image.
    """
    unit = str(image.header.get("BUNIT", "")).strip()
    if unit and unit.lower() not in _COUNTS:
        return Calibration(unit, 1.0, unit, "BUNIT")
    mean = photo_calib(hdus)
    if mean is not None:
        return Calibration("nJy", mean, unit or "count", "PhotoCalib")
    for header in (image.header, hdus[0].header):
        flux = header.get("FLUXMAG0")
        if isinstance(flux, int | float) and flux > 0:
            scale = 10 ** (0.4 * _NJY_ZERO_POINT) / flux
            return Calibration("nJy", scale, unit or "count", "FLUXMAG0")
    return Calibration(unit, 1.0, unit, "BUNIT" if unit else "none")


def photo_calib(hdus: Any) -> float | None:
    """nJy per count from the PhotoCalib that belongs to the exposure itself, None without one.

    Coadds may hold PhotoCalibs of their inputs as well, so the exposure's own is looked up through
    the archive index (lsst.afw.table.io): id -> catalogue and row.
    """
    header = hdus[0].header
    wanted = header.get("ARCHIVE_ID_PHOTOCALIB", header.get("PHOTOCALIB_ID"))
    number = header.get("AR_HDU")
    if wanted is None or number is None or not 0 < number <= len(hdus):
        tables = [hdu for hdu in hdus if hdu.header.get("AR_NAME") == "PhotoCalib"]
        return _mean(tables[0], 0) if len(tables) == 1 and len(tables[0].data) == 1 else None
    index = hdus[number - 1].data  # AR_HDU counts from 1
    for row in index[index["id"] == wanted]:
        if str(row["name"]).strip() == "PhotoCalib":
            return _mean(hdus[number - 1 + int(row["cat.archive"])], int(row["row0"]))
    raise CoaddError(f"its archive has no PhotoCalib {wanted}")


def _mean(table: Any, number: int) -> float:
    row = table.data[number]
    if not _flag(table, row, "isConstant"):
        raise CoaddError("its PhotoCalib varies over the image, which is not supported yet")
    return float(row["calibrationMean"])


def _flag(table: Any, row: Any, name: str) -> bool:
    """A flag of an lsst.afw table: bit k of the column FLAGCOL, named by TFLAGk."""
    column = int(table.header.get("FLAGCOL", 1)) - 1
    bits = [k for k in range(1, 65) if table.header.get(f"TFLAG{k}") == name]
    return bool(row[column][bits[0] - 1]) if bits else False

"""Reads the sample's files back with astropy alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from samples.skymap import Box


@dataclass(frozen=True)
class Planes:
    """A coadd in nJy, as a reader without the stack gets it."""

    image: npt.NDArray[Any]
    mask: npt.NDArray[Any]
    variance: npt.NDArray[Any]
    bits: dict[str, int]
    box: Box
    wcs: WCS
    scale: float
    nanojansky: bool

    def has(self, plane: str) -> npt.NDArray[np.bool_]:
        return np.asarray((self.mask & (1 << self.bits[plane])) != 0)


def calibration(hdus: fits.HDUList) -> float:
    """calibrationMean, found as afw finds it: header -> index -> table -> row."""
    wanted = hdus[0].header["ARCHIVE_ID_PHOTOCALIB"]
    index = hdus[0].header["AR_HDU"] - 1
    assert hdus[index].header["EXTTYPE"] == "ARCHIVE_INDEX"
    (entry,) = (row for row in hdus[index].data if row["id"] == wanted)
    assert entry["name"] == "PhotoCalib"
    table = hdus[index + entry["cat.archive"]]
    assert table.header["EXTTYPE"] == "ARCHIVE_DATA"
    assert table.header["AR_NAME"] == "PhotoCalib"
    assert table.header["TFLAG1"] == "isConstant"
    row = table.data[entry["row0"]]
    assert row["flags"][0]
    assert row["field"] == 0
    return float(row["calibrationMean"])


def read_planes(path: str | Path) -> Planes:
    with fits.open(path) as hdus:
        by_type = {h.header["EXTTYPE"]: h for h in hdus[1:4]}
        header = by_type["IMAGE"].header
        scale = calibration(hdus)
        image, mask, variance = (by_type[n].data for n in ("IMAGE", "MASK", "VARIANCE"))
        x0, y0 = int(-header["LTV1"]), int(-header["LTV2"])
        bits = {k[3:]: v for k, v in by_type["MASK"].header.items() if k.startswith("MP_")}
        return Planes(
            image * np.float32(scale),
            mask,
            variance * np.float32(scale**2),
            bits,
            (x0, y0, x0 + image.shape[1], y0 + image.shape[0]),
            WCS(header),
            scale,
            header.get("BUNIT") == "nJy",
        )

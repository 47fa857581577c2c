"""Write coadds as lsst.afw writes an ExposureF: three compressed planes and an archive."""

import os
from dataclasses import dataclass
from unittest.mock import patch as replaced

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from samples.archive import FILTER_LABEL_ID, PHOTO_CALIB_ID, archive_hdus
from samples.coadd import Coadd
from samples.skymap import Box, Tract

ZERO_POINT = 27.0  # AB magnitude of one count in the older form
FLUXMAG0 = 10 ** (0.4 * ZERO_POINT)  # counts
NANOJANSKY_PER_COUNT = 10 ** (0.4 * (31.4 - ZERO_POINT))  # 57.544


@dataclass(frozen=True)
class Form:
    """A variant of these files.

    calibrated: pixels are in nJy, and BUNIT and EXTNAME are set; otherwise they are counts, which
    only the PhotoCalib table and FLUXMAG0 calibrate, and planes have EXTTYPE but no EXTNAME.
    compression: GZIP_2 preserves every bit; RICE_1 quantizes with subtractive dithering.
    """

    calibrated: bool
    compression: str

    @property
    def nanojansky_per_count(self) -> float:
        """Flux of a pixel value of 1."""
        return 1.0 if self.calibrated else NANOJANSKY_PER_COUNT


def write_exposure(
    path: str | os.PathLike[str], coadd: Coadd, tract: Tract, box: Box, band: str, form: Form
) -> None:
    """Write a coadd (nJy) that covers `box` of a tract; equal arguments give equal bytes."""
    coadd = coadd.scaled(1 / form.nanojansky_per_count)
    hdus = fits.HDUList(
        [
            _primary(band, form),
            _plane("IMAGE", coadd.image, tract, box, form),
            _plane("MASK", coadd.mask, tract, box, form, _mask_cards(coadd)),
            _plane("VARIANCE", coadd.variance, tract, box, form),
            *archive_hdus(form.nanojansky_per_count, band),
        ]
    )
    # gzip records the time of day in every compressed tile
    with replaced("time.time", return_value=0.0):
        hdus.writeto(path)


def _primary(band: str, form: Form) -> fits.PrimaryHDU:
    hdu = fits.PrimaryHDU()
    hdu.header["HIERARCH EXPINFO_V"] = 2 if form.calibrated else 1
    hdu.header["AR_HDU"] = (5, "HDU (1-indexed) containing the archive")
    for name, number in (("PHOTOCALIB", PHOTO_CALIB_ID), ("FILTER", FILTER_LABEL_ID)):
        comment = f"archive ID for component '{name}'"
        hdu.header[f"HIERARCH {name}_ID"] = (number, comment)
        hdu.header[f"HIERARCH ARCHIVE_ID_{name}"] = number
    if not form.calibrated:
        hdu.header["FILTER"] = band
        hdu.header["FLUXMAG0"] = (FLUXMAG0, "counts of magnitude 0")
    return hdu


def _plane(
    name: str,
    data: npt.NDArray[np.float32] | npt.NDArray[np.int32],
    tract: Tract,
    box: Box,
    form: Form,
    cards: fits.Header | None = None,
) -> fits.CompImageHDU:
    """Return one compressed plane, with one row per tile.

    Without EXTNAME the compressed table is called COMPRESSED_IMAGE, as in cfitsio.
    """
    header = _wcs_cards(tract, box)
    header["INHERIT"] = True
    header["EXTTYPE"] = name
    if form.calibrated:
        header["EXTNAME"] = name
        if name != "MASK":
            header["BUNIT"] = "nJy" if name == "IMAGE" else "nJy**2"
    header.update(cards or {})
    quantized = form.compression == "RICE_1" and data.dtype.kind == "f"
    return fits.CompImageHDU(
        data,
        header,
        compression_type=form.compression,
        tile_shape=(1, data.shape[1]),
        quantize_level=16.0 if quantized else 0.0,
        quantize_method=2 if quantized else -1,
        dither_seed=1 + (box[0] + 7 * box[1]) % 10000 if quantized else 0,
    )


def _mask_cards(coadd: Coadd) -> fits.Header:
    header = fits.Header()
    for name, bit in coadd.planes.items():
        keyword = f"MP_{name}"
        header[keyword if len(keyword) <= 8 else f"HIERARCH {keyword}"] = bit
    return header


def _wcs_cards(tract: Tract, box: Box) -> fits.Header:
    """Return the sky projection with a CD matrix, and the tract's pixel grid as LTV and WCS A."""
    wcs = tract.wcs(box).wcs
    header = fits.Header()
    header["WCSAXES"] = 2
    for axis in (1, 2):
        header[f"CRPIX{axis}"] = float(wcs.crpix[axis - 1])
        header[f"CRVAL{axis}"] = float(wcs.crval[axis - 1])
        header[f"CTYPE{axis}"] = str(wcs.ctype[axis - 1])
        header[f"CD{axis}_{axis}"] = float(wcs.cd[axis - 1, axis - 1])
        header[f"CUNIT{axis}"] = "deg"
    header["RADESYS"] = "ICRS"
    for axis, start in ((1, box[0]), (2, box[1])):
        header[f"LTV{axis}"] = float(-start)
        header[f"CTYPE{axis}A"] = "LINEAR"
        header[f"CRPIX{axis}A"] = 1.0
        header[f"CRVAL{axis}A"] = float(start)
        header[f"CUNIT{axis}A"] = "PIXEL"
    return header

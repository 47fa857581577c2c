"""Reads coadds from their own files: single pixels with their mask planes, and cutouts."""

import hashlib
import math
from dataclasses import replace
from typing import TypedDict

import numpy as np

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.cutout import Cutout, place_in, section_around
from hipsgen.images.source import CoaddInfo, Section
from hipsgen.sky.polygon import to_lonlat
from hipsgen.survey.provenance import UsedCoadd

MAX_PIXELS = 4608 * 4608  # patches have 4200 x 4200
# AB magnitude of 1 nJy
_NJY_ZERO_POINT = 31.4


class PixelDescription(TypedDict):
    """A pixel of a coadd's file.

    x, y: in the patch, from 0; at: the requested position in the same system. tract_x, tract_y: in
    the tract. ra, dec: of the pixel's center. value, variance, sn (value over standard deviation),
    surface_brightness (AB mag/arcsec²): None if the file has none. mask: names of the planes that
    are set. pixel_scale: arcsec.
    """

    x: int
    y: int
    at: list[float]
    tract_x: int
    tract_y: int
    ra: float
    dec: float
    value: float | None
    unit: str
    variance: float | None
    sn: float | None
    surface_brightness: float | None
    mask: list[str]
    has_mask: bool
    pixel_scale: float


def coadd_id(coadd: UsedCoadd) -> str:
    """Return the identifier of a coadd in API URLs: its UUID, or a digest of its URI."""
    text = f"{coadd.ref.uri}[{coadd.ref.hdu}]"
    return coadd.ref.dataset_id or hashlib.sha256(text.encode()).hexdigest()[:16]


def _current_ref(coadd: UsedCoadd) -> CoaddRef:
    """Return a reference for reading the file as it is now, even if it changed since the build."""
    return replace(coadd.ref, identity=coadd_id(coadd))


def _reader_of(coadd: UsedCoadd) -> FitsReader:
    return FitsReader(excluded=(), unit=coadd.stated_unit).with_range_reads()


def info_of(coadd: UsedCoadd) -> CoaddInfo:
    """Read the headers of a coadd. Raises CoaddError."""
    return _reader_of(coadd).info(_current_ref(coadd))


def read(coadd: UsedCoadd, section: Section) -> Cutout:
    """Read pixels of a coadd. Raises CoaddError, also for more than `MAX_PIXELS`."""
    rows, cols = section
    count = (rows.stop - rows.start) * (cols.stop - cols.start)
    if count > MAX_PIXELS:
        raise CoaddError(f"{count} pixels requested; the limit is {MAX_PIXELS}")
    return _reader_of(coadd).cutout(_current_ref(coadd), section)


def pixel_at(coadd: UsedCoadd, ra: float, dec: float) -> PixelDescription:
    """Read the pixel at an ICRS position (degrees).

    Raises CoaddError if the coadd cannot be read or has no pixel there.
    """
    info = info_of(coadd)
    position = place_in(info, ra, dec)
    if position is None:
        raise CoaddError("its image does not cover this position")
    x, y = (math.floor(axis + 0.5) for axis in position)
    cutout = read(coadd, (slice(y, y + 1), slice(x, x + 1)))
    value = float(cutout.image[0, 0])
    variance = None if cutout.variance is None else float(cutout.variance[0, 0])
    lon, lat = to_lonlat(info.wcs.to_sky(np.array([float(x)]), np.array([float(y)])))
    return {
        "x": x,
        "y": y,
        "at": [round(axis, 3) for axis in position],
        "tract_x": x + cutout.origin[0],
        "tract_y": y + cutout.origin[1],
        "ra": float(lon[0]),
        "dec": float(lat[0]),
        "value": _finite(value),
        "unit": info.unit,
        "variance": _finite(variance),
        "sn": _finite(value / math.sqrt(variance)) if variance and variance > 0 else None,
        "surface_brightness": surface_brightness(value, info.unit, 3600 * info.pixel_scale),
        "mask": cutout.flags(0, 0),
        "has_mask": cutout.mask is not None,
        "pixel_scale": 3600 * info.pixel_scale,
    }


def surface_brightness(value: float, unit: str, pixel: float) -> float | None:
    """Convert nJy per pixel of `pixel` arcsec to AB mag/arcsec²; None for other units."""
    if unit != "nJy" or not value > 0:
        return None
    return _NJY_ZERO_POINT - 2.5 * math.log10(value / pixel**2)


def fits_cutout(coadd: UsedCoadd, ra: float, dec: float, size: float) -> bytes:
    """Make a FITS cutout of a coadd.

    Parameters
    ----------
    coadd
        The coadd to read.
    ra, dec
        ICRS position of the center, degrees.
    size
        Width and height, arcsec; the cutout ends where the coadd ends.

    Returns
    -------
    The bytes of a FITS file.

    Raises
    ------
    CoaddError
        If the coadd cannot be read or has no pixel there.
    """
    info = info_of(coadd)
    section = section_around(info, ra, dec, size / 3600.0)
    cards = [
        ("ORIGIN", "hipsgen", "cutout made by its viewer"),
        ("HIERARCH DATASET TYPE", coadd.ref.dataset_type, ""),
        ("HIERARCH DATASET UUID", coadd.ref.dataset_id, ""),
        ("HIERARCH RUN", coadd.ref.run, ""),
        *((f"HIERARCH DATA ID {key.upper()}", value, "") for key, value in coadd.ref.data_id),
        ("CUT_RA", ra, "[deg] ICRS, as requested"),
        ("CUT_DEC", dec, "[deg]"),
        ("CUT_SIZE", size, "[arcsec]"),
        ("CUT_X0", section[1].start, "first column, in the coadd, from 0"),
        ("CUT_Y0", section[0].start, "first row, in the coadd, from 0"),
    ]
    filled = [(key, value, comment) for key, value, comment in cards if value != ""]
    return read(coadd, section).to_fits(filled)


def _finite(value: float | None) -> float | None:
    # JSON has no NaN
    return value if value is not None and math.isfinite(value) else None

"""What the coadds themselves say, read from their own files: pixels, flags, cutouts."""

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

_reader = FitsReader(excluded=()).with_range_reads()


class PixelDescription(TypedDict):
    """A pixel as the coadd's file has it.

    x, y: in the patch, from 0; at: the same for the position that was asked for. tract_x, tract_y:
    in the tract. ra, dec: of the pixel's center. value, variance, sn (value over standard
    deviation), surface_brightness (AB mag/arcsec²): None where the file has none. mask: names of
    the planes that are set. pixel_scale: arcsec.
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


def name_of(coadd: UsedCoadd) -> str:
    """What a coadd goes by in the addresses of the API: its UUID, or a digest of its URI."""
    text = f"{coadd.ref.uri}[{coadd.ref.hdu}]"
    return coadd.ref.dataset_id or hashlib.sha256(text.encode()).hexdigest()[:16]


def _as_it_is_now(coadd: UsedCoadd) -> CoaddRef:
    """Reference for reading whatever the file holds now, changed since the build or not."""
    return replace(coadd.ref, identity=name_of(coadd))


def info_of(coadd: UsedCoadd) -> CoaddInfo:
    """Headers of a coadd. Raises CoaddError."""
    return _reader.info(_as_it_is_now(coadd))


def read(coadd: UsedCoadd, section: Section) -> Cutout:
    """Pixels of a coadd. Raises CoaddError; also for more than `MAX_PIXELS`."""
    rows, cols = section
    count = (rows.stop - rows.start) * (cols.stop - cols.start)
    if count > MAX_PIXELS:
        raise CoaddError(f"{count} pixels are more than the {MAX_PIXELS} that are read at a time")
    return _reader.cutout(_as_it_is_now(coadd), section)


def pixel_at(coadd: UsedCoadd, ra: float, dec: float) -> PixelDescription:
    """The pixel in which an ICRS position (degrees) lies.

    Raises CoaddError when the coadd cannot be read or has no pixel there.
    """
    info = info_of(coadd)
    place = place_in(info, ra, dec)
    if place is None:
        raise CoaddError("its image does not reach here")
    x, y = (math.floor(axis + 0.5) for axis in place)
    found = read(coadd, (slice(y, y + 1), slice(x, x + 1)))
    value = float(found.image[0, 0])
    variance = None if found.variance is None else float(found.variance[0, 0])
    lon, lat = to_lonlat(info.wcs.to_sky(np.array([float(x)]), np.array([float(y)])))
    return {
        "x": x,
        "y": y,
        "at": [round(axis, 3) for axis in place],
        "tract_x": x + found.origin[0],
        "tract_y": y + found.origin[1],
        "ra": float(lon[0]),
        "dec": float(lat[0]),
        "value": _number(value),
        "unit": info.unit,
        "variance": _number(variance),
        "sn": _number(value / math.sqrt(variance)) if variance and variance > 0 else None,
        "surface_brightness": surface_brightness(value, info.unit, 3600 * info.pixel_scale),
        "mask": found.flags(0, 0),
        "has_mask": found.mask is not None,
        "pixel_scale": 3600 * info.pixel_scale,
    }


def surface_brightness(value: float, unit: str, pixel: float) -> float | None:
    """AB mag/arcsec² of a value in nJy per pixel of `pixel` arcsec; None for others."""
    if unit != "nJy" or not value > 0:
        return None
    return _NJY_ZERO_POINT - 2.5 * math.log10(value / pixel**2)


def cutout_of(coadd: UsedCoadd, ra: float, dec: float, size: float) -> bytes:
    """A FITS file of `size` arcsec round an ICRS position, as far as the coadd reaches.

    Raises CoaddError when it has no pixel there.
    """
    info = info_of(coadd)
    section = section_around(info, ra, dec, size / 3600.0)
    cards = [
        ("ORIGIN", "hipsgen", "cut out by its viewer"),
        ("HIERARCH DATASET TYPE", coadd.ref.dataset_type, ""),
        ("HIERARCH DATASET UUID", coadd.ref.dataset_id, ""),
        ("HIERARCH RUN", coadd.ref.run, ""),
        *((f"HIERARCH DATA ID {key.upper()}", value, "") for key, value in coadd.ref.data_id),
        ("CUT_RA", ra, "[deg] ICRS, that was asked for"),
        ("CUT_DEC", dec, "[deg]"),
        ("CUT_SIZE", size, "[arcsec]"),
        ("CUT_X0", section[1].start, "first column, in the coadd, from 0"),
        ("CUT_Y0", section[0].start, "first row, in the coadd, from 0"),
    ]
    known = [(key, value, comment) for key, value, comment in cards if value != ""]
    return read(coadd, section).to_fits(known)


def _number(value: float | None) -> float | None:
    # JSON knows no NaN
    return value if value is not None and math.isfinite(value) else None

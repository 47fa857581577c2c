"""Cutouts of a coadd: values, variance and mask of a section with its WCS, and their FITS form."""

import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError
from hipsgen.images.source import CoaddInfo, Section, Values
from hipsgen.sky.polygon import to_vectors

if TYPE_CHECKING:
    from astropy.nddata import CCDData

# keywords that describe the array, the file or the compression, but not the sky
_ARRAY_KEYWORDS = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|BUNIT|EXTNAME"
    r"|EXTVER|EXTTYPE|INHERIT|CHECKSUM|DATASUM|ZHECKSUM|ZDATASUM|DATAMIN|DATAMAX|TFIELDS"
    r"|Z(IMAGE|SIMPLE|TENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|TILE\d+|CMPTYPE|NAME\d+|VAL\d+"
    r"|QUANTIZ|DITHER0|BLANK|SCALE|ZERO)|T(TYPE|FORM|UNIT|DIM|NULL|SCAL|ZERO)\d+"
    r"|AR_HDU|ARCHIVE_ID_.*|EXPINFO_V|FILTER_ARCHIVE_ID|MP_.*|MSK[NMD]\d+)"
)
_MAX_KEYWORD = 60  # characters, with HIERARCH; a card has 80
# keywords of a distortion that is stored as a table elsewhere in the file
_DISTORTION_TABLES = re.compile(r"(CPDIS|CQDIS|D2IMDIS|D2IMARR)\w*")


@dataclass(frozen=True)
class Cutout:
    """A section of a coadd.

    Attributes
    ----------
    info
        Properties of the coadd.
    section
        Rows and columns of the coadd.
    image
        (rows, columns) in `info.unit`, NaN where the file has no value; flagged pixels keep theirs.
        float32, or float64 if the file has BITPIX -64, 32 or 64.
    variance
        Same shape, in that unit squared; None if the file has none.
    mask
        Same shape, int64, with the bits of `planes`; None if the file has none.
    planes
        Bit of each mask plane by name.
    header
        Header of the coadd.
    origin
        x, y of the coadd's first pixel in its tract; 0, 0 if it has none.
    """

    info: CoaddInfo
    section: Section
    image: npt.NDArray[Any]
    variance: Values | None
    mask: npt.NDArray[np.int64] | None
    planes: Mapping[str, int]
    header: Any
    origin: tuple[int, int]

    def flags(self, row: int, col: int) -> list[str]:
        """Return the names of the planes set at a pixel of the section, lowest bit first."""
        if self.mask is None:
            return []
        bits = int(self.mask[row, col])
        return [name for name, bit in sorted(self.planes.items(), key=_bit) if bits >> bit & 1]

    def to_ccddata(self) -> "CCDData":
        """Return image, unit, WCS, mask and variance as an astropy.nddata.CCDData.

        Its `mask` is true where there is no value, its `flags` are the bits of the mask planes,
        named in ``meta["MASK_PLANES"]``. Raises CoaddError for a WCS that cannot be cut.
        """
        from astropy import units
        from astropy.nddata import CCDData, VarianceUncertainty
        from astropy.wcs import WCS

        variance = None if self.variance is None else VarianceUncertainty(self.variance)
        ccd = CCDData(
            self.image,
            unit=units.Unit(self.info.unit or "", parse_strict="silent"),
            wcs=WCS(cut_header(self.header, self.section)),
            mask=~np.isfinite(self.image),
            uncertainty=variance,
            meta={"MASK_PLANES": dict(self.planes)},
        )
        ccd.flags = self.mask
        return ccd

    def to_fits(self, cards: Iterable[tuple[str, Any, str]] = ()) -> bytes:
        """Write IMAGE, and MASK and VARIANCE if present, each with the WCS of the section.

        cards: keyword, value and comment for the primary header, of any text: characters that FITS
        headers do not have are escaped in values and replaced in keywords. Raises CoaddError if the
        WCS cannot be cut.
        """
        from astropy.io import fits

        sky = cut_header(self.header, self.section)
        primary = fits.PrimaryHDU()
        primary.header.extend((_keyword(key), _value(value), text) for key, value, text in cards)
        unit = _value(self.info.unit)
        hdus = [fits.ImageHDU(self.image, sky, name="IMAGE")]
        if unit:
            hdus[0].header["BUNIT"] = unit
        if self.mask is not None:
            mask = fits.ImageHDU(self.mask.astype(np.int32), sky, name="MASK")
            mask.header.extend((_plane_card(n), bit) for n, bit in self.planes.items())
            hdus.append(mask)
        if self.variance is not None:
            hdus.append(fits.ImageHDU(self.variance, sky, name="VARIANCE"))
            if unit:
                hdus[-1].header["BUNIT"] = f"{unit}**2"
        buffer = io.BytesIO()
        fits.HDUList([primary, *hdus]).writeto(buffer, output_verify="silentfix", checksum=True)
        return buffer.getvalue()


def place_in(info: CoaddInfo, ra: float, dec: float) -> tuple[float, float] | None:
    """Return x, y of an ICRS position (degrees), 0 at the first pixel's center; None outside."""
    x, y = (float(axis) for axis in info.wcs(to_vectors(ra, dec)))
    rows, cols = info.shape
    is_inside = -0.5 <= x < cols - 0.5 and -0.5 <= y < rows - 0.5
    return (x, y) if is_inside else None


def section_around(info: CoaddInfo, ra: float, dec: float, size: float) -> Section:
    """Return the section of `size` degrees a side, at least a pixel, as far as the image reaches.

    Raises CoaddError when the ICRS position (degrees) is outside.
    """
    place = place_in(info, ra, dec)
    if place is None:
        raise CoaddError("its image does not cover this position")
    side = max(1, round(size / info.pixel_scale))
    starts = [math.floor(axis + 0.5) - (side - 1) // 2 for axis in place]
    cols, rows = (
        slice(max(0, start), min(limit, start + side))
        for start, limit in zip(starts, info.shape[::-1], strict=True)
    )
    return rows, cols


def cut_header(header: Any, section: Section) -> Any:
    """Return the cards that describe the sky, shifted to a section.

    Raises CoaddError if the WCS has a distortion table.
    """
    from astropy.io import fits

    if any(_DISTORTION_TABLES.fullmatch(key) for key in header):
        raise CoaddError("its WCS has a distortion table, which a cutout cannot contain")
    cut = fits.Header(card for card in header.cards if not _ARRAY_KEYWORDS.fullmatch(card.keyword))
    rows, cols = section
    for axis, start in ((1, cols.start), (2, rows.start)):
        for key in [k for k in cut if re.fullmatch(rf"CRPIX{axis}[A-Z]?", k)]:
            cut[key] -= start
        if f"LTV{axis}" in cut:
            cut[f"LTV{axis}"] -= start
    return cut


def _plane_card(name: str) -> str:
    """Return the keyword of a mask plane as lsst.afw writes it."""
    card = _keyword(f"MP_{name}")
    return card if len(card) <= 8 else f"HIERARCH {card}"


def _keyword(text: str) -> str:
    """Return a text as a keyword, which with HIERARCH may have spaces and small letters."""
    return re.sub(r"[^A-Za-z0-9_.+/ -]", "-", text)[:_MAX_KEYWORD]


def _value(value: Any) -> Any:
    """Return a value for a header, in which a text is printable ASCII and a number is finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, str) or (value.isascii() and value.isprintable()):
        return value
    return value.encode("unicode_escape").decode("ascii")


def _bit(plane: tuple[str, int]) -> int:
    return plane[1]

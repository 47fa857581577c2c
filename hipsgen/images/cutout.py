"""Cutouts of a coadd: values, variance and mask of a section with its WCS, and their FITS form."""

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError
from hipsgen.images.source import CoaddInfo, Section, Values

# keywords that describe the array, the file or the compression, but not the sky
_ARRAY_KEYWORDS = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|BUNIT|EXTNAME"
    r"|EXTVER|EXTTYPE|INHERIT|CHECKSUM|DATASUM|ZHECKSUM|ZDATASUM|DATAMIN|DATAMAX|TFIELDS"
    r"|Z(IMAGE|SIMPLE|TENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|TILE\d+|CMPTYPE|NAME\d+|VAL\d+"
    r"|QUANTIZ|DITHER0|BLANK|SCALE|ZERO)|T(TYPE|FORM|UNIT|DIM|NULL|SCAL|ZERO)\d+"
    r"|AR_HDU|ARCHIVE_ID_.*|EXPINFO_V|FILTER_ARCHIVE_ID|MP_.*|MSK[NMD]\d+)"
)
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
        (rows, columns) float32 in `info.unit`, NaN where the file has no value; flagged pixels keep
        theirs.
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
    image: Values
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

    def to_fits(self, cards: Iterable[tuple[str, Any, str]] = ()) -> bytes:
        """Write IMAGE, and MASK and VARIANCE if present, each with the WCS of the section.

        cards: keyword, value and comment for the primary header. Raises CoaddError if the WCS
        cannot be cut.
        """
        from astropy.io import fits

        sky = cut_header(self.header, self.section)
        primary = fits.PrimaryHDU()
        primary.header.extend(cards)
        unit = self.info.unit
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
    card = f"MP_{name}"
    return card if len(card) <= 8 else f"HIERARCH {card}"


def _bit(plane: tuple[str, int]) -> int:
    return plane[1]

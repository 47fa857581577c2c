"""FITS tiles of values (float32 or float64) or masks (int32) with the WCS of a HEALPix tile.

They are written without astropy. Row 0 of a tile is at the bottom, in memory and in the file.
"""

import io
import mmap
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError, SurveyError
from hipsgen.images.stored_values import physical_values
from hipsgen.sky import tile_kernels as kernels
from hipsgen.sky.frames import axes_of
from hipsgen.sky.mask_planes import NO_DATA
from hipsgen.sky.tiles import Tile
from hipsgen.survey.fits_header import (
    CARD,
    fold_carries,
    pad_to_block,
    read_flags,
    read_header,
    read_image,
)

Pixels = npt.NDArray[Any]

_CHECKSUM_OFFSET = 11  # offset in its card
# errors of astropy for a damaged file
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, IndexError, MemoryError)
_PUNCTUATION = {*range(0x3A, 0x41), *range(0x5B, 0x61)}


@dataclass(frozen=True)
class FitsTile:
    """FITS tiles with an HPX WCS, unit, band and checksums.

    Attributes
    ----------
    frame
        equatorial, galactic or ecliptic.
    unit, band
        Of the survey.
    pixel_area
        Area in arcsec^2 of the input pixels that the unit refers to; 0 if unknown.
    planes
        Name and bit of each mask plane; if there are any, pixels are int32, NO_DATA if missing.
    double
        Whether values are written as float64 rather than float32.
    """

    name: ClassVar[str] = "fits"
    extension: ClassVar[str] = "fits"
    media_type: ClassVar[str] = "application/fits"
    holds_values: ClassVar[bool] = True
    keeps_missing: ClassVar[bool] = True

    frame: str = "equatorial"
    unit: str = ""
    band: str = ""
    pixel_area: float = 0.0
    planes: tuple[tuple[str, int], ...] = ()
    double: bool = False

    @property
    def dtype(self) -> type[np.generic]:
        """Type of the pixels that are written."""
        if self.planes:
            return np.int32
        return np.float64 if self.double else np.float32

    def encode(self, pixels: Pixels, tile: Tile | None = None) -> memoryview:
        """See `Format.encode`; the header has CHECKSUM and DATASUM.

        The bytes begin at a memory page, so that they can be written without a copy.
        """
        values = np.ascontiguousarray(pixels, self.dtype)
        cards = list(_fixed_cards(self, values.shape))
        if tile is not None:
            cards.append(_card("ORDER", tile.order, "HiPS order"))
            cards.append(_card("NPIX", tile.npix, "HEALPix number, NESTED"))
            cards += [_card(*card) for card in hpx_wcs(tile, values.shape[0], self.frame)]
        start = pad_to_block(CARD * (len(cards) + 3))  # checksums and END follow
        end = start + values.nbytes
        file = _page_aligned(start + pad_to_block(values.nbytes))
        words = values.view(np.uint32).reshape(-1)
        if self.double:  # the high word comes first
            words = np.ascontiguousarray(words.reshape(-1, 2)[:, ::-1]).reshape(-1)
        total = kernels.to_big_endian(words, file[start:end].view(np.uint32))
        file[:start] = np.frombuffer(_header(cards, start, fold_carries(int(total))), np.uint8)
        file[end:] = 0
        return file.data

    def decode(self, data: bytes | memoryview) -> Pixels:
        """Return (n, m) values, NaN if missing, with BSCALE applied; or a mask, int32.

        Values are native float32, or float64 if the file has BITPIX -64.
        """
        if self.planes:
            return read_flags(data, read_header(data))
        image = read_image(data, read_header(data))
        return _decode_with_astropy(data) if image is None else image


def _decode_with_astropy(data: bytes | memoryview) -> Pixels:
    """Decode an image that is not a plain one in the primary HDU."""
    from astropy.io import fits

    try:
        # not scaled: where astropy applies BZERO, unsigned integers lose their BLANK
        with fits.open(io.BytesIO(data), do_not_scale_image_data=True) as hdus:
            image = next((hdu for hdu in hdus if hdu.data is not None), None)
            values = None if image is None else physical_values(image.data, image.header)
    except (CoaddError, *_UNREADABLE, fits.VerifyError) as error:
        raise SurveyError(f"not a FITS tile ({error})") from error
    if values is None or np.ndim(values) != 2:
        raise SurveyError("not a FITS tile: it has no two-dimensional image")
    is_double = values.dtype.kind == "f" and values.dtype.itemsize == 8
    return np.asarray(values, np.float64 if is_double else np.float32)


@lru_cache
def _fixed_cards(tile_format: FitsTile, shape: tuple[int, int]) -> tuple[str, ...]:
    """Return the cards that all tiles of a survey share, as astropy writes them."""
    from astropy.io import fits

    header = fits.PrimaryHDU(np.zeros((1, 1), tile_format.dtype)).header
    header["NAXIS1"], header["NAXIS2"] = shape[1], shape[0]
    if tile_format.unit:
        header["BUNIT"] = (tile_format.unit, "unit of the pixel values")
    if tile_format.band:
        header["FILTER"] = (tile_format.band, "band")
    if tile_format.pixel_area:
        header["PIXAREA"] = (tile_format.pixel_area, "[arcsec2] input pixel area that BUNIT is per")
    if tile_format.planes:
        header["BLANK"] = (NO_DATA, "no coadd")
    for name, bit in tile_format.planes:
        header[f"{'' if len(name) <= 5 else 'HIERARCH '}MP_{name}"] = (bit, "bit")
    text = header.tostring(endcard=False, padding=False)
    return tuple(text[k : k + CARD] for k in range(0, len(text), CARD))


@lru_cache(maxsize=256, typed=True)  # most cards equal those of the previous tile
def _card(key: str, value: str | float, comment: str) -> str:
    """Format a card (FITS 4.0, section 4.2); strings must be short and without quotes."""
    text = f"'{value:8}'".ljust(20) if isinstance(value, str) else _number(value).rjust(20)
    return f"{key:8}= {text}{f' / {comment}' if comment else ''}".ljust(CARD)


def _number(value: float) -> str:
    """Return a number with as many digits as fit into the fixed format."""
    text = str(value).replace("e", "E")
    digits = 16
    while len(text) > 20:
        digits -= 1
        text = f"{value:.{digits}G}"
    return text


def _header(cards: list[str], size: int, data_sum: int) -> bytearray:
    """Return the header with its checksums (FITS 4.0, appendix J).

    data_sum: 1's complement sum of the data's big-endian words.
    """
    cards.append(_card("DATASUM", str(data_sum), "data unit checksum"))
    offset = len(cards) * CARD + _CHECKSUM_OFFSET
    cards.append(_card("CHECKSUM", 16 * "0", "HDU checksum"))
    cards.append("END")
    header = bytearray("".join(cards).ljust(size).encode("ascii"))
    total = int(np.frombuffer(header, ">u4").sum(dtype=np.uint64)) + data_sum
    header[offset : offset + 16] = _checksum(fold_carries(total))
    return header


def _page_aligned(size: int) -> npt.NDArray[np.uint8]:
    """Allocate memory that begins at a page."""
    memory = np.empty(size + mmap.PAGESIZE, np.uint8)
    first = -memory.ctypes.data % mmap.PAGESIZE
    return memory[first : first + size]


def _checksum(total: int) -> bytes:
    """Return the complement of a sum as 16 letters and digits, with which the HDU sums to -0."""
    four = [_letters(byte) for byte in (total ^ 0xFFFFFFFF).to_bytes(4, "big")]
    text = bytes(letters[k] for k in range(4) for letters in four)
    return text[-1:] + text[:-1]  # the string starts one byte into a word


@cache
def _letters(byte: int) -> tuple[int, ...]:
    """Return four letters or digits that sum to a byte plus four times "0"."""
    four = [byte // 4 + (byte % 4 if k == 0 else 0) + ord("0") for k in range(4)]
    while any(c in _PUNCTUATION for c in four):
        for k in (0, 2):  # pairs keep their sum
            if four[k] in _PUNCTUATION or four[k + 1] in _PUNCTUATION:
                four[k] += 1
                four[k + 1] -= 1
    return tuple(four)


def hpx_wcs(tile: Tile, width: int, frame: str) -> list[tuple[str, Any, str]]:
    """Return the WCS cards of a tile (HEALPix projection).

    Calabretta & Roukema 2007, MNRAS 381, 865. In that projection a base face is a square of side 45
    sqrt(2) deg that stands on its corner.
    """
    face, x0, y0, side = tile.face()
    step = 45.0 * side / width
    # the projection repeats every 90 deg: with a multiple of this as reference longitude no tile
    # crosses its edge at 180 deg
    reference = 90.0 * (face % 4)
    center_x, center_y = ((45.0, 45.0), (0.0, 0.0), (45.0, -45.0))[face // 4]
    # plane position of column 0, row 0
    x, y = x0 + side * (width - 0.5) / width, y0 + side * 0.5 / width
    plane_x, plane_y = center_x + 45.0 * (x - y), center_y + 45.0 * (x + y - 1.0)
    # plane = CD (p - CRPIX) with CD = step * [[-1, -1], [1, -1]] is solved for CRPIX at p = (1, 1)
    crpix1 = 1.0 - (plane_y - plane_x) / (2 * step)
    crpix2 = 1.0 + (plane_x + plane_y) / (2 * step)
    names = [f"{axis:-<4}-HPX" for axis in axes_of(frame)]
    cards: list[tuple[str, Any, str]] = [
        ("CTYPE1", names[0], "HEALPix projection"),
        ("CTYPE2", names[1], "HEALPix projection"),
        ("CRPIX1", crpix1, "[pixel] reference point"),
        ("CRPIX2", crpix2, "[pixel] reference point"),
        ("CRVAL1", reference, "[deg] longitude of the reference point"),
        ("CRVAL2", 0.0, "[deg] latitude of the reference point"),
        ("CD1_1", -step, "[deg/pixel]"),
        ("CD1_2", -step, "[deg/pixel]"),
        ("CD2_1", step, "[deg/pixel]"),
        ("CD2_2", -step, "[deg/pixel]"),
        ("CUNIT1", "deg", ""),
        ("CUNIT2", "deg", ""),
        ("PV2_1", 4, "HPX H"),
        ("PV2_2", 3, "HPX K"),
    ]
    if frame == "equatorial":
        cards.append(("RADESYS", "ICRS", ""))
    elif frame == "ecliptic":
        # without RADESYS, with which astropy takes ecliptic axes for equatorial ones
        cards.append(("EQUINOX", 2000.0, "[yr] of the mean ecliptic"))
    return cards

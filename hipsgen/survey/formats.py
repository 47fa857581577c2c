"""Tiles as bytes: FITS with values, PNG, JPEG and WebP as pictures.

In memory every tile is in FITS orientation: row 0 at the bottom. Pictures are flipped here, since
their rows run downwards (HiPS 1.0, section 4.2).
"""

import io
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import Tile

Pixels = npt.NDArray[Any]

_CARD = 80
_BLOCK = 2880
_CHECKSUM_AT = 11  # in its card
_PUNCTUATION = {*range(0x3A, 0x41), *range(0x5B, 0x61)}


class Format(Protocol):
    """One way to write a tile.

    extension: of its files, lower case. media_type: for servers. name: as in hips_tile_format.
    holds_values: physical values (float32, NaN missing) rather than a picture (uint8: grey (n, m)
    with 0 for missing, or RGBA (n, m, 4)). keeps_missing: `decode` gives back what was missing.
    """

    name: ClassVar[str]
    extension: ClassVar[str]
    media_type: ClassVar[str]
    holds_values: ClassVar[bool]
    keeps_missing: ClassVar[bool]

    def encode(self, pixels: Pixels, tile: Tile | None = None) -> bytes:
        """The bytes of a file. tile: where the pixels lie on the sky; None for an Allsky."""

    def decode(self, data: bytes) -> Pixels:
        """The pixels again. Raises SurveyError when the bytes are not of this format."""


@dataclass(frozen=True)
class FitsTile:
    """float32 with an HPX WCS, the unit, the band and checksums.

    frame: equatorial or galactic. pixel_area: arcsec^2 of the input pixels to which the unit
    refers, 0 when not known.
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

    def encode(self, pixels: Pixels, tile: Tile | None = None) -> bytes:
        """See `Format.encode`; the header carries CHECKSUM and DATASUM."""
        values = np.ascontiguousarray(pixels, np.float32)
        cards = list(_fixed_cards(self, values.shape))
        if tile is not None:
            cards.append(_card("ORDER", tile.order, "HiPS order"))
            cards.append(_card("NPIX", tile.npix, "HEALPix number, NESTED"))
            cards += [_card(*card) for card in hpx_wcs(tile, values.shape[0], self.frame)]
        # as big-endian words the pixels are what they are here as native ones
        return _hdu(cards, values.astype(">f4").tobytes(), int(_sum32(values.view(np.uint32))))

    def decode(self, data: bytes) -> Pixels:
        """(n, m) native float32, NaN missing; scaled integers are unscaled."""
        from astropy.io import fits

        try:
            with fits.open(io.BytesIO(data)) as hdus:
                values = next((hdu.data for hdu in hdus if hdu.data is not None), None)
        except (OSError, ValueError, TypeError, KeyError, IndexError, fits.VerifyError) as error:
            raise SurveyError(f"not a FITS tile ({error})") from error
        if values is None or np.ndim(values) != 2:
            raise SurveyError("a FITS tile without a two-dimensional image")
        return np.asarray(values, np.float32)


@lru_cache
def _fixed_cards(form: FitsTile, shape: tuple[int, int]) -> tuple[str, ...]:
    """Cards that all tiles of a survey share, as astropy writes them."""
    from astropy.io import fits

    header = fits.PrimaryHDU(np.zeros((1, 1), ">f4")).header
    header["NAXIS1"], header["NAXIS2"] = shape[1], shape[0]
    if form.unit:
        header["BUNIT"] = (form.unit, "unit of the pixel values")
    if form.band:
        header["FILTER"] = (form.band, "band")
    if form.pixel_area:
        header["PIXAREA"] = (form.pixel_area, "[arcsec2] input pixel area that BUNIT is per")
    text = header.tostring(endcard=False, padding=False)
    return tuple(text[k : k + _CARD] for k in range(0, len(text), _CARD))


def _card(key: str, value: str | float, comment: str) -> str:
    """One card in fixed format (FITS 4.0, section 4.2); no long strings, no quotes in them."""
    text = f"'{value:8}'".ljust(20) if isinstance(value, str) else _number(value).rjust(20)
    return f"{key:8}= {text}{f' / {comment}' if comment else ''}".ljust(_CARD)


def _number(value: float) -> str:
    """As many digits as fixed format has room for."""
    text = str(value).replace("e", "E")
    digits = 16
    while len(text) > 20:
        digits -= 1
        text = f"{value:.{digits}G}"
    return text


def _hdu(cards: list[str], data: bytes, data_sum: int) -> bytes:
    """A primary HDU with its checksums (FITS 4.0, appendix J)."""
    cards.append(_card("DATASUM", str(data_sum), "data unit checksum"))
    place = len(cards) * _CARD + _CHECKSUM_AT
    cards.append(_card("CHECKSUM", 16 * "0", "HDU checksum"))
    cards.append("END".ljust(_CARD))
    text = "".join(cards).encode("ascii")
    header = bytearray(text.ljust(-(-len(text) // _BLOCK) * _BLOCK))
    total = _sum32(np.frombuffer(header, ">u4")) + data_sum
    header[place : place + 16] = _checksum(int(_fold(total)))
    return b"".join([header, data, bytes(-len(data) % _BLOCK)])


def _sum32(words: npt.NDArray[np.unsignedinteger[Any]]) -> int:
    """1's complement sum of 32-bit words."""
    return _fold(int(words.sum(dtype=np.uint64)))


def _fold(total: int) -> int:
    while total > 0xFFFFFFFF:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _checksum(total: int) -> bytes:
    """The sum's complement as 16 letters and digits, with which the HDU adds up to -0."""
    letters = [[0] * 4 for _ in range(4)]
    for place, byte in enumerate((total ^ 0xFFFFFFFF).to_bytes(4, "big")):
        four = [byte // 4 + (byte % 4 if k == 0 else 0) + ord("0") for k in range(4)]
        while any(c in _PUNCTUATION for c in four):
            for k in (0, 2):  # pairs keep their sum
                if four[k] in _PUNCTUATION or four[k + 1] in _PUNCTUATION:
                    four[k] += 1
                    four[k + 1] -= 1
        for k in range(4):
            letters[k][place] = four[k]
    text = bytes(c for row in letters for c in row)
    return text[-1:] + text[:-1]  # the string starts one byte into a word


def hpx_wcs(tile: Tile, width: int, frame: str) -> list[tuple[str, Any, str]]:
    """WCS cards of a tile: HEALPix projection, Calabretta & Roukema 2007, MNRAS 381, 865.

    In that projection a base face is a square of side 45 sqrt(2) deg that stands on its corner.
    """
    face, x0, y0, side = tile.face()
    step = 45.0 * side / width
    # reference longitudes are multiples of 90 deg, at which the projection repeats, so that no
    # tile comes to lie across its edge at 180 deg
    reference = 90.0 * (face % 4)
    centre_x, centre_y = ((45.0, 45.0), (0.0, 0.0), (45.0, -45.0))[face // 4]
    # plane position of column 0, row 0
    x, y = x0 + side * (width - 0.5) / width, y0 + side * 0.5 / width
    plane_x, plane_y = centre_x + 45.0 * (x - y), centre_y + 45.0 * (x + y - 1.0)
    # plane = CD (p - CRPIX) with CD = step * [[-1, -1], [1, -1]] is solved for CRPIX at p = (1, 1)
    crpix1 = 1.0 - (plane_y - plane_x) / (2 * step)
    crpix2 = 1.0 + (plane_x + plane_y) / (2 * step)
    names = ("GLON-HPX", "GLAT-HPX") if frame == "galactic" else ("RA---HPX", "DEC--HPX")
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
    return cards


@dataclass(frozen=True)
class Picture:
    """What the picture formats share: Pillow, and the flip."""

    name: ClassVar[str]
    extension: ClassVar[str]
    media_type: ClassVar[str]
    holds_values: ClassVar[bool] = False
    keeps_missing: ClassVar[bool] = True

    def encode(self, pixels: Pixels, tile: Tile | None = None) -> bytes:
        """See `Format.encode`."""
        from PIL import Image

        _check_picture(pixels)
        buffer = io.BytesIO()
        upright = np.ascontiguousarray(pixels[::-1])
        self._save(Image.fromarray(upright), buffer)
        return buffer.getvalue()

    def decode(self, data: bytes) -> Pixels:
        """Grey (n, m) with 0 for missing, or RGBA (n, m, 4); uint8."""
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(data), formats=[self.name.upper()]) as image:
                grey = image.mode in ("L", "LA", "1")
                transparent = "transparency" in image.info or "A" in image.mode
                mode = ("L", "LA")[transparent] if grey else ("RGB", "RGBA")[transparent]
                picture = image.convert(mode)
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise SurveyError(f"not a {self.name} tile ({error})") from error
        return _as_tile(np.asarray(picture))[::-1]

    def _save(self, image: Any, buffer: io.BytesIO) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class PngTile(Picture):
    """Lossless; missing pixels are transparent."""

    name: ClassVar[str] = "png"
    extension: ClassVar[str] = "png"
    media_type: ClassVar[str] = "image/png"

    def encode(self, pixels: Pixels, tile: Tile | None = None) -> bytes:
        """See `Format.encode`.

        ISA-L's first level, on rows that are not filtered, is 20 times as fast as zlib through
        Pillow and, for the noise of a sky, no larger.
        """
        from isal import isal_zlib

        _check_picture(pixels)
        rows, cols = pixels.shape[:2]
        lines = np.zeros((rows, 1 + pixels[0].size), np.uint8)  # each starts with its filter: none
        lines[:, 1:] = pixels[::-1].reshape(rows, -1)
        grey = pixels.ndim == 2
        head = struct.pack(">IIBBBBB", cols, rows, 8, 0 if grey else 6, 0, 0, 0)
        chunks = [_chunk(b"IHDR", head), _chunk(b"IDAT", isal_zlib.compress(lines, 1))]
        if grey:  # needs no alpha channel: its level 0 is declared transparent
            chunks.insert(1, _chunk(b"tRNS", bytes(2)))
        return b"".join([b"\x89PNG\r\n\x1a\n", *chunks, _chunk(b"IEND", b"")])


def _chunk(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(data, zlib.crc32(name))
    return b"".join([struct.pack(">I", len(data)), name, data, struct.pack(">I", check)])


@dataclass(frozen=True)
class JpegTile(Picture):
    """Small; has no transparency, missing pixels are black."""

    name: ClassVar[str] = "jpeg"
    extension: ClassVar[str] = "jpg"
    media_type: ClassVar[str] = "image/jpeg"
    keeps_missing: ClassVar[bool] = False

    quality: int = 88

    def _save(self, image: Any, buffer: io.BytesIO) -> None:
        picture = image.convert("RGB") if image.mode == "RGBA" else image
        picture.save(buffer, "JPEG", quality=self.quality)


@dataclass(frozen=True)
class WebpTile(Picture):
    """Smallest; missing pixels are transparent."""

    name: ClassVar[str] = "webp"
    extension: ClassVar[str] = "webp"
    media_type: ClassVar[str] = "image/webp"

    quality: int = 88

    def _save(self, image: Any, buffer: io.BytesIO) -> None:
        from PIL import Image

        if image.mode == "L":
            grey = np.asarray(image)
            alpha = np.where(grey > 0, 255, 0).astype(np.uint8)
            image = Image.fromarray(np.stack([grey, grey, grey, alpha], axis=-1))
        image.save(buffer, "WEBP", quality=self.quality, method=2)


FORMATS: dict[str, type[FitsTile] | type[Picture]] = {
    "fits": FitsTile,
    "png": PngTile,
    "jpeg": JpegTile,
    "webp": WebpTile,
}


def format_of(name: str) -> FitsTile | Picture:
    """A format, with its defaults, by its name in hips_tile_format. Raises SurveyError."""
    try:
        return FORMATS["jpeg" if name == "jpg" else name]()
    except KeyError:
        known = ", ".join(FORMATS)
        raise SurveyError(f"tile format {name!r} is none of {known}") from None


def _check_picture(pixels: Pixels) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ValueError(f"a picture is uint8 (n, m) or (n, m, 4), not {pixels.dtype}")


def _as_tile(picture: Pixels) -> Pixels:
    """Grey with 0 for missing where a picture is grey, RGBA where it is not."""
    if picture.ndim == 2:
        return picture
    channels = picture.shape[2]
    if channels == 2:
        return np.where(picture[..., 1] > 0, picture[..., 0], 0).astype(np.uint8)
    if channels == 3:
        alpha = np.full((*picture.shape[:2], 1), 255, np.uint8)
        return np.concatenate([picture, alpha], axis=2)
    return picture

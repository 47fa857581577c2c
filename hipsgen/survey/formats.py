"""Encode and decode tiles: FITS with values (fits_tile.py), PNG, JPEG and WebP as images.

In memory every tile is in FITS orientation: row 0 at the bottom. Images are flipped here, since
their rows run downwards (HiPS 1.0, section 4.2).
"""

import io
import struct
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import Tile
from hipsgen.survey.fits_tile import FitsTile

Pixels = npt.NDArray[Any]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FIRST_BYTES = 16  # bytes, too few for the fast loop of ISA-L


class Format(Protocol):
    """A file format of tiles.

    Attributes
    ----------
    name
        Name in hips_tile_format.
    extension
        Extension of the files, lower case.
    media_type
        MIME type for servers.
    holds_values
        True for physical values (float32 or float64, NaN if missing) or masks (int32); false for
        images, uint8: gray (n, m), 0 if missing, or RGBA (n, m, 4).
    keeps_missing
        Whether `decode` restores which pixels were missing.
    """

    name: ClassVar[str]
    extension: ClassVar[str]
    media_type: ClassVar[str]
    holds_values: ClassVar[bool]
    keeps_missing: ClassVar[bool]

    def encode(self, pixels: Pixels, tile: Tile | None = None) -> bytes | memoryview:
        """Return the bytes of a file.

        Parameters
        ----------
        pixels
            (n, m) or (n, m, 4) in FITS orientation.
        tile
            Position of the pixels on the sky; None for an Allsky image.
        """

    def decode(self, data: bytes | memoryview) -> Pixels:
        """Return the pixels. Raises SurveyError if the bytes are not in this format."""


@dataclass(frozen=True)
class Picture:
    """Common part of the image formats: Pillow, and the flip."""

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

    def decode(self, data: bytes | memoryview) -> Pixels:
        """Return gray (n, m), 0 if missing, or RGBA (n, m, 4); uint8."""
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(data), formats=[self.name.upper()]) as image:
                gray = image.mode in ("L", "LA", "1")
                transparent = "transparency" in image.info or "A" in image.mode
                mode = ("L", "LA")[transparent] if gray else ("RGB", "RGBA")[transparent]
                picture = image.convert(mode)
        except UnidentifiedImageError as error:
            raise SurveyError(f"not a {self.name} tile") from error
        except (OSError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
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

        Level 1 of ISA-L, on unfiltered rows, is 20 times as fast as zlib through Pillow, and for
        the noise of a sky the result is no larger.
        """
        _check_picture(pixels)
        rows, cols = pixels.shape[:2]
        lines, gray = _png_lines(pixels), pixels.ndim == 2
        header = struct.pack(">IIBBBBB", cols, rows, 8, 0 if gray else 6, 0, 0, 0)
        # gray needs no alpha channel: level 0 is declared transparent
        transparency = _chunk(b"tRNS", bytes(2)) if gray else ()
        image = _chunk(b"IDAT", *zlib_stream(lines))
        return b"".join(
            [_SIGNATURE, *_chunk(b"IHDR", header), *transparency, *image, *_chunk(b"IEND")]
        )


def _png_lines(pixels: Pixels) -> Pixels:
    """Return the rows from the top down, each preceded by its filter type 0 (none).

    Levels made by a stretch are views of such an array and are not copied.
    """
    rows, size = pixels.shape[0], pixels[0].size
    lines = pixels.base
    if (
        isinstance(lines, np.ndarray)
        and lines.dtype == np.uint8
        and lines.shape == (rows, 1 + size)
        and lines.flags.c_contiguous
        and pixels.strides == (-1 - size, 1)
        and pixels.ctypes.data == lines[-1:, 1:].ctypes.data
        and not lines[:, 0].any()
    ):
        return lines
    lines = np.zeros((rows, 1 + size), np.uint8)
    lines[:, 1:] = pixels[::-1].reshape(rows, -1)
    return lines


def zlib_stream(lines: Pixels) -> list[bytes]:
    """Compress uint8 pixels to a zlib stream, in pieces; equal pixels give equal bytes.

    ISA-L (2.31, igzip_icf_body_h1_gr_bt.asm, .write_first_byte) mistakes an address for data when
    the first bytes go through its fast loop, so that the result differs between processes. The
    first bytes are therefore passed separately: so few bytes go through another loop.
    """
    from isal import isal_zlib

    data = lines.data.cast("B")
    stream = isal_zlib.compressobj(1, memLevel=9)  # more working memory: a tenth faster
    first = [stream.compress(data[:_FIRST_BYTES]), stream.flush(isal_zlib.Z_SYNC_FLUSH)]
    return [*first, stream.compress(data[_FIRST_BYTES:]), stream.flush()]


def _chunk(name: bytes, *data: bytes) -> list[bytes]:
    """Return a chunk of a PNG, in pieces."""
    from isal import isal_zlib

    check = 0
    for piece in (name, *data):
        check = isal_zlib.crc32(piece, check)
    size = sum(map(len, data))
    return [struct.pack(">I", size), name, *data, struct.pack(">I", check)]


@dataclass(frozen=True)
class JpegTile(Picture):
    """Small; without transparency, missing pixels are black."""

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
            gray = np.asarray(image)
            alpha = np.where(gray > 0, 255, 0).astype(np.uint8)
            image = Image.fromarray(np.stack([gray, gray, gray, alpha], axis=-1))
        image.save(buffer, "WEBP", quality=self.quality, method=2)


FORMATS: dict[str, type[FitsTile] | type[Picture]] = {
    "fits": FitsTile,
    "png": PngTile,
    "jpeg": JpegTile,
    "webp": WebpTile,
}


def format_of(name: str) -> FitsTile | Picture:
    """Return a format, with its defaults, by its name in hips_tile_format. Raises SurveyError."""
    try:
        return FORMATS["jpeg" if name == "jpg" else name]()
    except KeyError:
        names = ", ".join(FORMATS)
        raise SurveyError(f"tile format {name!r} is not one of {names}") from None


def _check_picture(pixels: Pixels) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ValueError(
            f"an image tile must be uint8 (n, m) or (n, m, 4), not {pixels.dtype} {pixels.shape}"
        )


def _as_tile(picture: Pixels) -> Pixels:
    """Return gray with 0 for transparent pixels if the image is gray, else RGBA."""
    if picture.ndim == 2:
        return picture
    channels = picture.shape[2]
    if channels == 2:
        return np.where(picture[..., 1] > 0, picture[..., 0], 0).astype(np.uint8)
    if channels == 3:
        alpha = np.full((*picture.shape[:2], 1), 255, np.uint8)
        return np.concatenate([picture, alpha], axis=2)
    return picture

"""Tiles as bytes: FITS with values, PNG, JPEG and WebP as pictures.

In memory every tile is in FITS orientation: row 0 at the bottom. Pictures are flipped here, since
their rows run downwards (HiPS 1.0, section 4.2).
"""

import io
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import Tile

Pixels = npt.NDArray[Any]


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
        from astropy.io import fits

        hdu = fits.PrimaryHDU(np.asarray(pixels, ">f4"))
        header = hdu.header
        if self.unit:
            header["BUNIT"] = (self.unit, "unit of the pixel values")
        if self.band:
            header["FILTER"] = (self.band, "band")
        if self.pixel_area:
            header["PIXAREA"] = (self.pixel_area, "[arcsec2] input pixel area that BUNIT is per")
        if tile is not None:
            header["ORDER"] = (tile.order, "HiPS order")
            header["NPIX"] = (tile.npix, "HEALPix number, NESTED")
            for card in hpx_wcs(tile, pixels.shape[0], self.frame):
                header.append(card)
        hdu.add_datasum(when="data unit checksum")
        hdu.add_checksum(when="HDU checksum", override_datasum=True)
        buffer = io.BytesIO()
        hdu.writeto(buffer)
        return buffer.getvalue()

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

        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            raise ValueError(f"a picture is uint8 (n, m) or (n, m, 4), not {pixels.dtype}")
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

    level: int = 4

    def _save(self, image: Any, buffer: io.BytesIO) -> None:
        # grey needs no alpha channel: its level 0 is declared transparent (tRNS)
        extra = {"transparency": 0} if image.mode == "L" else {}
        image.save(buffer, "PNG", compress_level=self.level, **extra)


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

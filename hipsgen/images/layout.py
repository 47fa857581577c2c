"""Locate the pixels, mask and variance of a coadd in a FITS file: image HDUs or table of cells."""

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError
from hipsgen.images import decode
from hipsgen.images.calibration import Calibration, calibration_of
from hipsgen.images.cells import CellCoadd, is_cell_table
from hipsgen.images.contents import hdu_name, is_image
from hipsgen.images.masks import plane_bits
from hipsgen.images.source import Section
from hipsgen.images.stored_values import (
    asinh_scale,
    check_blank,
    is_asinh,
    mask_bits,
    physical_values,
)

if TYPE_CHECKING:
    from astropy.io import fits

# FITS files end with a whole block, but readers need not require it (FITS 4.0, section 3.1)
_BLOCK = 2880
_PIXELS_AT_ONCE = 1 << 24  # decoded at a time by astropy, or the pixels of one tile
_EXTENSION = b"XTENSION"  # the start of every header but the first


class Layout(Protocol):
    """A coadd in an open file.

    Attributes
    ----------
    header
        Header with the WCS.
    shape
        (rows, columns).
    planes
        Bit of each mask plane by name; empty if there is no mask.
    tile
        (rows, columns) of the largest part that can only be decoded as a whole.
    """

    header: "fits.Header"
    shape: tuple[int, int]
    planes: dict[str, int]
    tile: tuple[int, int]

    def calibration(self) -> Calibration:
        """Return the calibration of the values. Raises CoaddError."""

    def check_flags(self, bits: int) -> None:
        """Raise CoaddError if the mask, of which these bits are needed, is incomplete."""

    def check_variance(self) -> None:
        """Raise CoaddError if there is no variance, or it is incomplete."""

    def decodable(
        self, handle: int, bits: int, plane: str = "image"
    ) -> tuple[decode.Plane | None, decode.Plane | None]:
        """Return how `decode` reads the pixels of a plane, and the mask if `bits` of it are needed.

        handle: descriptor of the same file, open for reading. plane: image, variance or mask. The
        pixels are None if only this class can read them.
        """

    def pixels(self, section: Section) -> npt.NDArray[Any]:
        """Return the pixels of a section, scaled, NaN where an integer equals BLANK."""

    def flags(self, section: Section) -> npt.NDArray[np.integer[Any]]:
        """Return the mask of a section."""

    def variance(self, section: Section) -> npt.NDArray[Any] | None:
        """Return the variance of a section, as `pixels`; None if there is none."""


def layout_of(hdus: "fits.HDUList", number: int) -> Layout:
    """Return the layout of the coadd in HDU `number` of an open file.

    Raises CoaddError if the file is truncated, or the scale of its values incomplete.
    """
    _check_complete(hdus[number], "image")
    _check_last_header(hdus)
    if is_cell_table(hdus[number]):
        return CellCoadd(hdus, number)
    return ImageHdus(hdus, number)


class ImageHdus:
    """An image HDU with its mask and variance, if any, read by astropy; implements `Layout`."""

    def __init__(self, hdus: "fits.HDUList", number: int) -> None:
        self._hdus = hdus
        self._image = hdus[number]
        self._mask = _companion(hdus, number, "MASK")
        self._variance = _companion(hdus, number, "VARIANCE")
        self.header: fits.Header = self._image.header
        if is_asinh(self.header):
            asinh_scale(self.header)  # raises CoaddError if it is invalid
        self.shape = image_shape(self._image)
        self.planes = {} if self._mask is None else plane_bits(self._mask.header)
        read = [hdu for hdu in (self._image, self._mask, self._variance) if hdu is not None]
        self.tile = max(map(_tile_of, read), key=math.prod)

    def calibration(self) -> Calibration:
        """See `Layout.calibration`."""
        return calibration_of(self._hdus, self._image)

    def check_flags(self, bits: int) -> None:
        """See `Layout.check_flags`."""
        _check_complete(self._mask, "mask")

    def check_variance(self) -> None:
        """See `Layout.check_variance`."""
        if self._variance is None:
            raise CoaddError("it has no variance plane")
        _check_complete(self._variance, "variance")
        if self._has_asinh:
            raise CoaddError(
                "its values are stored as asinh magnitudes (BSOFTEN, BOFFSET), so that the scale "
                "of its variance is unknown: build it without the variance"
            )

    @property
    def _has_asinh(self) -> bool:
        """Whether image or variance are asinh magnitudes."""
        return any(is_asinh(hdu.header) for hdu in (self._image, self._variance) if hdu is not None)

    def decodable(
        self, handle: int, bits: int, plane: str = "image"
    ) -> tuple[decode.Plane | None, decode.Plane | None]:
        """See `Layout.decodable`."""
        if plane == "mask":
            return decode.mask_plane(handle, self._mask, bits), None
        pixels = self._image if plane == "image" else self._variance
        image = decode.image_plane(handle, pixels)
        if not bits:
            return image, None
        mask = decode.mask_plane(handle, self._mask, bits)
        return (image, mask) if mask is not None else (None, None)

    def pixels(self, section: Section) -> npt.NDArray[Any]:
        """See `Layout.pixels`."""
        return _values(self._image, section)

    def flags(self, section: Section) -> npt.NDArray[np.integer[Any]]:
        """See `Layout.flags`."""
        assert self._mask is not None
        return mask_bits(_stored(self._mask, section), self._mask.header)

    def variance(self, section: Section) -> npt.NDArray[Any] | None:
        """See `Layout.variance`."""
        if self._variance is None or self._has_asinh:
            return None
        return _values(self._variance, section)


def image_shape(hdu: "fits.ImageHDU") -> tuple[int, int]:
    """Return (rows, columns) of an image HDU, ignoring axes of length 1."""
    shape = hdu.shape
    return int(shape[-2]), int(shape[-1])


def _companion(hdus: "fits.HDUList", number: int, name: str) -> Any | None:
    """Return the HDU of this name for an image: same shape, and same EXTVER if any has it."""
    image = hdus[number]
    candidates = [hdu for hdu in hdus if is_image(hdu) and hdu_name(hdu) == name]
    same = [hdu for hdu in candidates if _version(hdu) == _version(image)] or candidates
    return next((hdu for hdu in same if hdu.shape == image.shape), None)


def _version(hdu: Any) -> int:
    return int(hdu.header.get("EXTVER", 1))


def _check_complete(hdu: Any, part: str) -> None:
    info = hdu.fileinfo()
    size = info["file"].size
    missing = info["datLoc"] + info["datSpan"] - size if size else 0
    if missing >= _BLOCK:
        raise CoaddError(f"the file is truncated: {missing} bytes of its {part} are missing")


def _check_last_header(hdus: "fits.HDUList") -> None:
    """Raise CoaddError if the file ends inside a header, where astropy ignores the last HDU."""
    info = hdus[len(hdus) - 1].fileinfo()
    file = info["file"]
    file.seek(info["datLoc"] + info["datSpan"])
    next_bytes = file.read(len(_EXTENSION))
    if next_bytes and _EXTENSION.startswith(next_bytes):
        raise CoaddError(f"the file is truncated: it ends in the header of HDU {len(hdus)}")


def is_compressed(hdu: Any) -> bool:
    """Whether an image HDU is stored as a table of compressed tiles."""
    from astropy.io.fits import CompImageHDU

    return isinstance(hdu, CompImageHDU)


def _values(hdu: Any, section: Section) -> npt.NDArray[Any]:
    """Return the pixels of a section, scaled, NaN where an integer equals BLANK."""
    check_blank(hdu.header, is_compressed(hdu))
    return physical_values(_stored(hdu, section), hdu.header)


def _stored(hdu: Any, section: Section) -> npt.NDArray[Any]:
    """Return the numbers of a section as stored, of a file that was opened without scaling."""
    first = (0,) * (len(hdu.shape) - 2)
    rows, cols = section
    stored = np.empty((rows.stop - rows.start, cols.stop - cols.start), hdu.section.dtype)
    for part in _parts(section, _tile_of(hdu)):
        place = tuple(
            slice(p.start - s.start, p.stop - s.start) for p, s in zip(part, section, strict=True)
        )
        pixels = np.asarray(hdu.section[first + part])
        stored[place] = pixels.reshape(stored[place].shape)
    return stored


def _tile_of(hdu: Any) -> tuple[int, int]:
    """Return (rows, columns) of a tile of a compressed image, (1, 1) of an uncompressed one."""
    tile = getattr(hdu, "tile_shape", (1, 1))
    rows, cols = (min(int(n), size) for n, size in zip(tile[-2:], image_shape(hdu), strict=True))
    return rows, cols


def _parts(section: Section, tile: tuple[int, int]) -> Iterator[Section]:
    """Split a section where tiles meet, so that few pixels are decoded at a time."""
    across = max(1, _PIXELS_AT_ONCE // math.prod(tile))
    cols = _splits(section[1], tile[1] * across)
    wide = min(tile[1] * across, section[1].stop - section[1].start + 2 * tile[1])
    down = max(1, _PIXELS_AT_ONCE // (tile[0] * wide))
    return ((r, c) for r in _splits(section[0], tile[0] * down) for c in cols)


def _splits(along: slice, step: int) -> list[slice]:
    """Split a slice at the multiples of a step."""
    edges = [along.start, *range((along.start // step + 1) * step, along.stop, step), along.stop]
    return [slice(a, b) for a, b in itertools.pairwise(edges) if a < b]

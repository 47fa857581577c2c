"""Where in a FITS file a coadd's pixels and flags are: image HDUs, or a table of cells."""

import re
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError, NoCoaddError
from hipsgen.images import decode
from hipsgen.images.calibration import Calibration, calibration_of
from hipsgen.images.cells import CellCoadd, is_cell_table
from hipsgen.images.masks import plane_bits
from hipsgen.images.source import Section

if TYPE_CHECKING:
    from astropy.io import fits

# extensions that go with an image and are none themselves
_NOT_SCIENCE = re.compile(
    r"^(ERR|ERROR|SIGMA|RMS|UNC|UNCERT|STD|STDDEV|DQ|MASK|FLAG|FLAGS|QUAL|VAR|VARIANCE|IVAR|INVVAR"
    r"|WHT|WGT|WEIGHT|CTX|CON|EXP|EXPTIME|EXPMAP|COV|COVERAGE|NPOL|D2IM|BKG|BACKGROUND|SKY)",
    re.IGNORECASE,
)
_SCIENCE = re.compile(r"^(SCI|SCIENCE|IMAGE|PRIMARY|DATA|SIGNAL)\d*$", re.IGNORECASE)
# FITS files end on a whole block, but readers need not insist (FITS 4.0, section 3.1)
_BLOCK = 2880
_EXTENSION = b"XTENSION"  # with which all headers but the first begin


class Layout(Protocol):
    """A coadd in an open file.

    header: with its WCS. shape: (rows, columns). planes: bits of the mask by name, empty when
    there is no mask.
    """

    header: "fits.Header"
    shape: tuple[int, int]
    planes: dict[str, int]

    def calibration(self) -> Calibration:
        """Of the values. Raises CoaddError."""

    def check_flags(self, bits: int) -> None:
        """Raise CoaddError when the mask, of which these bits count, is not whole."""

    def check_variance(self) -> None:
        """Raise CoaddError when there is no variance, or not all of it."""

    def decodable(
        self, handle: int, bits: int, plane: str = "image"
    ) -> tuple[decode.Plane | None, decode.Plane | None]:
        """For `decode`: the pixels of a plane, and the flags if `bits` of them count.

        handle: the same file, open for reading. plane: image, variance or mask. No pixels when
        only this class can read them.
        """

    def pixels(self, section: Section) -> npt.NDArray[Any]:
        """Of a section, as they stand in the file."""

    def flags(self, section: Section) -> npt.NDArray[np.integer[Any]]:
        """The mask of a section."""

    def variance(self, section: Section) -> npt.NDArray[Any] | None:
        """Of the pixels of a section, as it stands in the file; None where there is none."""


def layout_of(hdus: "fits.HDUList", number: int) -> Layout:
    """Of the coadd in HDU `number` of an open file. Raises CoaddError for a file that is cut."""
    _check_whole(hdus[number], "image")
    _check_end(hdus)
    if is_cell_table(hdus[number]):
        return CellCoadd(hdus, number)
    return ImageHdus(hdus, number)


class ImageHdus:
    """An image HDU, with its mask if there is one; see `Layout`. astropy reads them."""

    def __init__(self, hdus: "fits.HDUList", number: int) -> None:
        self._hdus = hdus
        self._image = hdus[number]
        self._mask = _companion(hdus, number, "MASK")
        self._variance = _companion(hdus, number, "VARIANCE")
        self.header: fits.Header = self._image.header
        self.shape = image_shape(self._image)
        self.planes = {} if self._mask is None else plane_bits(self._mask.header)

    def calibration(self) -> Calibration:
        """See `Layout.calibration`."""
        return calibration_of(self._hdus, self._image)

    def check_flags(self, bits: int) -> None:
        """See `Layout.check_flags`."""
        _check_whole(self._mask, "mask")

    def check_variance(self) -> None:
        """See `Layout.check_variance`."""
        if self._variance is None:
            raise CoaddError("it has no variance plane")
        _check_whole(self._variance, "variance")

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
        return _section(self._image, section)

    def flags(self, section: Section) -> npt.NDArray[Any]:
        """See `Layout.flags`."""
        return _section(self._mask, section)

    def variance(self, section: Section) -> npt.NDArray[Any] | None:
        """See `Layout.variance`."""
        return None if self._variance is None else _section(self._variance, section)


def coadd_hdus(hdus: "fits.HDUList") -> list[int]:
    """Numbers of the HDUs of a file that hold sky images. Raises CoaddError if there are none.

    lsst.afw and lsst.images files: the image, not its mask and variance. lsst.cell_coadds: the
    table of cells. Other files: every image of two axes (more if the rest have length 1), without
    weights, errors and flags where names tell them.
    """
    numbered = [(k, hdu) for k, hdu in enumerate(hdus) if _is_image(hdu)]
    if not numbered:
        tables = [k for k, hdu in enumerate(hdus) if is_cell_table(hdu)]
        if not tables:
            raise NoCoaddError("no two-dimensional image in the file")
        return tables
    if any(_name(hdu) == "MASK" for _, hdu in numbered) or hdus[0].header.get("EXPINFO_V"):
        images = [k for k, hdu in numbered if _name(hdu) == "IMAGE"]
        if images:
            return images
    science = [k for k, hdu in numbered if _SCIENCE.match(_name(hdu))]
    named = [k for k, hdu in numbered if not _NOT_SCIENCE.match(_name(hdu))]
    chosen = science if science and len(science) < len(numbered) else named
    return chosen or [numbered[0][0]]


def image_shape(hdu: "fits.ImageHDU") -> tuple[int, int]:
    """(rows, columns) of an image HDU, axes of length 1 left out."""
    shape = hdu.shape
    return int(shape[-2]), int(shape[-1])


def _is_image(hdu: Any) -> bool:
    if not getattr(hdu, "is_image", False):
        return False
    shape = getattr(hdu, "shape", ())  # an extension that astropy does not know has none
    return len(shape) >= 2 and min(shape) > 0 and all(n == 1 for n in shape[:-2])


def _name(hdu: Any) -> str:
    """EXTNAME, or EXTTYPE, which older lsst.afw wrote alone."""
    name = str(hdu.header.get("EXTTYPE") or hdu.header.get("EXTNAME") or "").strip().upper()
    return "" if name == "COMPRESSED_IMAGE" else name


def _companion(hdus: "fits.HDUList", number: int, name: str) -> Any | None:
    """The HDU of this name that goes with an image: of its EXTVER if any is, of its shape."""
    image = hdus[number]
    named = [hdu for hdu in hdus if _is_image(hdu) and _name(hdu) == name]
    same = [hdu for hdu in named if _version(hdu) == _version(image)] or named
    return next((hdu for hdu in same if hdu.shape == image.shape), None)


def _version(hdu: Any) -> int:
    return int(hdu.header.get("EXTVER", 1))


def _check_whole(hdu: Any, what: str) -> None:
    place = hdu.fileinfo()
    size = place["file"].size
    missing = place["datLoc"] + place["datSpan"] - size if size else 0
    if missing >= _BLOCK:
        raise CoaddError(f"the file is truncated: {missing} bytes of its {what} are not there")


def _check_end(hdus: "fits.HDUList") -> None:
    """astropy takes a file that is cut off in a header for one that ends before it."""
    place = hdus[len(hdus) - 1].fileinfo()
    file = place["file"]
    file.seek(place["datLoc"] + place["datSpan"])
    rest = file.read(len(_EXTENSION))
    if rest and _EXTENSION.startswith(rest):
        raise CoaddError(f"the file is truncated: it ends in the header of HDU {len(hdus)}")


def _section(hdu: Any, section: Section) -> npt.NDArray[Any]:
    index = (0,) * (len(hdu.shape) - 2) + section
    rows, cols = section
    wanted = (rows.stop - rows.start, cols.stop - cols.start)
    return np.asarray(hdu.section[index]).reshape(wanted)

"""The FITS layouts of coadds: lsst.afw ExposureF, lsst.images, and everyone else's images."""

import bz2
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError
from hipsgen.images.calibration import calibration_of
from hipsgen.images.files import local_file
from hipsgen.images.masks import bit_mask, plane_bits
from hipsgen.images.source import CoaddInfo, CoaddRef, Section
from hipsgen.images.times import time_range
from hipsgen.images.wcs import ImageWcs

DEFAULT_EXCLUDED = ("NO_DATA",)
# extensions that go with an image and are none themselves
_NOT_SCIENCE = re.compile(
    r"^(ERR|ERROR|SIGMA|RMS|UNC|UNCERT|STD|STDDEV|DQ|MASK|FLAG|FLAGS|QUAL|VAR|VARIANCE|IVAR|INVVAR"
    r"|WHT|WGT|WEIGHT|CTX|CON|EXP|EXPTIME|EXPMAP|COV|COVERAGE|NPOL|D2IM|BKG|BACKGROUND|SKY)",
    re.IGNORECASE,
)
# FITS files end on a whole block, but readers need not insist (FITS 4.0, section 3.1)
_BLOCK = 2880
# what astropy raises for a damaged file, besides VerifyError and CfitsioException
_DAMAGE = (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, zlib.error)
_SCIENCE = re.compile(r"^(SCI|SCIENCE|IMAGE|PRIMARY|DATA|SIGNAL)\d*$", re.IGNORECASE)


@dataclass(frozen=True)
class FitsReader:
    """Reads coadds from FITS files.

    excluded: mask planes whose pixels count as missing, where the file has such a plane.
    blank: a value that means "no data" besides NaN and the file's own BLANK.
    """

    excluded: tuple[str, ...] = DEFAULT_EXCLUDED
    blank: float | None = None

    def info(self, ref: CoaddRef) -> CoaddInfo:
        """What the headers say; see `CoaddReader.info`."""
        with open_fits(ref.uri) as hdus:
            number = int(ref.hdu) if ref.hdu else image_hdus(hdus)[0]
            return self.info_of(hdus, number)

    def info_of(self, hdus: Any, number: int) -> CoaddInfo:
        """What the headers of HDU `number` of an open file say."""
        image = hdus[number]
        _check_whole(image)
        shape = image_shape(image)
        wcs = ImageWcs(image.header, shape, hdus)
        calibration = calibration_of(hdus, image)
        mask = _mask_of(hdus, number)
        planes = plane_bits(mask.header) if mask is not None else {}
        t_min, t_max = time_range(image.header, hdus[0].header)
        return CoaddInfo(
            shape=shape,
            wcs=wcs,
            pixel_scale=wcs.pixel_scale(),
            unit=calibration.unit,
            unit_in=calibration.unit_in,
            scale=calibration.scale,
            calibration=calibration.source,
            excluded=tuple(name for name in self.excluded if name in planes),
            planes=tuple(planes),
            t_min=t_min,
            t_max=t_max,
        )

    def read(self, ref: CoaddRef, section: Section) -> npt.NDArray[np.float32]:
        """Calibrated pixels; see `CoaddReader.read`."""
        with open_fits(ref.uri) as hdus:
            number = int(ref.hdu) if ref.hdu else image_hdus(hdus)[0]
            pixels = _section(hdus[number], section)
            scale = calibration_of(hdus, hdus[number]).scale
            mask = _mask_of(hdus, number)
            bits = bit_mask(plane_bits(mask.header), self.excluded) if mask is not None else 0
            excluded = _section(mask, section).astype(np.int64) & bits != 0 if bits else None
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is missing
            values = np.array(pixels, dtype=np.float32, order="C")  # native, ours, contiguous
        if self.blank is not None:
            values[values == np.float32(self.blank)] = np.nan
        if scale != 1.0:
            values *= np.float32(scale)
        values[~np.isfinite(values)] = np.nan
        if excluded is not None:
            values[excluded] = np.nan
        return values


@contextmanager
def open_fits(uri: str) -> Iterator[Any]:
    """An open file, whatever its compression; what goes wrong inside becomes a CoaddError."""
    from astropy.io import fits

    with local_file(uri) as path:
        try:
            with fits.open(_unpacked(path), memmap=False, lazy_load_hdus=True) as hdus:
                yield hdus
        except CoaddError:
            raise
        except (*_DAMAGE, fits.VerifyError) as error:
            raise CoaddError(f"cannot be read as FITS ({_reason(error)})") from error
        except Exception as error:  # of a C module of astropy, which has it under no public name
            if type(error).__name__ != "CfitsioException":
                raise
            raise CoaddError(f"cannot be decompressed ({_reason(error)})") from error


def image_hdus(hdus: Any) -> list[int]:
    """Numbers of the HDUs of a file that hold sky images. Raises CoaddError if there are none.

    lsst.afw and lsst.images files: the image, not its mask and variance. Other files: every image
    of two axes (more if the rest have length 1), without weights, errors and flags where names
    tell them.
    """
    numbered = [(k, hdu) for k, hdu in enumerate(hdus) if _is_image(hdu)]
    if not numbered:
        raise CoaddError("no two-dimensional image in the file")
    if any(_name(hdu) == "MASK" for _, hdu in numbered) or hdus[0].header.get("EXPINFO_V"):
        images = [k for k, hdu in numbered if _name(hdu) == "IMAGE"]
        if images:
            return images
    science = [k for k, hdu in numbered if _SCIENCE.match(_name(hdu))]
    named = [k for k, hdu in numbered if not _NOT_SCIENCE.match(_name(hdu))]
    chosen = science if science and len(science) < len(numbered) else named
    return chosen or [numbered[0][0]]


def image_shape(hdu: Any) -> tuple[int, int]:
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


def _mask_of(hdus: Any, number: int) -> Any | None:
    """The mask HDU that goes with an image: named MASK, of its EXTVER if any is, of its shape."""
    image = hdus[number]
    masks = [hdu for hdu in hdus if _is_image(hdu) and _name(hdu) == "MASK"]
    same = [hdu for hdu in masks if _version(hdu) == _version(image)] or masks
    return next((hdu for hdu in same if hdu.shape == image.shape), None)


def _version(hdu: Any) -> int:
    return int(hdu.header.get("EXTVER", 1))


def _unpacked(path: Path) -> Path | io.BytesIO:
    """The file, or the content of one that is gzipped or bzipped as a whole.

    astropy reads those as far as it needs to, and so never comes to their checksum.
    """
    with path.open("rb") as handle:
        start = handle.read(3)
    if start.startswith(b"\x1f\x8b"):
        with gzip.open(path) as packed:
            return io.BytesIO(packed.read())
    if start == b"BZh":
        with bz2.open(path) as packed:
            return io.BytesIO(packed.read())
    return path


def _check_whole(hdu: Any) -> None:
    place = hdu.fileinfo()
    size = place["file"].size
    missing = place["datLoc"] + place["datSpan"] - size if size else 0
    if missing >= _BLOCK:
        raise CoaddError(f"the file is truncated: {missing} bytes of its image are not there")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _section(hdu: Any, section: Section) -> npt.NDArray[Any]:
    index = (0,) * (len(hdu.shape) - 2) + section
    rows, cols = section
    wanted = (rows.stop - rows.start, cols.stop - cols.start)
    return np.asarray(hdu.section[index]).reshape(wanted)

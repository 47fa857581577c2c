"""The FITS layouts of coadds: lsst.afw ExposureF, lsst.images, and everyone else's images."""

import bz2
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import igzip

from hipsgen.errors import CoaddError
from hipsgen.images import decode
from hipsgen.images.blocks import FILES, BlockFile, Blocks, blocks_of
from hipsgen.images.calibration import ChebyshevField, calibration_of
from hipsgen.images.files import is_stamp, stamp_of
from hipsgen.images.masks import bit_mask, plane_bits
from hipsgen.images.source import CoaddInfo, CoaddRef, Section, Values
from hipsgen.images.staging import has_copy, local_file
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
_EXTENSION = b"XTENSION"  # with which all headers but the first begin
# what astropy raises for a damaged file, besides VerifyError and CfitsioException
_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError),
    *(ArithmeticError, zlib.error, decode.DeflateError),
)
_Place = Path | Blocks
_SCIENCE = re.compile(r"^(SCI|SCIENCE|IMAGE|PRIMARY|DATA|SIGNAL)\d*$", re.IGNORECASE)


@dataclass(frozen=True)
class FitsReader:
    """Reads coadds from FITS files.

    excluded: mask planes whose pixels count as missing, where the file has such a plane.
    blank: a value that means "no data" besides NaN and the file's own BLANK.
    glancing: see `at_a_glance`.
    """

    excluded: tuple[str, ...] = DEFAULT_EXCLUDED
    blank: float | None = None
    glancing: bool = False

    def at_a_glance(self) -> "FitsReader":
        """See `CoaddReader.at_a_glance`."""
        return replace(self, glancing=True)

    def info(self, ref: CoaddRef) -> CoaddInfo:
        """What the headers say; see `CoaddReader.info`."""
        with self._placed(ref) as place:
            return self._headers(place, ref).info

    @contextmanager
    def _placed(self, ref: CoaddRef) -> Iterator[_Place]:
        """A file of this machine, or the blocks of one elsewhere."""
        if self.glancing and not has_copy(ref.uri):
            blocks = blocks_of(ref.uri)
            if blocks is not None:
                yield blocks
                return
        with local_file(ref.uri) as path:
            yield path

    def info_of(self, hdus: Any, number: int) -> CoaddInfo:
        """What the headers of HDU `number` of an open file say."""
        return self._described(hdus, number)[0]

    def _described(self, hdus: Any, number: int) -> tuple[CoaddInfo, ChebyshevField | None]:
        """The same, and what pixels are multiplied with where that varies."""
        image = hdus[number]
        _check_whole(image, "image")
        _check_end(hdus)
        shape = image_shape(image)
        wcs = ImageWcs(image.header, shape, hdus)
        calibration = calibration_of(hdus, image)
        mask = _mask_of(hdus, number)
        planes = plane_bits(mask.header) if mask is not None else {}
        excluded = tuple(name for name in self.excluded if name in planes)
        if excluded:
            _check_whole(mask, "mask")
        t_min, t_max = time_range(image.header, hdus[0].header)
        info = CoaddInfo(
            shape=shape,
            wcs=wcs,
            pixel_scale=wcs.pixel_scale(),
            unit=calibration.unit,
            unit_in=calibration.unit_in,
            scale=calibration.scale,
            calibration=calibration.source,
            excluded=excluded,
            planes=tuple(planes),
            t_min=t_min,
            t_max=t_max,
        )
        return info, calibration.field

    def read(
        self,
        ref: CoaddRef,
        section: Section,
        parts: Sequence[Section] = (),
        out: Values | None = None,
    ) -> Values:
        """Calibrated pixels; see `CoaddReader.read`."""
        rows, cols = section
        if out is None:
            out = np.empty((rows.stop - rows.start, cols.stop - cols.start), np.float32)
        with self._placed(ref) as place:
            headers = self._headers(place, ref)
            height, width = headers.info.shape
            if rows.stop > height or cols.stop > width:
                raise CoaddError(f"another file came in its place: its image is {height}x{width}")
            parts = parts or (section,)
            if not self._decoded(place, headers, section, parts, out):
                self._through_astropy(place, headers, section, out)
            if headers.field is not None:
                for part in parts:
                    out[_within(section, part)] *= headers.field.at(part)
            _stamp(place, ref)
        return out

    def _headers(self, place: _Place, ref: CoaddRef) -> "_Headers":
        parsed = _of_blocks if isinstance(place, Blocks) else _of_path
        return parsed(self, place, ref.hdu, _stamp(place, ref))

    def _decoded(
        self,
        place: _Place,
        headers: "_Headers",
        section: Section,
        parts: Sequence[Section],
        out: Values,
    ) -> bool:
        """False for what is left to astropy; of damage, too, it has the last word."""
        if headers.image is None or isinstance(place, Blocks):
            return False
        try:
            with place.open("rb") as file:
                handle, scale = file.fileno(), headers.scale
                for part in parts:
                    at = part[0].start - section[0].start, part[1].start - section[1].start
                    decode.values(handle, headers.image, part, self._blank, scale, out, at)
                    if headers.mask is not None:
                        decode.strike(handle, headers.mask, part, headers.bits, out, at)
        except (decode.UndecodableError, OSError):
            return False
        return True

    def _through_astropy(
        self, place: _Place, headers: "_Headers", section: Section, out: Values
    ) -> None:
        with _open(place) as hdus:
            pixels = _section(hdus[headers.number], section)
            decode.finish(pixels, self._blank, headers.scale, out)
            if headers.bits:
                mask = _section(_mask_of(hdus, headers.number), section)
                out[mask.astype(np.int64) & headers.bits != 0] = np.nan

    @property
    def _blank(self) -> float:
        return float("nan") if self.blank is None else self.blank


@dataclass(frozen=True)
class _Headers:
    """What is kept of the headers of the coadd in HDU `number`.

    image, mask: for `decode`; image is None when astropy has to read the pixels, mask when no bit
    of it counts. bits: of the mask, whose pixels are missing. field: what pixels are multiplied
    with where that varies.
    """

    info: CoaddInfo
    number: int
    image: decode.Plane | None
    mask: decode.Plane | None
    bits: int
    field: ChebyshevField | None

    @property
    def scale(self) -> float:
        """What all pixels are multiplied with."""
        return self.info.scale if self.field is None else 1.0


def _stamp(place: _Place, ref: CoaddRef) -> str:
    """That of the file now. Raises CoaddError where it is not the one that was listed."""
    if isinstance(place, Blocks):
        return ref.identity
    try:
        stamp = stamp_of(place.stat())
    except OSError as error:
        raise CoaddError(f"cannot be read as FITS ({_reason(error)})") from error
    if is_stamp(ref.identity) and stamp != ref.identity:
        raise CoaddError("has changed since it was listed: build again, or save a new manifest")
    return stamp


def _parsed(reader: FitsReader, place: _Place, hdu: str, stamp: str) -> _Headers:
    """Of a file with this stamp."""
    with _open(place) as hdus:
        number = int(hdu) if hdu else image_hdus(hdus)[0]
        info, field = reader._described(hdus, number)
        flags: Any = _mask_of(hdus, number) if info.excluded else None
        bits = bit_mask(plane_bits(flags.header), info.excluded) if info.excluded else 0
        if isinstance(place, Blocks):
            return _Headers(info, number, None, None, bits, field)
        with place.open("rb") as file:
            image, mask = decode.image_plane(file.fileno(), hdus[number]), None
            if info.excluded:
                mask = decode.mask_plane(file.fileno(), flags, bits)
                image = image if mask is not None else None
        in_parts = isinstance(image, decode.Plain) and not isinstance(mask, decode.Tiled)
        return _Headers(replace(info, in_parts=in_parts), number, image, mask, bits, field)


# parsed once, for `info` and `read`; blocks would be kept in memory by it
_of_path = lru_cache(maxsize=1000)(_parsed)
_of_blocks = lru_cache(maxsize=FILES)(_parsed)


@contextmanager
def open_fits(uri: str) -> Iterator[Any]:
    """An open file, whatever its compression; what goes wrong inside becomes a CoaddError."""
    with local_file(uri) as path, _open(path) as hdus:
        yield hdus


@contextmanager
def _open(place: _Place) -> Iterator[Any]:
    from astropy.io import fits

    try:
        file = BlockFile(place) if isinstance(place, Blocks) else _unpacked(place)
        with fits.open(file, memmap=False, lazy_load_hdus=True) as hdus:
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
        with igzip.open(path) as packed:  # type: ignore[no-untyped-call]
            return io.BytesIO(packed.read())
    if start == b"BZh":
        with bz2.open(path) as packed:
            return io.BytesIO(packed.read())
    return path


def _check_whole(hdu: Any, what: str) -> None:
    place = hdu.fileinfo()
    size = place["file"].size
    missing = place["datLoc"] + place["datSpan"] - size if size else 0
    if missing >= _BLOCK:
        raise CoaddError(f"the file is truncated: {missing} bytes of its {what} are not there")


def _check_end(hdus: Any) -> None:
    """astropy takes a file that is cut off in a header for one that ends before it."""
    place = hdus[len(hdus) - 1].fileinfo()
    file = place["file"]
    file.seek(place["datLoc"] + place["datSpan"])
    rest = file.read(len(_EXTENSION))
    if rest and _EXTENSION.startswith(rest):
        raise CoaddError(f"the file is truncated: it ends in the header of HDU {len(hdus)}")


def _within(section: Section, part: Section) -> Section:
    """Where a part of a section lies in an array of that."""
    rows, cols = (
        slice(p.start - s.start, p.stop - s.start) for s, p in zip(section, part, strict=True)
    )
    return rows, cols


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _section(hdu: Any, section: Section) -> npt.NDArray[Any]:
    index = (0,) * (len(hdu.shape) - 2) + section
    rows, cols = section
    wanted = (rows.stop - rows.start, cols.stop - cols.start)
    return np.asarray(hdu.section[index]).reshape(wanted)

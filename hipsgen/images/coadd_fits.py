"""The FITS layouts of coadds: lsst.afw ExposureF, lsst.images, and everyone else's images."""

import bz2
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError, HipsgenError
from hipsgen.images import decode
from hipsgen.images.calibration import Calibration, ChebyshevField, first_pixel
from hipsgen.images.cells import CellCoadd, Cells
from hipsgen.images.cutout import Cutout
from hipsgen.images.layout import Layout, coadd_hdus, layout_of
from hipsgen.images.masks import bit_mask
from hipsgen.images.range_reads import RangeFile, RangeReader, open_range_reader
from hipsgen.images.source import CoaddInfo, Section, Values
from hipsgen.images.staging import has_copy, local_file
from hipsgen.images.times import time_range
from hipsgen.images.uris import is_stamp, stamp_of
from hipsgen.images.wcs import ImageWcs

PLANES = ("image", "variance", "mask")
DEFAULT_EXCLUDED = ("NO_DATA",)
# what astropy raises for a damaged file, besides VerifyError and CfitsioException
_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError),
    *(ArithmeticError, zlib.error, decode.DeflateError),
)
_Place = Path | RangeReader


@dataclass(frozen=True)
class FitsReader:
    """Reads coadds from FITS files.

    plane: which of PLANES `read` gives: calibrated values, their variance in the unit squared, or
    the mask, int32 with the bits of `CoaddInfo.planes`, of which no pixel is missing.
    excluded: mask planes whose pixels count as missing, where the file has such a plane.
    blank: a value that means "no data" besides NaN and the file's own BLANK.
    range_reads: see `with_range_reads`.
    """

    excluded: tuple[str, ...] = DEFAULT_EXCLUDED
    blank: float | None = None
    range_reads: bool = False
    plane: str = "image"

    def with_range_reads(self) -> "FitsReader":
        """See `CoaddReader.with_range_reads`."""
        return replace(self, range_reads=True)

    def info(self, ref: CoaddRef) -> CoaddInfo:
        """What the headers say; see `CoaddReader.info`."""
        with self._placed(ref) as place:
            return self._headers(place, ref).info

    @contextmanager
    def _placed(self, ref: CoaddRef) -> Iterator[_Place]:
        """A file of this machine, or one elsewhere, read by ranges."""
        if self.range_reads and not has_copy(ref.uri):
            ranges = open_range_reader(ref.uri)
            if ranges is not None:
                yield ranges
                return
        with local_file(ref.uri) as path:
            yield path

    def info_of(self, hdus: Any, number: int) -> CoaddInfo:
        """What the headers of HDU `number` of an open file say."""
        return self._described(hdus, number)[0]

    def _described(self, hdus: Any, number: int) -> tuple[CoaddInfo, ChebyshevField | None, Layout]:
        """The same, what pixels are multiplied with where that varies, and where they are."""
        layout = layout_of(hdus, number)
        calibration = self._calibration(layout)
        wcs = ImageWcs(layout.header, layout.shape, hdus)
        excluded = tuple(name for name in self.excluded if name in layout.planes)
        if excluded:
            layout.check_flags(bit_mask(layout.planes, excluded))
        t_min, t_max = time_range(hdus[number].header, hdus[0].header)
        info = CoaddInfo(
            shape=layout.shape,
            wcs=wcs,
            pixel_scale=wcs.pixel_scale(),
            unit=calibration.unit,
            unit_in=calibration.unit_in,
            scale=calibration.scale,
            calibration=calibration.source,
            excluded=excluded,
            planes=layout.planes,
            t_min=t_min,
            t_max=t_max,
        )
        return info, calibration.field, layout

    def _calibration(self, layout: Layout) -> Calibration:
        """Of the plane. Raises CoaddError where it is not there."""
        if self.plane == "mask":
            if not layout.planes:
                raise CoaddError("it has no mask that names its planes")
            layout.check_flags(0)
            return Calibration("")
        if self.plane == "variance":
            layout.check_variance()
            return layout.calibration().squared()
        return layout.calibration()

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
            out = np.empty((_length(rows), _length(cols)), np.float32)
        if self.plane == "mask":
            out = out.view(np.int32)
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
                    factor = headers.field.at(part)
                    out[_within(section, part)] *= factor if self.plane == "image" else factor**2
            _stamp(place, ref)
        return out

    def cutout(self, ref: CoaddRef, section: Section) -> Cutout:
        """All that the file says of some pixels; planes that `read` leaves out are flagged here.

        Raises CoaddError when it cannot be read.
        """
        with self._placed(ref) as place:
            headers = self._headers(place, ref)
            with _open(place) as hdus:
                layout = headers.layout(hdus)
                image = np.empty((_length(section[0]), _length(section[1])), np.float32)
                decode.scale_and_blank(layout.pixels(section), self._blank, headers.scale, image)
                found = layout.variance(section)
                variance = None
                if found is not None:
                    variance = np.asarray(found, np.float32) * np.float32(headers.scale**2)
                mask = layout.flags(section).astype(np.int64) if layout.planes else None
            if headers.field is not None:
                factor = headers.field.at(section)
                image *= factor
                variance = None if variance is None else variance * factor**2
            _stamp(place, ref)
        origin = first_pixel(layout.header)
        return Cutout(
            headers.info, section, image, variance, mask, layout.planes, layout.header, origin
        )

    def _headers(self, place: _Place, ref: CoaddRef) -> "_Headers":
        stamp = _stamp(place, ref)
        if not isinstance(place, RangeReader):
            return _of_path(self, place, ref.hdu, stamp)
        key = self, ref.hdu, stamp
        if key not in place.notes:
            place.notes[key] = _parsed(self, place, ref.hdu, stamp)
        return place.notes[key]  # type: ignore[no-any-return]

    def _decoded(
        self,
        place: _Place,
        headers: "_Headers",
        section: Section,
        parts: Sequence[Section],
        out: Any,
    ) -> bool:
        """False for what is left to astropy; of damage, too, it has the last word."""
        if headers.image is None or isinstance(place, RangeReader):
            return False
        try:
            with place.open("rb") as file:
                handle, scale = file.fileno(), headers.scale
                for part in parts:
                    at = part[0].start - section[0].start, part[1].start - section[1].start
                    if self.plane == "mask":
                        decode.flags(handle, headers.image, part, out, at)
                        continue
                    decode.values(handle, headers.image, part, self._blank, scale, out, at)
                    if headers.mask is not None:
                        decode.apply_mask(handle, headers.mask, part, headers.bits, out, at)
        except (decode.UndecodableError, OSError):
            return False
        return True

    def _through_astropy(
        self, place: _Place, headers: "_Headers", section: Section, out: Any
    ) -> None:
        with _open(place) as hdus:
            layout = headers.layout(hdus)
            if self.plane == "mask":
                found = layout.flags(section)
                out[:] = found.astype(f"u{found.dtype.itemsize}").astype(np.uint32).view(np.int32)
                return
            pixels: Any = layout.pixels if self.plane == "image" else layout.variance
            decode.scale_and_blank(pixels(section), self._blank, headers.scale, out)
            if headers.bits:
                flags = layout.flags(section).astype(np.int64)
                out[flags & headers.bits != 0] = np.nan

    @property
    def _blank(self) -> float:
        return float("nan") if self.blank is None else self.blank


@dataclass(frozen=True)
class _Headers:
    """What is kept of the headers of the coadd in HDU `number`.

    image, mask: for `decode`; image is None when astropy has to read the pixels, mask when no bit
    of it counts. bits: of the mask, whose pixels are missing. field: what pixels are multiplied
    with where that varies. cells: at a glance, where each look for them costs requests.
    """

    info: CoaddInfo
    number: int
    image: decode.Plane | None
    mask: decode.Plane | None
    bits: int
    field: ChebyshevField | None
    cells: CellCoadd | None = None

    @property
    def scale(self) -> float:
        """What all pixels are multiplied with."""
        return self.info.scale if self.field is None else 1.0

    def layout(self, hdus: Any) -> Layout:
        """That of the coadd in its file, which was opened again."""
        if self.cells is not None:
            return self.cells.reopened(hdus, self.number)
        return layout_of(hdus, self.number)


def _stamp(place: _Place, ref: CoaddRef) -> str:
    """That of the file now. Raises CoaddError where it is not the one that was listed."""
    if isinstance(place, RangeReader):
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
        number = int(hdu) if hdu else coadd_hdus(hdus)[0]
        info, field, layout = reader._described(hdus, number)
        bits = bit_mask(layout.planes, info.excluded)
        if isinstance(place, RangeReader):
            cells = layout if isinstance(layout, CellCoadd) else None
            return _Headers(info, number, None, None, bits, field, cells)
        with place.open("rb") as file:
            image, mask = layout.decodable(file.fileno(), bits, reader.plane)
        in_parts = isinstance(image, decode.Plain | Cells) and not isinstance(mask, decode.Tiled)
        return _Headers(replace(info, in_parts=in_parts), number, image, mask, bits, field)


# parsed once, for `info` and `read`
_of_path = lru_cache(maxsize=1000)(_parsed)


@contextmanager
def open_fits(uri: str) -> Iterator[Any]:
    """An open file, whatever its compression; what goes wrong inside becomes a CoaddError."""
    with local_file(uri) as path, _open(path) as hdus:
        yield hdus


@contextmanager
def _open(place: _Place) -> Iterator[Any]:
    from astropy.io import fits

    try:
        file = RangeFile(place) if isinstance(place, RangeReader) else _unpacked(place)
        with fits.open(file, memmap=False, lazy_load_hdus=True) as hdus:
            yield hdus
    except HipsgenError:
        raise
    except (*_DAMAGE, fits.VerifyError) as error:
        raise CoaddError(f"cannot be read as FITS ({_reason(error)})") from error
    except Exception as error:  # of a C module of astropy, which has it under no public name
        if type(error).__name__ != "CfitsioException":
            raise
        raise CoaddError(f"cannot be decompressed ({_reason(error)})") from error


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


def _length(along: slice) -> int:
    return int(along.stop - along.start)


def _within(section: Section, part: Section) -> Section:
    """Where a part of a section lies in an array of that."""
    rows, cols = (
        slice(p.start - s.start, p.stop - s.start) for s, p in zip(section, part, strict=True)
    )
    return rows, cols


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).partition(" If this is really")[0]  # astropy's advice
    return text or type(error).__name__

"""Read coadds from FITS files: lsst.afw ExposureF, lsst.images, tables of cells, plain images."""

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError, HipsgenError, lack_of_memory
from hipsgen.files import open_regular
from hipsgen.images import decode
from hipsgen.images.calibration import STATED, Calibration, ChebyshevField, first_pixel
from hipsgen.images.cells import CellCoadd, CellColumn
from hipsgen.images.contents import sky_images
from hipsgen.images.cutout import Cutout
from hipsgen.images.header_limits import check_limits
from hipsgen.images.layout import Layout, is_compressed, layout_of
from hipsgen.images.masks import bit_mask
from hipsgen.images.range_reads import RangeFile, RangeReader, open_range_reader
from hipsgen.images.source import CoaddInfo, Section, Values
from hipsgen.images.staging import has_copy, local_file
from hipsgen.images.stored_values import needs_double, scale_in_double
from hipsgen.images.times import time_range
from hipsgen.images.units import Offset
from hipsgen.images.uris import is_stamp, path_of, stamp_of
from hipsgen.images.wcs import ImageWcs
from hipsgen.text import human_size

PLANES = ("image", "variance", "mask")
DEFAULT_EXCLUDED = ("NO_DATA",)
DEFAULT_MEMORY = 1600 << 20  # bytes
# errors of astropy for a damaged file, besides VerifyError and CfitsioException
_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError),
    *(ArithmeticError, zlib.error, decode.DeflateError),
)
_FileOrRanges = Path | RangeReader
_BYTES_PER_PIXEL = 8  # while decoding: as stored, and as float32
_FEW_TILES = 8  # of a compressed image: a section costs at least an eighth of it


@dataclass(frozen=True)
class FitsReader:
    """Reader of coadds in FITS files.

    Attributes
    ----------
    excluded
        Mask planes whose pixels count as missing, where the file has such a plane.
    blank
        Value that means "no data", besides NaN and the file's own BLANK.
    range_reads
        See `with_range_reads`.
    plane
        Which of `PLANES` is read: calibrated values; their variance, in the unit squared; or the
        mask, int32 with the bits of `CoaddInfo.planes`, in which no pixel is missing.
    unit
        Unit of the values of an image, whatever the file says; values are then read as they are.
        "": as the file says.
    offset
        See `with_offset`; None for no offset.
    memory
        Bytes that a read may take; a header that asks for more is refused.
    """

    excluded: tuple[str, ...] = DEFAULT_EXCLUDED
    blank: float | None = None
    range_reads: bool = False
    plane: str = "image"
    unit: str = ""
    offset: Offset | None = None
    memory: int = DEFAULT_MEMORY

    def with_range_reads(self) -> "FitsReader":
        """See `CoaddReader.with_range_reads`."""
        return replace(self, range_reads=True)

    def with_offset(self, value: float, unit: str, pixel_scale: float) -> "FitsReader":
        """See `CoaddReader.with_offset`."""
        return replace(self, offset=Offset(value, unit, pixel_scale))

    def info(self, ref: CoaddRef) -> CoaddInfo:
        """Read the headers; see `CoaddReader.info`."""
        with self._located(ref) as location:
            return self._headers(location, ref).info

    @contextmanager
    def _located(self, ref: CoaddRef) -> Iterator[_FileOrRanges]:
        """Locate a file: its path on this machine, or a reader of ranges if it is elsewhere.

        In the `with` block, lack of memory becomes a CoaddError.
        """
        try:
            if self.range_reads and not has_copy(ref.uri):
                ranges = open_range_reader(ref.uri)
                if ranges is not None:
                    yield ranges
                    return
            with local_file(ref.uri) as path:
                yield path
        except MemoryError as error:
            raise lack_of_memory(error) from error

    def info_of(self, hdus: Any, number: int) -> CoaddInfo:
        """Read the headers of HDU `number` of an open file."""
        return self._describe(hdus, number)[0]

    def _describe(self, hdus: Any, number: int) -> tuple[CoaddInfo, ChebyshevField | None, Layout]:
        """Return the coadd's properties, its varying calibration factor if any, and its layout."""
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
            notes=self._notes(hdus[number]),
        )
        return info, calibration.field, layout

    def _notes(self, hdu: Any) -> tuple[str, ...]:
        """Return what a user should know about how the pixels of an HDU are read."""
        blank, is_integer = hdu.header.get("BLANK"), hdu.header.get("BITPIX", 0) > 0
        if blank in (None, self.blank) or is_integer or is_compressed(hdu) or self.plane != "image":
            return ()
        is_number = isinstance(blank, int | float) and not isinstance(blank, bool)
        advice = f"; {{blank}} {blank} makes such pixels missing" if is_number else ""
        return (f"BLANK = {blank!r} is ignored: FITS defines it for integers only{advice}",)

    def _calibration(self, layout: Layout) -> Calibration:
        """Return the calibration of the plane. Raises CoaddError if the file lacks the plane."""
        if self.plane == "mask":
            if not layout.planes:
                raise CoaddError("it has no mask with named planes: build it without mask planes")
            layout.check_flags(0)
            return Calibration("")
        stated = Calibration(self.unit, 1.0, self.unit, STATED) if self.unit else None
        if self.plane == "variance":
            layout.check_variance()
            return (stated or layout.calibration()).squared()
        return stated or layout.calibration()

    def read(
        self,
        ref: CoaddRef,
        section: Section,
        parts: Sequence[Section] = (),
        out: Values | None = None,
        *,
        huge: float = math.nan,
    ) -> Values:
        """Read calibrated pixels; see `CoaddReader.read`."""
        rows, cols = section
        with self._located(ref) as location:
            headers = self._headers(location, ref)
            self._check_memory(headers, section if out is None else None)
            if out is None:
                out = np.empty((_length(rows), _length(cols)), np.float32)
            if self.plane == "mask":
                out = out.view(np.int32)
            height, width = headers.info.shape
            if rows.stop > height or cols.stop > width:
                raise CoaddError(
                    f"replaced while in use: its image is {height}x{width}; build again"
                )
            parts = parts or (section,)
            if self.offset is not None:
                self._read_relative(location, headers, section, self.offset, out)
            elif not self._decode(location, headers, section, parts, out, huge):
                self._read_with_astropy(location, headers, section, out, huge)
            if headers.field is not None and self.offset is None:
                for part in parts:
                    factor = headers.field.at(part).astype(np.float32)
                    out[_relative_to(section, part)] *= (
                        factor if self.plane == "image" else factor**2
                    )
            _current_stamp(location, ref)
        return out

    def cutout(self, ref: CoaddRef, section: Section) -> Cutout:
        """Read some pixels with their variance and mask; excluded planes are in the mask, not NaN.

        Raises CoaddError if they cannot be read.
        """
        with self._located(ref) as location:
            headers = self._headers(location, ref)
            self._check_memory(headers, section)
            with _open(location) as hdus:
                layout = headers.layout(hdus)
                pixels = layout.pixels(section)
                if needs_double(layout.header):
                    image: Any = scale_in_double(pixels, self._blank, headers.scale)
                else:
                    image = np.empty(pixels.shape, np.float32)
                    decode.scale_and_blank(pixels, self._blank, headers.scale, image)
                found = layout.variance(section)
                variance = None
                if found is not None:
                    variance = np.asarray(found, np.float32) * np.float32(headers.scale**2)
                mask = layout.flags(section).astype(np.int64) if layout.planes else None
            if headers.field is not None:
                factor = headers.field.at(section).astype(np.float32)
                image *= factor
                variance = None if variance is None else variance * factor**2
            _current_stamp(location, ref)
        origin = first_pixel(layout.header)
        return Cutout(
            headers.info, section, image, variance, mask, layout.planes, layout.header, origin
        )

    def _check_memory(self, headers: "_Headers", section: Section | None) -> None:
        """Raise CoaddError if decoding a tile, or the pixels of a section, would take too much."""
        sizes = {"its compressed tiles": headers.tile}
        if section is not None:
            sizes["the section"] = _length(section[0]), _length(section[1])
        for name, (rows, cols) in sizes.items():
            size = _BYTES_PER_PIXEL * rows * cols
            if size > self.memory:
                raise CoaddError(
                    f"{name} of {rows}x{cols} pixels would take {human_size(size)} of memory; the "
                    f"limit is {human_size(self.memory)}: decompress it, or allow more {{memory}}"
                )

    def _headers(self, location: _FileOrRanges, ref: CoaddRef) -> "_Headers":
        stamp = _current_stamp(location, ref)
        if not isinstance(location, RangeReader):
            return _headers_of_path(self, location, ref.hdu, stamp)
        key = self, ref.hdu, stamp
        if key not in location.header_cache:
            location.header_cache[key] = _parse_headers(self, location, ref.hdu, stamp)
        return location.header_cache[key]  # type: ignore[no-any-return]

    def _decode(
        self,
        location: _FileOrRanges,
        headers: "_Headers",
        section: Section,
        parts: Sequence[Section],
        out: Any,
        huge: float,
    ) -> bool:
        """Decode the pixels; return False if astropy must read them (unsupported or damaged)."""
        if headers.image is None or isinstance(location, RangeReader):
            return False
        try:
            with open_regular(location) as file:
                handle, scale = file.fileno(), headers.scale
                for part in parts:
                    corner = part[0].start - section[0].start, part[1].start - section[1].start
                    if self.plane == "mask":
                        decode.flags(handle, headers.image, part, out, corner)
                        continue
                    special = self._blank, scale
                    decode.values(handle, headers.image, part, *special, out, corner, huge)
                    if headers.mask is not None:
                        decode.apply_mask(handle, headers.mask, part, headers.bits, out, corner)
        except (decode.UndecodableError, OSError):
            return False
        return True

    def _read_relative(
        self,
        location: _FileOrRanges,
        headers: "_Headers",
        section: Section,
        offset: Offset,
        out: Values,
    ) -> None:
        """Read all pixels of a section minus the offset, which is subtracted in float64."""
        with _open(location) as hdus:
            layout, field = headers.layout(hdus), headers.field
            scale = headers.scale if field is None else field.at(section)
            pixels, blank = layout.pixels(section), self._blank
            out[:] = scale_in_double(pixels, blank, scale, offset.of(headers.info))
            _exclude(layout, section, headers.bits, out)

    def _read_with_astropy(
        self,
        location: _FileOrRanges,
        headers: "_Headers",
        section: Section,
        out: Any,
        huge: float,
    ) -> None:
        with _open(location) as hdus:
            layout = headers.layout(hdus)
            if self.plane == "mask":
                found = layout.flags(section)
                out[:] = found.astype(f"u{found.dtype.itemsize}").astype(np.uint32).view(np.int32)
                return
            pixels: Any = layout.pixels if self.plane == "image" else layout.variance
            decode.scale_and_blank(pixels(section), self._blank, headers.scale, out, huge)
            _exclude(layout, section, headers.bits, out)

    @property
    def _blank(self) -> float:
        return float("nan") if self.blank is None else self.blank


@dataclass(frozen=True)
class _Headers:
    """The properties of the coadd in HDU `number` that are cached between reads.

    Attributes
    ----------
    image, mask
        Planes for `decode`; image is None if astropy must read the pixels, mask if no bit of it is
        excluded.
    tile
        (rows, columns) of the largest compressed tile, which can only be decoded as a whole.
    bits
        Bits of the mask whose pixels count as missing.
    field
        Varying calibration factor, if any.
    cells
        The table of cells, kept for range reads, where finding it again costs requests.
    """

    info: CoaddInfo
    number: int
    tile: tuple[int, int]
    image: decode.Plane | None
    mask: decode.Plane | None
    bits: int
    field: ChebyshevField | None
    cells: CellCoadd | None = None

    @property
    def scale(self) -> float:
        """Constant factor of all pixels; 1 if a varying one is applied instead."""
        return self.info.scale if self.field is None else 1.0

    def layout(self, hdus: Any) -> Layout:
        """Return the layout of the coadd in its file, which was opened again."""
        if self.cells is not None:
            return self.cells.reopened(hdus, self.number)
        return layout_of(hdus, self.number)


def _current_stamp(location: _FileOrRanges, ref: CoaddRef) -> str:
    """Return the stamp of the file. Raises CoaddError if it changed since it was listed."""
    if isinstance(location, RangeReader):
        return ref.identity
    original = path_of(ref.uri) if is_stamp(ref.identity) else None
    try:
        stamp = stamp_of(location.stat())
        listed = stamp if original in (None, location) else stamp_of(original.stat())
    except OSError as error:
        raise CoaddError(f"cannot be read as FITS ({_reason(error)})") from error
    if original is not None and listed != ref.identity:
        raise CoaddError("has changed since it was listed: build again, or save a new manifest")
    return stamp


def _parse_headers(reader: FitsReader, location: _FileOrRanges, hdu: str, stamp: str) -> _Headers:
    """Parse the headers of a file with this stamp."""
    with _open(location, is_new=True) as hdus:
        number = int(hdu) if hdu else sky_images(hdus).first
        info, field, layout = reader._describe(hdus, number)
        bits = bit_mask(layout.planes, info.excluded)
        if isinstance(location, RangeReader):
            cells = layout if isinstance(layout, CellCoadd) else None
            return _Headers(info, number, layout.tile, None, None, bits, field, cells)
        with open_regular(location) as file:
            image, mask = layout.decodable(file.fileno(), bits, reader.plane)
        in_parts = isinstance(image, decode.Uncompressed | CellColumn) and not isinstance(
            mask, decode.Tiled
        )
        as_whole = _FEW_TILES * math.prod(layout.tile) > math.prod(layout.shape)
        info = replace(info, in_parts=in_parts, as_whole=as_whole)
        return _Headers(info, number, layout.tile, image, mask, bits, field)


# parses a file once for `info` and `read`
_headers_of_path = lru_cache(maxsize=1000)(_parse_headers)


@contextmanager
def open_fits(uri: str) -> Iterator[Any]:
    """Open a FITS file of any compression; errors inside the `with` block become CoaddErrors."""
    with local_file(uri) as path, _open(path, is_new=True) as hdus:
        yield hdus


@contextmanager
def _open(location: _FileOrRanges, is_new: bool = False) -> Iterator[Any]:
    """Open a file with astropy; is_new: its headers have not been read before."""
    from astropy.io import fits

    try:
        # not scaled: where astropy applies BZERO, unsigned integers lose their BLANK
        options = {"memmap": False, "lazy_load_hdus": True, "do_not_scale_image_data": True}
        with _open_file(location) as file:
            if is_new:
                check_limits(file)
            with fits.open(file, **options) as hdus:
                yield hdus
    except HipsgenError:
        raise
    except MemoryError as error:
        raise lack_of_memory(error) from error
    except (*_DAMAGE, fits.VerifyError) as error:
        raise CoaddError(f"cannot be read as FITS ({_reason(error)})") from error
    except Exception as error:  # of a C module of astropy that does not export its class
        if type(error).__name__ != "CfitsioException":
            raise
        raise CoaddError(f"cannot be decompressed ({_reason(error)})") from error


def _open_file(location: _FileOrRanges) -> RangeFile | BufferedReader:
    return RangeFile(location) if isinstance(location, RangeReader) else open_regular(location)


def _exclude(layout: Layout, section: Section, bits: int, out: Values) -> None:
    """Set the pixels of a section to NaN whose mask has one of `bits` set."""
    if bits:
        flags = layout.flags(section).astype(np.int64)
        out[flags & bits != 0] = np.nan


def _length(along: slice) -> int:
    return int(along.stop - along.start)


def _relative_to(section: Section, part: Section) -> Section:
    """Return the position of a part of a section relative to the section."""
    rows, cols = (
        slice(p.start - s.start, p.stop - s.start) for s, p in zip(section, part, strict=True)
    )
    return rows, cols


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).partition(" If this is really")[0]  # astropy's advice
    return text or type(error).__name__

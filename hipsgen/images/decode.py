"""Decode the common kinds of FITS images, several times faster than astropy.

Supported are float32 images and integer masks, uncompressed or in tiles of RICE_1, GZIP_1 or
GZIP_2. astropy is the reference: the pixels are the same to the last bit. Everything else, and
damaged files, are left to astropy.
"""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import igzip_lib

from hipsgen.errors import CoaddError
from hipsgen.images import decode_kernels as kernels
from hipsgen.images.cells import CellColumn
from hipsgen.images.source import Section
from hipsgen.images.stored_values import is_asinh

Bytes = npt.NDArray[np.uint8]
Int32Array = npt.NDArray[np.int32]
Values = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
# decoded pixels, int32 (n, m) or the bits of float32, valid until the next block; and the window of
# them in the section: row and column in the block, row and column in the section, rows, columns
Block = tuple[Int32Array, tuple[int, int, int, int, int, int]]

_BLOCK_PIXELS = 1 << 18  # pixels of a block, which fit into the cache of a core
_MAX_PIXELS = 1 << 24  # largest number of pixels decoded at once, unless one tile has more
_MAX_UNNEEDED = 1 << 20  # largest number of unneeded bytes to read
_DITHERS = {"NO_DITHER": 0, "SUBTRACTIVE_DITHER_1": 1, "SUBTRACTIVE_DITHER_2": 2}
_NO_BLANK = 1 << 40  # equals no int32
# columns that may hold a tile, and bytes per element that its descriptor counts
_COLUMNS = {"COMPRESSED_DATA": 1, "GZIP_COMPRESSED_DATA": 1, "UNCOMPRESSED_DATA": 4}
# the columns of a table of tiles, and their possible formats
_FORMATS = {
    "COMPRESSED_DATA": ("PB", "QB"),
    "GZIP_COMPRESSED_DATA": ("PB", "QB"),
    "UNCOMPRESSED_DATA": ("PE", "QE"),
    "ZSCALE": ("D",),
    "ZZERO": ("D",),
    "ZBLANK": ("J",),
}
_FORMAT = re.compile(r"1?([PQ]?[BEDJ])(\(\d*\))?")
_DTYPES = {"P": (">i4", (2,)), "Q": (">i8", (2,)), "D": (">f8", ()), "J": (">i4", ())}
# the error of isal for a damaged stream; its type stubs declare the class as an instance
DeflateError: type[Exception] = igzip_lib.error  # type: ignore[assignment]


class UndecodableError(Exception):
    """The bytes contradict the headers."""


@dataclass(frozen=True)
class Uncompressed:
    """An uncompressed image.

    Attributes
    ----------
    shape
        (rows, columns).
    bitpix
        -32, or 8, 16 or 32; pixels of 8 and 16 bits are read as unsigned.
    start
        Offset of the first byte in the file.
    """

    shape: tuple[int, int]
    bitpix: int
    start: int

    @property
    def width(self) -> int:
        """Bytes per pixel."""
        return abs(self.bitpix) // 8

    def blocks(self, handle: int, section: Section) -> Iterator[Block]:
        """Read a section block by block. Raises UndecodableError."""
        rows, cols = section
        width = cols.stop - cols.start
        height = max(1, _BLOCK_PIXELS // width)
        for row in range(rows.start, rows.stop, height):
            pixels = np.empty((min(height, rows.stop - row), width), np.int32)
            place = self.offset(row, cols.start), self.stride, self.width
            if not kernels.read_rows(handle, *place, pixels):
                raise UndecodableError("the file is truncated")
            yield pixels, (0, 0, row - rows.start, 0, *pixels.shape)

    @property
    def stride(self) -> int:
        """Bytes from one row to the next."""
        return self.width * self.shape[1]

    def offset(self, row: int, col: int) -> int:
        """Return the offset of a pixel in the file."""
        return self.start + row * self.stride + col * self.width


@dataclass(frozen=True)
class Tiled:
    """An image in compressed tiles, one per row of a table (FITS 4.0, section 10.1).

    Attributes
    ----------
    shape, bitpix
        As in `Uncompressed`.
    tile
        (rows, columns) of a tile.
    table, heap
        Offsets of the table and of the heap in the file.
    heap_size
        Size of the heap in bytes.
    row
        dtype of a row of the table.
    coding
        RICE_1, GZIP_1 or GZIP_2.
    width
        Bytes per number in a tile.
    rice_block
        Pixels per block of RICE_1.
    dither
        Dithering method, 0 (none), 1 or 2.
    seed
        ZDITHER0.
    blank
        Number that represents NaN, where the table does not give it for each tile.
    """

    shape: tuple[int, int]
    bitpix: int
    tile: tuple[int, int]
    table: int
    heap: int
    heap_size: int
    row: "np.dtype[np.void]"
    coding: str
    width: int
    rice_block: int
    dither: int
    seed: int
    blank: int

    def blocks(self, handle: int, section: Section) -> Iterator[Block]:
        """Read a section block by block. Raises UndecodableError."""
        rows, cols = section
        height, width = self.tile
        across = -(-self.shape[1] // width)
        left, right = cols.start // width, (cols.stop - 1) // width + 1
        end = (rows.stop - 1) // height + 1
        together = min(end, max(1, _BLOCK_PIXELS // (height * width))) if across == 1 else 1
        most = max(together, min(right - left, _MAX_PIXELS // (height * width)))
        scratch = np.empty((2, most, height * width), np.int32)
        for down in range(rows.start // height, end, together):
            below = min(down + together, end)
            top, bottom = down * height, min(below * height, self.shape[0])
            for begin in range(left, right, most):
                last = min(begin + most, right)
                numbers = np.arange(down * across + begin, (below - 1) * across + last)
                tiles = self._tiles(handle, numbers, scratch)
                if across == 1:  # tiles that span the image form one block
                    tiles = tiles.reshape(1, -1)
                for k, pixels in enumerate(tiles, start=begin):
                    size = bottom - top, min((k + 1) * width, self.shape[1]) - k * width
                    block = pixels[: size[0] * size[1]].reshape(size)
                    yield _block_of(block, top, k * width, section)

    def _tiles(self, handle: int, numbers: Int64Array, scratch: Int32Array) -> Int32Array:
        """Decode consecutive tiles (n, pixels of a tile); smaller ones fill the start of a row."""
        size, counts = self.row.itemsize, self._counts(numbers)
        table = _read(handle, self.table + size * int(numbers[0]), size * len(numbers))
        rows = table.view(self.row)
        columns, begins, ends = self._locate(rows)
        start = int(begins.min())
        stream = _read(handle, self.heap + start, int(ends.max()) - start, kernels.PADDING)
        begins, ends = begins - start, ends - start
        pixels: Int32Array = scratch[0, : len(numbers)]
        values: Int32Array = scratch[1, : len(numbers)]
        packed = np.flatnonzero(columns == 0)
        if self.coding == "RICE_1":
            block, width = self.rice_block, self.width
            if not kernels.rice_decompress(
                stream, packed, begins, ends, counts, block, width, pixels
            ):
                raise UndecodableError("a compressed tile is too short or too long")
        else:
            for t in packed:
                data = _gunzip(stream[begins[t] : ends[t]], 4 * int(counts[t]))
                self._unpack(data, self.coding == "GZIP_2", pixels[t, : counts[t]])
        if "ZSCALE" not in _names(rows):
            return pixels
        for t in np.flatnonzero(columns):
            data = stream[begins[t] : ends[t]]
            data = _gunzip(data, 4 * int(counts[t])) if columns[t] == 1 else data
            self._unpack(data, False, values[t, : counts[t]])
        kernels.dequantize(
            pixels,
            packed,
            counts,
            rows["ZSCALE"].astype(np.float64),
            rows["ZZERO"].astype(np.float64),
            self._blanks(rows),
            self.dither,
            numbers + self.seed - 1,
            _randoms(),
            values.view(np.float32),
        )
        return values

    def _counts(self, numbers: Int64Array) -> Int64Array:
        """Return the number of pixels of each tile."""
        down, across = np.divmod(numbers, -(-self.shape[1] // self.tile[1]))
        rows = np.minimum(self.tile[0], self.shape[0] - down * self.tile[0])
        return np.asarray(rows * np.minimum(self.tile[1], self.shape[1] - across * self.tile[1]))

    def _locate(self, rows: npt.NDArray[np.void]) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Return which of `_COLUMNS` holds each tile, and where it begins and ends in the heap."""
        columns, lengths, begins = np.zeros((3, len(rows)), np.int64)
        for column, (name, size) in enumerate(_COLUMNS.items()):
            if name in _names(rows):
                in_column = (lengths == 0) & (rows[name][:, 0] != 0)
                columns[in_column] = column
                lengths[in_column] = size * rows[name][in_column, 0]
                begins[in_column] = rows[name][in_column, 1]
        inside = (lengths > 0) & (begins >= 0) & (lengths <= self.heap_size)
        if not (inside & (begins <= self.heap_size - lengths)).all():
            raise UndecodableError("a compressed tile is outside the heap")
        ends = begins + lengths
        if ends.max() - begins.min() > 2 * lengths.sum() + _MAX_UNNEEDED:
            raise UndecodableError("compressed tiles are not contiguous in the heap")
        return columns, begins, ends

    def _blanks(self, rows: npt.NDArray[np.void]) -> Int64Array:
        if "ZBLANK" in _names(rows):
            return rows["ZBLANK"].astype(np.int64)
        return np.full(len(rows), self.blank)

    def _unpack(self, data: Bytes, shuffled: bool, pixels: Int32Array) -> None:
        if data.size != self.width * pixels.size:
            raise UndecodableError("a compressed tile has the wrong size")
        kernels.unpack(data, shuffled, pixels)


Plane = Uncompressed | Tiled | CellColumn


def image_plane(handle: int, hdu: Any) -> Plane | None:
    """Return how to decode a float32 image HDU, None if astropy must.

    handle: descriptor of the same file, open for reading.
    """
    plane = _plane(handle, hdu)
    return plane if plane is not None and plane.bitpix == -32 else None


def mask_plane(handle: int, hdu: Any, bits: int) -> Plane | None:
    """Return how to decode a mask HDU of which these bits are needed, None if astropy must."""
    plane = _plane(handle, hdu)
    return plane if plane is not None and plane.bitpix > 0 and not bits >> 8 * plane.width else None


def values(
    handle: int,
    plane: Plane,
    section: Section,
    blank: float,
    scale: float,
    out: Values,
    corner: tuple[int, int] = (0, 0),
    huge: float = math.nan,
) -> None:
    """Read the pixels of a section into `out`, multiplied by `scale`.

    Pixels that equal `blank` (NaN for no such value) or are not finite become NaN, others of 3e38
    and more, of either sign, become `huge`. corner: row and column of `out` where the section
    begins. Raises UndecodableError.
    """
    if _is_empty(section):
        return
    special = np.float32(blank), np.float32(scale), np.float32(huge)
    if isinstance(plane, Uncompressed):
        rows, cols = section
        target = (*corner, rows.stop - rows.start, cols.stop - cols.start)
        source = plane.offset(rows.start, cols.start), plane.stride
        if not kernels.read_scaled_rows(handle, *source, target, *special, out):
            raise UndecodableError("the file is truncated")
        return
    for pixels, window in _blocks(handle, plane, section, corner):
        kernels.copy_scaled(pixels.view(np.float32), window, *special, out)


def scale_and_blank(
    pixels: npt.NDArray[Any], blank: float, scale: float, out: Values, huge: float = math.nan
) -> None:
    """Do what `values` does with pixels (n, m), of any type, that astropy has read."""
    with np.errstate(over="ignore", invalid="ignore"):  # values beyond float32 become missing
        raw = np.array(pixels, dtype=np.float32, order="C")  # native byte order, contiguous, a copy
    window = (0, 0, 0, 0, *raw.shape)
    kernels.copy_scaled(raw, window, np.float32(blank), np.float32(scale), np.float32(huge), out)
    if pixels.dtype.itemsize > 4 and not math.isnan(huge):
        out[np.isfinite(pixels) & (np.abs(pixels) >= kernels.HUGE) & (raw != blank)] = huge


def apply_mask(
    handle: int,
    plane: Plane,
    section: Section,
    bits: int,
    out: Values,
    corner: tuple[int, int] = (0, 0),
) -> None:
    """Set the pixels of `out` to NaN whose mask has one of `bits` set; arguments as for `values`.

    Raises UndecodableError.
    """
    if _is_empty(section):
        return
    flags = np.uint32(bits).view(np.int32)
    for pixels, window in _blocks(handle, plane, section, corner):
        kernels.apply_mask(pixels, window, flags, out)


def flags(
    handle: int, plane: Plane, section: Section, out: Int32Array, corner: tuple[int, int] = (0, 0)
) -> None:
    """Read the bits of a section of a mask; arguments as for `values`. Raises UndecodableError."""
    if _is_empty(section):
        return
    for pixels, (top, left, row, col, down, across) in _blocks(handle, plane, section, corner):
        out[row : row + down, col : col + across] = pixels[top : top + down, left : left + across]


def _is_empty(section: Section) -> bool:
    return any(s.start >= s.stop for s in section)


def _blocks(
    handle: int, plane: Plane, section: Section, corner: tuple[int, int]
) -> Iterator[Block]:
    """Read the blocks of a section, with windows for an output in which it begins at `corner`."""
    for pixels, (top, left, row, col, down, across) in plane.blocks(handle, section):
        yield pixels, (top, left, row + corner[0], col + corner[1], down, across)


def _plane(handle: int, hdu: Any) -> Plane | None:
    from astropy.io.fits import Header, VerifyError

    place = hdu.fileinfo()
    text = os.pread(handle, place["datLoc"] - place["hdrLoc"], place["hdrLoc"])
    if not text.startswith((b"SIMPLE", b"XTENSION")):
        return None  # the whole file is compressed
    try:
        header = Header.fromstring(text)
        if header.get("BSCALE", 1) != 1 or header.get("BZERO", 0) != 0 or is_asinh(header):
            return None
        return (_tiled if header.get("ZIMAGE") else _uncompressed)(header, place["datLoc"])
    except (KeyError, ValueError, TypeError, AttributeError, VerifyError):
        return None  # invalid cards


def _uncompressed(header: Any, start: int) -> Uncompressed | None:
    bitpix, shape = header["BITPIX"], (_integer(header, "NAXIS2"), _integer(header, "NAXIS1"))
    supported = bitpix == -32 or (bitpix in (8, 16, 32) and "BLANK" not in header)
    if not supported or header.get("PCOUNT", 0) != 0 or header.get("GCOUNT", 1) != 1:
        return None
    return Uncompressed(shape, bitpix, start)


def _tiled(header: Any, table: int) -> Tiled | None:
    row = _row_of(header)
    names = row.names or ()
    bitpix, shape = header["ZBITPIX"], (_integer(header, "ZNAXIS2"), _integer(header, "ZNAXIS1"))
    tile = min(_integer(header, "ZTILE2"), shape[0]), min(_integer(header, "ZTILE1"), shape[1])
    coding = header["ZCMPTYPE"].replace("RICE_ONE", "RICE_1")
    width, block = abs(bitpix) // 8, _rice_parameter(header, "BLOCKSIZE", 32)
    if coding == "RICE_1":
        width = _rice_parameter(header, "BYTEPIX", 4)
    dither = _DITHERS.get(header.get("ZQUANTIZ", "NO_DITHER"), -1)
    seed = _integer(header, "ZDITHER0", 0)
    blank = _integer(header, "ZBLANK" if "ZBLANK" in header else "BLANK", _NO_BLANK)
    if {"ZSCALE", "ZZERO"} <= set(names):
        supported = bitpix == -32 and width == 4
        supported = supported and (dither == 0 or (dither > 0 and 1 <= seed <= 10000))
    else:  # cfitsio writes a ZBLANK, unused, even where every bit of a float is kept
        supported = coding != "RICE_1" if bitpix == -32 else blank == _NO_BLANK
        supported = supported and bitpix in (-32, 8, 16, 32) and names == ("COMPRESSED_DATA",)
    size = row.itemsize * _integer(header, "NAXIS2")
    heap = _integer(header, "THEAP", size)
    if (
        not supported
        or coding not in ("RICE_1", "GZIP_1", "GZIP_2")
        or width not in (1, 2, 4)
        or min(*shape, *tile, block) < 1
        or size < row.itemsize * -(-shape[0] // tile[0]) * -(-shape[1] // tile[1])
    ):
        return None
    return Tiled(
        shape=shape,
        bitpix=bitpix,
        tile=tile,
        table=table,
        heap=table + heap,
        heap_size=_integer(header, "PCOUNT") + size - heap,
        row=row,
        coding=coding,
        width=width,
        rice_block=block,
        dither=dither,
        seed=seed,
        blank=blank,
    )


def _integer(header: Any, name: str, default: int | None = None) -> int:
    """Return an integer of a header. Raises KeyError or ValueError for an implausible one."""
    value = header[name] if default is None else header.get(name, default)
    if not isinstance(value, int) or abs(value) >= 1 << 50:
        raise ValueError(f"{name} = {value}")
    return value


def _row_of(header: Any) -> "np.dtype[np.void]":
    """Return the dtype of a row of the table of tiles. Raises KeyError or ValueError."""
    fields: list[tuple[Any, ...]] = []
    for k in range(1, _integer(header, "TFIELDS") + 1):
        name, form = header[f"TTYPE{k}"], _FORMAT.fullmatch(header[f"TFORM{k}"].strip())
        if form is None or form[1] not in _FORMATS[name]:
            raise ValueError(f"column {name} has an unsupported format")
        fields.append((name, *_DTYPES[form[1][0]]))
    row = np.dtype(fields)
    if row.itemsize != header["NAXIS1"]:
        raise ValueError("NAXIS1 is not the length of the columns")
    return row


def _rice_parameter(header: Any, name: str, default: int) -> int:
    """Return a parameter of RICE_1."""
    k = 1
    while f"ZNAME{k}" in header:
        if header[f"ZNAME{k}"].upper() == name:
            return _integer(header, f"ZVAL{k}")
        k += 1
    return default


def _block_of(pixels: Int32Array, top: int, left: int, section: Section) -> Block:
    """Return the block, and the window of it that lies in the section.

    pixels: decoded, of which the first is (top, left) of the image.
    """
    rows, cols = section
    first, last = max(top, rows.start), min(top + pixels.shape[0], rows.stop)
    begin, end = max(left, cols.start), min(left + pixels.shape[1], cols.stop)
    in_block, in_section = (first - top, begin - left), (first - rows.start, begin - cols.start)
    return pixels, (*in_block, *in_section, last - first, end - begin)


def _read(handle: int, start: int, length: int, padding: int = 0) -> Bytes:
    # not read to find out: that would take the memory first
    if start + length > os.fstat(handle).st_size:
        raise UndecodableError("the file is truncated")
    data = os.pread(handle, length, start)
    if len(data) != length:
        raise UndecodableError("the file is truncated")
    return np.frombuffer(data + bytes(padding), np.uint8)


def _gunzip(data: Bytes, size: int) -> Bytes:
    """Unpack a tile of at most `size` bytes. Raises UndecodableError, or CoaddError for more."""
    stream = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    try:
        raw = stream.decompress(data, max_length=size + 1)
    except DeflateError as error:
        raise UndecodableError(str(error)) from error
    if len(raw) > size:  # astropy would unpack them all
        raise CoaddError("is damaged: a compressed tile has more bytes than its pixels")
    if not stream.eof:
        raise UndecodableError("a compressed tile is truncated")
    return np.frombuffer(raw, np.uint8)


def _names(rows: npt.NDArray[np.void]) -> tuple[str, ...]:
    return rows.dtype.names or ()


@cache
def _randoms() -> npt.NDArray[np.float32]:
    """Return the 10,000 random numbers of the dithering (FITS 4.0, appendix I)."""
    numbers, seed = [], 1
    for _ in range(10_000):
        seed = 16807 * seed % 2147483647
        numbers.append(seed / 2147483647)
    return np.array(numbers, np.float32)

"""Pixels of the common kinds of FITS image, decoded here: several times as fast as by astropy.

Those are float32 images and integer masks, as they are or in tiles of RICE_1, GZIP_1 or GZIP_2.
astropy is the oracle: what comes out here is what it gives, to the last bit. What is of another
kind, or damaged, is left to it.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import igzip_lib

from hipsgen.images import decode_kernels as kernels
from hipsgen.images.cells import Cells
from hipsgen.images.source import Section

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.int32]
Values = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
# decoded pixels, int32 (n, m), valid until the next block; the bits of float32 in images of those.
# Then what of them lies in the section: from row and column, to row and column, rows, columns
Block = tuple[Words, tuple[int, int, int, int, int, int]]

_AT_ONCE = 1 << 18  # pixels: so many stay in the cache of a core
_GAPS = 1 << 20  # bytes that may be read in vain
_DITHERS = {"NO_DITHER": 0, "SUBTRACTIVE_DITHER_1": 1, "SUBTRACTIVE_DITHER_2": 2}
_NO_BLANK = 1 << 40  # equals no int32
# where a tile may stand, and the bytes of what its descriptor counts there
_COLUMNS = {"COMPRESSED_DATA": 1, "GZIP_COMPRESSED_DATA": 1, "UNCOMPRESSED_DATA": 4}
# the columns of a table of tiles, and what they may be of
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
# what isal raises for a damaged stream; its type stubs take the class for an instance
DeflateError: type[Exception] = igzip_lib.error  # type: ignore[assignment]


class UndecodableError(Exception):
    """The bytes are not what the headers promise."""


@dataclass(frozen=True)
class Plain:
    """An uncompressed image of `shape` (rows, columns); its first byte is at `start` of the file.

    bitpix: -32, or 8, 16 or 32, which come out without a sign if they are not of 32 bits.
    """

    shape: tuple[int, int]
    bitpix: int
    start: int

    @property
    def width(self) -> int:
        """Bytes of a pixel."""
        return abs(self.bitpix) // 8

    def blocks(self, handle: int, section: Section) -> Iterator[Block]:
        """The section, piece by piece. Raises UndecodableError."""
        rows, cols = section
        width = cols.stop - cols.start
        height = max(1, _AT_ONCE // width)
        for row in range(rows.start, rows.stop, height):
            words = np.empty((min(height, rows.stop - row), width), np.int32)
            place = self.place(row, cols.start), self.stride, self.width
            if not kernels.read_lines(handle, *place, words):
                raise UndecodableError("the file ends too early")
            yield words, (0, 0, row - rows.start, 0, *words.shape)

    @property
    def stride(self) -> int:
        """Bytes from one row to the next."""
        return self.width * self.shape[1]

    def place(self, row: int, col: int) -> int:
        """Where a pixel begins in the file."""
        return self.start + row * self.stride + col * self.width


@dataclass(frozen=True)
class Tiled:
    """An image of `shape` in compressed tiles, one per row of a table (FITS 4.0, section 10.1).

    tile: (rows, columns). table, heap: where those begin in the file; heap_size: bytes; row: dtype
    of a row of the table. coding: RICE_1, GZIP_1 or GZIP_2; width: bytes of a number in a tile;
    rice_block: pixels. dither: method 0, 1 or 2; seed: its ZDITHER0; blank: the number that stands
    for NaN, where the table does not say it for each tile. bitpix: as for Plain.
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
        """The section, piece by piece. Raises UndecodableError."""
        rows, cols = section
        height, width = self.tile
        across = -(-self.shape[1] // width)
        left, right = cols.start // width, (cols.stop - 1) // width + 1
        end = (rows.stop - 1) // height + 1
        together = min(end, max(1, _AT_ONCE // (height * width))) if across == 1 else 1
        scratch = np.empty((2, max(together, right - left), height * width), np.int32)
        for down in range(rows.start // height, end, together):
            below = min(down + together, end)
            numbers = np.arange(down * across + left, (below - 1) * across + right)
            tiles = self._tiles(handle, numbers, scratch)
            if across == 1:  # one below the other they are one block
                tiles = tiles.reshape(1, -1)
            top, bottom = down * height, min(below * height, self.shape[0])
            for k, words in enumerate(tiles, start=left):
                size = bottom - top, min((k + 1) * width, self.shape[1]) - k * width
                yield _cut(words[: size[0] * size[1]].reshape(size), top, k * width, section)

    def _tiles(self, handle: int, numbers: Places, scratch: Words) -> Words:
        """Consecutive tiles (n, pixels of a tile); a smaller one at an edge is the row's start."""
        size, counts = self.row.itemsize, self._counts(numbers)
        table = _read(handle, self.table + size * int(numbers[0]), size * len(numbers))
        rows = table.view(self.row)
        kinds, begins, ends = self._places(rows)
        start = int(begins.min())
        stream = _read(handle, self.heap + start, int(ends.max()) - start, kernels.PADDING)
        begins, ends = begins - start, ends - start
        words: Words = scratch[0, : len(numbers)]
        values: Words = scratch[1, : len(numbers)]
        packed = np.flatnonzero(kinds == 0)
        if self.coding == "RICE_1":
            block, width = self.rice_block, self.width
            if not kernels.rice_decompress(
                stream, packed, begins, ends, counts, block, width, words
            ):
                raise UndecodableError("a tile is too short or too long")
        else:
            for t in packed:
                data = _inflated(stream[begins[t] : ends[t]], 4 * counts[t])
                self._unpack(data, self.coding == "GZIP_2", words[t, : counts[t]])
        if "ZSCALE" not in _names(rows):
            return words
        for t in np.flatnonzero(kinds):
            data = stream[begins[t] : ends[t]]
            data = _inflated(data, 4 * counts[t]) if kinds[t] == 1 else data
            self._unpack(data, False, values[t, : counts[t]])
        kernels.dequantize(
            words,
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

    def _counts(self, numbers: Places) -> Places:
        """Pixels of tiles."""
        down, across = np.divmod(numbers, -(-self.shape[1] // self.tile[1]))
        rows = np.minimum(self.tile[0], self.shape[0] - down * self.tile[0])
        return np.asarray(rows * np.minimum(self.tile[1], self.shape[1] - across * self.tile[1]))

    def _places(self, rows: npt.NDArray[np.void]) -> tuple[Places, Places, Places]:
        """In which of `_COLUMNS` each tile stands, and from where to where in the heap."""
        kinds, lengths, begins = np.zeros((3, len(rows)), np.int64)
        for kind, (name, size) in enumerate(_COLUMNS.items()):
            if name in _names(rows):
                here = (lengths == 0) & (rows[name][:, 0] != 0)
                kinds[here] = kind
                lengths[here] = size * rows[name][here, 0]
                begins[here] = rows[name][here, 1]
        inside = (lengths > 0) & (begins >= 0) & (lengths <= self.heap_size)
        if not (inside & (begins <= self.heap_size - lengths)).all():
            raise UndecodableError("a tile is not in the heap")
        ends = begins + lengths
        if ends.max() - begins.min() > 2 * lengths.sum() + _GAPS:
            raise UndecodableError("tiles are strewn over the heap")
        return kinds, begins, ends

    def _blanks(self, rows: npt.NDArray[np.void]) -> Places:
        if "ZBLANK" in _names(rows):
            return rows["ZBLANK"].astype(np.int64)
        return np.full(len(rows), self.blank)

    def _unpack(self, data: Bytes, shuffled: bool, words: Words) -> None:
        if data.size != self.width * words.size:
            raise UndecodableError("a tile has another size")
        kernels.unpack(data, shuffled, words)


Plane = Plain | Tiled | Cells


def image_plane(handle: int, hdu: Any) -> Plane | None:
    """How to decode a float32 image HDU of a file, None if astropy has to.

    handle: the same file, open for reading.
    """
    plane = _plane(handle, hdu)
    return plane if plane is not None and plane.bitpix == -32 else None


def mask_plane(handle: int, hdu: Any, bits: int) -> Plane | None:
    """The same of a mask HDU, of which these bits are wanted."""
    plane = _plane(handle, hdu)
    return plane if plane is not None and plane.bitpix > 0 and not bits >> 8 * plane.width else None


def values(
    handle: int,
    plane: Plane,
    section: Section,
    blank: float,
    scale: float,
    out: Values,
    at: tuple[int, int] = (0, 0),
) -> None:
    """Pixels of a section times `scale`, NaN where they are `blank` or not finite.

    They are put into `out` from row and column `at` on. blank: NaN for none. Raises
    UndecodableError.
    """
    if _is_empty(section):
        return
    special = np.float32(blank), np.float32(scale)
    if isinstance(plane, Plain):
        rows, cols = section
        there = (*at, rows.stop - rows.start, cols.stop - cols.start)
        place = plane.place(rows.start, cols.start), plane.stride
        if not kernels.place_lines(handle, *place, there, *special, out):
            raise UndecodableError("the file ends too early")
        return
    for words, window in _blocks(handle, plane, section, at):
        kernels.place(words.view(np.float32), window, *special, out)


def scale_and_blank(pixels: npt.NDArray[Any], blank: float, scale: float, out: Values) -> None:
    """The same of the pixels (n, m), of any type, that astropy has read."""
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is missing
        raw = np.array(pixels, dtype=np.float32, order="C")  # native, ours, contiguous
    window = (0, 0, 0, 0, *raw.shape)
    kernels.place(raw, window, np.float32(blank), np.float32(scale), out)


def apply_mask(
    handle: int,
    plane: Plane,
    section: Section,
    bits: int,
    out: Values,
    at: tuple[int, int] = (0, 0),
) -> None:
    """NaN into `out`, as `values` left it, where a mask has one of `bits` set.

    Raises UndecodableError.
    """
    if _is_empty(section):
        return
    flags = np.uint32(bits).view(np.int32)
    for words, window in _blocks(handle, plane, section, at):
        kernels.apply_mask(words, window, flags, out)


def flags(
    handle: int, plane: Plane, section: Section, out: Words, at: tuple[int, int] = (0, 0)
) -> None:
    """The bits of a mask's section; as `values`. Raises UndecodableError."""
    if _is_empty(section):
        return
    for words, (top, left, row, col, down, across) in _blocks(handle, plane, section, at):
        out[row : row + down, col : col + across] = words[top : top + down, left : left + across]


def _is_empty(section: Section) -> bool:
    return any(s.start >= s.stop for s in section)


def _blocks(handle: int, plane: Plane, section: Section, at: tuple[int, int]) -> Iterator[Block]:
    """The blocks of a section, with windows for an output in which it begins at `at`."""
    for words, (top, left, row, col, down, across) in plane.blocks(handle, section):
        yield words, (top, left, row + at[0], col + at[1], down, across)


def _plane(handle: int, hdu: Any) -> Plane | None:
    from astropy.io.fits import Header, VerifyError

    place = hdu.fileinfo()
    text = os.pread(handle, place["datLoc"] - place["hdrLoc"], place["hdrLoc"])
    if not text.startswith((b"SIMPLE", b"XTENSION")):
        return None  # the file as a whole is compressed
    try:
        header = Header.fromstring(text)
        if header.get("BSCALE", 1) != 1 or header.get("BZERO", 0) != 0:
            return None
        return (_tiled if header.get("ZIMAGE") else _plain)(header, place["datLoc"])
    except (KeyError, ValueError, TypeError, AttributeError, VerifyError):
        return None  # of cards that are not what they must be


def _plain(header: Any, start: int) -> Plain | None:
    bitpix, shape = header["BITPIX"], (_integer(header, "NAXIS2"), _integer(header, "NAXIS1"))
    known = bitpix == -32 or (bitpix in (8, 16, 32) and "BLANK" not in header)
    if not known or header.get("PCOUNT", 0) != 0 or header.get("GCOUNT", 1) != 1:
        return None
    return Plain(shape, bitpix, start)


def _tiled(header: Any, table: int) -> Tiled | None:
    row = _row_of(header)
    names = row.names or ()
    bitpix, shape = header["ZBITPIX"], (_integer(header, "ZNAXIS2"), _integer(header, "ZNAXIS1"))
    tile = min(_integer(header, "ZTILE2"), shape[0]), min(_integer(header, "ZTILE1"), shape[1])
    coding = header["ZCMPTYPE"].replace("RICE_ONE", "RICE_1")
    width, block = abs(bitpix) // 8, _rice(header, "BLOCKSIZE", 32)
    if coding == "RICE_1":
        width = _rice(header, "BYTEPIX", 4)
    dither = _DITHERS.get(header.get("ZQUANTIZ", "NO_DITHER"), -1)
    seed = _integer(header, "ZDITHER0", 0)
    blank = _integer(header, "ZBLANK" if "ZBLANK" in header else "BLANK", _NO_BLANK)
    if {"ZSCALE", "ZZERO"} <= set(names):
        known = bitpix == -32 and width == 4
        known = known and (dither == 0 or (dither > 0 and 1 <= seed <= 10000))
    else:  # cfitsio writes a ZBLANK even where every bit of a float is kept, and it has no use
        known = coding != "RICE_1" if bitpix == -32 else blank == _NO_BLANK
        known = known and bitpix in (-32, 8, 16, 32) and names == ("COMPRESSED_DATA",)
    size = row.itemsize * _integer(header, "NAXIS2")
    heap = _integer(header, "THEAP", size)
    if (
        not known
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
    """Raises KeyError or ValueError where there is none that can be right."""
    value = header[name] if default is None else header.get(name, default)
    if not isinstance(value, int) or abs(value) >= 1 << 50:
        raise ValueError(f"{name} = {value}")
    return value


def _row_of(header: Any) -> "np.dtype[np.void]":
    """The dtype of a row of the table of tiles. Raises KeyError or ValueError for other tables."""
    fields: list[tuple[Any, ...]] = []
    for k in range(1, _integer(header, "TFIELDS") + 1):
        name, form = header[f"TTYPE{k}"], _FORMAT.fullmatch(header[f"TFORM{k}"].strip())
        if form is None or form[1] not in _FORMATS[name]:
            raise ValueError(f"column {name} of another format")
        fields.append((name, *_DTYPES[form[1][0]]))
    row = np.dtype(fields)
    if row.itemsize != header["NAXIS1"]:
        raise ValueError("rows of another length")
    return row


def _rice(header: Any, name: str, default: int) -> int:
    """A setting of RICE_1."""
    k = 1
    while f"ZNAME{k}" in header:
        if header[f"ZNAME{k}"].upper() == name:
            return _integer(header, f"ZVAL{k}")
        k += 1
    return default


def _cut(words: Words, top: int, left: int, section: Section) -> Block:
    """What lies in the section of decoded pixels of which the first is (top, left) of the image."""
    rows, cols = section
    first, last = max(top, rows.start), min(top + words.shape[0], rows.stop)
    begin, end = max(left, cols.start), min(left + words.shape[1], cols.stop)
    of_words, of_section = (first - top, begin - left), (first - rows.start, begin - cols.start)
    return words, (*of_words, *of_section, last - first, end - begin)


def _read(handle: int, start: int, length: int, padding: int = 0) -> Bytes:
    data = os.pread(handle, length, start)
    if len(data) != length:
        raise UndecodableError("the file ends too early")
    return np.frombuffer(data + bytes(padding), np.uint8)


def _inflated(data: Bytes, size: int) -> Bytes:
    try:
        raw = igzip_lib.decompress(data, igzip_lib.DECOMP_GZIP, 15, size + 1)
    except DeflateError as error:
        raise UndecodableError(str(error)) from error
    return np.frombuffer(raw, np.uint8)


def _names(rows: npt.NDArray[np.void]) -> tuple[str, ...]:
    return rows.dtype.names or ()


@cache
def _randoms() -> npt.NDArray[np.float32]:
    """The 10,000 numbers that dithering takes (FITS 4.0, appendix I)."""
    numbers, seed = [], 1
    for _ in range(10_000):
        seed = 16807 * seed % 2147483647
        numbers.append(seed / 2147483647)
    return np.array(numbers, np.float32)

"""Coadds in cells, stitched as they are read: the MultipleCellCoadd of lsst.cell_coadds.

A row of its table is a cell: an image and a mask that reach beyond the cell's own pixels by a
border, in which its neighbors count. At the edge of the patch, where there is none, so does the
border (lsst.cell_coadds, `StitchedCoadd`). Of a cell that is not in the table nothing is known.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError
from hipsgen.images import decode_kernels as kernels
from hipsgen.images.calibration import Calibration
from hipsgen.images.source import Section

_NAN = int(np.float32(np.nan).view(np.int32))
# of the columns; the mask was of 16 bits before 2025-12, which its format does not tell
_KINDS = {"cell_id": ("i2", "i4", "i8"), "image": ("f4",), "mask": ("i4", "i2", "u1")}
_COLUMNS = _KINDS.keys()
_NO_UNIT = ("", "legacy")  # of an arbitrary zero point
# cell number and its rows (or columns) in the stitched image
_Span = tuple[int, int, int]
Words = npt.NDArray[np.int32]


@dataclass(frozen=True)
class CellGrid:
    """Cells of `inner` (rows, columns) pixels, `count` (down, across) of them, and a border.

    rows: of the table, by the cell's place (down, across).
    """

    inner: tuple[int, int]
    count: tuple[int, int]
    border: int
    rows: Mapping[tuple[int, int], int]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the stitched image."""
        (high, wide), (down, across) = self.inner, self.count
        return high * down + 2 * self.border, wide * across + 2 * self.border

    def spans(self, axis: int, wanted: slice) -> Iterator[_Span]:
        """The cells along an axis, and what of each is wanted, by its place in the whole."""
        size, count, total = self.inner[axis], self.count[axis], self.shape[axis]
        for number in range(count):
            start = 0 if number == 0 else self.border + number * size
            stop = total if number == count - 1 else self.border + (number + 1) * size
            start, stop = max(start, wanted.start), min(stop, wanted.stop)
            if start < stop:
                yield number, start, stop


@dataclass(frozen=True)
class Cells:
    """A column of images of cells.

    start: where the first one begins in the file; stride: bytes from row to row of the table.
    bitpix: -32, or 8, 16 or 32, as of `decode.Plain`. A cell that is missing holds `missing`, the
    bits of a pixel.
    """

    grid: CellGrid
    start: int
    stride: int
    bitpix: int
    missing: int

    @property
    def width(self) -> int:
        """Bytes of a pixel."""
        return abs(self.bitpix) // 8

    def blocks(
        self, handle: int, section: Section
    ) -> Iterator[tuple[Words, tuple[int, int, int, int, int, int]]]:
        """A section, cell by cell; see `decode.Block`. Raises CoaddError."""
        rows, cols = section
        line = self.width * self._outer[1]
        for cell, top, bottom, left, right in self._pieces(section):
            words = np.full((bottom - top, right - left), self.missing, np.int32)
            start = self._place(cell, top, left)
            if start is not None and not kernels.read_lines(handle, start, line, self.width, words):
                raise CoaddError("the file is truncated: it ends within its cells")
            yield words, (0, 0, top - rows.start, left - cols.start, *words.shape)

    def read(self, file: Any, section: Section) -> npt.NDArray[Any]:
        """The same of a file that is read with `seek` and `read`, as one array."""
        rows, cols = section
        pixels = np.empty((rows.stop - rows.start, cols.stop - cols.start), np.int32)
        across = self._outer[1]
        for cell, top, bottom, left, right in self._pieces(section):
            words = np.full((bottom - top, right - left), self.missing, np.int32)
            start = self._place(cell, top, left)
            if start is not None:
                file.seek(start)
                count = (bottom - top - 1) * across + right - left
                text = file.read(self.width * count)
                if len(text) < self.width * count:
                    raise CoaddError("the file is truncated: it ends within its cells")
                flat = np.zeros((bottom - top) * across, np.int32)
                flat[:count] = np.frombuffer(text, f">i{self.width}")
                words = flat.reshape(-1, across)[:, : right - left]
            pixels[
                top - rows.start : bottom - rows.start, left - cols.start : right - cols.start
            ] = words
        return pixels.view(np.float32) if self.bitpix < 0 else pixels

    @property
    def _outer(self) -> tuple[int, int]:
        high, wide = self.grid.inner
        return high + 2 * self.grid.border, wide + 2 * self.grid.border

    def _pieces(self, section: Section) -> Iterator[tuple[tuple[int, int], int, int, int, int]]:
        """(down, across) of each cell; from and to row and column of the stitched image."""
        for down, top, bottom in self.grid.spans(0, section[0]):
            for across, left, right in self.grid.spans(1, section[1]):
                yield (down, across), top, bottom, left, right

    def _place(self, cell: tuple[int, int], row: int, col: int) -> int | None:
        """Where a pixel of the stitched image stands in the file, None in a cell not there."""
        number = self.grid.rows.get(cell)
        if number is None:
            return None
        high, wide = self.grid.inner
        within = (row - cell[0] * high) * self._outer[1] + col - cell[1] * wide
        return self.start + number * self.stride + self.width * within


class CellCoadd:
    """The table of cells in an HDU of an open file; see `layout.Layout`.

    Raises CoaddError for a table that is not what its header promises.
    """

    def __init__(self, hdus: Any, number: int) -> None:
        table = hdus[number]
        place = table.fileinfo()
        try:
            grid, starts = _grid_of(table, place)
            least = int(table.header["GRMIN2"]), int(table.header["GRMIN1"])
        except (KeyError, ValueError, TypeError) as error:
            raise CoaddError(f"its table of cells lacks something ({error})") from error
        stride = int(table.header["NAXIS1"])
        self._file = place["file"]
        self._image = Cells(grid, starts["image"], stride, -32, _NAN)
        bitpix = 8 * table.columns.dtype.fields["mask"][0].base.itemsize
        self.planes = _planes(hdus)
        nothing = self.planes.get("NO_DATA", bitpix)
        missing = 1 << nothing if nothing < min(bitpix, 31) else 0
        self._mask = Cells(grid, starts["mask"], stride, bitpix, missing)
        self._variance = None
        if "variance" in starts:
            self._variance = Cells(grid, starts["variance"], stride, -32, _NAN)
        unit = table.columns["image"].unit or table.header.get("TUNIT1")  # formats before 0.4
        self._unit = str(unit or "").strip()
        self.shape = grid.shape
        self.header = _stitched(hdus[0].header, grid, least)

    def reopened(self, hdus: Any, number: int) -> "CellCoadd":
        """The same, known already, of a file that was opened again."""
        again = copy(self)
        again._file = hdus[number].fileinfo()["file"]
        return again

    def calibration(self) -> Calibration:
        """See `Layout.calibration`."""
        if self._unit in _NO_UNIT:
            return Calibration("")
        return Calibration(self._unit, 1.0, self._unit, "TUNIT")

    def check_flags(self, bits: int) -> None:
        """See `Layout.check_flags`; old masks have fewer bits than there were planes."""
        if bits >> 8 * self._mask.width:
            raise CoaddError(f"a plane of its mask is beyond the {8 * self._mask.width} bits of it")

    def check_variance(self) -> None:
        """See `Layout.check_variance`."""
        if self._variance is None:
            raise CoaddError("it has no variance plane")

    def decodable(
        self, handle: int, bits: int, plane: str = "image"
    ) -> tuple[Cells | None, Cells | None]:
        """See `Layout.decodable`."""
        if plane == "mask":
            return self._mask, None
        return self._image if plane == "image" else self._variance, self._mask if bits else None

    def pixels(self, section: Section) -> npt.NDArray[Any]:
        """See `Layout.pixels`."""
        return self._image.read(self._file, section)

    def flags(self, section: Section) -> npt.NDArray[Any]:
        """See `Layout.flags`."""
        return self._mask.read(self._file, section)

    def variance(self, section: Section) -> npt.NDArray[Any] | None:
        """See `Layout.variance`."""
        return None if self._variance is None else self._variance.read(self._file, section)


def is_cell_table(hdu: Any) -> bool:
    """Whether an HDU is the table of the cells of a coadd."""
    header = hdu.header
    names = {header.get(f"TTYPE{k}") for k in range(1, header.get("TFIELDS", 0) + 1)}
    return "GRCELL1" in header and names >= _COLUMNS


def _grid_of(table: Any, place: Any) -> tuple[CellGrid, dict[str, int]]:
    """The cells, and where in the file each column begins."""
    header = table.header
    inner, outer, count = (
        (int(header[f"{name}2"]), int(header[f"{name}1"]))
        for name in ("GRCELL", "OCELL", "GRSHAPE")
    )
    border, odd = divmod(outer[0] - inner[0], 2)
    if odd or border < 0 or outer[1] - inner[1] != 2 * border or min(*inner, *count) < 1:
        raise CoaddError(f"its cells of {outer} pixels do not surround those of {inner} evenly")
    columns = table.columns.dtype.fields
    for name, kinds in _KINDS.items():
        base, shape = columns[name][0].base, columns[name][0].shape
        if base.str[1:] not in kinds or shape != ((2,) if name == "cell_id" else outer):
            raise CoaddError(f"its column {name} is of {columns[name][0]}, not cells of {outer}")
        number = table.columns.names.index(name) + 1
        if header.get(f"TSCAL{number}", 1) != 1 or header.get(f"TZERO{number}", 0) != 0:
            raise CoaddError(f"its column {name} is scaled, which cells are not")
    starts = {name: place["datLoc"] + columns[name][1] for name in _COLUMNS}
    variance = columns.get("variance")
    if variance is not None and variance[0].base.str[1:] == "f4" and variance[0].shape == outer:
        starts["variance"] = place["datLoc"] + variance[1]
    stride, rows = int(header["NAXIS1"]), int(header["NAXIS2"])
    ids = _Ids(place["file"], starts["cell_id"], stride, rows, columns["cell_id"][0].base)
    return CellGrid(inner, count, border, ids.rows(count)), starts


@dataclass(frozen=True)
class _Ids:
    """The column `cell_id`: x and y of each cell."""

    file: Any
    start: int
    stride: int
    count: int
    kind: "np.dtype[Any]"

    def rows(self, grid: tuple[int, int]) -> dict[tuple[int, int], int]:
        """The row of each cell, by its place (down, across).

        Of a file that is read in blocks, each would cost one: where the table has all cells, a few
        rows tell in what order.
        """
        down, across = grid
        if self.file.file_like and self.count == down * across:
            orders = (
                [(y, x) for y in range(down) for x in range(across)],
                [(y, x) for x in range(across) for y in range(down)],
            )
            probes = {0, min(1, self.count - 1), self.count // 2, self.count - 1}
            found = {row: self._at(row) for row in probes}
            for order in orders:
                if all(order[row] == place for row, place in found.items()):
                    return {place: row for row, place in enumerate(order)}
        return {self._at(row): row for row in range(self.count)}

    def _at(self, row: int) -> tuple[int, int]:
        self.file.seek(self.start + row * self.stride)
        text = self.file.read(2 * self.kind.itemsize)
        x, y = np.frombuffer(text, self.kind.newbyteorder(">"), 2).tolist()
        return y, x


def _stitched(tract: Any, grid: CellGrid, least: tuple[int, int]) -> Any:
    """A header with the WCS of the tract, moved to the stitched image.

    least: row and column, in the tract, of the first pixel that is the first cell's own.
    """
    header = tract.copy()
    header["NAXIS"] = 2
    for axis, size, start in zip((2, 1), grid.shape, least, strict=True):
        header.set(f"NAXIS{axis}", size, after="NAXIS")
        header[f"CRPIX{axis}"] = tract.get(f"CRPIX{axis}", 0.0) - start + grid.border
        header[f"LTV{axis}"] = grid.border - start  # as lsst.afw tells where a patch lies
    return header


def _planes(hdus: Any) -> dict[str, int]:
    """Bits by name; none from files before their format 0.6, which do not say."""
    for hdu in hdus:
        if hdu.name == "MASKDEF":
            return {str(name).strip(): int(bit) for name, bit in hdu.data}
    return {}

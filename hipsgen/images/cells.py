"""Read coadds that consist of cells, stitched on the fly: MultipleCellCoadd of lsst.cell_coadds.

Each row of the table is a cell: an image and a mask that extend beyond the cell's own pixels by a
border, where its neighbors are used instead. At the edge of the patch, where there is no neighbor,
the border is used (lsst.cell_coadds, `StitchedCoadd`). Pixels of a cell that is not in the table
are missing.
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
# dtypes of the columns; the mask had 16 bits before 2025-12, with the same format version
_KINDS = {"cell_id": ("i2", "i4", "i8"), "image": ("f4",), "mask": ("i4", "i2", "u1")}
_COLUMNS = _KINDS.keys()
_NO_UNIT = ("", "legacy")  # an arbitrary zero point
# index of a cell, and first and last + 1 row (or column) in the stitched image
_Span = tuple[int, int, int]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class CellGrid:
    """The cells of a coadd and their rows in the table.

    Attributes
    ----------
    inner
        (rows, columns) of a cell's own pixels.
    count
        Number of cells (down, across).
    border
        Pixels by which a cell extends beyond its own, on each side.
    rows
        Row of the table by the cell's position (down, across).
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
        """Iterate over the cells along an axis that overlap a slice of the stitched image."""
        size, count, total = self.inner[axis], self.count[axis], self.shape[axis]
        first, last = (max(0, at - self.border) // size for at in (wanted.start, wanted.stop))
        for number in range(min(first, count - 1), min(last + 1, count)):
            start = 0 if number == 0 else self.border + number * size
            stop = total if number == count - 1 else self.border + (number + 1) * size
            start, stop = max(start, wanted.start), min(stop, wanted.stop)
            if start < stop:
                yield number, start, stop


@dataclass(frozen=True)
class CellColumn:
    """A table column with the images of the cells.

    Attributes
    ----------
    start
        Offset of the first image in the file, in bytes.
    stride
        Bytes from one row of the table to the next.
    bitpix
        -32, or 8, 16 or 32; see `decode.Uncompressed`.
    missing
        Bits of the pixels of a missing cell.
    """

    grid: CellGrid
    start: int
    stride: int
    bitpix: int
    missing: int

    @property
    def width(self) -> int:
        """Bytes per pixel."""
        return abs(self.bitpix) // 8

    def blocks(
        self, handle: int, section: Section
    ) -> Iterator[tuple[Int32Array, tuple[int, int, int, int, int, int]]]:
        """Read a section cell by cell; see `decode.Block`. Raises CoaddError."""
        rows, cols = section
        line = self.width * self._outer[1]
        for cell, top, bottom, left, right in self._overlapping(section):
            pixels = np.full((bottom - top, right - left), self.missing, np.int32)
            start = self._offset(cell, top, left)
            if start is not None and not kernels.read_rows(handle, start, line, self.width, pixels):
                raise CoaddError("the file is truncated: it ends within its table of cells")
            yield pixels, (0, 0, top - rows.start, left - cols.start, *pixels.shape)

    def read(self, file: Any, section: Section) -> npt.NDArray[Any]:
        """Read a section from a file with `seek` and `read`, as one array."""
        rows, cols = section
        pixels = np.empty((rows.stop - rows.start, cols.stop - cols.start), np.int32)
        across = self._outer[1]
        for cell, top, bottom, left, right in self._overlapping(section):
            part = np.full((bottom - top, right - left), self.missing, np.int32)
            start = self._offset(cell, top, left)
            if start is not None:
                file.seek(start)
                count = (bottom - top - 1) * across + right - left
                data = file.read(self.width * count)
                if len(data) < self.width * count:
                    raise CoaddError("the file is truncated: it ends within its table of cells")
                flat = np.zeros((bottom - top) * across, np.int32)
                flat[:count] = np.frombuffer(data, f">i{self.width}")
                part = flat.reshape(-1, across)[:, : right - left]
            pixels[
                top - rows.start : bottom - rows.start, left - cols.start : right - cols.start
            ] = part
        return pixels.view(np.float32) if self.bitpix < 0 else pixels

    @property
    def _outer(self) -> tuple[int, int]:
        high, wide = self.grid.inner
        return high + 2 * self.grid.border, wide + 2 * self.grid.border

    def _overlapping(
        self, section: Section
    ) -> Iterator[tuple[tuple[int, int], int, int, int, int]]:
        """Iterate over the cells of a section: (down, across), top, bottom, left, right.

        The last four are the overlap, in rows and columns of the stitched image.
        """
        for down, top, bottom in self.grid.spans(0, section[0]):
            for across, left, right in self.grid.spans(1, section[1]):
                yield (down, across), top, bottom, left, right

    def _offset(self, cell: tuple[int, int], row: int, col: int) -> int | None:
        """Return the offset in the file of a stitched pixel, None if its cell is missing."""
        number = self.grid.rows.get(cell)
        if number is None:
            return None
        high, wide = self.grid.inner
        within = (row - cell[0] * high) * self._outer[1] + col - cell[1] * wide
        return self.start + number * self.stride + self.width * within


class CellCoadd:
    """The table of cells in an HDU of an open file; implements `layout.Layout`.

    Raises CoaddError if the table contradicts its header.
    """

    def __init__(self, hdus: Any, number: int) -> None:
        table = hdus[number]
        place = table.fileinfo()
        try:
            grid, starts = _grid_of(table, place)
            first_own_pixel = int(table.header["GRMIN2"]), int(table.header["GRMIN1"])
        except (KeyError, ValueError, TypeError) as error:
            raise CoaddError(f"its table of cells is incomplete ({error})") from error
        stride = int(table.header["NAXIS1"])
        self._file = place["file"]
        self._image = CellColumn(grid, starts["image"], stride, -32, _NAN)
        bitpix = 8 * table.columns.dtype.fields["mask"][0].base.itemsize
        self.planes = _mask_planes(hdus)
        no_data_bit = self.planes.get("NO_DATA", bitpix)
        missing = 1 << no_data_bit if no_data_bit < min(bitpix, 31) else 0
        self._mask = CellColumn(grid, starts["mask"], stride, bitpix, missing)
        self._variance = None
        if "variance" in starts:
            self._variance = CellColumn(grid, starts["variance"], stride, -32, _NAN)
        # format versions before 0.4 have TUNIT1 only
        unit = table.columns["image"].unit or table.header.get("TUNIT1")
        self._unit = str(unit or "").strip()
        self.shape, self.tile = grid.shape, (1, 1)
        self.header = _stitched_header(hdus[0].header, grid, first_own_pixel)

    def reopened(self, hdus: Any, number: int) -> "CellCoadd":
        """Return the same coadd for a file that was opened again, without parsing it."""
        reopened = copy(self)
        reopened._file = hdus[number].fileinfo()["file"]
        return reopened

    def calibration(self) -> Calibration:
        """See `Layout.calibration`."""
        if self._unit in _NO_UNIT:
            return Calibration("")
        return Calibration(self._unit, 1.0, self._unit, "TUNIT")

    def check_flags(self, bits: int) -> None:
        """See `Layout.check_flags`; old masks have fewer bits than planes."""
        if bits >> 8 * self._mask.width:
            raise CoaddError(f"a mask plane is beyond the {8 * self._mask.width} bits of its mask")

    def check_variance(self) -> None:
        """See `Layout.check_variance`."""
        if self._variance is None:
            raise CoaddError("it has no variance plane")

    def decodable(
        self, handle: int, bits: int, plane: str = "image"
    ) -> tuple[CellColumn | None, CellColumn | None]:
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
    """Return the cells, and the offset in the file of each column."""
    header = table.header
    inner, outer, count = (
        (int(header[f"{name}2"]), int(header[f"{name}1"]))
        for name in ("GRCELL", "OCELL", "GRSHAPE")
    )
    border, odd = divmod(outer[0] - inner[0], 2)
    if odd or border < 0 or outer[1] - inner[1] != 2 * border or min(*inner, *count) < 1:
        raise CoaddError(f"its outer cells of {outer} pixels do not surround {inner} evenly")
    columns = table.columns.dtype.fields
    for name, kinds in _KINDS.items():
        base, shape = columns[name][0].base, columns[name][0].shape
        if base.str[1:] not in kinds or shape != ((2,) if name == "cell_id" else outer):
            raise CoaddError(f"its column {name} has {columns[name][0]}, not cells of {outer}")
        number = table.columns.names.index(name) + 1
        if header.get(f"TSCAL{number}", 1) != 1 or header.get(f"TZERO{number}", 0) != 0:
            raise CoaddError(f"its column {name} is scaled (TSCAL, TZERO), which is not supported")
    starts = {name: place["datLoc"] + columns[name][1] for name in _COLUMNS}
    variance = columns.get("variance")
    if variance is not None and variance[0].base.str[1:] == "f4" and variance[0].shape == outer:
        starts["variance"] = place["datLoc"] + variance[1]
    stride, rows = int(header["NAXIS1"]), int(header["NAXIS2"])
    ids = _CellIds(place["file"], starts["cell_id"], stride, rows, columns["cell_id"][0].base)
    return CellGrid(inner, count, border, ids.rows(count)), starts


@dataclass(frozen=True)
class _CellIds:
    """The column `cell_id`: x and y of each cell."""

    file: Any
    start: int
    stride: int
    count: int
    kind: "np.dtype[Any]"

    def rows(self, grid: tuple[int, int]) -> dict[tuple[int, int], int]:
        """Return the row of each cell, by its position (down, across).

        With range reads each row would cost a request. If the table has all cells, a few rows
        suffice to recognize their order.
        """
        down, across = grid
        if self.file.file_like and self.count == down * across:
            orders = (
                [(y, x) for y in range(down) for x in range(across)],
                [(y, x) for x in range(across) for y in range(down)],
            )
            probes = {0, min(1, self.count - 1), self.count // 2, self.count - 1}
            found = {row: self._read(row) for row in probes}
            for order in orders:
                if all(order[row] == place for row, place in found.items()):
                    return {place: row for row, place in enumerate(order)}
        return {self._read(row): row for row in range(self.count)}

    def _read(self, row: int) -> tuple[int, int]:
        self.file.seek(self.start + row * self.stride)
        data = self.file.read(2 * self.kind.itemsize)
        x, y = np.frombuffer(data, self.kind.newbyteorder(">"), 2).tolist()
        return y, x


def _stitched_header(tract: Any, grid: CellGrid, first_own_pixel: tuple[int, int]) -> Any:
    """Return a header with the WCS of the tract, shifted to the stitched image.

    first_own_pixel: row and column, in the tract, of the first cell's first own pixel.
    """
    header = tract.copy()
    header["NAXIS"] = 2
    for axis, size, start in zip((2, 1), grid.shape, first_own_pixel, strict=True):
        header.set(f"NAXIS{axis}", size, after="NAXIS")
        header[f"CRPIX{axis}"] = tract.get(f"CRPIX{axis}", 0.0) - start + grid.border
        header[f"LTV{axis}"] = grid.border - start  # position of the patch, as in lsst.afw
    return header


def _mask_planes(hdus: Any) -> dict[str, int]:
    """Return the bit of each mask plane; empty for files before format 0.6, which lack them."""
    for hdu in hdus:
        if hdu.name == "MASKDEF":
            return {str(name).strip(): int(bit) for name, bit in hdu.data}
    return {}

"""Windows: positions are computed, and coadds are read, for up to 4x4 neighboring tiles at once.

From an uncompressed coadd only the pixels that the tiles of a window need are read, directly into
the window. No such coadd is kept in memory, however large the survey is.
"""

import threading
from dataclasses import dataclass

import numpy as np

from hipsgen.coadd import CoaddRef
from hipsgen.images.cylinder import Cylinder
from hipsgen.images.seams import extended
from hipsgen.images.source import CoaddInfo, CoaddReader, Section, Values
from hipsgen.planner.blocks import window_depth
from hipsgen.render.coadd_cache import CoaddCache
from hipsgen.sky.grid import Circle, Grid, PixelMap, build_grid
from hipsgen.sky.tiles import Tile, deinterleave


class ScratchBuffer:
    """Memory for windows, allocated once, as new memory costs more time than reading into it.

    Parameters
    ----------
    size : int
        Size in bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._pixels = np.empty(size // 4, np.float32)
        self._used = 0

    def allocate(self, rows: int, cols: int) -> Values | None:
        """Return an unused array (rows, cols) float32, None if too little memory is left."""
        start, self._used = self._used, self._used + rows * cols
        if self._used > self._pixels.size:
            self._used = start
            return None
        return self._pixels[start : self._used].reshape(rows, cols)

    def clear(self) -> None:
        """Free all arrays, which must not be used any more."""
        self._used = 0


_local = threading.local()


def scratch_buffer(size: int) -> ScratchBuffer:
    """Return the buffer of this thread, of `size` bytes and cleared."""
    buffer: ScratchBuffer | None = getattr(_local, "buffer", None)
    if buffer is None or buffer.size != size:
        buffer = _local.buffer = ScratchBuffer(size)
    buffer.clear()
    return buffer


def window_root(tile: Tile, width: int) -> Tile:
    """Return the tile that the window of a tile covers; the bytes of the tile depend on it."""
    return tile.ancestor(max(0, tile.order - window_depth(width)))


@dataclass
class Window:
    """Positions and pixels of a coadd for all tiles below one tile.

    Attributes
    ----------
    root : Tile
        The tile that the window covers.
    width : int
        Width of a leaf tile in pixels.
    margin : int
        Pixels that the interpolation needs around a position.
    ref, info : CoaddRef, CoaddInfo
        The coadd.
    grid : Grid or None
        Positions of the pixels on the coadd; None if the window does not touch it.
    pixels : numpy.ndarray or None
        (rows, columns) float32, or int32 for masks; None before `read`, and if the pixels of each
        tile are read separately.
    first : (int, int)
        Row and column in the coadd of the first of `pixels`; negative beyond an edge.
    fill_attempted : bool
        Whether `read` has tried to fill `pixels`.
    """

    root: Tile
    width: int
    margin: int
    ref: CoaddRef
    info: CoaddInfo
    grid: Grid | None
    pixels: Values | None = None
    first: tuple[int, int] = (0, 0)
    fill_attempted: bool = False

    @classmethod
    def of_tile(
        cls,
        tile: Tile,
        width: int,
        frame: str,
        margin: int,
        ref: CoaddRef,
        info: CoaddInfo,
        near: Circle | None,
    ) -> "Window":
        """Return the window that includes a tile.

        Parameters
        ----------
        tile : Tile
            A leaf tile.
        width : int
            Its width in pixels.
        frame : str
            Coordinate frame of the survey.
        margin : int
            Pixels that the interpolation needs around a position.
        ref, info : CoaddRef, CoaddInfo
            The coadd.
        near : Circle or None
            Circle around the coadd, as for `build_grid`.

        Raises
        ------
        CoaddError
            When the WCS of the coadd is invalid.
        """
        root = window_root(tile, width)
        size = width << (tile.order - root.order)
        grid = build_grid(root, size, frame, info.wcs, info.shape, near=near)
        return cls(root, width, margin, ref, info, grid)

    def map(self, tile: Tile) -> PixelMap | None:
        """Return the positions of a tile's pixels on the coadd; None if it is outside."""
        if self.grid is None:
            return None
        depth = tile.order - self.root.order
        x, y = deinterleave(tile.npix & ((1 << 2 * depth) - 1))
        row, col = (1 << depth) - 1 - x, y  # as in Tile.vectors
        return self.grid.map(row * self.width, col * self.width, self.width)

    def read(
        self, at: PixelMap, reader: CoaddReader, cache: CoaddCache, buffer: ScratchBuffer
    ) -> tuple[Values, tuple[int, int]] | None:
        """Return the pixels that a tile needs; they are valid until the buffer is cleared.

        Parameters
        ----------
        at : PixelMap
            Positions of the tile's pixels, from `map`.
        reader : CoaddReader
            Reader of the coadd.
        cache : CoaddCache
            Where the coadd is read from if it is compressed or the buffer is full.
        buffer : ScratchBuffer
            Memory for the pixels of the window.

        Returns
        -------
        (numpy.ndarray, (int, int)) or None
            Pixels (rows, columns), and the row and column of the first of them in the coadd; None
            if the tile needs no pixel.

        Raises
        ------
        CoaddError
            When the coadd cannot be read.
        """
        if self.pixels is None and not self.fill_attempted:
            self._fill(reader, cache, buffer)
        if self.pixels is not None:
            return self.pixels, self.first
        section = at.section(self.info.shape, self.margin)
        if section is None:
            return None
        if self._closed is None:
            return cache.read(self.ref, section)
        return self._extend(_part(cache, self.ref, section), section, cache)

    def _fill(self, reader: CoaddReader, cache: CoaddCache, buffer: ScratchBuffer) -> None:
        """Read the pixels of all tiles of the window, if the file and the buffer permit it."""
        self.fill_attempted = True
        if self.grid is None or not self.info.in_parts or not self.grid.is_smooth:
            return
        parts = self.grid.needed(self.margin)
        if not parts:
            return
        rows = slice(parts[0][0].start, parts[-1][0].stop)
        cols = slice(min(c.start for _, c in parts), max(c.stop for _, c in parts))
        pixels = buffer.allocate(rows.stop - rows.start, cols.stop - cols.start)
        if pixels is not None:
            section = rows, cols
            found = reader.read(self.ref, section, parts, pixels)
            self.pixels, self.first = self._extend(found, section, cache)

    @property
    def _closed(self) -> Cylinder | None:
        """How the coadd closes on itself; None if all its edges are edges of its sky."""
        cylinder = self.info.wcs.cylinder
        return cylinder if cylinder is not None and any(cylinder.closed) else None

    def _extend(
        self, pixels: Values, section: Section, cache: CoaddCache
    ) -> tuple[Values, tuple[int, int]]:
        """Add the pixels beyond the edges of a map that goes on there; return the first pixel.

        Masks are not interpolated and need none.
        """
        if self._closed is None or pixels.dtype != np.float32:
            return pixels, (section[0].start, section[1].start)

        def read(part: Section) -> Values:
            return _part(cache, self.ref, part)

        return extended(pixels, section, self._closed, self.info.shape, self.margin, read)


def _part(cache: CoaddCache, ref: CoaddRef, section: Section) -> Values:
    """Return a section of a coadd alone, also where the cache has more of it."""
    pixels, (row, col) = cache.read(ref, section)
    rows, cols = section
    return pixels[rows.start - row : rows.stop - row, cols.start - col : cols.stop - col]

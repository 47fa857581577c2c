"""What neighboring tiles have in common: positions are computed, and coadds read, for 4x4 at once.

Pixels of a coadd that is not compressed are read straight into a window, those that its tiles
need and no others; the next window reads its own. So no coadd is kept, however large the survey.
"""

import threading
from dataclasses import dataclass

import numpy as np

from hipsgen.coadd import CoaddRef
from hipsgen.images.source import CoaddInfo, CoaddReader, Section, Values
from hipsgen.planner.blocks import window_depth
from hipsgen.render.coadd_cache import CoaddCache
from hipsgen.sky.grid import Circle, Grid, PixelMap, build_grid
from hipsgen.sky.tiles import Tile, deinterleave


class ScratchBuffer:
    """Memory for windows, taken once: new memory costs more than what is read into it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pixels = np.empty(size // 4, np.float32)
        self._used = 0

    def take(self, rows: int, cols: int) -> Values | None:
        """An array (rows, cols) of what is left, None when that is too little."""
        start, self._used = self._used, self._used + rows * cols
        if self._used > self._pixels.size:
            self._used = start
            return None
        return self._pixels[start : self._used].reshape(rows, cols)

    def clear(self) -> None:
        """All that was taken may be used again."""
        self._used = 0


_rooms = threading.local()


def scratch_buffer(size: int) -> ScratchBuffer:
    """The cleared room of this thread, of so many bytes."""
    mine: ScratchBuffer | None = getattr(_rooms, "mine", None)
    if mine is None or mine.size != size:
        mine = _rooms.mine = ScratchBuffer(size)
    mine.clear()
    return mine


def window_root(tile: Tile, width: int) -> Tile:
    """The tile whose window a tile is in; it depends on nothing else, and so do the bytes."""
    return tile.ancestor(max(0, tile.order - window_depth(width)))


@dataclass
class Window:
    """A coadd as the tiles in one window see it.

    width: of a tile. margin: pixels that are needed round a position. section: that of `pixels`,
    which are None until they are read, or if each tile has to ask for its own.
    """

    top: Tile
    width: int
    margin: int
    ref: CoaddRef
    info: CoaddInfo
    grid: Grid | None
    pixels: Values | None = None
    section: Section | None = None
    alone: bool = False

    @classmethod
    def over(
        cls,
        tile: Tile,
        width: int,
        frame: str,
        margin: int,
        ref: CoaddRef,
        info: CoaddInfo,
        near: Circle | None,
    ) -> "Window":
        """The window that a tile is in; near as for `build_grid`. Raises CoaddError."""
        top = window_root(tile, width)
        size = width << (tile.order - top.order)
        grid = build_grid(top, size, frame, info.wcs, info.shape, near=near)
        return cls(top, width, margin, ref, info, grid)

    def map(self, tile: Tile) -> PixelMap | None:
        """Where a tile lies on the coadd; None when it is beside it."""
        if self.grid is None:
            return None
        depth = tile.order - self.top.order
        x, y = deinterleave(tile.npix & ((1 << 2 * depth) - 1))
        row, col = (1 << depth) - 1 - x, y  # as in Tile.vectors
        return self.grid.map(row * self.width, col * self.width, self.width)

    def read(
        self, at: PixelMap, reader: CoaddReader, cache: CoaddCache, space: ScratchBuffer
    ) -> tuple[Values, tuple[int, int]] | None:
        """Pixels for a tile, with the row and column of the first; None when it needs none.

        They may be used until `space` is cleared. Raises CoaddError.
        """
        if self.pixels is None and not self.alone:
            self._fill(reader, space)
        if self.pixels is not None and self.section is not None:
            return self.pixels, (self.section[0].start, self.section[1].start)
        section = at.section(self.info.shape, self.margin)
        return None if section is None else cache.read(self.ref, section)

    def _fill(self, reader: CoaddReader, space: ScratchBuffer) -> None:
        self.alone = True
        if self.grid is None or not self.info.in_parts or not self.grid.is_smooth:
            return
        parts = self.grid.needed(self.margin)
        if not parts:
            return
        rows = slice(parts[0][0].start, parts[-1][0].stop)
        cols = slice(min(c.start for _, c in parts), max(c.stop for _, c in parts))
        pixels = space.take(rows.stop - rows.start, cols.stop - cols.start)
        if pixels is not None:
            self.section = rows, cols
            self.pixels = reader.read(self.ref, self.section, parts, pixels)

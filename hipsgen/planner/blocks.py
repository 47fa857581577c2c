"""From footprints to blocks of work, and from a block to its leaf tiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.coadd import CoaddRef, corners_of
from hipsgen.sky.frames import from_icrs
from hipsgen.sky.outlines import (
    Outlines,
    Pairs,
    count_below,
    outlines_of,
    touching,
    touching_below,
)
from hipsgen.sky.polygon import to_vectors
from hipsgen.sky.tiles import Tile

IntArray = npt.NDArray[np.int64]

# log2 of widths in pixels: of the largest block, and of the largest window (`render.window`)
_BLOCK_WIDTH, _WINDOW_WIDTH = 13, 11
_WINDOW_DEPTH = 2  # at most, of small tiles
_MIN_BLOCKS = 16  # smaller blocks until there are so many, that workers have something to share
_REFS_AT_ONCE = 1 << 15
_BLOCKS_AT_ONCE = 1 << 9


@dataclass(frozen=True)
class Block:
    """A subtree of the survey: its root, and for each leaf tile the coadds that may touch it.

    leaves: (npix, indices into the plan's references), in NESTED order.
    """

    root: Tile
    leaves: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Plan:
    """All of the work: references, and the coadds that each block may need.

    Leaf tiles are found when they are asked for, block by block: a large survey has too many.
    npix: (b,) NESTED numbers of the blocks' roots, sorted, block_depth orders above the leaves.
    first: (b + 1,) block k may need the references ref_index[first[k] : first[k + 1]].
    """

    refs: Sequence[CoaddRef]
    order: int
    frame: str
    block_depth: int
    npix: IntArray
    first: IntArray
    ref_index: IntArray

    @property
    def root_order(self) -> int:
        """Order of the roots of the blocks."""
        return self.order - self.block_depth

    def roots(self) -> list[Tile]:
        """The tile at the top of each block, in NESTED order: neighbors in time as on the sky."""
        return [Tile(self.root_order, npix) for npix in self.npix.tolist()]

    def ref_indices(self, k: int) -> list[int]:
        """The references that block k may need, in the plan's order."""
        found: list[int] = self.ref_index[self.first[k] : self.first[k + 1]].tolist()
        return found

    def last_blocks(self) -> IntArray:
        """The last block (n,) that may need each reference."""
        last = np.zeros(len(self.refs), np.int64)
        # of an index that is repeated the last value counts, and blocks come in their order
        last[self.ref_index] = np.repeat(np.arange(len(self.npix)), np.diff(self.first))
        return last

    def block(self, k: int) -> Block:
        """Block k with its leaf tiles."""
        outlines, pairs, refs = self._part(k, k + 1)
        found = touching_below(outlines, pairs, self.root_order, self.block_depth)
        tiles, first = found.tiles()
        index = refs[found.outline].tolist()
        leaves = [
            (npix, tuple(index[start:stop]))
            for npix, start, stop in zip(tiles.tolist(), first[:-1], first[1:], strict=True)
        ]
        return Block(Tile(self.root_order, int(self.npix[k])), tuple(leaves))

    def leaf_counts(self) -> IntArray:
        """How many leaf tiles of each block (b,) some coadd may touch."""
        counts = [np.empty(0, np.int64)]
        for start in range(0, len(self.npix), _BLOCKS_AT_ONCE):
            outlines, pairs, _ = self._part(start, min(start + _BLOCKS_AT_ONCE, len(self.npix)))
            counts.append(count_below(outlines, pairs, self.root_order, self.block_depth))
        return np.concatenate(counts)

    def tile_count(self, leaf_counts: IntArray) -> int:
        """How many tiles of all orders there are at most; leaf_counts: what that function gives."""
        total = int(leaf_counts.sum())
        for depth in range(self.block_depth):
            total += int(np.minimum(leaf_counts, 4**depth).sum())
        above = self.npix[leaf_counts > 0]
        for _ in range(self.root_order):
            above = np.unique(above >> 2)
            total += above.size
        return total

    def _part(self, start: int, stop: int) -> tuple[Outlines, Pairs, IntArray]:
        """Outlines of the coadds of some blocks, pairs of the roots and these; their references."""
        index = self.ref_index[self.first[start] : self.first[stop]]
        refs, which = np.unique(index, return_inverse=True)
        sizes = np.diff(self.first[start : stop + 1])
        outlines = _outlines([self.refs[i] for i in refs], self.frame)
        return outlines, Pairs(np.repeat(self.npix[start:stop], sizes), which), refs


def max_block_depth(order: int, tile_width: int) -> int:
    """Return how many orders above the leaf tiles of an order the root of a block is at most."""
    return min(_BLOCK_WIDTH - (tile_width.bit_length() - 1), order)


def window_depth(tile_width: int) -> int:
    """Return how many orders above a leaf tile the tile lies that shares one window on a coadd.

    The bytes of a tile depend on its window, so this depends on nothing else.
    """
    return min(_WINDOW_DEPTH, max(0, _WINDOW_WIDTH - (tile_width.bit_length() - 1)))


def make_plan(
    refs: Sequence[CoaddRef],
    order: int,
    frame: str,
    tile_width: int,
    block_depth: int | None = None,
) -> Plan:
    """Which blocks of a frame each coadd may touch; a few too many rather than one too few.

    The depth of blocks, if it is not given, leaves enough of them; it depends on the plan alone.
    """
    depth = max_block_depth(order, tile_width) if block_depth is None else block_depth
    shallowest = window_depth(tile_width)  # or two blocks would compute the same window
    pairs = _pairs(refs, order - depth, frame)
    while block_depth is None and depth > shallowest and len(pairs.tiles()[0]) < _MIN_BLOCKS:
        depth -= 1
        pairs = _pairs(refs, order - depth, frame)
    return Plan(refs, order, frame, depth, *pairs.tiles(), pairs.outline)


def _pairs(refs: Sequence[CoaddRef], order: int, frame: str) -> Pairs:
    """Tiles of an order and the references that may touch them."""
    parts = [Pairs(np.empty(0, np.int64), np.empty(0, np.int64))]
    for start in range(0, len(refs), _REFS_AT_ONCE):
        found = touching(_outlines(refs[start : start + _REFS_AT_ONCE], frame), order)
        parts.append(Pairs(found.npix, found.outline + start))
    npix, index = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    by_tile = np.argsort(npix, kind="stable")
    return Pairs(npix[by_tile], index[by_tile])


def _outlines(refs: Sequence[CoaddRef], frame: str) -> Outlines:
    corners, counts = corners_of(refs)
    return outlines_of(from_icrs(to_vectors(corners[:, 0], corners[:, 1]), frame), counts)

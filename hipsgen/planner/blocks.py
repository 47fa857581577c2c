"""The plan of a survey: from outlines of coadds to blocks, and from a block to its leaf tiles."""

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

# log2 of the maximal width in pixels of a block, and of a window (`render.window`)
_BLOCK_WIDTH, _WINDOW_WIDTH = 13, 11
_WINDOW_DEPTH = 2  # maximum, reached by small tiles
_MIN_BLOCKS = 16  # blocks are made smaller until there are enough for all workers
_REFS_AT_ONCE = 1 << 15
_LEAVES_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Block:
    """A subtree of the survey: the unit of work and of the journal.

    Attributes
    ----------
    root : Tile
        The tile at the top of the subtree.
    leaves : tuple of (int, tuple of int)
        In NESTED order, the npix of each leaf tile and the indices in the plan's references of
        the coadds that may touch it.
    """

    root: Tile
    leaves: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Plan:
    """The blocks of a survey, and the coadds that each of them may need.

    Leaf tiles are computed block by block when they are needed, as a large survey has too many.

    Attributes
    ----------
    refs : sequence of CoaddRef
        All coadds.
    order : int
        HiPS order of the leaf tiles.
    frame : str
        Coordinate frame of the survey.
    block_depth : int
        Orders between the root of a block and its leaf tiles.
    npix : numpy.ndarray
        (b,) int64: NESTED numbers of the roots of the blocks, sorted.
    first : numpy.ndarray
        (b + 1,) int64: block k may need the coadds ``ref_index[first[k] : first[k + 1]]``.
    ref_index : numpy.ndarray
        (n,) int64: indices in `refs`.
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
        """Return the roots of all blocks, in NESTED order to keep neighbors on the sky together."""
        return [Tile(self.root_order, npix) for npix in self.npix.tolist()]

    def ref_indices(self, k: int) -> list[int]:
        """Return the indices of the references that block k may need, in increasing order."""
        found: list[int] = self.ref_index[self.first[k] : self.first[k + 1]].tolist()
        return found

    def last_blocks(self) -> IntArray:
        """Return the number of the last block (n,) that may need each reference."""
        last = np.zeros(len(self.refs), np.int64)
        # where an index is repeated numpy assigns the last value, and the blocks are in order
        last[self.ref_index] = np.repeat(np.arange(len(self.npix)), np.diff(self.first))
        return last

    def block(self, k: int) -> Block:
        """Return block k with its leaf tiles."""
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
        """Return the number of leaf tiles (b,) in each block that any coadd may touch."""
        counts = [np.empty(0, np.int64)]
        at_once = max(1, _LEAVES_AT_ONCE >> 2 * self.block_depth)
        for start in range(0, len(self.npix), at_once):
            outlines, pairs, _ = self._part(start, min(start + at_once, len(self.npix)))
            counts.append(count_below(outlines, pairs, self.root_order, self.block_depth))
        return np.concatenate(counts)

    def tile_count(self, leaf_counts: IntArray) -> int:
        """Return an upper bound of the tiles of all orders, given the result of `leaf_counts`."""
        total = int(leaf_counts.sum())
        for depth in range(self.block_depth):
            total += int(np.minimum(leaf_counts, 4**depth).sum())
        above = self.npix[leaf_counts > 0]
        for _ in range(self.root_order):
            above = np.unique(above >> 2)
            total += above.size
        return total

    def _part(self, start: int, stop: int) -> tuple[Outlines, Pairs, IntArray]:
        """Return what is needed to find the leaf tiles of the blocks from `start` to `stop`.

        These are the outlines of their coadds, the pairs of a root and an outline, and the index
        of each outline's reference.
        """
        index = self.ref_index[self.first[start] : self.first[stop]]
        refs, outline = np.unique(index, return_inverse=True)
        sizes = np.diff(self.first[start : stop + 1])
        outlines = _outlines([self.refs[i] for i in refs], self.frame)
        return outlines, Pairs(np.repeat(self.npix[start:stop], sizes), outline), refs


def max_block_depth(order: int, tile_width: int) -> int:
    """Return the maximal depth of a block, for leaf tiles of an order and a width in pixels."""
    return min(_BLOCK_WIDTH - (tile_width.bit_length() - 1), order)


def window_depth(tile_width: int) -> int:
    """Return the number of orders between a leaf tile and the tile that its window covers.

    It depends only on the tile width, because the bytes of a tile depend on its window.
    """
    return min(_WINDOW_DEPTH, max(0, _WINDOW_WIDTH - (tile_width.bit_length() - 1)))


def make_plan(
    refs: Sequence[CoaddRef],
    order: int,
    frame: str,
    tile_width: int,
    block_depth: int | None = None,
) -> Plan:
    """Find the blocks that each coadd may touch: no block is missed, a few may be superfluous.

    Parameters
    ----------
    refs : sequence of CoaddRef
        The coadds.
    order : int
        HiPS order of the leaf tiles.
    frame : str
        Coordinate frame of the survey.
    tile_width : int
        Width of a tile in pixels.
    block_depth : int, optional
        Depth of the blocks. By default it is chosen such that there are enough blocks; it then
        depends on the other arguments only.
    """
    depth = max_block_depth(order, tile_width) if block_depth is None else block_depth
    shallowest = window_depth(tile_width)  # otherwise two blocks would compute the same window
    pairs = _pairs(refs, order - depth, frame)
    while block_depth is None and depth > shallowest and len(pairs.tiles()[0]) < _MIN_BLOCKS:
        depth -= 1
        pairs = _pairs(refs, order - depth, frame)
    return Plan(refs, order, frame, depth, *pairs.tiles(), pairs.outline)


def _pairs(refs: Sequence[CoaddRef], order: int, frame: str) -> Pairs:
    """Return the pairs of a tile of an order and a reference that may touch it, by tile."""
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

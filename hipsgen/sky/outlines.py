"""Convex outlines on the sphere, and the tiles that they touch."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hipsgen.sky.outline_kernels import write_hulls, write_touching
from hipsgen.sky.polygon import Vectors
from hipsgen.sky.tiles import IntArray, corner_grids

_PAD = 1.02  # outlines are sampled; images with curved edges reach a little beyond the polygon


class Outlines(NamedTuple):
    """The convex hulls of polygons, a little larger; a hull without corners is the whole sky.

    corners: (v, 3) float64, unit vectors; those of hull i, counter-clockwise, are the rows
    starts[i] : ends[i]. sides: (v, 3) float64, unit vectors to the left of the sides that begin at
    the corners. starts: (n + 1,) int64; ends: (n,) int64. circles: (n, 5) float64, center, cosine
    and sine of the radius. slack: (n,) float64, radians that a corner may be beyond a side.
    """

    corners: Vectors
    sides: Vectors
    starts: IntArray
    ends: IntArray
    circles: npt.NDArray[np.float64]
    slack: npt.NDArray[np.float64]


def outlines_of(vertices: Vectors, counts: IntArray) -> Outlines:
    """Outlines of polygons: unit vectors (v, 3) of all, one after another; how many of each (n,).

    A polygon without vertices is the whole sky, and so is one with a radius of 80 degrees or more.
    """
    n = len(counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    outlines = Outlines(
        np.empty_like(vertices),
        np.empty_like(vertices),
        starts,
        np.empty(n, np.int64),
        np.zeros((n, 5)),
        np.zeros(n),
    )
    write_hulls(vertices, _PAD, outlines)
    return outlines


class Pairs(NamedTuple):
    """Tiles of one order and outlines that may touch, sorted by tile and outline.

    npix: (p,) int64, NESTED. outline: (p,) int64, its number.
    """

    npix: IntArray
    outline: IntArray

    def tiles(self) -> tuple[IntArray, IntArray]:
        """Each tile once (t,); where in the pairs each begins, and the number of pairs (t + 1,)."""
        first = np.flatnonzero(np.diff(self.npix, prepend=-1))
        return self.npix[first], np.append(first, self.npix.size)


def touching(outlines: Outlines, order: int) -> Pairs:
    """Which tiles of an order each outline touches; a few too many rather than one too few."""
    n = len(outlines.ends)
    pairs = Pairs(np.repeat(np.arange(12), n), np.tile(np.arange(n), 12))
    pairs = touching_below(outlines, pairs, 0, 0)
    for above in range(order):
        pairs = touching_below(outlines, pairs, above, 1)
    return pairs


def touching_below(outlines: Outlines, pairs: Pairs, order: int, depth: int) -> Pairs:
    """The same `depth` orders deeper, of pairs at an order."""
    return _below(outlines, pairs, order, depth, True)


def count_below(outlines: Outlines, pairs: Pairs, order: int, depth: int) -> IntArray:
    """How many tiles, `depth` orders below each tile of pairs at an order, some outline touches."""
    roots = _below(outlines, pairs, order, depth, False).npix >> 2 * depth
    tiles, _ = pairs.tiles()
    return np.bincount(np.searchsorted(tiles, roots), minlength=tiles.size)


def _below(outlines: Outlines, pairs: Pairs, order: int, depth: int, every: bool) -> Pairs:
    tiles, first = pairs.tiles()
    room = (pairs.npix if every else tiles).size << 2 * depth
    place, which = np.empty(room, np.int64), np.empty(room, np.int64)
    side = 0.5 ** (order + depth)
    grids = corner_grids(order, tiles, depth)
    count = write_touching(grids, side, first, pairs.outline, outlines, every, place, which)
    place = place[:count]
    npix = tiles[place >> 2 * depth] << 2 * depth | place & ((1 << 2 * depth) - 1)
    return Pairs(npix, which[:count].copy())

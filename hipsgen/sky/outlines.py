"""Convex outlines of images on the sphere, and the tiles that they touch."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hipsgen.sky.outline_kernels import write_contained, write_hulls, write_touching
from hipsgen.sky.polygon import Vectors
from hipsgen.sky.tiles import IntArray, corner_grids

_PAD = 1.02  # polygons are sampled, and images with curved edges reach a little beyond them


class Outlines(NamedTuple):
    """The convex hulls of polygons, slightly enlarged; a hull without corners is the whole sky.

    Attributes
    ----------
    corners
        (v, 3) float64, unit vectors; the rows starts[i] : ends[i] are those of hull i,
        counter-clockwise.
    sides
        (v, 3) float64, unit vectors to the left of the edges that begin at the corners.
    starts, ends
        (n + 1,) and (n,) int64.
    circles
        (n, 5) float64: center, cosine and sine of the radius.
    slack
        (n,) float64: radians that a corner may lie beyond an edge.
    """

    corners: Vectors
    sides: Vectors
    starts: IntArray
    ends: IntArray
    circles: npt.NDArray[np.float64]
    slack: npt.NDArray[np.float64]


def outlines_of(vertices: Vectors, counts: IntArray) -> Outlines:
    """Make the outlines of polygons.

    Parameters
    ----------
    vertices
        (v, 3) float64, unit vectors of all polygons, one after another.
    counts
        (n,) int64, number of vertices of each polygon. A polygon without vertices, or with a radius
        of 80 degrees or more, is the whole sky.
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

    Attributes
    ----------
    npix
        (p,) int64, NESTED indices of the tiles.
    outline
        (p,) int64, indices of the outlines.
    """

    npix: IntArray
    outline: IntArray

    def tiles(self) -> tuple[IntArray, IntArray]:
        """Return the distinct tiles (t,) and the bounds (t + 1,) of each tile's pairs."""
        first = np.flatnonzero(np.diff(self.npix, prepend=-1))
        return self.npix[first], np.append(first, self.npix.size)


def touching(outlines: Outlines, order: int) -> Pairs:
    """Return the tiles of an order that each outline touches.

    A few pairs too many may be returned, never too few.
    """
    n = len(outlines.ends)
    pairs = Pairs(np.repeat(np.arange(12), n), np.tile(np.arange(n), 12))
    pairs = touching_below(outlines, pairs, 0, 0)
    for above in range(order):
        pairs = touching_below(outlines, pairs, above, 1)
    return pairs


def touching_below(outlines: Outlines, pairs: Pairs, order: int, depth: int) -> Pairs:
    """Return the pairs `depth` orders deeper than given pairs at an order."""
    return _pairs_below(outlines, pairs, order, depth, True)


def count_below(outlines: Outlines, pairs: Pairs, order: int, depth: int) -> IntArray:
    """Count the tiles below each tile of pairs at an order that an outline touches.

    depth: how many orders below. Returns (t,) int64 for the distinct tiles of the pairs.
    """
    tiles, first = pairs.tiles()
    contained = np.empty(tiles.size, np.bool_)
    corners = corner_grids(order, tiles, 0)
    write_contained(corners, 0.5**order, first, pairs.outline, outlines, contained)
    crossed = ~np.repeat(contained, np.diff(first))
    counts = np.where(contained, 1 << 2 * depth, 0)
    rest = Pairs(pairs.npix[crossed], pairs.outline[crossed])
    if crossed.any():
        roots = _pairs_below(outlines, rest, order, depth, False).npix >> 2 * depth
        counts += np.bincount(np.searchsorted(tiles, roots), minlength=tiles.size)
    return counts


def _pairs_below(
    outlines: Outlines, pairs: Pairs, order: int, depth: int, all_pairs: bool
) -> Pairs:
    tiles, first = pairs.tiles()
    capacity = (pairs.npix if all_pairs else tiles).size << 2 * depth
    tile_index, outline_index = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    side = 0.5 ** (order + depth)
    grids = corner_grids(order, tiles, depth)
    count = write_touching(
        grids, side, first, pairs.outline, outlines, all_pairs, tile_index, outline_index
    )
    tile_index = tile_index[:count]
    npix = tiles[tile_index >> 2 * depth] << 2 * depth | tile_index & ((1 << 2 * depth) - 1)
    return Pairs(npix, outline_index[:count].copy())

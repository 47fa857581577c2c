"""From footprints to leaf tiles to blocks of work."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import healpy
import numpy as np
import numpy.typing as npt

from hipsgen.images.source import CoaddRef
from hipsgen.sky.frames import from_icrs
from hipsgen.sky.polygon import (
    bounding_circle,
    convex_hull,
    from_tangent_plane,
    tangent_plane,
    to_vectors,
)
from hipsgen.sky.tiles import Tile

IntArray = npt.NDArray[np.int64]

MAX_BLOCK_DEPTH = 4
_MIN_BLOCKS = 16  # smaller blocks until there are so many, that workers have something to share
_PAD = 1.02  # outlines are sampled; images with curved edges reach a little beyond the polygon


@dataclass(frozen=True)
class Block:
    """A subtree of the survey: its root, and for each leaf tile the coadds that may touch it.

    leaves: (npix, indices into the plan's references), in NESTED order.
    """

    root: Tile
    leaves: tuple[tuple[int, tuple[int, ...]], ...]

    def ref_indices(self) -> list[int]:
        """The references the block needs, each once, in the plan's order."""
        return sorted({k for _, refs in self.leaves for k in refs})


@dataclass(frozen=True)
class Plan:
    """All of the work: references, and (leaf tile, reference) pairs sorted by tile."""

    refs: tuple[CoaddRef, ...]
    order: int
    npix: IntArray
    ref_index: IntArray

    def leaf_count(self) -> int:
        """How many leaf tiles some coadd may touch."""
        return int(np.unique(self.npix).size)

    def block_depth(self) -> int:
        """Depth of blocks that leaves enough of them; depends on the plan alone."""
        for depth in range(min(MAX_BLOCK_DEPTH, self.order), 0, -1):
            if np.unique(self.npix >> 2 * depth).size >= _MIN_BLOCKS:
                return depth
        return min(1, self.order)

    def blocks(self, depth: int) -> Iterator[Block]:
        """Blocks in NESTED order, so that neighbours in time are neighbours on the sky."""
        roots = self.npix >> 2 * depth
        starts = np.flatnonzero(np.diff(roots, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], roots.size], strict=True):
            leaves: dict[int, list[int]] = {}
            for npix, k in zip(self.npix[start:stop], self.ref_index[start:stop], strict=True):
                leaves.setdefault(int(npix), []).append(int(k))
            yield Block(
                Tile(self.order - depth, int(roots[start])),
                tuple((npix, tuple(refs)) for npix, refs in leaves.items()),
            )


def make_plan(refs: Sequence[CoaddRef], order: int, frame: str) -> Plan:
    """Which leaf tiles of a frame each coadd may touch; a few too many rather than one too few."""
    found = [tiles_touched(ref, order, frame) for ref in refs]
    npix = np.concatenate([*found, np.empty(0, np.int64)])
    index = np.repeat(np.arange(len(refs)), [f.size for f in found])
    by_tile = np.lexsort((index, npix))
    return Plan(tuple(refs), order, npix[by_tile], index[by_tile])


def tiles_touched(ref: CoaddRef, order: int, frame: str) -> IntArray:
    """NESTED numbers of tiles of an order that a coadd's outline may touch."""
    nside = 1 << order
    if not ref.polygon:
        return np.arange(12 * nside * nside)
    lon, lat = zip(*ref.polygon, strict=True)
    vertices = from_icrs(to_vectors(lon, lat), frame)
    centre, _ = bounding_circle(vertices)
    plane = convex_hull(tangent_plane(vertices, centre)) * _PAD
    corners = from_tangent_plane(plane, centre)
    _, radius = bounding_circle(corners)
    reach = healpy.max_pixrad(nside)
    near = healpy.query_disc(
        nside, centre, min(np.pi, np.radians(radius) + reach), inclusive=True, nest=True
    )
    middle = np.stack(healpy.pix2vec(nside, near, nest=True), axis=-1)
    normals = np.cross(corners, np.roll(corners, -1, axis=0))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    touched = (middle @ normals.T > -np.sin(min(reach, np.pi / 2))).all(axis=1)
    return np.asarray(near[touched], np.int64)

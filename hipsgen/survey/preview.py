"""The picture of a whole survey, preview.jpg: a gnomonic view made of its tiles."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hipsgen.sky.polygon import from_tangent_plane, to_vectors
from hipsgen.sky.tiles import Tile, deinterleave, pixel_size, vectors_to_npix

FILE_NAME = "preview.jpg"
_SIDE = 256
_FINER = 2  # pixels looked up for one of the picture, a side
_CLOSER = 0.85  # the field of view fits the survey's circle; most surveys are no circles
_WIDEST = 140.0  # degrees: a gnomonic picture has no more

# a tile's pixels (width, width[, 4]) in FITS orientation, None where there is no tile
ReadTile = Callable[[Tile], npt.NDArray[np.uint8] | None]


def view(
    read: ReadTile, center: tuple[float, float], fov: float, max_order: int, width: int
) -> npt.NDArray[np.uint8]:
    """Levels (256, 256[, 4]) uint8, FITS orientation, of a field round (lon, lat), degrees.

    center is in the survey's frame; fov: degrees across; black where there is nothing.
    """
    fov = min(fov * _CLOSER, _WIDEST)
    side = _SIDE * _FINER
    step = 2 * math.tan(math.radians(fov) / 2) / side
    order = max_order
    while order > 0 and pixel_size(order - 1, width) <= math.degrees(step):
        order -= 1
    offset = (np.arange(side) - (side - 1) / 2) * step
    north, east = np.meshgrid(offset, -offset, indexing="ij")  # east to the left
    plane = np.stack([east.ravel(), north.ravel()], axis=-1)
    vectors = from_tangent_plane(plane, to_vectors(*center))
    pixels = vectors_to_npix(vectors, order + width.bit_length() - 1)
    levels = _lookup(read, pixels, order, width)
    blocks = levels.reshape(_SIDE, _FINER, _SIDE, _FINER, *levels.shape[1:])
    return np.asarray((blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8))


def _lookup(
    read: ReadTile, pixels: npt.NDArray[np.int64], order: int, width: int
) -> npt.NDArray[np.uint8]:
    """Levels (n,) or (n, 4) of pixels (n,) of an order."""
    tiles, inside = np.divmod(pixels, width * width)
    out: npt.NDArray[np.uint8] | None = None
    for npix in np.unique(tiles):
        found = read(Tile(order, int(npix)))
        if found is None:
            continue
        here = tiles == npix
        flat = found.reshape(width * width, *found.shape[2:])
        if out is None:
            out = np.zeros((pixels.size, *flat.shape[1:]), np.uint8)
        x, y = deinterleave(inside[here])
        out[here] = flat[(width - 1 - x) * width + y]  # as in Tile.vectors
    if out is None:
        return np.zeros(pixels.size, np.uint8)
    return out

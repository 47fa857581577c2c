"""Render preview.jpg, an image of the whole survey: a gnomonic view made from its tiles."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hipsgen.sky.polygon import from_tangent_plane, to_vectors
from hipsgen.sky.tiles import Tile, deinterleave, pixel_size, vectors_to_npix

FILE_NAME = "preview.jpg"
_SIDE = 256
_OVERSAMPLING = 2  # pixels looked up for each pixel of the image, along a side
_SHOWN_PART = 0.85  # part of the field of view that is shown: most surveys do not fill their circle
_WIDEST = 140.0  # degrees: the widest gnomonic image

# a tile's pixels (width, width[, 4]) in FITS orientation, None where there is no tile
ReadTile = Callable[[Tile], npt.NDArray[np.uint8] | None]


def view(
    read: ReadTile, center: tuple[float, float], fov: float, max_order: int, width: int
) -> npt.NDArray[np.uint8]:
    """Render a field around (lon, lat) in degrees of the survey's frame.

    Parameters
    ----------
    read
        Returns the pixels of a tile, (width, width[, 4]) uint8 in FITS orientation, None if
        missing.
    center
        (lon, lat) in degrees of the survey's frame.
    fov
        Field of view in degrees.
    max_order
        Order of the leaf tiles.
    width
        Width of the tiles in pixels.

    Returns
    -------
    ndarray
        (256, 256[, 4]) uint8 in FITS orientation; black where there are no data.
    """
    fov = min(fov * _SHOWN_PART, _WIDEST)
    side = _SIDE * _OVERSAMPLING
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
    blocks = levels.reshape(_SIDE, _OVERSAMPLING, _SIDE, _OVERSAMPLING, *levels.shape[1:])
    return np.asarray((blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8))


def _lookup(
    read: ReadTile, pixels: npt.NDArray[np.int64], order: int, width: int
) -> npt.NDArray[np.uint8]:
    """Return the levels (n,) or (n, 4) of pixels (n,) of an order."""
    tiles, inside = np.divmod(pixels, width * width)
    out: npt.NDArray[np.uint8] | None = None
    for npix in np.unique(tiles):
        found = read(Tile(order, int(npix)))
        if found is None:
            continue
        in_tile = tiles == npix
        flat = found.reshape(width * width, *found.shape[2:])
        if out is None:
            out = np.zeros((pixels.size, *flat.shape[1:]), np.uint8)
        x, y = deinterleave(inside[in_tile])
        out[in_tile] = flat[(width - 1 - x) * width + y]  # as in Tile.vectors
    if out is None:
        return np.zeros(pixels.size, np.uint8)
    return out

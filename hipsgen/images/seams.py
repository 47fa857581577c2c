"""Pixels beyond the edges of a map that closes on itself, so that interpolation does not end there.

They are those of the opposite edge, or, at a pole, of the same edge 180 degrees away in longitude.
Where the pixel grids of both sides do not coincide, the values are interpolated.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hipsgen.images.cylinder import Cylinder, grid
from hipsgen.images.source import Section, Values

FloatArray = npt.NDArray[np.float64]

_TAPS = 4  # of the cubic interpolation between pixels


def extended(
    pixels: Values,
    section: Section,
    cylinder: Cylinder,
    shape: tuple[int, int],
    margin: int,
    read: Callable[[Section], Values],
) -> tuple[Values, tuple[int, int]]:
    """Add the pixels beyond the edges that a section touches and where the map goes on.

    Parameters
    ----------
    pixels
        (rows, columns) float32 of the section.
    section
        Rows and columns of the image.
    cylinder
        How the image closes.
    shape
        (rows, columns) of the image.
    margin
        Pixels to add at an edge.
    read
        Function that reads a section of the image.

    Returns
    -------
    pixels
        The pixels, with those that were added.
    first
        Row and column in the image of the first of them; negative beyond an edge.
    """
    rows, cols = section
    touches = rows.start == 0, rows.stop == shape[0], cols.start == 0, cols.stop == shape[1]
    bottom, top, left, right = (
        margin * (touched and is_closed)
        for touched, is_closed in zip(touches, cylinder.closed, strict=True)
    )
    first = rows.start - bottom, cols.start - left
    if not bottom + top + left + right:
        return pixels, first
    height, width = pixels.shape
    out = np.full((bottom + height + top, left + width + right), np.nan, np.float32)
    inner = slice(bottom, bottom + height), slice(left, left + width)
    out[inner] = pixels
    everywhere = slice(0, out.shape[1])
    strips = (
        (slice(0, bottom), everywhere),
        (slice(bottom + height, len(out)), everywhere),
        (inner[0], slice(0, left)),
        (inner[0], slice(left + width, out.shape[1])),
    )
    for y, x in strips:
        if y.start < y.stop and x.start < x.stop:
            strip = out[y, x]
            rows_beyond = np.arange(y.start, y.stop) + first[0]
            cols_beyond = np.arange(x.start, x.stop) + first[1]
            at = cylinder.beyond_edges(grid(rows_beyond, cols_beyond))
            strip[...] = _values(at, shape, read).reshape(strip.shape)
    return out, first


def _values(at: FloatArray, shape: tuple[int, int], read: Callable[[Section], Values]) -> Values:
    """Interpolate an image at the positions (n, 2); at a pixel the value is that of the pixel."""
    size = np.array(shape[::-1])
    taps = np.minimum(_TAPS, size)
    start = np.clip(np.floor(at).astype(np.int64) - 1, 0, size - taps)
    low, high = start.min(axis=0), start.max(axis=0) + taps
    cols, rows = (slice(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True))
    pixels = read((rows, cols))
    i, j = (start - low).T
    along_x, along_y = (_cubic((at - start)[:, k], taps[k]) for k in (0, 1))
    total = np.zeros(len(at))
    for b in range(taps[1]):
        for a in range(taps[0]):
            weight = along_x[a] * along_y[b]
            # a pixel without weight may be missing
            total += np.where(weight == 0.0, 0.0, pixels[j + b, i + a]) * weight
    return total.astype(np.float32)


def _cubic(position: FloatArray, taps: int) -> list[FloatArray]:
    """Return Lagrange's weights of the pixels 0 ... taps - 1 at positions (n,)."""
    weights = [np.ones_like(position) for _ in range(taps)]
    for tap, weight in enumerate(weights):
        for k in range(taps):
            if k != tap:
                weight *= (position - k) / (tap - k)
    return weights

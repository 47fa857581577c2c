"""Compiled loop that samples a mask at the positions of a tile, called by `mask_planes`.

See `grid_kernels` for the rules that all kernels follow.
"""

from typing import Any

import numpy as np

from hipsgen.sky.compiled import kernel
from hipsgen.sky.grid_kernels import CELL, OUTSIDE, line_positions


@kernel
def sample_nearest(
    pixels: Any,
    row: int,
    col: int,
    pixel_map: Any,
    bits: Any,
    shifts: Any,
    rest: int,
    other: int,
    no_data: int,
    out: Any,
) -> None:
    """Write the mask of the nearest pixel at each position of a map; `no_data` off the image.

    pixels (h, w) int32: part of the coadd, beginning at its pixel (row, col). pixel_map: a
    `grid.PixelMap`, positions on the whole coadd. bits, shifts (k,) int64: the bits `bits[k]` of a
    pixel are shifted up by `shifts[k]`, down if negative. If a pixel has one of the bits `rest`,
    `other` is added. out (n, m) int32.
    """
    rows, cols = pixels.shape
    x, y = np.empty(CELL, np.float64), np.empty(CELL, np.float64)
    for cell_j in range(pixel_map.state.shape[0]):
        for cell_i in range(pixel_map.state.shape[1]):
            top, start = cell_j * pixel_map.step, cell_i * pixel_map.step
            off = pixel_map.state[cell_j, cell_i] == OUTSIDE
            for r in range(min(pixel_map.step, pixel_map.rows - top)):
                count = min(pixel_map.step, pixel_map.cols - start)
                if not off:
                    line_positions(pixel_map, cell_j, cell_i, r, x, y)
                for c in range(count):
                    px, py = x[c] - col, y[c] - row
                    # written so that a NaN position counts as off the image
                    if off or not (-0.5 <= px < cols - 0.5 and -0.5 <= py < rows - 0.5):
                        out[top + r, start + c] = no_data
                        continue
                    i, j = int(np.floor(px)), int(np.floor(py))
                    # not floor(p + 0.5), which rounds 0.5 - 2**-54 up
                    i += px - i >= 0.5
                    j += py - j >= 0.5
                    word = np.int64(pixels[j, i]) & 0xFFFFFFFF
                    flags = other if word & rest else 0
                    for k in range(bits.size):
                        selected = word & bits[k]
                        flags |= selected << shifts[k] if shifts[k] >= 0 else selected >> -shifts[k]
                    out[top + r, start + c] = flags

"""The compiled loop that samples a mask at the positions of a tile; `flags` calls it.

See `grid_kernels` for what holds for all kernels.
"""

from typing import Any

import numpy as np

from hipsgen.sky.compiled import kernel
from hipsgen.sky.grid_kernels import CELL, OUTSIDE, line_of


@kernel
def sample_nearest(
    pixels: Any,
    row: int,
    col: int,
    at: Any,
    bits: Any,
    shifts: Any,
    rest: int,
    other: int,
    none: int,
    out: Any,
) -> None:
    """out[r, c] = the flags of the pixel nearest to the positions of a map, `none` off the pixels.

    pixels (h, w) int32: a part of the coadd, whose pixel (row, col) is its first; at: the PixelMap,
    positions on the whole coadd. bits, shifts (k,) int64: these bits of a pixel are shifted up by
    so many, or down by less than none. If it has one of `rest`, `other` is added. out (n, m) int32.
    """
    rows, cols = pixels.shape
    x, y = np.empty(CELL, np.float64), np.empty(CELL, np.float64)
    for cell_j in range(at.state.shape[0]):
        for cell_i in range(at.state.shape[1]):
            top, start = cell_j * at.step, cell_i * at.step
            off = at.state[cell_j, cell_i] == OUTSIDE
            for r in range(min(at.step, at.rows - top)):
                count = min(at.step, at.cols - start)
                if not off:
                    line_of(at, cell_j, cell_i, r, x, y)
                for c in range(count):
                    px, py = x[c] - col, y[c] - row
                    # a position that is NaN is off, too
                    if off or not (-0.5 <= px < cols - 0.5 and -0.5 <= py < rows - 0.5):
                        out[top + r, start + c] = none
                        continue
                    i, j = int(np.floor(px)), int(np.floor(py))
                    # not floor(p + 0.5), which rounds 0.5 - 2**-54 up
                    i += px - i >= 0.5
                    j += py - j >= 0.5
                    word = np.int64(pixels[j, i]) & 0xFFFFFFFF
                    flags = other if word & rest else 0
                    for k in range(bits.size):
                        some = word & bits[k]
                        flags |= some << shifts[k] if shifts[k] >= 0 else some >> -shifts[k]
                    out[top + r, start + c] = flags

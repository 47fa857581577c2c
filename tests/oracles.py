"""Independent reference implementations: healpy and plain loops."""

from functools import lru_cache

import numpy as np


@lru_cache
def interleaved(width: int) -> np.ndarray:
    """(width, width) int64: NESTED index inside a tile, FITS orientation, bit by bit; read only.

    HiPS: FITS column = y (odd bits), row from the bottom = width - 1 - x (even bits).
    """
    index = np.empty((width, width), np.int64)
    for row in range(width):
        for col in range(width):
            x, y = width - 1 - row, col
            index[row, col] = int(
                "".join(b + a for a, b in zip(f"{x:016b}", f"{y:016b}", strict=True)), 2
            )
    index.setflags(write=False)
    return index

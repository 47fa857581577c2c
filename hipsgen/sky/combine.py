"""Combine the values of overlapping coadds on a tile.

- feather: weights fall smoothly to zero at each coadd's edge, over a quarter of its shorter side;
- primary: only the coadd in which the pixel lies farthest from an edge;
- mean: all coadds with equal weight.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.sky import tile_kernels as kernels
from hipsgen.sky.grid import PixelMap
from hipsgen.sky.grid_kernels import CELL, OUTSIDE

CellMask = npt.NDArray[np.bool_]

OVERLAPS = ("feather", "primary", "mean")
DEFAULT_OVERLAP = "feather"
_RAMP = 0.25  # of the shorter side
_NO_COADD, _SEVERAL = -1, -2  # owner of a cell; other values are the index of its only coadd


class Accumulator:
    """Combine the values of coadds on one tile, in the order in which they are added.

    Where only one coadd has data its values are kept unchanged. Weighted sums are computed only in
    cells that several coadds touch, starting when the second one is added.

    Parameters
    ----------
    width
        Side of the tile in pixels.
    overlap
        One of `OVERLAPS`; see the module's documentation.

    Raises
    ------
    ValueError
        If `overlap` is unknown.
    """

    def __init__(self, width: int, overlap: str = DEFAULT_OVERLAP) -> None:
        if overlap not in OVERLAPS:
            raise ValueError(f"overlap {overlap!r} is not one of {', '.join(OVERLAPS)}")
        self._overlap = overlap
        self._values: npt.NDArray[np.float32] | None = None
        # two arrays: one twice as large would make the system zero more memory than is used
        self._total, self._weight = np.empty((width, width)), np.empty((width, width))
        self._coadds: list[_Coadd] = []
        self._step = min(CELL, width)
        cells = width // self._step
        self._owner = np.full((cells, cells), _NO_COADD)

    def add(
        self,
        values: npt.NDArray[np.float32],
        position: PixelMap,
        shape: tuple[int, int],
        pixel_scale: float,
    ) -> None:
        """Add one coadd.

        Parameters
        ----------
        values
            Resampled values, (width, width) float32, row 0 at the bottom; NaN where the coadd has
            no data. The array that is added first is kept and becomes the result.
        position
            Positions of the tile's pixels on the coadd.
        shape
            (rows, columns) of the whole coadd.
        pixel_scale
            Side of a pixel of the coadd in degrees.
        """
        coadd = _Coadd(position, shape, pixel_scale)
        inside = position.state != OUTSIDE
        free = inside & (self._owner == _NO_COADD)
        if self._values is None:
            self._values = values
        else:
            self._cells(self._values)[free] = self._cells(values)[free]
        for number in np.unique(self._owner[inside & (self._owner >= 0)]):
            both = inside & (self._owner == number)
            self._cells(self._total)[both] = self._cells(self._weight)[both] = 0.0
            self._sum(self._values, self._coadds[number], both)
            self._owner[both] = _SEVERAL
        self._sum(values, coadd, inside & (self._owner == _SEVERAL))
        self._owner[free] = len(self._coadds)
        self._coadds.append(coadd)

    def result(self) -> npt.NDArray[np.float32]:
        """Return the combined tile, (width, width) float32, NaN where no coadd has data."""
        if self._values is None:
            return np.full(self._total.shape, np.nan, np.float32)
        several = self._owner == _SEVERAL
        kernels.divide(self._total, self._weight, several, self._step, self._values)
        return self._values

    def _cells(self, pixels: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """View the pixels of a tile (width, width) as (cell rows, cell columns, step, step)."""
        count = len(self._owner)
        return pixels.reshape(count, self._step, count, self._step).swapaxes(1, 2)

    def _sum(self, values: npt.NDArray[np.float32], coadd: "_Coadd", cells: CellMask) -> None:
        if not cells.any():
            return
        rows, cols = coadd.shape
        sums = self._total, self._weight
        if self._overlap == "mean":
            kernels.add_mean(values, cells, self._step, *sums)
        elif self._overlap == "feather":
            ramp = max(1.0, _RAMP * min(coadd.shape))
            kernels.add_feathered(values, coadd.position, cells, rows, cols, ramp, *sums)
        else:
            scale = coadd.pixel_scale
            kernels.keep_deepest(values, coadd.position, cells, rows, cols, scale, *sums)


@dataclass(frozen=True)
class _Coadd:
    """The properties of a coadd that determine its weights; see `Accumulator.add`."""

    position: PixelMap
    shape: tuple[int, int]
    pixel_scale: float

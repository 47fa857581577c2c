"""One value from the coadds that overlap in a tile.

- feather: weights fall smoothly to zero at each coadd's edge, over a quarter of its shorter side;
- primary: the coadd in which the point lies deepest, and that one alone;
- mean: every coadd alike.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.sky import tile_kernels as kernels
from hipsgen.sky.grid import PixelMap
from hipsgen.sky.grid_kernels import CELL, OUTSIDE

Cells = npt.NDArray[np.bool_]

OVERLAPS = ("feather", "primary", "mean")
DEFAULT_OVERLAP = "feather"
_RAMP = 0.25  # of the shorter side
_NOBODY, _MANY = -1, -2  # whose a cell is, else the number of a coadd


class Accumulator:
    """Gathers the values of coadds on one tile, in the order in which they are added.

    What a single coadd has is left as it is; sums are made in the cells that several touch, from
    the moment when the second comes.
    """

    def __init__(self, width: int, overlap: str = DEFAULT_OVERLAP) -> None:
        if overlap not in OVERLAPS:
            raise ValueError(f"overlap {overlap!r} is none of {', '.join(OVERLAPS)}")
        self._overlap = overlap
        self._values: npt.NDArray[np.float32] | None = None
        # apart, lest they are so large that the system zeroes more of them than is used
        self._total, self._weight = np.empty((width, width)), np.empty((width, width))
        self._coadds: list[_Coadd] = []
        self._step = min(CELL, width)
        cells = width // self._step
        self._owner = np.full((cells, cells), _NOBODY)

    def add(
        self,
        values: npt.NDArray[np.float32],
        position: PixelMap,
        shape: tuple[int, int],
        pixel_scale: float,
    ) -> None:
        """Add one coadd: values (width, width) float32, NaN for none, and where they lie on it.

        shape: (rows, columns) of the whole coadd; pixel_scale: its pixel's side in degrees. The
        first array is kept, and becomes the result.
        """
        coadd = _Coadd(position, shape, pixel_scale)
        inside = position.state != OUTSIDE
        free = inside & (self._owner == _NOBODY)
        if self._values is None:
            self._values = values
        else:
            self._cells(self._values)[free] = self._cells(values)[free]
        for number in np.unique(self._owner[inside & (self._owner >= 0)]):
            both = inside & (self._owner == number)
            self._cells(self._total)[both] = self._cells(self._weight)[both] = 0.0
            self._sum(self._values, self._coadds[number], both)
            self._owner[both] = _MANY
        self._sum(values, coadd, inside & (self._owner == _MANY))
        self._owner[free] = len(self._coadds)
        self._coadds.append(coadd)

    def result(self) -> npt.NDArray[np.float32]:
        """The combined tile (width, width) float32, NaN where no coadd has a value."""
        if self._values is None:
            return np.full(self._total.shape, np.nan, np.float32)
        many = self._owner == _MANY
        kernels.divide(self._total, self._weight, many, self._step, self._values)
        return self._values

    def _cells(self, pixels: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """The pixels of a tile (width, width) as (rows, columns of cells, step, step): a view."""
        count = len(self._owner)
        return pixels.reshape(count, self._step, count, self._step).swapaxes(1, 2)

    def _sum(self, values: npt.NDArray[np.float32], coadd: "_Coadd", cells: Cells) -> None:
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
    """What the weights of a coadd follow from; see `Accumulator.add`."""

    position: PixelMap
    shape: tuple[int, int]
    pixel_scale: float

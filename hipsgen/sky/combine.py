"""One value from the coadds that overlap in a tile.

- feather: weights fall smoothly to zero at each coadd's edge, over a quarter of its shorter side;
- primary: the coadd in which the point lies deepest, and that one alone;
- mean: every coadd alike.
"""

import numpy as np
import numpy.typing as npt

from hipsgen.sky import kernels
from hipsgen.sky.grid import PixelMap

FloatArray = npt.NDArray[np.float64]

OVERLAPS = ("feather", "primary", "mean")
DEFAULT_OVERLAP = "feather"
_RAMP = 0.25  # of the shorter side


class Accumulator:
    """Gathers the values of coadds on one tile, in the order in which they are added."""

    def __init__(self, width: int, overlap: str = DEFAULT_OVERLAP) -> None:
        if overlap not in OVERLAPS:
            raise ValueError(f"overlap {overlap!r} is none of {', '.join(OVERLAPS)}")
        self._overlap = overlap
        self._total = np.zeros((width, width))
        self._weight = np.zeros((width, width))

    def add(
        self,
        values: npt.NDArray[np.float32],
        position: PixelMap,
        shape: tuple[int, int],
        pixel_scale: float,
    ) -> None:
        """Add one coadd: values (width, width) float32, NaN for none, and where they lie on it.

        shape: (rows, columns) of the whole coadd; pixel_scale: its pixel's side in degrees.
        """
        rows, cols = shape
        if self._overlap == "mean":
            kernels.add_mean(values, self._total, self._weight)
        elif self._overlap == "feather":
            ramp = max(1.0, _RAMP * min(shape))
            kernels.add_feathered(values, position, rows, cols, ramp, self._total, self._weight)
        else:
            kernels.keep_deepest(
                values, position, rows, cols, pixel_scale, self._total, self._weight
            )

    def result(self) -> npt.NDArray[np.float32]:
        """The combined tile (width, width) float32, NaN where no coadd has a value."""
        out = np.empty(self._total.shape, np.float32)
        kernels.divide(self._total, self._weight, out)
        return out

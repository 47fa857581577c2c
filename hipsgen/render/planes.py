"""Handlers of the planes of coadds: how values and masks are resampled to a leaf tile.

Above the leaf tiles (`sky/pyramid.py`) and in files (`survey/fits_tile.py`) the dtype of the pixels
distinguishes values (float32) from masks (int32).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hipsgen.images.source import CoaddInfo
from hipsgen.images.units import factor_to
from hipsgen.planner.recipe import Recipe
from hipsgen.sky.combine import Accumulator
from hipsgen.sky.grid import PixelMap
from hipsgen.sky.mask_planes import OTHER, MaskAccumulator, MaskPlaneMapping, Pixels, sample_nearest
from hipsgen.sky.resample import resample


class TileAccumulator(Protocol):
    """Combines coadds on one tile; see `Accumulator`."""

    def add(
        self, pixels: Any, position: PixelMap, shape: tuple[int, int], pixel_scale: float, /
    ) -> None:
        """Add one coadd."""

    def result(self) -> Pixels:
        """Return the combined tile (width, width)."""


class PlaneHandler(Protocol):
    """Turns the pixels of coadds into those of a leaf tile."""

    def factor(self, info: CoaddInfo) -> float:
        """Return the factor to the unit of the survey. Raises CoaddError if there is none."""

    def sample(
        self, pixels: Any, at: PixelMap, first: tuple[int, int], info: CoaddInfo, factor: float
    ) -> Pixels:
        """Resample a coadd to a tile.

        Parameters
        ----------
        pixels : numpy.ndarray
            (rows, columns): a section of the coadd.
        at : PixelMap
            Positions of the tile's pixels on the coadd.
        first : (int, int)
            Row and column of the first of `pixels` in the coadd.
        info : CoaddInfo
            Properties of the coadd.
        factor : float
            From `factor`.

        Returns
        -------
        numpy.ndarray
            (width, width), float32 with NaN for missing data, or int32 for masks.
        """

    def accumulator(self, width: int) -> TileAccumulator:
        """Return an empty accumulator for a tile of `width` pixels."""


@dataclass(frozen=True)
class ImagePlane:
    """Handler of images and variances: float32 values are interpolated and averaged."""

    recipe: Recipe

    def factor(self, info: CoaddInfo) -> float:
        """See `PlaneHandler.factor`."""
        return factor_to(info, self.recipe.unit, self.recipe.pixel_scale)

    def sample(
        self, pixels: Any, at: PixelMap, first: tuple[int, int], info: CoaddInfo, factor: float
    ) -> Pixels:
        """See `PlaneHandler.sample`."""
        values = resample(pixels, at, self.recipe.interpolation, first)
        if factor != 1.0:
            values *= np.float32(factor)
        return values

    def accumulator(self, width: int) -> TileAccumulator:
        """See `PlaneHandler.accumulator`."""
        return Accumulator(width, self.recipe.overlap)


@dataclass(frozen=True)
class MaskPlane:
    """Handler of masks: int32 flags of the nearest pixel, moved to the bits of the survey."""

    recipe: Recipe

    def factor(self, info: CoaddInfo) -> float:
        """Return 1: masks have no unit."""
        return 1.0

    def sample(
        self, pixels: Any, at: PixelMap, first: tuple[int, int], info: CoaddInfo, factor: float
    ) -> Pixels:
        """See `PlaneHandler.sample`."""
        return sample_nearest(
            pixels, at, MaskPlaneMapping.between(info.planes, self.recipe.planes, OTHER), first
        )

    def accumulator(self, width: int) -> TileAccumulator:
        """See `PlaneHandler.accumulator`."""
        return MaskAccumulator(width, self.recipe.overlap)


def plane_handler(recipe: Recipe) -> PlaneHandler:
    """Return the handler of the plane of a survey."""
    kind: Callable[[Recipe], PlaneHandler] = MaskPlane if recipe.plane == "mask" else ImagePlane
    return kind(recipe)

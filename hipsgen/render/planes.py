"""What the pixels of a survey are, values or flags: how they come out of coadds on a leaf tile.

Above the leaf tiles the type of the pixels tells (`sky/pyramid.py`), as it does for files
(`survey/fits_tile.py`).
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
    """Coadds on one tile; see `Accumulator`."""

    def add(
        self, pixels: Any, position: PixelMap, shape: tuple[int, int], pixel_scale: float, /
    ) -> None:
        """Add one coadd."""

    def result(self) -> Pixels:
        """The combined tile."""


class PlaneHandler(Protocol):
    """How the pixels of coadds become those of a leaf tile."""

    def factor(self, info: CoaddInfo) -> float:
        """What those of a coadd are multiplied with. Raises CoaddError if they do not fit."""

    def sample(
        self, pixels: Any, at: PixelMap, first: tuple[int, int], info: CoaddInfo, factor: float
    ) -> Pixels:
        """Those of a coadd on a tile (width, width); arguments as for `resample`."""

    def accumulator(self, width: int) -> TileAccumulator:
        """What combines coadds on a tile."""


@dataclass(frozen=True)
class ImagePlane:
    """Of images and variances: float32, interpolated, averaged."""

    recipe: Recipe

    def factor(self, info: CoaddInfo) -> float:
        """To the survey's unit."""
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
    """Of masks: int32, those of the nearest pixel, in the survey's bits."""

    recipe: Recipe

    def factor(self, info: CoaddInfo) -> float:
        """None."""
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
    """What the pixels of a survey are."""
    kind: Callable[[Recipe], PlaneHandler] = MaskPlane if recipe.plane == "mask" else ImagePlane
    return kind(recipe)

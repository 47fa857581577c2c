"""Four children become a parent.

A pixel carries its value and its coverage: the share of its area for which there is data. A parent
is the mean of its children weighted by their coverage, so surface brightness is conserved whatever
the edges look like. What is shown of it (`visible`) is where at least half is covered: edges and
holes keep their size at every order, where counting any touched pixel would let footprints grow.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.sky import kernels

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """value and coverage (width, width) float32; value is NaN exactly where coverage is 0."""

    value: Float32Array
    coverage: Float32Array

    @classmethod
    def leaf(cls, value: Float32Array) -> "Layer":
        """A layer of the deepest order, where a pixel has data or has none."""
        return cls(value, (~np.isnan(value)).astype(np.float32))

    def visible(self) -> Float32Array:
        """The values of pixels that are at least half covered, NaN elsewhere.

        In a tile that has no such pixel the best covered ones stay, lest a survey smaller than a
        pixel vanish from the low orders.
        """
        enough = min(0.5, float(self.coverage.max()))
        if enough == 0.0:
            return self.value
        return np.where(self.coverage >= enough, self.value, np.float32(np.nan))

    def is_empty(self) -> bool:
        """Whether no pixel has data."""
        return not self.coverage.any()


def parent_of(children: Mapping[int, Layer], width: int) -> Layer:
    """The parent of up to four children, keyed by their NESTED place 0 ... 3 (npix & 3)."""
    value = np.full((width, width), np.nan, np.float32)
    coverage = np.zeros((width, width), np.float32)
    half = width // 2
    for place, child in children.items():
        # bit 0 is x, which runs against the rows; bit 1 is y, which runs along the columns
        row = 0 if place & 1 else half
        col = half if place & 2 else 0
        quarter = slice(row, row + half), slice(col, col + half)
        kernels.halve(child.value, child.coverage, value[quarter], coverage[quarter])
    return Layer(value, coverage)


def shrink(layer: Layer, width: int) -> Layer:
    """The same area with `width` x `width` pixels; the old width over the new is a power of two."""
    while layer.value.shape[0] > width:
        half = layer.value.shape[0] // 2
        value, coverage = np.empty((half, half), np.float32), np.empty((half, half), np.float32)
        kernels.halve(layer.value, layer.coverage, value, coverage)
        layer = Layer(value, coverage)
    return layer

"""Four children become a parent.

A pixel carries its value and its coverage: the share of its area for which there is data. A parent
is the mean of its children weighted by their coverage, so surface brightness is conserved whatever
the edges look like. What is shown of it (`visible`) is where at least half is covered: edges and
holes keep their size at every order, where counting any touched pixel would let footprints grow.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.sky import tile_kernels as kernels

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """value (width, width) float32, NaN for none; shares: the coverage, None if all or nothing."""

    value: Float32Array
    shares: Float32Array | None = None

    @property
    def coverage(self) -> Float32Array:
        """Covered share of each pixel (width, width) float32; 0 exactly where value is NaN."""
        if self.shares is None:
            return (~np.isnan(self.value)).astype(np.float32)
        return self.shares

    def visible(self) -> Float32Array:
        """The values of pixels that are at least half covered, NaN elsewhere.

        In a tile that has no such pixel the best covered ones stay, lest a survey smaller than a
        pixel vanish from the low orders.
        """
        if self.shares is None:
            return self.value
        out = np.empty_like(self.value)
        if not kernels.show(self.value, self.shares, 0.5, out) and (best := self.shares.max()) > 0:
            kernels.show(self.value, self.shares, float(best), out)
        return out


def parent_of(children: Iterable[tuple[int, Layer | None]], width: int) -> Layer | None:
    """The parent of up to four children, each with its NESTED place 0 ... 3 (npix & 3) before it.

    width: of the parent, and of its children, unless they come `shrink`-ed to half of it already.
    None when there is none. A child is let go of before the next is asked for, so that this one can
    be made in the same memory.
    """
    value, coverage = np.empty((2, 0, 0), np.float32)
    half = width // 2
    missing = {*range(4)}
    for place, layer in children:
        if layer is not None:
            if not value.size:
                value, coverage = np.empty((2, width, width), np.float32)
            row, col = _corner(place, half)
            if layer.value.shape[0] == width:
                _halve(layer, row, col, value, coverage)
            else:
                value[row : row + half, col : col + half] = layer.value
                coverage[row : row + half, col : col + half] = layer.coverage
            missing.discard(place)
        del layer
    if not value.size:
        return None
    for place in missing:
        row, col = _corner(place, half)
        value[row : row + half, col : col + half] = np.nan
        coverage[row : row + half, col : col + half] = 0.0
    return Layer(value, coverage)


def _corner(place: int, half: int) -> tuple[int, int]:
    """Row and column in the parent of the first pixel of a child."""
    # bit 0 is x, which runs against the rows; bit 1 is y, which runs along the columns
    return 0 if place & 1 else half, half if place & 2 else 0


def shrink(layer: Layer, width: int) -> Layer:
    """The same area with `width` x `width` pixels; the old width over the new is a power of two."""
    while layer.value.shape[0] > width:
        half = layer.value.shape[0] // 2
        value, coverage = np.empty((half, half), np.float32), np.empty((half, half), np.float32)
        _halve(layer, 0, 0, value, coverage)
        layer = Layer(value, coverage)
    return layer


def _halve(
    layer: Layer, row: int, col: int, out_value: Float32Array, out_coverage: Float32Array
) -> None:
    if layer.shares is None:
        kernels.halve_leaf(layer.value, row, col, out_value, out_coverage)
    else:
        kernels.halve(layer.value, layer.shares, row, col, out_value, out_coverage)

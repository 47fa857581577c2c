"""Four children become a parent.

A pixel carries its value and its coverage: the share of its area for which there is data. A parent
is the mean of its children weighted by their coverage, so surface brightness is conserved whatever
the edges look like. What is shown of it (`visible`) is where at least half is covered: edges and
holes keep their size at every order, where counting any touched pixel would let footprints grow.

Flags are not averaged: a parent has those of all its children, wherever one of them is covered.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.sky import mask_planes
from hipsgen.sky import tile_kernels as kernels
from hipsgen.sky.mask_planes import Pixels, is_known

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """value (width, width) float32, NaN for none; shares: the coverage, None if all or nothing.

    Or flags, int32, whose shares are None.
    """

    value: Pixels
    shares: Float32Array | None = None

    @property
    def coverage(self) -> Float32Array:
        """Covered share of each pixel (width, width) float32; 0 exactly where value is NaN."""
        if self.shares is None:
            return is_known(self.value).astype(np.float32)
        return self.shares

    def visible(self) -> Pixels:
        """The values of pixels that are at least half covered, NaN elsewhere; flags as they are.

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
    parent: Layer | None = None
    half = width // 2
    missing = {*range(4)}
    for place, layer in children:
        if layer is not None:
            if parent is None:
                parent = _room(layer, width)
            row, col = _corner(place, half)
            if layer.value.shape[0] == width:
                _halve(layer, row, col, parent)
            else:
                parent.value[row : row + half, col : col + half] = layer.value
                if parent.shares is not None:
                    parent.shares[row : row + half, col : col + half] = layer.coverage
            missing.discard(place)
        del layer
    if parent is None:
        return None
    for place in missing:
        row, col = _corner(place, half)
        none = np.nan if parent.shares is not None else mask_planes.NO_DATA
        parent.value[row : row + half, col : col + half] = none
        if parent.shares is not None:
            parent.shares[row : row + half, col : col + half] = 0.0
    return parent


def _room(layer: Layer, width: int) -> Layer:
    """A layer, of pixels that are to be written, for one of what another holds."""
    if layer.value.dtype == np.int32:
        return Layer(np.empty((width, width), np.int32))
    value, coverage = np.empty((2, width, width), np.float32)
    return Layer(value, coverage)


def _corner(place: int, half: int) -> tuple[int, int]:
    """Row and column in the parent of the first pixel of a child."""
    # bit 0 is x, which runs against the rows; bit 1 is y, which runs along the columns
    return 0 if place & 1 else half, half if place & 2 else 0


def shrink(layer: Layer, width: int) -> Layer:
    """The same area with `width` x `width` pixels; the old width over the new is a power of two."""
    while layer.value.shape[0] > width:
        smaller = _room(layer, layer.value.shape[0] // 2)
        _halve(layer, 0, 0, smaller)
        layer = smaller
    return layer


def _halve(layer: Layer, row: int, col: int, out: Layer) -> None:
    """Half as wide into another, from a row and column on."""
    if out.shares is None:
        half = layer.value.shape[0] // 2
        mask_planes.halve(layer.value, out.value[row : row + half, col : col + half])
    elif layer.shares is None:
        kernels.halve_leaf(layer.value, row, col, out.value, out.shares)
    else:
        kernels.halve(layer.value, layer.shares, row, col, out.value, out.shares)

"""Combine four child tiles into their parent, and shrink tiles.

A pixel carries a value and a coverage, the fraction of its area for which there is data. A parent
is the mean of its children weighted by coverage, so surface brightness is conserved at edges of any
shape. Only pixels that are at least half covered are shown (`Layer.visible`): edges and holes then
keep their size at every order, whereas showing every touched pixel would let footprints grow.

Masks are not averaged: a parent has the flags of all its children, wherever one of them has data.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.sky import mask_planes
from hipsgen.sky import tile_kernels as kernels
from hipsgen.sky.mask_planes import Pixels, is_valid

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """The pixels of a tile with their coverage.

    Attributes
    ----------
    value
        (width, width) float32 values, NaN if missing, or int32 flags.
    shares
        (width, width) float32 coverage; None if every pixel is covered entirely or not at all, and
        for flags.
    """

    value: Pixels
    shares: Float32Array | None = None

    @property
    def coverage(self) -> Float32Array:
        """Covered fraction of each pixel (width, width) float32; 0 exactly where value is NaN."""
        if self.shares is None:
            return is_valid(self.value).astype(np.float32)
        return self.shares

    def visible(self) -> Pixels:
        """Return the values of pixels that are at least half covered, else NaN; flags unchanged.

        If a tile has no such pixel its best covered ones are shown, so that a survey smaller than a
        pixel does not disappear from the low orders.
        """
        if self.shares is None:
            return self.value
        out = np.empty_like(self.value)
        mask = kernels.mask_uncovered
        if not mask(self.value, self.shares, 0.5, out) and (best := self.shares.max()) > 0:
            mask(self.value, self.shares, float(best), out)
        return out


def parent_of(children: Iterable[tuple[int, Layer | None]], width: int) -> Layer | None:
    """Combine up to four children into their parent.

    Parameters
    ----------
    children
        NESTED index 0 ... 3 (npix & 3) and layer of each child; None for a missing one. Each layer
        is released before the next is requested, so that the iterable can reuse its memory.
    width
        Side in pixels of the parent and of the children, unless these have already been reduced to
        half of it with `shrink`.

    Returns
    -------
    Layer or None
        None if there is no child.
    """
    parent: Layer | None = None
    half = width // 2
    missing = {*range(4)}
    for index, layer in children:
        if layer is not None:
            if parent is None:
                parent = _empty_layer(layer, width)
            row, col = _corner(index, half)
            if layer.value.shape[0] == width:
                _halve(layer, row, col, parent)
            else:
                parent.value[row : row + half, col : col + half] = layer.value
                if parent.shares is not None:
                    parent.shares[row : row + half, col : col + half] = layer.coverage
            missing.discard(index)
        del layer
    if parent is None:
        return None
    for index in missing:
        row, col = _corner(index, half)
        missing_value = np.nan if parent.shares is not None else mask_planes.NO_DATA
        parent.value[row : row + half, col : col + half] = missing_value
        if parent.shares is not None:
            parent.shares[row : row + half, col : col + half] = 0.0
    return parent


def _empty_layer(layer: Layer, width: int) -> Layer:
    """Allocate a layer, with uninitialized pixels, for the same kind of data as another."""
    if layer.value.dtype == np.int32:
        return Layer(np.empty((width, width), np.int32))
    value, coverage = np.empty((2, width, width), np.float32)
    return Layer(value, coverage)


def _corner(index: int, half: int) -> tuple[int, int]:
    """Return row and column, in the parent, of the first pixel of a child."""
    # bit 0 is x, which runs against the rows; bit 1 is y, which runs along the columns
    return 0 if index & 1 else half, half if index & 2 else 0


def shrink(layer: Layer, width: int) -> Layer:
    """Reduce a layer to `width` x `width` pixels; the ratio of the widths is a power of two."""
    while layer.value.shape[0] > width:
        smaller = _empty_layer(layer, layer.value.shape[0] // 2)
        _halve(layer, 0, 0, smaller)
        layer = smaller
    return layer


def _halve(layer: Layer, row: int, col: int, out: Layer) -> None:
    """Write a layer at half its width into another, beginning at a row and column."""
    if out.shares is None:
        half = layer.value.shape[0] // 2
        mask_planes.halve(layer.value, out.value[row : row + half, col : col + half])
    elif layer.shares is None:
        kernels.halve_leaf(layer.value, row, col, out.value, out.shares)
    else:
        kernels.halve(layer.value, layer.shares, row, col, out.value, out.shares)

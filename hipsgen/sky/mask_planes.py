"""Masks: int32 pixels with one bit for each mask plane, NO_DATA where there is no coadd.

Masks are never averaged. A tile pixel has the flags of the nearest pixel of a coadd; where masks
are combined (coadds on a tile, children in a parent) it has the flags that any of them has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.sky import mask_kernels as kernels
from hipsgen.sky.combine import Accumulator
from hipsgen.sky.grid import PixelMap

Flags = npt.NDArray[np.int32]
Pixels = npt.NDArray[Any]  # of a tile: values (float32, NaN if missing) or flags (int32)

# the last plane of a mask survey collects the flags that have no plane of their own
OTHER, OTHER_BIT = "OTHER", 30

NO_DATA = -(1 << 31)  # the sign bit, which no plane uses
_ALL = (1 << 31) - 1


def is_valid(pixels: Pixels) -> npt.NDArray[np.bool_]:
    """Return where pixels, values or flags, are valid: not NaN or not NO_DATA."""
    return np.asarray(pixels != NO_DATA if pixels.dtype == np.int32 else ~np.isnan(pixels))


def as_float(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Return flags as float32, NaN for NO_DATA, for display; values are returned unchanged."""
    if pixels.dtype != np.int32:
        return pixels
    return np.where(pixels == NO_DATA, np.float32(np.nan), pixels.astype(np.float32))


@dataclass(frozen=True)
class MaskPlaneMapping:
    """Mapping from the bits of a coadd's mask to those of a survey.

    Attributes
    ----------
    bits, shifts
        (k,) int64: the bits `bits[k]` are shifted up by `shifts[k]`, down if negative.
    rest
        Bits that set `other`.
    other
        Bits of the survey's plane for everything else.
    """

    bits: npt.NDArray[np.int64]
    shifts: npt.NDArray[np.int64]
    rest: int
    other: int

    @classmethod
    def between(
        cls, planes: Mapping[str, int], table: Mapping[str, int], other: str
    ) -> "MaskPlaneMapping":
        """Map planes by name from the bits of a coadd to those of a survey.

        Parameters
        ----------
        planes
            Bit of each plane of the coadd.
        table
            Bit of each plane of the survey.
        other
            Plane of `table` for bits without a name, or whose name is not in `table`.
        """
        bits_by_shift: dict[int, int] = {}
        rest = 0xFFFFFFFF
        for name, bit in planes.items():
            if name in table and 0 <= bit < 32:
                shift = table[name] - bit
                bits_by_shift[shift] = bits_by_shift.get(shift, 0) | 1 << bit
                rest &= ~(1 << bit)
        bits, shifts = (
            np.array(list(k), np.int64) for k in (bits_by_shift.values(), bits_by_shift.keys())
        )
        return cls(bits, shifts, rest, 1 << table[other])


def sample_nearest(
    pixels: Flags, pixel_map: PixelMap, mapping: MaskPlaneMapping, first: tuple[int, int] = (0, 0)
) -> Flags:
    """Sample a mask at the positions of a map, taking the nearest pixel.

    Parameters
    ----------
    pixels
        (h, w) int32, a mask or a part of it.
    pixel_map
        Positions (n, m) on the whole coadd; (0, 0) is the center of its first pixel.
    mapping
        Mapping from the bits of the coadd to those of the survey.
    first
        Row and column, on the coadd, of the first pixel of `pixels`.

    Returns
    -------
    ndarray
        (n, m) int32, NO_DATA outside `pixels`.
    """
    m, out = mapping, np.empty((pixel_map.rows, pixel_map.cols), np.int32)
    pixels = np.ascontiguousarray(pixels)
    kernels.sample_nearest(
        pixels, *first, pixel_map, m.bits, m.shifts, m.rest, m.other, NO_DATA, out
    )
    return out


def union(a: Flags, b: Flags) -> Flags:
    """Return the flags that either mask has; NO_DATA where both are NO_DATA."""
    return np.asarray((a | b) & _ALL | a & b & NO_DATA)


def halve(flags: Flags, out: Flags) -> None:
    """Write the union of each 2x2 pixels of flags (2n, 2m) into out (n, m)."""
    across = union(flags[:, ::2], flags[:, 1::2])
    out[...] = union(across[::2], across[1::2])


class MaskAccumulator:
    """Combine the flags of coadds on one tile, as `combine.Accumulator` does with values.

    With `overlap` "primary" a pixel has the flags of the coadd in which it lies farthest from an
    edge; with any other it has the flags of all coadds.
    """

    def __init__(self, width: int, overlap: str) -> None:
        self._width = width
        self._deepest = Accumulator(width, overlap) if overlap == "primary" else None
        self._masks: list[Flags] = []

    def add(
        self, flags: Flags, position: PixelMap, shape: tuple[int, int], pixel_scale: float
    ) -> None:
        """Add one coadd; see `Accumulator.add`."""
        if self._deepest is not None:
            number = np.where(flags == NO_DATA, np.float32(np.nan), np.float32(len(self._masks)))
            self._deepest.add(number, position, shape, pixel_scale)
        elif self._masks:
            flags = union(self._masks.pop(), flags)
        self._masks.append(flags)

    def result(self) -> Flags:
        """Return the combined tile (width, width) int32, NO_DATA where there is no coadd."""
        if len(self._masks) == 1:
            return self._masks[0]
        out = np.full((self._width, self._width), NO_DATA, np.int32)
        if self._deepest is not None:
            owner = self._deepest.result()
            for number, flags in enumerate(self._masks):
                np.copyto(out, flags, where=owner == number)
        return out

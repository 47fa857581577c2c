"""Flags: the pixels of a mask, int32, a bit for each of its planes; NO_DATA where no coadd is.

They are never averaged. A pixel has the flags of the nearest one of a coadd; where several are
combined, coadds on a tile or children in a parent, it has those that any of them has.
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
Pixels = npt.NDArray[Any]  # of a tile: values, float32 with NaN for none, or flags

# the last plane of a mask survey: of flags that have no plane of their own
OTHER, OTHER_BIT = "OTHER", 30

NO_DATA = -(1 << 31)  # the sign, which is no flag
_ALL = (1 << 31) - 1


def is_known(pixels: Pixels) -> npt.NDArray[np.bool_]:
    """Where pixels, values or flags, are not missing."""
    return np.asarray(pixels != NO_DATA if pixels.dtype == np.int32 else ~np.isnan(pixels))


def as_values(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Values as they are; flags as float32, NaN for NO_DATA, to be shown."""
    if pixels.dtype != np.int32:
        return pixels
    return np.where(pixels == NO_DATA, np.float32(np.nan), pixels.astype(np.float32))


@dataclass(frozen=True)
class MaskPlaneMapping:
    """From the bits of a coadd's mask to those of a survey.

    bits, shifts (k,) int64: these bits go up by so many. rest: those that become `other`.
    """

    bits: npt.NDArray[np.int64]
    shifts: npt.NDArray[np.int64]
    rest: int
    other: int

    @classmethod
    def between(
        cls, planes: Mapping[str, int], table: Mapping[str, int], other: str
    ) -> "MaskPlaneMapping":
        """By name, from the bits of planes to those of a table.

        other: the plane for what has no name, or none that is in the table.
        """
        moved: dict[int, int] = {}
        rest = 0xFFFFFFFF
        for name, bit in planes.items():
            if name in table and 0 <= bit < 32:
                shift = table[name] - bit
                moved[shift] = moved.get(shift, 0) | 1 << bit
                rest &= ~(1 << bit)
        bits, shifts = (np.array(list(k), np.int64) for k in (moved.values(), moved.keys()))
        return cls(bits, shifts, rest, 1 << table[other])


def sample_nearest(
    pixels: Flags, at: PixelMap, translation: MaskPlaneMapping, first: tuple[int, int] = (0, 0)
) -> Flags:
    """The flags of the pixels (h, w) of a mask nearest to the positions of a map (n, m).

    (0, 0) is the center of the first pixel. first: row and column, on the coadd that the map is
    for, of the first of the pixels given. Comes back (n, m) int32, NO_DATA outside.
    """
    t, out = translation, np.empty((at.rows, at.cols), np.int32)
    pixels = np.ascontiguousarray(pixels)
    kernels.sample_nearest(pixels, *first, at, t.bits, t.shifts, t.rest, t.other, NO_DATA, out)
    return out


def union(some: Flags, others: Flags) -> Flags:
    """The flags that either has; NO_DATA where both are."""
    return np.asarray((some | others) & _ALL | some & others & NO_DATA)


def halve(flags: Flags, out: Flags) -> None:
    """The union of 2x2 pixels of flags (2n, 2m) into out (n, m)."""
    across = union(flags[:, ::2], flags[:, 1::2])
    out[...] = union(across[::2], across[1::2])


class MaskAccumulator:
    """Gathers the flags of coadds on one tile, as `combine.Accumulator` does values.

    primary: those of the coadd in which the point lies deepest; any other: those of all of them.
    """

    def __init__(self, width: int, overlap: str) -> None:
        self._width = width
        self._deepest = Accumulator(width, overlap) if overlap == "primary" else None
        self._gathered: list[Flags] = []

    def add(
        self, flags: Flags, position: PixelMap, shape: tuple[int, int], pixel_scale: float
    ) -> None:
        """Add one coadd; see `Accumulator.add`."""
        if self._deepest is not None:
            number = np.where(flags == NO_DATA, np.float32(np.nan), np.float32(len(self._gathered)))
            self._deepest.add(number, position, shape, pixel_scale)
        elif self._gathered:
            flags = union(self._gathered.pop(), flags)
        self._gathered.append(flags)

    def result(self) -> Flags:
        """The combined tile (width, width) int32, NO_DATA where no coadd is."""
        if len(self._gathered) == 1:
            return self._gathered[0]
        out = np.full((self._width, self._width), NO_DATA, np.int32)
        if self._deepest is not None:
            whose = self._deepest.result()
            for number, flags in enumerate(self._gathered):
                np.copyto(out, flags, where=whose == number)
        return out

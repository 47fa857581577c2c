"""A table sorted by where its rows lie on the sky, so that a cone is a few runs of rows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import healpy
import numpy as np
import numpy.typing as npt

from hipsgen.sky.polygon import to_lonlat, to_vectors
from viewer.catalogs.position_columns import PositionColumns, find_positions
from viewer.catalogs.tables import Table

_ORDER = 12  # pixels of 52 arcsec, and their numbers fit into four bytes
_ACROSS = 8  # pixels along a cone's radius, or as many as there are
_STEPS = 12  # of a growing cone, at most

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cone:
    """A position (ICRS) and a radius, all in degrees."""

    ra: float
    dec: float
    radius: float

    @cached_property
    def vector(self) -> Floats:
        """The unit vector of its axis."""
        return to_vectors(self.ra, self.dec)

    @property
    def chord(self) -> float:
        """How far its edge is from its middle, straight, on a sphere of radius 1."""
        return 2 * math.sin(math.radians(min(self.radius, 180.0)) / 2)


class SkyIndex:
    """A table and where its rows are. left_out: how many rows have no position."""

    def __init__(self, table: Table, place: PositionColumns, what: str) -> None:
        """Raises InputError when no position can be found; what: the table's name."""
        lon, lat = find_positions(table, place, what)
        known = np.flatnonzero(~np.isnan(lon + lat))
        vectors = to_vectors(lon[known], lat[known])
        pixels = healpy.vec2pix(1 << _ORDER, *vectors.T, nest=True).astype(np.int32)
        by_pixel = np.argsort(pixels)
        self.table = table
        self.left_out = table.rows - len(known)
        self._pixels, self._vectors = pixels[by_pixel], vectors[by_pixel]
        self._rows = known[by_pixel].astype(np.uint32 if table.rows < 1 << 32 else np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def growing(self, cone: Cone, count: int) -> Iterator[Cone]:
        """A cone at last, and before it smaller ones round the same position.

        The first of them holds about `count` rows, and each of the others 16 times as many.
        """
        smaller = [cone]
        while len(smaller) < _STEPS and self._runs(smaller[-1])[1].sum() > 16 * count:
            smaller.append(replace(cone, radius=smaller[-1].radius / 4))
        yield from reversed(smaller)

    def within(self, cone: Cone) -> tuple[Rows, Floats]:
        """Places of the rows in a cone, and how far they are from its middle (degrees).

        Both have shape (n,), in no order that means something; see `positions` and `values`.
        """
        starts, counts = self._runs(cone)
        before = np.cumsum(counts) - counts
        places = np.arange(counts.sum()) + np.repeat(starts - before, counts)
        apart = self._vectors[places] - cone.vector
        chords = np.sqrt(np.einsum("ij,ij->i", apart, apart))
        # rounding is 1e-16, and 1e-12 is a microarcsecond
        inside = chords <= cone.chord + 1e-12
        far = np.degrees(2 * np.arcsin(np.minimum(chords[inside] / 2, 1.0)))
        return places[inside], far

    def positions(self, places: Rows) -> tuple[Floats, Floats]:
        """RA and Dec in degrees, RA from 0 to 360."""
        return to_lonlat(self._vectors[places])

    def values(self, name: str, places: Rows) -> npt.NDArray[Any]:
        """A column there; see `Table.values`."""
        return np.asarray(self.table.values(name)[self._rows[places]])

    def _runs(self, cone: Cone) -> tuple[Rows, Rows]:
        """Where runs of rows begin that lie in pixels that touch a cone, and how long they are."""
        if cone.radius > 90:
            # healpy (1.20) leaves out pixels of discs beyond 135 degrees, and little is won here
            return np.zeros(1, np.int64), np.array([len(self)])
        order = math.ceil(math.log2(58.6 * _ACROSS / cone.radius))
        order = min(_ORDER, max(0, order))
        radius = math.radians(min(cone.radius, 180.0))
        touched = healpy.query_disc(1 << order, cone.vector, radius, inclusive=True, nest=True)
        pixels, shift = touched.astype(np.int32), 2 * (_ORDER - order)
        starts = np.searchsorted(self._pixels, pixels << shift)
        return starts, np.searchsorted(self._pixels, (pixels + np.int32(1)) << shift) - starts

"""Spatial index of a table: rows sorted by HEALPix pixel, so that a cone is a few row ranges."""

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
_PIXELS_PER_RADIUS = 8  # of a cone, unless that needs pixels smaller than those of _ORDER
_MAX_STEPS = 12  # of an expanding cone

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
        """Unit vector of its axis."""
        return to_vectors(self.ra, self.dec)

    @property
    def chord(self) -> float:
        """Chord length from its center to its edge, on the unit sphere."""
        return 2 * math.sin(math.radians(min(self.radius, 180.0)) / 2)


class SkyIndex:
    """The rows of a table sorted by position.

    Index rows, which `rows_in` returns and other methods take, number the rows in that order.

    Attributes
    ----------
    table
        The table itself.
    left_out
        Number of rows that have no position, and are not in the index.
    """

    def __init__(self, table: Table, columns: PositionColumns, name: str) -> None:
        """Index a table; name: the table's, for errors. Raises InputError without positions."""
        lon, lat = find_positions(table, columns, name)
        valid = np.flatnonzero(~np.isnan(lon + lat))
        vectors = to_vectors(lon[valid], lat[valid])
        pixels = healpy.vec2pix(1 << _ORDER, *vectors.T, nest=True).astype(np.int32)
        by_pixel = np.argsort(pixels)
        self.table = table
        self.left_out = table.rows - len(valid)
        self._pixels, self._vectors = pixels[by_pixel], vectors[by_pixel]
        self._rows = valid[by_pixel].astype(np.uint32 if table.rows < 1 << 32 else np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def expanding_cones(self, cone: Cone, count: int) -> Iterator[Cone]:
        """Yield concentric cones of increasing radius; the last is the given one.

        The first contains about `count` rows, and each following one about 16 times as many.
        """
        cones = [cone]
        while len(cones) < _MAX_STEPS and self._ranges(cones[-1])[1].sum() > 16 * count:
            cones.append(replace(cone, radius=cones[-1].radius / 4))
        yield from reversed(cones)

    def rows_in(self, cone: Cone) -> tuple[Rows, Floats]:
        """Return the index rows in a cone and their distances from its center (degrees).

        Both have shape (n,), in no particular order; see `positions` and `values`.
        """
        starts, counts = self._ranges(cone)
        before = np.cumsum(counts) - counts
        rows = np.arange(counts.sum()) + np.repeat(starts - before, counts)
        offsets = self._vectors[rows] - cone.vector
        chords = np.sqrt(np.einsum("ij,ij->i", offsets, offsets))
        # the rounding error is 1e-16; 1e-12 is about a microarcsecond
        is_inside = chords <= cone.chord + 1e-12
        distances = np.degrees(2 * np.arcsin(np.minimum(chords[is_inside] / 2, 1.0)))
        return rows[is_inside], distances

    def positions(self, rows: Rows) -> tuple[Floats, Floats]:
        """Return RA and Dec of index rows in degrees, RA from 0 to 360."""
        return to_lonlat(self._vectors[rows])

    def values(self, name: str, rows: Rows) -> npt.NDArray[Any]:
        """Return the values of a column at index rows; see `Table.values`."""
        return np.asarray(self.table.values(name)[self._rows[rows]])

    def _ranges(self, cone: Cone) -> tuple[Rows, Rows]:
        """Return starts and lengths of the ranges of index rows in pixels that overlap a cone."""
        if cone.radius > 90:
            # healpy 1.20 misses pixels of disks larger than 135 degrees; all rows cost little more
            return np.zeros(1, np.int64), np.array([len(self)])
        order = math.ceil(math.log2(58.6 * _PIXELS_PER_RADIUS / cone.radius))
        order = min(_ORDER, max(0, order))
        radius = math.radians(min(cone.radius, 180.0))
        overlapping = healpy.query_disc(1 << order, cone.vector, radius, inclusive=True, nest=True)
        pixels, shift = overlapping.astype(np.int32), 2 * (_ORDER - order)
        starts = np.searchsorted(self._pixels, pixels << shift)
        return starts, np.searchsorted(self._pixels, (pixels + np.int32(1)) << shift) - starts

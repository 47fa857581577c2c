"""HEALPix tiles of a HiPS and the pixels inside them.

Formulas: Gorski et al. 2005, ApJ 622, 759 (HEALPix projection, NESTED numbering); layout of the
pixels in a tile and file paths: HiPS 1.0, sections 4.1 and 4.2.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Bits = TypeVar("Bits", int, IntArray)

MAX_ORDER = 29

# row of the southernmost corner of each base face, and longitude of that corner in units of 45 deg
_FACE_ROW = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4], dtype=float)
_FACE_LON = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7], dtype=float)

# masks of every second bit, every second pair of bits ...: steps that close the gaps between bits
_STEPS = (
    (0, 0x5555555555555555),
    (1, 0x3333333333333333),
    (2, 0x0F0F0F0F0F0F0F0F),
    (4, 0x00FF00FF00FF00FF),
    (8, 0x0000FFFF0000FFFF),
    (16, 0x00000000FFFFFFFF),
)


@dataclass(frozen=True, order=True, slots=True)
class Tile:
    """One HEALPix cell of an order, in the NESTED scheme.

    Raises ValueError if the order or the index does not exist.
    """

    order: int
    npix: int

    def __post_init__(self) -> None:
        if not 0 <= self.order <= MAX_ORDER or not 0 <= self.npix < 12 << 2 * self.order:
            raise ValueError(
                f"no tile {self.npix} at order {self.order}: orders are 0 to {MAX_ORDER}, and order"
                " k has the tiles 0 to 12 x 4^k - 1"
            )

    @property
    def parent(self) -> "Tile":
        """The tile of the next lower order that contains this one."""
        return Tile(self.order - 1, self.npix >> 2)

    @property
    def children(self) -> tuple["Tile", "Tile", "Tile", "Tile"]:
        """The four tiles of the next higher order, in NESTED order."""
        first = self.npix << 2
        a, b, c, d = (Tile(self.order + 1, first + k) for k in range(4))
        return a, b, c, d

    def ancestor(self, order: int) -> "Tile":
        """Return the tile of a lower (or the same) order that contains this one."""
        return Tile(order, self.npix >> 2 * (self.order - order))

    def subtree(self, order: int) -> Iterator["Tile"]:
        """Iterate over this tile and all tiles below it, down to an order."""
        for k in range(self.order, order + 1):
            depth = 2 * (k - self.order)
            yield from (Tile(k, n) for n in range(self.npix << depth, (self.npix + 1) << depth))

    def path(self, extension: str) -> str:
        """Return `NorderK/DirD/NpixN.ext`, relative to the root of the survey."""
        directory = self.npix // 10000 * 10000
        return f"Norder{self.order}/Dir{directory}/Npix{self.npix}.{extension}"

    def face(self) -> tuple[int, float, float, float]:
        """Return base face 0 ... 11, x, y of the lowest corner in it, and side (face side = 1)."""
        side = 1.0 / (1 << self.order)
        ix, iy = deinterleave(self.npix & ((1 << 2 * self.order) - 1))
        return self.npix >> 2 * self.order, ix * side, iy * side, side

    def vectors(self, rows: npt.ArrayLike, cols: npt.ArrayLike, width: int) -> FloatArray:
        """Return the unit vectors (..., 3), in the survey's frame, of positions in the tile.

        Parameters
        ----------
        rows, cols
            Positions in pixels, not necessarily integers, in FITS orientation: (0, 0) is the center
            of the first pixel, row 0 is at the bottom.
        width
            Pixels along a side of the tile.
        """
        face, x0, y0, side = self.face()
        # column = y, row from the bottom = width - 1 - x
        x = x0 + side * (width - 0.5 - np.asarray(rows, float)) / width
        y = y0 + side * (np.asarray(cols, float) + 0.5) / width
        return face_to_vectors(face, x, y)


def deinterleave(bits: Bits) -> tuple[Bits, Bits]:
    """Return the numbers made of the even (x) and of the odd (y) bits."""
    return _compact_bits(bits), _compact_bits(bits >> 1)


def _compact_bits(bits: Bits) -> Bits:
    """Return the number made of the even bits."""
    for shift, mask in _STEPS:
        bits = (bits | bits >> shift) & mask
    return bits


def _spread_bits(values: IntArray) -> IntArray:
    """Insert zeros between the bits of numbers below 2^31."""
    for (shift, _), (_, mask) in zip(_STEPS[:0:-1], _STEPS[-2::-1], strict=True):
        values = (values | values << shift) & mask
    return values


def face_to_vectors(face: int | IntArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Convert positions in base faces to unit vectors (..., 3).

    x (to the north-east) and y (north-west) run from 0 to 1 across the face.
    """
    row = _FACE_ROW[face] - x - y
    if row.size and row.min() >= 1.0 and row.max() <= 3.0:  # no position in the polar caps
        z = (2.0 - row) * (2.0 / 3.0)
        rho, lon = np.sqrt(1.0 - z * z), (np.pi / 4) * (_FACE_LON[face] + (x - y))
        return np.stack([rho * np.cos(lon), rho * np.sin(lon), z], axis=-1)
    north, south = row < 1.0, row > 3.0
    to_pole = np.where(north, row, np.where(south, 4.0 - row, 1.0))
    cap = to_pole * to_pole / 3.0  # 1 - |z| in the polar caps
    z = np.where(north, 1.0 - cap, np.where(south, cap - 1.0, (2.0 - row) * (2.0 / 3.0)))
    # sin(theta) computed from 1 - |z| is precise at the poles
    rho = np.where(north | south, np.sqrt(cap * (2.0 - cap)), np.sqrt(1.0 - z * z))
    with np.errstate(divide="ignore", invalid="ignore"):
        lon = (np.pi / 4) * (_FACE_LON[face] + (x - y) / to_pole)
    lon = np.where(to_pole > 0.0, lon, 0.0)
    return np.stack([rho * np.cos(lon), rho * np.sin(lon), z], axis=-1)


def vectors_to_npix(vectors: FloatArray, order: int) -> IntArray:
    """Return the NESTED indices (...) of the tiles that contain vectors (..., 3) of any length.

    The inverse of `face_to_vectors`, rounded down to tiles of an order.
    """
    nside = 1 << order
    rho = np.hypot(vectors[..., 0], vectors[..., 1])
    length = np.hypot(rho, vectors[..., 2])
    z, sine = vectors[..., 2] / length, rho / length
    quarter_turns = np.arctan2(vectors[..., 1], vectors[..., 0]) / (np.pi / 2) % 4.0
    quarter_turns = np.where(quarter_turns >= 4.0, 0.0, quarter_turns)  # -1e-17 % 4 is 4
    quarter = np.floor(quarter_turns).astype(np.int64)
    # indices of the lines of constant y (p) and constant x (m), counted to the east
    p = np.floor(nside * (0.5 + quarter_turns - 0.75 * z)).astype(np.int64)
    m = np.floor(nside * (0.5 + quarter_turns + 0.75 * z)).astype(np.int64)
    row_p, row_m = p >> order, m >> order
    face = np.where(row_p == row_m, row_p & 3 | 4, np.where(row_p < row_m, row_p, row_m + 8))
    x, y = m & nside - 1, nside - 1 - (p & nside - 1)
    # from sin(theta) for precision at the poles, as in `face_to_vectors`
    to_pole = nside * sine * np.sqrt(3.0 / (1.0 + np.abs(z)))
    west = np.minimum(np.floor((quarter_turns - quarter) * to_pole).astype(np.int64), nside - 1)
    east = np.minimum(np.floor((1 - quarter_turns + quarter) * to_pole).astype(np.int64), nside - 1)
    north, south = z > 2.0 / 3.0, z < -2.0 / 3.0
    face = np.where(north, quarter, np.where(south, quarter + 8, face))
    x = np.where(north, nside - 1 - east, np.where(south, west, x))
    y = np.where(north, nside - 1 - west, np.where(south, east, y))
    return np.asarray(face << 2 * order | _spread_bits(x) | _spread_bits(y) << 1)


def cell_centers(order: int, npix: IntArray) -> FloatArray:
    """Return the unit vectors (n, 3) of the centers of cells."""
    ix, iy = deinterleave(npix & ((1 << 2 * order) - 1))
    side = 1 << order
    return face_to_vectors(npix >> 2 * order, (ix + 0.5) / side, (iy + 0.5) / side)


def corner_grids(order: int, npix: IntArray, depth: int) -> FloatArray:
    """Return the corners of all tiles `depth` orders below tiles (n,).

    Unit vectors (n, m + 1, m + 1, 3) with m = 2^depth; the second axis is x (to the north-east),
    the third y (north-west).
    """
    ix, iy = deinterleave(npix & ((1 << 2 * order) - 1))
    along = np.arange((1 << depth) + 1) / (1 << depth)
    x = (ix[:, None, None] + along[:, None]) / (1 << order)
    y = (iy[:, None, None] + along[None, :]) / (1 << order)
    return face_to_vectors((npix >> 2 * order)[:, None, None], *np.broadcast_arrays(x, y))


def pixel_size(order: int, width: int) -> float:
    """Return the side, in degrees, of a square with the area of one pixel of a tile of an order."""
    return math.degrees(math.sqrt(math.pi / 3)) / ((1 << order) * width)


def pixel_area(order: int, width: int) -> float:
    """Return the solid angle of a pixel in arcsec^2; all pixels of an order have the same."""
    return (pixel_size(order, width) * 3600) ** 2


def order_for(pixel_scale: float, width: int, slack: float = 1.05) -> int:
    """Return the lowest order whose pixels are at most `slack` x pixel_scale (degrees) wide."""
    for order in range(MAX_ORDER + 1):
        if pixel_size(order, width) <= slack * pixel_scale:
            return order
    return MAX_ORDER


def nested_index(width: int) -> IntArray:
    """Return the NESTED index inside a tile of each pixel (row, column), (width, width) int64."""
    x = np.arange(width)[::-1, None]
    y = np.arange(width)[None, :]
    return np.asarray(_spread_bits(x) | _spread_bits(y) << 1)

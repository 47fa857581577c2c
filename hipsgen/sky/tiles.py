"""HEALPix tiles of a HiPS and the pixels inside them.

Formulas: Gorski et al. 2005, ApJ 622, 759 (the HEALPix projection, NESTED numbering); the layout
of pixels in a tile and the paths: HiPS 1.0, sections 4.1 and 4.2.
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

# row of the southernmost corner of each base face, and its longitude in units of 45 deg
_FACE_ROW = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4], dtype=float)
_FACE_LON = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7], dtype=float)

# every second bit, every second pair of bits ...: steps from bits with gaps to bits without
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
    """One HEALPix cell at an order, numbered in the NESTED scheme."""

    order: int
    npix: int

    def __post_init__(self) -> None:
        if not 0 <= self.order <= MAX_ORDER or not 0 <= self.npix < 12 << 2 * self.order:
            raise ValueError(f"no tile {self.npix} at order {self.order}")

    @property
    def parent(self) -> "Tile":
        """The tile one order up that holds this one."""
        return Tile(self.order - 1, self.npix >> 2)

    @property
    def children(self) -> tuple["Tile", "Tile", "Tile", "Tile"]:
        """The four tiles one order down, in NESTED order."""
        first = self.npix << 2
        a, b, c, d = (Tile(self.order + 1, first + k) for k in range(4))
        return a, b, c, d

    def ancestor(self, order: int) -> "Tile":
        """The tile at a lower (or the same) order that holds this one."""
        return Tile(order, self.npix >> 2 * (self.order - order))

    def subtree(self, order: int) -> Iterator["Tile"]:
        """This tile and all below it, down to an order."""
        for k in range(self.order, order + 1):
            depth = 2 * (k - self.order)
            yield from (Tile(k, n) for n in range(self.npix << depth, (self.npix + 1) << depth))

    def path(self, extension: str) -> str:
        """`NorderK/DirD/NpixN.ext`, relative to the root of the survey."""
        directory = self.npix // 10000 * 10000
        return f"Norder{self.order}/Dir{directory}/Npix{self.npix}.{extension}"

    def face(self) -> tuple[int, float, float, float]:
        """Base face 0 ... 11; x, y of the tile's lowest corner in it; its side (face side = 1)."""
        side = 1.0 / (1 << self.order)
        ix, iy = deinterleave(self.npix & ((1 << 2 * self.order) - 1))
        return self.npix >> 2 * self.order, ix * side, iy * side, side

    def vectors(self, rows: npt.ArrayLike, cols: npt.ArrayLike, width: int) -> FloatArray:
        """Unit vectors (..., 3), in the survey's frame, of positions in the tile.

        rows, cols: pixel positions of a tile of `width` x `width` pixels, not necessarily whole
        numbers, in FITS orientation: (0, 0) is the center of the first pixel, row 0 the bottom.
        """
        face, x0, y0, side = self.face()
        # column = y, row from the bottom = width - 1 - x
        x = x0 + side * (width - 0.5 - np.asarray(rows, float)) / width
        y = y0 + side * (np.asarray(cols, float) + 0.5) / width
        return face_to_vectors(face, x, y)


def deinterleave(bits: Bits) -> tuple[Bits, Bits]:
    """The numbers made of the even (x) and of the odd (y) bits."""
    return _close_up(bits), _close_up(bits >> 1)


def _close_up(bits: Bits) -> Bits:
    """The even bits, without gaps."""
    for shift, mask in _STEPS:
        bits = (bits | bits >> shift) & mask
    return bits


def _spread(values: IntArray) -> IntArray:
    """Put zeros between the bits of numbers below 2^31."""
    for (shift, _), (_, mask) in zip(_STEPS[:0:-1], _STEPS[-2::-1], strict=True):
        values = (values | values << shift) & mask
    return values


def face_to_vectors(face: int | IntArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Unit vectors (..., 3) of positions x (to the north-east), y (north-west) in base faces.

    x and y run from 0 to 1 across the face.
    """
    row = _FACE_ROW[face] - x - y
    if row.size and row.min() >= 1.0 and row.max() <= 3.0:  # all between the polar caps
        z = (2.0 - row) * (2.0 / 3.0)
        rho, lon = np.sqrt(1.0 - z * z), (np.pi / 4) * (_FACE_LON[face] + (x - y))
        return np.stack([rho * np.cos(lon), rho * np.sin(lon), z], axis=-1)
    north, south = row < 1.0, row > 3.0
    to_pole = np.where(north, row, np.where(south, 4.0 - row, 1.0))
    cap = to_pole * to_pole / 3.0  # 1 - |z| in the polar caps
    z = np.where(north, 1.0 - cap, np.where(south, cap - 1.0, (2.0 - row) * (2.0 / 3.0)))
    # sin(theta) from 1 - |z| keeps its digits at the poles
    rho = np.where(north | south, np.sqrt(cap * (2.0 - cap)), np.sqrt(1.0 - z * z))
    with np.errstate(divide="ignore", invalid="ignore"):
        lon = (np.pi / 4) * (_FACE_LON[face] + (x - y) / to_pole)
    lon = np.where(to_pole > 0.0, lon, 0.0)
    return np.stack([rho * np.cos(lon), rho * np.sin(lon), z], axis=-1)


def vectors_to_npix(vectors: FloatArray, order: int) -> IntArray:
    """NESTED numbers (...), at an order, of the tiles that vectors (..., 3) of any length are in.

    The inverse of `face_to_vectors`, cut to whole tiles.
    """
    nside = 1 << order
    rho = np.hypot(vectors[..., 0], vectors[..., 1])
    length = np.hypot(rho, vectors[..., 2])
    z, sine = vectors[..., 2] / length, rho / length
    turn = np.arctan2(vectors[..., 1], vectors[..., 0]) / (np.pi / 2) % 4.0
    turn = np.where(turn >= 4.0, 0.0, turn)  # -1e-17 % 4 is 4
    quarter = np.floor(turn).astype(np.int64)
    # between which lines of constant y (p) and constant x (m), counted to the east
    p = np.floor(nside * (0.5 + turn - 0.75 * z)).astype(np.int64)
    m = np.floor(nside * (0.5 + turn + 0.75 * z)).astype(np.int64)
    row_p, row_m = p >> order, m >> order
    face = np.where(row_p == row_m, row_p & 3 | 4, np.where(row_p < row_m, row_p, row_m + 8))
    x, y = m & nside - 1, nside - 1 - (p & nside - 1)
    # as in `face_to_vectors`, from sin(theta) to keep its digits at the poles
    to_pole = nside * sine * np.sqrt(3.0 / (1.0 + np.abs(z)))
    west = np.minimum(np.floor((turn - quarter) * to_pole).astype(np.int64), nside - 1)
    east = np.minimum(np.floor((1 - turn + quarter) * to_pole).astype(np.int64), nside - 1)
    north, south = z > 2.0 / 3.0, z < -2.0 / 3.0
    face = np.where(north, quarter, np.where(south, quarter + 8, face))
    x = np.where(north, nside - 1 - east, np.where(south, west, x))
    y = np.where(north, nside - 1 - west, np.where(south, east, y))
    return np.asarray(face << 2 * order | _spread(x) | _spread(y) << 1)


def cell_centers(order: int, npix: IntArray) -> FloatArray:
    """Unit vectors (n, 3) of the centers of cells."""
    ix, iy = deinterleave(npix & ((1 << 2 * order) - 1))
    side = 1 << order
    return face_to_vectors(npix >> 2 * order, (ix + 0.5) / side, (iy + 0.5) / side)


def corner_grids(order: int, npix: IntArray, depth: int) -> FloatArray:
    """Corners of all tiles `depth` orders below tiles (n,): unit vectors (n, m + 1, m + 1, 3).

    m = 2^depth; the first axis of a grid is x (to the north-east), the second y (north-west).
    """
    ix, iy = deinterleave(npix & ((1 << 2 * order) - 1))
    along = np.arange((1 << depth) + 1) / (1 << depth)
    x = (ix[:, None, None] + along[:, None]) / (1 << order)
    y = (iy[:, None, None] + along[None, :]) / (1 << order)
    return face_to_vectors((npix >> 2 * order)[:, None, None], *np.broadcast_arrays(x, y))


def pixel_size(order: int, width: int) -> float:
    """Side, in degrees, of a square with the area of one pixel of a tile at this order."""
    return math.degrees(math.sqrt(math.pi / 3)) / ((1 << order) * width)


def pixel_area(order: int, width: int) -> float:
    """Solid angle of one pixel in arcsec^2; the same for every pixel of an order."""
    return (pixel_size(order, width) * 3600) ** 2


def order_for(pixel_scale: float, width: int, slack: float = 1.05) -> int:
    """Coarsest order whose pixel is at most `slack` x pixel_scale (degrees)."""
    for order in range(MAX_ORDER + 1):
        if pixel_size(order, width) <= slack * pixel_scale:
            return order
    return MAX_ORDER


def nested_index(width: int) -> IntArray:
    """NESTED index inside a tile of the pixel at each (row, column), (width, width) int64."""
    x = np.arange(width)[::-1, None]
    y = np.arange(width)[None, :]
    return np.asarray(_spread(x) | _spread(y) << 1)

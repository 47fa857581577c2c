"""HEALPix tiles of a HiPS and the pixels inside them.

Formulas: Gorski et al. 2005, ApJ 622, 759 (the HEALPix projection, NESTED numbering); the layout
of pixels in a tile and the paths: HiPS 1.0, sections 4.1 and 4.2.
"""

import math
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
        numbers, in FITS orientation: (0, 0) is the centre of the first pixel, row 0 the bottom.
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


def cells_at(order: int, vectors: FloatArray) -> IntArray:
    """NESTED numbers (n,) of the cells of an order in which unit vectors (n, 3) lie."""
    z, rho = vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])
    quarter = np.mod(np.arctan2(vectors[:, 1], vectors[:, 0]) / (np.pi / 2), 4.0)
    # between the polar caps: lines along which x and y of the faces are whole numbers
    up, down = quarter + 0.5 - 0.75 * z, quarter + 0.5 + 0.75 * z
    whole_up, whole_down = np.floor(up), np.floor(down)
    ring = np.sign(whole_up - whole_down).astype(np.int64) + 1  # of faces, from the north
    face = 4 * ring + np.where(ring == 2, whole_down, whole_up).astype(np.int64) % 4
    x, y = down - whole_down, 1.0 - (up - whole_up)
    # in the caps: from the distance to the pole, sqrt(3 (1 - |z|)), which keeps its digits this way
    cap = np.abs(z) > 2 / 3
    sector = np.minimum(quarter, np.nextafter(4.0, 0.0)).astype(np.int64)
    far = rho * np.sqrt(3.0 / (1.0 + np.abs(z)))
    right, left = (quarter - sector) * far, (1.0 - (quarter - sector)) * far
    north = z > 0
    face = np.where(cap, sector + np.where(north, 0, 8), face)
    x = np.where(cap, np.where(north, 1.0 - left, right), x)
    y = np.where(cap, np.where(north, 1.0 - right, left), y)
    side = 1 << order
    ix, iy = (np.clip((side * a).astype(np.int64), 0, side - 1) for a in (x, y))
    return (face << 2 * order) + (_spread(ix) | _spread(iy) << 1)


def cell_centres(order: int, npix: IntArray) -> FloatArray:
    """Unit vectors (n, 3) of the centres of cells."""
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

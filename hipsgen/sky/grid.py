"""Where the pixels of a tile lie on a coadd: exact on a sparse grid, interpolated between.

Cells of 32x32 pixels are interpolated from their corners, bilinearly and with the bend that the
nodes round them show. The error is measured at two points of every cell that touches the image; a
cell that fails is divided into cells of 4x4, and what fails again is computed pixel by pixel. So
kinks (|z| = 2/3, where HEALPix changes its formula), the seam of an all-sky map, the pole and tiles
of low orders come out exact without a special case.

A `Grid` is laid over several tiles at once; the `PixelMap` of each is cut from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hipsgen.sky import grid_kernels as kernels
from hipsgen.sky.frames import to_icrs
from hipsgen.sky.grid_kernels import CELL, EXACT, SMOOTH
from hipsgen.sky.tiles import Tile

FloatArray = npt.NDArray[np.float64]
# ICRS unit vectors (..., 3) -> x, y (...) on the image in pixels, 0 at the center of the first
# pixel; NaN where the image's projection has no such point
SkyToPixel = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
# (row, column) positions in a tile -> (2, ...): x and y on the image
Position = Callable[[FloatArray, FloatArray], FloatArray]
Circle = tuple[FloatArray, float]

TOLERANCE = 1e-6  # pixels of the coadd
STRIP = 64  # rows of an image that are read together
_FINER = 4
_SAFETY = 8  # what the probes may see is so much less than what may be
_PROBES = np.array([(0.5, 0.5), (0.2, 0.7)])  # (row, column) in a cell; two, lest an odd error hide


class PixelMap(NamedTuple):
    """Positions of `rows` x `cols` pixels of a tile on an image, cell by cell.

    step: pixels along a side of a cell. nodes (2, n + 1, m + 1) float64: x and y at the corners of
    the cells. curvature (2, 2, n, m) float64: second differences, from one node to the next, of x and y
    along the rows (downwards) and along the columns. state (n, m) uint8: OUTSIDE (no pixel of the
    cell is on the image), SMOOTH (as nodes and curvature say), EXACT. exact (2, rows, cols) float64: x
    and y of the pixels of EXACT cells, NaN for none; (2, 0, 0) where there is no such cell.
    """

    rows: int
    cols: int
    step: int
    nodes: FloatArray
    curvature: FloatArray
    state: npt.NDArray[np.uint8]
    exact: FloatArray

    @classmethod
    def from_positions(cls, x: FloatArray, y: FloatArray) -> "PixelMap":
        """A map of any positions, x and y (rows, cols) float64. Raises ValueError for others."""
        if x.shape != y.shape or x.ndim != 2:
            raise ValueError(f"positions have shapes {x.shape} and {y.shape}, not one 2-D shape")
        rows, cols = x.shape
        n, m = -(-rows // CELL), -(-cols // CELL)
        state = np.full((n, m), EXACT, np.uint8)
        nodes, curvature = np.zeros((2, n + 1, m + 1)), np.zeros((2, 2, n, m))
        return cls(rows, cols, CELL, nodes, curvature, state, np.stack([x, y]))

    def positions(self) -> tuple[FloatArray, FloatArray]:
        """x and y (rows, cols) float64 of every pixel; NaN where its cell is off the image."""
        x, y = np.empty((2, self.rows, self.cols))
        kernels.positions(self, x, y)
        return x, y

    def section(self, shape: tuple[int, int], margin: int) -> tuple[slice, slice] | None:
        """Rows and columns of an image of this shape that the tile needs; None when it has none."""
        slices = []
        for axis, size in ((1, shape[0]), (0, shape[1])):
            low, high = self._span(axis, size)
            if low > high:
                return None
            slices.append(slice(max(0, int(low) - margin), min(size, int(high) + margin + 2)))
        return slices[0], slices[1]

    def _span(self, axis: int, size: int) -> tuple[float, float]:
        """Lowest and highest coordinate on the image; inf, -inf for none."""
        smooth = self.state == SMOOTH
        low, high = np.inf, -np.inf
        if smooth.any():
            n = self.nodes[axis]
            corners = np.stack([n[:-1, :-1], n[:-1, 1:], n[1:, :-1], n[1:, 1:]])[:, smooth]
            bulge = 0.125 * np.abs(self.curvature[axis]).sum(axis=0)[smooth]
            low, high = (corners - bulge).min(), (corners + bulge).max()
        if self.exact.size:
            values = self.exact[axis]
            values = values[(values >= -0.5) & (values < size - 0.5)]
            if values.size:
                low, high = min(low, values.min()), max(high, values.max())
        return max(low, -0.5), min(high, size - 0.5)


@dataclass(frozen=True)
class Grid:
    """Positions of a square of pixels of the sky on an image, as exact as asked for.

    step, nodes, curvature, state: as in PixelMap, which `map` makes of a part; what is EXACT is
    computed there. position: of any pixel on the image of `shape` (rows, columns).
    """

    step: int
    nodes: FloatArray
    curvature: FloatArray
    state: npt.NDArray[np.uint8]
    position: Position
    shape: tuple[int, int]
    tolerance: float

    @property
    def is_smooth(self) -> bool:
        """Whether nodes and curvature tell all positions on the image."""
        return not (self.state == EXACT).any()

    def map(self, row: int, col: int, width: int) -> PixelMap | None:
        """The square of `width` pixels from (row, col) on; None when no cell is on the image.

        Row, column and width are whole cells.
        """
        j, i, n = row // self.step, col // self.step, width // self.step
        state = np.ascontiguousarray(self.state[j : j + n, i : i + n])
        if not state.any():
            return None
        nodes = np.ascontiguousarray(self.nodes[:, j : j + n + 1, i : i + n + 1])
        curvature = np.ascontiguousarray(self.curvature[:, :, j : j + n, i : i + n])
        rough = np.argwhere(state == EXACT) * self.step
        exact = np.empty((2, 0, 0))
        if len(rough):
            exact = np.full((2, width, width), np.nan)

            def position(rows: FloatArray, cols: FloatArray) -> FloatArray:
                return self.position(rows + row, cols + col)

            _refine(position, rough, self.step, self.shape, self.tolerance, exact)
        return PixelMap(width, width, self.step, nodes, curvature, state, exact)

    def needed(self, margin: int) -> list[tuple[slice, slice]]:
        """Sections of the image, from the top down, in which all pixels for a smooth grid lie.

        Each is as wide as it must be for up to `STRIP` rows. margin: as for `PixelMap.section`.
        """
        rows, cols = self.shape
        count = -(-rows // STRIP)
        edges = np.empty((2, count), np.int64)
        first, last = kernels.strips(
            self.nodes, self.curvature, self.state, rows, cols, margin, STRIP, edges
        )
        return [
            (slice(max(k * STRIP, first), min((k + 1) * STRIP, last)), slice(left, right))
            for k, (left, right) in enumerate(edges.T.tolist())
            if left < right
        ]


def build_grid(
    tile: Tile,
    width: int,
    frame: str,
    to_pixel: SkyToPixel,
    shape: tuple[int, int],
    tolerance: float = TOLERANCE,
    near: Circle | None = None,
) -> Grid | None:
    """Positions of `width` x `width` pixels of a tile on an image, to `tolerance` pixels.

    shape: (rows, columns) of the image. near: center (unit vector in the survey's frame) and radius
    in degrees of a circle round the image. None comes back when the tile is clearly beside it.
    Raises ValueError for a width that is no power of two.
    """
    if width < 1 or width & (width - 1):
        raise ValueError(f"tile width {width} is no power of two")

    def position(rows: FloatArray, cols: FloatArray) -> FloatArray:
        return np.stack(to_pixel(to_icrs(tile.vectors(rows, cols, width), frame)))

    step = min(CELL, width)
    edges = np.arange(0, width + 1, step) - 0.5
    vectors = tile.vectors(edges[:, None], edges, width)
    apart = _is_far(vectors, near)
    if apart.all():
        return None
    nodes = np.stack(to_pixel(to_icrs(vectors, frame)))
    found = _laid(nodes, shape, apart)
    if found is None:
        return None
    curvature, state, cells = found
    _settle(position, nodes, curvature, state, cells, cells * step, step, shape, tolerance)
    return Grid(step, nodes, curvature, state, position, shape, tolerance)


def pixel_map(
    tile: Tile,
    width: int,
    frame: str,
    to_pixel: SkyToPixel,
    shape: tuple[int, int],
    tolerance: float = TOLERANCE,
    near: Circle | None = None,
) -> PixelMap | None:
    """The map of a tile of its own; arguments as for `build_grid`."""
    grid = build_grid(tile, width, frame, to_pixel, shape, tolerance, near)
    return None if grid is None else grid.map(0, 0, width)


Bools = npt.NDArray[np.bool_]
Cells = npt.NDArray[np.int64]


def _laid(
    nodes: FloatArray, shape: tuple[int, int], apart: Bools
) -> tuple[FloatArray, npt.NDArray[np.uint8], Cells] | None:
    """Bends, states, and the cells (k, 2) that may be on the image; None where there is none."""
    curvature, state = np.empty((2, 2, *apart.shape)), np.empty(apart.shape, np.uint8)
    if not kernels.build_grid_nodes(nodes, *shape, apart, curvature, state):
        return None
    return curvature, state, np.ascontiguousarray(np.argwhere(state == SMOOTH))


def _settle(
    position: Position,
    nodes: FloatArray,
    curvature: FloatArray,
    state: npt.NDArray[np.uint8],
    cells: Cells,
    first: Cells,
    step: int,
    shape: tuple[int, int],
    tolerance: float,
) -> int:
    """Compare cells (k, 2), of which the first pixels are given, with the truth; how many fail."""
    rows, cols = (first[:, a] - 0.5 + step * _PROBES[:, a, None] for a in (0, 1))
    truth = position(rows, cols)
    limit = tolerance / _SAFETY
    return int(kernels.refine_grid(nodes, curvature, *shape, cells, _PROBES, truth, limit, state))


def _is_far(vectors: FloatArray, near: Circle | None) -> npt.NDArray[np.bool_]:
    """Which cells lie clear of a circle; vectors (n + 1, m + 1, 3) of their corners."""
    none = np.zeros((vectors.shape[0] - 1, vectors.shape[1] - 1), dtype=bool)
    if near is None:
        return none
    across = np.linalg.norm(vectors[1:, 1:] - vectors[:-1, :-1], axis=-1).max()
    across = max(across, np.linalg.norm(vectors[1:, :-1] - vectors[:-1, 1:], axis=-1).max())
    center, radius = near
    reach = np.radians(min(180.0, radius)) + 2 * np.arcsin(min(1.0, across))
    if reach >= np.pi:
        return none
    far: npt.NDArray[np.bool_] = np.linalg.norm(vectors - center, axis=-1) > 2 * np.sin(reach / 2)
    return far[:-1, :-1] & far[:-1, 1:] & far[1:, :-1] & far[1:, 1:]


def _refine(
    position: Position,
    first: Cells,
    step: int,
    shape: tuple[int, int],
    tolerance: float,
    exact: FloatArray,
) -> None:
    """Fill `exact` for k cells, given by the row and column of their first pixel (k, 2).

    Cells of 4x4 pixels where these are smooth, all pixels where they are not.
    """
    rest = first
    if step > _FINER:
        edges = np.arange(0, step + 1, _FINER) - 0.5
        rows, cols = first[:, 0, None, None] + edges[:, None], first[:, 1, None, None] + edges
        nodes = position(*np.broadcast_arrays(rows, cols))
        found = [
            _refine_one(position, np.ascontiguousarray(nodes[:, k]), at, shape, tolerance, exact)
            for k, at in enumerate(first)
        ]
        rest, step = np.concatenate(found), _FINER
    if len(rest):
        pixel = np.arange(step)
        rows, cols = rest[:, 0, None, None] + pixel[:, None], rest[:, 1, None, None] + pixel
        rows, cols = (a.ravel() for a in np.broadcast_arrays(rows, cols))
        exact[:, rows, cols] = position(rows.astype(float), cols.astype(float))


def _refine_one(
    position: Position,
    nodes: FloatArray,
    first: npt.NDArray[np.int64],
    shape: tuple[int, int],
    tolerance: float,
    exact: FloatArray,
) -> Cells:
    """Fill what is smooth of one cell; the first pixels (k, 2) of the 4x4 cells that are not."""
    n = nodes.shape[1] - 1
    found = _laid(nodes, shape, np.zeros((n, n), np.bool_))
    if found is None:
        return np.empty((0, 2), np.int64)
    curvature, state, cells = found
    at = first + _FINER * cells
    _settle(position, nodes, curvature, state, cells, at, _FINER, shape, tolerance)
    size = n * _FINER
    fine = PixelMap(size, size, _FINER, nodes, curvature, state, np.full((2, size, size), np.nan))
    row, col = first
    exact[:, row : row + size, col : col + size] = fine.positions()
    return first + _FINER * np.argwhere(state == EXACT)

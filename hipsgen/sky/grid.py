"""Positions of the pixels of a tile on a coadd: exact on a sparse grid, interpolated in between.

Cells of 32x32 pixels are interpolated from their corners: bilinearly, with a correction for the
curvature measured at the surrounding nodes. The error is checked at two points of every cell that
touches the image. A cell that fails is divided into cells of 4x4 pixels, and where one of these
fails, each of its pixels is computed. Kinks (|z| = 2/3, where HEALPix changes its formula), the
seam of an all-sky map, the poles and tiles of low orders are thus accurate without special cases.

A `Grid` covers a tile, or several as one square; `Grid.map` cuts out the `PixelMap` of each.
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
# pixel; NaN where the image's projection is undefined
SkyToPixel = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
# (row, column) positions in a tile -> (2, ...): x and y on the image
Position = Callable[[FloatArray, FloatArray], FloatArray]
Circle = tuple[FloatArray, float]

TOLERANCE = 1e-6  # pixels of the coadd
STRIP = 64  # rows of an image that are read at once
_FINER = 4  # pixels along a side of a subdivided cell
_SAFETY = 8  # errors at the probes must be this many times smaller than the tolerance
# (row, column) as fractions of a cell; one at the center would miss an antisymmetric error
_PROBES = np.array([(0.5, 0.5), (0.2, 0.7)])


class PixelMap(NamedTuple):
    """Positions of `rows` x `cols` pixels of a tile on an image, cell by cell.

    Attributes
    ----------
    rows, cols
        Size of the part of the tile, in pixels.
    step
        Side of a cell in pixels.
    nodes
        (2, n + 1, m + 1) float64: x and y at the corners of the cells, in pixels of the image.
    curvature
        (2, 2, n, m) float64: second differences between adjacent nodes of x and y (first axis),
        along the rows (downwards) and along the columns (second axis).
    state
        (n, m) uint8: OUTSIDE (no pixel of the cell is on the image), SMOOTH (interpolated from
        nodes and curvature) or EXACT (listed pixel by pixel in `exact`).
    exact
        (2, rows, cols) float64: x and y of the pixels of EXACT cells, NaN elsewhere; (2, 0, 0) if
        there is no such cell.
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
        """Make a map from arbitrary positions.

        Parameters
        ----------
        x, y
            (rows, cols) float64, in pixels; 0 is the center of the first pixel.

        Raises
        ------
        ValueError
            If `x` and `y` are not of one 2-D shape.
        """
        if x.shape != y.shape or x.ndim != 2:
            raise ValueError(
                f"x has shape {x.shape}, y has shape {y.shape}: both must have one 2-D shape"
            )
        rows, cols = x.shape
        n, m = -(-rows // CELL), -(-cols // CELL)
        state = np.full((n, m), EXACT, np.uint8)
        nodes, curvature = np.zeros((2, n + 1, m + 1)), np.zeros((2, 2, n, m))
        return cls(rows, cols, CELL, nodes, curvature, state, np.stack([x, y]))

    def positions(self) -> tuple[FloatArray, FloatArray]:
        """Return x and y, (rows, cols) float64, of every pixel; NaN in cells off the image."""
        x, y = np.empty((2, self.rows, self.cols))
        kernels.positions(self, x, y)
        return x, y

    def section(self, shape: tuple[int, int], margin: int) -> tuple[slice, slice] | None:
        """Return the rows and columns of the image that the tile needs, or None if it needs none.

        Parameters
        ----------
        shape
            (rows, columns) of the image.
        margin
            Pixels beyond a position that the interpolation reaches; see `resample.margin`.
        """
        slices = []
        for axis, size in ((1, shape[0]), (0, shape[1])):
            low, high = self._span(axis, size)
            if low > high:
                return None
            slices.append(slice(max(0, int(low) - margin), min(size, int(high) + margin + 2)))
        return slices[0], slices[1]

    def _span(self, axis: int, size: int) -> tuple[float, float]:
        """Return the lowest and highest coordinate on the image; inf, -inf if there is none."""
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
    """Positions of a square block of tile pixels on an image.

    Attributes
    ----------
    step, nodes, curvature, state
        As in `PixelMap`. Pixels of EXACT cells are computed when `map` cuts out a part.
    position
        Function that computes the exact position of any pixel of the block.
    shape
        (rows, columns) of the image.
    tolerance
        Largest error of an interpolated position, in pixels of the image.
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
        """Whether all positions on the image can be interpolated from nodes and curvature."""
        return not (self.state == EXACT).any()

    def map(self, row: int, col: int, width: int) -> PixelMap | None:
        """Cut out the map of a square of pixels; None if no cell of it is on the image.

        Parameters
        ----------
        row, col
            First pixel of the square, a multiple of `step`.
        width
            Side of the square in pixels, a multiple of `step`.
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

            _fill_exact(position, rough, self.step, self.shape, self.tolerance, exact)
        return PixelMap(width, width, self.step, nodes, curvature, state, exact)

    def needed(self, margin: int) -> list[tuple[slice, slice]]:
        """Return the sections of the image, from the top down, that a smooth grid needs.

        Each covers up to `STRIP` rows and only the columns that these need. The margin is that of
        `PixelMap.section`.
        """
        rows, cols = self.shape
        count = -(-rows // STRIP)
        edges = np.empty((2, count), np.int64)
        first, last = kernels.strip_columns(
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
    """Compute the positions of `width` x `width` pixels of a tile on an image.

    Parameters
    ----------
    tile
        The HEALPix tile.
    width
        Pixels along a side of the tile; a power of two.
    frame
        Frame of the survey, one of `frames.FRAMES`.
    to_pixel
        ICRS unit vectors (..., 3) to x, y (...) in pixels of the image.
    shape
        (rows, columns) of the image.
    tolerance
        Largest error of an interpolated position, in pixels of the image.
    near
        Circle that contains the image: its center (unit vector in the survey's frame) and its
        radius in degrees.

    Returns
    -------
    Grid or None
        None if no pixel of the tile can be on the image.

    Raises
    ------
    ValueError
        If `width` is not a power of two.
    """
    if width < 1 or width & (width - 1):
        raise ValueError(f"tile width {width} is not a power of two")

    def position(rows: FloatArray, cols: FloatArray) -> FloatArray:
        return np.stack(to_pixel(to_icrs(tile.vectors(rows, cols, width), frame)))

    step = min(CELL, width)
    edges = np.arange(0, width + 1, step) - 0.5
    vectors = tile.vectors(edges[:, None], edges, width)
    is_far = _cells_outside(vectors, near)
    if is_far.all():
        return None
    nodes = np.stack(to_pixel(to_icrs(vectors, frame)))
    found = _curvature_and_cells(nodes, shape, is_far)
    if found is None:
        return None
    curvature, state, cells = found
    _check_cells(position, nodes, curvature, state, cells, cells * step, step, shape, tolerance)
    return Grid(step, nodes, curvature, state, position, shape, tolerance)


Bools = npt.NDArray[np.bool_]
Cells = npt.NDArray[np.int64]


def _curvature_and_cells(
    nodes: FloatArray, shape: tuple[int, int], is_far: Bools
) -> tuple[FloatArray, npt.NDArray[np.uint8], Cells] | None:
    """Return curvature, states and the cells (k, 2) that may be on the image; None if none may."""
    curvature, state = np.empty((2, 2, *is_far.shape)), np.empty(is_far.shape, np.uint8)
    if not kernels.measure_curvature(nodes, *shape, is_far, curvature, state):
        return None
    return curvature, state, np.ascontiguousarray(np.argwhere(state == SMOOTH))


def _check_cells(
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
    """Compare cells (k, 2) with exact positions at the probes; return how many become EXACT.

    first: the first pixel (k, 2) of each cell. `state` is updated.
    """
    rows, cols = (first[:, a] - 0.5 + step * _PROBES[:, a, None] for a in (0, 1))
    truth = position(rows, cols)
    limit = tolerance / _SAFETY
    return int(kernels.check_cells(nodes, curvature, *shape, cells, _PROBES, truth, limit, state))


def _cells_outside(vectors: FloatArray, near: Circle | None) -> npt.NDArray[np.bool_]:
    """Return which cells lie outside a circle, (n, m) bool, from the vectors of their corners."""
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


def _fill_exact(
    position: Position,
    first: Cells,
    step: int,
    shape: tuple[int, int],
    tolerance: float,
    exact: FloatArray,
) -> None:
    """Fill `exact` for the cells whose first pixels (row, column) are given, (k, 2).

    Smooth parts are interpolated in cells of 4x4 pixels; all other pixels are computed.
    """
    rest = first
    if step > _FINER:
        edges = np.arange(0, step + 1, _FINER) - 0.5
        rows, cols = first[:, 0, None, None] + edges[:, None], first[:, 1, None, None] + edges
        nodes = position(*np.broadcast_arrays(rows, cols))
        found = [
            _fill_smooth_parts(
                position, np.ascontiguousarray(nodes[:, k]), pixel, shape, tolerance, exact
            )
            for k, pixel in enumerate(first)
        ]
        rest, step = np.concatenate(found), _FINER
    if len(rest):
        pixel = np.arange(step)
        rows, cols = rest[:, 0, None, None] + pixel[:, None], rest[:, 1, None, None] + pixel
        rows, cols = (a.ravel() for a in np.broadcast_arrays(rows, cols))
        exact[:, rows, cols] = position(rows.astype(float), cols.astype(float))


def _fill_smooth_parts(
    position: Position,
    nodes: FloatArray,
    first: npt.NDArray[np.int64],
    shape: tuple[int, int],
    tolerance: float,
    exact: FloatArray,
) -> Cells:
    """Fill the smooth parts of a cell.

    Returns the first pixels (k, 2) of its 4x4 cells that are not smooth.
    """
    n = nodes.shape[1] - 1
    found = _curvature_and_cells(nodes, shape, np.zeros((n, n), np.bool_))
    if found is None:
        return np.empty((0, 2), np.int64)
    curvature, state, cells = found
    first_pixels = first + _FINER * cells
    _check_cells(position, nodes, curvature, state, cells, first_pixels, _FINER, shape, tolerance)
    size = n * _FINER
    fine = PixelMap(size, size, _FINER, nodes, curvature, state, np.full((2, size, size), np.nan))
    row, col = first
    exact[:, row : row + size, col : col + size] = fine.positions()
    return first + _FINER * np.argwhere(state == EXACT)

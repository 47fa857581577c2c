"""Where the pixels of a tile lie on a coadd: exact on a sparse grid, interpolated between.

Cells of 32x32 pixels are interpolated from their corners, bilinearly and with the bend that the
nodes round them show. The error is measured at two points of every cell that touches the image; a
cell that fails is divided into cells of 4x4, and what fails again is computed pixel by pixel. So
kinks (|z| = 2/3, where HEALPix changes its formula), the seam of an all-sky map, the pole and tiles
of low orders come out exact without a special case.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hipsgen.sky import kernels
from hipsgen.sky.frames import to_icrs
from hipsgen.sky.kernels import CELL, EXACT, OUTSIDE, SMOOTH
from hipsgen.sky.tiles import Tile

FloatArray = npt.NDArray[np.float64]
# ICRS unit vectors (..., 3) -> x, y (...) on the image in pixels, 0 at the centre of the first
# pixel; NaN where the image's projection has no such point
SkyToPixel = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
# (row, column) positions in a tile -> (2, ...): x and y on the image
Position = Callable[[FloatArray, FloatArray], FloatArray]
Circle = tuple[FloatArray, float]

TOLERANCE = 1e-6  # pixels of the coadd
_FINER = 4
_SAFETY = 8  # what the probes may see is so much less than what may be
_PROBES = np.array([(0.5, 0.5), (0.2, 0.7)])  # (row, column) in a cell; two, lest an odd error hide


class PixelMap(NamedTuple):
    """Positions of `rows` x `cols` pixels of a tile on an image, cell by cell.

    step: pixels along a side of a cell. nodes (2, n + 1, m + 1) float64: x and y at the corners of
    the cells. bends (2, 2, n, m) float64: second differences, from one node to the next, of x and y
    along the rows (downwards) and along the columns. state (n, m) uint8: OUTSIDE (no pixel of the
    cell is on the image), SMOOTH (as nodes and bends say), EXACT. exact (2, rows, cols) float64: x
    and y of the pixels of EXACT cells, NaN for none; (2, 0, 0) where there is no such cell.
    """

    rows: int
    cols: int
    step: int
    nodes: FloatArray
    bends: FloatArray
    state: npt.NDArray[np.uint8]
    exact: FloatArray

    @classmethod
    def of(cls, x: FloatArray, y: FloatArray) -> "PixelMap":
        """A map of any positions, x and y (rows, cols) float64. Raises ValueError for others."""
        if x.shape != y.shape or x.ndim != 2:
            raise ValueError(f"positions have shapes {x.shape} and {y.shape}, not one 2-D shape")
        rows, cols = x.shape
        n, m = -(-rows // CELL), -(-cols // CELL)
        state = np.full((n, m), EXACT, np.uint8)
        nodes, bends = np.zeros((2, n + 1, m + 1)), np.zeros((2, 2, n, m))
        return cls(rows, cols, CELL, nodes, bends, state, np.stack([x, y]))

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
            lows, highs = _reach(self.nodes[axis], self.bends[axis])
            low, high = lows[smooth].min(), highs[smooth].max()
        if self.exact.size:
            values = self.exact[axis]
            values = values[(values >= -0.5) & (values < size - 0.5)]
            if values.size:
                low, high = min(low, values.min()), max(high, values.max())
        return max(low, -0.5), min(high, size - 0.5)


def pixel_map(
    tile: Tile,
    width: int,
    frame: str,
    to_pixel: SkyToPixel,
    shape: tuple[int, int],
    tolerance: float = TOLERANCE,
    near: Circle | None = None,
) -> PixelMap | None:
    """Positions of the pixels of a tile on an image, to `tolerance` pixels.

    shape: (rows, columns) of the image. near: centre (unit vector in the survey's frame) and radius
    in degrees of a circle round the image. None comes back when the tile is clearly beside it.
    """

    def position(rows: FloatArray, cols: FloatArray) -> FloatArray:
        return np.stack(to_pixel(to_icrs(tile.vectors(rows, cols, width), frame)))

    step = min(CELL, width)
    edges = np.arange(0, width + 1, step) - 0.5
    vectors = tile.vectors(edges[:, None], edges, width)
    apart = _is_far(vectors, near)
    if apart.all():
        return None
    nodes = np.stack(to_pixel(to_icrs(vectors, frame)))
    apart |= _is_beside(nodes, shape, None)
    if apart.all():
        return None
    bends = _bends(nodes)
    state = np.where(apart, OUTSIDE, SMOOTH).astype(np.uint8)
    cells = np.argwhere(state == SMOOTH)
    good = _within(position, cells * step, step, _corners(nodes, cells), bends, cells, tolerance)
    state[tuple(cells[~good].T)] = EXACT
    beside = (state == SMOOTH) & _is_beside(nodes, shape, bends)
    state[beside] = OUTSIDE
    exact = np.empty((2, 0, 0))
    if not good.all():
        exact = np.full((2, width, width), np.nan)
        _refine(position, cells[~good] * step, step, shape, tolerance, exact)
    elif beside.sum() == len(cells):
        return None
    return PixelMap(width, width, step, nodes, bends, state, exact)


def _is_far(vectors: FloatArray, near: Circle | None) -> npt.NDArray[np.bool_]:
    """Which cells lie clear of a circle; vectors (n + 1, m + 1, 3) of their corners."""
    none = np.zeros((vectors.shape[0] - 1, vectors.shape[1] - 1), dtype=bool)
    if near is None:
        return none
    across = np.linalg.norm(vectors[1:, 1:] - vectors[:-1, :-1], axis=-1).max()
    across = max(across, np.linalg.norm(vectors[1:, :-1] - vectors[:-1, 1:], axis=-1).max())
    centre, radius = near
    reach = np.radians(min(180.0, radius)) + 2 * np.arcsin(min(1.0, across))
    if reach >= np.pi:
        return none
    far: npt.NDArray[np.bool_] = np.linalg.norm(vectors - centre, axis=-1) > 2 * np.sin(reach / 2)
    return far[:-1, :-1] & far[:-1, 1:] & far[1:, :-1] & far[1:, 1:]


def _reach(nodes: FloatArray, bends: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest values (n, m) in the cells of nodes (n + 1, m + 1).

    bends None: not known to be smooth; then as far again as the nodes are apart.
    """
    corners = np.stack([nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, :-1], nodes[1:, 1:]])
    low, high = corners.min(axis=0), corners.max(axis=0)
    more = high - low if bends is None else 0.125 * np.abs(bends).sum(axis=0)
    return low - more, high + more


def _is_beside(
    nodes: FloatArray, shape: tuple[int, int], bends: FloatArray | None
) -> npt.NDArray[np.bool_]:
    """Which cells are off an image of this shape; a cell with a corner nowhere may be on it."""
    beside = np.zeros((nodes.shape[1] - 1, nodes.shape[2] - 1), dtype=bool)
    with np.errstate(invalid="ignore"):
        known = np.asarray(np.isfinite(nodes).all(axis=0))
        for axis, size in ((0, shape[1]), (1, shape[0])):
            low, high = _reach(nodes[axis], None if bends is None else bends[axis])
            beside |= (low > size) | (high < -1.0)
    return np.asarray(beside & known[:-1, :-1] & known[:-1, 1:] & known[1:, :-1] & known[1:, 1:])


def _bends(nodes: FloatArray) -> FloatArray:
    """Second differences of nodes (..., n + 1, m + 1) in each cell, the mean of its corners.

    Comes back (..., 2, n, m): along the rows (downwards), and along the columns.
    """
    n, m = nodes.shape[-2] - 1, nodes.shape[-1] - 1
    bends = np.zeros((*nodes.shape[:-2], 2, n, m))
    for which, axis in ((0, -2), (1, -1)):
        if nodes.shape[axis] < 3:
            continue
        with np.errstate(invalid="ignore"):
            inner = np.diff(nodes, 2, axis=axis)
        edges = [(0, 0)] * nodes.ndim
        edges[axis] = (1, 1)
        at_nodes = np.pad(inner, edges, mode="edge")
        down = at_nodes[..., :-1, :] + at_nodes[..., 1:, :]
        bends[..., which, :, :] = (down[..., :-1] + down[..., 1:]) / 4
    return bends


def _corners(nodes: FloatArray, cells: npt.NDArray[np.int64]) -> tuple[FloatArray, ...]:
    """x and y (2, k) at the four corners of cells (k, 2)."""
    j, i = cells.T
    return nodes[:, j, i], nodes[:, j, i + 1], nodes[:, j + 1, i], nodes[:, j + 1, i + 1]


def _at(
    v: FloatArray | float,
    u: FloatArray | float,
    corners: tuple[FloatArray, ...],
    down: FloatArray,
    across: FloatArray,
) -> FloatArray:
    """Interpolated position at the share v of a cell's rows and u of its columns."""
    v00, v01, v10, v11 = corners
    value = (1 - v) * ((1 - u) * v00 + u * v01) + v * ((1 - u) * v10 + u * v11)
    return np.asarray(value - 0.5 * (v * (1 - v) * down + u * (1 - u) * across))


def _within(
    position: Position,
    first: npt.NDArray[np.int64],
    step: int,
    corners: tuple[FloatArray, ...],
    bends: FloatArray,
    cells: npt.NDArray[np.int64],
    tolerance: float,
) -> npt.NDArray[np.bool_]:
    """Which of k cells are interpolated within the tolerance.

    first (k, 2): row and column of their first pixel. corners: (2, k) each. bends (2, 2, n, m), of
    which `cells` (k, 2) are looked at.
    """
    rows, cols = (first[:, a] - 0.5 + step * _PROBES[:, a, None] for a in (0, 1))
    truth = position(rows, cols)
    down, across = (bends[:, which, *cells.T] for which in (0, 1))
    good = np.ones(len(first), dtype=bool)
    with np.errstate(invalid="ignore"):
        for probe, (v, u) in enumerate(_PROBES):
            off = np.abs(_at(v, u, corners, down, across) - truth[:, probe])
            good &= (off <= tolerance / _SAFETY).all(axis=0)
    return good


def _refine(
    position: Position,
    first: npt.NDArray[np.int64],
    step: int,
    shape: tuple[int, int],
    tolerance: float,
    exact: FloatArray,
) -> None:
    """Fill `exact` for k cells, given by the row and column of their first pixel (k, 2).

    Cells of 4x4 pixels where these are smooth, all pixels where they are not.
    """
    finer = _FINER if step > _FINER else step
    n = step // finer
    if n > 1:
        edges = np.arange(n + 1) * finer - 0.5
        nodes = position(
            *np.broadcast_arrays(
                first[:, 0, None, None] + edges[:, None], first[:, 1, None, None] + edges
            )
        )
        bends = _bends(nodes)  # (2, k, 2, n, n)
        k, j, i = (a.ravel() for a in np.indices((len(first), n, n)))
        fine = first[k] + finer * np.stack([j, i], axis=1)
        corners = tuple(nodes[:, k, j + b, i + a] for b in (0, 1) for a in (0, 1))
        flat = np.moveaxis(bends, 2, 1).reshape(2, 2, len(k), 1)
        which = np.stack([np.arange(len(k)), np.zeros(len(k), int)], axis=1)
        good = _within(position, fine, finer, corners, flat, which, tolerance)
        share = (np.arange(finer) + 0.5) / finer
        wide = tuple(c[:, good, None, None] for c in corners)
        down, across = (flat[:, axis, good, :, None] for axis in (0, 1))
        values = _at(share[:, None], share, wide, down, across)
        rows, cols = _pixels(fine[good], finer)
        exact[:, rows, cols] = values
        with np.errstate(invalid="ignore"):
            beside = _off(np.stack(corners), shape)
        fine = fine[~good & ~beside]
    else:
        fine = first
    if len(fine):
        rows, cols = (a.ravel() for a in _pixels(fine, finer))
        exact[:, rows, cols] = position(rows.astype(float), cols.astype(float))


def _off(corners: FloatArray, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which cells, from their corners (4, 2, k), are off the image by more than their size."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.array([[shape[1]], [shape[0]]])
    return np.asarray(((2 * low - high > size) | (2 * high - low < -1.0)).any(axis=0))


def _pixels(
    first: npt.NDArray[np.int64], step: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows and columns (k, step, step) of the pixels of cells."""
    pixel = np.arange(step)
    rows, cols = np.broadcast_arrays(
        first[:, 0, None, None] + pixel[:, None], first[:, 1, None, None] + pixel
    )
    return rows, cols

"""Where the pixels of a tile lie on a coadd: exact on a sparse grid, interpolated between.

Cells of 16x16 pixels are interpolated from their corners, bilinearly and with the bend that the
nodes round them show. The error is measured at two points of every cell; a cell that fails is
divided into cells of 4x4, and one that fails again is computed pixel by pixel. So kinks (|z| = 2/3,
where HEALPix changes its formula), the seam of an all-sky map, the pole and tiles of low orders
come out exact without a special case.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.sky import kernels
from hipsgen.sky.frames import to_icrs
from hipsgen.sky.tiles import Tile

FloatArray = npt.NDArray[np.float64]
# ICRS unit vectors (..., 3) -> x, y (...) on the image in pixels, 0 at the centre of the first
# pixel; NaN where the image's projection has no such point
SkyToPixel = Callable[[FloatArray], tuple[FloatArray, FloatArray]]

TOLERANCE = 1e-6  # pixels of the coadd
_STEPS = (16, 4)
_SAFETY = 8  # what the probes may see is so much less than what may be
_PROBES = ((0.5, 0.5), (0.2, 0.7))  # (row, column) in a cell; two, lest an odd error hide


@dataclass(frozen=True)
class PixelMap:
    """Positions of a tile's pixels on an image: x, y (width, width) float64, NaN for none."""

    x: FloatArray
    y: FloatArray

    def section(self, shape: tuple[int, int], margin: int) -> tuple[slice, slice] | None:
        """Rows and columns of an image of this shape that the tile needs; None when it has none."""
        rows, cols = shape
        inside = (self.x >= -0.5) & (self.x < cols - 0.5) & (self.y >= -0.5) & (self.y < rows - 0.5)
        if not inside.any():
            return None
        x, y = self.x[inside], self.y[inside]
        return (
            slice(max(0, int(y.min()) - margin), min(rows, int(y.max()) + margin + 2)),
            slice(max(0, int(x.min()) - margin), min(cols, int(x.max()) + margin + 2)),
        )


def pixel_map(
    tile: Tile,
    width: int,
    frame: str,
    to_pixel: SkyToPixel,
    shape: tuple[int, int],
    tolerance: float = TOLERANCE,
) -> PixelMap | None:
    """Positions of the pixels of a tile on an image, to `tolerance` pixels.

    shape: (rows, columns) of the image; None comes back when the tile is clearly beside it.
    """

    def position(rows: FloatArray, cols: FloatArray) -> tuple[FloatArray, FloatArray]:
        return to_pixel(to_icrs(tile.vectors(rows, cols, width), frame))

    step = min(_STEPS[0], width)
    edges = np.arange(0, width + 1, step) - 0.5
    nodes = position(*np.meshgrid(edges, edges, indexing="ij"))
    if _beside(nodes, shape):
        return None
    x, y = np.empty((width, width)), np.empty((width, width))
    failed = _first_level(position, nodes, step, tolerance, x, y)
    for finer in (s for s in _STEPS[1:] if s < step and len(failed)):
        failed = _divide(position, failed, step, finer, tolerance, x, y)
        step = finer
    _exact(position, failed, step, x, y)
    return PixelMap(x, y)


Position = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
Cells = npt.NDArray[np.int64]  # (n, 2): first row and column, in pixels, of cells that failed


def _beside(nodes: tuple[FloatArray, FloatArray], shape: tuple[int, int]) -> bool:
    """Whether all nodes are off the image by more than they are apart."""
    x, y = nodes
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return False
    for values, size in ((x, shape[1]), (y, shape[0])):
        apart = max(np.abs(np.diff(values, axis=k)).max() for k in (0, 1))
        if values.min() - apart > size or values.max() + apart < -1:
            return True
    return False


def _first_level(
    position: Position,
    nodes: tuple[FloatArray, FloatArray],
    step: int,
    tolerance: float,
    x: FloatArray,
    y: FloatArray,
) -> Cells:
    n = x.shape[0] // step
    first = np.arange(n) * step
    rows, cols = (a.ravel() for a in np.meshgrid(first, first, indexing="ij"))
    corners = [
        (values[:-1, :-1], values[:-1, 1:], values[1:, :-1], values[1:, 1:]) for values in nodes
    ]
    bends = [(_bend(values, 0), _bend(values, 1)) for values in nodes]
    good = _within(position, rows, cols, step, corners, bends, tolerance).reshape(n, n)
    for values, (along_rows, along_cols), out in zip(nodes, bends, (x, y), strict=True):
        kernels.fill_cells(values, along_rows, along_cols, step, good, out)
    return np.stack([rows, cols], axis=1)[~good.ravel()]


def _bend(nodes: FloatArray, axis: int) -> FloatArray:
    """Second differences along an axis, (n + 1, n + 1) nodes -> (n, n) cells: mean of corners."""
    if nodes.shape[axis] < 3:
        return np.zeros((nodes.shape[0] - 1, nodes.shape[1] - 1))
    inner = np.diff(nodes, 2, axis=axis)
    edges = [(1, 1) if k == axis else (0, 0) for k in (0, 1)]
    at_nodes = np.pad(inner, edges, mode="edge")
    down = at_nodes[:-1] + at_nodes[1:]
    return np.asarray((down[:, :-1] + down[:, 1:]) / 4)


def _divide(
    position: Position,
    cells: Cells,
    step: int,
    finer: int,
    tolerance: float,
    x: FloatArray,
    y: FloatArray,
) -> Cells:
    """Split cells of `step` pixels into cells of `finer`; fill the good, give back the failed."""
    offsets = np.arange(0, step, finer)
    rows = (cells[:, 0, None, None] + offsets[None, :, None]).repeat(len(offsets), 2).ravel()
    cols = (cells[:, 1, None, None] + offsets[None, None, :]).repeat(len(offsets), 1).ravel()
    top, left = rows.astype(float) - 0.5, cols.astype(float) - 0.5
    at = [
        position(top + dr, left + dc) for dr, dc in ((0, 0), (0, finer), (finer, 0), (finer, finer))
    ]
    corners = [tuple(p[k] for p in at) for k in (0, 1)]
    straight = np.zeros(rows.shape)
    bends = [(straight, straight)] * 2
    good = _within(position, rows, cols, finer, corners, bends, tolerance)
    weight = (np.arange(finer) + 0.5) / finer
    pixel = np.arange(finer)
    r = rows[good, None, None] + pixel[None, :, None]
    c = cols[good, None, None] + pixel[None, None, :]
    for values, out in zip(corners, (x, y), strict=True):
        v00, v01, v10, v11 = (v[good, None, None] for v in values)
        u, v = weight[None, None, :], weight[None, :, None]
        low, high = v00 + v * (v10 - v00), v01 + v * (v11 - v01)
        out[r, c] = low + u * (high - low)
    return np.stack([rows, cols], axis=1)[~good]


def _within(
    position: Position,
    rows: npt.NDArray[np.int64],
    cols: npt.NDArray[np.int64],
    step: int,
    corners: Sequence[tuple[FloatArray, ...]],
    bends: Sequence[tuple[FloatArray, FloatArray]],
    tolerance: float,
) -> npt.NDArray[np.bool_]:
    """Which cells are interpolated within the tolerance."""
    good = np.ones(len(rows), dtype=bool)
    for v, u in _PROBES:
        exact = position(np.asarray(rows - 0.5 + v * step), np.asarray(cols - 0.5 + u * step))
        for values, (down, across), truth in zip(corners, bends, exact, strict=True):
            v00, v01, v10, v11 = (a.ravel() for a in values)
            guess = (1 - v) * ((1 - u) * v00 + u * v01) + v * ((1 - u) * v10 + u * v11)
            guess -= 0.5 * (v * (1 - v) * down.ravel() + u * (1 - u) * across.ravel())
            with np.errstate(invalid="ignore"):
                good &= np.abs(guess - truth) <= tolerance / _SAFETY
    return good


def _exact(position: Position, cells: Cells, step: int, x: FloatArray, y: FloatArray) -> None:
    if not len(cells):
        return
    pixel = np.arange(step)
    r = (cells[:, 0, None, None] + pixel[None, :, None]).repeat(step, 2).ravel()
    c = (cells[:, 1, None, None] + pixel[None, None, :]).repeat(step, 1).ravel()
    x[r, c], y[r, c] = position(r.astype(float), c.astype(float))

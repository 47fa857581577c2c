"""Compiled loops over the cells of a grid of positions, called by `grid`.

Rules for all kernels: the callers check shapes and types, and a kernel relies on them. It writes
into arrays that it is given, uses no Python objects, and releases the GIL unless that would take
longer than the loop. `fastmath` is not used: NaN means "no data" and must be preserved, and the
bytes of a tile must not depend on the processor. Each kernel has a slow equivalent in
tests/naive.py. A kernel called from Python is cached on disk (`compiled.kernel`) and always called
with the same types: when a function has several signatures, numba's cache can confuse what two
processes compile at the same time.

Kernels that need the positions of a tile take a `grid.PixelMap` and go through it cell by cell, row
by row (`line_positions`). Positions, fractions and weights of a row are plain loops over short
arrays, which the compiler can vectorize.
"""

from typing import Any

import numpy as np
from numba import njit

from hipsgen.sky.compiled import kernel, short_kernel

CELL = 32  # largest side of a cell in pixels
OUTSIDE, SMOOTH, EXACT = 0, 1, 2  # states of a cell: off the image, interpolated, pixel by pixel


@njit(nogil=True)
def _second_difference(nodes, k, j, i, down):  # type: ignore[no-untyped-def]
    """Return the second difference of coordinate k at a node, along the rows (down) or the columns.

    At an edge of the grid it is that of the adjacent node; with only two nodes it is 0.
    """
    last = nodes.shape[1 if down else 2] - 1
    if last < 2:
        return 0.0
    if down:
        j = min(max(j, 1), last - 1)
        return nodes[k, j - 1, i] - 2.0 * nodes[k, j, i] + nodes[k, j + 1, i]
    i = min(max(i, 1), last - 1)
    return nodes[k, j, i - 1] - 2.0 * nodes[k, j, i] + nodes[k, j, i + 1]


@njit(nogil=True)
def _interpolate(nodes, curvature, k, j, i, v, u):  # type: ignore[no-untyped-def]
    """Interpolate coordinate k at the fractions v (rows) and u (columns) of a smooth cell.

    Bilinear between the corners, minus the sagitta t (1 - t) / 2 times the curvature.
    """
    down, across = 0.5 * v * (1.0 - v), 0.5 * u * (1.0 - u)
    left = nodes[k, j, i] + v * (nodes[k, j + 1, i] - nodes[k, j, i])
    right = nodes[k, j, i + 1] + v * (nodes[k, j + 1, i + 1] - nodes[k, j, i + 1])
    return left + u * (right - left) - down * curvature[k, 0, j, i] - across * curvature[k, 1, j, i]


@njit(nogil=True)
def _is_outside(low, high, size):  # type: ignore[no-untyped-def]
    """Whether coordinates from low to high are off an image of `size` pixels; False for NaN."""
    return low > size or high < -1.0


@njit(nogil=True)
def coordinate_range(nodes, curvature, k, j, i):  # type: ignore[no-untyped-def]
    """Return bounds of coordinate k (0: x, 1: y) inside a smooth cell."""
    a, b = nodes[k, j, i], nodes[k, j, i + 1]
    c, d = nodes[k, j + 1, i], nodes[k, j + 1, i + 1]
    bulge = 0.125 * (abs(curvature[k, 0, j, i]) + abs(curvature[k, 1, j, i]))
    return min(min(a, b), min(c, d)) - bulge, max(max(a, b), max(c, d)) + bulge


@short_kernel
def measure_curvature(
    nodes: Any, shape_y: int, shape_x: int, is_far: Any, curvature: Any, state: Any
) -> int:
    """Compute the curvature of a grid and find the cells that may be on an image.

    nodes (2, n + 1, m + 1) float64: x and y on the image, NaN if undefined. is_far (n, m) bool:
    cells known to be off the image. Written: curvature (2, 2, n, m) float64, the mean of the four
    corners of a cell; state (n, m) uint8, OUTSIDE for the cells of `is_far` and for cells whose
    corners all lie on one side of the image, farther from it than they are from each other, else
    SMOOTH. Returns the number of SMOOTH cells.
    """
    count = 0
    for j in range(state.shape[0]):
        for i in range(state.shape[1]):
            off = is_far[j, i]
            finite = True
            beside = False
            for k in range(2):
                for axis in range(2):
                    down = axis == 0
                    total = _second_difference(nodes, k, j, i, down) + _second_difference(
                        nodes, k, j, i + 1, down
                    )
                    total += _second_difference(nodes, k, j + 1, i, down) + _second_difference(
                        nodes, k, j + 1, i + 1, down
                    )
                    curvature[k, axis, j, i] = 0.25 * total
                a, b = nodes[k, j, i], nodes[k, j, i + 1]
                c, d = nodes[k, j + 1, i], nodes[k, j + 1, i + 1]
                finite = finite and np.isfinite(a + b + c + d)
                low, high = min(min(a, b), min(c, d)), max(max(a, b), max(c, d))
                more = high - low
                beside = beside or _is_outside(
                    low - more, high + more, shape_x if k == 0 else shape_y
                )
            off = off or (finite and beside)
            state[j, i] = OUTSIDE if off else SMOOTH
            count += not off
    return count


@short_kernel
def check_cells(
    nodes: Any,
    curvature: Any,
    shape_y: int,
    shape_x: int,
    cells: Any,
    probes: Any,
    truth: Any,
    limit: float,
    state: Any,
) -> int:
    """Check the interpolation in cells and mark those that fail, and those off the image.

    nodes, curvature, state: as `measure_curvature` leaves them. cells (k, 2) int64: the SMOOTH
    ones. probes (p, 2) float64: fractions of a cell's rows and columns; truth (2, p, k) float64:
    exact x and y there. A cell whose error at a probe exceeds `limit` or is NaN becomes EXACT; of
    the others, those that the image does not touch become OUTSIDE. Returns the number of EXACT
    cells.
    """
    count = 0
    for which in range(cells.shape[0]):
        j, i = cells[which, 0], cells[which, 1]
        good = True
        for p in range(probes.shape[0]):
            v, u = probes[p, 0], probes[p, 1]
            for k in range(2):
                guess = _interpolate(nodes, curvature, k, j, i, v, u)
                good = good and abs(guess - truth[k, p, which]) <= limit
        if not good:
            state[j, i] = EXACT
            count += 1
            continue
        low_x, high_x = coordinate_range(nodes, curvature, 0, j, i)
        low_y, high_y = coordinate_range(nodes, curvature, 1, j, i)
        if _is_outside(low_x, high_x, shape_x) or _is_outside(low_y, high_y, shape_y):
            state[j, i] = OUTSIDE
    return count


@short_kernel
def strip_columns(
    nodes: Any,
    curvature: Any,
    state: Any,
    rows: int,
    cols: int,
    margin: int,
    height: int,
    edges: Any,
) -> Any:
    """Find the columns of an image that SMOOTH cells need, in strips of `height` rows.

    nodes, curvature, state: as `check_cells` leaves them. rows, cols: shape of the image. margin:
    pixels needed before a position; one more is needed after it. Written: edges (2, k) int64, first
    column and one past the last of strip k, equal if it needs none. Returns the first row of all
    and one past the last.
    """
    edges[0, :], edges[1, :] = cols, 0
    first, last = rows, 0
    for j in range(state.shape[0]):
        for i in range(state.shape[1]):
            if state[j, i] != SMOOTH:
                continue
            low_x, high_x = coordinate_range(nodes, curvature, 0, j, i)
            low_y, high_y = coordinate_range(nodes, curvature, 1, j, i)
            # tolerant of rounding; coordinates far off the image are clipped to fit an integer
            left = max(0, int(np.floor(max(low_x - 1e-6, -2.0))) - margin)
            right = min(cols, int(np.floor(min(high_x + 1e-6, cols + 1.0))) + margin + 2)
            top = max(0, int(np.floor(max(low_y - 1e-6, -2.0))) - margin)
            bottom = min(rows, int(np.floor(min(high_y + 1e-6, rows + 1.0))) + margin + 2)
            if left >= right or top >= bottom:
                continue
            first, last = min(first, top), max(last, bottom)
            for k in range(top // height, (bottom - 1) // height + 1):
                edges[0, k] = min(edges[0, k], left)
                edges[1, k] = max(edges[1, k], right)
    for k in range(edges.shape[1]):
        if edges[1, k] <= edges[0, k]:
            edges[0, k], edges[1, k] = 0, 0
    return first, last


@njit(nogil=True)
def line_positions(pixel_map, j, i, r, x, y):  # type: ignore[no-untyped-def]
    """Write the positions of row r of cell (j, i) to x, y float64; return how many there are.

    The same formula as `_interpolate`, arranged so that the compiler can vectorize it.
    """
    step = pixel_map.step
    count = min(step, pixel_map.cols - i * step)
    if pixel_map.state[j, i] == EXACT:
        for c in range(count):
            x[c] = pixel_map.exact[0, j * step + r, i * step + c]
            y[c] = pixel_map.exact[1, j * step + r, i * step + c]
        return count
    v = (r + 0.5) / step
    down = 0.5 * v * (1.0 - v)
    n = pixel_map.nodes
    x0 = n[0, j, i] + v * (n[0, j + 1, i] - n[0, j, i]) - down * pixel_map.curvature[0, 0, j, i]
    x1 = (
        n[0, j, i + 1]
        + v * (n[0, j + 1, i + 1] - n[0, j, i + 1])
        - down * pixel_map.curvature[0, 0, j, i]
    )
    y0 = n[1, j, i] + v * (n[1, j + 1, i] - n[1, j, i]) - down * pixel_map.curvature[1, 0, j, i]
    y1 = (
        n[1, j, i + 1]
        + v * (n[1, j + 1, i + 1] - n[1, j, i + 1])
        - down * pixel_map.curvature[1, 0, j, i]
    )
    x1 -= x0
    y1 -= y0
    sagitta_x, sagitta_y = (
        0.5 * pixel_map.curvature[0, 1, j, i],
        0.5 * pixel_map.curvature[1, 1, j, i],
    )
    share = 1.0 / step
    for c in range(count):
        u = (c + 0.5) * share
        across = u * (1.0 - u)
        x[c] = x0 + u * x1 - across * sagitta_x
        y[c] = y0 + u * y1 - across * sagitta_y
    return count


@njit(nogil=True)
def pixel_position(pixel_map, r, c):  # type: ignore[no-untyped-def]
    """Return x, y of one pixel; NaN if its cell is OUTSIDE."""
    step = pixel_map.step
    j, i = r // step, c // step
    if pixel_map.state[j, i] == EXACT:
        return pixel_map.exact[0, r, c], pixel_map.exact[1, r, c]
    if pixel_map.state[j, i] == OUTSIDE:
        return np.nan, np.nan
    v, u = (r - j * step + 0.5) / step, (c - i * step + 0.5) / step
    x = _interpolate(pixel_map.nodes, pixel_map.curvature, 0, j, i, v, u)
    return x, _interpolate(pixel_map.nodes, pixel_map.curvature, 1, j, i, v, u)


@kernel
def positions(pixel_map: Any, x: Any, y: Any) -> None:
    """Write x, y (rows, cols) float64 of all pixels of a map; NaN in cells that are OUTSIDE."""
    for r in range(pixel_map.rows):
        for c in range(pixel_map.cols):
            x[r, c], y[r, c] = pixel_position(pixel_map, r, c)

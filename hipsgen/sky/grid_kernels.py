"""Compiled loops over the cells of a grid of positions; `grid` calls them.

What holds for all kernels: callers check shapes and types; a kernel trusts them, writes into what
it is given, holds no Python object and releases the GIL, unless that would take longer than the
loop. No `fastmath`: NaN means "no data" and must stay NaN, and the bytes must not depend on the
processor. Each has a slow twin in tests/naive.py. What is called from outside is kept compiled
(`compiled.kernel`), and always called with the same types: numba's cache can mix up what two
processes compile at once if a function has several signatures.

Kernels that work on the positions of a tile take a `grid.PixelMap` and go through it cell by cell,
line by line (`line_of`): positions, fractions and weights of a line are plain loops over short
arrays, which the compiler turns into vector instructions.
"""

from typing import Any

import numpy as np
from numba import njit

from hipsgen.sky.compiled import kernel, short_kernel

CELL = 32  # pixels along a side of a cell, at most
OUTSIDE, SMOOTH, EXACT = 0, 1, 2  # what a cell is: off the image, on the grid, pixel by pixel


@njit(nogil=True)
def _bend(nodes, k, j, i, down):  # type: ignore[no-untyped-def]
    """Second difference of coordinate k at a node, along the rows (down) or along the columns.

    At an edge it is that of the node beside it, and 0 where there are two nodes only.
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
def _inside_cell(nodes, curvature, k, j, i, v, u):  # type: ignore[no-untyped-def]
    """Coordinate k at the share v of the rows and u of the columns of a smooth cell.

    Bilinear in the corners of the cell, less the sagitta t (1 - t) / 2 of its curvature.
    """
    down, across = 0.5 * v * (1.0 - v), 0.5 * u * (1.0 - u)
    left = nodes[k, j, i] + v * (nodes[k, j + 1, i] - nodes[k, j, i])
    right = nodes[k, j, i + 1] + v * (nodes[k, j + 1, i + 1] - nodes[k, j, i + 1])
    return left + u * (right - left) - down * curvature[k, 0, j, i] - across * curvature[k, 1, j, i]


@njit(nogil=True)
def _is_off(low, high, size):  # type: ignore[no-untyped-def]
    """Whether coordinates from low to high are off an image of `size` pixels; NaN are not."""
    return low > size or high < -1.0


@njit(nogil=True)
def reach_of(nodes, curvature, k, j, i):  # type: ignore[no-untyped-def]
    """Lowest and highest coordinate k (0: x, 1: y) that a smooth cell can have."""
    a, b = nodes[k, j, i], nodes[k, j, i + 1]
    c, d = nodes[k, j + 1, i], nodes[k, j + 1, i + 1]
    bulge = 0.125 * (abs(curvature[k, 0, j, i]) + abs(curvature[k, 1, j, i]))
    return min(min(a, b), min(c, d)) - bulge, max(max(a, b), max(c, d)) + bulge


@short_kernel
def build_grid_nodes(
    nodes: Any, shape_y: int, shape_x: int, apart: Any, curvature: Any, state: Any
) -> int:
    """Second differences of a grid, and which of its cells may be on an image.

    nodes (2, n + 1, m + 1) float64: x and y on the image, NaN for none; apart (n, m) bool: cells
    that are known to be off. curvature (2, 2, n, m) float64: the mean of a cell's four corners. state
    (n, m) uint8: OUTSIDE if apart, or if all corners lie to one side of the image by more than they
    are from each other; else SMOOTH, how many of which is given back.
    """
    count = 0
    for j in range(state.shape[0]):
        for i in range(state.shape[1]):
            off = apart[j, i]
            known = True
            beside = False
            for k in range(2):
                for axis in range(2):
                    down = axis == 0
                    total = _bend(nodes, k, j, i, down) + _bend(nodes, k, j, i + 1, down)
                    total += _bend(nodes, k, j + 1, i, down) + _bend(nodes, k, j + 1, i + 1, down)
                    curvature[k, axis, j, i] = 0.25 * total
                a, b = nodes[k, j, i], nodes[k, j, i + 1]
                c, d = nodes[k, j + 1, i], nodes[k, j + 1, i + 1]
                known = known and np.isfinite(a + b + c + d)
                low, high = min(min(a, b), min(c, d)), max(max(a, b), max(c, d))
                more = high - low
                beside = beside or _is_off(low - more, high + more, shape_x if k == 0 else shape_y)
            off = off or (known and beside)
            state[j, i] = OUTSIDE if off else SMOOTH
            count += not off
    return count


@short_kernel
def refine_grid(
    nodes: Any,
    curvature: Any,
    shape_y: int,
    shape_x: int,
    cells: Any,
    shares: Any,
    truth: Any,
    limit: float,
    state: Any,
) -> int:
    """Which cells are as smooth as they must be, and which of those are on the image.

    nodes, curvature, state: as `build_grid_nodes` leaves them. cells (k, 2) int64: the SMOOTH ones. shares
    (p, 2) float64: places in a cell, of its rows and its columns; truth (2, p, k) float64: x and y
    there. A cell that is off by more than `limit`, or NaN, at one of them becomes EXACT; another
    that the image does not touch OUTSIDE. Gives back how many are EXACT.
    """
    count = 0
    for which in range(cells.shape[0]):
        j, i = cells[which, 0], cells[which, 1]
        good = True
        for p in range(shares.shape[0]):
            v, u = shares[p, 0], shares[p, 1]
            for k in range(2):
                guess = _inside_cell(nodes, curvature, k, j, i, v, u)
                good = good and abs(guess - truth[k, p, which]) <= limit
        if not good:
            state[j, i] = EXACT
            count += 1
            continue
        low_x, high_x = reach_of(nodes, curvature, 0, j, i)
        low_y, high_y = reach_of(nodes, curvature, 1, j, i)
        if _is_off(low_x, high_x, shape_x) or _is_off(low_y, high_y, shape_y):
            state[j, i] = OUTSIDE
    return count


@short_kernel
def strips(
    nodes: Any,
    curvature: Any,
    state: Any,
    rows: int,
    cols: int,
    margin: int,
    height: int,
    edges: Any,
) -> Any:
    """Columns of an image (rows, cols) that the SMOOTH cells of a grid need, `height` rows at once.

    nodes, curvature, state: as `refine_grid` leaves them. margin: pixels beside a position, and one
    more after it. edges (2, k) int64: first column and one past the last of strip k, equal for
    none. Gives back the first row of all and one past the last.
    """
    edges[0, :], edges[1, :] = cols, 0
    first, last = rows, 0
    for j in range(state.shape[0]):
        for i in range(state.shape[1]):
            if state[j, i] != SMOOTH:
                continue
            low_x, high_x = reach_of(nodes, curvature, 0, j, i)
            low_y, high_y = reach_of(nodes, curvature, 1, j, i)
            # with room for rounding; what is off the image by far is held within range
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
def line_of(at, j, i, r, x, y):  # type: ignore[no-untyped-def]
    """Positions of row r of cell (j, i) into x, y float64; gives back how many there are.

    `_inside_cell` of each pixel, so put that the compiler takes many at once.
    """
    step = at.step
    count = min(step, at.cols - i * step)
    if at.state[j, i] == EXACT:
        for c in range(count):
            x[c] = at.exact[0, j * step + r, i * step + c]
            y[c] = at.exact[1, j * step + r, i * step + c]
        return count
    v = (r + 0.5) / step
    down = 0.5 * v * (1.0 - v)
    n = at.nodes
    x0 = n[0, j, i] + v * (n[0, j + 1, i] - n[0, j, i]) - down * at.curvature[0, 0, j, i]
    x1 = (
        n[0, j, i + 1] + v * (n[0, j + 1, i + 1] - n[0, j, i + 1]) - down * at.curvature[0, 0, j, i]
    )
    y0 = n[1, j, i] + v * (n[1, j + 1, i] - n[1, j, i]) - down * at.curvature[1, 0, j, i]
    y1 = (
        n[1, j, i + 1] + v * (n[1, j + 1, i + 1] - n[1, j, i + 1]) - down * at.curvature[1, 0, j, i]
    )
    x1 -= x0
    y1 -= y0
    bend_x, bend_y = 0.5 * at.curvature[0, 1, j, i], 0.5 * at.curvature[1, 1, j, i]
    share = 1.0 / step
    for c in range(count):
        u = (c + 0.5) * share
        across = u * (1.0 - u)
        x[c] = x0 + u * x1 - across * bend_x
        y[c] = y0 + u * y1 - across * bend_y
    return count


@njit(nogil=True)
def position_of(at, r, c):  # type: ignore[no-untyped-def]
    """x, y of one pixel; NaN where the cell is outside."""
    step = at.step
    j, i = r // step, c // step
    if at.state[j, i] == EXACT:
        return at.exact[0, r, c], at.exact[1, r, c]
    if at.state[j, i] == OUTSIDE:
        return np.nan, np.nan
    v, u = (r - j * step + 0.5) / step, (c - i * step + 0.5) / step
    x = _inside_cell(at.nodes, at.curvature, 0, j, i, v, u)
    return x, _inside_cell(at.nodes, at.curvature, 1, j, i, v, u)


@kernel
def positions(at: Any, x: Any, y: Any) -> None:
    """x, y (rows, cols) float64 of all pixels of a map, NaN in cells outside."""
    for r in range(at.rows):
        for c in range(at.cols):
            x[r, c], y[r, c] = position_of(at, r, c)

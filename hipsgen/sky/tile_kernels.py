"""Compiled loops over the pixels of tiles: sums of coadds, parents, ranges, levels, byte order.

Called by `combine`, `pyramid`, `stretch`, `coverage` and `fits_tile`. See `grid_kernels` for the
rules that all kernels follow.
"""

from typing import Any

import numpy as np
from numba import njit

from hipsgen.sky.compiled import kernel
from hipsgen.sky.grid_kernels import CELL, line_positions


@njit(nogil=True)
def _depth(px, py, shape_x, shape_y):  # type: ignore[no-untyped-def]
    """Return the distances, in pixels, to the nearest vertical and horizontal edge of a coadd."""
    return min(px + 0.5, shape_x - 0.5 - px), min(py + 0.5, shape_y - 0.5 - py)


@kernel
def add_mean(values: Any, chosen: Any, step: int, total: Any, weight: Any) -> None:
    """Add values that are not NaN, with weight 1.

    values (n, m) float32; chosen bool: the cells, of step x step pixels, to process. Updated:
    total, weight (n, m) float64.
    """
    rows, cols = values.shape
    for j in range(chosen.shape[0]):
        for i in range(chosen.shape[1]):
            if chosen[j, i]:
                for r in range(j * step, min((j + 1) * step, rows)):
                    for c in range(i * step, min((i + 1) * step, cols)):
                        v = values[r, c]
                        if v == v:
                            total[r, c] += v
                            weight[r, c] += 1.0


@kernel
def add_feathered(
    values: Any,
    pixel_map: Any,
    chosen: Any,
    shape_y: int,
    shape_x: int,
    ramp: float,
    total: Any,
    weight: Any,
) -> None:
    """Add values with weights that fall smoothly to zero over `ramp` pixels to each edge.

    Arguments as for `add_mean`, with pixel_map, the positions on a coadd of shape (shape_y,
    shape_x). chosen: no cell that is OUTSIDE.
    """
    x, y = np.empty(CELL, np.float64), np.empty(CELL, np.float64)
    for j in range(pixel_map.state.shape[0]):
        for i in range(pixel_map.state.shape[1]):
            if not chosen[j, i]:
                continue
            start = i * pixel_map.step
            for r in range(min(pixel_map.step, pixel_map.rows - j * pixel_map.step)):
                row = j * pixel_map.step + r
                count = line_positions(pixel_map, j, i, r, x, y)
                # a separate loop, so that the compiler vectorizes it
                for c in range(count):
                    dx, dy = _depth(x[c], y[c], shape_x, shape_y)
                    tx = min(max(dx / ramp, 0.0), 1.0)
                    ty = min(max(dy / ramp, 0.0), 1.0)
                    w = tx * tx * (3.0 - 2.0 * tx) * ty * ty * (3.0 - 2.0 * ty)
                    x[c] = max(w, 1e-12)
                for c in range(count):
                    v = np.float64(values[row, start + c])
                    if v == v:
                        total[row, start + c] += x[c] * v
                        weight[row, start + c] += x[c]


@kernel
def keep_deepest(
    values: Any,
    pixel_map: Any,
    chosen: Any,
    shape_y: int,
    shape_x: int,
    scale: float,
    total: Any,
    weight: Any,
) -> None:
    """Replace values where the point is deeper (depth in pixels x scale) than in any coadd before.

    Arguments as for `add_feathered`. total: value x depth; weight: depth; so total / weight is the
    value.
    """
    x, y = np.empty(CELL, np.float64), np.empty(CELL, np.float64)
    for j in range(pixel_map.state.shape[0]):
        for i in range(pixel_map.state.shape[1]):
            if not chosen[j, i]:
                continue
            start = i * pixel_map.step
            for r in range(min(pixel_map.step, pixel_map.rows - j * pixel_map.step)):
                row = j * pixel_map.step + r
                for c in range(line_positions(pixel_map, j, i, r, x, y)):
                    v = values[row, start + c]
                    if v == v:
                        dx, dy = _depth(x[c], y[c], shape_x, shape_y)
                        w = max(min(dx, dy) * scale, 1e-12)
                        if w > weight[row, start + c]:
                            total[row, start + c] = w * np.float64(v)
                            weight[row, start + c] = w


@kernel
def divide(total: Any, weight: Any, chosen: Any, step: int, out: Any) -> None:
    """Write total / weight as float32 in the chosen cells; NaN where weight is 0."""
    rows, cols = out.shape
    for j in range(chosen.shape[0]):
        for i in range(chosen.shape[1]):
            if chosen[j, i]:
                for r in range(j * step, min((j + 1) * step, rows)):
                    for c in range(i * step, min((i + 1) * step, cols)):
                        w = weight[r, c]
                        out[r, c] = total[r, c] / w if w > 0.0 else np.nan


@kernel
def mask_uncovered(value: Any, coverage: Any, threshold: float, out: Any) -> int:
    """Copy values whose coverage is at least `threshold`, else write NaN; return the number copied.

    value, coverage, out (n, m) float32.
    """
    count = 0
    for r in range(value.shape[0]):
        for c in range(value.shape[1]):
            is_shown = coverage[r, c] >= threshold
            out[r, c] = value[r, c] if is_shown else np.float32(np.nan)
            count += is_shown
    return count


@njit(nogil=True)
def _sortable(bits):  # type: ignore[no-untyped-def]
    """Convert the bits of a float32 to an int32 with the same sorting order, and back."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@kernel
def measure_cells(values: Any, has_value: Any) -> Any:
    """Return the lowest and highest of values (n, n) that are not NaN; inf, -inf if all are.

    values: the bits of float32 as int32. Written: has_value (m, m) bool, whether a cell of n / m
    pixels a side has a value.
    """
    infinite = np.int32(0x7F800000)
    size = values.shape[0] // has_value.shape[0]
    low, high = np.int32(infinite), _sortable(np.int32(-0x800000))
    for j in range(has_value.shape[0]):
        for i in range(has_value.shape[1]):
            least, most = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
            for r in range(j * size, (j + 1) * size):
                for c in range(i * size, (i + 1) * size):
                    bits = values[r, c]
                    valid = (bits & np.int32(0x7FFFFFFF)) <= infinite
                    order = np.int32(_sortable(bits))
                    least = min(least, order if valid else np.int32(0x7FFFFFFF))
                    most = max(most, order if valid else np.int32(-0x80000000))
            has_value[j, i] = least <= most
            if least <= most:
                low, high = min(low, least), max(high, most)
    return np.int32(_sortable(low)).view(np.float32), np.int32(_sortable(high)).view(np.float32)


@kernel
def to_big_endian(values: Any, out: Any) -> Any:
    """Write values (n,) uint32 with reversed bytes to out (n,) uint32; return their sum."""
    total = np.uint64(0)
    for k in range(values.size):
        v = values[k]
        total += np.uint64(v)
        low, high = v << np.uint32(24) | (v & np.uint32(0xFF00)) << np.uint32(8), v >> np.uint32(24)
        out[k] = low | high | (v >> np.uint32(8) & np.uint32(0xFF00))
    return total


@kernel
def to_levels(values: Any, zero: float, guesses: Any, limits: Any, steps: int, lines: Any) -> None:
    """Convert values to gray levels: 1 plus the number of limits that a value reaches; 0 for NaN.

    values (n, m) float32. lines (n, 1 + m) uint8: written from the last row of values to the first;
    column 0 is left unchanged. limits (255,) float32: increasing, the last is NaN. guesses (2**15,)
    uint8: a lower bound of the number of limits reached, for the first 15 bits of the float32
    `value - zero` (sign, exponent, 6 bits of the mantissa); it is at most `steps` too low.
    """
    rows, cols = values.shape
    level = np.empty(cols, np.int32)
    for r in range(rows):
        for c in range(cols):
            bits = np.float32(values[r, c] - zero).view(np.int32)
            level[c] = bits >> np.int32(17) & np.int32(0x7FFF)
        for c in range(cols):
            k = np.int32(guesses[np.uint64(level[c])])
            # without a branch, which would be unpredictable
            level[c] = k + np.int32(values[r, c] >= limits[np.uint64(k)])
        for _ in range(1, steps):
            for c in range(cols):
                level[c] += np.int32(values[r, c] >= limits[np.uint64(level[c])])
        for c in range(cols):
            v = values[r, c]
            lines[rows - 1 - r, 1 + c] = level[c] + 1 if v == v else 0


@kernel
def halve(value: Any, coverage: Any, row: int, col: int, out_value: Any, out_coverage: Any) -> None:
    """Average 2x2 pixels, weighted by their coverage, and average the coverage.

    value, coverage (2n, 2m) float32; value is NaN exactly where coverage is 0. Written: out_value,
    out_coverage float32, n x m pixels from (row, col) on.
    """
    for r in range(value.shape[0] // 2):
        for c in range(value.shape[1] // 2):
            total = 0.0
            weight = 0.0
            for j in range(2 * r, 2 * r + 2):
                for i in range(2 * c, 2 * c + 2):
                    w = np.float64(coverage[j, i])
                    if w > 0.0:
                        total += w * value[j, i]
                        weight += w
            out_value[row + r, col + c] = total / weight if weight > 0.0 else np.nan
            out_coverage[row + r, col + c] = 0.25 * weight


@kernel
def halve_leaf(value: Any, row: int, col: int, out_value: Any, out_coverage: Any) -> None:
    """Do what `halve` does, for pixels that are covered entirely, or not at all where NaN."""
    for r in range(value.shape[0] // 2):
        for c in range(value.shape[1] // 2):
            total = 0.0
            count = 0
            for j in range(2 * r, 2 * r + 2):
                for i in range(2 * c, 2 * c + 2):
                    v = np.float64(value[j, i])
                    if v == v:
                        total += v
                        count += 1
            out_value[row + r, col + c] = total / count if count else np.nan
            out_coverage[row + r, col + c] = 0.25 * count

"""Compiled loops over the pixels of tiles: sums of coadds, parents, ranges, levels, bytes.

`combine`, `pyramid`, `stretch`, `coverage` and `fits_tile` call them. See `grid_kernels` for what
holds for all kernels.
"""

from typing import Any

import numpy as np
from numba import njit

from hipsgen.sky.compiled import kernel
from hipsgen.sky.grid_kernels import CELL, line_of


@njit(nogil=True)
def _depth(px, py, shape_x, shape_y):  # type: ignore[no-untyped-def]
    """Distances to the nearest vertical and the nearest horizontal edge of a coadd, in pixels."""
    return min(px + 0.5, shape_x - 0.5 - px), min(py + 0.5, shape_y - 0.5 - py)


@kernel
def add_mean(values: Any, chosen: Any, step: int, total: Any, weight: Any) -> None:
    """Add values (n, m) that are not NaN with weight 1 to total and weight, float64 (n, m).

    In the chosen cells, bool, of step x step pixels.
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
    at: Any,
    chosen: Any,
    shape_y: int,
    shape_x: int,
    ramp: float,
    total: Any,
    weight: Any,
) -> None:
    """Like `add_mean`, with weights that fall smoothly to zero over `ramp` pixels to each edge.

    chosen: none of the cells that are outside.
    """
    x, y = np.empty(CELL, np.float64), np.empty(CELL, np.float64)
    for j in range(at.state.shape[0]):
        for i in range(at.state.shape[1]):
            if not chosen[j, i]:
                continue
            start = i * at.step
            for r in range(min(at.step, at.rows - j * at.step)):
                row = j * at.step + r
                count = line_of(at, j, i, r, x, y)
                # apart from the sums, so that the compiler takes many at once
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
    at: Any,
    chosen: Any,
    shape_y: int,
    shape_x: int,
    scale: float,
    total: Any,
    weight: Any,
) -> None:
    """Take v where the point lies deeper (depth in pixels x scale) than in any coadd before.

    total holds value x depth, weight the depth, so that total / weight is the value. chosen: as for
    `add_feathered`.
    """
    x, y = np.empty(CELL, np.float64), np.empty(CELL, np.float64)
    for j in range(at.state.shape[0]):
        for i in range(at.state.shape[1]):
            if not chosen[j, i]:
                continue
            start = i * at.step
            for r in range(min(at.step, at.rows - j * at.step)):
                row = j * at.step + r
                for c in range(line_of(at, j, i, r, x, y)):
                    v = values[row, start + c]
                    if v == v:
                        dx, dy = _depth(x[c], y[c], shape_x, shape_y)
                        w = max(min(dx, dy) * scale, 1e-12)
                        if w > weight[row, start + c]:
                            total[row, start + c] = w * np.float64(v)
                            weight[row, start + c] = w


@kernel
def divide(total: Any, weight: Any, chosen: Any, step: int, out: Any) -> None:
    """out = total / weight as float32, NaN where weight is 0, in the chosen cells."""
    rows, cols = out.shape
    for j in range(chosen.shape[0]):
        for i in range(chosen.shape[1]):
            if chosen[j, i]:
                for r in range(j * step, min((j + 1) * step, rows)):
                    for c in range(i * step, min((i + 1) * step, cols)):
                        w = weight[r, c]
                        out[r, c] = total[r, c] / w if w > 0.0 else np.nan


@kernel
def show(value: Any, coverage: Any, enough: float, out: Any) -> int:
    """out = value where at least so much is covered, else NaN; in how many pixels that is so.

    value, coverage, out (n, m) float32.
    """
    count = 0
    for r in range(value.shape[0]):
        for c in range(value.shape[1]):
            shown = coverage[r, c] >= enough
            out[r, c] = value[r, c] if shown else np.float32(np.nan)
            count += shown
    return count


@njit(nogil=True)
def _turned(bits):  # type: ignore[no-untyped-def]
    """Bits of a float32 as an int32 that sorts as it does; and back."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@kernel
def measure(values: Any, some: Any) -> Any:
    """Lowest and highest of values (n, n) that are not NaN; inf, -inf for none.

    values: the bits of float32 as int32. some (m, m) bool: set to whether the cell, n / m pixels a
    side, has a value.
    """
    infinite = np.int32(0x7F800000)
    size = values.shape[0] // some.shape[0]
    low, high = np.int32(infinite), _turned(np.int32(-0x800000))
    for j in range(some.shape[0]):
        for i in range(some.shape[1]):
            least, most = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
            for r in range(j * size, (j + 1) * size):
                for c in range(i * size, (i + 1) * size):
                    bits = values[r, c]
                    known = (bits & np.int32(0x7FFFFFFF)) <= infinite
                    order = np.int32(_turned(bits))
                    least = min(least, order if known else np.int32(0x7FFFFFFF))
                    most = max(most, order if known else np.int32(-0x80000000))
            some[j, i] = least <= most
            if least <= most:
                low, high = min(low, least), max(high, most)
    return np.int32(_turned(low)).view(np.float32), np.int32(_turned(high)).view(np.float32)


@kernel
def to_big_endian(values: Any, out: Any) -> Any:
    """out (n,) uint32: the bytes of values (n,) uint32 turned round; gives back their sum."""
    total = np.uint64(0)
    for k in range(values.size):
        v = values[k]
        total += np.uint64(v)
        low, high = v << np.uint32(24) | (v & np.uint32(0xFF00)) << np.uint32(8), v >> np.uint32(24)
        out[k] = low | high | (v >> np.uint32(8) & np.uint32(0xFF00))
    return total


@kernel
def to_levels(values: Any, zero: float, guesses: Any, limits: Any, steps: int, lines: Any) -> None:
    """Gray levels: 1 and as many more as there are limits that a value reaches.

    values (n, m) float32, NaN becomes 0. lines (n, 1 + m) uint8: the last row of values comes
    first, and the first column is left as it is. limits (255,) float32: increasing, the last is
    NaN. guesses (2**15,) uint8: for the first 15 bits of the float32 `value - zero` (sign,
    exponent, 6 bits of the mantissa) how many limits it reaches at least; at most `steps` more.
    """
    rows, cols = values.shape
    level = np.empty(cols, np.int32)
    for r in range(rows):
        for c in range(cols):
            bits = np.float32(values[r, c] - zero).view(np.int32)
            level[c] = bits >> np.int32(17) & np.int32(0x7FFF)
        for c in range(cols):
            k = np.int32(guesses[np.uint64(level[c])])
            # no branch: which way it goes is noise
            level[c] = k + np.int32(values[r, c] >= limits[np.uint64(k)])
        for _ in range(1, steps):
            for c in range(cols):
                level[c] += np.int32(values[r, c] >= limits[np.uint64(level[c])])
        for c in range(cols):
            v = values[r, c]
            lines[rows - 1 - r, 1 + c] = level[c] + 1 if v == v else 0


@kernel
def halve(value: Any, coverage: Any, row: int, col: int, out_value: Any, out_coverage: Any) -> None:
    """Mean of 2x2 pixels weighted by their coverage, and the mean of the coverages.

    value, coverage (2n, 2m) float32, value NaN exactly where coverage is 0. out_value,
    out_coverage float32: n x m pixels are written from (row, col) on.
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
    """`halve` for pixels that are wholly covered, or not at all where they are NaN."""
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

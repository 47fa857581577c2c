"""Every compiled loop, and nothing else.

Callers check shapes and types (`resample`, `combine`, `pyramid`, `grid`); a kernel trusts them,
writes into what it is given, holds no Python object and releases the GIL. No `fastmath`: NaN means
"no data" and must stay NaN. Each kernel has a slow twin in tests/naive.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

# The limiter lets a value pass the extreme of its 4x4 neighbours by the distance from that extreme
# to the value a quarter down their ranking: the peak of a star of FWHM 2.5 px needs 0.42 of it.
# Where that distance is under FLAT of all that the 4x4 span, the extreme is a floor or a plateau
# beside something bright, and the allowance shrinks with it. So the ring round a saturated star
# drowns in the noise of the sky, yet under one pixel in a thousand of pure noise is touched.
FLAT = 0.08


@njit(nogil=True, cache=True)
def _nearest(position):  # type: ignore[no-untyped-def]
    """The whole number nearest to a position; floor(position + 0.5) rounds 0.5 - 2**-54 to 1."""
    below = int(np.floor(position))
    return below + 1 if position - below >= 0.5 else below


@njit(nogil=True, cache=True)
def _allowance(spread, span):  # type: ignore[no-untyped-def]
    """How far a value may pass an extreme."""
    return spread if spread >= FLAT * span else spread * spread / (FLAT * span)


@njit(nogil=True, cache=True)
def _limits(pixels, j0, i0):  # type: ignore[no-untyped-def]
    """Lowest and highest value that the 4x4 valid pixels round cell (j0, i0) allow."""
    rows, cols = pixels.shape
    found = np.empty(16, np.float64)
    n = 0
    for j in range(max(0, j0 - 1), min(rows, j0 + 3)):
        for i in range(max(0, i0 - 1), min(cols, i0 + 3)):
            v = pixels[j, i]
            if v == v:
                k = n
                while k > 0 and found[k - 1] > v:
                    found[k] = found[k - 1]
                    k -= 1
                found[k] = v
                n += 1
    low, high = found[0], found[n - 1]
    quarter = n // 4
    return (
        low - _allowance(found[quarter] - low, high - low),
        high + _allowance(high - found[n - 1 - quarter], high - low),
    )


@njit(nogil=True, cache=True)
def _sample_some_missing(pixels, nearest, j0, i0, wy, wx):  # type: ignore[no-untyped-def]
    """Weighted mean of the pixels that exist, weights renormalised, within `_limits`.

    What is left of a kernel with negative lobes may have no weight to be normalised by; then the
    nearest pixel stands in.
    """
    rows, cols = pixels.shape
    taps = wx.size
    first = taps // 2 - 1
    total = 0.0
    weight = 0.0
    for b in range(taps):
        j = j0 - first + b
        if j < 0 or j >= rows:
            continue
        for a in range(taps):
            i = i0 - first + a
            if i < 0 or i >= cols:
                continue
            v = pixels[j, i]
            if v == v:
                w = wy[b] * wx[a]
                total += w * v
                weight += w
    if weight < 0.1:
        return np.float64(nearest)
    low, high = _limits(pixels, j0, i0)
    return min(max(total / weight, low), high)


def _make_sampler(taps: int) -> Callable[..., bool]:
    first = taps // 2 - 1

    @njit(nogil=True, cache=True)
    def sample(pixels, x, y, table, limited, out):  # type: ignore[no-untyped-def]
        """out[r, c] = pixels interpolated at (y[r, c], x[r, c]); NaN where the nearest is missing.

        pixels (h, w) float32; x, y (n, m) float64, 0 at the centre of the first pixel;
        table (steps + 1, taps) float64: weights for fractions 0 ... 1, interpolated between rows;
        limited: clip to what the 4x4 neighbours allow; out (n, m) float32. Returns whether some
        value was found with a pixel missing under the kernel.
        """
        some_missing = False
        rows, cols = pixels.shape
        steps = table.shape[0] - 1
        wx = np.empty(taps, np.float64)
        wy = np.empty(taps, np.float64)
        for r in range(out.shape[0]):
            for c in range(out.shape[1]):
                px = x[r, c]
                py = y[r, c]
                if not (px >= -0.5 and py >= -0.5 and px < cols - 0.5 and py < rows - 0.5):
                    out[r, c] = np.nan
                    continue
                nearest = pixels[_nearest(py), _nearest(px)]
                if nearest != nearest:
                    out[r, c] = np.nan
                    continue
                i0 = int(np.floor(px))
                j0 = int(np.floor(py))
                fx = (px - i0) * steps
                fy = (py - j0) * steps
                kx = min(int(fx), steps - 1)
                ky = min(int(fy), steps - 1)
                fx -= kx
                fy -= ky
                for a in range(taps):
                    wx[a] = table[kx, a] + fx * (table[kx + 1, a] - table[kx, a])
                    wy[a] = table[ky, a] + fy * (table[ky + 1, a] - table[ky, a])
                left = i0 - first
                low = j0 - first
                value = np.nan
                if left >= 0 and low >= 0 and left + taps <= cols and low + taps <= rows:
                    value = 0.0
                    for b in range(taps):
                        line = 0.0
                        for a in range(taps):
                            line += wx[a] * pixels[low + b, left + a]
                        value += wy[b] * line
                if value != value:
                    some_missing = True
                    out[r, c] = _sample_some_missing(pixels, nearest, j0, i0, wy, wx)
                    continue
                if limited:
                    p00 = pixels[j0, i0]
                    p01 = pixels[j0, i0 + 1]
                    p10 = pixels[j0 + 1, i0]
                    p11 = pixels[j0 + 1, i0 + 1]
                    if value < min(min(p00, p01), min(p10, p11)) or value > max(
                        max(p00, p01), max(p10, p11)
                    ):
                        lowest, highest = _limits(pixels, j0, i0)
                        value = min(max(value, lowest), highest)
                out[r, c] = value
        return some_missing

    return sample  # type: ignore[no-any-return]


SAMPLERS: dict[int, Callable[..., bool]] = {taps: _make_sampler(taps) for taps in (2, 6, 10)}


@njit(nogil=True, cache=True)
def sample_nearest(pixels: Any, x: Any, y: Any, out: Any) -> None:
    """out[r, c] = the pixel whose square holds (y[r, c], x[r, c]); NaN outside."""
    rows, cols = pixels.shape
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            px = x[r, c]
            py = y[r, c]
            if px >= -0.5 and py >= -0.5 and px < cols - 0.5 and py < rows - 0.5:
                out[r, c] = pixels[_nearest(py), _nearest(px)]
            else:
                out[r, c] = np.nan


@njit(nogil=True, cache=True)
def _is_kept(pixels, x, y, r, c, j, i):  # type: ignore[no-untyped-def]
    """Whether some output pixel round (r, c) is missing for pixel (j, i) or one that touches it."""
    rows, cols = pixels.shape
    for a in range(max(0, r - 2), min(x.shape[0], r + 3)):
        for b in range(max(0, c - 2), min(x.shape[1], c + 3)):
            # positions may be NaN, or too far for an integer
            if not (abs(y[a, b] - j) <= 2.0 and abs(x[a, b] - i) <= 2.0):
                continue
            m = _nearest(y[a, b])
            n = _nearest(x[a, b])
            if abs(m - j) <= 1 and abs(n - i) <= 1 and 0 <= m < rows and 0 <= n < cols:
                v = pixels[m, n]
                if v != v:
                    return True
    return False


@njit(nogil=True, cache=True)
def _is_lone(pixels, j, i):  # type: ignore[no-untyped-def]
    """Whether no pixel that touches (j, i) is missing."""
    rows, cols = pixels.shape
    for m in range(max(0, j - 1), min(rows, j + 2)):
        for n in range(max(0, i - 1), min(cols, i + 2)):
            v = pixels[m, n]
            if v != v and not (m == j and n == i):
                return False
    return True


@njit(nogil=True, cache=True)
def _is_closest(x, y, r, c, j, i):  # type: ignore[no-untyped-def]
    """Whether no output pixel beside (r, c) is closer to (j, i), or as close and before it."""
    mine = (x[r, c] - i) ** 2 + (y[r, c] - j) ** 2
    for a in range(max(0, r - 1), min(x.shape[0], r + 2)):
        for b in range(max(0, c - 1), min(x.shape[1], c + 2)):
            other = (x[a, b] - i) ** 2 + (y[a, b] - j) ** 2
            if other < mine or (other == mine and (a < r or (a == r and b < c))):
                return False
    return True


@njit(nogil=True, cache=True)
def keep_missing(pixels: Any, x: Any, y: Any, out: Any) -> None:
    """Set out to NaN at the pixel closest to a missing pixel that would vanish otherwise.

    Where output pixels are a little coarser than the input, or askew as they are near the poles, a
    lone missing pixel can slip between them. Larger holes keep their exact size: at the border of
    the tile, where the output pixels beyond are not seen, only lone pixels are looked after.
    Arguments as in `sample`.
    """
    rows, cols = pixels.shape
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            if out[r, c] != out[r, c]:
                continue
            border = r < 2 or c < 2 or r >= out.shape[0] - 2 or c >= out.shape[1] - 2
            i0 = int(np.floor(x[r, c]))
            j0 = int(np.floor(y[r, c]))
            for j in range(max(0, j0), min(rows, j0 + 2)):
                for i in range(max(0, i0), min(cols, i0 + 2)):
                    v = pixels[j, i]
                    if (
                        v != v
                        and (not border or _is_lone(pixels, j, i))
                        and _is_closest(x, y, r, c, j, i)
                        and not _is_kept(pixels, x, y, r, c, j, i)
                    ):
                        out[r, c] = np.nan


@njit(nogil=True, cache=True)
def _depth(px, py, shape_x, shape_y):  # type: ignore[no-untyped-def]
    """Distances to the nearest vertical and the nearest horizontal edge of a coadd, in pixels."""
    return min(px + 0.5, shape_x - 0.5 - px), min(py + 0.5, shape_y - 0.5 - py)


@njit(nogil=True, cache=True)
def add_mean(values: Any, total: Any, weight: Any) -> None:
    """Add values (n, m) that are not NaN with weight 1 to total and weight, float64 (n, m)."""
    for r in range(values.shape[0]):
        for c in range(values.shape[1]):
            v = values[r, c]
            if v == v:
                total[r, c] += v
                weight[r, c] += 1.0


@njit(nogil=True, cache=True)
def add_feathered(
    values: Any, x: Any, y: Any, shape_y: int, shape_x: int, ramp: float, total: Any, weight: Any
) -> None:
    """Like `add_mean`, with weights that fall smoothly to zero over `ramp` pixels to each edge."""
    for r in range(values.shape[0]):
        for c in range(values.shape[1]):
            v = values[r, c]
            if v == v:
                dx, dy = _depth(x[r, c], y[r, c], shape_x, shape_y)
                tx = min(max(dx / ramp, 0.0), 1.0)
                ty = min(max(dy / ramp, 0.0), 1.0)
                w = tx * tx * (3.0 - 2.0 * tx) * ty * ty * (3.0 - 2.0 * ty)
                w = max(w, 1e-12)
                total[r, c] += w * np.float64(v)
                weight[r, c] += w


@njit(nogil=True, cache=True)
def keep_deepest(
    values: Any, x: Any, y: Any, shape_y: int, shape_x: int, scale: float, total: Any, weight: Any
) -> None:
    """Take v where the point lies deeper (depth in pixels x scale) than in any coadd before.

    total holds value x depth, weight the depth, so that total / weight is the value.
    """
    for r in range(values.shape[0]):
        for c in range(values.shape[1]):
            v = values[r, c]
            if v == v:
                dx, dy = _depth(x[r, c], y[r, c], shape_x, shape_y)
                w = max(min(dx, dy) * scale, 1e-12)
                if w > weight[r, c]:
                    total[r, c] = w * np.float64(v)
                    weight[r, c] = w


@njit(nogil=True, cache=True)
def divide(total: Any, weight: Any, out: Any) -> None:
    """out = total / weight as float32, NaN where weight is 0."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            w = weight[r, c]
            out[r, c] = total[r, c] / w if w > 0.0 else np.nan


@njit(nogil=True, cache=True)
def halve(value: Any, coverage: Any, out_value: Any, out_coverage: Any) -> None:
    """Mean of 2x2 pixels weighted by their coverage, and the mean of the coverages.

    value, coverage (2n, 2m) float32; out_value, out_coverage (n, m) float32. value is NaN exactly
    where coverage is 0.
    """
    for r in range(out_value.shape[0]):
        for c in range(out_value.shape[1]):
            total = 0.0
            weight = 0.0
            for j in range(2 * r, 2 * r + 2):
                for i in range(2 * c, 2 * c + 2):
                    w = np.float64(coverage[j, i])
                    if w > 0.0:
                        total += w * value[j, i]
                        weight += w
            if weight > 0.0:
                out_value[r, c] = total / weight
                out_coverage[r, c] = 0.25 * weight
            else:
                out_value[r, c] = np.nan
                out_coverage[r, c] = 0.0


@njit(nogil=True, cache=True)
def fill_cells(nodes: Any, bend_rows: Any, bend_cols: Any, step: int, keep: Any, out: Any) -> None:
    """Interpolate node values to the pixel centres of the cells in `keep`.

    nodes (n + 1, m + 1) float64 at the corners of cells of `step` x `step` pixels; bend_rows,
    bend_cols (n, m) float64: second differences of the values in each cell, from one node to the
    next along the rows (downwards) and along the columns; keep (n, m) bool; out (n * step,
    m * step) float64, written only in the kept cells. Bilinear in the corners, less the sagitta
    t (1 - t) / 2 of the bends.
    """
    for j in range(keep.shape[0]):
        for i in range(keep.shape[1]):
            if not keep[j, i]:
                continue
            for r in range(step):
                v = (r + 0.5) / step
                left = nodes[j, i] + v * (nodes[j + 1, i] - nodes[j, i])
                right = nodes[j, i + 1] + v * (nodes[j + 1, i + 1] - nodes[j, i + 1])
                left -= 0.5 * v * (1.0 - v) * bend_rows[j, i]
                right -= 0.5 * v * (1.0 - v) * bend_rows[j, i]
                for c in range(step):
                    u = (c + 0.5) / step
                    sagitta = 0.5 * u * (1.0 - u) * bend_cols[j, i]
                    out[j * step + r, i * step + c] = left + u * (right - left) - sagitta

"""Compiled loops that sample a coadd at the positions of a tile; `resample` calls them.

See `grid_kernels` for what holds for all kernels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from hipsgen.sky.compiled import kernel
from hipsgen.sky.grid_kernels import CELL, OUTSIDE, SMOOTH, line_of, position_of, reach_of
from hipsgen.sky.lanes import count_between, extremes, fetch, fma, lanes_of, make_sum

_FETCHED = 16  # float32 in a line of a processor's cache

# The limiter lets a value pass the extreme of its 4x4 neighbors by the distance from that extreme
# to the value a quarter down their ranking: the peak of a star of FWHM 2.5 px needs 0.42 of it.
# Where that distance is under FLAT of all that the 4x4 span, the extreme is a floor or a plateau
# beside something bright, and the allowance shrinks with it. So the ring round a saturated star
# drowns in the noise of the sky, yet under one pixel in a thousand of pure noise is touched.
FLAT = 0.08


@njit(nogil=True)
def _nearest(position):  # type: ignore[no-untyped-def]
    """The whole number nearest to a position; floor(position + 0.5) rounds 0.5 - 2**-54 to 1."""
    below = int(np.floor(position))
    return below + 1 if position - below >= 0.5 else below


@njit(nogil=True)
def _allowance(spread, span):  # type: ignore[no-untyped-def]
    """How far a value may pass an extreme."""
    return spread if spread >= FLAT * span else spread * spread / (FLAT * span)


@njit(nogil=True)
def _is_allowed(value, pixels, j0, i0):  # type: ignore[no-untyped-def]
    """Whether `_limited` leaves a value as it is; False may be wrong. All 4x4 pixels are valid.

    It passes an extreme by d. That is allowed if the fifth of the 16 in rank is no closer to the
    extreme than the spread of which d is the allowance: counting tells, without sorting.
    """
    least, most = extremes(pixels, j0 - 1, i0 - 1)
    low, high = np.float64(least), np.float64(most)
    if low <= value <= high:
        return True
    span = high - low
    passed = low - value if value < low else value - high
    spread = passed if passed >= FLAT * span else np.sqrt(passed * FLAT * span)
    spread *= 1.00001
    if value < low:
        most = np.float32(low + spread)
    else:
        least = np.float32(high - spread)
    return count_between(pixels, j0 - 1, i0 - 1, least, most) <= 4


@njit(nogil=True)
def _limited(value, pixels, j0, i0):  # type: ignore[no-untyped-def]
    """A value clipped to what the 4x4 valid pixels round cell (j0, i0) allow."""
    rows, cols = pixels.shape
    found = np.empty(16, np.float64)
    n = 0
    for j in range(max(0, j0 - 1), min(rows, j0 + 3)):
        for i in range(max(0, i0 - 1), min(cols, i0 + 3)):
            v = np.float64(pixels[j, i])
            if v == v:
                k = n
                while k > 0 and found[k - 1] > v:
                    found[k] = found[k - 1]
                    k -= 1
                found[k] = v
                n += 1
    quarter = n // 4
    low, high = found[0], found[n - 1]
    if value < low:
        return max(value, low - _allowance(found[quarter] - low, high - low))
    if value > high:
        return min(value, high + _allowance(high - found[n - 1 - quarter], high - low))
    return value


@njit(nogil=True)
def _weight(polynomials, tap, fraction):  # type: ignore[no-untyped-def]
    """The weight of a tap for a fraction of a pixel."""
    last = polynomials.shape[1] - 1
    weight = np.float64(polynomials[tap, last])
    for k in range(last - 1, -1, -1):
        weight = weight * fraction + np.float64(polynomials[tap, k])
    return weight


@njit(nogil=True)
def _partial(pixels, nearest, low, left, polynomials, fx, fy):  # type: ignore[no-untyped-def]
    """Weighted mean of the pixels that exist, weights renormalized, within the limits.

    The taps go from pixel (low, left) on. What is left of a kernel with negative lobes may have no
    weight to be normalized by; then the nearest pixel stands in. Also gives back whether one of the
    pixels is missing, not just beyond the edge.
    """
    rows, cols = pixels.shape
    taps = polynomials.shape[0]
    total = 0.0
    weight = 0.0
    missing = False
    for b in range(taps):
        j = low + b
        if j < 0 or j >= rows:
            continue
        along_y = _weight(polynomials, b, fy)
        for a in range(taps):
            i = left + a
            if i < 0 or i >= cols:
                continue
            v = np.float64(pixels[j, i])
            if v == v:
                w = along_y * _weight(polynomials, a, fx)
                total += w * v
                weight += w
            else:
                missing = True
    if weight < 0.1:
        return np.float64(nearest), missing
    first = taps // 2 - 1
    return _limited(total / weight, pixels, low + first, left + first), missing


@njit(nogil=True)
def _four(pixels, i0, j0, fx, fy, count, work, found):  # type: ignore[no-untyped-def]
    """Bilinear; arguments as for the `sums` below."""
    for c in range(count):
        # unsigned: no check for negative indices
        j, i = np.uint64(j0[c]), np.uint64(i0[c])
        work[0, c], work[1, c] = pixels[j, i], pixels[j, i + np.uint64(1)]
        j += np.uint64(1)
        work[2, c], work[3, c] = pixels[j, i], pixels[j, i + np.uint64(1)]
    for c in range(count):
        a, b = np.float64(work[0, c]), np.float64(work[1, c])
        p, q = np.float64(work[2, c]), np.float64(work[3, c])
        f, g = fx[c], fy[c]
        found[c] = (1.0 - g) * ((1.0 - f) * a + f * b) + g * ((1.0 - f) * p + f * q)


def _make_sums(taps: int, degree: int) -> Callable[..., None]:
    first = taps // 2 - 1
    total = make_sum(taps, degree)

    @njit(nogil=True)
    def sums(pixels, i0, j0, fx, fy, count, polynomials, coefficients, work, found, beyond):  # type: ignore[no-untyped-def]
        """Checksums over the pixels round positions, and whether they lie beyond the closest 4x4.

        i0, j0: the pixels before the positions; all taps, and what `make_sum` reads beyond them,
        are in the array. fx, fy: the fractions. coefficients: of the polynomials, the taps along
        the last axis. work (taps, CELL) float32.
        """
        for t in range(taps):
            for c in range(count):
                f = np.float32(fy[c])
                weight = polynomials[t, degree]
                for k in range(degree - 1, -1, -1):
                    weight = fma(weight, f, polynomials[t, k])
                work[t, c] = weight
        for c in range(count):
            j, i, f = j0[c] - first, i0[c] - first, np.float32(fx[c])
            found[c], beyond[c] = total(pixels, j, i, f, coefficients, work, c)

    return sums  # type: ignore[no-any-return]


DEGREES = {2: 1, 6: 9, 10: 9}  # of the polynomials, by number of taps a side
_sums_6, _sums_10 = _make_sums(6, DEGREES[6]), _make_sums(10, DEGREES[10])


@njit(nogil=True)
def _sum_alone(pixels, low, left, fx, fy, polynomials, lanes):  # type: ignore[no-untyped-def]
    """One of `sums`, to the last bit, where a row has no room for all lanes."""
    taps, degree = polynomials.shape[0], polynomials.shape[1] - 1
    f, g = np.float32(fx), np.float32(fy)
    base = pixels[low + taps // 2 - 1, left + taps // 2 - 1]
    products = np.zeros(lanes, np.float32)
    for a in range(taps):
        along_x = polynomials[a, degree]
        for k in range(degree - 1, -1, -1):
            along_x = fma(along_x, f, polynomials[a, k])
        column = np.float32(0.0)
        for b in range(taps):
            along_y = polynomials[b, degree]
            for k in range(degree - 1, -1, -1):
                along_y = fma(along_y, g, polynomials[b, k])
            column = fma(pixels[low + b, left + a] - base, along_y, column)
        products[a] = column * along_x
    while lanes > 1:
        lanes //= 2
        for k in range(lanes):
            products[k] += products[k + lanes]
    return products[0] + base


@njit(nogil=True)
def _fetch_after(pixels, row, col, at, cell_j, cell_i, out):  # type: ignore[no-untyped-def]
    """Have the pixels for the next smooth cell brought from memory, and its place in the output."""
    cell_i += 1
    if cell_i == at.state.shape[1]:
        cell_j, cell_i = cell_j + 1, 0
    if cell_j == at.state.shape[0] or at.state[cell_j, cell_i] != SMOOTH:
        return
    rows, cols = pixels.shape
    low_x, high_x = reach_of(at.nodes, at.curvature, 0, cell_j, cell_i)
    low_y, high_y = reach_of(at.nodes, at.curvature, 1, cell_j, cell_i)
    left, right = max(low_x - col, 0.0), min(high_x - col, cols - 1.0)
    low, high = max(low_y - row, 0.0), min(high_y - row, rows - 1.0)
    if high - low < 8 * CELL and right - left < 8 * CELL:
        for j in range(int(low), int(high) + 1):
            for i in range(int(left), int(right) + 1, _FETCHED):
                fetch(pixels, j, i)
    for r in range(cell_j * at.step, min((cell_j + 1) * at.step, at.rows)):
        for c in range(cell_i * at.step, min((cell_i + 1) * at.step, at.cols), _FETCHED):
            fetch(out, r, c)


def _make_sampler(taps: int) -> Callable[..., None]:
    first, degree, lanes = taps // 2 - 1, DEGREES[taps], lanes_of(taps)

    def sample(pixels, row, col, at, polynomials, whole, limited, out, holed):  # type: ignore[no-untyped-def]
        """out[r, c] = pixels interpolated at the positions of a map, NaN where nearest is missing.

        pixels (h, w) float32: a part of the coadd, whose pixel (row, col) is its first; at: the
        PixelMap, positions on the whole coadd; polynomials (taps, degree + 1): weights as functions
        of the fraction of a pixel, lowest power first, float64 of two taps, else float32. whole:
        round the fraction, so that the nearest pixel has all weight; limited: clip to what the
        4x4 neighbors allow; out (n, m) float32; holed (cells, cells) bool: where a value has a
        missing pixel under its kernel. Bounds are checked once per cell.
        """
        rows, cols = pixels.shape
        step = at.step
        x, y = np.empty(CELL, np.float64), np.empty(CELL, np.float64)
        i0, j0 = np.empty(CELL, np.int64), np.empty(CELL, np.int64)
        fx, fy = np.empty(CELL, np.float64), np.empty(CELL, np.float64)
        found = np.empty(CELL, np.float32)
        beyond = np.zeros(CELL, np.uint8)
        work = np.empty((max(4, taps), CELL), np.float32)
        coefficients = np.zeros((degree + 1, lanes), np.float32)
        for k in range(degree + 1):
            for t in range(taps):
                coefficients[k, t] = polynomials[t, k]
        roomy = pixels
        if rows < taps or cols < lanes:
            roomy = np.zeros((taps, lanes), np.float32)
        for cell_j in range(at.state.shape[0]):
            for cell_i in range(at.state.shape[1]):
                state = at.state[cell_j, cell_i]
                top = cell_j * step
                start = cell_i * step
                height = min(step, at.rows - top)
                holed[cell_j, cell_i] = False
                if state == OUTSIDE:
                    for r in range(height):
                        for c in range(min(step, at.cols - start)):
                            out[top + r, start + c] = np.nan
                    continue
                within = False
                if state == SMOOTH:
                    low_x, high_x = reach_of(at.nodes, at.curvature, 0, cell_j, cell_i)
                    low_y, high_y = reach_of(at.nodes, at.curvature, 1, cell_j, cell_i)
                    within = (  # with room for rounding
                        low_x - col >= first + 1e-6
                        and low_y - row >= first + 1e-6
                        and high_x - col < cols - (lanes - first)
                        and high_y - row < rows - (taps - first)
                    )
                _fetch_after(pixels, row, col, at, cell_j, cell_i, out)
                missing = False
                for r in range(height):
                    count = line_of(at, cell_j, cell_i, r, x, y)
                    for c in range(count):
                        x[c] -= col
                        y[c] -= row
                    if not within:
                        for c in range(count):
                            # what is nowhere, or too far for an integer, is off the image
                            x[c] = min(x[c], cols + 1.0) if x[c] > -2.0 else -2.0
                            y[c] = min(y[c], rows + 1.0) if y[c] > -2.0 else -2.0
                    for c in range(count):
                        below_x, below_y = np.floor(x[c]), np.floor(y[c])
                        i0[c], j0[c] = np.int64(below_x), np.int64(below_y)
                        px, py = x[c] - below_x, y[c] - below_y
                        if whole:
                            px = 1.0 if px >= 0.5 else 0.0
                            py = 1.0 if py >= 0.5 else 0.0
                        fx[c], fy[c] = px, py
                    if not within:
                        for c in range(count):
                            left, low = i0[c] - first, j0[c] - first
                            if not (0 <= left <= cols - lanes and 0 <= low <= rows - taps):
                                i0[c], j0[c] = first, first  # anywhere
                    source = pixels if within else roomy
                    # the branches that do not count are gone when this is compiled
                    if taps == 2:
                        _four(source, i0, j0, fx, fy, count, work, found)
                    elif taps == 6:
                        _sums_6(
                            source, i0, j0, fx, fy, count,
                            polynomials, coefficients, work, found, beyond,
                        )  # fmt: skip
                    else:
                        _sums_10(
                            source, i0, j0, fx, fy, count,
                            polynomials, coefficients, work, found, beyond,
                        )  # fmt: skip
                    if not within:
                        for c in range(count):
                            left = np.int64(np.floor(x[c])) - first
                            low = np.int64(np.floor(y[c])) - first
                            if 0 <= left <= cols - lanes and 0 <= low <= rows - taps:
                                continue
                            if 0 <= left <= cols - taps and 0 <= low <= rows - taps:
                                found[c] = _sum_alone(
                                    pixels, low, left, fx[c], fy[c], polynomials, lanes
                                )
                                beyond[c] = 1
                            else:
                                found[c] = np.nan
                    odd = 0
                    for c in range(count):
                        odd += found[c] != found[c]
                    if limited:
                        for c in range(count):
                            odd += beyond[c]
                    for c in range(count):
                        out[top + r, start + c] = found[c]
                    if odd == 0:
                        continue
                    for c in range(count):
                        value = found[c]
                        if value != value:
                            px, py = x[c], y[c]
                            if not (-0.5 <= px < cols - 0.5 and -0.5 <= py < rows - 0.5):
                                out[top + r, start + c] = np.nan
                                continue
                            nearest = pixels[_nearest(py), _nearest(px)]
                            if nearest != nearest:
                                out[top + r, start + c] = np.nan
                                missing = True
                                continue
                            left = np.int64(np.floor(px)) - first
                            low = np.int64(np.floor(py)) - first
                            part, hole = _partial(
                                pixels, nearest, low, left, polynomials, fx[c], fy[c]
                            )
                            out[top + r, start + c] = part
                            missing = missing or hole
                            continue
                        if limited and beyond[c]:
                            exact = np.float64(value)
                            j, i = np.int64(np.floor(y[c])), np.int64(np.floor(x[c]))
                            if not _is_allowed(exact, pixels, j, i):
                                out[top + r, start + c] = _limited(exact, pixels, j, i)
                holed[cell_j, cell_i] = missing

    # a name of its own, and so a file of its own in the cache of compiled code
    sample.__qualname__ = sample.__name__ = f"sample_{taps}"
    sampler: Callable[..., None] = kernel(sample)
    return sampler


SAMPLERS = {taps: _make_sampler(taps) for taps in DEGREES}  # by number of taps a side


@njit(nogil=True)
def _is_kept(pixels, row, col, at, r, c, j, i):  # type: ignore[no-untyped-def]
    """Whether some output pixel round (r, c) is missing for pixel (j, i) or one that touches it."""
    rows, cols = pixels.shape
    for a in range(max(0, r - 2), min(at.rows, r + 3)):
        for b in range(max(0, c - 2), min(at.cols, c + 3)):
            x, y = position_of(at, a, b)
            # positions may be NaN, or too far for an integer
            if not (abs(y - row - j) <= 2.0 and abs(x - col - i) <= 2.0):
                continue
            m = _nearest(y - row)
            n = _nearest(x - col)
            if abs(m - j) <= 1 and abs(n - i) <= 1 and 0 <= m < rows and 0 <= n < cols:
                v = pixels[m, n]
                if v != v:
                    return True
    return False


@njit(nogil=True)
def _is_lone(pixels, j, i):  # type: ignore[no-untyped-def]
    """Whether no pixel that touches (j, i) is missing."""
    rows, cols = pixels.shape
    for m in range(max(0, j - 1), min(rows, j + 2)):
        for n in range(max(0, i - 1), min(cols, i + 2)):
            v = pixels[m, n]
            if v != v and not (m == j and n == i):
                return False
    return True


@njit(nogil=True)
def _is_closest(row, col, at, r, c, j, i):  # type: ignore[no-untyped-def]
    """Whether no output pixel beside (r, c) is closer to (j, i), or as close and before it."""
    x, y = position_of(at, r, c)
    mine = (x - col - i) ** 2 + (y - row - j) ** 2
    for a in range(max(0, r - 1), min(at.rows, r + 2)):
        for b in range(max(0, c - 1), min(at.cols, c + 2)):
            x, y = position_of(at, a, b)
            other = (x - col - i) ** 2 + (y - row - j) ** 2
            if other < mine or (other == mine and (a < r or (a == r and b < c))):
                return False
    return True


@kernel
def keep_missing(pixels: Any, row: int, col: int, at: Any, holed: Any, out: Any) -> None:
    """Set out to NaN at the pixel closest to a missing pixel that would vanish otherwise.

    Where output pixels are a little coarser than the input, or askew as they are near the poles, a
    lone missing pixel can slip between them. Larger holes keep their exact size: at the border of
    the tile, where the output pixels beyond are not seen, only lone pixels are looked after.
    Arguments as in `sample`; only `holed` cells are looked at.
    """
    rows, cols = pixels.shape
    step = at.step
    for cell_j in range(holed.shape[0]):
        for cell_i in range(holed.shape[1]):
            if not holed[cell_j, cell_i]:
                continue
            for r in range(cell_j * step, min(at.rows, (cell_j + 1) * step)):
                for c in range(cell_i * step, min(at.cols, (cell_i + 1) * step)):
                    if out[r, c] != out[r, c]:
                        continue
                    border = r < 2 or c < 2 or r >= at.rows - 2 or c >= at.cols - 2
                    x, y = position_of(at, r, c)
                    i0 = int(np.floor(x - col))
                    j0 = int(np.floor(y - row))
                    for j in range(max(0, j0), min(rows, j0 + 2)):
                        for i in range(max(0, i0), min(cols, i0 + 2)):
                            v = pixels[j, i]
                            if (
                                v != v
                                and (not border or _is_lone(pixels, j, i))
                                and _is_closest(row, col, at, r, c, j, i)
                                and not _is_kept(pixels, row, col, at, r, c, j, i)
                            ):
                                out[r, c] = np.nan

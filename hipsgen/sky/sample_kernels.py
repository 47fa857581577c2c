"""Compiled loops that sample a coadd at the positions of a tile, called by `resample`.

See `grid_kernels` for the rules that all kernels follow.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from hipsgen.sky.compiled import kernel
from hipsgen.sky.grid_kernels import (
    CELL,
    OUTSIDE,
    SMOOTH,
    coordinate_range,
    line_positions,
    pixel_position,
)
from hipsgen.sky.lanes import count_between, extremes, fma, lane_count, make_sum, prefetch

_FETCHED = 16  # float32 values in a line of a processor's cache

# The limiter allows a value to exceed the extreme of its 4x4 neighbors by the distance from that
# extreme to the value a quarter down their ranking; the peak of a star of FWHM 2.5 px needs 0.42 of
# this. If the distance is less than FLAT of the range of the 4x4 pixels, the extreme is a floor or
# a plateau next to something bright, and the allowance shrinks with the distance. The ring around a
# saturated star then disappears in the sky noise, and less than one pixel in a thousand of pure
# noise is changed.
FLAT = 0.08


@njit(nogil=True)
def _nearest(position):  # type: ignore[no-untyped-def]
    """Round a position to an integer; floor(position + 0.5) would round 0.5 - 2**-54 to 1."""
    below = int(np.floor(position))
    return below + 1 if position - below >= 0.5 else below


@njit(nogil=True)
def _allowance(spread, span):  # type: ignore[no-untyped-def]
    """Return how far a value may exceed an extreme."""
    return spread if spread >= FLAT * span else spread * spread / (FLAT * span)


@njit(nogil=True)
def _is_allowed(value, pixels, j0, i0):  # type: ignore[no-untyped-def]
    """Whether `_clip` leaves a value unchanged; False may be wrong. All 4x4 pixels are valid.

    The value exceeds an extreme by d. That is allowed if the fifth of the 16 pixels in rank is at
    least as far from the extreme as the spread whose allowance is d: counting decides it, without
    sorting.
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
def _clip(value, pixels, j0, i0):  # type: ignore[no-untyped-def]
    """Clip a value to what the valid ones of the 4x4 pixels around cell (j0, i0) allow."""
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
    """Evaluate the weight of a tap at a fraction of a pixel."""
    last = polynomials.shape[1] - 1
    weight = np.float64(polynomials[tap, last])
    for k in range(last - 1, -1, -1):
        weight = weight * fraction + np.float64(polynomials[tap, k])
    return weight


@njit(nogil=True)
def _partial_mean(pixels, nearest, low, left, polynomials, fx, fy):  # type: ignore[no-untyped-def]
    """Return the weighted mean of the valid pixels, weights renormalized, within the limits.

    The taps begin at pixel (low, left). The valid part of a kernel with negative lobes may have no
    weight to normalize by; the nearest pixel is then returned. Also returns whether one of the
    pixels is NaN rather than beyond the edge.
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
    return _clip(total / weight, pixels, low + first, left + first), missing


@njit(nogil=True)
def _bilinear(pixels, i0, j0, fx, fy, count, work, found):  # type: ignore[no-untyped-def]
    """Interpolate bilinearly; arguments as for `sums` below."""
    for c in range(count):
        # unsigned indices need no check for negative values
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
        """Compute sums over the pixels around positions, and whether they exceed the closest 4x4.

        i0, j0: the pixels before the positions; all taps, and what `make_sum` loads beyond them,
        are in the array. fx, fy: the fractions. coefficients: those of the polynomials, with the
        taps along the last axis. work (taps, CELL) float32.
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


DEGREES = {2: 1, 6: 9, 10: 9}  # degrees of the polynomials, by number of taps a side
_sums_6, _sums_10 = _make_sums(6, DEGREES[6]), _make_sums(10, DEGREES[10])


@njit(nogil=True)
def _sum_alone(pixels, low, left, fx, fy, polynomials, lanes):  # type: ignore[no-untyped-def]
    """Compute one of `sums`, bit for bit the same, where a row is too short to load all lanes."""
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
def _prefetch_next(pixels, row, col, pixel_map, cell_j, cell_i, out):  # type: ignore[no-untyped-def]
    """Prefetch the pixels that the next smooth cell needs, and its place in the output."""
    cell_i += 1
    if cell_i == pixel_map.state.shape[1]:
        cell_j, cell_i = cell_j + 1, 0
    if cell_j == pixel_map.state.shape[0] or pixel_map.state[cell_j, cell_i] != SMOOTH:
        return
    rows, cols = pixels.shape
    low_x, high_x = coordinate_range(pixel_map.nodes, pixel_map.curvature, 0, cell_j, cell_i)
    low_y, high_y = coordinate_range(pixel_map.nodes, pixel_map.curvature, 1, cell_j, cell_i)
    left, right = max(low_x - col, 0.0), min(high_x - col, cols - 1.0)
    low, high = max(low_y - row, 0.0), min(high_y - row, rows - 1.0)
    if high - low < 8 * CELL and right - left < 8 * CELL:
        for j in range(int(low), int(high) + 1):
            for i in range(int(left), int(right) + 1, _FETCHED):
                prefetch(pixels, j, i)
    for r in range(cell_j * pixel_map.step, min((cell_j + 1) * pixel_map.step, pixel_map.rows)):
        for c in range(
            cell_i * pixel_map.step, min((cell_i + 1) * pixel_map.step, pixel_map.cols), _FETCHED
        ):
            prefetch(out, r, c)


def _make_sampler(taps: int) -> Callable[..., None]:
    first, degree, lanes = taps // 2 - 1, DEGREES[taps], lane_count(taps)

    def sample(pixels, row, col, pixel_map, polynomials, round_fraction, limited, out, has_missing):  # type: ignore[no-untyped-def]
        """Interpolate at the positions of a map into `out`; NaN where the nearest pixel is NaN.

        pixels (h, w) float32: part of the coadd, beginning at its pixel (row, col). pixel_map: a
        `grid.PixelMap`, positions on the whole coadd. polynomials (taps, degree + 1): weights as
        functions of the fraction of a pixel, lowest power first, float64 for two taps, else
        float32. round_fraction: give the nearest pixel all weight. limited: clip to what the 4x4
        neighbors allow. out (n, m) float32. has_missing (cells, cells) bool: where a kernel
        included a NaN pixel. Bounds are checked once per cell.
        """
        rows, cols = pixels.shape
        step = pixel_map.step
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
        padded = pixels
        if rows < taps or cols < lanes:
            padded = np.zeros((taps, lanes), np.float32)
        for cell_j in range(pixel_map.state.shape[0]):
            for cell_i in range(pixel_map.state.shape[1]):
                state = pixel_map.state[cell_j, cell_i]
                top = cell_j * step
                start = cell_i * step
                height = min(step, pixel_map.rows - top)
                has_missing[cell_j, cell_i] = False
                if state == OUTSIDE:
                    for r in range(height):
                        for c in range(min(step, pixel_map.cols - start)):
                            out[top + r, start + c] = np.nan
                    continue
                within = False
                if state == SMOOTH:
                    low_x, high_x = coordinate_range(
                        pixel_map.nodes, pixel_map.curvature, 0, cell_j, cell_i
                    )
                    low_y, high_y = coordinate_range(
                        pixel_map.nodes, pixel_map.curvature, 1, cell_j, cell_i
                    )
                    within = (  # tolerant of rounding
                        low_x - col >= first + 1e-6
                        and low_y - row >= first + 1e-6
                        and high_x - col < cols - (lanes - first)
                        and high_y - row < rows - (taps - first)
                    )
                _prefetch_next(pixels, row, col, pixel_map, cell_j, cell_i, out)
                missing = False
                for r in range(height):
                    count = line_positions(pixel_map, cell_j, cell_i, r, x, y)
                    for c in range(count):
                        x[c] -= col
                        y[c] -= row
                    if not within:
                        for c in range(count):
                            # NaN, and what is too far for an integer, becomes off the image
                            x[c] = min(x[c], cols + 1.0) if x[c] > -2.0 else -2.0
                            y[c] = min(y[c], rows + 1.0) if y[c] > -2.0 else -2.0
                    for c in range(count):
                        below_x, below_y = np.floor(x[c]), np.floor(y[c])
                        i0[c], j0[c] = np.int64(below_x), np.int64(below_y)
                        px, py = x[c] - below_x, y[c] - below_y
                        if round_fraction:
                            px = 1.0 if px >= 0.5 else 0.0
                            py = 1.0 if py >= 0.5 else 0.0
                        fx[c], fy[c] = px, py
                    if not within:
                        for c in range(count):
                            left, low = i0[c] - first, j0[c] - first
                            if not (0 <= left <= cols - lanes and 0 <= low <= rows - taps):
                                i0[c], j0[c] = first, first  # any valid pixel; recomputed below
                    source = pixels if within else padded
                    # the compiler removes the branches of other numbers of taps
                    if taps == 2:
                        _bilinear(source, i0, j0, fx, fy, count, work, found)
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
                            mean, found_missing = _partial_mean(
                                pixels, nearest, low, left, polynomials, fx[c], fy[c]
                            )
                            out[top + r, start + c] = mean
                            missing = missing or found_missing
                            continue
                        if limited and beyond[c]:
                            exact = np.float64(value)
                            j, i = np.int64(np.floor(y[c])), np.int64(np.floor(x[c]))
                            if not _is_allowed(exact, pixels, j, i):
                                out[top + r, start + c] = _clip(exact, pixels, j, i)
                has_missing[cell_j, cell_i] = missing

    # its own name gives it its own file in numba's cache
    sample.__qualname__ = sample.__name__ = f"sample_{taps}"
    sampler: Callable[..., None] = kernel(sample)
    return sampler


SAMPLERS = {taps: _make_sampler(taps) for taps in DEGREES}  # by number of taps along a side


@njit(nogil=True)
def _is_preserved(pixels, row, col, pixel_map, r, c, j, i):  # type: ignore[no-untyped-def]
    """Whether an output pixel near (r, c) is NaN because of pixel (j, i) or one adjacent to it."""
    rows, cols = pixels.shape
    for a in range(max(0, r - 2), min(pixel_map.rows, r + 3)):
        for b in range(max(0, c - 2), min(pixel_map.cols, c + 3)):
            x, y = pixel_position(pixel_map, a, b)
            # positions may be NaN or too far for an integer
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
def _is_isolated(pixels, j, i):  # type: ignore[no-untyped-def]
    """Whether no pixel adjacent to (j, i) is NaN."""
    rows, cols = pixels.shape
    for m in range(max(0, j - 1), min(rows, j + 2)):
        for n in range(max(0, i - 1), min(cols, i + 2)):
            v = pixels[m, n]
            if v != v and not (m == j and n == i):
                return False
    return True


@njit(nogil=True)
def _is_closest(row, col, pixel_map, r, c, j, i):  # type: ignore[no-untyped-def]
    """Whether (r, c) is the output pixel closest to (j, i), the first one if several are."""
    x, y = pixel_position(pixel_map, r, c)
    mine = (x - col - i) ** 2 + (y - row - j) ** 2
    for a in range(max(0, r - 1), min(pixel_map.rows, r + 2)):
        for b in range(max(0, c - 1), min(pixel_map.cols, c + 2)):
            x, y = pixel_position(pixel_map, a, b)
            other = (x - col - i) ** 2 + (y - row - j) ** 2
            if other < mine or (other == mine and (a < r or (a == r and b < c))):
                return False
    return True


@kernel
def keep_missing(
    pixels: Any, row: int, col: int, pixel_map: Any, has_missing: Any, out: Any
) -> None:
    """Set the output pixel closest to a NaN pixel to NaN if the latter would otherwise be lost.

    Where output pixels are slightly coarser than the input, or oblique as near the poles, an
    isolated NaN pixel can fall between them. Larger holes keep their exact size: at the border of
    the tile, where the output pixels beyond it are not known, only isolated pixels are treated.
    Arguments as in `sample`; only cells of `has_missing` are examined.
    """
    rows, cols = pixels.shape
    step = pixel_map.step
    for cell_j in range(has_missing.shape[0]):
        for cell_i in range(has_missing.shape[1]):
            if not has_missing[cell_j, cell_i]:
                continue
            for r in range(cell_j * step, min(pixel_map.rows, (cell_j + 1) * step)):
                for c in range(cell_i * step, min(pixel_map.cols, (cell_i + 1) * step)):
                    if out[r, c] != out[r, c]:
                        continue
                    border = r < 2 or c < 2 or r >= pixel_map.rows - 2 or c >= pixel_map.cols - 2
                    x, y = pixel_position(pixel_map, r, c)
                    i0 = int(np.floor(x - col))
                    j0 = int(np.floor(y - row))
                    for j in range(max(0, j0), min(rows, j0 + 2)):
                        for i in range(max(0, i0), min(cols, i0 + 2)):
                            v = pixels[j, i]
                            if (
                                v != v
                                and (not border or _is_isolated(pixels, j, i))
                                and _is_closest(row, col, pixel_map, r, c, j, i)
                                and not _is_preserved(pixels, row, col, pixel_map, r, c, j, i)
                            ):
                                out[r, c] = np.nan

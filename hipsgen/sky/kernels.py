"""Every compiled loop of the numbers, and nothing else.

Callers check shapes and types (`resample`, `combine`, `pyramid`, `stretch`, `formats`); a kernel
trusts them, writes into what it is given, holds no Python object and releases the GIL, unless that
would take longer than the loop. No `fastmath`: NaN means "no data" and must stay NaN, and the bytes
must not depend on the processor. Each kernel has a slow twin in tests/naive.py.

What is called from outside is kept compiled (`cache=True`), and always called with the same types:
numba's cache can mix up what two processes compile at once if a function has several signatures.

Kernels that work on the positions of a tile take a `grid.PixelMap` and go through it cell by cell,
line by line: positions, fractions and weights of a line are plain loops over short arrays, which
the compiler turns into vector instructions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from hipsgen.sky.lanes import count_between, extremes, fetch, fma, lanes_of, make_sum

CELL = 32  # pixels along a side of a cell, at most
_FETCHED = 16  # float32 in a line of a processor's cache
OUTSIDE, SMOOTH, EXACT = 0, 1, 2  # what a cell is: off the image, on the grid, pixel by pixel

# The limiter lets a value pass the extreme of its 4x4 neighbours by the distance from that extreme
# to the value a quarter down their ranking: the peak of a star of FWHM 2.5 px needs 0.42 of it.
# Where that distance is under FLAT of all that the 4x4 span, the extreme is a floor or a plateau
# beside something bright, and the allowance shrinks with it. So the ring round a saturated star
# drowns in the noise of the sky, yet under one pixel in a thousand of pure noise is touched.
FLAT = 0.08


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
def _inside_cell(nodes, bends, k, j, i, v, u):  # type: ignore[no-untyped-def]
    """Coordinate k at the share v of the rows and u of the columns of a smooth cell.

    Bilinear in the corners of the cell, less the sagitta t (1 - t) / 2 of its bends.
    """
    down, across = 0.5 * v * (1.0 - v), 0.5 * u * (1.0 - u)
    left = nodes[k, j, i] + v * (nodes[k, j + 1, i] - nodes[k, j, i])
    right = nodes[k, j, i + 1] + v * (nodes[k, j + 1, i + 1] - nodes[k, j, i + 1])
    return left + u * (right - left) - down * bends[k, 0, j, i] - across * bends[k, 1, j, i]


@njit(nogil=True)
def _is_off(low, high, size):  # type: ignore[no-untyped-def]
    """Whether coordinates from low to high are off an image of `size` pixels; NaN are not."""
    return low > size or high < -1.0


@njit(nogil=True)
def _reach(nodes, bends, k, j, i):  # type: ignore[no-untyped-def]
    """Lowest and highest coordinate k (0: x, 1: y) that a smooth cell can have."""
    a, b = nodes[k, j, i], nodes[k, j, i + 1]
    c, d = nodes[k, j + 1, i], nodes[k, j + 1, i + 1]
    bulge = 0.125 * (abs(bends[k, 0, j, i]) + abs(bends[k, 1, j, i]))
    return min(min(a, b), min(c, d)) - bulge, max(max(a, b), max(c, d)) + bulge


@njit(cache=True)
def lay_grid(nodes: Any, shape_y: int, shape_x: int, apart: Any, bends: Any, state: Any) -> int:
    """Second differences of a grid, and which of its cells may be on an image.

    nodes (2, n + 1, m + 1) float64: x and y on the image, NaN for none; apart (n, m) bool: cells
    that are known to be off. bends (2, 2, n, m) float64: the mean of a cell's four corners. state
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
                    bends[k, axis, j, i] = 0.25 * total
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


@njit(cache=True)
def settle_grid(
    nodes: Any,
    bends: Any,
    shape_y: int,
    shape_x: int,
    cells: Any,
    shares: Any,
    truth: Any,
    limit: float,
    state: Any,
) -> int:
    """Which cells are as smooth as they must be, and which of those are on the image.

    nodes, bends, state: as `lay_grid` leaves them. cells (k, 2) int64: the SMOOTH ones. shares
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
                guess = _inside_cell(nodes, bends, k, j, i, v, u)
                good = good and abs(guess - truth[k, p, which]) <= limit
        if not good:
            state[j, i] = EXACT
            count += 1
            continue
        low_x, high_x = _reach(nodes, bends, 0, j, i)
        low_y, high_y = _reach(nodes, bends, 1, j, i)
        if _is_off(low_x, high_x, shape_x) or _is_off(low_y, high_y, shape_y):
            state[j, i] = OUTSIDE
    return count


@njit(cache=True)
def strips(
    nodes: Any,
    bends: Any,
    state: Any,
    rows: int,
    cols: int,
    margin: int,
    height: int,
    edges: Any,
) -> Any:
    """Columns of an image (rows, cols) that the SMOOTH cells of a grid need, `height` rows at once.

    nodes, bends, state: as `settle_grid` leaves them. margin: pixels beside a position, and one
    more after it. edges (2, k) int64: first column and one past the last of strip k, equal for
    none. Gives back the first row of all and one past the last.
    """
    edges[0, :], edges[1, :] = cols, 0
    first, last = rows, 0
    for j in range(state.shape[0]):
        for i in range(state.shape[1]):
            if state[j, i] != SMOOTH:
                continue
            low_x, high_x = _reach(nodes, bends, 0, j, i)
            low_y, high_y = _reach(nodes, bends, 1, j, i)
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
def _line(at, j, i, r, x, y):  # type: ignore[no-untyped-def]
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
    x0 = n[0, j, i] + v * (n[0, j + 1, i] - n[0, j, i]) - down * at.bends[0, 0, j, i]
    x1 = n[0, j, i + 1] + v * (n[0, j + 1, i + 1] - n[0, j, i + 1]) - down * at.bends[0, 0, j, i]
    y0 = n[1, j, i] + v * (n[1, j + 1, i] - n[1, j, i]) - down * at.bends[1, 0, j, i]
    y1 = n[1, j, i + 1] + v * (n[1, j + 1, i + 1] - n[1, j, i + 1]) - down * at.bends[1, 0, j, i]
    x1 -= x0
    y1 -= y0
    bend_x, bend_y = 0.5 * at.bends[0, 1, j, i], 0.5 * at.bends[1, 1, j, i]
    share = 1.0 / step
    for c in range(count):
        u = (c + 0.5) * share
        across = u * (1.0 - u)
        x[c] = x0 + u * x1 - across * bend_x
        y[c] = y0 + u * y1 - across * bend_y
    return count


@njit(nogil=True)
def _position(at, r, c):  # type: ignore[no-untyped-def]
    """x, y of one pixel; NaN where the cell is outside."""
    step = at.step
    j, i = r // step, c // step
    if at.state[j, i] == EXACT:
        return at.exact[0, r, c], at.exact[1, r, c]
    if at.state[j, i] == OUTSIDE:
        return np.nan, np.nan
    v, u = (r - j * step + 0.5) / step, (c - i * step + 0.5) / step
    x = _inside_cell(at.nodes, at.bends, 0, j, i, v, u)
    return x, _inside_cell(at.nodes, at.bends, 1, j, i, v, u)


@njit(nogil=True, cache=True)
def positions(at: Any, x: Any, y: Any) -> None:
    """x, y (rows, cols) float64 of all pixels of a map, NaN in cells outside."""
    for r in range(at.rows):
        for c in range(at.cols):
            x[r, c], y[r, c] = _position(at, r, c)


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
    """Weighted mean of the pixels that exist, weights renormalised, within the limits.

    The taps go from pixel (low, left) on. What is left of a kernel with negative lobes may have no
    weight to be normalised by; then the nearest pixel stands in. Also gives back whether one of the
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
        """Sums over the pixels round positions, and whether they lie beyond the closest 4x4.

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
    low_x, high_x = _reach(at.nodes, at.bends, 0, cell_j, cell_i)
    low_y, high_y = _reach(at.nodes, at.bends, 1, cell_j, cell_i)
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
        4x4 neighbours allow; out (n, m) float32; holed (cells, cells) bool: where a value has a
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
                    low_x, high_x = _reach(at.nodes, at.bends, 0, cell_j, cell_i)
                    low_y, high_y = _reach(at.nodes, at.bends, 1, cell_j, cell_i)
                    within = (  # with room for rounding
                        low_x - col >= first + 1e-6
                        and low_y - row >= first + 1e-6
                        and high_x - col < cols - (lanes - first)
                        and high_y - row < rows - (taps - first)
                    )
                _fetch_after(pixels, row, col, at, cell_j, cell_i, out)
                missing = False
                for r in range(height):
                    count = _line(at, cell_j, cell_i, r, x, y)
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
    return njit(nogil=True, cache=True)(sample)  # type: ignore[no-any-return]


SAMPLERS = {taps: _make_sampler(taps) for taps in DEGREES}  # by number of taps a side


@njit(nogil=True)
def _is_kept(pixels, row, col, at, r, c, j, i):  # type: ignore[no-untyped-def]
    """Whether some output pixel round (r, c) is missing for pixel (j, i) or one that touches it."""
    rows, cols = pixels.shape
    for a in range(max(0, r - 2), min(at.rows, r + 3)):
        for b in range(max(0, c - 2), min(at.cols, c + 3)):
            x, y = _position(at, a, b)
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
    x, y = _position(at, r, c)
    mine = (x - col - i) ** 2 + (y - row - j) ** 2
    for a in range(max(0, r - 1), min(at.rows, r + 2)):
        for b in range(max(0, c - 1), min(at.cols, c + 2)):
            x, y = _position(at, a, b)
            other = (x - col - i) ** 2 + (y - row - j) ** 2
            if other < mine or (other == mine and (a < r or (a == r and b < c))):
                return False
    return True


@njit(nogil=True, cache=True)
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
                    x, y = _position(at, r, c)
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


@njit(nogil=True)
def _depth(px, py, shape_x, shape_y):  # type: ignore[no-untyped-def]
    """Distances to the nearest vertical and the nearest horizontal edge of a coadd, in pixels."""
    return min(px + 0.5, shape_x - 0.5 - px), min(py + 0.5, shape_y - 0.5 - py)


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
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
                count = _line(at, j, i, r, x, y)
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


@njit(nogil=True, cache=True)
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
                for c in range(_line(at, j, i, r, x, y)):
                    v = values[row, start + c]
                    if v == v:
                        dx, dy = _depth(x[c], y[c], shape_x, shape_y)
                        w = max(min(dx, dy) * scale, 1e-12)
                        if w > weight[row, start + c]:
                            total[row, start + c] = w * np.float64(v)
                            weight[row, start + c] = w


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def to_big_endian(values: Any, out: Any) -> Any:
    """out (n,) uint32: the bytes of values (n,) uint32 turned round; gives back their sum."""
    total = np.uint64(0)
    for k in range(values.size):
        v = values[k]
        total += np.uint64(v)
        low, high = v << np.uint32(24) | (v & np.uint32(0xFF00)) << np.uint32(8), v >> np.uint32(24)
        out[k] = low | high | (v >> np.uint32(8) & np.uint32(0xFF00))
    return total


@njit(nogil=True, cache=True)
def to_levels(values: Any, zero: float, guesses: Any, limits: Any, steps: int, lines: Any) -> None:
    """Grey levels: 1 and as many more as there are limits that a value reaches.

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


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
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

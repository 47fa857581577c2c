"""Slow reference implementations of the kernels of hipsgen.sky, one pixel or tile at a time.

Each takes arrays, changes none of them and gives back what the kernel should write, floats before
they are rounded to float32.
"""

import math
from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

FLAT = 0.08
LEAST_WEIGHT = 0.1
LEAST_DEPTH = 1e-12


Weights = Callable[[float], npt.ArrayLike]


def sample(
    pixels: FloatArray, x: FloatArray, y: FloatArray, weights: Weights, limited: bool
) -> FloatArray:
    """Interpolate; weights: those of the pixels round a position for its fraction 0 ... 1.

    An output pixel is missing outside the image and where its nearest pixel is missing. Otherwise
    pixels that are missing or beyond the edge are left out, the weights renormalized, and the value
    kept within the limits; it is kept there always when `limited`.
    """
    out = np.full(x.shape, np.nan)
    for at in np.ndindex(x.shape):
        nearest = _pixel(pixels, nearest_index(y[at]), nearest_index(x[at]))
        if math.isnan(nearest):
            continue
        taps = _taps(x[at], y[at], weights)
        found = [(w, _pixel(pixels, j, i)) for j, i, w in taps]
        known = [(w, v) for w, v in found if not math.isnan(v)]
        weight = math.fsum(w for w, _ in known)
        value = math.fsum(w * v for w, v in known)
        whole = len(known) == len(found)
        if not whole and weight < LEAST_WEIGHT:
            out[at] = nearest
            continue
        if not whole:
            value /= weight
        if limited or not whole:
            low, high = limits(pixels, math.floor(y[at]), math.floor(x[at]))
            value = min(max(value, low), high)
        out[at] = value
    return out


def nearest(pixels: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """The pixel in whose square a position lies; a square owns its lower edges."""
    out = np.full(x.shape, np.nan)
    for at in np.ndindex(x.shape):
        out[at] = _pixel(pixels, nearest_index(y[at]), nearest_index(x[at]))
    return out


def nearest_index(position: float) -> int | None:
    """Halves go up; None for a position that is nowhere."""
    if not math.isfinite(position):
        return None
    whole = math.floor(position)
    return whole + 1 if position - whole >= 0.5 else whole


def limits(pixels: FloatArray, row: int, col: int) -> tuple[float, float]:
    """What the 4x4 pixels round the cell whose lowest pixel is (row, col) allow."""
    around = product(range(row - 1, row + 3), range(col - 1, col + 3))
    known = sorted(v for j, i in around if not math.isnan(v := _pixel(pixels, j, i)))
    span = known[-1] - known[0]
    quarter = len(known) // 4

    def allowance(spread: float) -> float:
        return spread * min(1.0, spread / (FLAT * span)) if span else 0.0

    return (
        known[0] - allowance(known[quarter] - known[0]),
        known[-1] + allowance(known[-1] - known[-1 - quarter]),
    )


def _pixel(pixels: FloatArray, row: int | None, col: int | None) -> float:
    rows, cols = pixels.shape
    if row is None or col is None or not (0 <= row < rows and 0 <= col < cols):
        return math.nan
    return float(pixels[row, col])


def _taps(x: float, y: float, weights: Weights) -> list[tuple[int, int, float]]:
    """(row, column, weight) of every pixel under the kernel."""
    along_x, along_y = _along(x, weights), _along(y, weights)
    return [(j, i, wy * wx) for j, wy in along_y for i, wx in along_x]


def _along(position: float, weights: Weights) -> list[tuple[int, float]]:
    whole = math.floor(position)
    found = np.asarray(weights(position - whole), float)
    return [(whole - (found.size // 2 - 1) + k, float(w)) for k, w in enumerate(found)]


def add_mean(values: FloatArray, total: FloatArray, weight: FloatArray) -> tuple[FloatArray, ...]:
    """Every value counts once."""
    known = ~np.isnan(values)
    return np.where(known, total + values, total), np.where(known, weight + 1, weight)


def add_feathered(
    values: FloatArray,
    x: FloatArray,
    y: FloatArray,
    shape: tuple[int, int],
    ramp: float,
    total: FloatArray,
    weight: FloatArray,
) -> tuple[FloatArray, ...]:
    """Weights rise smoothly from 0 at the coadd's edge to 1 at `ramp` pixels from it."""
    total, weight = total.copy(), weight.copy()
    for at in np.ndindex(values.shape):
        if not math.isnan(values[at]):
            to_side, to_end = edge_distances(x[at], y[at], shape)
            w = max(smoothstep(to_side / ramp) * smoothstep(to_end / ramp), LEAST_DEPTH)
            total[at] += w * float(values[at])
            weight[at] += w
    return total, weight


def keep_deepest(
    values: FloatArray,
    x: FloatArray,
    y: FloatArray,
    shape: tuple[int, int],
    scale: float,
    total: FloatArray,
    weight: FloatArray,
) -> tuple[FloatArray, ...]:
    """The coadd in which the point lies farthest from any edge; the first of equals."""
    total, weight = total.copy(), weight.copy()
    for at in np.ndindex(values.shape):
        if not math.isnan(values[at]):
            depth = max(min(edge_distances(x[at], y[at], shape)) * scale, LEAST_DEPTH)
            if depth > weight[at]:
                total[at], weight[at] = depth * float(values[at]), depth
    return total, weight


def edge_distances(x: float, y: float, shape: tuple[int, int]) -> tuple[float, float]:
    """Pixels to the nearest edge along x and along y; edges lie half a pixel beyond the centers."""
    rows, cols = shape
    return min(x - -0.5, cols - 0.5 - x), min(y - -0.5, rows - 0.5 - y)


def smoothstep(t: float) -> float:
    """0 below 0, 1 above 1, between them the cubic with level ends."""
    t = min(max(t, 0.0), 1.0)
    return 3 * t**2 - 2 * t**3


def divide(total: FloatArray, weight: FloatArray) -> FloatArray:
    """Missing where nothing weighs."""
    out = np.full(total.shape, np.nan)
    known = weight > 0
    out[known] = total[known] / weight[known]
    return out


def halve(value: FloatArray, coverage: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means of 2x2 pixels: of values by their coverage, of coverages."""
    rows, cols = value.shape[0] // 2, value.shape[1] // 2
    out_value, out_coverage = np.full((rows, cols), np.nan), np.zeros((rows, cols))
    for r, c in np.ndindex(rows, cols):
        square = slice(2 * r, 2 * r + 2), slice(2 * c, 2 * c + 2)
        shares, values = coverage[square].astype(float), value[square].astype(float)
        out_coverage[r, c] = shares.mean()
        if shares.any():
            out_value[r, c] = np.average(values[shares > 0], weights=shares[shares > 0])
    return out_value, out_coverage


def positions(
    nodes: FloatArray, curvature: FloatArray, step: int, outside: npt.NDArray[np.bool_]
) -> FloatArray:
    """Values at nodes (n + 1, m + 1) carried to pixel centers; NaN in cells outside (n, m).

    Bilinear, less a parabola along each axis that is 0 at the nodes and has the second difference
    curvature (2, n, m).
    """
    rows, cols = outside.shape[0] * step, outside.shape[1] * step
    out = np.full((rows, cols), np.nan)
    for r, c in np.ndindex(rows, cols):
        j, v = divmod((r + 0.5) / step, 1)
        i, u = divmod((c + 0.5) / step, 1)
        j, i = int(j), int(i)
        if not outside[j, i]:
            low = (1 - u) * nodes[j, i] + u * nodes[j, i + 1]
            high = (1 - u) * nodes[j + 1, i] + u * nodes[j + 1, i + 1]
            out[r, c] = (1 - v) * low + v * high
            out[r, c] += curvature[0, j, i] * (v * v - v) / 2 + curvature[1, j, i] * (u * u - u) / 2
    return out


def levels(values: FloatArray, limits: FloatArray) -> npt.NDArray[np.integer]:
    """0 for missing, else 1 and as many more as there are limits that a value reaches."""
    return np.array([0 if math.isnan(v) else 1 + int((limits <= v).sum()) for v in values])


def keep_missing(pixels: FloatArray, x: FloatArray, y: FloatArray, out: FloatArray) -> FloatArray:
    """A missing pixel that would vanish is missing in the output pixel closest to it.

    It would vanish if neither it nor a missing pixel beside it is the nearest of any output pixel
    in the 5x5 round that one. An output pixel looks at the four pixels of the cell it lies in; of
    equally close ones of 3x3 the first has it. Where the 5x5 are not all there, only missing pixels
    that touch no other count.
    """
    result = np.array(out, float)
    for r, c in np.ndindex(x.shape):
        if math.isnan(out[r, c]):
            continue
        cell = product(*((math.floor(p), math.floor(p) + 1) for p in (y[r, c], x[r, c])))
        for j, i in cell:
            if _is_missing(pixels, j, i):
                nearest = [(nearest_index(y[k]), nearest_index(x[k])) for k in _round(x, r, c, 2)]
                touching = [
                    (m, n)
                    for m, n in nearest
                    if m is not None and n is not None and abs(m - j) <= 1 and abs(n - i) <= 1
                ]
                vanishes = not any(_is_missing(pixels, m, n) for m, n in touching)
                near = _round(x, r, c, 1)
                closest = min(near, key=lambda k: ((x[k] - i) ** 2 + (y[k] - j) ** 2, k))
                beside = product((j - 1, j, j + 1), (i - 1, i, i + 1))
                lone = sum(_is_missing(pixels, m, n) for m, n in beside) == 1
                seen = lone or len(nearest) == 25
                if vanishes and seen and closest == (r, c):
                    result[r, c] = np.nan
    return result


def _is_missing(pixels: FloatArray, row: int, col: int) -> bool:
    rows, cols = pixels.shape
    return 0 <= row < rows and 0 <= col < cols and math.isnan(pixels[row, col])


def _round(array: FloatArray, row: int, col: int, reach: int) -> list[tuple[int, int]]:
    rows, cols = array.shape
    span = range(-reach, reach + 1)
    around = [(row + a, col + b) for a, b in product(span, span)]
    return [(a, b) for a, b in around if 0 <= a < rows and 0 <= b < cols]


def hull_sides(vertices: FloatArray) -> set[tuple[int, int]]:
    """Sides of the convex hull of unit vectors (n, 3), no three on a great circle.

    From one vertex to the next, counter-clockwise: all the others lie on the left.
    """
    found = set()
    for a, b in permutations(range(len(vertices)), 2):
        left = np.cross(vertices[a], vertices[b])
        if all(left @ vertices[k] > 0 for k in range(len(vertices)) if k not in (a, b)):
            found.add((a, b))
    return found


def gap(one: FloatArray, other: FloatArray) -> float:
    """Sine of the angle by which convex regions, corners (n, 3) counter-clockwise, are apart.

    The most by which a side of one of them has all of the other on its far side; less than 0 when
    none has.
    """
    widest = -1.0
    for region, beyond in ((one, other), (other, one)):
        for a, b in zip(region, np.roll(region, -1, axis=0), strict=True):
            left = np.cross(a, b)
            length = np.linalg.norm(left)
            if length > 0:
                widest = max(widest, min(-float(left @ point) / length for point in beyond))
    return widest


def big_endian(values: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint32], int]:
    """Each number with its bytes turned round, and the sum of the numbers."""
    turned = [int.from_bytes(int(v).to_bytes(4, "big"), "little") for v in values]
    return np.array(turned, np.uint32), sum(map(int, values))


def sample_nearest(
    pixels: npt.NDArray[np.int32], x: FloatArray, y: FloatArray, moved: dict[int, int], other: int
) -> npt.NDArray[np.int64]:
    """Flags of the nearest pixels, -2**31 off the image.

    moved: from bit to bit; the bits of a pixel that are not in it become `other`.
    """
    out = np.full(x.shape, -(2**31))
    for at in np.ndindex(x.shape):
        j, i = nearest_index(y[at]), nearest_index(x[at])
        if j is None or i is None or not (0 <= j < len(pixels) and 0 <= i < len(pixels[0])):
            continue
        bits = [bit for bit in range(32) if int(pixels[j, i]) >> bit & 1]
        out[at] = sum({1 << moved.get(bit, other) for bit in bits})
    return out


def either(some: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Flags that either of two pixels has, -2**31 where there is none."""
    out = np.full(some.shape, -(2**31))
    for at in np.ndindex(some.shape):
        known = [int(flags[at]) for flags in (some, others) if flags[at] >= 0]
        if known:
            out[at] = known[0] | known[-1]
    return out

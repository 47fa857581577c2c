"""Compiled loops over outlines and tiles: convex hulls, and which outlines touch which tiles.

`outlines` calls them and says what the arrays are. A kernel trusts shapes and types, writes into
what it is given, holds no Python object and releases the GIL. Each has a slow twin in
tests/naive.py.

Two convex regions of the sphere are apart when their circles are, or when a side of one of them has
all of the other on its far side (the separating axis theorem, with great circles for lines). What
is not exact, the bend of a tile's sides and the rounding of a hull, is allowed for as slack.
"""

import math

import numpy as np
from numba import njit

from hipsgen.sky.compiled import kernel

# The sides of a tile leave the great circles between its corners by at most BEND * side^2 / to_pole
# radians; side: 2^-order, to_pole: of its middle, as in `tiles.face_to_vectors`. Measured: 0.211.
BEND = 0.25
WIDEST = 80.0  # degrees: an outline of a larger radius counts as the whole sky
ROUNDING = 1e-15  # radians
_DEEPEST = math.cos(math.radians(WIDEST))


@njit(nogil=True)
def _dot(a, j, b, k):  # type: ignore[no-untyped-def]
    """Product of row j of a and row k of b; rows are never cut out, which would cost more."""
    return a[j, 0] * b[k, 0] + a[j, 1] * b[k, 1] + a[j, 2] * b[k, 2]


@njit(nogil=True)
def _normalize(vectors, k):  # type: ignore[no-untyped-def]
    """Give a vector length 1; 0 stays 0. Its length before."""
    length = math.sqrt(_dot(vectors, k, vectors, k))
    if length > 0.0:
        for i in range(3):
            vectors[k, i] /= length
    return length


@njit(nogil=True)
def _write_middle(points, start, end, out, row):  # type: ignore[no-untyped-def]
    """Write the direction of the sum of points; its length."""
    for i in range(3):
        out[row, i] = 0.0
        for k in range(start, end):
            out[row, i] += points[k, i]
    return _normalize(out, row)


@njit(nogil=True)
def _write_sides(corners, start, end, out):  # type: ignore[no-untyped-def]
    """Write unit vectors to the left of the sides from each corner to the next; 0 for no length."""
    for k in range(start, end):
        n = k + 1 if k + 1 < end else start
        # this corner x (the next - this) keeps the digits that this x the next loses
        a, b, c = corners[k, 0], corners[k, 1], corners[k, 2]
        x, y, z = corners[n, 0] - a, corners[n, 1] - b, corners[n, 2] - c
        out[k, 0], out[k, 1], out[k, 2] = b * z - c * y, c * x - a * z, a * y - b * x
        _normalize(out, k)


@njit(nogil=True)
def _write_circle(points, start, end, margin, out, row):  # type: ignore[no-untyped-def]
    """Complete a center by cosine and sine of the radius that takes in all points and a margin."""
    farthest = 0.0
    for k in range(start, end):
        x, y, z = points[k, 0] - out[row, 0], points[k, 1] - out[row, 1], points[k, 2] - out[row, 2]
        farthest = max(farthest, x * x + y * y + z * z)
    half_square = (math.sqrt(farthest) + margin) ** 2 / 2.0  # of the chord: 1 - cos(radius)
    out[row, 3] = 1.0 - half_square
    out[row, 4] = math.sqrt(half_square * (2.0 - half_square))


@njit(nogil=True)
def _next_on_hull(vertices, start, end, here):  # type: ignore[no-untyped-def]
    """The vertex after `here`, counter-clockwise round the hull; `here` if there is no other."""
    found = here
    far = nx = ny = nz = 0.0
    a, b, c = vertices[here, 0], vertices[here, 1], vertices[here, 2]
    for k in range(start, end):
        x, y, z = vertices[k, 0] - a, vertices[k, 1] - b, vertices[k, 2] - c
        distance = x * x + y * y + z * z
        side = nx * x + ny * y + nz * z
        if side < 0.0 or (side == 0.0 and distance > far):
            found, far = k, distance
            nx, ny, nz = b * z - c * y, c * x - a * z, a * y - b * x
    return found


@kernel
def write_hulls(vertices, pad, outlines):  # type: ignore[no-untyped-def]
    """Write the outlines of groups of vertices: group i is vertices[starts[i] : starts[i + 1]].

    Gift wrapping (Jarvis 1973) from the vertex farthest from the middle. Then the corners are moved
    away from the middle, in the tangent plane there, by the factor `pad`.
    """
    corners, sides, starts, ends, circles, slack = outlines
    for i in range(len(ends)):
        start, end = starts[i], starts[i + 1]
        ends[i] = start
        if _write_middle(vertices, start, end, circles, i) < 1e-9:
            continue
        first = start
        for k in range(start, end):
            if _dot(vertices, k, circles, i) < _dot(vertices, first, circles, i):
                first = k
        depth = _dot(vertices, first, circles, i)
        if depth < _DEEPEST:
            continue
        here = first
        for row in range(start, end):
            scale = pad / _dot(vertices, here, circles, i)
            for k in range(3):
                corners[row, k] = scale * vertices[here, k] + (1.0 - pad) * circles[i, k]
            _normalize(corners, row)
            ends[i] += 1
            here = _next_on_hull(vertices, start, end, here)
            if (vertices[here] == vertices[first]).all():
                break
        _write_sides(corners, start, ends[i], sides)
        _write_circle(corners, start, ends[i], 0.0, circles, i)
        deepest = 0.0  # of corners beyond a side, by rounding
        for j in range(start, ends[i]):
            for k in range(start, ends[i]):
                deepest = min(deepest, _dot(sides, j, corners, k))
        slack[i] = ROUNDING - deepest / depth


@njit(nogil=True)
def _write_tile(grids, t, place, side, corners, sides, circle):  # type: ignore[no-untyped-def]
    """Write corners, sides and circle of the tile at a NESTED place in a grid; its slack."""
    x = y = 0
    for bit in range(16):
        x |= (place >> 2 * bit & 1) << bit
        y |= (place >> (2 * bit + 1) & 1) << bit
    for i in range(3):
        corners[0, i] = grids[t, x, y, i]
        corners[1, i] = grids[t, x + 1, y, i]
        corners[2, i] = grids[t, x + 1, y + 1, i]
        corners[3, i] = grids[t, x, y + 1, i]
    _write_middle(corners, 0, 4, circle, 0)
    to_pole = math.sqrt(3.0 * (circle[0, 0] ** 2 + circle[0, 1] ** 2) / (1.0 + abs(circle[0, 2])))
    bend = BEND * side * side / min(1.0, to_pole)
    _write_sides(corners, 0, 4, sides)
    _write_circle(corners, 0, 4, bend, circle, 0)
    return bend


@njit(nogil=True)
def _separates(sides, j0, j1, points, k0, k1, slack):  # type: ignore[no-untyped-def]
    """Whether one of the sides has all points on its far side."""
    for j in range(j0, j1):
        k = k0
        while k < k1 and _dot(sides, j, points, k) < -slack:
            k += 1
        if k == k1:
            return True
    return False


@kernel
def write_touching(grids, side, first, index, outlines, every, place, which):  # type: ignore[no-untyped-def]
    """Write the pairs of tiles and outlines that touch, by tile; how many there are.

    Tiles of grids[t] are held against the outlines index[first[t] : first[t + 1]]; against all, or
    only until one touches. place: t * (tiles of a grid) + NESTED place in the grid; which: outline.
    """
    corners, sides, starts, ends, circles, slack = outlines
    tile, tile_sides, circle = np.empty((4, 3)), np.empty((4, 3)), np.empty((1, 5))
    tiles = (grids.shape[1] - 1) ** 2
    count = 0
    for t in range(len(grids)):
        for p in range(tiles):
            bend = _write_tile(grids, t, p, side, tile, tile_sides, circle)
            for k in range(first[t], first[t + 1]):
                i = index[k]
                start, end = starts[i], ends[i]
                if start < end:
                    apart = circle[0, 3] * circles[i, 3] - circle[0, 4] * circles[i, 4]
                    if _dot(circle, 0, circles, i) < apart - ROUNDING:
                        continue
                    room = bend + slack[i]
                    depth = 1.0  # of the middle of the tile; it is inside if that is positive
                    for j in range(start, end):
                        depth = min(depth, _dot(sides, j, circle, 0))
                    if depth <= 0.0 and (
                        depth < -room - circle[0, 4]
                        or _separates(sides, start, end, tile, 0, 4, room)
                        or _separates(tile_sides, 0, 4, corners, start, end, room)
                    ):
                        continue
                place[count] = t * tiles + p
                which[count] = i
                count += 1
                if not every:
                    break
    return count

"""Compiled loops over outlines and tiles: convex hulls, and which outlines touch which tiles.

Called by `outlines`, which documents the arrays. A kernel relies on shapes and types, writes into
arrays that it is given, uses no Python objects and releases the GIL. Each has a slow equivalent in
tests/naive.py.

Two convex regions of the sphere are disjoint if their bounding circles are, or if all of one lies
on the far side of an edge of the other (the separating axis theorem, with great circles for lines).
What is not exact, the curvature of a tile's edges and the rounding of a hull, is allowed for as
slack.
"""

import math

import numpy as np
from numba import njit

from hipsgen.sky.compiled import kernel

# The edges of a tile deviate from the great circles between its corners by at most
# BEND * side^2 / to_pole radians; side: 2^-order, to_pole: that of its center, as in
# `tiles.face_to_vectors`. Measured: 0.211.
BEND = 0.25
WIDEST = 80.0  # degrees: an outline of a larger radius counts as the whole sky
ROUNDING = 1e-15  # radians
_DEEPEST = math.cos(math.radians(WIDEST))


@njit(nogil=True)
def _dot(a, j, b, k):  # type: ignore[no-untyped-def]
    """Return the dot product of row j of a and row k of b; slicing the rows would be slower."""
    return a[j, 0] * b[k, 0] + a[j, 1] * b[k, 1] + a[j, 2] * b[k, 2]


@njit(nogil=True)
def _normalize(vectors, k):  # type: ignore[no-untyped-def]
    """Scale a vector to length 1, unless it is 0; return its length before."""
    length = math.sqrt(_dot(vectors, k, vectors, k))
    if length > 0.0:
        for i in range(3):
            vectors[k, i] /= length
    return length


@njit(nogil=True)
def _write_center(points, start, end, out, row):  # type: ignore[no-untyped-def]
    """Write the direction of the sum of points; return the length of the sum."""
    for i in range(3):
        out[row, i] = 0.0
        for k in range(start, end):
            out[row, i] += points[k, i]
    return _normalize(out, row)


@njit(nogil=True)
def _write_edge_normals(corners, start, end, out):  # type: ignore[no-untyped-def]
    """Write unit vectors to the left of the edge from each corner to the next; 0 for length 0."""
    for k in range(start, end):
        n = k + 1 if k + 1 < end else start
        # corner x (next - corner) keeps the digits that corner x next would lose
        a, b, c = corners[k, 0], corners[k, 1], corners[k, 2]
        x, y, z = corners[n, 0] - a, corners[n, 1] - b, corners[n, 2] - c
        out[k, 0], out[k, 1], out[k, 2] = b * z - c * y, c * x - a * z, a * y - b * x
        _normalize(out, k)


@njit(nogil=True)
def _write_circle(points, start, end, margin, out, row):  # type: ignore[no-untyped-def]
    """Append cosine and sine of the radius that contains all points and a margin to a center."""
    farthest = 0.0
    for k in range(start, end):
        x, y, z = points[k, 0] - out[row, 0], points[k, 1] - out[row, 1], points[k, 2] - out[row, 2]
        farthest = max(farthest, x * x + y * y + z * z)
    half_square = (math.sqrt(farthest) + margin) ** 2 / 2.0  # of the chord: 1 - cos(radius)
    out[row, 3] = 1.0 - half_square
    out[row, 4] = math.sqrt(half_square * (2.0 - half_square))


@njit(nogil=True)
def _next_on_hull(vertices, start, end, here):  # type: ignore[no-untyped-def]
    """Return the next vertex counter-clockwise along the hull; `here` if it is the only one."""
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

    Gift wrapping (Jarvis 1973), starting at the vertex farthest from the center. The corners are
    then moved away from the center, in the tangent plane there, by the factor `pad`.
    """
    corners, normals, starts, ends, circles, slack = outlines
    for i in range(len(ends)):
        start, end = starts[i], starts[i + 1]
        ends[i] = start
        if _write_center(vertices, start, end, circles, i) < 1e-9:
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
        _write_edge_normals(corners, start, ends[i], normals)
        _write_circle(corners, start, ends[i], 0.0, circles, i)
        deepest = 0.0  # how far a corner lies beyond an edge, because of rounding
        for j in range(start, ends[i]):
            for k in range(start, ends[i]):
                deepest = min(deepest, _dot(normals, j, corners, k))
        slack[i] = ROUNDING - deepest / depth


@njit(nogil=True)
def _write_tile(grids, t, tile_index, side, corners, normals, circle):  # type: ignore[no-untyped-def]
    """Write corners, edges and circle of a tile of a grid, by NESTED index; return its slack."""
    x = y = 0
    for bit in range(16):
        x |= (tile_index >> 2 * bit & 1) << bit
        y |= (tile_index >> (2 * bit + 1) & 1) << bit
    for i in range(3):
        corners[0, i] = grids[t, x, y, i]
        corners[1, i] = grids[t, x + 1, y, i]
        corners[2, i] = grids[t, x + 1, y + 1, i]
        corners[3, i] = grids[t, x, y + 1, i]
    _write_center(corners, 0, 4, circle, 0)
    to_pole = math.sqrt(3.0 * (circle[0, 0] ** 2 + circle[0, 1] ** 2) / (1.0 + abs(circle[0, 2])))
    bend = BEND * side * side / min(1.0, to_pole)
    _write_edge_normals(corners, 0, 4, normals)
    _write_circle(corners, 0, 4, bend, circle, 0)
    return bend


@njit(nogil=True)
def _separates(normals, j_start, j_end, points, k_start, k_end, slack):  # type: ignore[no-untyped-def]
    """Whether all points lie on the far side of one of the edges."""
    for j in range(j_start, j_end):
        k = k_start
        while k < k_end and _dot(normals, j, points, k) < -slack:
            k += 1
        if k == k_end:
            return True
    return False


@kernel
def write_contained(grids, side, first, index, outlines, contained):  # type: ignore[no-untyped-def]
    """Write whether each tile certainly lies inside one of its outlines.

    Arguments as for `write_touching`, for grids of a single tile.
    """
    _, normals, starts, ends, _, slack = outlines
    tile, tile_normals, circle = np.empty((4, 3)), np.empty((4, 3)), np.empty((1, 5))
    for t in range(len(grids)):
        bend = _write_tile(grids, t, 0, side, tile, tile_normals, circle)
        contained[t] = False
        for k in range(first[t], first[t + 1]):
            i = index[k]
            is_inside = True
            for j in range(starts[i], ends[i]):
                for corner in range(4):
                    is_inside = is_inside and _dot(normals, j, tile, corner) > bend + slack[i]
            contained[t] = contained[t] or is_inside


@kernel
def write_touching(grids, side, first, index, outlines, all_pairs, tile_index, outline_index):  # type: ignore[no-untyped-def]
    """Write the pairs of tiles and outlines that touch, sorted by tile; return how many there are.

    The tiles of grids[t] are compared with the outlines index[first[t] : first[t + 1]]: with all of
    them if `all_pairs`, else until one touches. Written for each pair: tile_index, t * (tiles of a
    grid) + NESTED index in the grid; outline_index.
    """
    corners, normals, starts, ends, circles, slack = outlines
    tile, tile_normals, circle = np.empty((4, 3)), np.empty((4, 3)), np.empty((1, 5))
    tiles = (grids.shape[1] - 1) ** 2
    count = 0
    for t in range(len(grids)):
        for p in range(tiles):
            bend = _write_tile(grids, t, p, side, tile, tile_normals, circle)
            for k in range(first[t], first[t + 1]):
                i = index[k]
                start, end = starts[i], ends[i]
                if start < end:
                    limit = circle[0, 3] * circles[i, 3] - circle[0, 4] * circles[i, 4]
                    if _dot(circle, 0, circles, i) < limit - ROUNDING:
                        continue
                    margin_sum = bend + slack[i]
                    depth = 1.0  # of the middle of the tile; it is inside if that is positive
                    for j in range(start, end):
                        depth = min(depth, _dot(normals, j, circle, 0))
                    if depth <= 0.0 and (
                        depth < -margin_sum - circle[0, 4]
                        or _separates(normals, start, end, tile, 0, 4, margin_sum)
                        or _separates(tile_normals, 0, 4, corners, start, end, margin_sum)
                    ):
                        continue
                tile_index[count] = t * tiles + p
                outline_index[count] = i
                count += 1
                if not all_pairs:
                    break
    return count

"""Polygons on the sphere as unit vectors, and the gnomonic projection."""

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float64]


def to_vectors(lon: npt.ArrayLike, lat: npt.ArrayLike) -> Vectors:
    """Convert longitudes (...,) and latitudes (...,) in degrees to unit vectors (..., 3)."""
    lam, phi = np.radians(np.asarray(lon, float)), np.radians(np.asarray(lat, float))
    cos_phi = np.cos(phi)
    return np.stack([cos_phi * np.cos(lam), cos_phi * np.sin(lam), np.sin(phi)], axis=-1)


def to_lonlat(vectors: Vectors) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Convert vectors (..., 3) of any length to degrees, longitude in [0, 360)."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    lon = np.degrees(np.arctan2(y, x)) % 360.0
    # -1e-17 % 360 rounds to 360 itself
    return np.where(lon >= 360.0, 0.0, lon), np.degrees(np.arctan2(z, np.hypot(x, y)))


def bounding_circle(vertices: Vectors) -> tuple[Vectors, float]:
    """Return the center (unit vector) and radius in degrees of a circle around vertices (n, 3)."""
    center = vertices.mean(axis=0)
    norm = np.linalg.norm(center)
    if norm < 1e-9:
        return np.array([0.0, 0.0, 1.0]), 180.0
    center = center / norm
    # 2 asin(chord / 2) is precise for small angles, acos is not
    chord = np.linalg.norm(vertices - center, axis=1).max()
    return center, float(np.degrees(2 * np.arcsin(min(1.0, chord / 2))))


def mean_directions(vertices: Vectors, counts: npt.NDArray[np.int64]) -> Vectors:
    """Return the directions (n, 3) of the means of groups of vertices.

    Parameters
    ----------
    vertices
        (v, 3) float64, unit vectors of all groups, one after another.
    counts
        (n,) int64, number of vertices of each group. A group without vertices, or whose mean is 0,
        is assigned the north pole.
    """
    sums = np.zeros((len(counts), 3))
    starts = np.cumsum(counts) - counts
    nonempty = counts > 0
    if nonempty.any():
        sums[nonempty] = np.add.reduceat(vertices, starts[nonempty])
    norm = np.linalg.norm(sums, axis=1)
    sums[norm < 1e-9 * np.maximum(counts, 1)] = [0.0, 0.0, 1.0]
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True))


def bounding_circles(
    vertices: Vectors, counts: npt.NDArray[np.int64]
) -> tuple[Vectors, npt.NDArray[np.float64]]:
    """Return the circles of `bounding_circle` around groups of vertices.

    Parameters
    ----------
    vertices, counts
        As in `mean_directions`.

    Returns
    -------
    centers
        (n, 3) float64, unit vectors.
    radii
        (n,) float64, degrees; 180 for a group without vertices, or whose mean is 0.
    """
    centers = mean_directions(vertices, counts)
    radii = np.full(len(counts), 180.0)
    nonempty = counts > 0
    if nonempty.any():
        starts = (np.cumsum(counts) - counts)[nonempty]
        of_vertices = np.repeat(centers, counts, axis=0)
        chords = np.maximum.reduceat(np.linalg.norm(vertices - of_vertices, axis=1), starts)
        sums = np.add.reduceat((vertices * of_vertices).sum(axis=1), starts)
        has_mean = sums >= 1e-9 * counts[nonempty]
        circles = np.degrees(2 * np.arcsin(np.minimum(1.0, chords / 2)))
        radii[nonempty] = np.where(has_mean, circles, 180.0)
    return centers, radii


def tangent_plane(vectors: Vectors, center: Vectors) -> npt.NDArray[np.float64]:
    """Return gnomonic coordinates (n, 2), in radians, east and north of `center`; NaN behind it."""
    east, north = _east_north(center)
    depth = vectors @ center
    with np.errstate(divide="ignore", invalid="ignore"):
        plane = np.stack([vectors @ east, vectors @ north], axis=-1) / depth[..., None]
    plane[depth <= 0] = np.nan
    return np.asarray(plane)


def from_tangent_plane(plane: npt.NDArray[np.float64], center: Vectors) -> Vectors:
    """Convert gnomonic coordinates (n, 2), in radians, to unit vectors (n, 3)."""
    east, north = _east_north(center)
    vectors = center + plane[:, :1] * east + plane[:, 1:] * north
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _east_north(center: Vectors) -> tuple[Vectors, Vectors]:
    """Return orthogonal unit vectors of the tangent plane at `center`.

    They point east and north, except near a pole, where they are defined by the x axis.
    """
    pole = np.array([0.0, 0.0, 1.0]) if abs(center[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    east = np.cross(pole, center)
    east /= np.linalg.norm(east)
    return east, np.cross(center, east)


def contains(polygon: Vectors, points: Vectors) -> npt.NDArray[np.bool_]:
    """Return which points (k, 3) lie inside a simple polygon (n, 3) smaller than a hemisphere.

    Even-odd rule in the gnomonic plane, in which great circles are straight lines.
    """
    center, radius = bounding_circle(polygon)
    if radius >= 89.0:
        return np.ones(len(points), dtype=bool)
    corners, plane = tangent_plane(polygon, center), tangent_plane(points, center)
    inside = np.zeros(len(points), dtype=bool)
    x, y = plane[:, 0], plane[:, 1]
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            crosses = ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
        inside ^= crosses
    return inside & ~np.isnan(x)


def convex_hull(points: Vectors) -> Vectors:
    """Return the corners (k, 3) of the convex hull of points (n, 3) within less than 90 degrees.

    Counter-clockwise as seen from outside the sphere, by Andrew's algorithm (1979) in the gnomonic
    plane. Points that deviate from a side by less than 1e-9 of the hull's width are left out.
    """
    center, _ = bounding_circle(points)
    plane = tangent_plane(points, center)
    order = np.lexsort(plane.T)
    least = 1e-9 * float(np.ptp(plane, axis=0).max()) ** 2

    def chain(indices: npt.NDArray[np.int64]) -> list[int]:
        """Return the points of the hull on one side, without the last one."""
        found: list[int] = []
        for k in indices.tolist():
            while len(found) > 1:
                (ax, ay), (bx, by) = (
                    plane[found[-1]] - plane[found[-2]],
                    plane[k] - plane[found[-2]],
                )
                if ax * by - ay * bx > least:
                    break
                found.pop()
            found.append(k)
        return found[:-1]

    return np.asarray(points[[*chain(order), *chain(order[::-1])] or [0]])

"""Convex outlines on the sphere, as unit vectors; no files, no WCS."""

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float64]


def to_vectors(lon: npt.ArrayLike, lat: npt.ArrayLike) -> Vectors:
    """Degrees to unit vectors: shape (...,) and (...,) -> (..., 3)."""
    lam, phi = np.radians(np.asarray(lon, float)), np.radians(np.asarray(lat, float))
    cos_phi = np.cos(phi)
    return np.stack([cos_phi * np.cos(lam), cos_phi * np.sin(lam), np.sin(phi)], axis=-1)


def to_lonlat(vectors: Vectors) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Vectors (..., 3) of any length to degrees, longitude in [0, 360)."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    lon = np.degrees(np.arctan2(y, x)) % 360.0
    # -1e-17 % 360 rounds to 360 itself
    return np.where(lon >= 360.0, 0.0, lon), np.degrees(np.arctan2(z, np.hypot(x, y)))


def bounding_circle(vertices: Vectors) -> tuple[Vectors, float]:
    """Center (unit vector) and radius in degrees of a circle that holds all vertices (n, 3)."""
    center = vertices.mean(axis=0)
    norm = np.linalg.norm(center)
    if norm < 1e-9:
        return np.array([0.0, 0.0, 1.0]), 180.0
    center = center / norm
    # 2 asin(chord / 2) keeps its digits for small angles where acos loses them
    chord = np.linalg.norm(vertices - center, axis=1).max()
    return center, float(np.degrees(2 * np.arcsin(min(1.0, chord / 2))))


def middles(vertices: Vectors, counts: npt.NDArray[np.int64]) -> Vectors:
    """Directions (n, 3) of the means of groups of vertices (v, 3), `counts` (n,) of them each.

    The north pole for a group without vertices, or without a direction.
    """
    sums = np.zeros((len(counts), 3))
    starts = np.cumsum(counts) - counts
    some = counts > 0
    if some.any():
        sums[some] = np.add.reduceat(vertices, starts[some])
    norm = np.linalg.norm(sums, axis=1)
    sums[norm < 1e-9 * np.maximum(counts, 1)] = [0.0, 0.0, 1.0]
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True))


def tangent_plane(vectors: Vectors, center: Vectors) -> npt.NDArray[np.float64]:
    """Gnomonic coordinates (n, 2), in radians, east and north of `center`; NaN behind it."""
    pole = np.array([0.0, 0.0, 1.0]) if abs(center[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    east = np.cross(pole, center)
    east /= np.linalg.norm(east)
    north = np.cross(center, east)
    depth = vectors @ center
    with np.errstate(divide="ignore", invalid="ignore"):
        plane = np.stack([vectors @ east, vectors @ north], axis=-1) / depth[..., None]
    plane[depth <= 0] = np.nan
    return np.asarray(plane)


def from_tangent_plane(plane: npt.NDArray[np.float64], center: Vectors) -> Vectors:
    """Inverse of `tangent_plane`: (n, 2) radians -> unit vectors (n, 3)."""
    pole = np.array([0.0, 0.0, 1.0]) if abs(center[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    east = np.cross(pole, center)
    east /= np.linalg.norm(east)
    north = np.cross(center, east)
    vectors = center + plane[:, :1] * east + plane[:, 1:] * north
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def contains(polygon: Vectors, points: Vectors) -> npt.NDArray[np.bool_]:
    """Which points (k, 3) lie inside a simple polygon (n, 3) that is smaller than a hemisphere.

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

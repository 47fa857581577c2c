"""Each kernel against its slow twin, compiled or not (see test_without_jit)."""

import numpy as np
import numpy.typing as npt
import pytest

from hipsgen.sky.outline_kernels import BEND, ROUNDING
from hipsgen.sky.outlines import Pairs, outlines_of, touching_below
from hipsgen.sky.polygon import from_tangent_plane, to_vectors
from hipsgen.sky.tiles import Tile, deinterleave
from tests import naive

Vectors = npt.NDArray[np.float64]

PLACES = {
    "anywhere": (150.1, 2.2),
    "across RA 0": (0.0, -31.0),
    "at the north pole": (40.0, 89.9),
    "at the south pole": (0.0, -90.0),
    "where four faces meet": (90.0, 41.8103),
}


def scattered(place: str, radius: float, count: int, seed: int) -> Vectors:
    """Vertices (count, 3) in any order within a radius, degrees: few are corners of the hull."""
    rng = np.random.default_rng(seed)
    plane = rng.uniform(-1, 1, (count, 2)) * np.tan(np.radians(radius)) / np.sqrt(2)
    return from_tangent_plane(plane, to_vectors(*PLACES[place]))


def corners_of(tile: Tile) -> Vectors:
    """South, east, north, west: counter-clockwise."""
    return tile.vectors(*np.array([[1, 0, 0, 1], [0, 0, 1, 1]]) - 0.5, 1)


def angle(points: Vectors, middle: Vectors) -> float:
    """The farthest of points (n, 3), radians."""
    return float(2 * np.arcsin(np.linalg.norm(points - middle, axis=1).max() / 2))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("radius", "count"), [(1e-6, 3), (0.2, 4), (1.0, 9), (60.0, 12)])
def test_hulls(place: str, radius: float, count: int) -> None:
    groups = [scattered(place, radius, count, seed) for seed in range(4)]
    # an empty one between the others, and one corner twice, as some close their polygons
    groups[2:2] = [np.empty((0, 3))]
    groups[0] = np.concatenate([groups[0], groups[0][:1]])
    outlines = outlines_of(np.concatenate(groups), np.array([len(g) for g in groups]))
    for i, group in enumerate(groups):
        rows = slice(outlines.starts[i], outlines.ends[i])
        corners, sides = outlines.corners[rows], outlines.sides[rows]
        if i == 0:
            group = group[:-1]
        wanted = naive.hull_sides(group)
        assert len(corners) == len(wanted)
        if not len(group):
            continue
        middle = group.sum(axis=0)
        if i == 0:
            middle += group[0]
        middle /= np.linalg.norm(middle)
        depth = group @ middle
        padded = middle + 1.02 * (group / depth[:, None] - middle)
        padded /= np.linalg.norm(padded, axis=1, keepdims=True)
        found = [int(np.linalg.norm(padded - c, axis=1).argmin()) for c in corners]
        np.testing.assert_allclose(corners, padded[found], atol=1e-15)
        assert set(zip(found, np.roll(found, -1), strict=True)) == wanted
        np.testing.assert_allclose(np.linalg.norm(sides, axis=1), 1.0)
        assert np.abs((sides * corners).sum(axis=1)).max() < 1e-15
        assert np.abs((sides * np.roll(corners, -1, axis=0)).sum(axis=1)).max() < 1e-15
        assert (sides @ corners.T).min() >= -outlines.slack[i]
        assert ROUNDING <= outlines.slack[i] < 1e-14
        cosine, sine = outlines.circles[i, 3:]
        assert cosine**2 + sine**2 == pytest.approx(1.0)
        np.testing.assert_allclose(outlines.circles[i, :3], middle, atol=1e-15)
        chord = np.linalg.norm(corners - middle, axis=1).max()
        assert 2 * np.arcsin(chord / 2) == pytest.approx(np.arctan2(sine, cosine), rel=1e-7)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("order", "radius"), [(0, 30.0), (1, 1e-6), (1, 60.0), (2, 10.0)])
def test_tiles_that_touch(place: str, order: int, radius: float) -> None:
    """All tiles below the faces, one and two orders down in one grid."""
    groups = [scattered(place, radius, 5, seed) for seed in range(3)] + [np.empty((0, 3))]
    counts = np.array([len(g) for g in groups])
    outlines = outlines_of(np.concatenate(groups), counts)
    faces = Pairs(np.repeat(np.arange(12), 4), np.tile(np.arange(4), 12))
    pairs = touching_below(outlines, faces, 0, order)
    found = set(zip(pairs.npix.tolist(), pairs.outline.tolist(), strict=True))
    assert len(found) == pairs.npix.size
    assert (np.diff(pairs.npix * 4 + pairs.outline) > 0).all()
    side = 0.5**order
    for npix in range(12 << 2 * order):
        corners = corners_of(Tile(order, npix))
        middle = corners.sum(axis=0) / np.linalg.norm(corners.sum(axis=0))
        bend = BEND * side**2 / min(1.0, np.sqrt(3 * (1 - abs(middle[2]))))
        assert (npix, 3) in found
        for i in range(3):
            outline = outlines.corners[outlines.starts[i] : outlines.ends[i]]
            gap = naive.gap(corners, outline) - bend - outlines.slack[i]
            if abs(gap) > 1e-12:
                # regions opposite one another may have no side between them, but they are far apart
                radii = angle(corners, middle) + bend + angle(outline, outlines.circles[i, :3])
                apart = angle(middle[None], outlines.circles[i, :3]) > radii
                assert ((npix, i) in found) == (gap < 0 and not apart)


@pytest.mark.parametrize("order", [0, 1, 2, 4, 8, 13])
def test_the_sides_of_tiles_bend_by_less_than_is_allowed_for(order: int) -> None:
    along = np.linspace(0, 1, 9)
    n = 1 << order
    # the tiles round both poles, along the edges of faces, and some within
    near = [*range(min(n, 6)), *range(max(0, n - 6), n)]
    places = {(x, y) for x in near for y in near} | {(n // 3, n // 2), (n // 2, n // 2)}
    for face, (x, y) in ((face, place) for face in (0, 4, 8) for place in places):
        npix = face * n * n + int(f"{y:b}", 4) * 2 + int(f"{x:b}", 4)
        assert deinterleave(npix % n**2) == (x, y)
        tile = Tile(order, npix)
        corners = corners_of(tile)
        zero, one = np.zeros(9), np.ones(9)
        rows = np.concatenate([1 - along, zero, along, one]) - 0.5
        cols = np.concatenate([zero, along, one, 1 - along]) - 0.5
        border = tile.vectors(rows, cols, 1)
        sides = np.cross(corners, np.roll(corners, -1, axis=0) - corners)
        sides /= np.linalg.norm(sides, axis=1, keepdims=True)
        assert (sides @ corners.T).min() > -1e-15  # convex
        middle = tile.vectors(0.0, 0.0, 1)
        to_pole = min(1.0, np.sqrt(3 * (middle[0] ** 2 + middle[1] ** 2) / (1 + abs(middle[2]))))
        assert -(sides @ border.T).min() < 0.9 * BEND / n**2 / to_pole + 1e-15

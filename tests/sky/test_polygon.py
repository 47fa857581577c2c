import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.sky.polygon import (
    bounding_circle,
    bounding_circles,
    contains,
    from_tangent_plane,
    mean_directions,
    tangent_plane,
    to_lonlat,
    to_vectors,
)
from tests.sky import SEEDED

Vectors = npt.NDArray[np.float64]
LON, LAT = st.floats(0, 360, exclude_max=True), st.floats(-90, 90)
CENTERS = [(10.0, 20.0), (0.0, 0.0), (359.99, -45.0), (77.0, 90.0), (0.0, -90.0), (180.0, 89.9)]


@st.composite
def polygons(draw: st.DrawFn) -> tuple[Vectors, Vectors, float]:
    """Vertices of a convex polygon, its center, and its radius in degrees."""
    lon, lat = draw(st.sampled_from(CENTERS) | st.tuples(LON, LAT))
    center, radius = to_vectors(lon, lat), draw(st.floats(0.001, 60.0))
    n = draw(st.integers(3, 12))
    angles = 2 * np.pi * (np.arange(n) + draw(st.floats(0, 1))) / n
    if draw(st.booleans()):
        angles = angles[::-1]
    reach = np.tan(np.radians(radius))
    plane = reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return from_tangent_plane(plane, center), center, radius


def angle(a: Vectors, b: Vectors) -> npt.NDArray[np.float64]:
    return np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(a - b, axis=-1) / 2, 0, 1)))


def towards(start: Vectors, end: Vectors, share: float) -> Vectors:
    mixed = start + share * (end - start)
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)


@SEEDED
@given(LON, LAT)
def test_degrees_to_vectors_and_back(lon: float, lat: float) -> None:
    got_lon, got_lat = to_lonlat(3.7 * to_vectors(lon, lat))
    assert 0 <= got_lon < 360
    assert got_lat == pytest.approx(lat, abs=1e-12)
    off = (float(got_lon) - lon + 180) % 360 - 180
    assert abs(off) * np.cos(np.radians(lat)) < 1e-12


def test_longitudes_just_west_of_zero_stay_under_360() -> None:
    lon, _ = to_lonlat(np.array([[1.0, -1e-30, 0.0], [1.0, -1e-3, 0.0], [1.0, 0.0, 0.0]]))
    assert lon[0] == 0.0
    assert 359 < lon[1] < 360
    assert lon[2] == 0.0


@SEEDED
@given(polygons(), st.data())
def test_points_towards_the_middle_are_inside_and_points_beyond_the_edges_outside(
    polygon, data
) -> None:
    vertices, center, _ = polygon
    k = data.draw(st.integers(0, len(vertices) - 1))
    edge = towards(vertices[k - 1], vertices[k], data.draw(st.floats(0, 1)))
    inside = towards(edge, center, data.draw(st.floats(0.001, 1)))
    outside = towards(edge, center, -data.draw(st.floats(0.001, 0.3)))
    assert contains(vertices, np.stack([inside, outside, -inside])).tolist() == [True, False, False]


@SEEDED
@given(polygons(), st.integers(0, 2**32))
def test_contains_agrees_with_the_half_spaces_of_a_convex_polygon(polygon, seed: int) -> None:
    vertices, center, radius = polygon
    rng = np.random.default_rng(seed)
    points = center + np.tan(np.radians(radius)) * rng.normal(size=(200, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    normals = np.cross(vertices, np.roll(vertices, -1, axis=0))
    normals *= np.sign(normals @ center)[:, None]
    sides = points @ (normals / np.linalg.norm(normals, axis=1, keepdims=True)).T
    clear = np.abs(sides).min(axis=1) > 1e-12
    wanted = (sides > 0).all(axis=1)
    np.testing.assert_array_equal(contains(vertices, points)[clear], wanted[clear])


def test_contains_of_a_polygon_with_a_dent() -> None:
    arrow = to_vectors([359.0, 1.0, 0.0, 0.0], [-1.0, -1.0, -0.5, 2.0])[[0, 2, 1, 3]]
    points = to_vectors([0.0, 0.0, 0.9, 359.3], [0.0, -0.8, -0.9, -0.6])
    assert contains(arrow, points).tolist() == [True, False, True, True]


def test_an_outline_of_half_the_sky_or_more_holds_everything() -> None:
    wide = to_vectors([0.0, 90.0, 180.0, 270.0], [0.5, 0.5, 0.5, 0.5])
    assert contains(wide, np.concatenate([np.eye(3), -np.eye(3)])).all()


@SEEDED
@given(polygons())
def test_the_bounding_circle_holds_every_vertex_and_touches_one(polygon) -> None:
    vertices, center, radius = polygon
    middle, found = bounding_circle(vertices)
    assert np.linalg.norm(middle) == pytest.approx(1.0)
    away = angle(vertices, middle)
    assert away.max() == pytest.approx(found, rel=1e-9)
    # vertices all round: the circle is the one on which they lie
    assert found == pytest.approx(radius, rel=1e-6)
    assert angle(middle, center) < 1e-6 * radius


@SEEDED
@given(st.lists(st.tuples(LON, LAT), min_size=1, max_size=9))
def test_the_bounding_circle_holds_any_points_of_the_sky(places) -> None:
    vertices = to_vectors(*np.array(places).T)
    center, radius = bounding_circle(vertices)
    assert 0 <= radius <= 180
    assert (angle(vertices, center) <= radius + 1e-6).all()


def test_points_all_round_the_sky_have_no_circle_but_the_sky() -> None:
    assert bounding_circle(np.concatenate([np.eye(3), -np.eye(3)]))[1] == 180.0


@SEEDED
@given(st.sampled_from(CENTERS) | st.tuples(LON, LAT), st.integers(0, 2**32))
def test_the_tangent_plane_has_an_inverse_and_right_angles(place, seed: int) -> None:
    center = to_vectors(*place)
    plane = np.random.default_rng(seed).normal(size=(20, 2))
    vectors = from_tangent_plane(plane, center)
    np.testing.assert_allclose(tangent_plane(vectors, center), plane, atol=1e-12)
    np.testing.assert_allclose(
        np.tan(np.radians(angle(vectors, center))), np.hypot(*plane.T), rtol=1e-9
    )


def test_the_tangent_plane_has_east_and_north_and_nothing_behind() -> None:
    center = to_vectors(120.0, 35.0)
    points = np.stack([to_vectors(120.001, 35.0), to_vectors(120.0, 35.001), -center])
    east, north, behind = tangent_plane(points, center)
    assert east[0] > 1000 * abs(east[1])
    assert north[1] > 1000 * abs(north[0])
    assert np.isnan(behind).all()


@SEEDED
@given(st.lists(st.lists(st.tuples(LON, LAT), max_size=5), max_size=6))
def test_bounding_circles_of_groups_equal_those_of_each_group(groups) -> None:
    counts = np.array([len(g) for g in groups], np.int64)
    vertices = to_vectors(*np.array([p for g in groups for p in g], float).reshape(-1, 2).T)
    found = mean_directions(vertices, counts)
    assert found.shape == (len(groups), 3)
    centers, radii = bounding_circles(vertices, counts)
    np.testing.assert_array_equal(centers, found)
    parts = np.split(vertices, np.cumsum(counts))[:-1]
    for middle, radius, part in zip(found, radii, parts, strict=True):
        wanted, wide = bounding_circle(part) if len(part) else ([0.0, 0.0, 1.0], 180.0)
        np.testing.assert_allclose(middle, wanted, atol=1e-12)
        assert radius == pytest.approx(wide, abs=1e-6)


def test_bounding_circles_of_no_group_and_of_opposite_points() -> None:
    centers, radii = bounding_circles(np.empty((0, 3)), np.empty(0, np.int64))
    assert (centers.shape, radii.shape) == ((0, 3), (0,))
    opposite = np.concatenate([np.eye(3), -np.eye(3)])
    assert bounding_circles(opposite, np.array([6]))[1].tolist() == [180.0]

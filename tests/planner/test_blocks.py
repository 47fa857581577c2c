"""Plans: no tile is missed, few are superfluous, and large surveys are planned quickly."""

import time

import healpy
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.coadd import CoaddRef
from hipsgen.planner.blocks import Plan, make_plan, max_block_depth
from hipsgen.sky.polygon import from_tangent_plane, to_lonlat, to_vectors
from hipsgen.sky.tiles import Tile, pixel_size
from tests import naive
from tests.profiles import examples

Vectors = npt.NDArray[np.float64]
SEEDED = examples(0.6)

PLACES = {
    "anywhere": (150.1, 2.2),
    "across RA 0": (0.0, -31.0),
    "at the north pole": (0.0, 90.0),
    "beside the south pole": (123.0, -89.95),
    "where HEALPix changes its formula": (200.0, 41.8103),
    "on a corner of base faces": (90.0, 41.8103),
    "on the corner of another face": (45.0, 0.0),
}
centers = st.sampled_from(list(PLACES.values())) | st.tuples(st.floats(0, 360), st.floats(-90, 90))


def ref_of(vertices: Vectors, name: str = "a") -> CoaddRef:
    lon, lat = to_lonlat(vertices)
    return CoaddRef(name, "1", polygon=tuple(zip(lon.tolist(), lat.tolist(), strict=True)))


def square(lon: float, lat: float, side: float, angle: float = 0.3) -> Vectors:
    """Return the corners of a square in the tangent plane; side in degrees."""
    half = np.tan(np.radians(side / 2))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    plane = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ turn
    return from_tangent_plane(plane, to_vectors(lon, lat))


def leaves_of(plan: Plan) -> dict[int, tuple[int, ...]]:
    """Return the leaf tiles of all blocks, after checking that the blocks are consistent."""
    leaves: dict[int, tuple[int, ...]] = {}
    counts, roots = plan.leaf_counts(), plan.roots()
    assert len(counts) == len(roots)
    assert roots == sorted(set(roots))
    for k, root in enumerate(roots):
        block = plan.block(k)
        assert block.root == root
        assert len(block.leaves) == counts[k]
        assert {i for _, refs in block.leaves for i in refs} <= set(plan.ref_indices(k))
        assert list(plan.ref_indices(k)) == sorted(set(plan.ref_indices(k)))
        for npix, refs in block.leaves:
            assert Tile(plan.order, npix).ancestor(root.order) == root
            assert list(refs) == sorted(set(refs))
        leaves.update(block.leaves)
    assert list(leaves) == sorted(leaves)
    assert len(leaves) == counts.sum()
    orders = range(plan.order + 1)
    tiles = sum(len({npix >> 2 * up for npix in leaves}) for up in orders)
    assert tiles <= plan.tile_count(counts) <= 2 * tiles
    return leaves


def inside(vertices: Vectors, count: int, seed: int) -> Vectors:
    """Return points in the convex hull of vertices, including its corners and sides."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(len(vertices), 0.4), count)
    shares[: count // 4] *= shares[: count // 4] >= np.sort(shares[: count // 4])[:, -2:-1]
    points = np.concatenate([vertices, shares @ vertices])
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def tiles_at(points: Vectors, order: int) -> set[int]:
    return set(healpy.vec2pix(1 << order, *points.T, nest=True).tolist())


@SEEDED
@given(
    center=centers,
    size=st.floats(-7, 1),
    order=st.integers(0, 9),
    count=st.integers(3, 9),
    seed=st.integers(0, 2**32),
)
def test_every_tile_with_a_point_of_a_coadd_is_planned(center, size, order, count, seed) -> None:
    """Coadds of 0.02 arcsec to 60 degrees, or to 2 degrees in small tiles; corners in any order."""
    radius = min(60.0, 60.0 * 10**size if order < 5 else 2.0 * 10**size)
    rng = np.random.default_rng(seed)
    plane = np.tan(np.radians(radius)) * rng.uniform(-1, 1, (count, 2)) / np.sqrt(2)
    vertices = from_tangent_plane(plane, to_vectors(*center))
    leaves = leaves_of(make_plan([ref_of(vertices)], order, "equatorial", 512))
    assert tiles_at(inside(vertices, 2000, seed), order) <= set(leaves)


@SEEDED
@given(center=centers, size=st.floats(0.01, 5), order=st.integers(10, 26), seed=st.integers(0, 99))
def test_deep_orders(center, size, order, seed) -> None:
    """Coadds of 1/100 to 10 tiles, for tiles down to 3 mas."""
    lon, lat = center
    vertices = square(lon, lat, 2 * size * pixel_size(order, 1), seed)
    leaves = set(leaves_of(make_plan([ref_of(vertices)], order, "equatorial", 512)))
    # ref_of rounds to 1e-13 degrees or so
    rounded = to_vectors(*to_lonlat(vertices))
    touched = tiles_at(inside(rounded, 2000, seed), order)
    assert touched <= leaves
    assert len(leaves) <= 1.2 * len(touched) + 4


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("radius", [1e-6, 5.0, 60.0])
def test_low_orders(place: str, order: int, radius: float) -> None:
    angles = np.arange(7) * 0.9
    plane = np.tan(np.radians(radius)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    vertices = from_tangent_plane(plane, to_vectors(*PLACES[place]))
    leaves = set(leaves_of(make_plan([ref_of(vertices)], order, "equatorial", 512)))
    touched = tiles_at(inside(vertices, 20_000, 1), order)
    assert touched <= leaves
    # tiles touched only by the padded outline, or by a corner between the sampled points
    assert len(leaves) <= 1.15 * len(touched) + 3


@pytest.mark.parametrize("place", PLACES)
def test_few_tiles_are_superfluous(place: str) -> None:
    """Compare with the tiles that contain one of many points in an outline enlarged by 2 %."""
    touched = planned = 0
    for k, angle in enumerate(np.linspace(0, 1.5, 12)):
        lon, lat = PLACES[place]
        vertices = square(lon + 0.013 * k, max(-89.99, min(90.0, lat + 0.007 * k)), 0.2333, angle)
        middle = vertices.sum(axis=0) / np.linalg.norm(vertices.sum(axis=0))
        padded = middle + 1.02 * (vertices / (vertices @ middle)[:, None] - middle)
        seen = tiles_at(inside(padded, 40_000, k), 11)
        leaves = set(leaves_of(make_plan([ref_of(vertices)], 11, "equatorial", 512)))
        assert seen <= leaves
        touched, planned = touched + len(seen), planned + len(leaves)
    assert planned < 1.02 * touched


@SEEDED
@given(center=centers, seed=st.integers(0, 2**32))
def test_a_concave_outline_counts_as_its_hull(center, seed) -> None:
    rng = np.random.default_rng(seed)
    star = from_tangent_plane(rng.uniform(-0.01, 0.01, (9, 2)), to_vectors(*center))
    following = dict(naive.hull_sides(star))
    corners = [next(iter(following))]
    while len(corners) < len(following):
        corners.append(following[corners[-1]])
    hull = star[corners]
    # outlines are enlarged from their center, which is not the same for both
    concave = set(leaves_of(make_plan([ref_of(star)], 10, "equatorial", 512)))
    assert tiles_at(inside(hull, 3000, seed), 10) <= concave
    convex = set(leaves_of(make_plan([ref_of(hull)], 10, "equatorial", 512)))
    assert len(concave ^ convex) <= 0.1 * len(convex) + 4


DEGENERATE = {
    "one corner": [(150.0, 2.0)],
    "two corners": [(150.0, 2.0), (150.1, 2.05)],
    "all in one place": [(150.0, 2.0)] * 4,
    "on one line": [(150.03, 2.0), (150.03, 2.05), (150.03, 2.1), (150.03, 2.02)],
    "closed by its first corner": [(150.0, 2.0), (150.1, 2.0), (150.1, 2.1), (150.0, 2.0)],
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_outlines(name: str) -> None:
    ref = CoaddRef("a", "1", polygon=DEGENERATE[name])
    leaves = set(leaves_of(make_plan([ref], 11, "equatorial", 512)))
    vertices = to_vectors(*np.array(DEGENERATE[name]).T)
    touched = tiles_at(inside(np.concatenate([vertices, vertices]), 3000, 0), 11)
    assert touched <= leaves
    assert len(leaves) <= 1.3 * len(touched) + 3


@pytest.mark.parametrize(
    "polygon", [(), ((0, 0), (90, 0), (180, 0), (270, 0)), ((0, 5), (120, 5), (240, 5))]
)
def test_the_whole_sky(polygon) -> None:
    """No outline, one without a center, and one that is too large for a tangent plane."""
    refs = [CoaddRef("a", "1", polygon=polygon), ref_of(square(10.0, 20.0, 1.0))]
    for order in (0, 3, 5):
        leaves = leaves_of(make_plan(refs, order, "equatorial", 512))
        assert list(leaves) == list(range(12 << 2 * order))
        assert all(0 in found for found in leaves.values())


def test_a_plan_is_in_the_frame_of_the_survey() -> None:
    from astropy.coordinates import SkyCoord

    vertices = square(266.4, -28.9, 0.5)
    leaves = leaves_of(make_plan([ref_of(vertices)], 10, "galactic", 512))
    lon, lat = to_lonlat(inside(vertices, 3000, 0))
    there = SkyCoord(lon, lat, unit="deg").galactic
    assert tiles_at(to_vectors(there.l.deg, there.b.deg), 10) <= set(leaves)
    assert (there.l.deg > 359.5).any()
    assert len(leaves) < 110


def crowd(count: int, side: float = 0.2333) -> list[CoaddRef]:
    """Return square coadds in overlapping rows across RA 0, in random order; side in degrees."""
    step, half = 0.7 * side, side / 2
    columns = int(np.sqrt(count))
    refs = []
    for k in np.random.default_rng(0).permutation(count).tolist():
        row, column = divmod(k, columns)
        lat = -30.0 + step * (row - columns / 2)
        widen = 1 / np.cos(np.radians(lat))
        lon = step * widen * (column - columns / 2)
        around = ((-half, -half), (half, -half), (half, half), (-half, half))
        polygon = [(lon + x * widen, lat + y) for x, y in around]
        refs.append(CoaddRef(f"file:///{k}", "1", polygon=polygon))
    return refs


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_the_plan_of_many_coadds_is_the_union_of_their_plans(depth: int) -> None:
    refs = [*crowd(60, 2.0), CoaddRef("whole sky", "1")]
    order = 5
    whole = leaves_of(make_plan(refs, order, "equatorial", 512, depth))
    alone = {
        (npix, k)
        for k, ref in enumerate(refs)
        for npix in leaves_of(make_plan([ref], order, "equatorial", 512, 3))
    }
    assert {(npix, k) for npix, found in whole.items() for k in found} == alone


def test_the_default_block_depth_gives_enough_blocks() -> None:
    def depth(refs: list[CoaddRef], order: int) -> tuple[int, int]:
        plan = make_plan(refs, order, "equatorial", 512)
        return plan.block_depth, len(plan.roots())

    whole = [CoaddRef("a", "1")]
    small = [ref_of(square(40.0, -10.0, 0.033))]
    assert depth(whole, 0) == (0, 12)
    assert depth(whole, 1) == (1, 12)
    assert depth(whole, 2) == (2, 12)  # at least the depth of a window
    assert depth(whole, 3) == (2, 48)
    assert depth(whole, 6) == (4, 192)
    assert depth(small, 11)[0] == 2
    assert depth([ref_of(square(40.0, -10.0, 0.5))], 11)[0] == 2
    assert depth([ref_of(square(40.0, -10.0, 20.0))], 11)[0] == max_block_depth(11, 512)
    assert make_plan(small, 11, "equatorial", 512, 3).block_depth == 3


def test_tiles_far_deeper_than_the_coadds_are_counted_quickly() -> None:
    """A coadd of 0.2333 degrees in tiles of 0.1 arcsec: most blocks lie inside of it."""
    refs = [ref_of(square(40.0, -10.0, 0.2333))]
    make_plan(refs, 13, "equatorial", 64).leaf_counts()  # compiles
    start = time.process_time()
    counts = make_plan(refs, 21, "equatorial", 64).leaf_counts()
    assert time.process_time() - start < 10
    assert counts.max() == 4**7
    area = 41252.96 / (12 << 2 * 21)
    assert counts.sum() * area == pytest.approx((1.02 * 0.2333) ** 2, rel=0.01)


def test_time_and_memory_of_planning_are_proportional_to_the_coadds() -> None:
    def seconds(refs: list[CoaddRef]) -> float:
        start = time.process_time()
        plan = make_plan(refs, 11, "equatorial", 512)
        found = plan.leaf_counts().sum()
        spent = time.process_time() - start
        if len(refs) > 10_000:
            area = 41252.96 / (12 << 2 * 11)
            assert found * area == pytest.approx((0.7 * 0.2333) ** 2 * len(refs), rel=0.03)
        # only pairs of blocks and coadds are stored
        assert plan.ref_index.size < 4 * len(refs)
        return spent

    refs = crowd(50_000)
    seconds(crowd(100))  # compiles
    some, all_of_them = seconds(crowd(12_500)), seconds(refs)
    assert all_of_them < 20
    assert all_of_them < 4 * 2.5 * some

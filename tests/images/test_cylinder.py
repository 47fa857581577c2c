"""Maps that close on themselves, and parts of maps at the edge of their projection.

Oracles: healpy, and the sky itself, since pixel -> sky and sky -> pixel must agree.
"""

from typing import Any

import healpy
import numpy as np
import pytest

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError
from hipsgen.images.wcs import ImageWcs
from hipsgen.planner.blocks import make_plan
from tests.images.test_wcs import all_sky_header, everywhere

ORDER = 5
CYLINDERS = ["CAR", "CEA", "MER", "CYP"]
TURNS = {
    "none": {},
    "tiny": {"CROTA2": 1e-9},
    "seam anywhere": {"CRPIX1": 1.0, "CRVAL1": 300.0},
    "seam anywhere, tiny": {"CRPIX1": 1.0, "CRVAL1": 300.0, "CROTA2": 1e-9},
    "oblique": {"CRVAL2": 35.0, "CRVAL1": 40.0},
    "upright": {"CROTA2": 90.0, "CRPIX1": 90.5, "CRPIX2": 180.5},
}


def on_image(wcs: ImageWcs, vectors: np.ndarray) -> np.ndarray:
    x, y = wcs(vectors)
    rows, cols = wcs.shape
    return (x >= -0.5) & (x < cols - 0.5) & (y >= -0.5) & (y < rows - 0.5)


def sky_of(wcs: ImageWcs, step: int = 1) -> np.ndarray:
    """Positions of the centers of pixels that are on the sky."""
    rows, cols = wcs.shape
    y, x = np.mgrid[:rows:step, :cols:step].reshape(2, -1).astype(float)
    vectors = wcs.to_sky(x, y)
    return vectors[np.isfinite(vectors).all(axis=1)]


def planned_and_touched(wcs: ImageWcs) -> tuple[set[int], set[int]]:
    """Return the tiles that are planned for an image, and those that its pixels are on."""
    plan = make_plan([CoaddRef("a", "1", polygon=wcs.outline())], ORDER, "equatorial", 512)
    leaves = {npix for k in range(len(plan.npix)) for npix, _ in plan.block(k).leaves}
    return leaves, set(healpy.vec2pix(1 << ORDER, *sky_of(wcs).T, nest=True).tolist())


@pytest.mark.parametrize("projection", CYLINDERS)
@pytest.mark.parametrize("turn", TURNS)
def test_an_all_sky_map_has_every_position_once(projection: str, turn: str) -> None:
    shape = (360, 180) if turn == "upright" else (180, 360)
    wcs = ImageWcs(all_sky_header(projection, **TURNS[turn]), shape)
    vectors = everywhere(5000)
    x, y = wcs(vectors)
    inside = on_image(wcs, vectors)
    # a map in these projections may end before the poles
    assert inside.mean() == 1.0 if projection in ("CAR", "CEA") else inside.mean() > 0.9
    np.testing.assert_allclose(wcs.to_sky(x[inside], y[inside]), vectors[inside], atol=1e-12)


def test_a_rotated_all_sky_map_has_every_position_once() -> None:
    cards = {"CROTA2": 30.0, "CRPIX1": 300.5, "CRPIX2": 300.5, "CRVAL1": 40.0}
    wcs = ImageWcs(all_sky_header("CAR", **cards), (600, 600))
    assert on_image(wcs, everywhere(5000)).all()


def test_the_period_of_a_cylinder_follows_its_radius() -> None:
    cards = {"PV2_1": 1.0, "PV2_2": 0.5, "CDELT1": -0.5, "CRPIX1": 1.0, "CRVAL1": 300.0}
    wcs = ImageWcs(all_sky_header("CYP", **cards), (180, 360))
    assert on_image(wcs, everywhere(5000)).mean() > 0.9


@pytest.mark.parametrize("projection", ["HPX", "TSC", "CSC", "QSC"])
def test_the_belt_of_other_maps_is_a_cylinder(projection: str) -> None:
    wcs = ImageWcs(all_sky_header(projection, CRPIX1=1.0, CRVAL1=300.0), (180, 360))
    belt = everywhere(5000)
    belt = belt[np.abs(belt[:, 2]) < 0.5]
    assert on_image(wcs, belt).all()


@pytest.mark.parametrize("projection", [*CYLINDERS, "HPX"])
@pytest.mark.parametrize("away", [190.0, 340.0, -350.0, 700.0])
def test_a_cutout_many_periods_from_crpix_is_planned_where_it_is(
    projection: str, away: float
) -> None:
    wcs = ImageWcs(all_sky_header(projection, CRPIX1=20.5 + away, CRPIX2=20.5), (40, 40))
    vectors = sky_of(wcs)
    assert len(vectors) == 1600
    assert on_image(wcs, vectors).all()
    leaves, touched = planned_and_touched(wcs)
    assert touched <= leaves
    assert len(leaves) < 2 * len(touched)


EDGES: dict[str, tuple[str, tuple[int, int], dict[str, Any]]] = {
    "AIT": ("AIT", (40, 60), {"CRPIX2": 30.5}),
    "AIT, beside the pole": ("AIT", (40, 60), {"CRPIX1": 60.0, "CRPIX2": -60.5}),
    "MOL": ("MOL", (40, 60), {"CRPIX2": 80.5}),
    "MOL, a corner": ("MOL", (40, 60), {"CRPIX2": 5.5, "CRPIX1": 195.0}),
    "SFL": ("SFL", (40, 60), {"CRPIX2": 5.5}),
    "SIN": ("SIN", (40, 40), {"CRPIX1": 70.0, "CRPIX2": 20.0, "CRVAL2": 30.0}),
    "CAR, a row beyond the pole": ("CAR", (31, 60), {"CRPIX1": 20.0, "CRPIX2": -59.0}),
    "CAR, much beyond the pole": ("CAR", (60, 60), {"CRPIX1": 20.0, "CRPIX2": -59.0}),
}


@pytest.mark.parametrize("name", EDGES)
def test_an_image_that_is_partly_on_the_sky_is_planned_where_it_is(name: str) -> None:
    projection, shape, cards = EDGES[name]
    wcs = ImageWcs(all_sky_header(projection, **cards), shape)
    edge = wcs.to_sky(*np.array([[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]]).T)
    assert not np.isfinite(edge).all()
    leaves, touched = planned_and_touched(wcs)
    assert touched <= leaves
    assert len(leaves) < 1.7 * len(touched) + 30


def test_an_image_with_few_pixels_on_the_sky_is_planned() -> None:
    corner = ImageWcs(all_sky_header("SIN", CRPIX1=-56.0, CRPIX2=150.0), (300, 300))
    part = sky_of(corner)
    assert 0 < len(part) < 50
    leaves, touched = planned_and_touched(corner)
    assert touched <= leaves
    assert len(leaves) < 300


def test_a_map_whose_edge_is_at_the_antipode_is_the_whole_sky() -> None:
    cards = {"CRPIX1": 126.5, "CRPIX2": 126.5, "CRVAL2": 90.0}
    assert ImageWcs(all_sky_header("ARC", **cards), (252, 252)).outline() == ()


@pytest.mark.parametrize("projection", ["AIT", "MOL", "SIN"])
def test_an_image_off_the_sky_is_refused(projection: str) -> None:
    wcs = ImageWcs(all_sky_header(projection, CRPIX1=500.0), (40, 40))
    with pytest.raises(CoaddError, match="no pixel of its image is on the sky"):
        wcs.outline()

"""Where to look first: inside the survey, and wide enough for all of it."""

import healpy
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from mocpy import MOC

from hipsgen.sky.polygon import to_vectors
from hipsgen.survey.extent import initial_view

ORDER = 11


def disk(lon: float, lat: float, radius: float, order: int = ORDER) -> np.ndarray:
    vector = healpy.ang2vec(lon, lat, lonlat=True)
    return healpy.query_disc(1 << order, vector, np.radians(radius), nest=True)


def moc(*cells: np.ndarray, order: int = ORDER) -> MOC:
    every = np.unique(np.concatenate(cells)).astype(np.uint64)
    return MOC.from_healpix_cells(every, np.full(every.size, order, np.uint8), max_depth=order)


def apart(a: tuple[float, float], b: tuple[float, float]) -> float:
    return float(np.degrees(np.linalg.norm(to_vectors(*a) - to_vectors(*b))))


@pytest.mark.parametrize(
    ("lon", "lat"), [(55.7, -31.4), (0.0, 0.0), (359.99, 20.0), (10.0, 90.0), (200.0, -89.8)]
)
@pytest.mark.parametrize("radius", [0.2, 1.5, 20.0])
def test_a_round_survey_is_centerd_and_fits(lon: float, lat: float, radius: float):
    order = 8 if radius > 10 else ORDER
    center, icrs, fov = initial_view(moc(disk(lon, lat, radius, order), order=order), "equatorial")
    assert apart(center, (lon, lat)) < 0.1 * radius + 0.12
    assert center == pytest.approx(icrs)
    assert 2 * radius < fov < 2.4 * radius + 0.5


@pytest.mark.parametrize(
    ("frame", "astropys"), [("galactic", "galactic"), ("ecliptic", "barycentricmeanecliptic")]
)
def test_the_center_in_icrs_is_that_of_astropy(frame: str, astropys: str):
    center, icrs, _ = initial_view(moc(disk(123.0, -20.0, 1.0)), frame)
    sky = SkyCoord(*center, unit="deg", frame=astropys).icrs
    assert apart(icrs, (sky.ra.deg, sky.dec.deg)) < 1e-9


def test_the_center_lies_in_the_survey_even_if_that_has_a_hole_there():
    ring = np.setdiff1d(disk(30.0, 10.0, 4.0), disk(30.0, 10.0, 3.0))
    (lon, lat), _, fov = initial_view(moc(ring), "equatorial")
    assert 2.8 < apart((lon, lat), (30.0, 10.0)) < 4.2
    assert fov > 2 * 6.5  # as far as the other side of the ring


def test_two_fields_on_opposite_sides_show_one_of_them():
    two = moc(disk(40.0, 0.0, 1.0), disk(220.0, 0.0, 1.0))
    (lon, lat), _, fov = initial_view(two, "equatorial")
    assert min(apart((lon, lat), (40.0, 0.0)), apart((lon, lat), (220.0, 0.0))) < 1.5
    assert fov == 180.0


def test_the_whole_sky_is_180_degrees_wide():
    cells = np.arange(12 * 4**4)
    _, _, fov = initial_view(moc(cells, order=4), "equatorial")
    assert fov == 180.0


def test_one_small_cell_is_seen():
    npix = 12 * 4**16 // 3
    (lon, lat), _, fov = initial_view(moc(np.array([npix]), order=16), "equatorial")
    there = healpy.pix2ang(1 << 16, npix, nest=True, lonlat=True)
    cell = np.degrees(healpy.nside2resol(1 << 14))
    assert apart((lon, lat), there) < cell
    assert 0 < fov < 4 * cell


def test_the_initial_view_of_an_empty_moc_is_the_whole_sky():
    assert initial_view(MOC.new_empty(5), "equatorial") == ((0.0, 0.0), (0.0, 0.0), 180.0)

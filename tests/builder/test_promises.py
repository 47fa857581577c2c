"""Pixels at default settings agree with a sky that is known analytically.

Positions of output pixels come from healpy and astropy.wcs, not from the code under test.
"""

import healpy
import numpy as np
import pytest

from hipsgen.sky.tiles import pixel_area
from hipsgen.survey.survey import Survey
from tests.conftest import Build, StarField
from tests.oracles import interleaved

PLACES = {
    "anywhere": (150.1, 2.2, "ICRS", "equatorial"),
    "on the equator": (30.0, 0.0, "ICRS", "equatorial"),
    "where HEALPix changes its formula": (75.0, 41.8103, "ICRS", "equatorial"),
    "there in the south": (200.0, -41.8103, "ICRS", "equatorial"),
    "across RA 0": (0.0, -31.0, "ICRS", "equatorial"),
    "at the north pole": (0.0, 90.0, "ICRS", "equatorial"),
    "at the south pole": (123.0, -90.0, "ICRS", "equatorial"),
    "on a corner of base faces": (90.0, 41.8103, "ICRS", "equatorial"),
    "in the galactic frame": (266.4, -28.9, "ICRS", "galactic"),
    "in the ecliptic frame": (266.4, -28.9, "ICRS", "ecliptic"),
    "a galactic image": (33.0, 20.0, "galactic", "equatorial"),
}
ASTROPYS = {
    "equatorial": "icrs",
    "galactic": "galactic",
    "ecliptic": "barycentricmeanecliptic",
}
# positions off the pixel grid, all far apart
STARS = [(100.13 + 133.37 * i, 100.71 + 133.61 * j, 1000.0) for i in range(4) for j in range(4)]
HOLE = (slice(330, 350), slice(160, 180))
LONE = (slice(40, 41), slice(300, 301))


def pixels_of(survey: Survey, field: StarField) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image positions x, y and values of all pixels of all leaf tiles."""
    from astropy.coordinates import SkyCoord

    width = survey.tile_width
    xs, ys, values = [], [], []
    for tile in survey.tiles_of(survey.order):
        value = survey.values(tile)
        assert value is not None
        index = tile.npix * width**2 + interleaved(width)
        lon, lat = healpy.pix2ang((1 << tile.order) * width, index, nest=True, lonlat=True)
        frame = ASTROPYS[survey.frame]
        x, y = field.wcs.world_to_pixel(SkyCoord(lon, lat, unit="deg", frame=frame))
        near = (np.abs(x - field.size / 2) < field.size) & (np.abs(y - field.size / 2) < field.size)
        xs.append(x[near])
        ys.append(y[near])
        values.append(value[near].astype(float))
    return np.concatenate(xs), np.concatenate(ys), np.concatenate(values)


@pytest.mark.parametrize("place", PLACES)
def test_position_flux_peak_and_holes_are_right(place: str, build: Build, tmp_path) -> None:
    lon, lat, image_frame, frame = PLACES[place]
    field = StarField(lon, lat, stars=STARS, holes=[HOLE, LONE], frame=image_frame)
    built = build([field.write(tmp_path / "stars.fits")], frame=frame)
    assert built.summary.order == 11
    x, y, value = pixels_of(built.survey, field)
    known = ~np.isnan(value)
    ratio = pixel_area(11, 512) / (field.scale * 3600) ** 2

    shifts, fluxes, peaks = [], [], []
    for x0, y0, peak in STARS:
        near = known & (np.hypot(x - x0, y - y0) < 9 * field.sigma)
        total = value[near].sum()
        shifts.append(
            ((x[near] * value[near]).sum() / total - x0, (y[near] * value[near]).sum() / total - y0)
        )
        fluxes.append(total * ratio / (2 * np.pi * field.sigma**2 * peak) - 1)
        top = near & (np.hypot(x - x0, y - y0) < 0.75)
        peaks.append(value[top] / field.at(x[top], y[top]) - 1)
    assert np.abs(shifts).max() < 0.002, "astrometric shift in input pixels"
    assert abs(np.mean(fluxes)) < 1e-4, "total flux"
    assert np.abs(np.concatenate(peaks)).max() < 0.005, "star peak"

    for rows, cols in (HOLE, LONE):
        outside = np.maximum(
            np.maximum(cols.start - 0.5 - x, x - (cols.stop - 0.5)),
            np.maximum(rows.start - 0.5 - y, y - (rows.stop - 0.5)),
        )
        near = outside < 5
        assert np.isnan(value[near & (outside < -0.001)]).all(), "the hole is empty"
        # an isolated pixel that is nearest to no output pixel is preserved by the closest one
        room = 0.001 if rows != LONE[0] else 0.75
        assert known[near & (outside > room)].all(), "the hole has not grown"
        count = (near & ~known).sum() * ratio
        size = (rows.stop - rows.start) * (cols.stop - cols.start)
        assert abs(np.sqrt(count) - np.sqrt(size)) < 0.5, "the hole has kept its size"
    edge = (
        np.maximum(np.abs(x - (field.size - 1) / 2), np.abs(y - (field.size - 1) / 2))
        - field.size / 2
    )
    assert not known[edge > 0.001].any(), "the edge has not grown"


def test_surface_brightness_is_the_same_at_every_order(build: Build, tmp_path) -> None:
    field = StarField(10.0, 20.0, stars=STARS, background=50.0)
    survey = build([field.write(tmp_path / "a.fits")]).survey
    truth = field.image().astype(float)
    for order in range(survey.order, 2, -1):
        values = np.concatenate([survey.values(t).ravel() for t in survey.tiles_of(order)])
        inside = values[~np.isnan(values)].astype(float)
        area = inside.size * pixel_area(order, 512) / (truth.size * (field.scale * 3600) ** 2)
        if order > 7:
            assert inside.mean() == pytest.approx(truth.mean(), rel=0.02)
        assert area == pytest.approx(1.0, rel=0.5 if order < 7 else 0.1), (
            f"footprint at order {order}"
        )


def test_coarse_tiles_average_the_input_instead_of_aliasing(build: Build, tmp_path) -> None:
    rng = np.random.default_rng(7)
    field = StarField(10.0, 20.0)
    path = field.write(tmp_path / "noise.fits")
    from astropy.io import fits

    with fits.open(path, mode="update") as hdus:
        hdus[0].data[:] = rng.normal(size=hdus[0].data.shape)
    survey = build([path], order=8, name="coarse").survey
    values = np.concatenate([survey.values(t).ravel() for t in survey.tiles_of(8)])
    inside = values[~np.isnan(values)]
    # each averages 64 input pixels: noise falls by 8, and further only by interpolation
    assert 0.7 / 8 < inside.std() < 1.05 / 8


def test_an_isolated_survey_smaller_than_a_pixel_is_seen_at_order_0(build: Build, tmp_path) -> None:
    field = StarField(10.0, 20.0, size=60, background=3.0)
    survey = build([field.write(tmp_path / "small.fits")]).survey
    for order in range(survey.order + 1):
        values = np.concatenate([survey.values(t).ravel() for t in survey.tiles_of(order)])
        assert np.nanmax(values) == pytest.approx(3.0)

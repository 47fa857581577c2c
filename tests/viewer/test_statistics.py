"""Statistics from tiles: for any region and any served survey, at a bounded cost."""

import time

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.units import deg

from hipsgen.errors import CoaddError
from hipsgen.sky.polygon import to_vectors
from hipsgen.survey.provenance import Provenance
from tests.viewer.conftest import client_for, other_coadd
from tests.viewer.small_hips import DEC, DEEPEST, RA, make_survey, value_at
from viewer.coadds.statistics import MeasuredRegion, TileSurvey, tile_statistics


def survey(requested: list, **settings) -> TileSurvey:
    """A survey without tiles that records which tiles are requested."""

    def read_tile(tile):
        requested.append(tile)

    defaults = {"order": 16, "order_min": 0, "width": 512, "frame": "equatorial", "unit": "nJy"}
    return TileSurvey(read_tile, **{**defaults, "pixel_scale": 0.0, **settings})


@pytest.mark.parametrize("radius", [0.01, 1.0, 30.0])
def test_a_circle_contains_what_is_within_its_radius(radius):
    region = MeasuredRegion(10.0, 20.0, 2 * radius, 2 * radius, True)
    center, directions = SkyCoord(10.0, 20.0, unit="deg"), np.arange(0, 360, 45) * deg
    for share, is_inside in ((0.99, True), (1.01, False)):
        around = center.directional_offset_by(directions, share * radius * deg)
        inside = region.contains(to_vectors(around.ra.deg, around.dec.deg))
        assert inside.tolist() == [is_inside] * 8


@pytest.mark.parametrize("sides", [(20.0, 1e-6), (1e-6, 20.0), (20.0, 20.0), (1e-3, 1e-3)])
def test_a_region_of_any_shape_costs_few_tiles(sides):
    requested: list = []
    start = time.process_time()
    tile_statistics(survey(requested), MeasuredRegion(10.0, 20.0, *sides, False))
    assert 0 < len(requested) <= 64
    assert time.process_time() - start < 2


def test_a_region_of_too_many_tiles_is_refused():
    with pytest.raises(CoaddError, match="too large for tiles of order 12"):
        tile_statistics(survey([], order_min=12), MeasuredRegion(10.0, 20.0, 20.0, 1e-6, False))


@pytest.mark.parametrize(
    "properties",
    [
        {"hips_frame": "horizontal"},
        {"hips_order": "1e300"},
        {"hips_order": "-1"},
        {"hips_order_min": "9"},
        {"hips_tile_width": "1e9"},
        {"hips_tile_width": "100"},
        {"hips_tile_width": "-512"},
    ],
)
def test_unsupported_tilings_are_no_server_error(tmp_path, properties):
    make_survey(tmp_path / "odd", **properties)
    client = client_for(tmp_path)
    place = f"survey=odd&ra={RA}&dec={DEC}"
    for path in (f"statistics?{place}&radius=9", f"profile?{place}&ra2={RA}&dec2={DEC + 0.1}"):
        answer = client.get(f"/api/{path}")
        assert answer.status_code == 404
        assert "cannot be measured" in answer.json()["error"]


@pytest.mark.parametrize(
    ("frame", "astropys"),
    [("equatorial", "icrs"), ("galactic", "galactic"), ("ecliptic", "barycentricmeanecliptic")],
)
def test_tiles_are_measured_in_the_frame_of_their_survey(tmp_path, frame, astropys):
    folder = make_survey(tmp_path / "band_g", hips_frame=frame)
    there = SkyCoord(RA + 0.3, DEC, unit="deg", frame=astropys).icrs
    place = f"ra={there.ra.deg}&dec={there.dec.deg}"
    end = f"ra2={there.ra.deg}&dec2={there.dec.deg + 0.5}"
    answer = client_for(tmp_path).get(f"/api/profile?survey=band_g&{place}&{end}").json()
    (found,) = answer["profiles"]
    values = dict(zip(found["distance"], found["value"], strict=True))
    assert values[0.0] == pytest.approx(value_at(folder, RA + 0.3, DEC, DEEPEST))


def test_tiles_of_another_width_than_declared_are_ignored(tmp_path):
    make_survey(tmp_path / "odd", hips_tile_width="256")
    client = client_for(tmp_path)
    answer = client.get(f"/api/statistics?survey=odd&ra={RA}&dec={DEC}&radius=9").json()
    assert answer["statistics"][0]["count"] == 0


def test_tiles_are_measured_if_the_coadd_is_gone(tmp_path):
    folder = make_survey(tmp_path / "band_g")
    gone = other_coadd(uri=(tmp_path / "gone.fits").as_uri())
    (folder / "provenance.fits").write_bytes(Provenance([gone]).to_bytes())
    client = client_for(tmp_path, originals=[str(tmp_path)])
    place = f"survey=band_g&ra={RA + 0.3}&dec={DEC}"
    for path, of in (("statistics", "&radius=900"), ("profile", f"&ra2={RA + 0.6}&dec2={DEC}")):
        answer = client.get(f"/api/{path}?{place}{of}").json()
        (found,) = answer[f"{path.removesuffix('s')}s"]
        assert (found["source"], found["error"]) == ("tiles", "the file does not exist")
    values = dict(zip(found["distance"], found["value"], strict=True))
    expected = value_at(folder, RA + 0.3, DEC, DEEPEST)
    assert values[0.0] == pytest.approx(expected, nan_ok=True)
    assert sum(value is not None for value in values.values()) > 5


def test_a_survey_that_cannot_be_measured_does_not_affect_others(tmp_path):
    make_survey(tmp_path / "band_g")
    make_survey(tmp_path / "pictures", hips_tile_format="png")
    client = client_for(tmp_path)
    place = f"ra={RA}&dec={DEC}&radius=900"
    both = client.get(f"/api/statistics?survey=pictures&survey=band_g&{place}").json()
    pictures, band_g = both["statistics"]
    assert "no FITS tiles" in pictures["error"]
    assert band_g["count"] > 0
    assert client.get(f"/api/statistics?survey=pictures&{place}").status_code == 404

"""Provenance: the table gives back what went in, and answers by position as brute force does."""

import io
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.errors import SurveyError
from hipsgen.sky.polygon import from_tangent_plane, to_lonlat, to_vectors
from hipsgen.survey.provenance import Provenance, UsedCoadd
from tests.profiles import examples


def patch(lon: float, lat: float, side: float, turn: float = 0.0, **words: object) -> UsedCoadd:
    """A square of `side` degrees round a position."""
    angles = np.radians(turn) + np.array([0.25, 0.75, 1.25, 1.75]) * np.pi
    half = np.tan(np.radians(side / 2)) * np.sqrt(2)
    plane = half * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    corners = from_tangent_plane(plane, to_vectors(lon, lat))
    polygon = tuple(zip(*(a.tolist() for a in to_lonlat(corners)), strict=True))
    return UsedCoadd(**{"uri": f"file:///{lon}_{lat}", "polygon": polygon, **words})


def inside(coadd: UsedCoadd, point: np.ndarray) -> bool:
    """A convex polygon lies on one side of all its great circles."""
    corners = to_vectors(*zip(*coadd.polygon, strict=True))
    sides = np.cross(corners, np.roll(corners, -1, axis=0)) @ point
    near = corners.mean(axis=0) @ point > 0
    return bool(near and ((sides > 0).all() or (sides < 0).all()))


FULL = UsedCoadd(
    uri="file:///data/gr%C3%B6%C3%9Fe%23.fits",
    hdu="3",
    data_id={"skymap": "rings", "tract": 4848, "patch": 3, "band": "r"},
    dataset_type="deepCoadd_calexp",
    run="u/someone/w_2026_01",
    dataset_id="6d1c7b1e-6f0f-5b53-9a2e-1d8c3a6c9f10",
    band="r",
    polygon=((359.9, -1.0), (0.1, -1.0), (0.1, 1.0), (359.9, 1.0)),
    unit_in="adu",
    scale=57.5439937,
    calibration="PhotoCalib",
    excluded_planes="NO_DATA",
    t_min=60000.25,
    t_max=60001.5,
)


def through_a_file(*coadds: UsedCoadd) -> tuple[UsedCoadd, ...]:
    return Provenance.from_bytes(Provenance(coadds).to_bytes()).coadds


def test_every_field_comes_back():
    (back,) = through_a_file(FULL)
    np.testing.assert_allclose(back.polygon, FULL.polygon, rtol=0, atol=1e-8)
    from dataclasses import asdict

    assert {**asdict(back), "polygon": ()} == {**asdict(FULL), "polygon": ()}


@pytest.mark.parametrize(
    "text",
    ["größe ☉ 🌌", "back\\slash \\u00fc \\n", "quote \" and ' end", "tab\tnew\nline", "日本"],
)
def test_any_text_comes_back(text: str):
    """FITS tables hold ASCII; file names and runs may not."""
    (back,) = through_a_file(
        UsedCoadd(uri=f"file:///{text}x", run=f"{text}x", band=text, data_id={"a": text, text: 1})
    )
    assert (back.uri, back.run, back.band) == (f"file:///{text}x", f"{text}x", text)
    assert back.data_id == {"a": text, text: 1}


def test_coadds_of_different_lengths_keep_their_order():
    coadds = [patch(10.0 * k, 5.0, 0.1 + k, run="x" * k, hdu=str(k)) for k in range(12)]
    back = through_a_file(*coadds)
    assert [c.hdu for c in back] == [c.hdu for c in coadds]
    assert [c.run for c in back] == [c.run for c in coadds]


def test_times_that_are_not_known_stay_unknown():
    (back,) = through_a_file(UsedCoadd(uri="a"))
    assert np.isnan([back.t_min, back.t_max]).all()
    assert back.polygon == ()


def test_no_coadd_makes_an_empty_table():
    assert through_a_file() == ()
    assert Provenance(()).at(10.0, 10.0) == []


def test_the_same_coadds_make_the_same_bytes():
    assert Provenance([FULL]).to_bytes() == Provenance([FULL]).to_bytes()


def test_the_table_is_obscore_where_that_has_a_word():
    with fits.open(io.BytesIO(Provenance([FULL]).to_bytes())) as hdus:
        table = hdus["PROVENANCE"]
        row = table.data[0]
        assert row["s_region"].startswith("POLYGON ICRS 359.90000000 -1.00000000 0.10000000 ")
        assert row["s_ra"] % 360 == pytest.approx(0.0, abs=1e-9)
        assert row["s_fov"] == pytest.approx(2.0, abs=0.02)
        assert row["access_url"] == FULL.uri
        assert table.columns["t_min"].unit == "d"


REGIONS = {
    "RA 0": (0.0, 10.0),
    "north pole": (0.0, 90.0),
    "beside the north pole": (77.0, 89.9),
    "south pole": (0.0, -90.0),
    "equator": (180.0, 0.0),
    "anywhere": (123.0, -45.0),
}


@pytest.mark.parametrize("name", REGIONS)
def test_positions_find_what_brute_force_finds(name: str):
    lon, lat = REGIONS[name]
    rng = np.random.default_rng(8)
    spots = from_tangent_plane(np.radians(rng.uniform(-1, 1, (40, 2))), to_vectors(lon, lat))
    coadds = [
        patch(*map(float, to_lonlat(spot)), side=rng.uniform(0.05, 0.8), turn=rng.uniform(0, 90))
        for spot in spots
    ]
    provenance = Provenance(through_a_file(*coadds))
    found = 0
    for point in from_tangent_plane(np.radians(rng.uniform(-1, 1, (60, 2))), to_vectors(lon, lat)):
        here = provenance.at(*map(float, to_lonlat(point)))
        expected = [c for c in provenance.coadds if inside(c, point)]
        assert here == expected
        found += len(here)
    assert found > 50


def test_the_other_side_of_the_sky_finds_nothing():
    provenance = Provenance([patch(30.0, 40.0, 1.0), patch(200.0, -80.0, 5.0)])
    for lon, lat in ((210.0, -40.0), (20.0, 80.0), (30.0, 41.0)):
        assert provenance.at(lon, lat) == []


def test_a_coadd_without_polygon_is_everywhere():
    provenance = Provenance([UsedCoadd(uri="sky")])
    for lon, lat in ((0.0, 90.0), (0.0, -90.0), (180.0, 0.0), (359.9, 12.0)):
        assert len(provenance.at(lon, lat)) == 1


def other_table() -> bytes:
    buffer = io.BytesIO()
    table = fits.BinTableHDU.from_columns([fits.Column("a", "D", array=[1.0])], name="PROVENANCE")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
    return buffer.getvalue()


def image_only() -> bytes:
    buffer = io.BytesIO()
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data", [b"", b"garbage" * 999, other_table(), image_only()], ids=["", "text", "other", "image"]
)
def test_something_else_is_a_survey_error(data: bytes):
    with pytest.raises(SurveyError, match="not a provenance table"):
        Provenance.from_bytes(data)


TABLE = Provenance([FULL, patch(30.0, 40.0, 1.0)]).to_bytes()


@pytest.mark.filterwarnings("ignore")
@examples(3)
@given(st.integers(0, len(TABLE)), st.integers(0, 30), st.binary(max_size=99))
def test_a_table_with_other_bytes_in_it_is_read_or_refused(place: int, many: int, other: bytes):
    spoilt = TABLE[:place] + other + TABLE[place + many :]
    with suppress(SurveyError):
        Provenance.from_bytes(spoilt).at(30.0, 40.0)


@pytest.mark.parametrize("data_id", [{"tract": float("nan")}, [], 1, None])
def test_a_data_id_is_an_object_of_json(data_id: object):
    table = Provenance([replace(FULL, data_id=data_id)]).to_bytes()
    with pytest.raises(SurveyError, match="not a provenance table"):
        Provenance.from_bytes(table)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lon", [float("nan"), float("inf")])
def test_a_polygon_of_no_place_is_refused(lon: float):
    data = Provenance([replace(FULL, polygon=((lon, 1.0), (179.0, 0.0), (181.0, 0.0)))])
    with pytest.raises(SurveyError, match="s_region"):
        Provenance.from_bytes(data.to_bytes())


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2]])
def test_a_data_id_of_more_than_words_and_numbers_is_refused(value: object):
    with pytest.raises(SurveyError, match="data_id"):
        Provenance.from_bytes(Provenance([replace(FULL, data_id={"tract": value})]).to_bytes())

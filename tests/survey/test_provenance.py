"""Provenance: the table gives back what went in, and answers by position as brute force does."""

import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from hipsgen.coadd import CoaddRef, Polygon
from hipsgen.errors import SurveyError
from hipsgen.sky.polygon import from_tangent_plane, to_lonlat, to_vectors
from hipsgen.survey.provenance import LeftOut, Provenance, UsedCoadd
from tests.profiles import examples


def patch(lon: float, lat: float, side: float, turn: float = 0.0, **words: Any) -> UsedCoadd:
    """A square of `side` degrees round a position."""
    angles = np.radians(turn) + np.array([0.25, 0.75, 1.25, 1.75]) * np.pi
    half = np.tan(np.radians(side / 2)) * np.sqrt(2)
    plane = half * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    corners = from_tangent_plane(plane, to_vectors(lon, lat))
    polygon = Polygon(zip(*(a.tolist() for a in to_lonlat(corners)), strict=True))
    return UsedCoadd(CoaddRef(f"file:///{lon}_{lat}", "1", polygon=polygon, **words))


def inside(coadd: UsedCoadd, point: np.ndarray) -> bool:
    """A convex polygon lies on one side of all its great circles."""
    corners = to_vectors(*zip(*coadd.ref.polygon, strict=True))
    sides = np.cross(corners, np.roll(corners, -1, axis=0)) @ point
    near = corners.mean(axis=0) @ point > 0
    return bool(near and ((sides > 0).all() or (sides < 0).all()))


REF = CoaddRef(
    uri="file:///data/gr%C3%B6%C3%9Fe%23.fits",
    identity="20480-1767225600000000000",
    hdu="3",
    data_id=(("band", "r"), ("patch", 3), ("skymap", "rings"), ("tract", 4848)),
    dataset_type="deepCoadd_calexp",
    run="u/someone/w_2026_01",
    dataset_id="6d1c7b1e-6f0f-5b53-9a2e-1d8c3a6c9f10",
    band="r",
    polygon=Polygon([(359.9, -1.0), (0.1, -1.0), (0.1, 1.0), (359.9, 1.0)]),
)
FULL = UsedCoadd(
    REF,
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
    np.testing.assert_allclose(back.ref.polygon, REF.polygon, rtol=0, atol=1e-8)
    assert replace(back, ref=replace(back.ref, polygon=REF.polygon)) == FULL


def test_inputs_that_were_left_out_come_back():
    left_out = (LeftOut(REF, "no WCS"), LeftOut(CoaddRef("a file that is none.fits", ""), "gone"))
    assert Provenance.from_bytes(Provenance([], left_out).to_bytes()).left_out == left_out


def with_columns(table: bytes, change: Callable[[fits.ColDefs], fits.ColDefs]) -> bytes:
    """A provenance table with other columns."""
    with fits.open(io.BytesIO(table)) as hdus:
        changed = fits.BinTableHDU.from_columns(change(hdus["PROVENANCE"].columns))
    changed.name = "PROVENANCE"
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), changed]).writeto(buffer)
    return buffer.getvalue()


def test_a_table_of_0_1_0_has_no_identities():
    table = with_columns(Provenance([FULL]).to_bytes(), lambda columns: columns.del_col("identity"))
    (back,) = Provenance.from_bytes(table).coadds
    assert back.ref.identity == ""
    assert back.ref.key == f"{REF.uri}[3] "
    assert back.ref.dataset_id == REF.dataset_id


@pytest.mark.parametrize(
    "text",
    ["größe ☉ 🌌", "back\\slash \\u00fc \\n", "quote \" and ' end", "tab\tnew\nline", "日本"],
)
def test_any_text_comes_back(text: str):
    """FITS tables hold ASCII; file names and runs may not."""
    (back,) = through_a_file(
        patch(1.0, 2.0, 0.1, run=f"{text}x", band=text, data_id=(("a", text), (text, 1)))
    )
    assert (back.ref.run, back.ref.band) == (f"{text}x", text)
    assert dict(back.ref.data_id) == {"a": text, text: 1}


@pytest.mark.parametrize("name", ["größe ☉ 🌌", "back\\slash \\u00fc"])
def test_any_uri_comes_back(name: str):
    (back,) = through_a_file(UsedCoadd(CoaddRef(f"file:///{name}x", name)))
    assert (back.ref.uri, back.ref.identity) == (f"file:///{name}x", name)


def test_coadds_of_different_lengths_keep_their_order():
    coadds = [patch(10.0 * k, 5.0, 0.1 + k, run="x" * k, hdu=str(k)) for k in range(12)]
    back = through_a_file(*coadds)
    assert [c.ref.hdu for c in back] == [c.ref.hdu for c in coadds]
    assert [c.ref.run for c in back] == [c.ref.run for c in coadds]


def test_times_that_are_not_known_stay_unknown():
    (back,) = through_a_file(UsedCoadd(CoaddRef("a", "1")))
    assert np.isnan([back.t_min, back.t_max]).all()
    assert back.ref.polygon == ()


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
        assert row["access_url"] == REF.uri
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
    provenance = Provenance([UsedCoadd(CoaddRef("sky", "1"))])
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
    damaged = TABLE[:place] + other + TABLE[place + many :]
    with suppress(SurveyError):
        Provenance.from_bytes(damaged).at(30.0, 40.0)


def with_text(column: str, text: str) -> bytes:
    """A table of one coadd with another text in a column."""

    def change(columns: fits.ColDefs) -> fits.ColDefs:
        names = [name for name in columns.names if name != column]
        other = fits.Column(column, f"{len(text)}A", array=np.array([text]))
        return fits.ColDefs([*(columns[name] for name in names), other])

    return with_columns(Provenance([FULL]).to_bytes(), change)


@pytest.mark.parametrize(
    "data_id", ['{"tract": NaN}', "[]", "1", "null", '{"tract": {"a": 1}}', '{"tract": [1, 2]}']
)
def test_a_data_id_is_an_object_of_words_and_numbers(data_id: str):
    with pytest.raises(SurveyError, match="not a provenance table"):
        Provenance.from_bytes(with_text("data_id", data_id))


@pytest.mark.parametrize("lon", ["nan", "inf"])
def test_a_polygon_of_no_place_is_refused(lon: str):
    with pytest.raises(SurveyError, match="s_region"):
        Provenance.from_bytes(with_text("s_region", f"POLYGON ICRS {lon} 1 179 0 181 0"))

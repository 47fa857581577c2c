"""Provenance tables of the viewer: rows are found by position and read one at a time."""

import asyncio
import json
import os
import tempfile
from dataclasses import replace

import numpy as np
import pytest

from hipsgen.coadd import CoaddRef, Polygon
from hipsgen.errors import SurveyError
from hipsgen.sky.polygon import to_lonlat, to_vectors
from hipsgen.survey import paths
from hipsgen.survey.provenance import LeftOut, Provenance, UsedCoadd
from tests.viewer.conftest import COADD, REF, client_for
from tests.viewer.small_hips import DEC, RA, make_survey
from viewer.api import coadds as endpoints
from viewer.coadds import positions, provenance
from viewer.coadds.provenance import ProvenanceTables

TIMED = replace(COADD, t_min=61000.0, t_max=61001.0)  # NaN is not equal to itself
(STORED,) = Provenance.from_bytes(Provenance([TIMED]).to_bytes()).coadds


@pytest.fixture
def made(monkeypatch) -> list[int]:
    """Number of rows of each index that is made."""
    counts: list[int] = []
    original = provenance.keep_index

    def keep_index(roots, folder, data):
        counts.append((len(data) - 40) // 32)
        return original(roots, folder, data)

    monkeypatch.setattr(provenance, "keep_index", keep_index)
    return counts


@pytest.fixture
def stored(monkeypatch) -> None:
    """Store the smallest index, too."""
    monkeypatch.setattr(positions, "MIN_STORED", 1)


def at(tables: ProvenanceTables, folder, ra: float = RA, dec: float = DEC) -> list[UsedCoadd]:
    return asyncio.run(tables.at(folder, ra, dec))


def write(folder, *coadds: UsedCoadd) -> None:
    """Replace the table, as a build does."""
    new = folder / "new"
    new.write_bytes(Provenance(coadds).to_bytes())
    new.replace(folder / "provenance.fits")


def test_a_table_is_read_once_and_again_when_it_changes(tmp_path, made):
    write(tmp_path, COADD)
    tables = ProvenanceTables([tmp_path])

    async def ask(times):
        answers = (tables.at(tmp_path, RA, DEC) for _ in range(times))
        return [len(coadds) for coadds in await asyncio.gather(*answers)]

    # at the same time, and from another event loop
    assert asyncio.run(ask(5)) == [1] * 5
    assert asyncio.run(ask(2)) == [1] * 2
    assert made == [1]
    write(tmp_path, COADD, COADD)
    assert asyncio.run(ask(1)) == [2]
    assert made == [1, 2]
    # few coadds need no file
    assert not (tmp_path / ".hipsgen").exists()


def scattered(count: int = 300) -> list[UsedCoadd]:
    """Coadds all over the sky, up to 60 degrees wide; some at the poles, one without outline."""
    rng = np.random.default_rng(5)
    coadds = [UsedCoadd(CoaddRef("whole", "sky"))]
    for number in range(count):
        center = rng.normal(size=3) * (1, 1, 4 if number % 3 == 0 else 1)
        center /= np.linalg.norm(center)
        across = np.cross(center, rng.normal(size=3))
        across *= np.radians(rng.uniform(0.01, 30)) / np.linalg.norm(across)
        sides = (across, np.cross(center, across), -across, -np.cross(center, across))
        lon, lat = to_lonlat(np.array([center + side for side in sides]))
        polygon = Polygon(zip(lon.tolist(), lat.tolist(), strict=True))
        data_id = (("patch", number), ("tract", 7))
        coadds.append(UsedCoadd(replace(REF, uri=f"{number}", polygon=polygon, data_id=data_id)))
    return coadds


@pytest.mark.usefixtures("stored")
def test_the_index_finds_the_same_coadds_as_the_whole_table(tmp_path):
    write(tmp_path, *scattered())
    table = Provenance.from_bytes((tmp_path / "provenance.fits").read_bytes())
    tables = ProvenanceTables([tmp_path])
    points = np.random.default_rng(6).normal(size=(200, 3))
    places = [*zip(*to_lonlat(points), strict=True), (0.0, 90.0), (77.0, -90.0), (0.0, 0.0)]

    async def all_places():
        return [await tables.at(tmp_path, float(ra), float(dec)) for ra, dec in places]

    vectors = to_vectors(*np.transpose(places))
    inside = np.array([coadd.holds(vectors) for coadd in table.coadds])
    for column, found in zip(inside.T, asyncio.run(all_places()), strict=True):
        expected = [table.coadds[row].ref for row in np.flatnonzero(column)]
        assert [coadd.ref for coadd in found] == expected
    assert inside.sum(axis=0).min() >= 1
    assert inside.sum(axis=0).max() > 5


@pytest.mark.usefixtures("stored")
def test_an_index_is_kept_for_other_processes_and_later_starts(tmp_path, made):
    write(tmp_path, TIMED)
    assert at(ProvenanceTables([tmp_path]), tmp_path) == [STORED]
    index = tmp_path / paths.POSITIONS
    before = index.stat().st_ino
    assert at(ProvenanceTables([tmp_path]), tmp_path) == [STORED]
    assert (made, index.stat().st_ino) == ([1], before)
    # of another table of the same size
    write(tmp_path, TIMED)
    assert at(ProvenanceTables([tmp_path]), tmp_path) == [STORED]
    assert made == [1, 1]
    assert index.stat().st_ino != before


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("damage", ["empty", "short", "long", "other"])
def test_a_damaged_index_is_made_again(tmp_path, made, damage):
    write(tmp_path, TIMED)
    at(ProvenanceTables([tmp_path]), tmp_path)
    index = tmp_path / paths.POSITIONS
    data = index.read_bytes()
    other = {"empty": b"", "short": data[:-1], "long": data + b"0", "other": b"x" * len(data)}
    index.write_bytes(other[damage])
    assert at(ProvenanceTables([tmp_path]), tmp_path) == [STORED]
    assert (made, index.read_bytes()) == ([1, 1], data)


@pytest.mark.usefixtures("stored")
def test_an_index_that_is_truncated_while_it_is_used_is_an_error(tmp_path):
    write(tmp_path, TIMED)
    tables = ProvenanceTables([tmp_path])
    at(tables, tmp_path)
    os.truncate(tmp_path / paths.POSITIONS, 50)
    with pytest.raises(SurveyError, match="positions is truncated"):
        at(tables, tmp_path)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("obstacle", ["read-only server", "no folder", "link", "no space"])
def test_an_index_that_cannot_be_stored_is_an_unlinked_file(tmp_path, monkeypatch, obstacle):
    survey, outside = tmp_path / "survey", tmp_path / "outside"
    survey.mkdir()
    outside.mkdir()
    write(survey, TIMED)
    if obstacle == "no folder":
        (survey / ".hipsgen").write_text("a file")
    if obstacle == "link":
        (survey / ".hipsgen").symlink_to(outside)
    if obstacle == "no space":
        monkeypatch.setattr(positions.tempfile, "tempdir", str(tmp_path / "nowhere"))
    tables = ProvenanceTables([survey], read_only=obstacle in ("read-only server", "no space"))
    for _ in range(2):
        assert at(tables, survey) == [STORED]
        assert at(tables, survey, RA + 9) == []
    assert not (survey / paths.POSITIONS).exists() or obstacle == "link"


def test_a_damaged_row_is_an_error_that_names_the_column(tmp_path):
    table = Provenance([COADD]).to_bytes()
    (tmp_path / "provenance.fits").write_bytes(table.replace(b'"tract"', b"!tract!"))
    with pytest.raises(SurveyError, match="not a provenance table"):
        at(ProvenanceTables([tmp_path]), tmp_path)
    (tmp_path / "provenance.fits").write_bytes(table[:-2880])
    with pytest.raises(SurveyError, match="not a provenance table"):
        at(ProvenanceTables([tmp_path]), tmp_path)


@pytest.mark.parametrize("in_memory", [10, 1 << 20])
def test_outlines_equal_those_of_the_table_without_duplicates(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(endpoints, "_MAX_IN_MEMORY", in_memory)
    monkeypatch.setattr(provenance, "_PIECE", 5000)  # bytes: several pieces
    coadds = scattered(40)
    survey = make_survey(tmp_path / "band_g")
    other_band = [replace(c, ref=replace(c.ref, band="r", uri="other")) for c in coadds]
    left_out = [LeftOut(CoaddRef("gone", ""), "no WCS")]
    (survey / "provenance.fits").write_bytes(
        Provenance([*coadds, *other_band], left_out).to_bytes()
    )
    answer = client_for(tmp_path).get("/api/patches?survey=band_g")
    assert answer.headers["content-type"] == "application/json"
    found = json.loads(answer.content)
    assert found["survey"] == "band_g"
    assert [(p["skymap"], p["tract"], p["patch"]) for p in found["patches"]] == [
        (None, 7, number) for number in range(40)
    ]
    for patch, coadd in zip(found["patches"], coadds[1:], strict=True):
        np.testing.assert_allclose(patch["polygon"], list(coadd.ref.polygon), atol=1e-8)


def test_no_space_for_outlines_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoints, "_MAX_IN_MEMORY", 10)
    write(make_survey(tmp_path / "band_g"), COADD)
    client = client_for(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    answer = client.get("/api/patches?survey=band_g")
    assert (answer.status_code, "set TMPDIR" in answer.json()["error"]) == (507, True)


def test_outlines_of_files_without_a_data_id_have_their_names(tmp_path):
    survey = make_survey(tmp_path / "band_g")
    named = UsedCoadd(CoaddRef("file:///data/a%20b.fits", "1", polygon=REF.polygon))
    write(survey, named)
    (patch,) = json.loads(client_for(tmp_path).get("/api/patches?survey=band_g").content)["patches"]
    assert (patch["name"], patch["tract"]) == ("a%20b.fits", None)


@pytest.mark.parametrize(
    "region", [b"POLYGON ICRS nan 1.0 ", b"POLYGON ICRS 1.0 ", b"CIRCLE ICRS 1"]
)
def test_a_damaged_outline_is_an_error(tmp_path, region):
    survey = make_survey(tmp_path / "band_g")
    table = Provenance([COADD]).to_bytes()
    start = table.index(b"POLYGON")
    damaged = table[:start] + region + b"\0" * 9 + table[start + len(region) + 9 :]
    (survey / "provenance.fits").write_bytes(damaged)
    answer = client_for(tmp_path).get("/api/patches?survey=band_g")
    assert (answer.status_code, "s_region" in answer.json()["error"]) == (404, True)

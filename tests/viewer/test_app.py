import json
import os
import threading

import pytest

from hipsgen.survey.properties import parse_properties
from hipsgen.survey.provenance import Provenance
from tests.viewer.conftest import COADD, client_for, other_coadd
from tests.viewer.small_hips import DEC, RA, make_survey
from viewer.coadds import description, pixels


def test_list_has_a_record_for_each_survey(client):
    text = client.get("/hips/list").text
    records = [parse_properties(record) for record in text.split("\n\n")]
    assert [record["obs_title"] for record in records] == [
        "Small survey band_g",
        "Small survey band_r",
    ]
    first = records[0]
    assert first["creator_did"] == "ivo://test/P/band_g"
    assert first["hips_release_date"] == "2026-01-02T03:04Z"
    assert first["hips_status"] == "private master clonableOnce"
    assert first["hips_service_url"] == "http://testserver/hips/band_g"
    # a line of its own: services that list other nodes look for it
    assert any(line.startswith("hips_status ") for line in text.splitlines())
    assert text.endswith("\n")
    assert not text.startswith("\n")


def test_list_uses_the_requested_host(client):
    answer = client.get("/hips/list", headers={"host": "sky.example:8443"})
    assert "http://sky.example:8443/hips/band_r\n" in answer.text


def test_list_is_empty_without_surveys(tmp_path):
    client = client_for(tmp_path)
    assert client.get("/hips/list").text == ""
    assert client.get("/api/surveys").json() == []


def test_api_surveys(client):
    first, second = client.get("/api/surveys").json()
    assert (first["name"], second["name"]) == ("band_g", "band_r")
    assert (first["provenance"], second["provenance"]) == (True, False)


def test_a_survey_that_appears_is_served(tmp_path):
    client = client_for(tmp_path)
    assert client.get("/hips/late/properties").status_code == 404
    make_survey(tmp_path / "late")
    assert client.get("/hips/late/properties").status_code == 200
    assert [s["name"] for s in client.get("/api/surveys").json()] == ["late"]


def test_coadds_at_a_position(client):
    found = client.get("/api/coadds", params={"survey": "band_g", "ra": RA, "dec": DEC}).json()
    (coadd,) = found["coadds"]
    assert coadd["data_id"] == dict(COADD.ref.data_id)
    assert (coadd["run"], coadd["uuid"]) == (COADD.ref.run, COADD.ref.dataset_id)
    assert coadd["uri"] == COADD.ref.uri
    assert coadd["t_min"] is None
    around = client.get("/api/coadds", params={"survey": "band_g", "ra": RA - 360, "dec": DEC})
    assert len(around.json()["coadds"]) == 1
    away = client.get("/api/coadds", params={"survey": "band_g", "ra": RA + 9, "dec": DEC})
    assert away.json()["coadds"] == []


def test_the_coadds_of_one_click_are_read_concurrently(tmp_path, monkeypatch):
    """Each read waits until all have begun; the results keep the order of the table."""
    survey = make_survey(tmp_path / "band_g")
    coadds = [other_coadd(uri=(tmp_path / f"gone{k}.fits").as_uri()) for k in range(4)]
    (survey / "provenance.fits").write_bytes(Provenance(coadds).to_bytes())
    together = threading.Barrier(len(coadds))

    def pixel_at(*words):
        together.wait(10)
        return pixels.pixel_at(*words)

    monkeypatch.setattr(description, "pixel_at", pixel_at)
    place = {"survey": "band_g", "ra": RA, "dec": DEC}
    client = client_for(tmp_path, originals=[str(tmp_path)])
    found = client.get("/api/pixel", params=place).json()["coadds"]
    assert [one["uri"] for one in found] == [coadd.ref.uri for coadd in coadds]
    assert [one["error"] for one in found] == ["the file does not exist"] * 4


def test_a_color_survey_lists_the_coadds_of_its_bands(tmp_path):
    rgb = {"hips_rgb_red": "r [ivo://test/P/band_r]", "hips_rgb_blue": "g [ivo://test/P/band_g]"}
    for name in ("band_g", "band_r", "band_z"):
        survey = make_survey(tmp_path / "one" / name)
        (survey / "provenance.fits").write_bytes(Provenance([COADD]).to_bytes())
    make_survey(tmp_path / "one" / "color", dataproduct_subtype="color", **rgb)
    # the same names in another folder are other surveys
    make_survey(tmp_path / "two" / "color2", dataproduct_subtype="color", **rgb)
    client = client_for(tmp_path)
    told = {survey["name"]: survey["provenance"] for survey in client.get("/api/surveys").json()}
    assert (told["color"], told["color2"]) == (True, False)
    found = client.get("/api/coadds", params={"survey": "color", "ra": RA, "dec": DEC}).json()
    assert len(found["coadds"]) == 2
    other = client.get("/api/coadds", params={"survey": "color2", "ra": RA, "dec": DEC})
    assert other.status_code == 404


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("survey=band_g", 400, "two numbers"),
        ("survey=band_g&ra=1", 400, "two numbers"),
        ("survey=band_g&ra=M31&dec=2", 400, "M31"),
        ("survey=band_g&ra=nan&dec=2", 400, "0 to 360"),
        ("survey=band_g&ra=inf&dec=2", 400, "0 to 360"),
        ("survey=band_g&ra=1&dec=90.1", 400, "-90 to 90"),
        ("ra=1&dec=2", 404, "no survey ''"),
        ("survey=other&ra=1&dec=2", 404, "'other'"),
        ("survey=band_r&ra=1&dec=2", 404, "no provenance"),
    ],
)
def test_coadds_errors_say_what_is_wrong(client, query, status, words):
    answer = client.get(f"/api/coadds?{query}")
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_broken_provenance_is_reported(tmp_path):
    make_survey(tmp_path / "a")
    (tmp_path / "a" / "provenance.fits").write_bytes(b"junk")
    answer = client_for(tmp_path).get("/api/coadds?survey=a&ra=1&dec=2")
    assert answer.status_code == 404
    assert "provenance.fits is not a provenance table" in answer.json()["error"]


def test_names_that_are_not_unicode_are_listed(tmp_path):
    survey = make_survey(tmp_path / "a")
    name = os.fsdecode(b"/data/\xff.fits")
    table = Provenance([other_coadd(uri=name)]).to_bytes()
    (survey / "provenance.fits").write_bytes(table)
    found = client_for(tmp_path).get("/api/coadds", params={"survey": "a", "ra": RA, "dec": DEC})
    assert json.loads(found.text)["coadds"][0]["uri"] == name


def test_cors_under_hips_only(client, built_static):
    for path in ("/hips/list", "/hips/band_g/properties", "/hips/nowhere/x"):
        assert client.get(path).headers["access-control-allow-origin"] == "*"
    client = client_for(static=built_static)
    for path in ("/", "/static/main.js", "/api/surveys", "/api/coadds", "/hipsters"):
        assert "access-control-allow-origin" not in client.get(path).headers


@pytest.fixture
def built_static(tmp_path):
    """A stand-in for the built page."""
    static = tmp_path / "static"
    (static / "aladin").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>page</title>")
    (static / "main.js").write_text("1")
    (static / "style.css").write_text("*{}")
    (static / "aladin" / "LICENSE").write_text("free")
    return static


def test_page_and_its_files(built_static):
    client = client_for(static=built_static)
    kinds = {
        "/": "text/html; charset=utf-8",
        "/static/main.js": "text/javascript; charset=utf-8",
        "/static/style.css": "text/css; charset=utf-8",
        "/static/aladin/LICENSE": "text/plain; charset=utf-8",
    }
    for path, kind in kinds.items():
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self' 'wasm-unsafe-eval';")
        assert "connect-src 'self' data: blob:" in policy


@pytest.mark.parametrize("inner", ["", "..%2fapp.py", "%2e%2e/app.py", "aladin", "nothing.js"])
def test_static_serves_nothing_else(built_static, inner):
    (built_static.parent / "app.py").write_text("secret")
    answer = client_for(static=built_static).get(f"/static/{inner}")
    assert answer.status_code == 404


def test_surveys_are_served_without_the_page(root, tmp_path):
    client = client_for(root, static=tmp_path / "none")
    answer = client.get("/")
    assert answer.status_code == 503
    assert "build_page.py" in answer.text
    assert client.get("/hips/band_g/properties").status_code == 200
    assert client.get("/static/main.js").status_code == 404

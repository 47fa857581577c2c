"""Coadds whose files hang, as on a file system that does not respond, do not delay the others."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from unittest import mock
from urllib.parse import urlencode

import numpy as np
import pytest

from hipsgen import files
from hipsgen.survey.provenance import Provenance
from tests.conftest import StarField
from tests.viewer.conftest import other_coadd
from tests.viewer.serving import TIMEOUT, served
from tests.viewer.small_hips import DEC, RA, make_survey
from viewer.api import coadds as endpoints
from viewer.api import routes
from viewer.coadds.description import describe_with_pixel
from viewer.http.limits import ReadPool

LIMIT = 0.7  # seconds for a coadd
QUERY = urlencode({"survey": "band_g", "ra": RA, "dec": DEC})


@contextmanager
def clicked(folder: Path, hanging: int, sound: int) -> Iterator[tuple[int, list[str], float]]:
    """Serve a survey of coadds that hang, then sound ones; yield port, URIs and pixel value."""
    coadds, field = [], StarField(RA, DEC, background=5.0, size=60, stars=[(30.0, 30.0, 9.0)])
    responds = threading.Event()

    def check_regular(path: Path) -> os.stat_result:
        if Path(path).name.startswith("hanging"):
            responds.wait(TIMEOUT)
        return files.check_regular(path)

    for number in range(hanging + sound):
        path = folder / f"{'hanging' if number < hanging else 'coadd'}{number}.fits"
        field.write(path)
        coadds.append(other_coadd(uri=path.as_uri(), dataset_id=f"{number}"))
    survey = make_survey(folder / "root" / "band_g")
    (survey / "provenance.fits").write_bytes(Provenance(coadds).to_bytes())
    x, y = field.wcs.world_to_pixel_values(RA, DEC)
    value = float(field.image()[int(y + 0.5), int(x + 0.5)])
    if sound:
        describe_with_pixel(coadds[-1], RA, DEC)  # loads the kernels
    with (
        mock.patch("hipsgen.images.staging.check_regular", check_regular),
        served(survey.parent, originals=[str(folder)]) as port,
    ):
        try:
            yield port, [coadd.ref.uri for coadd in coadds], value
        finally:
            responds.set()


def ask(port: int, more: str = "") -> dict:
    with closing(HTTPConnection("127.0.0.1", port, TIMEOUT)) as client:
        client.request("GET", f"/api/pixel?{QUERY}{more}")
        answer = client.getresponse()
        assert answer.status == 200
        return json.load(answer)


@pytest.mark.parametrize("hanging", [1, 6])
def test_a_coadd_that_hangs_is_an_error_and_delays_no_other(hanging, tmp_path, monkeypatch):
    monkeypatch.setattr(endpoints, "PIXEL_TIMEOUT", LIMIT)
    with clicked(tmp_path, hanging, 3) as (port, uris, value):
        found = ask(port)["coadds"]
        assert [one["uri"] for one in found] == uris
        errors = [one.get("error") for one in found]
        assert errors == [f"the coadd could not be read within {LIMIT:g} s"] * hanging + [None] * 3
        np.testing.assert_allclose([one["pixel"]["value"] for one in found[hanging:]], value)
        # another click does not wait again, nor does it occupy another thread
        begun = time.monotonic()
        again = ask(port)["coadds"]
        assert time.monotonic() - begun < LIMIT
        assert ["still being read" in one.get("error", "") for one in again] == [
            number < hanging for number in range(len(uris))
        ]


def test_a_stream_sends_the_coadds_first_and_then_each_pixel(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoints, "PIXEL_TIMEOUT", 3.0)
    with (
        clicked(tmp_path, 1, 2) as (port, uris, value),
        closing(HTTPConnection("127.0.0.1", port, TIMEOUT)) as client,
    ):
        begun = time.monotonic()
        client.request("GET", f"/api/pixel?{QUERY}&stream=1")
        answer = client.getresponse()
        assert answer.headers["content-type"] == "application/jsonl"
        first, *pixels = (json.loads(answer.readline()) for _ in range(3))
        assert time.monotonic() - begun < 2.5
        last, rest = json.loads(answer.readline()), answer.read()
    assert [one["uri"] for one in first["coadds"]] == uris
    assert (first["survey"], first["ra"], first["dec"]) == ("band_g", RA, DEC)
    assert {one["number"] for one in pixels} == {1, 2}
    assert {one["coadd"] for one in pixels} == {"1", "2"}
    np.testing.assert_allclose([one["pixel"]["value"] for one in pixels], value)
    assert last == {"number": 0, "coadd": "0", "error": "the coadd could not be read within 3 s"}
    assert rest == b""


def test_statistics_of_other_surveys_are_given_if_one_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(routes, "ReadPool", partial(ReadPool, timeout=3.0))
    make_survey(tmp_path / "root" / "band_r")
    path = f"/api/statistics?survey=band_g&survey=band_r&ra={RA}&dec={DEC}&radius=2000"
    with (
        clicked(tmp_path, 1, 0) as (port, _, _),
        closing(HTTPConnection("127.0.0.1", port, TIMEOUT)) as client,
    ):
        client.request("GET", path)
        answer = client.getresponse()
        assert answer.status == 200
        hanging, sound = json.load(answer)["statistics"]
    assert "could not be read within 3 s" in hanging["error"]
    assert sound["count"] > 100


def test_a_stream_for_no_survey_is_an_error(tmp_path):
    with (
        clicked(tmp_path, 0, 1) as (port, _, _),
        closing(HTTPConnection("127.0.0.1", port, TIMEOUT)) as client,
    ):
        client.request("GET", f"/api/pixel?survey=none&ra={RA}&dec={DEC}&stream=1")
        answer = client.getresponse()
        assert (answer.status, "no survey 'none'" in json.load(answer)["error"]) == (404, True)

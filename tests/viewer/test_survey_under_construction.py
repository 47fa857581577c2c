"""Surveys that are built, updated or damaged while they are served."""

import http.client
import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.viewer.conftest import COADD, client_for
from tests.viewer.serving import Wire, complaints, served
from tests.viewer.small_hips import DEC, FACE, RA
from viewer import surveys as module
from viewer.surveys import Surveys

TILE = f"Norder0/Dir0/Npix{FACE}.fits"


@pytest.fixture
def survey(root, tmp_path) -> Path:
    """A survey that the test may damage."""
    return shutil.copytree(root / "band_g", tmp_path / "root" / "band_g")


def put(path: Path, data: bytes) -> None:
    """Replace a file as a build does."""
    aside = path.with_name(".aside")
    aside.write_bytes(data)
    aside.replace(path)


def retitle(survey: Path, title: bytes) -> None:
    """Replace the properties, keeping the length and the modification time."""
    path = survey / "properties"
    before = path.stat()
    text = path.read_bytes().replace(b"Small survey band_g", title)
    put(path, text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_all_requests_agree_that_a_survey_is_gone_and_back(survey):
    client = client_for(survey.parent)

    def known() -> list[bool]:
        coadds = client.get("/api/coadds", params={"survey": "band_g", "ra": RA, "dec": DEC})
        return [
            client.get(f"/hips/band_g/{TILE}").status_code == 200,
            client.get("/hips/band_g/Moc.fits").status_code == 200,
            coadds.status_code == 200,
            client.get("/hips/list").text != "",
            client.get("/api/surveys").json() != [],
        ]

    for _ in range(2):
        assert known() == [True] * 5
        text = (survey / "properties").read_bytes()
        # an update begins, and ends
        (survey / "properties").unlink()
        assert known() == [False] * 5
        put(survey / "properties", text)


def test_a_survey_is_gone_as_soon_as_promised(survey):
    surveys = Surveys([survey.parent], fresh_seconds=0.3)
    assert surveys.get("band_g")
    (survey / "properties").unlink()
    time.sleep(0.35)
    assert surveys.get("band_g") is None
    assert surveys.all() == []


def test_an_update_that_ends_within_a_tick_of_the_clock_is_seen(survey):
    surveys = Surveys([survey.parent], 0.0)
    assert surveys.get("band_g").title == "Small survey band_g"
    retitle(survey, b"Great survey band_g")
    assert surveys.get("band_g").title == "Great survey band_g"
    retitle(survey, b"Great survey band_g")
    assert [s.title for s in surveys.all()] == ["Great survey band_g"]


def test_known_surveys_are_checked_without_a_scan(survey, monkeypatch):
    surveys = Surveys([survey.parent], 0.0)
    assert surveys.get("band_g")
    monkeypatch.setattr(module, "survey_folders", lambda root: pytest.fail("looked all over"))
    assert surveys.get("band_g")


def test_during_a_scan_other_requests_do_not_wait(survey, monkeypatch):
    surveys = Surveys([survey.parent], 0.0)
    known = surveys.all()
    looking, go_on = threading.Event(), threading.Event()
    original = module.survey_folders

    def slow(root, *depth):
        looking.set()
        assert go_on.wait(10)
        return original(root, *depth)

    monkeypatch.setattr(module, "survey_folders", slow)
    one = threading.Thread(target=surveys.all)
    one.start()
    assert looking.wait(10)
    assert surveys.all() == known
    assert surveys.get("band_g") == known[0]
    assert surveys.get("other") is None
    go_on.set()
    one.join()


def test_a_tile_replaced_during_a_request_is_always_whole(survey):
    tiles = [bytes([i]) * (400_000 + 150_000 * i) for i in range(4)]
    put(survey / TILE, tiles[0])
    stop = threading.Event()

    def build() -> None:
        for i in range(10**9):
            put(survey / TILE, tiles[i % 4])
            if stop.is_set():
                return

    with served(survey.parent) as port, complaints() as told:
        builder = threading.Thread(target=build)
        builder.start()
        wire = Wire(port)
        tags: dict[str, set[bytes]] = {}
        for _ in range(300):
            answer, body = wire.get(f"/hips/band_g/{TILE}")
            assert answer.status == 200
            tags.setdefault(answer.headers["etag"], set()).add(body)
        stop.set()
        builder.join()
        wire.close()
    assert told == []
    assert all(bodies <= set(tiles) and len(bodies) == 1 for bodies in tags.values())
    assert len(tags) > 1


def begun(port: int) -> http.client.HTTPResponse:
    """A response of which the client has read hardly anything."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    client.connect(("127.0.0.1", port))
    client.sendall(b"GET /hips/band_g/Moc.fits HTTP/1.1\r\nHost: here\r\n\r\n")
    answer = http.client.HTTPResponse(client, method="GET")
    answer.begin()
    client.close()
    return answer


def test_a_file_that_is_replaced_or_removed_is_sent_to_its_end(survey):
    size = 32 << 20
    put(survey / "Moc.fits", b"o" * size)
    with served(survey.parent) as port, complaints() as told:
        replaced, removed = begun(port), begun(port)
        put(survey / "Moc.fits", b"short")
        (survey / "Moc.fits").unlink()
        assert replaced.read() == removed.read() == b"o" * size
    assert told == []


def test_the_connection_is_closed_if_a_file_is_truncated(survey, caplog):
    put(survey / "Moc.fits", b"o" * (32 << 20))
    with served(survey.parent) as port, complaints() as told:
        answer = begun(port)
        os.truncate(survey / "Moc.fits", 10)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
        wire = Wire(port)
        assert wire.get(f"/hips/band_g/{TILE}")[0].status == 200
        wire.close()
    assert "Moc.fits was truncated while it was sent" in caplog.text
    assert "Traceback" not in "".join(told)


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "link out", "none"])
@pytest.mark.parametrize("name", ["properties", "provenance.fits", TILE])
def test_special_files_hide_only_themselves(kind, name, survey, tmp_path):
    shutil.copytree(survey, survey.parent / "other")
    (tmp_path / "outside").write_bytes((survey / name).read_bytes())
    (survey / name).unlink()
    if kind == "fifo":
        os.mkfifo(survey / name)
    elif kind == "folder":
        (survey / name).mkdir()
    elif kind == "loop":
        (survey / name).symlink_to(survey / name)
    elif kind == "link out":
        (survey / name).symlink_to(tmp_path / "outside")
    client = client_for(survey.parent)
    names = ["other"] if name == "properties" else ["band_g", "other"]
    assert [s["name"] for s in client.get("/api/surveys").json()] == names
    assert client.get(f"/hips/band_g/{name}").status_code == 404
    answer = client.get("/api/coadds", params={"survey": "band_g", "ra": RA, "dec": DEC})
    assert answer.status_code == (200 if name == TILE else 404)
    assert str(tmp_path) not in answer.text.replace(COADD.ref.uri, "")
    assert client.get(f"/hips/other/{TILE}").status_code == 200


@pytest.mark.parametrize("name", ["properties", "provenance.fits", TILE, "Norder0", "."])
def test_unreadable_files_hide_only_themselves(name, survey):
    shutil.copytree(survey, survey.parent / "other")
    (survey / name).chmod(0)
    if os.access(survey / name, os.R_OK):
        pytest.skip("this user may read everything")
    client = client_for(survey.parent)
    known = [s["name"] for s in client.get("/api/surveys").json()]
    assert known == (["other"] if name in ("properties", ".") else ["band_g", "other"])
    tile = client.get(f"/hips/band_g/{TILE}")
    assert tile.status_code == (200 if name == "provenance.fits" else 404)
    answer = client.get("/api/coadds", params={"survey": "band_g", "ra": RA, "dec": DEC})
    assert answer.status_code == (200 if "Norder0" in name else 404)
    assert client.get(f"/hips/other/{TILE}").status_code == 200
    (survey / name).chmod(0o755)


def test_links_to_forbidden_folders_hide_nothing_else(survey):
    cellar = survey / ".cellar"
    cellar.mkdir()
    for name in ("provenance.fits", "preview.jpg"):
        (survey / name).rename(cellar / name)
        (survey / name).symlink_to(cellar / name)
    cellar.chmod(0)
    if os.access(cellar, os.R_OK):
        pytest.skip("this user may read everything")
    client = client_for(survey.parent)
    (told,) = client.get("/api/surveys").json()
    assert (told["provenance"], told["preview"]) == (False, False)
    assert client.get("/hips/band_g/preview.jpg").status_code == 404
    cellar.chmod(0o755)

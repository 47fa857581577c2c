"""Content of /healthz, and what it does not reveal."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.viewer.serving import Wire, complaints, served
from tests.viewer.small_hips import make_survey
from viewer.http import health


@pytest.fixture
def places(tmp_path):
    return [make_survey(tmp_path / name).parent for name in ("one/band_g", "two/band_r")]


def test_healthy_while_every_folder_can_be_listed(places):
    with served(*places, token="long-enough-token") as port, complaints() as told:
        url = f"http://127.0.0.1:{port}/healthz"
        well = httpx.get(url)
        assert (well.status_code, well.text) == (200, "ok\n")
        assert well.headers["cache-control"] == "no-cache"
        assert httpx.head(url).status_code == 200
        assert httpx.post(url).status_code == 405
        shutil.move(places[1], places[1].with_name("away"))
        ill = httpx.get(url)
        assert ill.status_code == 503
        assert ill.text == "1 of 2 folders cannot be listed: No such file or directory\n"
        # nor can a file in place of the folder
        places[1].write_text("")
        assert httpx.get(url).text == "1 of 2 folders cannot be listed: Not a directory\n"
        assert httpx.head(url).status_code == 503
        places[1].unlink()
        shutil.move(places[1].with_name("away"), places[1])
        assert httpx.get(url).status_code == 200
    assert told == []


def test_a_hanging_file_system_is_reported_and_blocks_one_thread(places, monkeypatch):
    goes_on, looks = threading.Event(), []
    list_folder = health.os.scandir

    def hanging(root):
        looks.append(root)
        assert goes_on.wait(20)
        return list_folder(root)

    class System:
        scandir = staticmethod(hanging)

    monkeypatch.setattr(health, "TIMEOUT", 0.2)
    monkeypatch.setattr(health, "os", System)
    with served(*places) as port:
        url = f"http://127.0.0.1:{port}"
        for _ in range(5):
            answer = httpx.get(f"{url}/healthz")
            assert answer.status_code == 503
            assert answer.text == "folders could not be listed within 0.2 s\n"
        assert len(looks) == 1
        goes_on.set()
        start = time.monotonic()
        while httpx.get(f"{url}/healthz").status_code != 200:
            assert time.monotonic() < start + 5


def test_concurrent_requests(places):
    with served(*places) as port, complaints() as told:

        def ask(_: int) -> int:
            return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code

        with ThreadPoolExecutor(8) as asking:
            assert set(asking.map(ask, range(200))) == {200}
    assert told == []


def test_a_client_that_leaves_early_leaves_nothing_behind(places):
    with served(*places) as port, complaints() as told:
        for _ in range(50):
            wire = Wire(port)
            wire.get("/healthz")
            wire.close()
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    assert told == []

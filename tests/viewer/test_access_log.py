"""The access log: one whole line per request; serving continues if it cannot be written."""

import json
import os
import re
import socket
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from hipsgen.errors import ConfigError
from tests.viewer.serving import Process, Wire, complaints, served
from tests.viewer.small_hips import FACE, make_survey
from viewer.http.access_log import open_log

TILE = f"/hips/band_g/Norder0/Dir0/Npix{FACE}.fits"
KEYS = ["time", "client", "method", "path", "status", "bytes", "seconds"]


@pytest.fixture
def log(tmp_path):
    """A log file, and its content after the server has stopped."""
    return tmp_path / "access.log"


def lines(log) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_content_of_a_line(root, log):
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    with served(root, access_log=open_log(str(log))) as port:
        url = f"http://127.0.0.1:{port}"
        size = len(httpx.get(url + TILE).content)
        httpx.head(url + TILE)
        httpx.get(url + TILE, headers={"range": "bytes=0-99"})
        tag = httpx.get(url + TILE).headers["etag"]
        httpx.get(url + TILE, headers={"if-none-match": tag})
        httpx.get(f"{url}/nowhere%22%5C%C3%A9?a=b&c")
        httpx.request("PROPFIND", url)
    told = lines(log)
    assert all(list(line) == KEYS for line in told)
    assert [(line["method"], line["status"], line["bytes"]) for line in told] == [
        ("GET", 200, size),
        ("HEAD", 200, 0),
        ("GET", 206, 100),
        ("GET", 200, size),
        ("GET", 304, 0),
        ("GET", 404, 9),
        ("PROPFIND", 405, 18),
    ]
    assert [line["path"] for line in told[4:]] == [TILE, "/nowhere%22%5C%C3%A9?a=b&c", "/"]
    assert {line["client"] for line in told} == {"127.0.0.1"}
    times = [datetime.fromisoformat(line["time"]) for line in told]
    assert before <= times[0] <= times[-1] <= datetime.now(UTC)
    assert times == sorted(times)
    assert all(re.fullmatch(r"[0-9-]+T[0-9:]+\.[0-9]{3}Z", line["time"]) for line in told)
    assert all(0 < line["seconds"] < 20 for line in told)
    assert stat.S_IMODE(log.stat().st_mode) & 0o007 == 0


def test_tokens_are_not_logged(root, log):
    secret = "correct-horse-battery"
    with served(root, access_log=open_log(str(log)), token=secret) as port:
        url = f"http://127.0.0.1:{port}"
        for name in ("token", "TOKEN", "%74oken", "access_token"):
            httpx.get(f"{url}/api/surveys?a=1&{name}={secret}&b=2")
        httpx.get(url, headers={"authorization": f"Bearer {secret}"})
        httpx.post(url, data={"token": secret})
    assert secret not in log.read_text()
    assert [line["path"] for line in lines(log)[:2]] == [
        "/api/surveys?a=1&token=***&b=2",
        "/api/surveys?a=1&TOKEN=***&b=2",
    ]
    assert [line["status"] for line in lines(log)] == [401] * 4 + [200, 303]


def test_the_path_is_that_of_the_site(root, log):
    with served(root, access_log=open_log(str(log)), root_path="/sky") as port:
        httpx.get(f"http://127.0.0.1:{port}/hips/list?x")
        httpx.get(f"http://127.0.0.1:{port}/sky/hips/list?x")
    assert [line["path"] for line in lines(log)] == ["/sky/hips/list?x"] * 2


def test_a_line_stays_short_enough_to_be_written_in_one_piece(root, log):
    with served(root, access_log=open_log(str(log))) as port:
        wire = Wire(port)
        for long in ("x" * 20_000, '"\\' * 10_000):
            wire.get(f"/{long}?{long}")
        wire.close()
    written = log.read_bytes().splitlines(keepends=True)
    assert len(written) == 2
    assert all(len(line) < 4096 for line in written)


def test_an_error_of_the_server_is_a_line(root, log, monkeypatch):
    def broken(*_):
        raise RuntimeError("on purpose")

    monkeypatch.setattr("viewer.app.hips_list", broken)
    with served(root, access_log=open_log(str(log))) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/hips/list").status_code == 500
    assert [(line["path"], line["status"]) for line in lines(log)] == [("/hips/list", 500)]


def test_a_client_that_leaves_early_is_logged(tmp_path, log):
    survey = make_survey(tmp_path / "band_g")
    os.truncate(survey / "Moc.fits", 1 << 30)
    with served(survey, access_log=open_log(str(log))) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /hips/band_g/Moc.fits HTTP/1.1\r\nHost: here\r\n\r\n")
            assert client.recv(100)
        end = time.monotonic() + 10
        while not log.read_text() and time.monotonic() < end:
            time.sleep(0.05)
    (line,) = lines(log)
    assert line["status"] == 200
    assert line["bytes"] < 1 << 30


def test_off_by_default(root, tmp_path, capfd):
    with Process(root, tmp_path / "errors") as server:
        httpx.get(server.url)
    assert (tmp_path / "errors").read_text() == ""


@pytest.mark.parametrize("kind", ["folder", "nowhere/log"])
def test_invalid_logs_are_refused(tmp_path, kind):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=rf"--access-log .*{kind}: .*; choose a writable file"):
        open_log(str(tmp_path / kind))


@pytest.mark.slow
def test_lines_of_several_processes_do_not_mix(root, tmp_path, log):
    log.write_text('{"old":1}\n')
    serving = {"workers": 3, "access_log": str(log)}
    with Process(root, tmp_path / "errors", serving) as server:

        def ask(number: int) -> None:
            with httpx.Client(base_url=server.url) as client:
                for n in range(100):
                    client.get(f"/nowhere/{number}/{n}/{'x' * 1000}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
    told = lines(log)
    assert told[0] == {"old": 1}
    asked = {tuple(map(int, line["path"].split("/")[2:4])) for line in told[1:]}
    assert asked == {(a, b) for a in range(8) for b in range(100)}
    assert len(told) == 801


def test_a_full_disk_does_not_stop_serving(root):
    with served(root, access_log=open_log("/dev/full")) as port, complaints() as told:
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{port}{TILE}").status_code == 200
    assert told == []


def test_a_full_disk_is_reported_once(root, tmp_path):
    with Process(root, tmp_path / "errors", {"access_log": "/dev/full"}) as server:
        for _ in range(3):
            assert httpx.get(f"{server.url}hips/list").status_code == 200
    assert server.complaints() == "cannot write the access log: No space left on device\n"


def test_a_pipe_without_a_reader(root):
    reading, writing = os.pipe()
    with served(root, access_log=writing) as port:
        url = f"http://127.0.0.1:{port}/hips/list"
        assert httpx.get(url).status_code == 200
        assert json.loads(os.read(reading, 4096))["path"] == "/hips/list"
        # more than the 64 kB of a pipe: the server must not block when it is full
        start = time.monotonic()
        with httpx.Client() as client:
            for _ in range(1000):
                assert client.get(url).status_code == 200
        assert time.monotonic() < start + 20
        taken = os.read(reading, 1 << 20)
        assert taken.count(b"\n") < 1000
        assert all(json.loads(line) for line in taken.splitlines())
        # the pipe has space again
        httpx.get(url)
        assert os.read(reading, 1 << 20).count(b"\n") == 1
        os.close(reading)
        for _ in range(3):
            assert httpx.get(url).status_code == 200
    os.close(writing)


def test_on_stdout_there_is_nothing_else(root, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    got: list[str] = []

    def ask() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                got.append(httpx.get(f"http://127.0.0.1:{port}/hips/list").text)
                return
            except httpx.ConnectError:
                time.sleep(0.1)

    thread = threading.Thread(target=ask)
    thread.start()
    serving = {"access_log": "-", "port": port}
    with Process(root, tmp_path / "errors", serving) as server:
        thread.join()
    assert json.loads(server.first_line)["path"] == "/hips/list"
    assert server.complaints().startswith(f"http://127.0.0.1:{port}/ shows 2 surveys")
    assert len(got) == 1

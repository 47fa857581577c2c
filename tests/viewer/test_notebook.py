"""viewer.show, its frame and its server, with a program in place of the page."""

import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import httpx
import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord

import viewer
from hipsgen.errors import ConfigError, InputError, SurveyError
from tests.conftest import needs
from tests.viewer.serving import TIMEOUT, free_port, nginx_scratch, served
from tests.viewer.small_hips import DEC, RA, make_survey
from viewer.annotations import Annotations
from viewer.api.frames import FrameChannel, FrameError
from viewer.notebook import Frame, position_of

STATE = {
    "survey": "band_g",
    "ra": -10.0,
    "dec": 2.5,
    "fov": 0.1,
    "url": "http://x/#y",
    "selection": None,
    "region": None,
}


@pytest.fixture
def frame(root) -> Iterator[Frame]:
    made = viewer.show(root)
    yield made
    made.close()


def source(frame: Frame) -> httpx.URL:
    """URL that the frame loads."""
    (found,) = re.findall(r'<iframe src="([^"]+)"', frame._repr_html_())
    return httpx.URL(found)


def channel(frame: Frame) -> httpx.URL:
    """URL from which the page fetches commands."""
    url = source(frame)
    return url.copy_with(path=f"{url.path}api/frames/{url.params['frame']}", query=b"")


class Page:
    """Stand-in for frame.js that records the commands it received."""

    def __init__(self, frame: Frame, **state: object) -> None:
        self.commands: list[dict] = []
        self._url, self._state = channel(frame), {**STATE, **state}
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        seen = 0
        with httpx.Client(timeout=TIMEOUT) as client:
            while (answer := client.get(self._url, params={"seen": seen})).status_code == 200:
                told = answer.json()
                if told["number"] > seen:
                    seen = told["number"]
                    self.commands.append(told["wish"])
                    client.post(self._url, json={"number": seen, "state": self._state})

    def left(self) -> bool:
        self._thread.join(5)
        return not self._thread.is_alive()


def refuses(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as one:
        return one.connect_ex((host, port)) != 0


def test_importing_the_viewer_does_not_load_the_server():
    code = "import sys, viewer; print('starlette' in sys.modules, 'astropy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False False\n"


def test_requests_outside_the_secret_path_get_404(frame):
    url = source(frame)
    assert url.host == "127.0.0.1"
    assert refuses(url.port, "127.0.0.2")  # all of 127.* is this machine
    secret = url.path.strip("/")
    assert len(secret) >= 32
    here = f"http://127.0.0.1:{url.port}"
    own = ("", "static/main.js", "api/surveys", "hips/list", "hips/band_g/properties", "healthz")
    for path in (*own, f"api/frames/{url.params['frame']}"):
        params = {"seen": -1} if "frames" in path else {}
        inside = httpx.get(f"{here}/{secret}/{path}", params=params)
        assert inside.status_code != 404, path
        for elsewhere in ("", f"/{secret[:-1]}", f"/{secret}x", f"/x/{secret}", "/é", "/%00"):
            outside = httpx.get(f"{here}{elsewhere}/{path}", params=params)
            assert (outside.status_code, outside.text) == (404, "Not Found"), (elsewhere, path)
    assert httpx.post(f"{here}/api/flags", json={"survey": "band_g"}).status_code == 404
    assert "no-referrer" in httpx.get(f"{here}/{secret}/").headers["referrer-policy"]


def test_a_viewer_outside_notebooks_has_no_frames(root):
    with served(root) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/api/frames/x?seen=0").status_code == 404


def test_commands_wait_for_the_page_and_are_merged(frame):
    frame.goto((180, 1), fov=2)
    frame.survey = "band_r"
    frame.goto(SkyCoord(181 * units.deg, 2 * units.deg))
    page = Page(frame)
    view = frame.view
    assert page.commands == [{"ra": 181.0, "dec": 2.0, "fov": 2.0, "survey": "band_r"}]
    assert (view.ra, view.dec, view.fov, view.survey) == (350.0, 2.5, 0.1, "band_g")
    start = time.monotonic()
    for _ in range(20):
        assert frame.view == view
    # the request of the page was held until there was a command
    assert time.monotonic() - start < 5
    frame.goto("12:00:00 -01:30:00")
    assert (frame.selection, frame.region) == (None, None)
    assert [one for one in page.commands if one][1] == pytest.approx({"ra": 180.0, "dec": -1.5})
    frame.close()
    assert page.left()


def test_an_error_of_the_page_is_raised(frame):
    page = Page(frame, error="the page cannot show band_r")
    with pytest.raises(FrameError, match="cannot show band_r"):
        _ = frame.view
    frame.close()
    assert page.left()
    with pytest.raises(FrameError, match=r"closed: make another with viewer\.show"):
        frame.goto((1, 2))


def test_without_a_page_the_error_says_what_to_do():
    with pytest.raises(FrameError, match=r"no page has responded for 0.05 s: show the frame first"):
        FrameChannel(pickup_seconds=0.05).ask()
    busy = FrameChannel(reply_seconds=0.05)
    reader = threading.Timer(0.2, busy.commands_since, [0])
    reader.start()
    with pytest.raises(FrameError, match=r"busy for 0.05 s"):
        busy.ask()
    reader.join()


def test_many_frames_leave_the_browser_connections_for_tiles(root):
    with ExitStack() as stack:
        frames = [stack.enter_context(closing(viewer.show(root))) for _ in range(4)]

        def ask(one: Frame) -> dict:
            return httpx.get(channel(one), params={"seen": 0}, timeout=TIMEOUT).json()

        last = frames.pop()
        last.goto((1, 2))
        assert ask(last)["pause"] == 0
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(ask, one) for one in frames]
            end = time.monotonic() + 5
            # the fourth is told to come later, while the others are held
            while ask(last)["pause"] == 0:
                assert time.monotonic() < end
            assert not any(one.done() for one in asked)
            for one in frames:
                one.goto((1, 2))
            assert [one.result()["number"] for one in asked] == [1, 1, 1]
        assert ask(last)["pause"] == 0


@pytest.mark.parametrize(
    ("words", "status"),
    [({"content": b"{}"}, 415), ({"json": [1]}, 400), ({"json": {"number": "1"}}, 400),
     ({"json": {"number": 1, "state": {"x": "y" * 5_000_000}}}, 413)],
)  # fmt: skip
def test_invalid_requests_of_a_page_are_refused(frame, words, status):
    assert httpx.post(channel(frame), **words).status_code == status
    for seen in ("", "x", "-1", "1" * 5000, "²"):
        assert httpx.get(channel(frame), params={"seen": seen}).status_code == 400


def test_one_server_for_the_same_folders_until_the_last_frame_is_closed(root, tmp_path):
    make_survey(tmp_path / "other")
    first, second = viewer.show(root), viewer.show(str(root))
    both = viewer.show(root, tmp_path)
    ports = [source(one).port for one in (first, second, both)]
    assert ports[0] == ports[1] != ports[2]
    assert source(first).path == source(second).path != source(both).path
    surveys = httpx.get(f"{source(both).copy_with(query=None)}api/surveys").json()
    assert {one["name"] for one in surveys} == {"band_g", "band_r", "other"}
    first.close()
    assert not refuses(ports[1])
    second.close()
    assert refuses(ports[1])
    again = viewer.show(root)
    assert httpx.get(source(again)).status_code == 200
    for one in (again, both):
        one.close()


def test_the_server_ends_with_its_process(root):
    code = f"""
import threading, time, httpx, viewer
from tests.viewer.test_notebook import channel
frame = viewer.show({str(root)!r})
ask = lambda: httpx.get(channel(frame), params={{"seen": 0}})
threading.Thread(target=ask, daemon=True).start()
time.sleep(0.5)
print(channel(frame).port, flush=True)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stderr
        port, start = int(running.stdout.readline()), time.monotonic()
        assert running.stderr.read() == b""
        assert running.wait(TIMEOUT) == 0
        assert time.monotonic() - start < 5
    assert refuses(port)


def test_log_files_of_the_notebook_stay_open(root, tmp_path):
    handler = logging.FileHandler(tmp_path / "log", mode="w")
    logging.getLogger("somebody").addHandler(handler)
    try:
        viewer.show(root).close()
        logging.getLogger("somebody").warning("still there")
    finally:
        logging.getLogger("somebody").removeHandler(handler)
        handler.close()
    assert (tmp_path / "log").read_text() == "still there\n"


def test_flags_as_a_table(tmp_path):
    make_survey(tmp_path / "band_g")
    make_survey(tmp_path / "band_r")
    frame = viewer.show(tmp_path)
    none = frame.flags()
    assert (len(none), none["ra"].unit, none["ra"].dtype) == (0, units.deg, np.float64)
    made = [
        Annotations(tmp_path / survey).add({"ra": RA, "dec": DEC, "note": note})
        for survey, note in (("band_g", "a trail"), ("band_r", "ü"))
    ]
    table = frame.flags()
    frame.close()
    assert list(table["note"]) == ["a trail", "ü"]
    assert list(table["survey"]) == ["band_g", "band_r"]
    assert list(table["id"]) == [flag.id for flag in made]
    assert list(SkyCoord(table["ra"], table["dec"]).ra.deg) == [RA, RA]


@pytest.mark.parametrize(
    "target",
    [
        "150.1 -2.2",
        "10:00:24 -02:12:00",
        "10h00m24s -2d12m0s",
        "10 00 24 -02 12 00",
        (150.1, -2.2),
        [150.1, -2.2],
        np.array([150.1, -2.2]),
        (150.1 * units.deg, -2.2 * 60 * units.arcmin),
        SkyCoord(150.1, -2.2, unit="deg").galactic,
    ],
)
def test_targets(target):
    assert position_of(target) == pytest.approx((150.1, -2.2), abs=1e-9)


@pytest.mark.parametrize(
    "target",
    ["M31", "1 2 3", "", 5, (1,), (1, 95), (np.nan, 2), SkyCoord([1, 2], [3, 4], unit="deg")],
)
def test_invalid_targets_are_refused(target):
    with pytest.raises(ConfigError, match=r"^target .*") as told:
        position_of(target)
    assert "\n" not in str(told.value)


def test_errors_are_raised_before_the_server_starts(root, tmp_path):
    before = threading.active_count()
    with pytest.raises(ConfigError, match="give the output folder of 'hipsgen build'"):
        viewer.show()
    with pytest.raises(InputError, match="nothing_here does not exist"):
        viewer.show(tmp_path / "nothing_here")
    with pytest.raises(SurveyError, match="no survey under"):
        viewer.show(tmp_path)
    with pytest.raises(ConfigError, match=r"fov -1: must be greater than 0"):
        viewer.show(root, fov=-1)
    with pytest.raises(ConfigError, match=r"fov '1.0 s': .*give degrees"):
        viewer.show(root, fov=1 * units.s)
    with pytest.raises(ConfigError, match=r"no survey 'band_z'; available: band_g, band_r"):
        viewer.show(root, survey="band_z")
    with pytest.raises(ConfigError, match=r"proxy '/hub/8000': give a path .* contains \{port\}"):
        viewer.show(root, proxy="/hub/8000")
    assert threading.active_count() == before


def test_urls_for_remote_browsers(root, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/me/")
    hub = viewer.show(root, height="80vh", width='1" onload="')
    assert re.fullmatch(r"/user/me/proxy/\d+/[\w-]{32}/", source(hub).path)
    assert source(hub).is_relative_url
    assert "width: 1&quot; onload=&quot;; height: 80vh" in hub._repr_html_()
    named = viewer.show(root, proxy="https://hub.example/p/{port}")
    assert re.fullmatch(r"https://hub\.example/p/\d+/[\w-]{32}/\?frame=.*", str(source(named)))
    for one in (hub, named):
        one.close()


def test_behind_a_proxy_that_strips_its_path(root, tmp_path):
    """jupyter-server-proxy strips the path in this way."""
    nginx = needs("nginx", "nginx-light")
    outer = free_port()
    frame = viewer.show(root, proxy=f"http://127.0.0.1:{outer}/user/me/proxy/{{port}}/")
    inner = source(frame).path.split("/")[4]
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}"
        f"http {{ access_log off; {nginx_scratch(tmp_path)} server {{ listen 127.0.0.1:{outer};"
        f"location /user/me/proxy/{inner}/ {{ proxy_pass http://127.0.0.1:{inner}/; }} }} }}"
    )
    front = subprocess.Popen(
        [nginx, "-p", tmp_path, "-e", tmp_path / "error.log", "-c", tmp_path / "nginx.conf"]
    )
    try:
        end = time.monotonic() + TIMEOUT
        while refuses(outer):
            assert time.monotonic() < end
            time.sleep(0.05)
        base = source(frame).copy_with(query=None)
        page = httpx.get(base)
        assert page.status_code == 200
        links = re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)
        assert "static/main.js" in links
        (survey, *_) = httpx.get(base.join("api/surveys")).json()
        for link in (*links, f"{survey['url']}/properties"):
            assert httpx.get(base.join(link)).status_code == 200, link
        followed = Page(frame)
        assert frame.view.fov == 0.1
        frame.close()
        assert followed.left()
    finally:
        front.terminate()
        front.wait(TIMEOUT)

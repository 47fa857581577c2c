import contextlib
import functools
import http.server
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from hipsgen.survey.provenance import Provenance
from tests.conftest import linked_copy
from tests.viewer.conftest import COADD
from tests.viewer.small_hips import make_survey
from viewer.app import STATIC, ViewerConfig, create_app

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
# Chromium without windows, used if it is installed: needs half the CPU time for each page
HEADLESS = "/usr/bin/chromium-headless-shell"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# seconds after which a page counts as stuck, while other tests run on a slow machine;
# test_overlays.py tests its speed
TIMEOUT = 60
# Aladin Lite renders continuously, and without a GPU a frame keeps two cores busy for a fifth of a
# second: limiting the frame rate leaves CPU time to the tests
LIMIT_FRAME_RATE = """{
    const native = window.requestAnimationFrame.bind(window);
    const BETWEEN = 250; // milliseconds
    let last = -BETWEEN;
    const draws = (draw) => (now) => { last = performance.now(); draw(now); };
    window.requestAnimationFrame = (draw) =>
        setTimeout(() => native(draws(draw)), last + BETWEEN - performance.now());
    window.cancelAnimationFrame = (id) => clearTimeout(id);
}"""
OUTSIDE = re.compile(r"^(?!data:|blob:|http://127\.0\.0\.1[:/])")


@pytest.fixture(scope="session")
def static() -> Path:
    if not (STATIC / "index.html").is_file():
        pytest.skip("needs the built page: python viewer/web/build_page.py")
    return STATIC


# ends with the tests of this folder: while it runs, playwright keeps an event loop in this thread
@pytest.fixture(scope="package")
def chromium(static):
    if not Path(CHROMIUM).is_file():
        pytest.skip("needs Chromium: set CHROMIUM to its path")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    is_headless = "CHROMIUM" not in os.environ and Path(HEADLESS).is_file()
    program = HEADLESS if is_headless else CHROMIUM
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@contextlib.contextmanager
def calm_context(browser: Any, **options: Any) -> Iterator[Any]:
    """Provide a browser context in which pages render a few frames per second."""
    context = browser.new_context(**options)
    context.add_init_script(LIMIT_FRAME_RATE)
    try:
        yield context
    finally:
        context.close()


@pytest.fixture(scope="session")
def surveys(tmp_path_factory) -> Path:
    """Two bands, a survey without FITS tiles, a galactic one; the first has a provenance table."""
    root = tmp_path_factory.mktemp("surveys")
    make_survey(root / "band_g", em_min="3.9e-7")
    make_survey(root / "band_r", 200.0, em_min="5.5e-7")
    make_survey(root / "pictures", hips_tile_format="png", hips_pixel_cut=None)
    make_survey(root / "turned", hips_frame="galactic", hips_initial_ra="", hips_initial_dec="")
    (root / "band_g" / "provenance.fits").write_bytes(Provenance([COADD]).to_bytes())
    return root


@contextlib.contextmanager
def running(root: Path, **options: Any) -> Iterator[str]:
    """Run the viewer on a free port; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = create_app(ViewerConfig((root,), **options))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def site(surveys) -> Iterator[str]:
    # the coadd of the table does not exist
    with running(surveys, originals=None) as url:
        yield url


@pytest.fixture(scope="session")
def plain_site(surveys, static, tmp_path_factory) -> Iterator[str]:
    """URL of a survey with its own page, on a plain file server, below a path."""
    root = tmp_path_factory.mktemp("www")
    shutil.copytree(surveys / "band_g", root / "my sky" / "band_g")
    add_page(root / "my sky" / "band_g")
    with plainly_served(root) as url:
        yield f"{url}my%20sky/band_g/"


def add_page(folder: Path) -> None:
    """Add the page to a survey, as a build does."""
    shutil.copytree(STATIC / "survey", folder, dirs_exist_ok=True)
    shutil.copytree(STATIC / "aladin", folder / "page" / "aladin")


@contextlib.contextmanager
def plainly_served(root: Path) -> Iterator[str]:
    """Serve a folder on a plain file server; yield its URL."""
    handler = functools.partial(QuietHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join(10)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="package")
def demo(chromium, sample_surveys, tmp_path_factory) -> Path:
    """Surveys in g, r, i and color of the sample repository; requires Chromium."""
    return linked_copy(sample_surveys, tmp_path_factory.mktemp("demo") / "hips")


@pytest.fixture(scope="package")
def demo_site(demo) -> Iterator[str]:
    with running(demo) as url:
        yield url


class Watched:
    """A page that records all its requests, failed responses and console errors."""

    def __init__(self, page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.outside: list[str] = []
        self.refused: list[str] = []
        self.complaints: list[str] = []
        page.route(OUTSIDE, self._stop)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("response", self._response)
        page.on("requestfailed", self._failed)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._console)

    def _stop(self, route) -> None:
        self.outside.append(route.request.url)
        route.abort()

    def _response(self, response) -> None:
        if response.status >= 400:
            self.refused.append(response.url)

    def _failed(self, request) -> None:
        # leaving a page aborts its pending requests
        if request.failure != "net::ERR_ABORTED":
            self.refused.append(f"{request.url} {request.failure}")

    def _console(self, message) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def tiles(self) -> list[str]:
        """Return the URLs of the requested tiles."""
        return [url for url in self.asked if "/Npix" in url]

    def open(self, url: str) -> None:
        self.page.goto("about:blank")
        self.page.goto(url)
        self.page.wait_for_selector("body[data-state=ready]")

    def until(self, script: str):
        """Return a script's result once it is truthy; its CSP forbids the page to poll."""
        end = time.monotonic() + TIMEOUT
        while not (found := self.page.evaluate(script)):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)
        return found

    def once(self, what: Callable[[], object]) -> None:
        """Wait until a condition of the test is true."""
        end = time.monotonic() + TIMEOUT
        while not what():
            assert time.monotonic() < end, "the condition never became true"
            self.page.wait_for_timeout(100)

    def fold_values(self) -> None:
        """Collapse the table of values, so that the page requests only those of shown surveys."""
        script = "try { localStorage.setItem('hipsgen-values', '\"closed\"') } catch {}"
        self.page.add_init_script(script)

    def leave(self) -> None:
        """Leave the page before the server stops, so that it sends no more requests."""
        self.page.goto("about:blank")

    def settled(self) -> None:
        """Wait until all changes have been made."""
        self.page.evaluate("viewer.app.work")

    def look(self, ra: float, dec: float, fov: float) -> None:
        self.page.evaluate(f"viewer.app.sky.center({{ra: {ra}, dec: {dec}, fov: {fov}}})")

    def readout_at(self, x: float, y: float):
        """Return the readout once it shows the values at the pointer position (x, y)."""
        self.page.mouse.move(x, y)
        there = f"viewer.app.sky.position([{x}, {y}])"
        return self.until(
            f"""(() => {{
                const told = viewer.readout, [ra, dec] = {there};
                return told?.at === "pointer" && told.ra === ra && told.dec === dec && told;
            }})()"""
        )

    def drawn(self) -> set:
        """Return the colors at the center of the sky, once it is not blank."""
        end = time.monotonic() + TIMEOUT
        while len(found := self.pixels()) <= 10:
            assert time.monotonic() < end, f"the sky is blank: {found}"
            time.sleep(0.1)
        return found

    def pixels(
        self, x: float = 310, y: float = 200, width: float = 200, height: float = 220
    ) -> set:
        """Return the colors in a part of the page."""
        import io

        from PIL import Image

        clip = {"x": x, "y": y, "width": width, "height": height}
        picture = Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB")
        return {color for _, color in picture.getcolors(1 << 20)}


@pytest.fixture
def scale() -> float:
    """Device pixels per CSS pixel: with software rendering, the time grows with their number."""
    return 0.5


@pytest.fixture
def watched(chromium, scale) -> Iterator[Watched]:
    size = {"width": 860, "height": 520}
    with calm_context(chromium, viewport=size, device_scale_factor=scale) as context:
        found = Watched(context.new_page())
        found.page.set_default_timeout(TIMEOUT * 1000)
        yield found
    assert found.outside == []
    assert found.refused == []
    assert found.complaints == []

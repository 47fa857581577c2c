"""The page in a real JupyterLab: cells are run, the frame is clicked and moved."""

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from astropy.io import fits
from astropy.wcs import WCS

import viewer
from hipsgen.images.uris import path_of
from hipsgen.survey.provenance import Provenance
from tests.browser.conftest import TIMEOUT, calm_context
from tests.viewer.small_hips import DEC, RA
from viewer.annotations import Annotations


@pytest.fixture(scope="module")
def jupyter(chromium, tmp_path_factory) -> Iterator[str]:
    """Run a JupyterLab with one empty notebook; yield the notebook's URL."""
    pytest.importorskip("jupyterlab", reason="needs jupyterlab")
    folder = tmp_path_factory.mktemp("jupyter")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "look.ipynb").write_text(json.dumps(notebook))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    token = secrets.token_hex(16)
    # nothing of whoever runs the tests, and no question to anybody outside
    own = {
        name: str(folder / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    here = Path(__file__).parents[2]
    words = ["--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}"]
    words += ["--ip=127.0.0.1", f"--ServerApp.port={port}", f"--IdentityProvider.token={token}"]
    words += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=" + NEVER]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words],
            env={**os.environ, **own, "PYTHONPATH": str(here)},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        site = f"http://127.0.0.1:{port}"
        _wait_for(f"{site}/api", running, folder / "log")
        yield f"{site}/lab/tree/look.ipynb?token={token}"
    finally:
        running.terminate()
        running.wait(TIMEOUT)


NEVER = "jupyterlab.handlers.announcements.NeverCheckForUpdate"


def _wait_for(url: str, running: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + TIMEOUT
    while True:
        assert running.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        try:
            with urlopen(url):
                return
        except OSError:
            time.sleep(0.1)


class Notebook:
    """A user of JupyterLab."""

    def __init__(self, page) -> None:
        self.page = page
        self._cells = 0
        self._ran = 0
        # what is run before that is forgotten
        page.get_by_text(re.compile(r"\| Idle$")).wait_for()

    def run(self, code: str, shows: bool = False):
        """Run a new cell; return its printed text, or the output element if `shows`."""
        cells = self.page.locator(".jp-Notebook .jp-CodeCell")
        cell = cells.nth(self._cells)
        self._cells += 1
        self._ran += 1
        cell.locator(".cm-content").click()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")
        prompt = cell.locator(".jp-InputPrompt").first
        end = time.monotonic() + TIMEOUT
        while prompt.inner_text().strip() != f"[{self._ran}]:":
            assert time.monotonic() < end, prompt.inner_text()
            time.sleep(0.05)
        if shows:
            return cell
        return cell.locator(".jp-OutputArea-output").all_inner_texts()

    def value(self, code: str):
        """Return the value of an expression, transferred as JSON."""
        (text,) = self.run(f"import json; print(json.dumps({code}))")
        return json.loads(text)


def frame_in(cell):
    """Return the frame of the page in a cell's output, when it is ready."""
    handle = cell.locator("iframe").element_handle()
    frame = handle.content_frame()
    frame.wait_for_selector("body[data-state=ready]")
    return frame


def test_flags_in_a_read_only_folder(watched, surveys):
    frame = viewer.show(surveys, read_only=True, target=(RA, DEC), fov=5)
    (url,) = re.findall(r'src="([^"]+)"', frame._repr_html_())
    watched.open(url)
    view = frame.view
    watched.page.keyboard.press("f")
    note = watched.page.locator("#flags li textarea")
    note.fill("here")
    note.press("Enter")
    (flag,) = frame.flags()
    assert (flag["note"], flag["survey"]) == ("here", view.survey)
    assert (flag["ra"], flag["dec"]) == pytest.approx((RA, DEC), abs=1e-6)
    assert frame.flags()["dec"].unit == "deg"
    assert not list(surveys.glob("*/.hipsgen"))
    watched.leave()
    frame.close()


@pytest.fixture
def context(chromium):
    with calm_context(chromium, viewport={"width": 1300, "height": 900}) as opened:
        yield opened


def test_a_survey_in_a_notebook(context, jupyter, demo):
    page = context.new_page()
    page.set_default_timeout(TIMEOUT * 1000)
    asked: list[str] = []
    told: list[str] = []

    def remember(request) -> None:
        if request.frame.parent_frame is not None:
            asked.append(request.url)

    page.on("request", remember)
    page.on(
        "console",
        lambda said: (
            told.append(said.text)
            if said.type == "error" and "/static/" in said.location.get("url", "")
            else None
        ),
    )
    page.goto(jupyter)
    notebook = Notebook(page)
    (coadd, *_) = Provenance.from_bytes((demo / "band_r" / "provenance.fits").read_bytes()).coadds
    path = path_of(coadd.ref.uri)
    assert path is not None
    with fits.open(path) as hdus:
        image = next(hdu for hdu in hdus if (hdu.header.get("EXTTYPE") or hdu.name) == "IMAGE")
        values, wcs = image.data.astype(float), WCS(image.header)
    row, col = (side // 2 for side in values.shape)
    ra, dec = (float(axis) for axis in wcs.all_pix2world(col, row, 0))

    cell = notebook.run(
        f"import viewer\nframe = viewer.show({str(demo)!r}, survey='band_r', height=420)\nframe",
        shows=True,
    )
    # moved by the kernel, which need not wait until the page is ready
    view = notebook.value(f"(frame.goto(({ra!r}, {dec!r}), fov=0.01), vars(frame.view))[1]")
    frame = frame_in(cell)
    assert re.match(r"http://127\.0\.0\.1:\d+/[\w-]{32}/\?frame=", frame.url)
    assert (view["ra"], view["dec"]) == pytest.approx((ra, dec), abs=1e-7)
    assert (view["fov"], view["survey"]) == (pytest.approx(0.01, rel=1e-3), "band_r")
    assert frame.evaluate("viewer.app.sky.view().ra") == pytest.approx(ra, abs=1e-7)
    assert view["url"].startswith(frame.url.split("?")[0] + "#survey=band_r")

    # clicked by a person
    assert notebook.value("frame.selection") is None
    canvas = cell.locator("iframe")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = frame.evaluate(f"viewer.app.sky.pixel({ra!r}, {dec!r})")
    pane = frame.evaluate(
        "(({left, top}) => [left, top])(viewer.app.sky.div.getBoundingClientRect())"
    )
    page.mouse.click(box["x"] + pane[0] + x, box["y"] + pane[1] + y)
    # and flagged
    page.keyboard.press("f")
    frame.locator("#flags li textarea").fill("look again")
    frame.locator("#flags li textarea").press("Enter")

    # the kernel knows of both
    selection = notebook.value("vars(frame.selection)")
    assert (selection["ra"], selection["dec"]) == pytest.approx((ra, dec), abs=2e-5)
    (mine,) = [one for one in selection["coadds"] if one["uuid"] == coadd.ref.dataset_id]
    assert (mine["run"], mine["dataset_type"]) == (coadd.ref.run, coadd.ref.dataset_type)
    assert mine["data_id"] == dict(coadd.ref.data_id)
    pixel = mine["pixel"]
    at = wcs.all_world2pix(selection["ra"], selection["dec"], 0)
    assert (pixel["x"], pixel["y"]) == (round(float(at[0])), round(float(at[1])))
    assert pixel["value"] == pytest.approx(values[pixel["y"], pixel["x"]], rel=1e-6)
    end = time.monotonic() + TIMEOUT
    while [flag.note for flag in Annotations(demo / "band_r").all()] != ["look again"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    (flag,) = Annotations(demo / "band_r").all()
    rows = notebook.value("[[r['note'], r['survey'], r['ra'], r['dec']] for r in frame.flags()]")
    assert rows == [["look again", "band_r", flag.ra, flag.dec]]

    # another survey
    notebook.run("frame.survey = 'band_i'")
    assert notebook.value("frame.view.survey") == "band_i"
    assert frame.evaluate("viewer.current") == "band_i"

    # what was measured
    frame.evaluate(
        f"viewer.app.measuring.measure({{kind: 'circle', ra: {ra!r}, dec: {dec!r}, radius: 3}})"
    )
    region = notebook.value("frame.region")
    assert (region["kind"], region["radius"]) == ("circle", 3)
    assert {one["survey"] for one in region["statistics"]} == {"band_g", "band_r", "band_i"}

    # with the kernel all ends
    (refused,) = notebook.run("frame.close()\ntry: frame.view\nexcept Exception as e: print(e)")
    assert "closed: make another with viewer.show" in refused
    frame.get_by_text("The notebook is no longer connected").wait_for()
    site = frame.url.split("/?")[0]
    assert [url for url in asked if not url.startswith((site, "data:", "blob:"))] == []
    assert told == []
    for flag in Annotations(demo / "band_r").all():
        Annotations(demo / "band_r").delete(flag.id, {"version": flag.version})

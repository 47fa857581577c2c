"""`python -m tests.benchmarks.coadds`: what a survey of 380,000 coadds costs the viewer.

A survey with a provenance table of that many synthetic coadds is served by two processes. Clicks
and requests for all outlines are sent while other connections ask for something trivial: the
longest time for which one of those waits is the longest pause of the server.
"""

import argparse
import re
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from astropy.io import fits

from hipsgen.coadd import CoaddRef, Polygon
from hipsgen.sky.polygon import to_lonlat
from hipsgen.survey.provenance import FILE_NAME, Provenance, UsedCoadd
from tests.viewer.serving import Process, Wire
from tests.viewer.small_hips import make_survey

COADDS = 380_000
WORKERS = 2
VISITS = 16  # coadds of a place
_CLICKS = 20
_PINGING = 8  # connections, so that every process has some


@dataclass
class Measured:
    """What was measured. Times in seconds, memory in MB."""

    start: float = 0.0  # until the first response
    restart: float = 0.0  # until the first click after a restart is answered
    first_click: float = 0.0
    click: float = 0.0
    found: int = 0  # coadds of a click whose pixel was read
    patches: float = 0.0
    patches_size: float = 0.0
    pauses: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)  # PSS of each process, at the end

    def rows(self) -> Iterator[tuple[str, str]]:
        """Names and values of the table."""
        yield "start, s", f"{self.start:.2f}"
        yield f"first click ({self.found} coadds), s", f"{self.first_click:.2f}"
        yield "later clicks, median, ms", f"{1e3 * self.click:.0f}"
        yield "start and first click with the index, s", f"{self.restart:.2f}"
        yield f"all outlines ({self.patches_size:.0f} MB), s", f"{self.patches:.1f}"
        yield "longest pause, ms", f"{1e3 * max(self.pauses):.0f}"
        yield "memory of each process (PSS), MB", ", ".join(f"{n:.0f}" for n in self.memory)


def make_coadds(count: int, image: Path) -> list[UsedCoadd]:
    """Coadds all over the sky, VISITS at a place; those of the middle place are one image."""
    places = -(-count // VISITS)
    # a spiral of equal areas
    k = np.arange(places) + 0.5
    z = 1 - 2 * k / places
    azimuth, across = np.pi * (3 - np.sqrt(5)) * k, np.sqrt(1 - z**2)
    lon, lat = to_lonlat(np.stack([across * np.cos(azimuth), across * np.sin(azimuth), z], axis=-1))
    half = 0.4 * np.sqrt(41253 / places)
    lat = np.clip(lat, half - 89, 89 - half)
    coadds = []
    for number in range(count):
        place = number // VISITS
        its_image = image if place == places // 2 else None
        coadds.append(_coadd(number, float(lon[place]), float(lat[place]), half, its_image))
    return coadds


def _coadd(number: int, ra: float, dec: float, half: float, image: Path | None = None) -> UsedCoadd:
    """A coadd that is a square; image: its file, one that does not exist by default."""
    identity = f"{number:08x}-0000-4000-8000-{number:012x}"
    wide = half / np.cos(np.radians(dec))
    corners = [(-wide, -half), (wide, -half), (wide, half), (-wide, half)]
    path = image or Path(f"/repo/LSSTCam/runs/DRP/deep_coadd/deep_coadd_{number}.fits")
    ref = CoaddRef(
        uri=path.as_uri(),
        identity=identity,
        band="r",
        polygon=Polygon([((ra + east) % 360, dec + north) for east, north in corners]),
        data_id=(
            ("band", "r"),
            ("patch", number % 100),
            ("skymap", "lsst_cells_v2"),
            ("tract", number // 100),
        ),
        dataset_type="deep_coadd",
        run="LSSTCam/runs/DRP/20260612T200929Z",
        dataset_id=identity,
    )
    return UsedCoadd(ref, unit_in="nJy", calibration="BUNIT")


def make_root(folder: Path, count: int) -> tuple[Path, tuple[float, float]]:
    """Make a survey of many coadds; return its folder, and a position with VISITS of them."""
    image = folder / "image.fits"
    coadds = make_coadds(count, image)
    ra, dec, _ = next(c for c in coadds if c.ref.uri == image.as_uri()).circle()
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 50.5, "CRPIX2": 50.5}
    header |= {"CRVAL1": ra, "CRVAL2": dec, "CDELT1": -5e-5, "CDELT2": 5e-5, "BUNIT": "nJy"}
    fits.ImageHDU(np.ones((100, 100), np.float32), fits.Header(header)).writeto(image)
    survey = make_survey(folder / "root" / "band_r")
    (survey / FILE_NAME).write_bytes(Provenance(coadds).to_bytes())
    return survey.parent, (ra, dec)


def measure(folder: Path, count: int) -> Measured:
    """Serve the survey in a new folder, and measure."""
    root, place = make_root(folder, count)
    found = Measured()
    query = urlencode({"survey": "band_r", "ra": place[0], "dec": place[1]})
    serving = {"workers": WORKERS, "originals": [str(folder)]}
    begun = time.monotonic()
    with Process(root, folder / "log", serving) as server, ProcessPoolExecutor(1) as client:
        _fetch(f"{server.url}healthz")
        found.start = time.monotonic() - begun
        client.submit(int).result()

        def timed(path: str) -> tuple[float, bytes]:
            return client.submit(_fetch, server.url + path).result()

        with _pinging(server.port, found.pauses.append):
            found.first_click, body = timed(f"api/pixel?{query}")
            found.found = body.count(b'"pixel":')
            found.click = statistics.median(timed(f"api/pixel?{query}")[0] for _ in range(_CLICKS))
            found.patches, body = timed("api/patches?survey=band_r")
            found.patches_size = len(body) / 1e6
        found.memory = [_pss(pid) for pid in server.workers()]
    begun = time.monotonic()
    with Process(root, folder / "log", serving) as server:
        _fetch(f"{server.url}api/pixel?{query}")
        found.restart = time.monotonic() - begun
    return found


def _fetch(url: str) -> tuple[float, bytes]:
    """Seconds and content of a response."""
    begun = time.monotonic()
    with urllib.request.urlopen(url, timeout=300) as answer:
        body = answer.read()
    return time.monotonic() - begun, body


@contextmanager
def _pinging(port: int, note: Callable[[float], None]) -> Iterator[None]:
    """Ask several connections in turn, and note how long each answer takes."""
    end = threading.Event()

    def ping() -> None:
        wires = [Wire(port) for _ in range(_PINGING)]
        while not end.is_set():
            for wire in wires:
                begun = time.monotonic()
                wire.get("/nothing")
                note(time.monotonic() - begun)
            time.sleep(0.002)
        for wire in wires:
            with closing(wire):
                pass

    thread = threading.Thread(target=ping)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _pss(pid: int) -> float:
    """MB of a process, of shared pages its share."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (kilobytes,) = re.findall(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(kilobytes) / 1024


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coadds", type=int, default=COADDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given.coadds)
    print(f"| {given.coadds} coadds, {WORKERS} processes | |\n|---|---:|")
    for name, value in found.rows():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()

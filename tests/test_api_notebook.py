"""The public API in a notebook: a real kernel, interrupted as the stop button does."""

import queue
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client import KernelManager
from jupyter_client.blocking import BlockingKernelClient

from tests.finished.make import write_coadd

TIMEOUT = 120.0  # seconds; the kernel compiles its loops first
BUILD = """
import hipsgen
coadds = hipsgen.find_coadds({coadds!r}, bands="g")
options = hipsgen.BuildOptions(tile_width=64, order=8)
done = []
(result,) = hipsgen.build(
    coadds, {out!r}, options=options, progress=lambda *seen: done.append(seen)
)
print(result.n_tiles, result.is_update)
"""
LOOK = """
import astropy.units as u
from astropy.coordinates import SkyCoord
survey = hipsgen.open_survey({out!r})
tile = next(survey.tiles_of(survey.order))
print(survey.moc.max_order >= survey.order, survey.tile(tile.order, tile.npix).shape,
      survey.cutout(SkyCoord(40, -10, unit="deg"), 500 * u.arcsec).unit,
      hipsgen.check({out!r}, deep=True).ok, done[-1][0] == done[-1][1])
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager = KernelManager()
    manager.start_kernel(cwd=str(Path(__file__).parents[1]))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=TIMEOUT)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, code: str) -> tuple[str, str]:
    """Output of a cell, and the name of its error or an empty text."""
    return outcome(client, client.execute(code))


def outcome(client: BlockingKernelClient, cell: str) -> tuple[str, str]:
    out, error = "", ""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        try:
            message = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") != cell:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            out += content["text"]
        elif kind == "error":
            error = content["ename"]
        elif kind == "status" and content["execution_state"] == "idle":
            return out, error
    raise TimeoutError("the kernel is still busy")


def test_a_survey_is_built_interrupted_resumed_and_looked_at(
    kernel: tuple[KernelManager, BlockingKernelClient], tmp_path: Path
) -> None:
    manager, client = kernel
    (tmp_path / "in").mkdir()
    for k in range(2):
        write_coadd(tmp_path / "in" / f"{k}.fits", "g", 40.0 + k, k)
    out = tmp_path / "hips"
    words = {"coadds": str(tmp_path / "in"), "out": str(out)}
    cell = client.execute(BUILD.format(**words))
    while not list(out.glob("Norder*/Dir*/*.fits")):
        time.sleep(0.02)
    manager.interrupt_kernel()
    _, error = outcome(client, cell)
    assert error == "KeyboardInterrupt"
    assert not (out / "properties").exists()
    told, error = run(client, BUILD.format(**words))
    assert (error, told.split()[1]) == ("", "True")
    assert run(client, LOOK.format(**words)) == ("True (64, 64) nJy True True\n", "")

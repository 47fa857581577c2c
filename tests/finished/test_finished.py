"""What users have keeps working: today's commands on surveys that version 0.1.0 finished."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from astropy.io import fits
from starlette.testclient import TestClient

from tests.finished.make import BANDS, FLAG, PLACE, build_command
from viewer.app import ViewerConfig, create_app

ARCHIVE = Path(__file__).with_name("v0.1.0.tar.xz")
HIPS = PLACE / "hips"
NAMES = {
    "color_gri",
    *(f"{kind}_{band}" for kind in ("band", "variance", "mask") for band in BANDS),
}


@pytest.fixture
def surveys() -> Iterator[Path]:
    """The surveys as they were left, at the place that their journals name."""
    with open(f"{PLACE}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests on this machine
        shutil.rmtree(PLACE, ignore_errors=True)
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(PLACE, filter="tar")
        yield HIPS
        shutil.rmtree(PLACE, ignore_errors=True)


def hipsgen(*arguments: str) -> str:
    """Run a command line that an earlier user wrote down; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "hipsgen", *arguments, "--workers", "1"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tiles(folder: Path) -> dict[str, str]:
    """Path and content hash of every tile below a folder."""
    paths = sorted(folder.rglob("Norder*/Dir*/Npix*.*"))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def made(stdout: str) -> dict[str, int]:
    """Number of tiles that a build says it made, by survey."""
    lines = [line for line in stdout.splitlines() if " made in this run " in line]
    return {line.split(":")[0]: int(line.split(" of them made ")[0].split()[-1]) for line in lines}


def test_resuming_makes_no_tile(surveys: Path) -> None:
    before = tiles(surveys)
    assert made(hipsgen(*build_command())) == dict.fromkeys(NAMES, 0)
    assert tiles(surveys) == before


def test_update_makes_what_a_changed_coadd_touches(surveys: Path) -> None:
    before = tiles(surveys)
    path = PLACE / "coadds/g1.fits"
    with fits.open(path) as hdus:
        hdus["IMAGE"].data += 1.0
        hdus.writeto(path, overwrite=True)
    told = made(hipsgen(*build_command()))
    assert told == {
        **dict.fromkeys(NAMES, 0), "band_g": 3, "mask_g": 3, "variance_g": 3, "color_gri": 3,
    }  # fmt: skip
    changed = {path for path, digest in tiles(surveys).items() if before[path] != digest}
    assert {path.split("/")[0] for path in changed} == {"band_g", "color_gri"}
    hipsgen("check", str(surveys), "--deep", "--against-inputs", "2")


def test_check_finds_nothing_wrong(surveys: Path) -> None:
    told = hipsgen("check", str(surveys), "--deep", "--against-inputs", "2")
    assert told.count("conforms to HiPS 1.0; all tiles are consistent") == len(NAMES)


def test_color_makes_no_tile(surveys: Path) -> None:
    bands = [str(surveys / f"band_{band}") for band in "irg"]
    assert made(hipsgen("color", *bands, "-o", str(surveys / "color_gri"))) == {"color_gri": 0}


def test_info_describes_each(surveys: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hipsgen", "info", str(surveys)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("survey ") == len(NAMES)


def test_served_with_tiles_provenance_and_annotations(surveys: Path) -> None:
    client = TestClient(create_app(ViewerConfig((surveys,))), base_url="http://127.0.0.1")
    found = {one["name"]: one for one in client.get("/api/surveys").json()}
    assert found.keys() == NAMES
    assert found["mask_g"]["planes"] == {"SAT": 0, "CR": 1, "OTHER": 30}
    assert found["variance_g"]["plane"] == "variance"
    for path in tiles(surveys / "band_g"):
        assert (
            client.get(f"/hips/band_g/{path}").content == (surveys / "band_g" / path).read_bytes()
        )
    answer = client.get("/api/pixel", params={"survey": "band_g", "ra": 40.1, "dec": -10.1}).json()
    (coadd,) = answer["coadds"]
    assert coadd["pixel"]["unit"] == "nJy"
    assert client.get("/api/flags").json()["flags"] == [{"survey": "band_g", **FLAG}]
    change = {"note": "gone", "version": FLAG["version"]}
    assert client.put(f"/api/flags/band_g/{FLAG['id']}", json=change).json()["version"] == 3
    assert sorted(os.listdir(surveys / "band_g/.hipsgen/flags")) == [f"{FLAG['id']}.3.json"]

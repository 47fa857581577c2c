"""Surveys that others made: `check --deep` lets sound ones alone and names faults in them."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from hipsgen.checker.finding import Finding
from hipsgen.checker.survey import CheckOptions, check_survey
from tests.checker.test_tiles import rewrite
from tests.conftest import StarField, needs
from tests.peers.test_aladin import JAR

DEEP = CheckOptions(deep=True, workers=2)


def serious(place: Path) -> list[str]:
    return [str(f) for f in findings(place) if f.level != "note"]


def findings(place: Path) -> list[Finding]:
    return check_survey(place, DEEP)


def write_images(folder: Path, count: int) -> list[Path]:
    """Stars and noise with holes; CD instead of PC, without which Hipsgen takes pixels of 1 deg."""
    folder.mkdir()
    rng = np.random.default_rng(4)
    made = []
    for k in range(count):
        stars = [(x, y, 300.0) for x, y in rng.uniform(10, 590, (80, 2))]
        field = StarField(
            150.0 + 0.03 * k, 2.2, stars=stars, background=5.0,
            holes=[(slice(300, 360), slice(200, 260))],
        )  # fmt: skip
        header = field.wcs.to_header()
        for i in "12":
            for j in "12":
                header[f"CD{i}_{j}"] = header.get(f"PC{i}_{j}", float(i == j)) * header[f"CDELT{i}"]
                header.remove(f"PC{i}_{j}", ignore_missing=True)
        del header["CDELT1"], header["CDELT2"]
        noise = rng.normal(size=(600, 600)).astype(np.float32)
        path = folder / f"{k}.fits"
        fits.PrimaryHDU(field.image() + noise, header).writeto(path)
        made.append(path)
    return made


@pytest.fixture(scope="module")
def hipsgen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FITS and PNG tiles by Hipsgen of CDS."""
    if not JAR.exists():
        pytest.skip("needs Aladin (Debian package aladin)")
    folder = tmp_path_factory.mktemp("hipsgen")
    write_images(folder / "in", 2)
    command = [
        needs("java", "default-jre-headless"), "-Xmx1g", "-Djava.awt.headless=true", "-jar",
        str(JAR), "-hipsgen", "maxThread=2", f"in={folder / 'in'}", f"out={folder / 'out'}",
        "creator_did=TEST/P/x", "hips_creator=me", "hips_frame=galactic", "INDEX", "TILES", "PNG",
    ]  # fmt: skip
    subprocess.run(command, capture_output=True, check=True, timeout=200)
    return folder / "out"


@pytest.fixture
def copy(hipsgen: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hipsgen, tmp_path / "copy"))


def test_a_survey_of_hipsgen_is_let_alone(hipsgen: Path) -> None:
    assert len(list(hipsgen.rglob("Npix*.fits"))) > 30
    assert serious(hipsgen) == []


def test_a_survey_of_reproject_lacks_a_moc_and_no_more(tmp_path: Path) -> None:
    from reproject import reproject_interp
    from reproject.hips import reproject_to_hips

    (path,) = write_images(tmp_path / "in", 1)
    with fits.open(path) as hdus:
        data = hdus[0].data.astype(float), WCS(hdus[0].header)
    reproject_to_hips(
        data, coord_system_out="equatorial", reproject_function=reproject_interp,
        output_directory=str(tmp_path / "out"), threads=2,
    )  # fmt: skip
    (said,) = serious(tmp_path / "out")
    assert "Moc.fits: is missing" in said


def _fullest(place: Path, order: int) -> Path:
    tiles = (place / f"Norder{order}").rglob("*.fits")
    return max(tiles, key=lambda p: int(np.isfinite(fits.getdata(p)).sum()))


def _order(place: Path) -> int:
    return max(int(p.name[6:]) for p in place.glob("Norder*"))


def _flip_pictures(place: Path) -> None:
    for path in place.glob("Norder*/Dir*/*.png"):
        Image.open(path).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path)


def _swap(place: Path) -> None:
    tiles = sorted(
        (place / f"Norder{_order(place)}").rglob("*.fits"),
        key=lambda p: int(np.isfinite(fits.getdata(p)).sum()),
    )[-2:]
    values = [fits.getdata(p).copy() for p in tiles]
    rewrite(tiles[0], lambda _: values[1])
    rewrite(tiles[1], lambda _: values[0])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a parent one hundredth brighter": (
        lambda p: rewrite(_fullest(p, _order(p) - 1), lambda v: v * np.float32(1.01)),
        "not made of its child tiles"),
    "a parent shifted by a row": (
        lambda p: rewrite(_fullest(p, _order(p) - 2), lambda v: np.roll(v, 1, axis=0)),
        "not made of its child tiles"),
    "a leaf of zeros": (
        lambda p: rewrite(_fullest(p, _order(p)), np.zeros_like), "not made of its child tiles"),
    "a leaf with holes": (
        lambda p: rewrite(
            _fullest(p, _order(p)), lambda v: np.where(np.arange(512) % 9 < 2, np.nan, v)),
        "does not cover the pixels of the FITS tile"),
    "two leaf tiles swapped": (_swap, "not made of its child tiles"),
    "pictures upside down": (_flip_pictures, "upside down"),
    "an Allsky of something else": (
        lambda p: rewrite(p / "Norder3" / "Allsky.fits", lambda v: np.full_like(v, 1e6)),
        "values outside the range of the tiles"),
    "a flipped byte": (lambda p: _flip_byte(_fullest(p, _order(p))), "CHECKSUM or DATASUM"),
    "a truncated tile": (
        lambda p: _fullest(p, 5).write_bytes(_fullest(p, 5).read_bytes()[:400_000]), "truncated"),
    "a tile gone": (lambda p: _fullest(p, _order(p)).unlink(), "cells have no .fits tile"),
    "another frame": (
        lambda p: _replace(p / "properties", "= galactic", "= equatorial"), "hips_frame"),
}  # fmt: skip


def _flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[500_000] ^= 0x40
    path.write_bytes(data)


def _replace(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_survey_of_hipsgen_is_named(fault: str, copy: Path) -> None:
    plant, word = FAULTS[fault]
    plant(copy)
    named = serious(copy)
    assert any(word in text for text in named), named

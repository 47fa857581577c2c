"""Make the archive of finished surveys with the hipsgen of another checkout.

    python tests/finished/make.py CHECKOUT tests/finished/v0.1.0.tar.xz

Journals hold absolute URIs, so the surveys are made, and later unpacked, at one fixed place.
This file needs nothing of hipsgen but its command line, so that it runs with any release.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
from astropy.io import fits

PLACE = Path("/tmp/hipsgen-finished-v0.1.0")
BANDS = "g", "r", "i"
PLANES = "image", "variance", "mask"
MTIME = 1_700_000_000
FLAG = {
    "id": "00112233445566aa",
    "version": 2,
    "ra": 40.5,
    "dec": -10.25,
    "note": "a satellite's trail",
    "view": "survey=band_g&ra=40.5&dec=-10.25&fov=2",
    "author": "an earlier user",
    "created": "2026-01-01T00:00:00.000000Z",
    "changed": "2026-01-02T00:00:00.000000Z",
    "deleted": False,
}


def write_coadd(path: Path, band: str, lon: float, seed: int) -> None:
    """A coadd of 60 x 50 pixels of 100 arcsec with the planes and cards of an lsst.afw one."""
    rng = np.random.default_rng(seed)
    shape = (50, 60)
    image = np.round(rng.normal(0.0, 1.0, shape) + 20 * rng.random(shape) ** 8, 1)
    image[20:24, 30:33] = np.nan
    mask = np.zeros(shape, np.int32)
    mask[20:24, 30:33] = 1 << 2
    mask[10:20, 10:30] = 1 << 5
    scale = 100 / 3600
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg",
            "CRVAL1": lon, "CRVAL2": -10.0, "CRPIX1": 30.5, "CRPIX2": 25.5,
            "CD1_1": -scale, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": scale,
        }
    )  # fmt: skip
    primary = fits.PrimaryHDU(header=fits.Header({"FILTER": band}))
    hdus: list[object] = [primary]
    for name, data, unit in (
        ("IMAGE", image.astype(np.float32), "nJy"),
        ("MASK", mask, ""),
        ("VARIANCE", np.full(shape, 1.0 + seed / 10, np.float32), "nJy**2"),
    ):
        cards = header.copy()
        cards["EXTTYPE"] = name
        if unit:
            cards["BUNIT"] = unit
        else:
            cards["MP_SAT"], cards["MP_CR"] = 2, 5
        hdus.append(fits.ImageHDU(data, cards, name=name))
    fits.HDUList(hdus).writeto(path)
    os.utime(path, (MTIME, MTIME))


def build_command() -> list[str]:
    """Arguments of hipsgen that make, continue or update the surveys."""
    return [
        "build", str(PLACE / "coadds"), "-o", str(PLACE / "hips"), "--color", "gri",
        "--planes", ",".join(PLANES), *(word for band in BANDS for word in ("-b", band)),
    ]  # fmt: skip


def main() -> None:
    """Make everything at the fixed place, and the archive of it."""
    checkout, archive = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    shutil.rmtree(PLACE, ignore_errors=True)
    (PLACE / "coadds").mkdir(parents=True)
    for number, band in enumerate(BANDS):
        for k, lon in enumerate((40.0, 60.0)):
            write_coadd(PLACE / "coadds" / f"{band}{k}.fits", band, lon, 10 * number + k)
    subprocess.run(
        [sys.executable, "-m", "hipsgen", *build_command(), "--workers", "1"],
        check=True,
        cwd=checkout,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1767225600"},
    )
    notes = PLACE / "hips/band_g/.hipsgen/flags"
    notes.mkdir()
    (notes / f"{FLAG['id']}.{FLAG['version']}.json").write_text(json.dumps(FLAG))
    with tarfile.open(archive, "w:xz") as file:
        file.add(PLACE, arcname=".")


if __name__ == "__main__":
    main()

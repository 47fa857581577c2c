"""Surveys and the coadds they were made from: an ExposureF of the sample, a real CellCoadd."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from hipsgen.images.uris import path_of
from hipsgen.survey.provenance import Provenance, UsedCoadd
from tests.conftest import build_by_command
from tests.viewer.conftest import Client, client_for


@dataclass(frozen=True)
class Inspected:
    """root: the served folder; name: of the survey; coadd: one that it was made from."""

    root: Path
    name: str
    coadd: UsedCoadd

    @property
    def path(self) -> Path:
        found = path_of(self.coadd.ref.uri)
        assert found is not None
        return found

    @cached_property
    def client(self) -> Client:
        return client_for(self.root)

    @cached_property
    def hdus(self) -> dict[str, tuple[np.ndarray, fits.Header]]:
        """Data and header of IMAGE, MASK, VARIANCE, as astropy reads them; do not modify them."""
        with fits.open(self.path) as found:
            return {
                name: (np.array(hdu.data), hdu.header)
                for hdu in found
                if (name := hdu.header.get("EXTTYPE") or hdu.name) in ("IMAGE", "MASK", "VARIANCE")
            }

    @cached_property
    def wcs(self) -> WCS:
        return WCS(self.hdus["IMAGE"][1])

    def positions(self, count: int, seed: int = 1) -> list[tuple[float, float, int, int]]:
        """Return ra, dec, column and row of some pixels, slightly off their centers."""
        rng = np.random.default_rng(seed)
        rows, cols = self.hdus["IMAGE"][0].shape
        found = []
        for _ in range(count):
            col, row = int(rng.integers(2, cols - 2)), int(rng.integers(2, rows - 2))
            off = rng.uniform(-0.4, 0.4, 2)
            ra, dec = self.wcs.all_pix2world(col + off[0], row + off[1], 0)
            found.append((float(ra), float(dec), col, row))
        return found


def exposure(root: Path) -> Inspected:
    """A patch of the sample's second run, in band r."""
    table = Provenance.from_bytes((root / "band_r" / "provenance.fits").read_bytes())
    coadd = next(c for c in table.coadds if c.unit_in == "count")
    return Inspected(root, "band_r", coadd)


def cell_coadd(data: Path, folder: Path) -> Inspected:
    """The CellCoadd of DP2, reduced, as a file, because its registry has another path."""
    (file,) = data.rglob("*.fits")
    build_by_command(folder / "hips", file)
    table = Provenance.from_bytes((folder / "hips" / "provenance.fits").read_bytes())
    return Inspected(folder, "hips", table.coadds[0])

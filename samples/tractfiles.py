"""Make the FITS files of one tract, the work of one process."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from samples.blemishes import blank_pixels, detector_edges
from samples.catalog import make_sky
from samples.coadd import CURRENT_PLANES, OLDER_PLANES, SKY_SIGMA, Coadd, make_coadd
from samples.exposure import Form, write_exposure
from samples.field import Field
from samples.sky import BANDS, Sky
from samples.skymap import TRACT_IDS, Patch, Tract, make_tracts

FIRST_RUN = "sample/run/20260101T000000Z"
SECOND_RUN = "sample/run/20260202T000000Z"
REPROCESSED = (TRACT_IDS[0], 0)  # tract and patch
_DEEPER = 0.6  # noise of the second run over that of the first


@dataclass(frozen=True)
class CoaddFile:
    """A file that has been written, with its run and data id."""

    path: Path
    run: str
    tract: int
    patch: int
    band: str


def sample_sky(size: int, seed: int) -> Sky:
    """Make the sky of the sample of a size (pixels of a patch's inner side) and seed."""
    return make_sky(Field.around(make_tracts(size)), seed)


def form_of(tract: int, band: str, run: str) -> Form:
    """Return the form of a file: the older tract is in counts, i of the first run is RICE_1."""
    if run == SECOND_RUN:
        return Form(calibrated=True, compression="GZIP_2")
    return Form(tract != TRACT_IDS[0], "RICE_1" if band == "i" else "GZIP_2")


def write_tract(folder: Path, tract_id: int, size: int, seed: int) -> list[CoaddFile]:
    """Write every patch and band of a tract, and its reprocessed patch, into a folder."""
    tract = next(t for t in make_tracts(size) if t.id == tract_id)
    truth = sample_sky(size, seed).render(tract)
    defects = blank_pixels(tract, seed), detector_edges(tract, seed)
    files: list[CoaddFile] = []
    for band, image in zip(BANDS, truth, strict=True):
        coadd = _coadd(tract, band, image, *defects, FIRST_RUN, seed)
        files += _write(folder, tract, tract.patches(), band, coadd, FIRST_RUN)
        if tract.id == REPROCESSED[0]:
            no_defects = np.zeros_like(defects[0])
            coadd = _coadd(tract, band, image, no_defects, no_defects, SECOND_RUN, seed)
            reprocessed = [p for p in tract.patches() if p.id == REPROCESSED[1]]
            files += _write(folder, tract, reprocessed, band, coadd, SECOND_RUN)
    return files


def _coadd(
    tract: Tract,
    band: str,
    truth: npt.NDArray[np.float32],
    blank: npt.NDArray[np.bool_],
    edges: npt.NDArray[np.bool_],
    run: str,
    seed: int,
) -> Coadd:
    rng = np.random.default_rng([seed, 4, tract.id, BANDS.index(band)])
    sigma = SKY_SIGMA[band] * (_DEEPER if run == SECOND_RUN else 1.0)
    planes = CURRENT_PLANES if form_of(tract.id, band, run).calibrated else OLDER_PLANES
    return make_coadd(truth, sigma, blank, edges, planes, rng)


def _write(
    folder: Path,
    tract: Tract,
    patches: Iterable[Patch],
    band: str,
    coadd: Coadd,
    run: str,
) -> list[CoaddFile]:
    files = []
    form = form_of(tract.id, band, run)
    for patch in patches:
        path = folder / f"{tract.id}_{patch.id}_{band}_{run[-16:]}.fits"
        write_exposure(path, coadd.cut(patch), tract, patch.box, band, form)
        files.append(CoaddFile(path, run, tract.id, patch.id, band))
    return files

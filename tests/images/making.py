"""Small FITS images made on the fly, and an oracle for "inside a polygon"."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from hipsgen.builder.metadata import SurveyIdentity
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.fits_folder import FitsFolder
from hipsgen.planner.options import BuildOptions, Runtime
from hipsgen.run.progress import QuietReporter
from hipsgen.survey.store import open_store
from tests.building import build_one
from tests.repositories.conftest import survey_bytes

ROWS, COLS = 40, 50
ARCSEC = 1 / 3600


def tan_header(shape: tuple[int, int] = (ROWS, COLS), **cards: Any) -> fits.Header:
    """An undistorted tangential projection of one arcsec per pixel; a card of None is left out."""
    rows, cols = shape
    values = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRPIX1": (cols + 1) / 2,
        "CRPIX2": (rows + 1) / 2,
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CDELT1": -ARCSEC,
        "CDELT2": ARCSEC,
        "RADESYS": "ICRS",
        **cards,
    }
    header = fits.Header()
    for key, value in values.items():
        if value is not None:
            header[key] = value
    return header


def noise(shape: tuple[int, ...] = (ROWS, COLS), seed: int = 0) -> npt.NDArray[np.float32]:
    """A sky of 100 with noise of 5."""
    return np.random.default_rng(seed).normal(100.0, 5.0, shape).astype(np.float32)


def with_hole(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same with NaN in rows 3 ... 5 and columns 4 ... 8, and a lone one."""
    image = image.copy()
    image[..., 3:6, 4:9] = np.nan
    image[..., 20, 30] = np.nan
    return image


def write(path: Path, *hdus: Any) -> Path:
    fits.HDUList(list(hdus)).writeto(path)
    return path


def survey_of(folder: Path, out: Path) -> dict[str, str]:
    """Build a folder's coadds; hashes of the files of the survey that hold pixels."""
    source = FitsFolder([str(folder)], FitsReader(), False)
    subject = SurveyIdentity("r", "r", "test", "r")
    build_one(source, open_store(out), subject, BuildOptions(), Runtime(workers=2), QuietReporter())
    return survey_bytes(out)


def winds_round(polygon: npt.NDArray[Any], points: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which unit vectors (k, 3) a polygon (n, 3) on the sphere runs round.

    The angles under which its sides are seen from the point add up to a full turn, or to nothing.
    """
    a = polygon[None] - points[:, None]
    # directions from the point, in its tangent plane
    a -= (a * points[:, None]).sum(axis=-1, keepdims=True) * points[:, None]
    b = np.roll(a, -1, axis=1)
    sine = (np.cross(a, b) * points[:, None]).sum(axis=-1)
    cosine = (a * b).sum(axis=-1)
    turns = np.arctan2(sine, cosine).sum(axis=1) / (2 * np.pi)
    return np.asarray(np.abs(turns) > 0.5)

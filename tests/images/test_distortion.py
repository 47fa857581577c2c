"""Distorted images far from CRPIX, such as cutouts of larger ones; the oracle is astropy."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from astropy.wcs import WCS, DistortionLookupTable

from hipsgen.errors import CoaddError
from hipsgen.images.wcs import ImageWcs
from hipsgen.sky.polygon import to_vectors
from tests.images.making import ARCSEC, tan_header

SHAPE = (120, 100)
PIXELS = 1e-5


def sip(first: tuple[float, float], strength: float) -> fits.HDUList:
    """A cutout that begins at a pixel of a large image, of which CRPIX is the first one."""
    cards = {
        **{"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"},
        **{"A_ORDER": 2, "A_2_0": strength, "A_1_1": -strength / 2},
        **{"B_ORDER": 2, "B_0_2": -strength, "B_1_1": strength / 2},
        **{"CRPIX1": 1.0 - first[0], "CRPIX2": 1.0 - first[1]},
    }
    return fits.HDUList([fits.PrimaryHDU(np.zeros(SHAPE, np.float32), tan_header(SHAPE, **cards))])


def tpv(first: tuple[float, float], strength: float) -> fits.HDUList:
    cards = {
        **{"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CDELT1": None, "CDELT2": None},
        **{"CD1_1": -ARCSEC, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": ARCSEC},
        **{"PV1_0": 0.0, "PV1_1": 1.0, "PV1_4": strength, "PV1_5": -strength / 2},
        **{"PV2_0": 0.0, "PV2_1": 1.0, "PV2_4": -strength, "PV2_7": strength},
        **{"CRPIX1": 1.0 - first[0], "CRPIX2": 1.0 - first[1]},
    }
    return fits.HDUList([fits.PrimaryHDU(np.zeros(SHAPE, np.float32), tan_header(SHAPE, **cards))])


def lookup(kind: str, first: tuple[float, float], strength: float) -> fits.HDUList:
    """A cutout of an image of 8001 x 8001 pixels; strength: largest distortion in pixels."""
    nodes, side = 41, 8000.0
    u, v = np.meshgrid(*2 * [np.linspace(-1.0, 1.0, nodes)])
    wcs = WCS(tan_header(SHAPE, CRPIX1=4001.0 - first[0], CRPIX2=4001.0 - first[1]))
    tables = strength * (u**2 + 0.5 * u * v), strength * (0.7 * v**2 - 0.3 * u)
    for axis, table in enumerate(tables, 1):
        corner, step = (1.0 - first[0], 1.0 - first[1]), 2 * (side / (nodes - 1),)
        values = table.astype(np.float32)
        setattr(wcs, f"{kind}{axis}", DistortionLookupTable(values, (1.0, 1.0), corner, step))
    hdus = wcs.to_fits(relax=True)
    hdus[0].data = np.zeros(SHAPE, np.float32)
    return hdus


CUTOUTS = {
    "SIP": lambda: sip((2000, -1400), 2e-5),
    "SIP, 1300 pixels from its place without distortion": lambda: sip((8000, 5600), 1e-5),
    "SIP that takes too many steps of a simple iteration": lambda: sip((20_000, -14_000), 1.9e-5),
    "SIP that a simple iteration does not invert": lambda: sip((20_000, 14_000), 5e-5),
    "TPV": lambda: tpv((20_000, -14_000), 0.01),
    "table": lambda: lookup("cpdis", (0, 0), 300.0),
    "strong table": lambda: lookup("cpdis", (7000, 6500), 1500.0),
    "table of the detector": lambda: lookup("det2im", (0, 0), 300.0),
    "strong table of the detector": lambda: lookup("det2im", (7000, 6500), 1500.0),
}


@pytest.fixture(params=CUTOUTS, ids=str)
def cutout(request: pytest.FixtureRequest) -> fits.HDUList:
    hdus: fits.HDUList = CUTOUTS[request.param]()
    return hdus


def pixels(step: int = 10) -> npt.NDArray[np.float64]:
    """Positions (n, 2) all over the image, its corners too."""
    rows, cols = SHAPE
    along = np.linspace(-0.5, cols - 0.5, step), np.linspace(-0.5, rows - 0.5, step)
    return np.stack(np.meshgrid(*along), axis=-1).reshape(-1, 2)


def through_astropy(hdus: fits.HDUList, positions: Any) -> npt.NDArray[np.float64]:
    return to_vectors(*WCS(hdus[0].header, hdus).all_pix2world(positions, 0).T)


def test_the_inverse_distortion_returns_every_pixel(cutout: fits.HDUList) -> None:
    wcs = ImageWcs(cutout[0].header, SHAPE, cutout)
    found = np.stack(wcs(through_astropy(cutout, pixels())), axis=1)
    np.testing.assert_allclose(found, pixels(), rtol=0, atol=PIXELS)


def test_an_infinite_distortion_is_refused() -> None:
    hdus = sip((20_000, 0), 1e305)
    with pytest.raises(CoaddError, match="distortion of its WCS is infinite"):
        ImageWcs(hdus[0].header, SHAPE, hdus)


def test_positions_off_the_image_get_no_pixel_of_it(cutout: fits.HDUList) -> None:
    """Positions around the image, and all over the sky."""
    wcs = ImageWcs(cutout[0].header, SHAPE, cutout)
    middle = through_astropy(cutout, np.array([[50.0, 60.0]]))
    random = np.random.default_rng(3).normal(size=(30_000, 3))
    random[:10_000] = middle + 300 * ARCSEC * np.pi / 180 * random[:10_000]
    random[10_000:20_000] = middle + 0.1 * random[10_000:20_000]
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    x, y = wcs(random)
    rows, cols = SHAPE
    inside = (x >= -0.5) & (x < cols - 0.5) & (y >= -0.5) & (y < rows - 0.5)
    back = through_astropy(cutout, np.stack([x[inside], y[inside]], axis=1))
    assert np.degrees(np.abs(back - random[inside]).max(initial=0.0)) < PIXELS * ARCSEC

"""Maps of the whole sky: as accurate at their seam and poles as elsewhere (an analytic sky)."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits

import hipsgen
from hipsgen.images.wcs import ImageWcs
from tests.images.making import tan_header

WIDTH = 128
CAR = {
    **{"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR", "CRVAL1": 0.0, "CRVAL2": 0.0},
    **{"CRPIX1": 180.5, "CRPIX2": 90.5, "CDELT1": -1.0, "CDELT2": 1.0},
}
MAPS: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "CAR": ((180, 360), CAR),
    "pixels on the seam and the poles": ((181, 361), {**CAR, "CRPIX1": 181.0, "CRPIX2": 91.0}),
    "seam anywhere": ((180, 360), {**CAR, "CRPIX1": 1.0, "CRVAL1": 300.0, "CROTA2": 1e-9}),
    "pixels that do not meet": ((180, 515), {**CAR, "CDELT1": -0.7, "CRPIX1": 258.0}),
    "swapped axes": (
        (360, 180),
        {
            **{**CAR, "CTYPE1": "DEC--CAR", "CTYPE2": "RA---CAR"},
            **{"CRPIX1": 90.5, "CRPIX2": 180.5, "CDELT1": 1.0, "CDELT2": 1.0},
        },
    ),
    "galactic": ((180, 360), {**CAR, "CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR"}),
    "oblique": ((180, 360), {**CAR, "CRVAL1": 40.0, "CRVAL2": 35.0}),
    "CYP": (
        (180, 360),
        {
            **{**CAR, "CTYPE1": "RA---CYP", "CTYPE2": "DEC--CYP", "PV2_1": 1.0, "PV2_2": 0.5},
            **{"CDELT1": -0.5, "CDELT2": np.degrees(1.5) / 90},
        },
    ),
}


def sky(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x, y, z = np.moveaxis(vectors, -1, 0)
    values = 10 + np.sin(5 * x + 1) + np.cos(4 * y - 2 * z) + np.sin(6 * z + 3 * x) + 0.3 * x * y
    return np.asarray(values)


def write(path: Path, shape: tuple[int, int], cards: dict[str, Any]) -> ImageWcs:
    header = tan_header(shape, **cards)
    wcs = ImageWcs(header, shape)
    y, x = np.mgrid[: shape[0], : shape[1]].reshape(2, -1).astype(float)
    fits.PrimaryHDU(sky(wcs.to_sky(x, y)).reshape(shape).astype(np.float32), header).writeto(path)
    return wcs


def build(folder: Path, **options: Any) -> hipsgen.Survey:
    coadds = hipsgen.find_coadds(folder / "map.fits")
    settings = hipsgen.BuildOptions(tile_width=WIDTH, formats=("fits",), **options)
    (result,) = hipsgen.build(coadds, folder / "hips", options=settings)
    return hipsgen.open_survey(result.path)


def errors(survey: hipsgen.Survey) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the errors of all pixels (n,) of a survey, and their positions (n, 3)."""
    rows, cols = np.mgrid[:WIDTH, :WIDTH].reshape(2, -1)
    found, places = [], []
    for tile in survey.tiles_of(survey.order):
        values = survey.values(tile)
        assert values is not None
        places.append(tile.vectors(rows, cols, WIDTH))
        found.append(values.ravel() - sky(places[-1]))
    return np.abs(np.concatenate(found)), np.concatenate(places)


@pytest.mark.parametrize("name", MAPS)
def test_seam_and_poles_are_as_accurate_as_the_rest(name: str, tmp_path: Path) -> None:
    shape, cards = MAPS[name]
    wcs = write(tmp_path / "map.fits", shape, cards)
    error, place = errors(build(tmp_path, order=0))
    assert len(error) == 12 * WIDTH**2
    x, y = wcs(place)
    beside = (np.minimum(x, y) < 2.5) | (x > shape[1] - 3.5) | (y > shape[0] - 3.5)
    assert beside.sum() > 1000
    assert error[beside].max() < 1.05 * error[~beside].max() < 6e-4


def test_a_missing_pixel_at_the_seam_is_missing_on_both_sides(tmp_path: Path) -> None:
    wcs = write(tmp_path / "map.fits", (180, 360), CAR)
    with fits.open(tmp_path / "map.fits", mode="update") as hdus:
        hdus[0].data[88:91, 358:] = hdus[0].data[88:91, :2] = np.nan
    error, place = errors(build(tmp_path, order=0))
    x, y = wcs(place)
    hole = (np.abs(y - 89) < 1.5) & ((x > 357.5) | (x < 1.5))
    assert hole.sum() > 20
    assert np.isnan(error[hole]).all()
    assert np.isfinite(error[~hole]).all()


def test_a_map_of_half_of_the_longitudes_is_not_closed(tmp_path: Path) -> None:
    """Half of the longitudes: nothing lies beyond the poles and the sides."""
    wcs = write(tmp_path / "map.fits", (180, 180), {**CAR, "CRPIX1": 90.5})
    assert wcs.cylinder is not None
    assert not any(wcs.cylinder.closed)
    error, _ = errors(build(tmp_path, order=0))
    assert np.nanmax(error) < 0.1
    assert np.isfinite(error).sum() == pytest.approx(6 * WIDTH**2, rel=0.02)

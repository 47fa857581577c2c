"""A cutout of a distorted image, far from its reference pixel, against an analytic sky."""

from pathlib import Path

import numpy as np
import pytest

import hipsgen
from hipsgen.sky.polygon import to_lonlat
from tests.images.test_distortion import CUTOUTS, SHAPE, through_astropy

OPTIONS = hipsgen.BuildOptions(order=9, formats=("fits",))


@pytest.mark.parametrize("kind", ["SIP, 1300 pixels from its place without distortion", "table"])
def test_all_pixels_of_a_distorted_cutout_are_in_the_tiles_at_their_positions(
    kind: str, tmp_path: Path
) -> None:
    hdus = CUTOUTS[kind]()
    rows, cols = SHAPE
    y, x = np.mgrid[:rows, :cols].reshape(2, -1)
    vectors = through_astropy(hdus, np.stack([x, y], axis=1))
    middle = vectors.mean(axis=0)

    def sky(places: np.ndarray) -> np.ndarray:
        """A slope of about 1 per pixel."""
        offset = (places - middle) * 206_265
        return np.asarray(1000 + offset @ [1.0, 0.3, -0.7])

    hdus[0].data = sky(vectors).reshape(SHAPE).astype(np.float32)
    hdus.writeto(tmp_path / "cutout.fits")
    coadds = hipsgen.find_coadds(tmp_path / "cutout.fits")
    (result,) = hipsgen.build(coadds, tmp_path / "hips", options=OPTIONS)
    survey = hipsgen.open_survey(result.path)
    found, places = [], []
    for tile in survey.tiles_of(9):
        values = survey.values(tile)
        assert values is not None
        row, col = np.nonzero(np.isfinite(values))
        found.append(values[row, col])
        places.append(tile.vectors(row, col, 512))
    values, at = np.concatenate(found), np.concatenate(places)
    errors = np.abs(values - sky(at))
    assert errors.max() < 0.5  # at the edge there is no interpolation
    assert np.quantile(errors, 0.9) < 0.02
    # all of it: as many pixels as fit into the area of the cutout
    corners = through_astropy(
        hdus, [[-0.5, -0.5], [cols - 0.5, -0.5], [cols - 0.5, rows - 0.5], [-0.5, rows - 0.5]]
    )
    diagonals = np.cross(corners[2] - corners[0], corners[3] - corners[1])
    area = np.linalg.norm(diagonals) / 2
    assert len(values) * 4 * np.pi / (12 * 512**2 * 4**9) == pytest.approx(area, rel=0.01)
    assert np.abs(np.array(to_lonlat(at.mean(axis=0))) - to_lonlat(middle)).max() < 1e-3

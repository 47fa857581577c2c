"""Every pixel of some tiles against astropy's reproject, on the same tile header."""

import numpy as np
import pytest
from astropy.io import fits
from reproject import reproject_interp

from tests.conftest import Build, StarField


@pytest.mark.parametrize(
    ("lon", "lat"), [(150.1, 2.2), (75.0, 41.8103), (0.0, -31.0), (250.0, 89.95), (90.0, 41.8103)]
)
def test_bilinear_agrees_with_reproject_to_float32_rounding(
    lon: float, lat: float, build: Build, tmp_path
) -> None:
    field = StarField(lon, lat, background=10.0, stars=[(300.3, 300.7, 100.0)])
    path = field.write(tmp_path / "a.fits")
    rng = np.random.default_rng(3)
    with fits.open(path, mode="update") as hdus:
        hdus[0].data += rng.normal(size=hdus[0].data.shape).astype(np.float32)
        hdus[0].data[100:110, 200:230] = np.nan
        image, wcs = hdus[0].data.copy(), field.wcs
    survey = build([path], interpolation="bilinear").survey
    compared = 0
    for tile in survey.tiles_of(survey.order):
        header = fits.Header.fromstring(survey.store.read(tile.path("fits"))[:2880].decode("ascii"))
        ours = survey.values(tile)
        theirs, footprint = reproject_interp((image, wcs), header, order="bilinear")
        # reproject spreads NaN and fades at the edge, by their own rules: compare where both have
        # all four neighbors
        both = (footprint == 1) & np.isfinite(theirs) & np.isfinite(ours)
        compared += both.sum()
        assert np.abs(ours - theirs)[both].max(initial=0.0) < 1e-5  # a float32 step is 7.6e-6 there
        only_theirs = np.isfinite(theirs) & ~np.isfinite(ours)
        assert not (only_theirs & (footprint == 1)).any()
    assert compared > 0.95 * image.size

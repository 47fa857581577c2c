"""Where the pixels of the written tiles lie, by healpy, and by the WCS that the tiles carry."""

import healpy
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from tests.conftest import Build, StarField
from tests.oracles import interleaved


def test_the_wcs_of_a_written_tile_gives_healpy_positions(build: Build, tmp_path) -> None:
    for name, frame, keys in (
        ("e", "equatorial", "RA"),
        ("g", "galactic", "GLON"),
        ("x", "ecliptic", "ELON"),
    ):
        field = StarField(0.0, 41.8, background=1.0, size=300)
        survey = build([field.write(tmp_path / f"{name}.fits")], name=name, frame=frame).survey
        for order in (0, 3, 7, 11):
            for tile in survey.tiles_of(order):
                data = survey.store.read(tile.path("fits"))
                header = fits.Header.fromstring(data[:2880].decode("ascii"))
                assert header["CTYPE1"].startswith(keys)
                row, col = np.mgrid[0:512, 0:512]
                lon, lat = WCS(header).all_pix2world(col, row, 0)
                index = tile.npix * 512**2 + interleaved(512)
                truth = healpy.pix2vec((1 << order) * 512, index, nest=True)
                found = healpy.ang2vec(lon.ravel(), lat.ravel(), lonlat=True).T
                apart = np.abs(found - np.reshape(truth, (3, -1))).max()
                assert np.degrees(apart) * 3600 < 1e-6


def test_a_picture_shows_the_sky_where_its_fits_tile_has_it(build: Build, tmp_path) -> None:
    from PIL import Image

    field = StarField(10.0, 20.0, stars=[(100.0, 420.0, 500.0)], background=5.0)
    survey = build([field.write(tmp_path / "a.fits")]).survey
    for tile in survey.tiles_of(survey.order):
        values = survey.values(tile)
        if not np.nanmax(values) > 400:
            continue
        picture = np.asarray(Image.open(survey.store.root / tile.path("png")))
        row, col = np.unravel_index(np.nanargmax(values), values.shape)
        assert picture[511 - row, col] == picture.max()
        assert ((picture == 0) == np.isnan(values)[::-1]).all()

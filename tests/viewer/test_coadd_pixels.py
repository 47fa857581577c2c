"""The server's values of coadds agree with what astropy reads from their files."""

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.stats import mad_std
from astropy.wcs import WCS

from hipsgen.images.masks import plane_bits
from hipsgen.survey.provenance import Provenance
from tests.conftest import linked_copy
from tests.viewer.conftest import client_for
from tests.viewer.inspected import Inspected, cell_coadd, exposure
from viewer.coadds.pixels import coadd_id

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["ExposureF", "CellCoadd"])
def inspected(request, tmp_path_factory) -> Inspected:
    if request.param == "ExposureF":
        return exposure(request.getfixturevalue("sample_surveys"))
    data: Path = request.getfixturevalue("shared_data")
    return cell_coadd(data / "butler_dp2_cell_coadd", tmp_path_factory.mktemp("cells"))


def asked(inspected: Inspected, path: str, **words: object):
    query = {"survey": inspected.name, "coadd": coadd_id(inspected.coadd), **words}
    return inspected.client.get(f"/api/{path}", params=query)


def told(inspected: Inspected, ra: float, dec: float):
    """Description of the coadd at a position."""
    found = asked(inspected, "pixel", ra=repr(ra), dec=repr(dec)).json()["coadds"]
    return next(c for c in found if c["coadd"] == coadd_id(inspected.coadd))["pixel"]


def test_a_pixel_is_what_astropy_reads(inspected):
    hdus = inspected.hdus
    scale = inspected.coadd.scale
    planes = plane_bits(hdus["MASK"][1])
    assert planes
    seen: set[str] = set()
    for ra, dec, col, row in inspected.positions(40):
        pixel = told(inspected, ra, dec)
        assert (pixel["x"], pixel["y"]) == (col, row)
        value, variance = hdus["IMAGE"][0][row, col], hdus["VARIANCE"][0][row, col]
        if math.isfinite(value):
            assert pixel["value"] == pytest.approx(float(value) * scale, rel=1e-6)
            if math.isfinite(variance):
                assert pixel["variance"] == pytest.approx(float(variance) * scale**2, rel=1e-6)
                assert pixel["sn"] == pytest.approx(float(value) / math.sqrt(variance), rel=1e-5)
            else:
                assert pixel["variance"] is None
        else:
            assert (pixel["value"], pixel["sn"]) == (None, None)
        bits = int(hdus["MASK"][0][row, col])
        assert set(pixel["mask"]) == {name for name, bit in planes.items() if bits >> bit & 1}
        seen.update(pixel["mask"])
        there = SkyCoord(*inspected.wcs.all_pix2world(col, row, 0), unit="deg")
        assert there.separation(SkyCoord(pixel["ra"], pixel["dec"], unit="deg")).mas < 0.01
        assert pixel["unit"] == "nJy"
    assert seen


@pytest.mark.filterwarnings("ignore:.unitfix")
def test_a_pixel_s_place_in_the_tract(inspected):
    header = inspected.hdus["IMAGE"][1]
    other = WCS(header, key="A")
    ra, dec, col, row = inspected.positions(1)[0]
    pixel = told(inspected, ra, dec)
    # WCS "A" of LSST's files counts the pixels of the tract
    x, y = other.all_pix2world(col, row, 0)
    assert (pixel["tract_x"], pixel["tract_y"]) == (round(float(x)), round(float(y)))


def test_surface_brightness(inspected):
    for ra, dec, _, _ in inspected.positions(20):
        pixel = told(inspected, ra, dec)
        if pixel["value"] is not None and pixel["value"] > 0:
            jansky = 1e-9 * pixel["value"] / pixel["pixel_scale"] ** 2
            truth = -2.5 * math.log10(jansky / 3631)
            assert pixel["surface_brightness"] == pytest.approx(truth, abs=1e-3)
        else:
            assert pixel["surface_brightness"] is None


def test_a_cutout_opens_in_astropy_with_the_same_sky(inspected):
    hdus = inspected.hdus
    rows, cols = hdus["IMAGE"][0].shape
    ra, dec = (float(a) for a in inspected.wcs.all_pix2world(cols / 2, rows / 2, 0))
    answer = asked(inspected, "cutout", ra=repr(ra), dec=repr(dec), size=5.0)
    assert answer.headers["content-type"] == "application/fits"
    assert answer.headers["content-disposition"].startswith('attachment; filename="cutout_')
    with fits.open(io.BytesIO(answer.content), checksum=True) as cut:
        cut.verify("exception")
        assert [hdu.name for hdu in cut] == ["PRIMARY", "IMAGE", "MASK", "VARIANCE"]
        x0, y0 = cut[0].header["CUT_X0"], cut[0].header["CUT_Y0"]
        image, mask, variance = (cut[name].data for name in ("IMAGE", "MASK", "VARIANCE"))
        side = round(5.0 / told(inspected, ra, dec)["pixel_scale"])
        assert image.shape == (side, side)
        here = np.s_[y0 : y0 + side, x0 : x0 + side]
        scale = inspected.coadd.scale
        np.testing.assert_allclose(image, hdus["IMAGE"][0][here] * np.float32(scale), rtol=1e-6)
        np.testing.assert_allclose(
            variance, hdus["VARIANCE"][0][here] * np.float32(scale**2), rtol=1e-6
        )
        np.testing.assert_array_equal(mask, hdus["MASK"][0][here])
        assert plane_bits(cut["MASK"].header) == plane_bits(hdus["MASK"][1])
        assert (cut["IMAGE"].header["BUNIT"], cut["VARIANCE"].header["BUNIT"]) == (
            "nJy", "nJy**2",
        )  # fmt: skip
        for name in ("IMAGE", "MASK", "VARIANCE"):
            x, y = np.meshgrid(np.arange(float(side)), np.arange(float(side)))
            mine = WCS(cut[name].header).pixel_to_world(x, y)
            truth = inspected.wcs.pixel_to_world(x + x0, y + y0)
            assert mine.separation(truth).max().mas < 1e-3


def test_statistics_of_a_circle_are_those_of_its_pixels(inspected):
    hdus = inspected.hdus
    rows, cols = hdus["IMAGE"][0].shape
    wcs = inspected.wcs
    center = wcs.pixel_to_world(cols / 2 + 0.3, rows / 2 - 0.2)
    radius = 4.05
    y, x = np.mgrid[:rows, :cols]
    inside = wcs.pixel_to_world(x, y).separation(center).arcsec <= radius
    query = {"survey": inspected.name, "ra": center.ra.deg, "dec": center.dec.deg}
    answer = inspected.client.get("/api/statistics", params={**query, "radius": radius}).json()
    (found,) = answer["statistics"]
    assert found["source"] == "coadd"
    if found["coadd"] != coadd_id(inspected.coadd):
        pytest.skip("another coadd has these pixels, too, and was taken")
    values = hdus["IMAGE"][0][inside] * inspected.coadd.scale
    valid = values[np.isfinite(values)].astype(float)
    assert found["count"] == valid.size > 500
    truth = {"mean": valid.mean(), "median": np.median(valid), "sum": valid.sum()}
    truth |= {"sigma": valid.std(ddof=1), "robust_sigma": mad_std(valid)}
    for name, number in truth.items():
        assert found[name] == pytest.approx(number, rel=1e-5, abs=1e-4), name


def test_a_position_off_the_coadd_and_a_missing_coadd(inspected, tmp_path):
    assert asked(inspected, "pixel", ra=1.0, dec=2.0).json()["coadds"] == []
    gone = asked(inspected, "cutout", ra=1.0, dec=2.0, size=5)
    assert gone.status_code == 404
    assert "no coadd" in gone.json()["error"]
    ra, dec, _, _ = inspected.positions(1)[0]
    for size in ("0", "1e9", "nan", "x", ""):
        bad = asked(inspected, "cutout", ra=ra, dec=dec, size=size)
        assert bad.status_code == 400
        assert "size=" in bad.json()["error"]
    # other tests read the survey and its coadds at the same time
    survey = linked_copy(inspected.root / inspected.name, tmp_path / "root" / inspected.name)
    ref = replace(inspected.coadd.ref, uri=(tmp_path / "missing.fits").as_uri())
    coadd = replace(inspected.coadd, ref=ref)
    (survey / "provenance.fits").unlink()
    (survey / "provenance.fits").write_bytes(Provenance([coadd]).to_bytes())
    client = client_for(survey.parent, originals=[str(tmp_path)])
    query = {"survey": inspected.name, "ra": repr(ra), "dec": repr(dec)}
    (found,) = client.get("/api/pixel", params=query).json()["coadds"]
    assert "does not exist" in found["error"]

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from samples.coadd import CURRENT_PLANES, OLDER_PLANES, Coadd, make_coadd
from samples.exposure import FLUXMAG0, Form, write_exposure
from samples.skymap import Patch, Tract, make_tracts

from .reading import calibration, read_planes

FORMS = [Form(c, z) for c in (True, False) for z in ("GZIP_2", "RICE_1")]
form_of_file = pytest.mark.parametrize(
    "form", FORMS, ids=lambda f: f"{f.calibrated}-{f.compression}"
)


@pytest.fixture
def tract() -> Tract:
    return make_tracts(200)[0]


@pytest.fixture
def patch(tract: Tract) -> Patch:
    return list(tract.patches())[3]


@pytest.fixture
def coadd(patch: Patch) -> Coadd:
    shape = (patch.box[3] - patch.box[1], patch.box[2] - patch.box[0])
    truth = np.zeros(shape, dtype=np.float32)
    truth[100, 50:60] = 5000.0
    truth[30:34, 30:34] = 5.0e4
    blank = np.zeros(shape, dtype=bool)
    blank[10:30, 40:60] = blank[77, 78] = blank[150, :] = blank[:, -9:] = True
    edges = np.zeros(shape, dtype=bool)
    edges[120] = True
    return make_coadd(truth, 2.0, blank, edges, CURRENT_PLANES, np.random.default_rng(3))


@form_of_file
def test_layout(tmp_path: Path, tract: Tract, patch: Patch, coadd: Coadd, form: Form) -> None:
    path = tmp_path / "coadd.fits"
    write_exposure(path, coadd, tract, patch.box, "r", form)
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert hdus[0].data is None
        assert hdus[0].header["AR_HDU"] == 5
        assert [h.header["EXTTYPE"] for h in hdus[1:]] == [
            *("IMAGE", "MASK", "VARIANCE"),
            *("ARCHIVE_INDEX", "ARCHIVE_DATA", "ARCHIVE_DATA"),
        ]
        assert [h.header["AR_CATN"] for h in hdus[4:]] == [0, 1, 2]
        assert hdus[4].header["AR_NCAT"] == 3
        header = hdus[1].header
        if form.calibrated:
            assert [h.name for h in hdus[1:4]] == ["IMAGE", "MASK", "VARIANCE"]
            assert header["BUNIT"] == "nJy"
            assert calibration(hdus) == 1.0
        else:
            assert not any("EXTNAME" in h.header for h in hdus[1:4])
            assert "BUNIT" not in header
            assert hdus[0].header["FLUXMAG0"] == FLUXMAG0
            assert calibration(hdus) == pytest.approx(57.544, abs=1e-4)
        assert (header["CRVAL1A"], header["CRVAL2A"]) == patch.box[:2]
        assert (header["LTV1"], header["LTV2"]) == (-patch.box[0], -patch.box[1])
        assert hdus[2].header["MP_SAT"] == 1
        assert hdus[2].header["MP_DETECTED_NEGATIVE"] == 6


@form_of_file
def test_pixels_come_back(
    tmp_path: Path, tract: Tract, patch: Patch, coadd: Coadd, form: Form
) -> None:
    path = tmp_path / "coadd.fits"
    write_exposure(path, coadd, tract, patch.box, "r", form)
    back = read_planes(path)
    assert back.box == patch.box
    np.testing.assert_array_equal(np.isnan(back.image), np.isnan(coadd.image))
    np.testing.assert_array_equal(np.isnan(back.variance), np.isnan(coadd.variance))
    np.testing.assert_array_equal(back.mask, coadd.mask)
    if form.compression == "GZIP_2":
        np.testing.assert_allclose(back.image, coadd.image, rtol=2e-7)
    else:
        # steps are a 16th of each row's noise
        rows = np.delete(np.arange(len(coadd.image)), [100, 30, 31, 32, 33])
        np.testing.assert_allclose(back.image[rows], coadd.image[rows], atol=0.1)


@form_of_file
def test_compression_is_what_the_form_says(
    tmp_path: Path, tract: Tract, patch: Patch, coadd: Coadd, form: Form
) -> None:
    path = tmp_path / "coadd.fits"
    write_exposure(path, coadd, tract, patch.box, "r", form)
    with fits.open(path, disable_image_compression=True) as hdus:
        header = hdus[1].header
        assert header["ZCMPTYPE"] == form.compression
        assert header["EXTNAME"] == ("IMAGE" if form.calibrated else "COMPRESSED_IMAGE")
        if form.compression == "RICE_1":
            assert header["ZQUANTIZ"] == "SUBTRACTIVE_DITHER_2"


def test_projection_comes_back(tmp_path: Path, tract: Tract, patch: Patch, coadd: Coadd) -> None:
    path = tmp_path / "coadd.fits"
    write_exposure(path, coadd, tract, patch.box, "r", FORMS[0])
    pixels = [(0.0, 0.0), (100.0, 20.0)]
    expected = tract.wcs(patch.box).wcs_pix2world(pixels, 0)
    np.testing.assert_allclose(
        read_planes(path).wcs.wcs_pix2world(pixels, 0), expected, rtol=0, atol=1e-12
    )


@form_of_file
def test_bytes_do_not_depend_on_the_hour(
    tmp_path: Path,
    tract: Tract,
    patch: Patch,
    coadd: Coadd,
    form: Form,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = []
    for hour in (1.6e9, 1.7e9):
        monkeypatch.setattr("time.time", lambda hour=hour: hour)
        path = tmp_path / f"{hour}.fits"
        write_exposure(path, coadd, tract, patch.box, "r", form)
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_noise_is_what_the_variance_says(coadd: Coadd) -> None:
    sky = (coadd.mask == 0) & np.isfinite(coadd.image)
    assert np.median(coadd.image[sky]) == pytest.approx(0.0, abs=0.05)
    assert np.std(coadd.image[sky]) == pytest.approx(2.0, rel=0.02)
    np.testing.assert_allclose(coadd.variance[sky], 4.0, rtol=1e-3)
    assert coadd.variance[100, 55] == pytest.approx(4 + 5000 / 20, rel=1e-3)


def test_dynamic_planes_have_other_bits_in_older_files() -> None:
    assert set(CURRENT_PLANES) & set(OLDER_PLANES) > {"SENSOR_EDGE", "NO_DATA"}
    assert CURRENT_PLANES["NO_DATA"] == OLDER_PLANES["NO_DATA"] == 8
    assert CURRENT_PLANES["SENSOR_EDGE"] != OLDER_PLANES["SENSOR_EDGE"]

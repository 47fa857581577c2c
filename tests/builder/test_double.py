"""Surveys of dates and other values near a large number, which float32 does not resolve.

The oracle is the sky itself: an analytic function of the position.
"""

import logging
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import hipsgen
from hipsgen.sky.polygon import to_lonlat
from hipsgen.sky.tiles import Tile
from hipsgen.survey.formats import format_of
from hipsgen.survey.survey import Survey
from tests.builder.test_survey import tile_bytes
from tests.images.making import noise, tan_header
from tests.viewer.conftest import client_for

DAY = 60623.0  # MJD, where float32 has a step of 0.004 d
AMPLITUDE = 1e-3  # d
SHAPE = (160, 180)
WIDTH = 64
Doubles = npt.NDArray[np.float64]


def dates(lon: Doubles, lat: Doubles) -> Doubles:
    """Return the dates at some positions in degrees; the waves are 60 and 90 arcsec long."""
    x, y = 3600 * (lon - 150.0) * np.cos(np.radians(2.0)), 3600 * (lat - 2.0)
    waves = np.sin(2 * np.pi * x / 60) * np.cos(2 * np.pi * y / 90)
    return DAY + AMPLITUDE * np.asarray(waves)


def write(path: Path, shift: float, unit: str, dtype: str = "f8") -> Path:
    """Write an image `shift` arcsec east of the center, in a unit of time, with a hole."""
    header = tan_header(SHAPE, CRVAL1=150.0 + shift / 3600, BUNIT=unit)
    y, x = np.indices(SHAPE)
    values = dates(*WCS(header).wcs_pix2world(x, y, 0)) * {"d": 1, "s": 86400}[unit]
    values[100:110, 40:60] = np.nan
    fits.PrimaryHDU(values.astype(dtype), header).writeto(path)
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("dates")
    return [write(folder / "d.fits", 0.0, "d"), write(folder / "s.fits", 100.0, "s")]


def build(
    inputs: list[Path], out: Path, recut: bool = False, **options: object
) -> hipsgen.BuildResult:
    made = hipsgen.BuildOptions(tile_width=WIDTH, **options)  # type: ignore[arg-type]
    runtime = hipsgen.Runtime(recut=recut)
    (result,) = hipsgen.build(hipsgen.find_coadds(inputs), out, options=made, runtime=runtime)
    return result


@pytest.fixture(scope="module")
def survey(inputs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Survey:
    out = tmp_path_factory.mktemp("double") / "hips"
    build(inputs, out)
    return hipsgen.open_survey(out)


def truth_of(tile: Tile) -> Doubles:
    rows, cols = np.indices((WIDTH, WIDTH))
    return dates(*to_lonlat(tile.vectors(rows, cols, WIDTH)))


def leaves(survey: Survey) -> list[tuple[Tile, Doubles]]:
    found = ((tile, survey.values(tile)) for tile in survey.tiles_of(survey.order))
    return [(tile, values) for tile, values in found if values is not None]


def fullest(survey: Survey) -> Tile:
    """Return a leaf tile without missing pixels."""
    return next(tile for tile, values in leaves(survey) if np.isfinite(values).all())


def test_leaf_tiles_hold_the_dates_to_the_error_of_resampling(survey: Survey) -> None:
    tiles = leaves(survey)
    assert len(tiles) > 10
    assert all(values.dtype == np.float64 for _, values in tiles)
    off = np.concatenate([np.abs(values - truth_of(tile)).ravel() for tile, values in tiles])
    off = off[np.isfinite(off)]
    assert off.size > 150 * 150
    assert off.max() < 0.03 * AMPLITUDE  # at the edges, where a kernel is cut off
    assert np.median(off) < 1e-4 * AMPLITUDE


def test_the_dates_are_resampled_as_their_differences_from_a_day(
    survey: Survey, inputs: list[Path], tmp_path: Path
) -> None:
    """The same image without the large number, which float32 resolves."""
    for path in inputs:
        with fits.open(path) as hdus:
            hdus[0].data -= DAY * {"d": 1, "s": 86400}[hdus[0].header["BUNIT"]]
            hdus.writeto(tmp_path / path.name)
    build([tmp_path / path.name for path in inputs], tmp_path / "hips")
    differences = hipsgen.open_survey(tmp_path / "hips")
    assert differences.number("hips_pixel_bitpix") == -32
    for tile, values in leaves(survey):
        small = differences.values(tile)
        assert small is not None
        np.testing.assert_allclose(values - DAY, small, rtol=0, atol=1e-9)


def test_parents_are_the_means_of_their_children(survey: Survey) -> None:
    tile, order = leaves(survey)[0][0], survey.order - 1
    parent = survey.tile(order, tile.npix >> 2)
    assert parent is not None
    children = Tile(order, tile.npix >> 2).children
    below = np.full((2 * WIDTH, 2 * WIDTH), np.nan)
    for child in children:
        values = survey.values(child)
        if values is not None:
            index = child.npix & 3
            row, col = 0 if index & 1 else WIDTH, WIDTH if index & 2 else 0
            below[row : row + WIDTH, col : col + WIDTH] = values
    four = below.reshape(WIDTH, 2, WIDTH, 2).swapaxes(1, 2).reshape(WIDTH, WIDTH, 4)
    whole = np.isfinite(four).all(axis=2)
    assert whole.any()
    np.testing.assert_allclose(parent[whole], four[whole].mean(axis=1), rtol=0, atol=1e-10)


def test_files_and_properties_declare_float64(survey: Survey) -> None:
    tile, values = leaves(survey)[0]
    with fits.open(Path(str(survey.store)) / tile.path("fits"), checksum=True) as hdus:
        assert hdus[0].header["BITPIX"] == -64
        np.testing.assert_array_equal(hdus[0].data, values)
    assert survey.number("hips_pixel_bitpix") == survey.number("data_pixel_bitpix") == -64
    low, high = survey.numbers("hips_data_range")
    all_values = np.concatenate([values.ravel() for _, values in leaves(survey)])
    assert low == pytest.approx(np.nanmin(all_values), abs=1e-10)
    assert high == pytest.approx(np.nanmax(all_values), abs=1e-10)
    low, high = survey.numbers("hips_pixel_cut")
    assert DAY - 0.1 < low < high < DAY + 0.1
    allsky = Path(str(survey.store)) / "Norder3/Allsky.fits"
    assert fits.getval(allsky, "BITPIX") == -64


def test_previews_resolve_the_structure(survey: Survey) -> None:
    """Values rounded to float32 would have two levels."""
    tile = fullest(survey)
    picture = format_of("png").decode(survey.store.read(tile.path("png")))
    assert np.unique(picture).size > 20


def test_checks_pass_and_a_wrong_pixel_is_found(survey: Survey, inputs: list[Path]) -> None:
    place = Path(str(survey.store))
    report = hipsgen.check(place, deep=True, against_inputs=1000)
    assert report.ok, str(report)
    tile = fullest(survey)
    path = place / tile.path("fits")
    before = path.read_bytes()
    try:
        with fits.open(path, mode="update", memmap=False) as hdus:
            hdus[0].data[10, 10] += 1e-9
        assert not hipsgen.check(place, deep=True).ok
        assert not hipsgen.check(place, against_inputs=1000).ok
    finally:
        path.write_bytes(before)


def test_a_wrong_offset_in_the_properties_is_found(survey: Survey) -> None:
    path = Path(str(survey.store)) / "properties"
    before = path.read_text()
    try:
        path.write_text("".join(x for x in before.splitlines(True) if "hipsgen_offset" not in x))
        assert "hipsgen_offset" in str(hipsgen.check(path.parent, deep=True))
    finally:
        path.write_text(before)


def test_an_update_reads_tiles_back_to_the_last_bit(inputs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "hips"
    build(inputs, out)
    before = tile_bytes(out)
    assert build(inputs, out).n_tiles_made == 0
    now = inputs[1].stat()
    os.utime(inputs[1], (now.st_atime, now.st_mtime + 10))
    assert build(inputs, out).n_tiles_made > 0
    after = tile_bytes(out)
    assert {k: v for k, v in after.items() if "Npix" in k} == {
        k: v for k, v in before.items() if "Npix" in k
    }


def test_new_cuts_keep_the_values_and_their_offset(inputs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "hips"
    build(inputs, out, cuts=(DAY - 1, DAY + 1))
    before = hipsgen.open_survey(out)
    values = [values for _, values in leaves(before)]
    build(inputs, out, recut=True)
    after = hipsgen.open_survey(out)
    low, high = after.numbers("hips_pixel_cut")
    assert DAY - 0.1 < low < high < DAY + 0.1
    assert after.properties["hipsgen_offset"] == before.properties["hipsgen_offset"]
    np.testing.assert_array_equal([values for _, values in leaves(after)], values)


def test_a_color_survey_of_dates_combines_their_differences(survey: Survey, tmp_path: Path) -> None:
    hipsgen.build_color(*[str(survey.store)] * 3, tmp_path / "color", formats=["png"])
    color = hipsgen.open_survey(tmp_path / "color")
    tile = fullest(survey)
    values = survey.values(tile)
    assert values is not None
    picture = color.form("png").decode(color.store.read(tile.path("png")))
    known = np.isfinite(values)
    assert (picture[..., 3] > 0)[known].all()
    order = values[known].argsort()
    gray = picture[..., 0][known][order].astype(int)
    assert gray[-1] - gray[0] > 50
    assert (np.diff(gray) >= 0).all()


@pytest.mark.parametrize("kind", ["float32", "whole numbers", "resolved"])
def test_values_that_float32_holds_stay_float32(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", 0.0, "d", "f4" if kind == "float32" else "f8")
    if kind != "float32":
        with fits.open(path, mode="update", memmap=False) as hdus:
            grain = np.random.default_rng(1).normal(0, 0.1, SHAPE) if kind == "resolved" else 0
            hdus[0].data = np.round(hdus[0].data) if kind == "whole numbers" else DAY + grain
    build([path], tmp_path / "hips")
    survey = hipsgen.open_survey(tmp_path / "hips")
    assert survey.number("hips_pixel_bitpix") == -32
    assert "hipsgen_offset" not in survey.properties
    assert all(values.dtype == np.float32 for _, values in leaves(survey))


def test_the_viewer_measures_and_returns_all_digits(survey: Survey) -> None:
    place = Path(str(survey.store))
    client = client_for(place.parent)
    (told,) = client.get("/api/surveys").json()
    assert (told["bitpix"], told["offset"]) == (-64, float(survey.properties["hipsgen_offset"]))
    tile = fullest(survey)
    center = tile.vectors([31.5], [31.5], WIDTH)
    (ra,), (dec,) = to_lonlat(center)
    of = f"survey={told['name']}&ra={ra}&dec={dec}"
    (coadd, *_) = client.get(f"/api/pixel?{of}").json()["coadds"]
    in_days = {"d": 1, "s": 86400}[coadd["pixel"]["unit"]]
    assert coadd["pixel"]["value"] / in_days == pytest.approx(
        float(dates(ra, dec)), rel=0, abs=AMPLITUDE / 5
    )
    (found,) = client.get(f"/api/statistics?{of}&radius=3").json()["statistics"]
    in_days = {"d": 1, "s": 86400}[found["unit"]]
    assert found["median"] / in_days == pytest.approx(
        float(dates(ra, dec)), rel=0, abs=AMPLITUDE / 5
    )
    assert 0 < found["sigma"] / in_days < AMPLITUDE
    provenance = place / "provenance.fits"
    hidden = provenance.rename(place.parent / "provenance.fits")  # so that tiles are measured
    try:
        (found,) = client.get(f"/api/statistics?{of}&radius=3").json()["statistics"]
    finally:
        hidden.rename(provenance)
    assert found["source"] == "tiles"
    assert found["median"] == pytest.approx(float(dates(ra, dec)), rel=0, abs=AMPLITUDE / 5)
    assert 0 < found["sigma"] < AMPLITUDE


def notes(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if word in record.getMessage()]


def test_a_build_reports_float64_tiles_once(
    inputs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    build(inputs, tmp_path / "hips")
    (note,) = notes(caplog, "float64")
    assert note.startswith("hips: the values are near 60623 d, where float32 is too coarse")
    assert not notes(caplog, "rounded")
    build(inputs, tmp_path / "hips")
    assert len(notes(caplog, "float64")) == 1


def test_a_build_reports_which_values_are_rounded_in_spite_of_float64(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = write(tmp_path / "a.fits", 0.0, "d")
    with fits.open(path, mode="update", memmap=False) as hdus:
        hdus[0].data[70] = 1e6
    build([path], tmp_path / "hips")
    (note,) = notes(caplog, "rounded")
    assert "farther than" in note


def test_dates_with_few_distinct_values_are_exact(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no noise to compare with: most pixels have one date, some another."""
    path = write(tmp_path / "a.fits", 0.0, "d")
    with fits.open(path, mode="update", memmap=False) as hdus:
        hdus[0].data[:] = DAY + 0.12345678
        hdus[0].data[120:] = DAY + 0.12345679
    caplog.set_level(logging.INFO)
    build([path], tmp_path / "hips", interpolation="nearest")
    assert notes(caplog, "where float32 rounds them: FITS tiles are float64")
    found = np.concatenate(
        [values.ravel() for _, values in leaves(hipsgen.open_survey(tmp_path / "hips"))]
    )
    np.testing.assert_allclose(
        np.unique(found[np.isfinite(found)]), DAY + np.array([0.12345678, 0.12345679]),
        rtol=0, atol=2e-11,
    )  # fmt: skip


def test_notes_on_3e38_and_on_blank_of_floats_appear_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for k in range(2):
        data = noise(SHAPE, seed=k)
        data[60:70] = -np.finfo(np.float32).max
        data[130, 20:60] = np.finfo(np.float32).max
        path = tmp_path / f"{k}.fits"
        header = tan_header(SHAPE, CRVAL1=150.0 + 0.04 * k, XBLANK=-999)
        fits.PrimaryHDU(data, header).writeto(path)
        path.write_bytes(path.read_bytes().replace(b"XBLANK  =", b"BLANK   ="))
    made = [tmp_path / "0.fits", tmp_path / "1.fits"]
    with pytest.warns(match="BLANK"):  # astropy's
        build(made, tmp_path / "hips")
    survey = hipsgen.open_survey(tmp_path / "hips")
    low, high = survey.numbers("hips_data_range")
    assert 50 < low < high < 150
    assert survey.number("hips_pixel_bitpix") == -32
    assert notes(caplog, "3e38") == [
        "hips: pixels of 3e38 and more, of either sign, count as missing data"
    ]
    assert notes(caplog, "BLANK") == [
        "hips: BLANK = -999 is ignored: FITS defines it for integers only; blank -999 makes such "
        "pixels missing"
    ]


def test_rounding_of_a_factor_between_pixel_areas_makes_no_doubles(tmp_path: Path) -> None:
    paths = []
    for k, size in enumerate((1.0, 2.0)):
        header = tan_header(SHAPE, CRVAL1=150.0 + 0.1 * k, BUNIT="10 e-/s")
        header["CDELT1"], header["CDELT2"] = -0.01 * size, 0.01 * size
        flux = np.full(SHAPE, 4.0 * size**2, np.float32)
        fits.PrimaryHDU(flux, header).writeto(tmp_path / f"{k}.fits")
        paths.append(tmp_path / f"{k}.fits")
    build(paths, tmp_path / "hips")
    survey = hipsgen.open_survey(tmp_path / "hips")
    for _, values in leaves(survey):
        assert values.dtype == np.float32
        np.testing.assert_allclose(values[np.isfinite(values)], 4.0, rtol=1e-6)

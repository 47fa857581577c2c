"""The public API as a script uses it: find, plan, build, check, open."""

import gc
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from mocpy import MOC

import hipsgen
from hipsgen.survey.store import LocalStore
from tests.conftest import linked_copy
from tests.finished.make import write_coadd

SMALL = hipsgen.BuildOptions(tile_width=64)


@pytest.fixture(scope="module")
def coadds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coadds")
    for number, band in enumerate("gri"):
        for k, lon in enumerate((40.0, 60.0)):
            write_coadd(folder / f"{band}{k}.fits", band, lon, 10 * number + k)
    return folder


@pytest.fixture(scope="module")
def surveys(coadds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bands, masks and a color survey."""
    out = tmp_path_factory.mktemp("api") / "hips"
    found = hipsgen.find_coadds(coadds, bands=list("gri"))
    hipsgen.build(found, out, options=SMALL, planes=("image", "mask"), color="gri")
    return out


def test_importing_is_quick_and_loads_nothing() -> None:
    code = "import hipsgen, sys; print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "astropy", "numba", "click"} & set(eval(done.stdout))


def test_names_are_functions_whatever_was_imported_before() -> None:
    code = (
        "import hipsgen.planner.blocks, hipsgen.builder.surveys, hipsgen.checker.survey\n"
        "import hipsgen\n"
        "for name in hipsgen.__all__: getattr(hipsgen, name)\n"
        "assert callable(hipsgen.plan) and callable(hipsgen.build) and callable(hipsgen.check)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("place", [str, Path, lambda path: path.as_uri()])
def test_coadds_are_found_by_str_path_and_uri(coadds: Path, place) -> None:
    found = hipsgen.find_coadds(place(coadds), bands="g")
    assert (len(found), found.bands) == (2, ("g",))
    assert [ref.band for ref in found] == ["g", "g"]


def test_a_table_of_coadds_has_units_and_positions(coadds: Path) -> None:
    table = hipsgen.find_coadds(coadds, bands=["g", "r"]).to_table()
    assert list(table["band"]) == ["g", "g", "r", "r"]
    np.testing.assert_allclose(table["ra"].to_value(u.deg), [40, 60, 40, 60], atol=1e-6)
    np.testing.assert_allclose(table["pixel_scale"].to_value(u.arcsec), 100.0, rtol=1e-6)
    assert table["tract"].mask.all()


@pytest.mark.parametrize(
    "region",
    [
        "circle:60,-10,0.5",
        (SkyCoord(60, -10, unit="deg"), 0.5 * u.deg),
        MOC.from_cone(60 * u.deg, -10 * u.deg, radius=0.5 * u.deg, max_depth=10),
    ],
)
def test_a_region_is_a_text_a_position_or_a_moc(coadds: Path, region) -> None:
    (ref,) = hipsgen.find_coadds(coadds, bands="g", region=region)
    assert ref.uri.endswith("g1.fits")


def test_an_invalid_region_is_refused(coadds: Path) -> None:
    with pytest.raises(ValueError, match=r"neither a text, a MOC, nor \(SkyCoord, radius\)"):
        hipsgen.find_coadds(coadds, bands="g", region=17)  # type: ignore[arg-type]


def test_a_manifest_gives_the_same_coadds(coadds: Path, tmp_path: Path) -> None:
    found = hipsgen.find_coadds(coadds, bands=["g", "r"])
    assert found.save(tmp_path / "coadds.manifest") == 4
    assert list(hipsgen.find_coadds(tmp_path / "coadds.manifest")) == list(found)
    with pytest.raises(hipsgen.ConfigError, match="there is no folder"):
        found.save(tmp_path / "none" / "coadds.manifest")


def test_a_plan_is_made_of_numbers_with_units(coadds: Path) -> None:
    (plan,) = hipsgen.plan(hipsgen.find_coadds(coadds, bands="g"), options=SMALL)
    assert (plan.order, plan.n_coadds, plan.unit, plan.changes) == (5, 2, "nJy", None)
    assert plan.size == plan.n_bytes * u.byte
    assert plan.size.unit.is_equivalent(u.byte)
    assert plan.cpu_time.unit == u.s
    low, high = plan.cuts
    assert low < 0 < high


def test_progress_counts_the_tiles_of_each_survey(coadds: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    found = hipsgen.find_coadds(coadds, bands=["g", "r"])
    results = hipsgen.build(
        found, tmp_path / "hips", options=SMALL, progress=lambda *seen: told.append(seen)
    )
    assert [result.name for result in results] == ["band_g", "band_r"]
    assert [seen for seen in told if seen[0] == seen[1]] == 2 * [told[-1]]
    assert sum(done == 0 for done, _ in told) == 2


def test_a_build_resumes_and_its_changes_are_planned(coadds: Path, tmp_path: Path) -> None:
    found = hipsgen.find_coadds(coadds, bands="g")
    (first,) = hipsgen.build(found, tmp_path / "hips", options=SMALL)
    (again,) = hipsgen.build(found, tmp_path / "hips", options=SMALL)
    assert first.n_tiles_made == first.n_tiles > 0
    assert (again.n_tiles_made, again.is_update) == (0, True)
    (plan,) = hipsgen.plan(found, tmp_path / "hips", options=SMALL)
    assert (plan.changes.n_blocks_changed, plan.changes.n_tiles_made) == (0, 0)


def test_results_and_options_are_frozen(coadds: Path, tmp_path: Path) -> None:
    (result,) = hipsgen.build(
        hipsgen.find_coadds(coadds, bands="g"), tmp_path / "hips", options=SMALL
    )
    for frozen, name in ((result, "order"), (SMALL, "order"), (hipsgen.Runtime(), "workers")):
        with pytest.raises(AttributeError):
            setattr(frozen, name, 1)


def test_a_check_reports_what_is_wrong(surveys: Path) -> None:
    report = hipsgen.check(surveys, deep=True, against_inputs=3)
    assert report.ok
    assert len(report.surveys) == 7
    assert set(report.to_table()["level"]) == {"note"}


def test_a_damaged_tile_is_found(coadds: Path, tmp_path: Path) -> None:
    hipsgen.build(hipsgen.find_coadds(coadds, bands="g"), tmp_path / "hips", options=SMALL)
    tile = next((tmp_path / "hips/Norder5").rglob("*.fits"))
    tile.write_bytes(tile.read_bytes()[:-2880])
    report = hipsgen.check(tmp_path / "hips", deep=True)
    assert not report.ok
    assert any(tile.name in finding.where for finding in report.findings)


def test_an_opened_survey_has_coverage_and_tiles(surveys: Path) -> None:
    survey = hipsgen.open_survey(surveys / "band_g")
    assert (survey.order, survey.tile_width, survey.frame) == (5, 64, "equatorial")
    moc = survey.moc
    assert moc.contains_lonlat([40.0, 60.0, 50.0] * u.deg, [-10.0] * 3 * u.deg).tolist() == [
        True, True, False,
    ]  # fmt: skip
    tile = next(survey.tiles_of(survey.order))
    with fits.open(surveys / "band_g" / tile.path("fits")) as hdus:
        np.testing.assert_array_equal(survey.values(tile), hdus[0].data)


def test_a_color_survey_of_three(surveys: Path, tmp_path: Path) -> None:
    red, green, blue = (surveys / f"band_{band}" for band in "irg")
    result = hipsgen.build_color(red, green, blue, tmp_path / "color")
    assert (result.is_color, result.n_inputs) == (True, 3)
    with pytest.raises(hipsgen.ConfigError, match="is one of the three input surveys"):
        hipsgen.build_color(red, green, blue, blue)


def test_a_color_survey_in_an_unknown_frame_is_not_begun(surveys: Path, tmp_path: Path) -> None:
    bands = [linked_copy(surveys / f"band_{band}", tmp_path / band) for band in "irg"]
    for band in bands:
        text = (band / "properties").read_text()
        (band / "properties").unlink()
        (band / "properties").write_text(text.replace("= equatorial", "= horizontal"))
    with pytest.raises(hipsgen.ConfigError, match=r"hips_frame .horizontal.*galactic, ecl"):
        hipsgen.build_color(*bands, tmp_path / "color")
    assert not (tmp_path / "color").exists()


def test_a_color_survey_that_cannot_fit_is_not_begun(
    surveys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bands = [surveys / f"band_{band}" for band in "irg"]
    monkeypatch.setattr(LocalStore, "free_space", lambda _: 10_000)
    with pytest.raises(hipsgen.ConfigError, match=r"takes about .* more, and .* has 10.0 kB free"):
        hipsgen.build_color(*bands, tmp_path / "color")
    assert not list((tmp_path / "color").glob("Norder*"))
    monkeypatch.undo()
    assert hipsgen.build_color(*bands, tmp_path / "color").n_tiles_made > 0


def test_errors_are_built_in_ones_too_and_name_their_parameter() -> None:
    with pytest.raises(ValueError, match=r"^order 40 is not between 0 and 20") as raised:
        hipsgen.BuildOptions(order=40)
    assert (raised.value.parameter, isinstance(raised.value, hipsgen.ConfigError)) == (
        "order",
        True,
    )
    with pytest.raises(ValueError, match=r"^tile_width 100 is not one of: 64, 128"):
        hipsgen.BuildOptions(tile_width=100)
    with pytest.raises(LookupError, match="does not exist"):
        hipsgen.find_coadds("/nonexistent/place")
    with pytest.raises(LookupError, match="no input: name a FITS file"):
        hipsgen.find_coadds([])
    with pytest.raises(hipsgen.SurveyError, match="not a finished HiPS"):
        hipsgen.open_survey("/nonexistent/place")


def test_the_error_of_a_failed_build_has_the_finished_surveys(coadds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for band in "gr":
        for k, lon in enumerate((40.0, 60.0)):
            write_coadd(folder / f"{band}{k}.fits", band, lon, k)
    found = hipsgen.find_coadds(folder, bands=["g", "r"])
    path = folder / "r1.fits"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(hipsgen.IncompleteBuildError) as raised:
        hipsgen.build(found, tmp_path / "hips", options=hipsgen.BuildOptions(order=5))
    error = raised.value
    assert [result.name for result in error.results] == ["band_g"]
    assert [Path(problem.source).name for problem in error.problems] == ["r1.fits[1]"]
    assert hipsgen.check(tmp_path / "hips/band_g").ok


def test_a_band_without_a_valid_pixel_does_not_stop_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for k, band in enumerate("gri"):
        write_coadd(folder / f"{band}.fits", band, 40.0, k)
    with fits.open(folder / "g.fits", mode="update") as hdus:
        hdus["IMAGE"].data[:] = np.nan
    found = hipsgen.find_coadds(folder, bands=list("gri"))
    with pytest.raises(hipsgen.IncompleteBuildError, match=r"band_g: .* no valid pixel") as raised:
        hipsgen.build(found, tmp_path / "hips", options=SMALL, color="gri")
    assert [result.name for result in raised.value.results] == ["band_r", "band_i"]
    assert "the color survey was not built" in str(raised.value)
    with pytest.raises(hipsgen.InputError, match="no valid pixel"):
        hipsgen.build(hipsgen.find_coadds(folder / "g.fits"), tmp_path / "g", options=SMALL)


@pytest.mark.parametrize("planes", [("image",), ("image", "mask")])
def test_options_of_reading_apply_with_and_without_other_planes(
    coadds: Path, tmp_path: Path, planes: tuple[str, ...]
) -> None:
    """Mask planes and blank pixels that mean missing data: fewer pixels are left of the image."""
    found = hipsgen.find_coadds(coadds, bands="g")

    def valid_pixels(name: str, **options: object) -> int:
        made = hipsgen.BuildOptions(tile_width=64, **options)  # type: ignore[arg-type]
        out = tmp_path / name
        hipsgen.build(found, out, options=made, planes=planes)
        survey = hipsgen.open_survey(out if planes == ("image",) else out / "band_g")
        tiles = (survey.values(tile) for tile in survey.tiles_of(survey.order))
        return sum(int(np.isfinite(tile).sum()) for tile in tiles if tile is not None)

    usual = valid_pixels("usual")
    assert 300 < usual - valid_pixels("excluded", excluded=("CR",)) < 500  # 2 x 10 x 20 pixels
    with fits.open(coadds / "g0.fits") as hdus:
        values, counts = np.unique(hdus["IMAGE"].data, return_counts=True)
        most = float(values[np.argmax(counts)])
    assert valid_pixels("blank", blank=most) < usual


def test_a_library_call_changes_nothing_of_the_process(coadds: Path, tmp_path: Path) -> None:
    before = gc.get_threshold(), gc.get_freeze_count(), threading.active_count()
    hipsgen.build(hipsgen.find_coadds(coadds, bands="g"), tmp_path / "hips", options=SMALL)
    assert (gc.get_threshold(), gc.get_freeze_count(), threading.active_count()) == before


def test_numpy_may_raise_errors_in_the_script(coadds: Path, tmp_path: Path) -> None:
    found = hipsgen.find_coadds(coadds, bands=list("gri"))
    with np.errstate(all="raise"):
        before = np.geterr()
        hipsgen.build(found, tmp_path / "hips", options=SMALL, color="gri")
        assert hipsgen.check(tmp_path / "hips", deep=True, against_inputs=2).ok
        assert np.geterr() == before


def test_an_interrupted_build_resumes(coadds: Path, tmp_path: Path) -> None:
    """Ctrl-C in a notebook is a KeyboardInterrupt in the thread that builds, and nothing more."""

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    found = hipsgen.find_coadds(coadds, bands="g")
    with pytest.raises(KeyboardInterrupt):
        hipsgen.build(found, tmp_path / "hips", options=SMALL, progress=interrupt)
    assert not (tmp_path / "hips/properties").exists()
    (result,) = hipsgen.build(found, tmp_path / "hips", options=SMALL)
    assert result.is_update
    assert hipsgen.check(tmp_path / "hips", deep=True).ok


def test_coadds_at_a_position_are_those_of_the_provenance(surveys: Path) -> None:
    survey = hipsgen.open_survey(surveys / "band_g")
    assert len(survey.provenance) == 2
    found = survey.coadds_at(SkyCoord(60, -10, unit="deg"))
    assert [Path(uri).name for uri in found["uri"]] == ["g1.fits"]
    assert len(survey.coadds_at(SkyCoord(50, -10, unit="deg"))) == 0


def test_a_cutout_is_a_piece_of_the_coadd(surveys: Path, coadds: Path) -> None:
    middle = SkyCoord(40, -10, unit="deg")
    cutout = hipsgen.open_survey(surveys / "band_g").cutout(middle, 1100 * u.arcsec)
    with fits.open(coadds / "g0.fits") as hdus:
        x, y = WCS(hdus["IMAGE"].header).world_to_array_index(middle)[::-1]
        part = slice(y - 5, y + 6), slice(x - 5, x + 6)
        np.testing.assert_array_equal(cutout.data, hdus["IMAGE"].data[part])
        np.testing.assert_array_equal(cutout.uncertainty.array, hdus["VARIANCE"].data[part])
        np.testing.assert_array_equal(cutout.flags, hdus["MASK"].data[part])
    assert (cutout.unit, cutout.mask.sum()) == (u.nJy, np.isnan(cutout.data).sum())
    assert cutout.wcs.pixel_to_world(5, 5).separation(middle) < 71 * u.arcsec
    with pytest.raises(hipsgen.SurveyError, match="no coadd at"):
        hipsgen.open_survey(surveys / "band_g").cutout(SkyCoord(50, -10, unit="deg"), 1 * u.arcmin)

"""Builds: reproducible bytes, resuming, and refusal of folders with other content."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits

from hipsgen import find_coadds, plan
from hipsgen.checker.survey import check_survey
from hipsgen.errors import ConfigError, InputError
from hipsgen.planner.options import BuildOptions
from hipsgen.survey.store import LocalStore
from tests.conftest import Build, StarField

STARS = [(x, y, 500.0) for x, y in np.random.default_rng(1).uniform(10, 590, (60, 2))]


def images(folder: Path, count: int = 4) -> list[Path]:
    """Write a row of overlapping images of one sky, each with noise and a hole."""
    folder.mkdir(exist_ok=True, parents=True)
    made = []
    for k in range(count):
        field = StarField(
            40.0 + 0.025 * k, -10.0, stars=STARS, background=2.0 * k, angle=7.0 * k,
            holes=[(slice(300, 320), slice(50 * k, 50 * k + 20))],
        )  # fmt: skip
        path = field.write(folder / f"{k}.fits")
        with fits.open(path, mode="update") as hdus:
            rng = np.random.default_rng(k)
            hdus[0].data += rng.normal(size=hdus[0].data.shape).astype(np.float32)
        made.append(path)
    return made


@contextmanager
def stopping(
    monkeypatch: pytest.MonkeyPatch,
    calls: int,
    method: str = "write",
    counts: Callable[[str], bool] = bool,
) -> Iterator[None]:
    """Simulate a crash after a number of calls of a store method, for matching paths."""
    real, left = getattr(LocalStore, method), [calls]

    def counting(self, path, *words):
        left[0] -= counts(path)
        if left[0] < 0:
            raise OSError("the machine stops")
        real(self, path, *words)

    with monkeypatch.context() as changed:
        changed.setattr(LocalStore, method, counting)
        yield


def tile_bytes(place: Path) -> dict[str, str]:
    """Hash all files of a survey except `.hipsgen`, without dates."""
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file() and ".hipsgen" not in path.parts and path.name != "properties"
    }


def test_the_bytes_are_the_same_for_any_number_of_workers_and_engine(build: Build, tmp_path):
    inputs = images(tmp_path / "in")
    first = build(inputs, "w1", workers=1)
    truth = tile_bytes(first.place)
    assert sum(name.startswith("Norder") for name in truth) > 50
    for name, options in {
        "w2": {"workers": 2},
        "w4": {"workers": 4},
        "p2": {"workers": 2, "engine": "processes"},
    }.items():
        assert tile_bytes(build(inputs, name, **options).place) == truth, name


def test_dask_gives_the_same_bytes(build: Build, tmp_path):
    pytest.importorskip("distributed", reason="needs the extra dask")
    inputs = images(tmp_path / "in", 2)
    truth = tile_bytes(build(inputs, "w1").place)
    assert tile_bytes(build(inputs, "d2", workers=2, engine="dask").place) == truth


def test_a_second_build_does_no_block_again(build: Build, tmp_path):
    inputs = images(tmp_path / "in", 2)
    first = build(inputs)
    before = tile_bytes(first.place)
    again = build(inputs)
    assert first.summary.n_blocks_rendered == first.summary.n_blocks
    assert again.summary.n_blocks_rendered == 0
    assert tile_bytes(again.place) == before


def test_going_on_asks_for_no_tile_but_those_of_the_picture(
    build: Build, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    """Small files are slow on some file systems: a build accesses two per block."""
    inputs = images(tmp_path / "in", 2)
    first = build(inputs, order=13).summary
    asked: list[str] = []
    for name in ("read", "stat", "write", "delete"):
        call = getattr(LocalStore, name)

        def counted(self, path, *data, call=call):
            asked.append(path)
            return call(self, path, *data)

        monkeypatch.setattr(LocalStore, name, counted)
    assert build(inputs, order=13).summary.n_blocks_rendered == 0
    of_picture = [path for path in asked if path.startswith(("Norder13", "Norder10"))]
    assert len(set(of_picture)) < 16  # preview.jpg is 256 pixels wide
    of_blocks = [path for path in asked if path.startswith(".hipsgen/") and "Npix" in path]
    assert len(of_blocks) <= 2 * first.n_blocks
    assert (
        len(asked) - len(of_picture) - len(of_blocks) < 60
    )  # independent of the size of the survey
    assert first.n_tiles > 80


def test_a_resumed_build_equals_an_uninterrupted_one(build: Build, tmp_path):
    inputs = images(tmp_path / "in", 2)
    truth = tile_bytes(build(inputs, "whole").place)
    place = build(inputs, "cut").place
    records = sorted((place / ".hipsgen" / "blocks").rglob("*.npz"))
    for path in records[::2]:
        path.unlink()
    records[1].write_bytes(records[1].read_bytes()[:1000])  # as if killed while writing it
    (place / "properties").unlink()
    finished = build(inputs, "cut")
    assert finished.summary.n_blocks_rendered == len(records[::2]) + 1
    assert tile_bytes(place) == truth


def test_other_options_are_refused_with_the_difference_named(build: Build, tmp_path):
    inputs = images(tmp_path / "in", 1)
    build(inputs)
    with pytest.raises(ConfigError, match=r"interpolation optimal, not bilinear.*fresh=True"):
        build(inputs, interpolation="bilinear")
    assert build(inputs, interpolation="bilinear", fresh=True).summary.n_blocks_rendered > 0


def test_a_build_that_does_not_fit_on_the_disk_is_not_started(
    build: Build, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    inputs = images(tmp_path / "in", 1)
    monkeypatch.setattr(LocalStore, "free_space", lambda _: 1_000_000)
    with pytest.raises(ConfigError, match=r"takes about .* MB more, and .* has 1.0 MB free"):
        build(inputs)
    assert not list((tmp_path / "out").rglob("Npix*.fits"))
    monkeypatch.setattr(LocalStore, "free_space", lambda _: None)
    build(inputs)
    monkeypatch.setattr(LocalStore, "free_space", lambda _: 0)
    build(inputs)  # nothing is left to do
    touched = inputs[0].stat().st_mtime + 10
    os.utime(inputs[0], (touched, touched))
    monkeypatch.setattr(LocalStore, "free_space", lambda _: 1_000_000)
    assert build(inputs).summary.n_blocks_rendered > 0  # replaces the tiles


def test_a_folder_that_holds_something_else_is_left_alone(build: Build, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("dear")
    for fresh in (False, True):
        with pytest.raises(ConfigError, match=r"thesis\.tex"):
            build(images(tmp_path / "in", 1), fresh=fresh)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "dear"


def test_fresh_throws_nothing_away_when_the_input_is_wrong(build: Build, tmp_path):
    place = build(images(tmp_path / "in", 1)).place
    before = tile_bytes(place)
    with pytest.raises(InputError):
        build([tmp_path / "nothing.fits"], fresh=True)
    assert tile_bytes(place) == before


def test_units_and_pixel_sizes_are_brought_together(build: Build, tmp_path):
    fine = StarField(40.0, -10.0, background=4.0)
    coarse = StarField(40.03, -10.0, background=16.0, scale=2 * fine.scale, size=300)
    one = fine.write(tmp_path / "a.fits", unit="nJy")
    two = coarse.write(tmp_path / "b.fits", unit="nJy")
    survey = build([one, two]).survey
    values = np.concatenate([survey.values(t).ravel() for t in survey.tiles_of(survey.order)])
    # 16 nJy on four times the area are 4 nJy on the survey's pixels
    np.testing.assert_allclose(values[~np.isnan(values)], 4.0, rtol=1e-5)
    three = StarField(40.03, -10.0, background=4e-3).write(tmp_path / "c.fits", unit="uJy")
    survey = build([one, three], "units").survey
    values = np.concatenate([survey.values(t).ravel() for t in survey.tiles_of(survey.order)])
    np.testing.assert_allclose(values[~np.isnan(values)], 4.0, rtol=1e-5)


def test_units_that_do_not_agree_are_refused_before_anything_is_built(build: Build, tmp_path):
    one = StarField(40.0, -10.0, background=4.0).write(tmp_path / "a.fits", unit="nJy")
    other = StarField(40.03, -10.0, background=1.0).write(tmp_path / "b.fits", unit="K")
    for skip_bad in (False, True):
        with pytest.raises(
            InputError, match=r"nJy \(1 coadd, .*a\.fits\), K \(1 coadd, .*b\.fits\)"
        ):
            build([one, other], skip_bad=skip_bad)
    assert not (tmp_path / "out" / ".hipsgen" / "build.json").exists()
    assert not list((tmp_path / "out").glob("Norder*"))
    with pytest.raises(InputError, match="give the unit of all values"):
        plan(find_coadds([one, other]))
    # a coadd that comes later is left out: the survey has its unit
    build([one], "later")
    added = build([one, other], "later", skip_bad=True)
    assert "'K' cannot be converted" in str(added.summary.skipped[0])


def test_a_unit_that_is_given_replaces_those_of_the_files(build: Build, tmp_path):
    """Not even a calibration of the file is applied: the values are those that are stored."""
    one = StarField(40.0, -10.0, background=4.0).write(tmp_path / "a.fits", "adu", FLUXMAG0=1e9)
    other = StarField(40.03, -10.0, background=4.0).write(tmp_path / "b.fits", unit="K")
    built = build([one, other], unit="MJy/sr")
    survey = built.survey
    values = np.concatenate([survey.values(t).ravel() for t in survey.tiles_of(survey.order)])
    np.testing.assert_allclose(values[~np.isnan(values)], 4.0, rtol=1e-6)
    assert survey.unit == "MJy/sr"
    assert set(survey.provenance["calibration"]) == {"stated"}
    cutout = survey.cutout(SkyCoord(40.0, -10.0, unit="deg"), 2 * units.arcsec)
    assert (str(cutout.unit), float(np.nanmax(cutout.data))) == ("MJy / sr", 4.0)
    assert build([one, other], unit="MJy/sr").summary.n_tiles_made == 0
    with pytest.raises(ConfigError, match="unit MJy/sr, not none"):
        build([one, other])


def test_units_that_do_not_fit_into_a_header_are_refused():
    for unit in ("x" * 70, "a\nb", "\N{MICRO SIGN}Jy", 3):
        with pytest.raises(ConfigError, match="unit"):
            BuildOptions(unit=unit)
    assert BuildOptions(unit=" nJy ").unit == "nJy"


def test_the_properties_say_what_the_input_says(build: Build, tmp_path):
    field = StarField(40.0, -10.0, background=4.0, stars=STARS)
    path = field.write(tmp_path / "a.fits", FILTER="r", **{"MJD-OBS": 61000.25, "EXPTIME": 8640.0})
    properties = build([path], properties=(("obs_copyright", "me"),)).survey.properties
    assert properties["hips_order"] == "11"
    assert properties["hips_bunit"] == "nJy"
    assert float(properties["t_min"]) == 61000.25
    assert float(properties["t_max"]) == pytest.approx(61000.35)
    assert properties["obs_copyright"] == "me"
    low, high = map(float, properties["hips_data_range"].split())
    assert low == pytest.approx(4.0, abs=0.1)
    assert 450 < high < 550
    assert float(properties["hips_initial_ra"]) == pytest.approx(40.0, abs=0.01)


def test_the_moc_covers_exactly_the_cells_that_hold_data(build: Build, tmp_path):
    field = StarField(40.0, -10.0, background=4.0, holes=[(slice(100, 400), slice(200, 500))])
    survey = build([field.write(tmp_path / "a.fits")]).survey
    cells = 0
    for path in (survey.store.root / "Norder11").rglob("*.fits"):
        known = np.isfinite(fits.getdata(path)).reshape(8, 64, 8, 64)
        cells += int(known.any(axis=(1, 3)).sum())
    fraction = cells / (12 * 4**14)
    assert survey.moc.sky_fraction == pytest.approx(fraction, rel=1e-9)
    assert float(survey.properties["moc_sky_fraction"]) == pytest.approx(fraction, rel=1e-6)


def test_the_provenance_answers_by_position(build: Build, tmp_path):
    from hipsgen.survey.provenance import FILE_NAME, Provenance

    inputs = images(tmp_path / "in", 3)
    place = build(inputs).place
    provenance = Provenance.from_bytes((place / FILE_NAME).read_bytes())
    assert len(provenance.coadds) == 3
    here = provenance.at(40.0, -10.0)
    assert [c.ref.uri.rsplit("/", 1)[1] for c in here] == ["0.fits"]
    assert {c.calibration for c in here} == {"BUNIT"}
    assert provenance.at(41.0, -10.0) == []


def lone_images(folder: Path, count: int = 3) -> list[Path]:
    """Write small images far apart, so that each has blocks of its own."""
    folder.mkdir(exist_ok=True)
    return [
        StarField(40.0 + k, -10.0, size=120, background=1.0 + k).write(folder / f"{'mna'[k]}.fits")
        for k in range(count)
    ]


def test_the_provenance_follows_when_images_come_and_go(build: Build, tmp_path):
    from hipsgen.survey.provenance import FILE_NAME, Provenance

    def named(place: Path) -> set[str]:
        coadds = Provenance.from_bytes((place / FILE_NAME).read_bytes()).coadds
        return {c.ref.uri.rsplit("/", 1)[1] for c in coadds}

    folder = tmp_path / "in"
    lone_images(folder, 2)
    place = build([folder]).place
    assert named(place) == {"m.fits", "n.fits"}
    lone_images(folder, 3)
    build([folder])
    assert named(place) == {"a.fits", "m.fits", "n.fits"}
    (folder / "m.fits").unlink()
    build([folder])
    assert named(place) == {"a.fits", "n.fits"}


def test_the_tiles_of_an_image_that_is_gone_go_too(build: Build, tmp_path):
    cuts = {"cuts": (-5.0, 100.0), "stretch": "linear"}
    folder = tmp_path / "in"
    lone_images(folder)
    place = build([folder], **cuts).place
    (folder / "n.fits").unlink()
    build([folder], **cuts)
    assert tile_bytes(place) == tile_bytes(build([folder], "anew", **cuts).place)
    assert [f for f in check_survey(place) if f.level != "note"] == []


def test_a_build_does_not_take_its_own_tiles_for_images(build: Build, tmp_path):
    inputs = images(tmp_path / "in", 1)
    first = build([tmp_path / "in"], "in/hips")
    again = build([tmp_path / "in"], "in/hips")
    assert first.summary.n_inputs == again.summary.n_inputs == 1
    assert again.summary.n_blocks_rendered == 0
    with pytest.raises(InputError, match="is a HiPS survey"):
        build([first.place], "other")
    assert len(inputs) == 1


def test_a_survey_that_is_half_thrown_away_is_not_taken_for_one(
    build: Build, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    """Killed while --fresh removes the survey: the next build is correct, with or without it."""
    inputs = images(tmp_path / "in", 2)
    truth = tile_bytes(build(inputs, "truth", order=12).place)
    (tmp_path / "out").mkdir()
    for fresh, deaths in ((False, 3), (True, 30), (False, 500)):
        place = build(inputs, order=12, fresh=True).place
        (place / "notes.txt").write_text("dear")
        with stopping(monkeypatch, deaths, "delete"), suppress(OSError):
            build(images(tmp_path / "other", 1), order=12, fresh=True)
        assert deaths == 500 or not (place / "properties").exists()
        build(inputs, order=12, fresh=fresh or deaths == 500)
        assert (place / "notes.txt").read_text() == "dear"
        (place / "notes.txt").unlink()
        assert tile_bytes(place) == truth, deaths


def test_fresh_keeps_what_is_there_until_all_that_is_asked_is_right(build: Build, tmp_path):
    pytest.importorskip("distributed", reason="needs the extra dask")
    inputs = images(tmp_path / "in", 1)
    place = build(inputs).place
    before = tile_bytes(place)
    blank = tmp_path / "blank.fits"
    fits.PrimaryHDU(np.full((90, 90), np.nan, np.float32), fits.getheader(inputs[0])).writeto(blank)
    with pytest.raises(InputError, match="no valid pixel"):
        build([blank], fresh=True)
    assert tile_bytes(place) == before


def test_fresh_deletes_nothing_but_the_survey(build: Build, tmp_path):
    inputs = images(tmp_path / "in", 1)
    place = build(inputs).place
    (place / "mynotes.txt").write_text("dear")
    (place / "src").mkdir()
    (place / "src" / "b.fits").write_bytes(b"mine")
    build(inputs, fresh=True)
    assert (place / "mynotes.txt").read_text() == "dear"
    assert (place / "src" / "b.fits").read_bytes() == b"mine"


def test_a_low_order_takes_no_longer_than_the_natural_one(build: Build, tmp_path):
    inputs = images(tmp_path / "in", 1)
    survey = build(inputs, order=0).survey
    values = survey.values(next(survey.tiles_of(0)))
    assert np.isfinite(values).any()


def test_data_beside_the_sampled_rows_are_enough(build: Build, tmp_path):
    field = StarField(
        40.0, -10.0, size=700, background=3.0, holes=[(slice(60, 700), slice(0, 700))]
    )
    assert build([field.write(tmp_path / "a.fits")]).summary.n_tiles > 10


def test_a_filter_cannot_name_a_place_outside(tmp_path):
    from hipsgen.planner.jobs import CoaddQuery
    from hipsgen.planner.options import BuildOptions, Runtime
    from tests.building import build_all

    folder = tmp_path / "in"
    folder.mkdir()
    for k, name in enumerate(("../../../pwned", "F110W/F160W")):
        field = StarField(40.0 + k, -10.0, size=64, background=1.0)
        field.write(folder / f"{k}.fits", FILTER=name)
    bands = ("../../../pwned", "F110W/F160W")
    out = tmp_path / "a" / "b" / "out"
    build_all([str(folder)], CoaddQuery(bands=bands), BuildOptions(), Runtime(), out)
    assert {p.name for p in (tmp_path / "a" / "b" / "out").iterdir()} == {
        "band_pwned", "band_F110W_F160W"
    }  # fmt: skip
    assert {p.name for p in tmp_path.iterdir()} == {"in", "a"}

"""Unreadable coadds: reported, they only prevent the end of a build; repaired ones are added."""

import os
from pathlib import Path

import pytest
from astropy.io import fits

from hipsgen.builder.result import IncompleteBuildError
from hipsgen.checker.survey import check_survey
from hipsgen.errors import CoaddError, ConfigError
from hipsgen.planner.options import Runtime
from hipsgen.survey.provenance import FILE_NAME, Provenance
from tests.builder.test_survey import images, lone_images, tile_bytes
from tests.conftest import Build, StarField

CUTS = {"cuts": (-5.0, 100.0), "stretch": "linear"}
pytestmark = pytest.mark.filterwarnings("ignore:File may have been truncated")


def damage(path: Path) -> bytes:
    """Truncate a file, as a killed job would; return the original content."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3 * 2])
    return whole


def test_all_but_what_needs_a_bad_coadd_is_done_and_a_repair_is_built_in(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    inputs = lone_images(tmp_path / "in")
    truth = build(inputs, "truth", **CUTS)
    changed = inputs[1].stat().st_mtime_ns
    whole = damage(inputs[1])
    with pytest.raises(IncompleteBuildError, match=r"is not finished: 1 input.*skip_bad=True"):
        build(inputs, **CUTS)
    assert "n.fits: the file is truncated" in capsys.readouterr().err
    assert not (tmp_path / "out" / "properties").exists()
    leaves = {p.name for p in (tmp_path / "out" / "Norder11").rglob("*.fits")}
    wanted = {p.name for p in (truth.place / "Norder11").rglob("*.fits")}
    assert 0 < len(leaves) < len(wanted)
    assert leaves < wanted
    inputs[1].write_bytes(whole)
    os.utime(inputs[1], ns=(changed, changed))  # provenance identifies the file by its time
    repaired = build(inputs, **CUTS)
    assert tile_bytes(repaired.place) == tile_bytes(truth.place)
    assert (repaired.summary.n_blocks, repaired.summary.n_blocks_rendered) == (3, 1)


def test_a_coadd_that_breaks_under_way_fails_the_blocks_that_need_it(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is listed, but missing when a block reads its pixels."""
    from hipsgen.images.coadd_fits import FitsReader

    inputs = images(tmp_path / "in")
    truth = build(inputs, "truth", **CUTS)
    with monkeypatch.context() as broken:
        read = FitsReader.read

        def refuse(self, ref, section, parts=(), out=None, **options):
            if "3.fits" in ref.uri and parts:  # not for the sample
                raise CoaddError("the file does not exist")
            return read(self, ref, section, parts, out, **options)

        broken.setattr(FitsReader, "read", refuse)
        with pytest.raises(IncompleteBuildError, match=r"1 input.*needed by \d+ block"):
            build(inputs, **CUTS)
        made = build(inputs, skip_bad=True, **CUTS)
    left_out = Provenance.from_bytes((made.place / FILE_NAME).read_bytes()).left_out
    assert [(one.ref.uri.rsplit("/", 1)[1], one.reason) for one in left_out] == [
        ("3.fits", "the file does not exist")
    ]
    assert len(left_out[0].ref.polygon) > 3
    assert made.survey.properties["hipsgen_left_out"] == "1"
    assert [f for f in check_survey(made.place) if f.level != "note"] == []
    assert tile_bytes(made.place) != tile_bytes(truth.place)
    repaired = build(inputs, **CUTS)
    assert repaired.summary.n_tiles_made < repaired.summary.n_tiles
    assert tile_bytes(repaired.place) == tile_bytes(truth.place)
    assert "hipsgen_left_out" not in repaired.survey.properties


def test_skip_bad_finishes_the_survey_and_records_what_is_left_out(build: Build, tmp_path: Path):
    inputs = images(tmp_path / "in", 2)
    broken = tmp_path / "in" / "broken.fits"
    broken.write_text("no FITS at all")
    damage(Path(inputs[1]))
    with pytest.raises(IncompleteBuildError, match="2 inputs"):
        build([tmp_path / "in"])
    built = build([tmp_path / "in"], skip_bad=True)
    assert built.summary.n_tiles > 10
    left_out = Provenance.from_bytes((built.place / FILE_NAME).read_bytes()).left_out
    assert sorted(one.ref.uri.rsplit("/", 1)[1] for one in left_out) == ["1.fits", "broken.fits"]
    assert all("FITS" in one.reason or "truncated" in one.reason for one in left_out)
    with pytest.raises(CoaddError, match=r"1\.fits|broken\.fits"):
        build([tmp_path / "in"], "strict", strict=True)
    with pytest.raises(ConfigError, match="contradict"):
        Runtime(strict=True, skip_bad=True)


def test_a_file_of_another_kind_in_a_folder_is_no_fault(build: Build, tmp_path: Path):
    inputs = images(tmp_path / "in", 1)
    fits.PrimaryHDU([[1.0, 2.0]]).writeto(tmp_path / "in" / "kernel.fits")
    fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0])]).writeto(
        tmp_path / "in" / "catalog.fits"
    )
    built = build([tmp_path / "in"])
    assert len(built.summary.skipped) == 2
    with pytest.raises(
        IncompleteBuildError, match="1 input"
    ):  # a file that is named explicitly must be readable
        build([inputs[0], tmp_path / "in" / "kernel.fits"], "named")


def test_an_image_that_comes_back_as_another_is_made_anew(build: Build, tmp_path: Path):
    inputs = lone_images(tmp_path / "in")
    damage(inputs[1])
    build(inputs, skip_bad=True, **CUTS)
    StarField(41.0, -10.0, size=140, background=9.0).write(inputs[1])
    again = build(inputs, **CUTS)
    assert tile_bytes(again.place) == tile_bytes(build(inputs, "anew", **CUTS).place)


def test_a_survey_keeps_the_pixels_of_a_coadd_that_is_damaged_later(build: Build, tmp_path: Path):
    """A survey does not lose the pixels of a coadd that is damaged now."""
    inputs = images(tmp_path / "in", 3)
    place = build(inputs, **CUTS).place
    before = tile_bytes(place)
    whole = damage(inputs[1])
    with pytest.raises(
        IncompleteBuildError, match=r"left unchanged: the build would remove 1 coadd of the survey"
    ):
        build(inputs, **CUTS)
    assert tile_bytes(place) == before
    assert (place / "properties").exists()
    build(inputs, skip_bad=True, **CUTS)
    assert tile_bytes(place) == tile_bytes(build([inputs[0], inputs[2]], "two", **CUTS).place) | {
        FILE_NAME: tile_bytes(place)[FILE_NAME]
    }
    inputs[1].write_bytes(whole)
    assert tile_bytes(build(inputs, **CUTS).place).keys() == before.keys()


def test_tiles_wait_for_a_replacement_that_cannot_be_read(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A coadd is replaced by one that cannot be read: its tiles remain, all others are rendered."""
    from hipsgen.images.coadd_fits import FitsReader

    inputs = images(tmp_path / "in")
    place = build(inputs, **CUTS).place
    before = {n: h for n, h in tile_bytes(place).items() if "Npix" in n}
    for path in (inputs[0], inputs[3]):
        with fits.open(path, mode="update") as hdus:
            hdus[0].data += 1.0
    with monkeypatch.context() as broken:
        read = FitsReader.read

        def refuse(self, ref, section, parts=(), out=None, **options):
            if "3.fits" in ref.uri:
                raise CoaddError("an input/output error")
            return read(self, ref, section, parts, out, **options)

        broken.setattr(FitsReader, "read", refuse)
        with pytest.raises(IncompleteBuildError, match="1 input cannot be used"):
            build(inputs, **CUTS)
    now = {n: h for n, h in tile_bytes(place).items() if "Npix" in n}
    assert now.keys() == before.keys()
    changed = {n for n in now if now[n] != before[n] and n.startswith("Norder11")}
    alone = build([inputs[3]], "alone", **CUTS).place
    wanting = {n for n in tile_bytes(alone) if n.startswith("Norder11") and "Npix" in n}
    assert changed
    assert not changed & wanting
    repaired = build(inputs, **CUTS)
    assert tile_bytes(repaired.place) == tile_bytes(build(inputs, "anew", **CUTS).place)


def test_a_damaged_file_may_be_of_any_band(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Its band is unknown: no survey loses its pixels, and it is reported once."""
    from hipsgen.planner.jobs import CoaddQuery
    from hipsgen.planner.options import BuildOptions
    from hipsgen.run.progress import QuietReporter
    from tests.building import build_all

    folder = tmp_path / "in"
    folder.mkdir()
    for band in "gr":
        for k in range(2):
            field = StarField(40.0 + k, -10.0, size=80, background=2.0)
            field.write(folder / f"{band}{k}.fits", FILTER=band)

    def run(**options: bool) -> None:
        what = BuildOptions(cuts=(0.0, 9.0), stretch="linear")
        query, runtime = CoaddQuery(bands=("g", "r")), Runtime(**options)
        build_all([str(folder)], query, what, runtime, tmp_path / "out", "", QuietReporter())

    run()
    truth = tile_bytes(tmp_path / "out")
    (folder / "r1.fits").write_bytes(b"SIMPLE  =")
    with pytest.raises(IncompleteBuildError, match=r"band_g.*band_r is left unchanged"):
        run()
    assert tile_bytes(tmp_path / "out") == truth
    assert capsys.readouterr().err.count("r1.fits") == 1
    run(skip_bad=True)
    for band in "gr":
        found = (tmp_path / "out" / f"band_{band}" / FILE_NAME).read_bytes()
        assert len(Provenance.from_bytes(found).left_out) == 1

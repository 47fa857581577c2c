"""Updates after coadds are added, removed or changed: like a new build, but with little work."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.checker.survey import check_survey
from hipsgen.errors import ConfigError, HipsgenError
from hipsgen.journal.journal import Journal
from hipsgen.survey.store import LocalStore
from tests.builder.test_survey import images, lone_images, stopping, tile_bytes
from tests.conftest import Build, Built, StarField

pytestmark = pytest.mark.slow

# fixed cuts, since a new build would compute others; the order gives small images many tiles
CUTS = {"cuts": (-5.0, 100.0), "stretch": "linear", "order": 13, "tile_width": 64}


def everything(place: Path) -> dict[str, str]:
    """Hash all files except the journal, including `properties`."""
    import hashlib

    known = hashlib.sha256((place / "properties").read_bytes()).hexdigest()
    return {**tile_bytes(place), "properties": known}


def written(place: Path) -> dict[str, int]:
    """Return when each tile of the blocks was written."""
    return {
        str(path.relative_to(place)): path.stat().st_mtime_ns
        for path in place.rglob("Npix*.*")
        if ".hipsgen" not in path.parts
    }


def add(folder: Path) -> None:
    images(folder.parent / "more", 5)[-1].rename(folder / "4.fits")


def remove(folder: Path) -> None:
    (folder / "3.fits").unlink()


def replace(folder: Path) -> None:
    with fits.open(folder / "3.fits", mode="update") as hdus:
        hdus[0].data += np.float32(1.0)


def move(folder: Path) -> None:
    StarField(40.2, -10.0, size=300, background=3.0).write(folder / "3.fits")


@pytest.mark.parametrize("change", [add, remove, replace, move])
def test_an_updated_survey_is_that_of_a_build_from_scratch(
    change: Callable[[Path], None],
    build: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    folder = tmp_path / "in"
    images(folder)
    place = build([folder], "sky", **CUTS).place
    before = written(place)
    change(folder)
    updated = build([folder], "sky", workers=2, **CUTS)
    found = everything(place)
    shutil.move(place, tmp_path / "updated")
    anew = build([folder], "sky", **CUTS)
    assert found == everything(anew.place)
    summary = updated.summary
    print(
        f"{change.__name__}: {summary.n_tiles_made} of {summary.n_tiles} tiles made "
        f"({100 * summary.n_tiles_made / summary.n_tiles:.0f} %), {summary.n_tiles_removed} removed"
    )
    assert summary.n_tiles_made < 0.5 * summary.n_tiles
    after = written(tmp_path / "updated")
    touched = {name for name in after if after[name] != before.get(name)}
    assert len({name.rpartition(".")[0] for name in touched}) == summary.n_tiles_made


def test_only_the_leaf_tiles_that_a_coadd_touches_and_those_above_are_made(
    build: Build, tmp_path: Path
):
    folder = tmp_path / "in"
    lone_images(folder)
    place = build([folder], **CUTS).place
    before = written(place)
    stars = StarField(41.0, -10.0, size=120, background=7.0)
    stars.write(folder / "n.fits")
    summary = build([folder], **CUTS).summary
    after = written(place)
    made = {name for name in after if after[name] != before[name]}
    own = build([folder / "n.fits"], "own", **CUTS).place
    assert {n for n in made if n.startswith(("Norder13", "Norder12"))} == {
        n for n in written(own) if n.startswith(("Norder13", "Norder12"))
    }  # fmt: skip
    assert summary.n_tiles_made == len({name.rpartition(".")[0] for name in made})


def test_an_update_that_is_killed_and_taken_back_leaves_no_trace(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A build is killed amid a block with new coadds; then the old coadds are restored."""
    folder = tmp_path / "in"
    images(folder)
    place = build([folder], **CUTS).place
    truth = tile_bytes(place)
    kept = (folder / "3.fits").read_bytes()
    changed = (folder / "3.fits").stat().st_mtime_ns

    def is_tile(path: str) -> bool:
        return "/Npix" in path and not path.startswith(".hipsgen")

    for deaths in (1, 4, 20, 45):
        move(folder)
        with stopping(monkeypatch, deaths, counts=is_tile), pytest.raises(OSError, match="stops"):
            build([folder], **CUTS)
        (folder / "3.fits").write_bytes(kept)
        os.utime(folder / "3.fits", ns=(changed, changed))
        build([folder], **CUTS)
        assert tile_bytes(place) == truth, deaths


def test_a_tile_that_was_damaged_is_not_taken_for_good(build: Build, tmp_path: Path):
    folder = tmp_path / "in"
    images(folder)
    place = build([folder], **CUTS).place
    for path in (place / "Norder13").rglob("*.fits"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    for path in folder.glob("*.fits"):
        replace_header(path)
    (folder / "3.fits").unlink()
    build([folder], **CUTS)
    assert tile_bytes(place) == tile_bytes(build([folder], "anew", **CUTS).place)


def replace_header(path: Path) -> None:
    """The file changes, its pixels do not."""
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["COMMENT"] = "looked at again"


def test_recut_changes_the_previews_and_no_value(build: Build, tmp_path: Path):
    inputs = images(tmp_path / "in", 2)
    place = build(inputs, cuts=(-5.0, 100.0), order=13, tile_width=64).place
    before = tile_bytes(place)
    recut = build(inputs, recut=True, order=13, tile_width=64)
    after = tile_bytes(place)
    assert after == tile_bytes(build(inputs, "anew", order=13, tile_width=64).place)
    assert {n for n in after if n.endswith(".fits") and before[n] != after[n]} == set()
    assert before["Norder0/Allsky.png"] != after["Norder0/Allsky.png"]
    assert recut.summary.n_tiles_made == recut.summary.n_tiles
    assert build(inputs, order=13, tile_width=64).summary.n_blocks_rendered == 0
    build(inputs, recut=True, cuts=(-5.0, 100.0), order=13, tile_width=64)
    assert tile_bytes(place) == before


def test_a_recut_that_is_killed_goes_on(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inputs = images(tmp_path / "in", 2)
    place = build(inputs, cuts=(-5.0, 100.0), order=13, tile_width=64).place

    def is_png(path: str) -> bool:
        return path.endswith(".png")

    with stopping(monkeypatch, 30, counts=is_png), pytest.raises(OSError, match="stops"):
        build(inputs, recut=True, order=13, tile_width=64)
    build(inputs, order=13, tile_width=64)
    assert tile_bytes(place) == tile_bytes(build(inputs, "anew", order=13, tile_width=64).place)


def test_a_plan_says_what_would_change(build: Build, tmp_path: Path):
    from tests.test_cli import hipsgen

    folder = tmp_path / "in"
    lone_images(folder)
    place = build([folder], "out").place
    before = written(place)

    def planned() -> str:
        ran = hipsgen("plan", folder, "-o", place, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        return str(ran.stdout)

    assert "; 0 of " in planned()
    (folder / "n.fits").unlink()
    said = planned()
    assert "about 0 removed" not in said
    assert "at most 0 of" in said
    lone_images(folder)
    (folder / "a.fits").write_bytes((folder / "a.fits").read_bytes() + b"\0" * 2880)
    said = planned()
    assert "at most 0 of" not in said
    assert ", about 0 removed" in said
    assert written(place) == before
    wrong = hipsgen("plan", folder, "-o", place, "--interp", "bilinear", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "interp optimal, not bilinear" in wrong.stderr


def test_a_color_survey_follows_its_bands_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from hipsgen.planner.jobs import CoaddQuery
    from hipsgen.planner.options import BuildOptions, Runtime
    from hipsgen.run.progress import QuietReporter
    from tests.building import build_all

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(3)

    def image(band: str, k: int, background: float) -> None:
        path = StarField(40.0 + k, -10.0, size=120, background=background).write(
            folder / f"{band}{k}.fits", FILTER=band
        )
        with fits.open(path, mode="update") as hdus:
            hdus[0].data += rng.normal(size=(120, 120)).astype(np.float32)

    for band in "gri":
        for k in range(2):
            image(band, k, 5.0)

    def run(name: str, **options: bool) -> list[Built]:
        return build_all(
            [str(folder)], CoaddQuery(), BuildOptions(cuts=(-5.0, 50.0)), Runtime(**options),
            tmp_path / name, "gri", QuietReporter(),
        )  # fmt: skip

    made = run("out")[-1]
    assert made.n_blocks == made.n_blocks_rendered
    place = tmp_path / "out" / "color_gri"
    before = written(place)
    again = run("out")[-1]
    assert again.n_blocks_rendered == 0
    image("r", 1, 6.0)
    changed = run("out")[-1]
    assert 0 < changed.n_blocks_rendered < changed.n_blocks
    touched = {n for n, when in written(place).items() if when != before[n]}
    assert 0 < len(touched) < 0.7 * len(before)
    assert [f for f in check_survey(place) if f.level != "note"] == []
    run("out", recut=True)
    found = everything(place)
    shutil.rmtree(tmp_path / "out")
    run("out")
    assert everything(place) == found


@pytest.mark.parametrize("damage", ["cut", "gone", "another's", "state cut"])
def test_a_block_whose_record_is_damaged_leaves_no_tile_behind(
    damage: str, build: Build, tmp_path: Path
):
    """Even if its coadds were removed, too."""
    folder = tmp_path / "in"
    lone_images(folder)
    place = build([folder], **CUTS).place
    records = sorted((place / ".hipsgen" / "blocks").rglob("*.npz"))
    states = sorted((place / ".hipsgen" / "roots").rglob("*.npz"))
    for record, state in zip(records, states, strict=True):
        if damage == "cut":
            record.write_bytes(record.read_bytes()[:200])
        elif damage == "gone":
            record.unlink()
        elif damage == "state cut":
            state.write_bytes(state.read_bytes()[:100])
        elif record is not records[0]:
            record.write_bytes(records[0].read_bytes())
    (folder / "n.fits").unlink()
    for _ in range(2):  # damage found when publishing is repaired by the next build
        with suppress(HipsgenError):
            build([folder], **CUTS)
    assert tile_bytes(place) == tile_bytes(build([folder], "anew", **CUTS).place)


def test_a_recipe_that_was_changed_is_not_taken_for_the_survey_s(build: Build, tmp_path: Path):
    inputs = images(tmp_path / "in", 1)
    place = build(inputs).place
    path = place / ".hipsgen" / "build.json"
    path.write_text(path.read_text().replace('"nJy"', '"mJy"'))
    with pytest.raises(ConfigError, match="the digest differs"):
        build(inputs)
    path.write_text("null")
    with pytest.raises(ConfigError, match="damaged"):
        build(inputs)


def test_flags_outlive_a_build_that_begins_anew(build: Build, tmp_path: Path):
    inputs = [StarField(40.0, 0.0, size=100, background=1.0).write(tmp_path / "a.fits")]
    place = build(inputs).place
    flag = place / ".hipsgen" / "flags" / "0123456789abcdef.1.json"
    flag.parent.mkdir()
    flag.write_text("{}")
    build(inputs, fresh=True)
    assert flag.read_text() == "{}"


def test_a_block_without_leaf_tiles_is_rendered_again(build: Build, tmp_path: Path):
    """Outlines may touch a block but none of its leaf tiles; what another build left there goes."""
    options = {"order": 3, "formats": ("fits",), "cuts": (0.0, 10.0), "stretch": "linear"}
    inputs = [
        StarField(lon, lat, size=100).write(tmp_path / f"{lon}.fits")
        for lon, lat in ((40.0, 0.0), (44.0, 1.0))
    ]
    place = build(inputs, "out", **options).place
    journal = Journal(LocalStore(place))
    empty = [record.root for record in journal.records() if not record.n_tiles]
    assert empty
    for root in empty:
        stray = place / root.path("fits")
        stray.write_bytes(b"of another build")
        journal.invalidate(root)
        build(inputs, "out", **options)
        assert not stray.exists()
        assert journal.read_block(root) is not None

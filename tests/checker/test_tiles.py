"""`check --deep` reports every planted fault, and nothing in valid surveys of any program."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from mocpy import MOC
from PIL import Image

from hipsgen.checker.finding import Finding
from hipsgen.checker.survey import CheckOptions, check_and_count, check_survey, group_similar
from hipsgen.coadd import Polygon
from hipsgen.images.uris import is_stamp
from hipsgen.survey.coverage import moc_bytes, moc_of, read_moc, to_ranges
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.provenance import Provenance
from tests.checker.test_check import FAULTS, _set, leaf
from tests.conftest import StarField, build_by_command

pytestmark = pytest.mark.slow

DEEP = CheckOptions(deep=True, workers=2)


def serious(place: Path, depth: CheckOptions = DEEP) -> list[Finding]:
    return [f for f in check_survey(place, depth) if f.level != "note"]


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Change the values of a FITS tile, with a correct header and checksums."""
    with fits.open(path) as hdus:
        header, values = hdus[0].header, hdus[0].data.astype(np.float32)
    changed = change(values)
    hdu = fits.PrimaryHDU(values if changed is None else changed, header)
    hdu.add_checksum()
    hdu.writeto(path, overwrite=True)


def _nan(values: np.ndarray) -> None:
    rows, cols = np.nonzero(np.isfinite(values))
    values[rows[:40], cols[:40]] = np.nan


def _one_pixel(values: np.ndarray) -> None:
    row, col = np.argwhere(np.isfinite(values))[100]
    values[row, col] *= 1.001


def _all_tiles(place: Path, change: Callable[[np.ndarray], np.ndarray | None]) -> None:
    for path in place.glob("Norder*/Dir*/*.fits"):
        rewrite(path, change)


def _flip_both(place: Path) -> None:
    """Flip values and previews of all orders."""
    for path in place.glob("Norder*/Dir*/*.fits"):
        rewrite(path, lambda v: v[::-1].copy())
    for path in place.glob("Norder*/Dir*/*.png"):
        Image.open(path).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path, transparency=0)


def _swap(place: Path) -> None:
    """Swap two leaf tiles and their previews, with correct headers."""
    a, b = sorted((place / "Norder11").rglob("*.fits"), key=lambda p: _count(p))[-2:]
    values = [fits.getdata(p).copy() for p in (a, b)]
    rewrite(a, lambda _: values[1])
    rewrite(b, lambda _: values[0])
    for extension in ("png", "webp"):
        one, two = a.with_suffix(f".{extension}"), b.with_suffix(f".{extension}")
        content = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(content)


def _count(path: Path) -> int:
    return int(np.isfinite(fits.getdata(path)).sum())


def _delete_leaf(place: Path) -> None:
    victim = leaf(place, "fits")
    for extension in ("png", "webp", "fits"):
        victim.with_suffix(f".{extension}").unlink()


def _astrometry(place: Path) -> None:
    for path in place.glob("Norder11/Dir*/*.fits"):
        with fits.open(path, mode="update") as hdus:
            hdus[0].header["CRPIX1"] += 1.0
            hdus[0].add_checksum()


def _stale_allsky(place: Path) -> None:
    rewrite(place / "Norder0" / "Allsky.fits", lambda v: v * 2)


def _small_moc(place: Path) -> None:
    moc = read_moc((place / "Moc.fits").read_bytes())
    cells = np.sort(moc.flatten())[:-1]
    data = moc_bytes(moc_of([to_ranges(cells.astype(np.uint64))], moc.max_order), "equatorial")
    (place / "Moc.fits").write_bytes(data)


def _other_coadds(place: Path) -> None:
    path = place / "provenance.fits"
    (coadd,) = Provenance.from_bytes(path.read_bytes()).coadds
    polygon = Polygon((lon + 0.02, lat) for lon, lat in coadd.ref.polygon)
    moved = replace(coadd.ref, polygon=polygon)
    path.write_bytes(Provenance([replace(coadd, ref=moved)]).to_bytes())


def _other_picture(place: Path) -> None:
    path = leaf(place, "png")
    levels = np.array(Image.open(path))
    shown = levels > 0
    levels[shown] = np.clip(levels[shown] * 0.8, 1, 255).astype(np.uint8)
    Image.fromarray(levels).save(path, transparency=0)


MORE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing pixels where there are data": (lambda p: rewrite(leaf(p, "fits"), _nan), "mean of"),
    "one pixel by a thousandth": (lambda p: rewrite(leaf(p, "fits"), _one_pixel), "mean of"),
    "a parent pixel": (
        lambda p: rewrite(max((p / "Norder8").rglob("*.fits"), key=_count), _one_pixel),
        "Norder8"),
    "a WCS off by one pixel": (_astrometry, "WCS that is off by 1 pixels"),
    "a stale Allsky": (_stale_allsky, "does not show the tiles"),
    "a MOC without one cell": (_small_moc, "does not cover all pixels with data: 1 cells"),
    "coadds that are elsewhere": (_other_coadds, "outside the outlines"),
    "two whole tiles swapped": (_swap, "mean of its child tiles"),
    "a whole leaf tile deleted": (_delete_leaf, "cells have no .fits tile"),
    "all tiles upside down": (_flip_both, "mean of its child tiles"),
    "a range that the tiles do not have": (
        lambda p: _set(p, "hips_data_range", "0 1"), "hips_data_range"),
    "a first view of nothing": (
        lambda p: _set(p, "hips_initial_ra", "200"), "shows nothing"),
}  # fmt: skip

JOURNALLED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another picture": (_other_picture, "does not show the values"),
    "a file more": (
        lambda p: shutil.copy(leaf(p, "png"), _beside(leaf(p, "png"))), "no record in the journal"),
    "any other file": (
        lambda p: (p / "preview.jpg").write_bytes((p / "preview.jpg").read_bytes()[:-1]),
        "preview.jpg: is not what was written"),
    "a record gone": (
        lambda p: next((p / ".hipsgen" / "blocks").rglob("*.npz")).unlink(), "journal"),
    "a record damaged": (
        lambda p: next((p / ".hipsgen" / "blocks").rglob("*.npz")).write_bytes(b"PK"), "damaged"),
    "a flipped bit of a picture": (lambda p: _bit(leaf(p, "webp")), "is not what was written"),
}  # fmt: skip


def _beside(path: Path) -> Path:
    """Return the path of a tile in the same folder that does not exist."""
    number = int(path.stem[4:])
    there = number // 10000 * 10000
    return path.with_name(f"Npix{there + (number - there + 5000) % 10000}{path.suffix}")


def _bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def test_a_sound_survey_has_no_finding(sound: Path, tmp_path: Path) -> None:
    assert check_survey(sound, DEEP) == []
    bare = shutil.copytree(sound, tmp_path / "bare")
    shutil.rmtree(bare / ".hipsgen")
    assert check_survey(bare, DEEP) == []


@pytest.mark.parametrize("fault", {**FAULTS, **MORE})
def test_a_fault_is_named_whether_there_is_a_journal_or_not(fault: str, copy: Path) -> None:
    plant, word = {**FAULTS, **MORE}[fault]
    plant(copy)
    named = [str(f) for f in serious(copy)]
    said = word if fault != "flipped bytes" else "not what was written"
    assert any(said in text for text in named), named
    shutil.rmtree(copy / ".hipsgen")
    if fault == "a range that the tiles do not have":
        return  # only with the journal it is known that the range is that of all pixels
    named = [str(f) for f in serious(copy)]
    assert any(word in text for text in named), named


@pytest.mark.parametrize("fault", JOURNALLED)
def test_faults_known_from_the_journal_only_are_found(fault: str, copy: Path) -> None:
    plant, word = JOURNALLED[fault]
    plant(copy)
    named = [str(f) for f in serious(copy)]
    assert any(word in text for text in named), named
    assert any(".hipsgen" in text or "build again" in text for text in named)


def test_removing_the_named_record_and_building_again_repairs_the_tiles(
    sound: Path,
    tmp_path: Path,
) -> None:
    """Remove the record named in the finding and build again."""
    from tests.builder.test_survey import images, tile_bytes

    images(tmp_path / "in", 1)
    out = tmp_path / "out"

    def hipsgen(*words: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "hipsgen", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    build = ("build", tmp_path / "in", "-o", out, "--order", "11", "--tile-width", "128")
    hipsgen(*build)
    truth = tile_bytes(out)
    _bit(leaf(out, "fits"))
    _bit(leaf(out, "png"))
    next((out / "Norder1").rglob("*.png")).unlink()
    said = hipsgen("check", out, "--deep", "-q")
    assert said.returncode == 1
    advised = {word for word in said.stdout.split() if ".hipsgen/" in word and "npz" in word}
    assert len(advised) >= 2
    for record in advised:
        Path(record).unlink()
    assert hipsgen(*build).returncode == 0
    assert tile_bytes(out) == truth
    clean = hipsgen("check", out, "--deep", "-q", "--json")
    assert clean.returncode == 0
    assert all(f["level"] == "note" for f in json.loads(clean.stdout)[str(out)])


def test_similar_findings_are_grouped(copy: Path) -> None:
    for path in copy.glob("Norder*/Dir*/*.png"):
        path.write_bytes(b"no picture")
    named = serious(copy)
    assert len(named) > 20  # programs get all of them
    assert len(group_similar(named)) < 20
    assert any("more files" in str(f) for f in group_similar(named))


class TestAgainstInputs:
    """Leaf tiles rendered again from the coadds."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        from tests.builder.test_survey import images

        images(tmp_path / "in", 3)
        options = ("--order", "11", "--tile-width", "128")
        build_by_command(tmp_path / "out", tmp_path / "in", *options)
        return tmp_path / "out"

    def found(self, place: Path) -> list[str]:
        return [str(f) for f in serious(place, CheckOptions(against_inputs=100, workers=2, seed=1))]

    def test_they_agree_to_the_last_bit(self, place: Path) -> None:
        assert self.found(place) == []
        # cells of the MOC without a tile are not compared with anything
        moc = read_moc((place / "Moc.fits").read_bytes())
        more = moc.union(MOC.from_string("5/11"))
        (place / "Moc.fits").write_bytes(moc_bytes(more, "equatorial"))
        tiles = len(list((place / "Norder11").rglob("*.fits")))
        _, compared = check_and_count(place, CheckOptions(against_inputs=10_000, workers=2))
        assert 0 < compared == tiles

    def test_a_shift_by_one_pixel_is_named(self, place: Path) -> None:
        for path in (place / "Norder11").rglob("*.fits"):
            rewrite(path, lambda v: np.roll(v, 1, axis=0))
        assert any("shifted by 1 rows, 0 columns" in text for text in self.found(place))

    def test_other_values_are_counted(self, place: Path) -> None:
        rewrite(leaf(place, "fits"), _one_pixel)
        assert any("1 pixels by up to" in text for text in self.found(place))

    def test_coadds_that_changed_since_are_named(self, place: Path, tmp_path: Path) -> None:
        StarField(40.0, -10.0, background=3.0).write(tmp_path / "in" / "0.fits")
        assert any("0.fits: has changed since" in text for text in self.found(place))

    def test_provenance_of_0_1_0_is_completed_from_the_journal(
        self, place: Path, tmp_path: Path
    ) -> None:
        """It lacks the identities, without which a changed coadd would not be noticed."""
        path = place / "provenance.fits"
        coadds = Provenance.from_bytes(path.read_bytes()).coadds
        assert all(is_stamp(coadd.ref.identity) for coadd in coadds)
        older = [replace(coadd, ref=replace(coadd.ref, identity="")) for coadd in coadds]
        path.write_bytes(Provenance(older).to_bytes())
        assert self.found(place) == []
        StarField(40.0, -10.0, background=3.0).write(tmp_path / "in" / "0.fits")
        assert any("0.fits: has changed since" in text for text in self.found(place))


def test_the_tile_reader_agrees_with_astropy() -> None:
    rng = np.random.default_rng(1)
    for kind, cards in (
        ("f4", {}), ("f8", {}), ("i2", {"BSCALE": 0.5, "BZERO": 3.0, "BLANK": -5}), ("u1", {}),
        ("i4", {"BLANK": 7}),
    ):  # fmt: skip
        values = rng.integers(-9 * (kind != "u1"), 9, (8, 6)).astype(kind)
        hdu = fits.PrimaryHDU(values)
        hdu.header.update(cards)
        buffer = io.BytesIO()
        with pytest.MonkeyPatch.context():
            hdu.writeto(buffer, output_verify="silentfix")
        data = buffer.getvalue()
        header = fits.Header.fromstring(data[:2880])
        raw = np.frombuffer(data, np.dtype(kind).newbyteorder(">"), 48, 2880).reshape(8, 6)
        truth = raw * header.get("BSCALE", 1.0) + header.get("BZERO", 0.0)
        if "BLANK" in header:
            truth = np.where(raw == header["BLANK"], np.nan, truth)
        np.testing.assert_array_equal(FitsTile().decode(data), truth.astype(np.float32))

"""`hipsgen check` finds planted faults, and nothing in a valid survey."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from hipsgen.checker.survey import CheckOptions, Finding, check_survey
from tests.conftest import Build, StarField


def leaf(place: Path, extension: str) -> Path:
    """Return the leaf tile with the most data."""
    return max((place / "Norder11").rglob("*.fits"), key=_filled).with_suffix(f".{extension}")


def _filled(path: Path) -> int:
    return int(np.isfinite(fits.getdata(path)).sum())


def _set(place: Path, key: str, value: str | None) -> None:
    path = place / "properties"
    lines = [x for x in path.read_text().splitlines() if x.split("=")[0].strip() != key]
    path.write_text("\n".join(lines + ([f"{key} = {value}"] if value is not None else [])) + "\n")


def _flip(place: Path) -> None:
    for path in place.glob("Norder*/Dir*/*.png"):
        picture = Image.open(path)
        turned = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        turned.save(path, transparency=0)


def _zero(place: Path) -> None:
    for path in (place / "Norder11").rglob("*.fits"):
        with fits.open(path, mode="update") as hdus:
            hdus[0].data[:] = 0


def _bitpix(place: Path) -> None:
    _set(place, "hips_pixel_bitpix", "16")


def _shrink(place: Path) -> None:
    path = leaf(place, "png")
    Image.open(path).resize((256, 256)).save(path)


def _unlisted(place: Path) -> None:
    shutil.copy(leaf(place, "png"), leaf(place, "png").with_suffix(".jpg"))


def _flipped_byte(place: Path) -> None:
    for path in (place / "Norder11").rglob("*.fits"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x20
        path.write_bytes(data)


def _wrong_parent(place: Path) -> None:
    for path in (place / "Norder10").rglob("*.fits"):
        with fits.open(path, mode="update") as hdus:
            hdus[0].data *= 1.5


def _misplaced(place: Path) -> None:
    path = leaf(place, "fits")
    target = place / "Norder11" / "Dir0" / path.name
    target.parent.mkdir()
    path.rename(target)


def _swapped(place: Path) -> None:
    a, b = sorted((place / "Norder11").rglob("*.fits"))[:2]
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)


def _moc(place: Path) -> None:
    from hipsgen.survey.coverage import moc_bytes, moc_of, to_ranges

    cells = np.arange(5, dtype=np.uint64)
    (place / "Moc.fits").write_bytes(moc_bytes(moc_of([to_ranges(cells)], 14), "equatorial"))


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "order one too high": (lambda p: _set(p, "hips_order", "12"), "Norder12"),
    "order one too low": (lambda p: _set(p, "hips_order", "10"), "hips_order"),
    "pictures upside down": (_flip, "upside down"),
    "a whole FITS order is missing": (
        lambda p: [x.unlink() for x in (p / "Norder5").rglob("Npix*.fits")], "Norder5"),
    "wrong bitpix": (_bitpix, "BITPIX"),
    "all-zero leaf tiles": (_zero, "not the mean of its child tiles"),
    "a leaf is deleted": (lambda p: leaf(p, "fits").unlink(), "Moc.fits"),
    "a tile of the wrong size": (_shrink, "hips_tile_width"),
    "a truncated tile": (
        lambda p: leaf(p, "png").write_bytes(leaf(p, "png").read_bytes()[:5000]), "png"),
    "a format that is not listed": (_unlisted, "hips_tile_format"),
    "a tile in the wrong folder": (_misplaced, "Dir0"),
    "two tiles swapped": (_swapped, "NPIX"),
    "flipped bytes": (_flipped_byte, "DATASUM"),
    "wrong parents": (_wrong_parent, "not the mean of its child tiles"),
    "a frame that the tiles contradict": (
        lambda p: _set(p, "hips_frame", "galactic"), "CTYPE1"),
    "an ecliptic frame that the tiles contradict": (
        lambda p: _set(p, "hips_frame", "ecliptic"), "CTYPE1"),
    "no MOC": (lambda p: (p / "Moc.fits").unlink(), "Moc.fits"),
    "a MOC of another place": (_moc, "Moc.fits"),
    "no properties": (lambda p: (p / "properties").unlink(), "properties"),
    "no creator_did": (lambda p: _set(p, "creator_did", None), "creator_did"),
    "a blank in creator_did": (lambda p: _set(p, "creator_did", "ivo://a/b c"), "creator_did"),
    "a bad date": (lambda p: _set(p, "hips_release_date", "yesterday"), "hips_release_date"),
    "a bad status": (lambda p: _set(p, "hips_status", "public public"), "hips_status"),
    "a bad frame": (lambda p: _set(p, "hips_frame", "ICRS"), "hips_frame"),
    "cuts that decrease": (lambda p: _set(p, "hips_pixel_cut", "5 1"), "hips_pixel_cut"),
    "a wrong pixel scale": (lambda p: _set(p, "hips_pixel_scale", "1"), "hips_pixel_scale"),
    "a wrong sky fraction": (lambda p: _set(p, "moc_sky_fraction", "0.5"), "moc_sky_fraction"),
    "a bad Allsky": (
        lambda p: Image.new("L", (100, 100)).save(p / "Norder3" / "Allsky.png"), "Allsky"),
}  # fmt: skip


def serious(place: Path) -> list[Finding]:
    return [f for f in check_survey(place) if f.level != "note"]


def test_a_sound_survey_has_no_finding(sound: Path) -> None:
    assert check_survey(sound) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_named(fault: str, copy: Path) -> None:
    plant, word = FAULTS[fault]
    plant(copy)
    found = serious(copy)
    assert any(word in str(finding) for finding in found), found


def test_unknown_times_are_a_note_and_no_fault(build: Build, tmp_path) -> None:
    path = StarField(40.0, -10.0, background=5.0, size=100).write(tmp_path / "a.fits", FILTER="r")
    findings = check_survey(build([path]).place)
    assert {f.where for f in findings} >= {"t_min", "t_max"}
    assert {f.level for f in findings} == {"note"}


def test_a_sky_of_nothing_is_no_fault(build: Build, tmp_path) -> None:
    path = StarField(40.0, -10.0, background=0.0, size=100).write(tmp_path / "a.fits", FILTER="r")
    assert serious(build([path]).place) == []
    path = StarField(40.0, -10.0, background=1e9, size=100, stars=[(50.0, 50.0, 9e3)]).write(
        tmp_path / "b.fits"
    )
    assert serious(build([path], "bright").place) == []


def begin_at(place: Path, order: int) -> None:
    for k in range(order):
        shutil.rmtree(place / f"Norder{k}")
    shutil.rmtree(place / ".hipsgen")  # the journal has those tiles


@pytest.mark.parametrize("order", [1, 3])
def test_orders_0_to_2_may_be_omitted(copy: Path, order: int) -> None:
    """HiPS 1.0, section 4.3.1, does not require hips_order_min for that."""
    begin_at(copy, order)
    _set(copy, "hips_order_min", None)
    assert [str(f) for f in check_survey(copy, CheckOptions(deep=order == 3))] == [
        f"note: hips_order_min: is missing, although the survey begins at order {order}"
    ]
    _set(copy, "hips_order_min", f"{order}")
    assert check_survey(copy) == []


def test_missing_orders_above_2_are_an_error(copy: Path) -> None:
    begin_at(copy, 4)
    _set(copy, "hips_order_min", None)
    assert any(f.level == "error" and f.where == "Norder3" for f in check_survey(copy))
    # a stated order must exist, and a format must begin where the others do
    _set(copy, "hips_order_min", "2")
    assert {f.where for f in serious(copy)} >= {"Norder2", "Norder3"}


def test_a_format_begins_at_the_order_of_the_others(copy: Path) -> None:
    for path in copy.glob("Norder[012]/Dir*/*.png"):
        path.unlink()
    _set(copy, "hips_order_min", None)
    assert {f.where for f in serious(copy)} >= {"Norder0", "Norder1", "Norder2"}

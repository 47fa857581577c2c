"""FITS by name, by folder and by list; names as people give them; bands from headers."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from hipsgen.errors import InputError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.fits_folder import FitsFolder
from hipsgen.images.uris import path_of, uri_of
from hipsgen.planner.coadd_list import list_refs
from hipsgen.run.progress import QuietReporter
from samples.archive import FILTER_LABEL_ID, archive_hdus
from tests.images.making import COLS, ROWS, noise, tan_header, write

NAMES = ["with space.fits", "größe ☉.fits", "a#1.fits", "100%.fits", "q?x=1&y.fits", "[0].fits"]


def image(path: Path, **cards: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(path, fits.PrimaryHDU(noise(), tan_header(**cards)))


def found(*inputs: object) -> list[Path]:
    """The files that were found, in order."""
    paths = [path_of(ref.uri) for ref in FitsFolder([str(i) for i in inputs]).refs()]
    assert None not in paths
    return paths  # type: ignore[return-value]


def test_a_folder_is_searched_to_the_bottom_in_order(tmp_path: Path):
    files = [image(tmp_path / name) for name in ("b.fits", "a/z.fits", "a/b/c.FIT", "c.fits.gz")]
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "a.fits.part").write_text("no image")
    assert found(tmp_path) == sorted(files)


def test_a_file_named_twice_is_one_coadd(tmp_path: Path):
    path = image(tmp_path / "a.fits")
    (tmp_path / "in").mkdir()
    assert found(path, tmp_path, path, tmp_path / "in" / ".." / "a.fits") == [path]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_found_and_read(name: str, tmp_path: Path):
    path = image(tmp_path / name)
    for given in (path, tmp_path):
        source = FitsFolder([str(given)])
        (ref,) = source.refs()
        assert source.problems == []
        assert ref.uri.isascii()
        assert path_of(ref.uri) == path
        pixels = source.reader().read(ref, (slice(0, ROWS), slice(0, COLS)))
        np.testing.assert_array_equal(pixels, noise())


def test_a_name_that_is_not_utf8_is_found(tmp_path: Path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.fits"))
    try:
        image(path)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 names only")
    assert found(tmp_path) == [path]


def test_a_uri_names_a_file_too(tmp_path: Path):
    path = image(tmp_path / "with space.fits")
    assert found(uri_of(path)) == [path]


def test_a_list_has_comments_blank_lines_and_relative_names(tmp_path: Path, monkeypatch):
    inside = image(tmp_path / "in" / "a b.fits")
    beside = image(tmp_path / "größe.fits")
    hashed = image(tmp_path / "in" / "n#1.fits")
    listed = tmp_path / "in" / "images.txt"
    listed.write_text(
        f"# my images\n\n  a b.fits  \n../größe.fits\n#not this.fits\n{uri_of(hashed)}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir("/")
    assert found(listed) == [inside, beside, hashed]


def test_a_list_is_known_by_its_ending_or_an_at_sign(tmp_path: Path):
    path = image(tmp_path / "a.fits")
    for name in ("l.txt", "l.lst", "l.list", "no ending"):
        (tmp_path / name).write_text("a.fits\n")
        given = tmp_path / name
        assert found(f"@{given}" if name == "no ending" else given) == [path]


def test_a_list_may_name_folders_and_other_lists(tmp_path: Path):
    path = image(tmp_path / "below" / "a.fits")
    (tmp_path / "inner.txt").write_text("below\n")
    (tmp_path / "outer.txt").write_text("inner.txt\n")
    assert found(tmp_path / "outer.txt") == [path]


def test_a_list_with_a_byte_order_mark_is_read(tmp_path: Path):
    path = image(tmp_path / "a.fits")
    (tmp_path / "l.txt").write_text("a.fits\r\n", encoding="utf-8-sig")
    assert found(tmp_path / "l.txt") == [path]


WRONG = {
    "a missing file": ("nothing.fits", "does not exist"),
    "a list that names itself": ("round.txt", "includes itself"),
    "a list that is not UTF-8": ("latin.txt", "not UTF-8"),
    "a list that is no text": ("nul.txt", "NUL characters"),
    "a folder without FITS": ("empty", "contains no FITS file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_input_that_is_not_there_is_an_input_error_of_one_line(name: str, tmp_path: Path):
    (tmp_path / "round.txt").write_text("round.txt\n")
    (tmp_path / "latin.txt").write_bytes("größe.fits\n".encode("latin-1"))
    (tmp_path / "nul.txt").write_bytes("a.fits\n".encode("utf-16-le"))
    (tmp_path / "empty").mkdir()
    given, reason = WRONG[name]
    with pytest.raises(InputError, match=reason) as raised:
        found(tmp_path / given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("cards", "band"),
    [
        ({"FILTER": "r"}, "r"),
        ({"FILTER": " HSC-I "}, "HSC-I"),
        ({"BAND": "Ks"}, "Ks"),
        ({"FILTER": 3}, ""),
        ({"FILTER": "", "BAND": "J"}, "J"),
        ({}, ""),
    ],
)
def test_the_band_comes_from_the_header(cards: dict[str, object], band: str, tmp_path: Path):
    image(tmp_path / "a.fits", **cards)
    assert [ref.band for ref in FitsFolder([str(tmp_path)]).refs()] == [band]


def test_the_band_of_the_primary_header_counts_for_its_extensions(tmp_path: Path):
    primary = fits.PrimaryHDU()
    primary.header["FILTER"] = "g"
    own = tan_header(FILTER="i", CRVAL1=20.0)
    write(
        tmp_path / "a.fits",
        primary,
        fits.ImageHDU(noise(), tan_header(), name="SCI", ver=1),
        fits.ImageHDU(noise(), own, name="SCI", ver=2),
    )
    assert [ref.band for ref in FitsFolder([str(tmp_path)]).refs()] == ["g", "i"]


def test_an_open_wheel_of_an_extension_does_not_hide_the_filter_of_the_file(tmp_path: Path):
    primary = fits.PrimaryHDU()
    primary.header["FILTER2"] = "V"
    write(tmp_path / "a.fits", primary, fits.ImageHDU(noise(), tan_header(FILTER1="CLEAR1")))
    write(tmp_path / "b.fits", fits.PrimaryHDU(noise(), tan_header(FILTER="clear")))
    assert [ref.band for ref in FitsFolder([str(tmp_path)]).refs()] == ["V", "clear"]


def exposure(path: Path, label: str, index: int = 1, tells: bool = True) -> Path:
    """As lsst.afw writes it: the band stands in an object of the archive."""
    primary = fits.PrimaryHDU()
    primary.header["AR_HDU"] = 3
    primary.header["HIERARCH ARCHIVE_ID_FILTER"] = FILTER_LABEL_ID if index == 1 else 77
    archive = archive_hdus(57.5, label)
    if not tells:
        archive[2].data["flags"] = False
    return write(path, primary, fits.ImageHDU(noise(), tan_header(), name="IMAGE"), *archive)


def test_the_band_of_an_exposure_is_that_of_its_label(tmp_path: Path):
    for band in "gi":
        exposure(tmp_path / f"{band}.fits", band)
    assert [ref.band for ref in FitsFolder([str(tmp_path)]).refs()] == ["g", "i"]


def test_a_label_that_cannot_be_read_is_none(tmp_path: Path):
    exposure(tmp_path / "a.fits", "g", index=0)
    exposure(tmp_path / "b.fits", "g", tells=False)
    assert [ref.band for ref in FitsFolder([str(tmp_path)]).refs()] == ["", ""]


def test_the_band_of_a_real_cell_coadd(shared_data: Path):
    (path,) = (shared_data / "butler_dp2_cell_coadd").rglob("*.fits")
    assert [ref.band for ref in FitsFolder([str(path)]).refs()] == ["g"]


def test_identity_is_of_size_and_time(tmp_path: Path):
    path = image(tmp_path / "a.fits")
    (first,) = FitsFolder([str(path)]).refs()
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    (touched,) = FitsFolder([str(path)]).refs()
    assert touched.identity != first.identity
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    (again,) = FitsFolder([str(path)]).refs()
    assert again == first


def test_a_description_names_some_of_the_inputs(tmp_path: Path):
    assert FitsFolder([f"/data/{k}.fits" for k in range(5)]).describe() == (
        "FITS 0.fits, 1.fits, 2.fits and 2 more"
    )
    assert FitsFolder(["/data/m17/"]).describe() == "FITS m17"


def test_a_name_in_a_list_that_is_not_there_is_a_problem_and_the_others_go_on(tmp_path: Path):
    from tests.conftest import StarField

    StarField(10.0, 20.0, size=32, background=1.0).write(tmp_path / "a.fits")
    (tmp_path / "l.txt").write_text("gone.fits\na.fits\n")
    source = FitsFolder([str(tmp_path / "l.txt")])
    assert [ref.uri.rsplit("/", 1)[1] for ref in source.refs()] == ["a.fits"]
    assert "gone.fits: the file does not exist" in str(source.problems[0])


def test_tiles_of_a_survey_are_no_images(tmp_path: Path):
    from tests.conftest import StarField

    field = StarField(10.0, 20.0, size=32, background=1.0)
    field.write(tmp_path / "a.fits")
    tile = tmp_path / "hips" / "Norder3" / "Dir0" / "Npix5.fits"
    tile.parent.mkdir(parents=True)
    field.write(tile)
    (tmp_path / "hips" / "properties").write_text("hips_order = 3\n")
    assert len(list(FitsFolder([str(tmp_path)]).refs())) == 1
    with pytest.raises(InputError, match="HiPS survey"):
        list(FitsFolder([str(tmp_path / "hips")]).refs())


def test_a_file_that_is_replaced_while_it_is_listed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its outline would be of one, its identity of the other."""
    path = write(tmp_path / "x.fits", fits.PrimaryHDU(noise(), tan_header()))
    write(tmp_path / "y", fits.PrimaryHDU(noise(), tan_header(CRVAL1=11.0)))
    inner = FitsReader.info_of

    def replaced(self: FitsReader, hdus: Any, number: int) -> Any:
        info = inner(self, hdus, number)
        os.replace(tmp_path / "y", path)
        return info

    monkeypatch.setattr(FitsReader, "info_of", replaced)
    found = FitsFolder([str(path)])
    assert list(found.refs()) == []
    assert "changed while it was listed" in str(found.problems[0])


def test_an_error_without_usable_files_lists_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(b"SIMPLE  = nothing")
    with pytest.raises(InputError, match=r"\(1 left out: .*a\.fits: cannot be read as FITS"):
        list_refs(FitsFolder([str(tmp_path)], FitsReader()), QuietReporter())


@pytest.mark.parametrize(
    ("kind", "is_science"),
    [
        ("Light Frame, dark subtracted", True),
        ("flat-fielded object", True),
        ("zero corrected", True),
        ("object, bias and dark subtracted", True),
        ("bias/dark subtracted", True),
        ("bias subtracted flat", False),
        ("Dark Frame", False),
        ("flat field", False),
        ("flat, bias subtracted", False),
    ],
)
def test_what_was_done_to_an_image_does_not_make_it_a_calibration(
    kind: str, is_science: bool, tmp_path: Path
):
    image(tmp_path / "a.fits", IMAGETYP=kind)
    assert bool(list(FitsFolder([str(tmp_path)]).refs())) == is_science


def test_images_of_other_bands_on_the_same_pixels_are_no_companions(tmp_path: Path):
    write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(noise(), tan_header(FILTER="g", BUNIT="Jy"), name="FLUX"),
        fits.ImageHDU(noise(), tan_header(FILTER="r", BUNIT="mJy"), name="FLUX_R"),
        fits.ImageHDU(noise(), tan_header(FILTER="r", BUNIT="mJy-2"), name="IVAR_R"),
    )
    source = FitsFolder([str(tmp_path)])
    assert [(ref.hdu, ref.band) for ref in source.refs()] == [("1", "g"), ("2", "r")]
    assert [one.reason for one in source.left_out] == ["ivar of FLUX_R"]

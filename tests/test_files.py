"""Only regular files are read, and as much of them as a file of their kind can have."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hipsgen.errors import HipsgenError
from hipsgen.files import FileTooLargeError, NotRegularError, open_regular, read_regular
from tests.bounded import outcomes, run_bounded
from tests.conftest import StarField

# what is no regular file: name, how to make it
THINGS: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("name", THINGS)
def test_only_regular_files_are_opened(name: str, tmp_path: Path):
    THINGS[name](tmp_path / "x")
    with pytest.raises(NotRegularError, match=f"it is {name.partition(' without')[0]}"):
        open_regular(tmp_path / "x")


def test_links_are_followed_and_folders_are_refused(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"content")
    (tmp_path / "link").symlink_to("x")
    assert read_regular(tmp_path / "link", 7) == b"content"
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_files_larger_than_the_limit_are_not_read(tmp_path: Path):
    path = tmp_path / "x"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(FileTooLargeError, match=r"1\.1 TB or more; the limit is 1\.0 MB"):
        read_regular(path, 1 << 20)


# run in a process of its own, since a fault would block it, or take all memory
_ATTEMPTS = r"""
import sys
from pathlib import Path
from hipsgen.errors import HipsgenError
from tests.test_files import INPUTS

for name, attempt in INPUTS.items():
    try:
        outcome = f"read: {attempt(Path(sys.argv[1]))}"
    except (HipsgenError, OSError) as error:
        outcome = f"{type(error).__name__}: {error}"
    print(name, outcome, sep="\t", flush=True)
"""


def _linked(path: Path, *parts: str) -> Path:
    """Give a thing the name that a kind of file has; return the folder."""
    folder = path.parent / f"as {parts[-1]}"
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True)
    target.symlink_to(path)
    return folder


def _coadds(path: Path) -> object:
    from hipsgen.images.fits_folder import FitsFolder

    return list(FitsFolder([str(path)], strict=True).refs())


def _jobs(text: str) -> object:
    from hipsgen import find_coadds

    return find_coadds(text, strict=True)


def _region(path: Path) -> object:
    from hipsgen.images.selection import Region

    return Region(str(path))


def _survey(path: Path) -> object:
    from hipsgen import open_survey

    return open_survey(_linked(path, "properties"))


def _provenance(path: Path) -> object:
    from hipsgen import open_survey

    folder = _linked(path, "provenance.fits")
    (folder / "properties").write_text("hips_order = 3\n")
    return open_survey(folder).provenance


def _journal(path: Path) -> object:
    from hipsgen.journal.journal import Journal
    from hipsgen.survey.store import open_store

    return Journal(open_store(_linked(path, ".hipsgen", "build.json"))).recipe()


def _coadd_of_the_provenance(path: Path, member: str = "") -> object:
    from hipsgen.coadd import CoaddRef
    from hipsgen.survey.provenance import UsedCoadd
    from viewer.coadds.pixels import pixel_at

    return pixel_at(UsedCoadd(CoaddRef(path.as_uri() + member, "")), 0.0, 0.0)


def _surveys(path: Path) -> object:
    from viewer.surveys import Surveys

    folder = _linked(path, "one", "properties")
    return [survey.name for survey in Surveys([folder]).all()]


def _annotations(path: Path) -> object:
    from viewer.annotations import Annotations

    name = f"{'a' * 16}.1.json"
    return Annotations(_linked(path, ".hipsgen", "flags", name)).all()


def _table(extension: str) -> Callable[[Path], object]:
    def attempt(path: Path) -> object:
        from viewer.catalogs.tables import open_table

        return open_table(path.as_uri(), extension)

    return attempt


def _registry(path: Path) -> object:
    from hipsgen.images.butler_source import open_registry

    folder = path.parent / "repository"
    folder.mkdir()
    (folder / "butler.yaml").write_text(
        f"registry:\n  db: sqlite:///{path}\ndatastore:\n  root: <butlerRoot>\n"
    )
    return open_registry(str(folder))


INPUTS: dict[str, Callable[[Path], object]] = {
    "a FITS file": _coadds,
    "a list": lambda path: _jobs(f"@{path}"),
    "a manifest or repository": lambda path: _jobs(str(path)),
    "a Butler configuration": lambda path: _jobs(str(_linked(path, "x.yaml") / "x.yaml")),
    "a registry": _registry,
    "a region": _region,
    "the properties of a survey": _survey,
    "the provenance of a survey": _provenance,
    "a recipe": _journal,
    "a coadd of the provenance": _coadd_of_the_provenance,
    "a coadd in a zip file": lambda path: _coadd_of_the_provenance(path, "#zip-path=a"),
    "the properties of a served survey": _surveys,
    "an annotation": _annotations,
    **{f"a catalog {extension}": _table(extension) for extension in (".csv", ".fits", ".parquet")},
}
# those that are ignored where they are no file
ABSENT = {
    "a recipe": "read: None",
    "the properties of a served survey": "read: []",
    "an annotation": "read: []",
}


@pytest.mark.parametrize("name", THINGS)
def test_no_input_blocks_on_a_fifo_or_reads_an_endless_device(name: str, tmp_path: Path):
    pytest.importorskip("lsst.daf.butler", reason="needs the extra butler")
    THINGS[name](tmp_path / "thing")
    found = outcomes(_ATTEMPTS, tmp_path / "thing")
    assert found.keys() == INPUTS.keys()
    for kind, outcome in found.items():
        if kind in ABSENT:
            assert outcome == ABSENT[kind], kind
        else:
            assert "Error: " in outcome, (kind, outcome)
    for kind in ("a FITS file", "a list", "a registry", "a catalog .csv"):
        assert "not a regular file" in found[kind]


def test_a_sparse_file_takes_no_memory(tmp_path: Path):
    """A terabyte that takes no space on the disk."""
    (tmp_path / "thing").touch()
    os.truncate(tmp_path / "thing", 1 << 40)
    found = outcomes(_ATTEMPTS, tmp_path / "thing")
    assert found.pop("the properties of a served survey") == "read: []"
    assert found.pop("an annotation") == "read: []"
    assert [kind for kind, outcome in found.items() if "Error: " not in outcome] == []
    assert "the limit is" in found["a list"]
    assert "the limit is" in found["the properties of a survey"]


def test_a_build_reports_a_fifo_and_uses_the_other_inputs(tmp_path: Path):
    StarField(40.0, -10.0, size=64, background=2.0).write(tmp_path / "good.fits")
    os.mkfifo(tmp_path / "bad.fits")
    inputs = tmp_path / "good.fits", tmp_path / "bad.fits", "/dev/zero"
    command = ("-m", "hipsgen", "build", *inputs, "-o", tmp_path / "out", "--skip-bad")
    ran = run_bounded(*command, "--workers", "1", memory=6 << 30, seconds=120)
    assert ran.returncode == 0, ran.stderr
    assert "bad.fits: cannot be read as FITS (it is a FIFO, not a regular file)" in ran.stderr
    assert "/dev/zero: cannot be read as FITS (it is a device, not a regular file)" in ran.stderr
    assert (tmp_path / "out" / "properties").exists()


def test_errors_about_devices_are_one_line(tmp_path: Path):
    (tmp_path / "list.txt").symlink_to("/dev/zero")
    with pytest.raises(HipsgenError, match=r"the list .*list.txt cannot be read: it is a device"):
        _jobs(str(tmp_path / "list.txt"))

"""Find coadds in plain FITS files, folders and lists of files."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hipsgen.coadd import CoaddRef, Polygon, Problem
from hipsgen.errors import CoaddError, ConfigError, InputError, NoCoaddError
from hipsgen.images.band import band_of
from hipsgen.images.coadd_fits import FitsReader, open_fits
from hipsgen.images.layout import coadd_hdus
from hipsgen.images.uris import is_uri, local_path, stamp_of, uri_of

_FITS_NAME = re.compile(r"\.(fits|fit|fts|fz)(\.(gz|bz2|fz|z))?$", re.IGNORECASE)
_LIST_NAME = re.compile(r"\.(txt|lst|list)$", re.IGNORECASE)


@dataclass
class FitsFolder:
    """FITS files, given by name, by folder (searched recursively) or in lists (one name per line).

    A file may hold several images; each is a coadd. `strict`: the first unusable file raises its
    CoaddError instead of being added to `problems`.
    """

    inputs: Sequence[str]
    fits_reader: FitsReader = field(default_factory=FitsReader)
    strict: bool = False
    problems: list[Problem] = field(default_factory=list)

    def refs(self) -> Iterator[CoaddRef]:
        """Iterate over all images, by name of the file. Raises InputError for a missing input."""
        self.problems.clear()
        for path, is_named in self._files():
            try:
                yield from self._list_file(path)
            except CoaddError as error:
                if self.strict:
                    raise CoaddError(f"{path}: {error}") from error
                is_fault = is_named or not isinstance(error, NoCoaddError)
                self.problems.append(Problem(str(path), str(error), is_fault))

    def describe(self) -> str:
        """Return one line for the properties file and for reports."""
        others = f" and {len(self.inputs) - 3} more" if len(self.inputs) > 3 else ""
        return (
            "FITS " + ", ".join(os.path.basename(i.rstrip("/")) for i in self.inputs[:3]) + others
        )

    def reader(self) -> FitsReader:
        """Return the reader for workers."""
        return self.fits_reader

    def _files(self) -> list[tuple[Path, bool]]:
        """Return the files, and whether they were named: others may not be images."""
        found: dict[str, tuple[Path, bool]] = {}
        for text in self.inputs:
            for path, is_named in _expand(text):
                found.setdefault(os.path.abspath(path), (path, is_named))
        return list(found.values())

    def _list_file(self, path: Path) -> list[CoaddRef]:
        """Return the coadds of a file. Raises CoaddError if it changes in the meantime."""
        try:
            before = stamp_of(path.stat())
        except FileNotFoundError as error:
            raise CoaddError("the file does not exist") from error
        except OSError as error:
            raise CoaddError(f"cannot be read as FITS ({error.strerror})") from error
        refs = list(self._refs_of(path, before))
        if stamp_of(path.stat()) != before:
            raise CoaddError("changed while it was listed: run the command again")
        return refs

    def _refs_of(self, path: Path, identity: str) -> Iterator[CoaddRef]:
        uri = uri_of(path)
        with open_fits(uri) as hdus:
            failed: list[tuple[int, CoaddError]] = []
            found = 0
            for number in coadd_hdus(hdus):
                try:
                    info = self.fits_reader.info_of(hdus, number)
                except CoaddError as error:
                    failed.append((number, error))
                    continue
                found += 1
                yield CoaddRef(
                    uri=uri,
                    identity=identity,
                    hdu=str(number),
                    band=band_of(hdus, number),
                    polygon=Polygon(info.wcs.outline()),
                    pixel_scale=info.pixel_scale,
                )
            if failed and not found:
                raise failed[0][1]
            self.problems += [
                Problem(f"{path}[{number}]", str(error), not isinstance(error, NoCoaddError))
                for number, error in failed
            ]


def _expand(text: str, lists: tuple[Path, ...] = ()) -> list[tuple[Path, bool]]:
    """Return the files that an input means, and whether it names them.

    lists: the lists of files that led here.
    """
    path = _local(text)
    if lists and not path.exists():
        return [(path, True)]  # an entry of a list: reported when it is opened
    if not path.exists():
        raise InputError(
            f"{text} does not exist: name a FITS file, a folder, a list or a Butler repository"
        )
    if path.is_dir():
        if _is_hips(path):
            raise InputError(f"{text} is a HiPS survey: name the images it was made of")
        files = sorted(_search(path))
        if not files:
            only = " outside HiPS surveys" if _has_surveys(path) else ""
            raise InputError(
                f"{text} contains no FITS file (.fits, .fit, .fts, .fz, .gz, .bz2){only}"
            )
        return [(file, False) for file in files]
    if text.startswith("@") or _LIST_NAME.search(path.name):
        if path in lists:
            raise InputError(f"the list {path} includes itself: remove that entry")
        return [found for name in _lines(path) for found in _expand(name, (*lists, path))]
    return [(path, True)]


def _local(text: str) -> Path:
    """Return the path of an input. Raises InputError for a URI of another machine."""
    try:
        return local_path(text.removeprefix("@"))
    except ConfigError:
        raise InputError(
            f"{text} is not on this machine: copy the FITS files, or list them in a manifest or a"
            " Butler repository, from which remote files are read"
        ) from None


def _search(folder: Path) -> Iterator[Path]:
    """Find the FITS files under a folder, except in HiPS surveys, whose tiles are no input."""
    for parent, folders, names in os.walk(folder):
        folder_path = Path(parent)
        folders[:] = [name for name in folders if not _is_hips(folder_path / name)]
        yield from (
            p for name in names if _FITS_NAME.search(name) and (p := folder_path / name).is_file()
        )


def _has_surveys(folder: Path) -> bool:
    return any(
        _is_hips(Path(parent, name)) for parent, folders, _ in os.walk(folder) for name in folders
    )


def _is_hips(folder: Path) -> bool:
    return (folder / ".hipsgen").is_dir() or (
        (folder / "properties").is_file() and any(folder.glob("Norder[0-9]*"))
    )


def _lines(path: Path) -> list[str]:
    """Return the entries of a list; relative names are relative to the list's folder."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the list {path} is not UTF-8 text ({error.reason}): save it as UTF-8"
        ) from error
    names = [line.strip() for line in text.splitlines()]
    return [
        name if is_uri(name) else str(path.parent / name)
        for name in names
        if name and not name.startswith("#")
    ]

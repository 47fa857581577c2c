"""Plain FITS: files, folders, lists of files."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hipsgen.coadd import CoaddRef, Polygon, Problem
from hipsgen.errors import CoaddError, InputError, NoCoaddError
from hipsgen.images.band import band_of
from hipsgen.images.coadd_fits import FitsReader, open_fits
from hipsgen.images.layout import coadd_hdus
from hipsgen.images.uris import path_of, stamp_of, uri_of

_FITS_NAME = re.compile(r"\.(fits|fit|fts|fz)(\.(gz|bz2|fz|z))?$", re.IGNORECASE)
_LIST_NAME = re.compile(r"\.(txt|lst|list)$", re.IGNORECASE)


@dataclass
class FitsFolder:
    """FITS files, named one by one, by folder (searched to the bottom) or in lists (one a line).

    A file may hold several images; each becomes a coadd. `strict`: the first file that cannot be
    used raises its CoaddError instead of going into `problems`.
    """

    inputs: Sequence[str]
    fits_reader: FitsReader = field(default_factory=FitsReader)
    strict: bool = False
    problems: list[Problem] = field(default_factory=list)

    def refs(self) -> Iterator[CoaddRef]:
        """Every image of every file, by name. Raises InputError for an input that is not there."""
        self.problems.clear()
        for path, is_named in self._files():
            try:
                yield from self._listed(path)
            except CoaddError as error:
                if self.strict:
                    raise CoaddError(f"{path}: {error}") from error
                is_fault = is_named or not isinstance(error, NoCoaddError)
                self.problems.append(Problem(str(path), str(error), is_fault))

    def describe(self) -> str:
        """One line for `properties` and reports."""
        more = f" and {len(self.inputs) - 3} more" if len(self.inputs) > 3 else ""
        return "FITS " + ", ".join(os.path.basename(i.rstrip("/")) for i in self.inputs[:3]) + more

    def reader(self) -> FitsReader:
        """What workers read with."""
        return self.fits_reader

    def _files(self) -> list[tuple[Path, bool]]:
        """Files, and whether they were named: what is merely found may be no image at all."""
        found: dict[str, tuple[Path, bool]] = {}
        for text in self.inputs:
            for path, is_named in _expand(text):
                found.setdefault(os.path.abspath(path), (path, is_named))
        return list(found.values())

    def _listed(self, path: Path) -> list[CoaddRef]:
        """The coadds of a file, which is the same at the end as at the beginning."""
        try:
            before = stamp_of(path.stat())
        except FileNotFoundError as error:
            raise CoaddError("the file does not exist") from error
        except OSError as error:
            raise CoaddError(f"cannot be read as FITS ({error.strerror})") from error
        refs = list(self._refs_of(path, before))
        if stamp_of(path.stat()) != before:
            raise CoaddError("changed while it was listed: list it again")
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
    """The files that an input means, and whether it names them; lists: those in which it stands."""
    path = path_of(text.removeprefix("@")) or Path(text)
    if lists and not path.exists():
        return [(path, True)]  # one line of a list: named when it is opened, the others go on
    if not path.exists():
        raise InputError(f"{text} does not exist: name a FITS file, a folder, a list or a Butler")
    if path.is_dir():
        if _is_hips(path):
            raise InputError(f"{text} is a HiPS survey; name the images it was made of")
        files = sorted(_search(path))
        if not files:
            raise InputError(f"{text} holds no FITS file (.fits, .fit, .fts, .fz, .gz, .bz2)")
        return [(file, False) for file in files]
    if text.startswith("@") or _LIST_NAME.search(path.name):
        if path in lists:
            raise InputError(f"the list {path} names itself")
        return [found for name in _lines(path) for found in _expand(name, (*lists, path))]
    return [(path, True)]


def _search(folder: Path) -> Iterator[Path]:
    """FITS files under a folder, HiPS surveys left out: their tiles are no input."""
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not _is_hips(here / name)]
        yield from (p for name in names if _FITS_NAME.search(name) and (p := here / name).is_file())


def _is_hips(folder: Path) -> bool:
    return (folder / ".hipsgen").is_dir() or (
        (folder / "properties").is_file() and any(folder.glob("Norder[0-9]*"))
    )


def _lines(path: Path) -> list[str]:
    """The entries of a list; relative names start at the list's own folder."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"the list {path} is not UTF-8 text ({error.reason})") from error
    names = [line.strip() for line in text.splitlines()]
    return [
        name if name.startswith("file:") else str(path.parent / name)
        for name in names
        if name and not name.startswith("#")
    ]

"""Find coadds in plain FITS files, folders and lists of files."""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from hipsgen.coadd import CoaddRef, Polygon, Problem
from hipsgen.errors import CoaddError, ConfigError, InputError, NoCoaddError
from hipsgen.files import check_regular, read_regular
from hipsgen.images.band import band_of, instrument_of
from hipsgen.images.coadd_fits import FitsReader, open_fits
from hipsgen.images.companions import Candidate, leave_out
from hipsgen.images.contents import ALL_HDUS, sky_images
from hipsgen.images.source import CoaddInfo
from hipsgen.images.uris import is_uri, local_path, stamp_of, uri_of
from hipsgen.text import counted

_FITS_NAME = re.compile(r"\.(fits|fit|fts|fz)(\.(gz|bz2|fz|z))?$", re.IGNORECASE)
_LIST_NAME = re.compile(r"\.(txt|lst|list)$", re.IGNORECASE)
_MAX_LIST = 1 << 28  # bytes, of a million long names


@dataclass(frozen=True)
class ImageChoice:
    """Which images of FITS files to use.

    Attributes
    ----------
    hdus
        Numbers or names of the HDUs (see `sky_images`); none to leave out images that accompany
        others, `ALL_HDUS` to use these as well.
    include, exclude
        Patterns of file names, or of paths if they contain a slash: if there are any of `include`,
        a file must match one; it must match none of `exclude`.
    assume_band
        Band of the images that name none.
    """

    hdus: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    assume_band: str = ""

    def __bool__(self) -> bool:
        return self != ImageChoice()

    def has(self, path: Path) -> bool:
        """Whether a file is to be used."""
        included = not self.include or any(_matches(path, pattern) for pattern in self.include)
        return included and not any(_matches(path, pattern) for pattern in self.exclude)


@dataclass
class FitsFolder:
    """FITS files, given by name, by folder (searched recursively) or in lists (one name per line).

    A file may hold several images; each is a coadd. Images that accompany others (weights, masks)
    are in `left_out`. `strict`: the first unusable file raises its CoaddError instead of being
    added to `problems`. `instruments`: instrument and wavelength of the images without a band,
    by `CoaddRef.key`.
    """

    inputs: Sequence[str]
    fits_reader: FitsReader = field(default_factory=FitsReader)
    strict: bool = False
    choice: ImageChoice = field(default_factory=ImageChoice)
    problems: list[Problem] = field(default_factory=list)
    left_out: list[Problem] = field(default_factory=list)
    instruments: dict[str, str] = field(default_factory=dict)

    def refs(self) -> Iterator[CoaddRef]:
        """Iterate over all images, by name of the file. Raises InputError for a missing input."""
        self.problems.clear()
        self.left_out.clear()
        self.instruments.clear()
        files = []
        for path, is_named in self._files():
            try:
                files.append(self._list_file(path))
            except CoaddError as error:
                if self.strict:
                    raise CoaddError(f"{path}: {error}") from error
                is_fault = is_named or not isinstance(error, NoCoaddError)
                self.problems.append(Problem(str(path), str(error), is_fault))
        accompanying = {} if ALL_HDUS in map(str.lower, self.choice.hdus) else _accompanying(files)
        for k, file in enumerate(files):
            if k in accompanying:
                self.left_out.append(Problem(str(file.path), accompanying[k], False))
            else:
                yield from file.refs

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
        chosen = [(path, is_named) for path, is_named in found.values() if self.choice.has(path)]
        if found and not chosen:
            raise InputError(
                f"none of {counted(len(found), 'file')} in {self.describe()} is chosen by "
                "{include} and {exclude}: these are patterns of file names, such as '*_drz.fits'"
            )
        return chosen

    def _list_file(self, path: Path) -> "_File":
        """Return the coadds of a file. Raises CoaddError if it changes in the meantime."""
        try:
            before = stamp_of(check_regular(path))
        except FileNotFoundError as error:
            raise CoaddError("the file does not exist") from error
        except OSError as error:
            raise CoaddError(f"cannot be read as FITS ({error.strerror})") from error
        file = self._read_file(path, before)
        if stamp_of(path.stat()) != before:
            raise CoaddError("changed while it was listed: run the command again")
        return file

    def _read_file(self, path: Path, identity: str) -> "_File":
        file = _File(path)
        with open_fits(uri_of(path)) as hdus:
            failed: list[tuple[int, CoaddError]] = []
            images = sky_images(hdus, self.choice.hdus)
            for number in images.numbers:
                try:
                    info = self.fits_reader.info_of(hdus, number)
                except CoaddError as error:
                    failed.append((number, error))
                    continue
                file.add(self._ref(hdus, number, identity, uri_of(path), info), info)
            if failed and not file.refs:
                raise failed[0][1]
        self.problems += [
            Problem(f"{path}[{number}]", str(error), not isinstance(error, NoCoaddError))
            for number, error in failed
        ]
        self.left_out += [
            Problem(f"{path}[{number}]", reason, False) for number, reason in images.left_out
        ]
        return file

    def _ref(self, hdus: Any, number: int, identity: str, uri: str, info: CoaddInfo) -> CoaddRef:
        band = band_of(hdus, number) or self.choice.assume_band
        ref = CoaddRef(
            uri=uri,
            identity=identity,
            hdu=str(number),
            band=band,
            polygon=Polygon(info.wcs.outline()),
            pixel_scale=info.pixel_scale,
        )
        if not band:
            self.instruments[ref.key] = instrument_of(hdus, number)
        return ref


@dataclass
class _File:
    """The images of a file, and the properties of the first one."""

    path: Path
    refs: list[CoaddRef] = field(default_factory=list)
    shape: tuple[int, int] = (0, 0)
    time: float = float("nan")

    def add(self, ref: CoaddRef, info: CoaddInfo) -> None:
        """Add an image."""
        if not self.refs:
            self.shape, self.time = info.shape, info.t_min
        self.refs.append(ref)

    def covers_pixels_of(self, other: "_File") -> bool:
        """Whether the first images are of one shape, WCS, time and band, as far as these are known.

        Outlines are equal to within half a pixel.
        """
        mine, its = self.refs[0], other.refs[0]
        bands = {ref.band for ref in (mine, its)} - {""}
        times = {time for time in (self.time, other.time) if time == time}
        if self.shape != other.shape or len(bands) > 1 or len(times) > 1:
            return False
        if len(mine.polygon) != len(its.polygon):
            return False
        offsets = np.array(mine.polygon).reshape(-1, 2) - np.array(its.polygon).reshape(-1, 2)
        offsets[:, 0] = (offsets[:, 0] + 180) % 360 - 180
        return bool((np.abs(offsets) <= mine.pixel_scale / 2).all())


def _accompanying(files: Sequence[_File]) -> dict[int, str]:
    """Return the reason for each file, by its index, that accompanies another one."""
    candidates = [Candidate(file.path.name, "", "", file) for file in files]
    # by cells of 0.01 degrees, since surveys may have 100,000 files
    near: dict[tuple[tuple[int, int], int, int], list[int]] = {}
    for k, file in enumerate(files):
        if not file.refs:
            continue
        corners = file.refs[0].polygon
        lon, lat = (round(100 * angle) for angle in (corners[0] if corners else (0.0, 0.0)))
        for east, north in itertools.product((-1, 0, 1), repeat=2):
            cell = file.shape, (lon + east) % 36000, lat + north
            near.setdefault(cell, []).append(k)
    found = {}
    for group in near.values():
        reasons = leave_out([candidates[k] for k in group], _File.covers_pixels_of)
        found.update({group[m]: reason for m, reason in reasons.items()})
    return found


def _matches(path: Path, pattern: str) -> bool:
    return fnmatchcase(str(path) if "/" in pattern else path.name, pattern)


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
            raise InputError(f"{text} is a HiPS survey: name the images it was made from")
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
        text = read_regular(path, _MAX_LIST).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"the list {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"the list {path} is not UTF-8 text ({error.reason}): save it as UTF-8"
        ) from error
    if "\0" in text:
        raise InputError(f"the list {path} has NUL characters: it must be text, one name per line")
    names = [line.strip() for line in text.splitlines()]
    return [
        name if is_uri(name) else str(path.parent / name)
        for name in names
        if name and not name.startswith("#")
    ]

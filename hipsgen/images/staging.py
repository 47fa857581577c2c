"""Copies of files that are not on this machine's file systems, inside a zip file, or in parts.

A copy has no name: its file is deleted before anything is written to it, so that it is gone when
the process ends, however it ends. It is kept while it is read, and after that as long as there is
room.
"""

import os
import re
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote_plus, urlencode

from hipsgen.errors import CoaddError
from hipsgen.images.butler_server import dataset_of, places_of
from hipsgen.images.remote import MEMBERS, copy_to, member_of, patiently, place_of
from hipsgen.images.uris import path_of

ROOM = 4 << 30  # bytes of copies that nobody is reading; two workers need 20 coadds at once
# what is read of a disassembled coadd besides its image, and how a URI says so
_COMPONENTS = {"mask": "component-mask", "photoCalib": "component-photocalib"}
_OTHER = re.compile("(component-(?:mask|photocalib))=([^&]*)")


@contextmanager
def local_file(uri: str) -> Iterator[Path]:
    """A path to read the content of a URI from, until the end of the `with` block.

    Raises CoaddError, naming what to do, when it cannot be had; MissingExtraError for a kind of
    place that needs other packages.
    """
    path = path_of(uri)
    if path is None or member_of(uri) or _others(uri):
        try:
            copy = _copies.take(uri)
        except ValueError as error:  # of brackets, for one
            shown = uri.partition("?")[0][:80]
            raise CoaddError(f"{shown} is no address: {error}") from None
        try:
            yield copy.path
        finally:
            _copies.give_back(copy)
        return
    if not path.exists():
        raise CoaddError("the file does not exist")
    yield path


def has_copy(uri: str) -> bool:
    """Whether there is a copy of a URI's content already."""
    return _copies.has(uri)


def with_components(uri: str, components: Mapping[str, str]) -> str:
    """A URI of an image that means it together with other components of a disassembled coadd.

    components: their URIs by the Butler's names; those that are of no use here are left out.
    """
    parts = {key: components[name] for name, key in _COMPONENTS.items() if name in components}
    joint = "&" if "#" in uri else "#"
    return f"{uri}{joint}{urlencode(parts)}" if parts else uri


@dataclass
class _Copy:
    """file: open, and without a name where the system lets one reach it nevertheless."""

    uri: str
    file: IO[bytes]
    path: Path
    size: int
    readers: int = 0


def _drop_all(copies: Iterable[_Copy]) -> None:
    for copy in copies:
        _end(copy.file, copy.path)


@dataclass
class _Copies:
    """All copies of this process."""

    room: int = ROOM
    _known: OrderedDict[str, _Copy] = field(default_factory=OrderedDict)
    _gates: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        weakref.finalize(self, _drop_all, self._known.values())  # at exit at the latest

    def has(self, uri: str) -> bool:
        """Whether there is a copy of a URI."""
        with self._lock:
            return uri in self._known

    def take(self, uri: str) -> _Copy:
        """The copy of a URI, made by one thread if several want it."""
        with self._lock:
            gate = self._gates.setdefault(uri, threading.Lock())
        with gate:
            copy = self._reader_of(uri)
            if copy is None:
                copy = _copied(uri)
                with self._lock:
                    copy.readers += 1
                    self._known[uri] = copy
            return copy

    def _reader_of(self, uri: str) -> _Copy | None:
        """The copy that there is, with one reader more before anybody can drop it."""
        with self._lock:
            copy = self._known.get(uri)
            if copy is not None:
                self._known.move_to_end(uri)
                copy.readers += 1
            return copy

    def give_back(self, copy: _Copy) -> None:
        """A copy is not read any more; the ones that were read longest ago make room."""
        with self._lock:
            copy.readers -= 1
            free = [c for c in self._known.values() if not c.readers]
            size = sum(c.size for c in free)
            for old in free:
                if size > self.room:
                    size -= old.size
                    del self._known[old.uri]
                    _end(old.file, old.path)


_copies = _Copies()
_OPEN_FILES = Path("/proc/self/fd")  # by their numbers


def _copied(uri: str) -> _Copy:
    file: IO[bytes]
    if _OPEN_FILES.exists():
        file = tempfile.TemporaryFile(prefix="hipsgen-")  # noqa: SIM115  (it never has a name)
        path = _OPEN_FILES / str(file.fileno())
    else:  # not Linux: it goes when it is dropped
        file = tempfile.NamedTemporaryFile(prefix="hipsgen-", suffix=".fits", delete=False)  # noqa: SIM115
        path = Path(file.name)
    try:
        patiently(uri, lambda: _copy_once(uri, file))
        file.flush()
        return _Copy(uri, file, path, os.fstat(file.fileno()).st_size)
    except BaseException:
        _end(file, path)
        raise


def _end(file: IO[bytes], path: Path) -> None:
    file.close()
    if path.parent != _OPEN_FILES:
        path.unlink(missing_ok=True)


def _others(uri: str) -> dict[str, str]:
    """URIs of the other components of a disassembled coadd, by what the fragment calls them."""
    found = dict(_OTHER.findall(uri.partition("#")[2]))
    return {key: unquote_plus(value) for key, value in found.items()}


def _copy_once(uri: str, into: IO[bytes]) -> None:
    into.seek(0)
    into.truncate()
    dataset = dataset_of(uri)
    if dataset is not None and not dataset.component:
        parts = {name: dataset._replace(component=name).uri for name in places_of(dataset) if name}
        if parts and "image" not in parts:
            raise CoaddError(f"stored in components without an image: {', '.join(sorted(parts))}")
        uri = with_components(parts["image"], parts) if parts else uri
    if _others(uri):
        _assemble(uri, into)
    else:
        copy_to(place_of(uri), into)


def _assemble(uri: str, into: IO[bytes]) -> None:
    """One FITS file of the image and its other components, each as it is compressed."""
    from astropy.io import fits

    member = member_of(uri)
    image = uri.split("#", 1)[0] + (f"#{MEMBERS[0]}={quote(member)}" if member else "")
    made = fits.HDUList()
    with ExitStack() as open_files:
        for key, place in {"": image, **_others(uri)}.items():
            path = open_files.enter_context(local_file(place))
            options = {"memmap": False, "disable_image_compression": True}
            for hdu in open_files.enter_context(fits.open(path, **options)):
                if key and isinstance(hdu, fits.PrimaryHDU):
                    if hdu.data is None:
                        continue
                    hdu = fits.ImageHDU(hdu.data, hdu.header)
                if key == _COMPONENTS["mask"]:
                    hdu.header["EXTTYPE"] = "MASK"
                made.append(hdu)
        made.writeto(into, output_verify="ignore")

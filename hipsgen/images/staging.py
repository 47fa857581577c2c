"""Copies of files that are not on this machine's file systems, inside a zip file, or in parts.

A copy has no name: its file is deleted before anything is written to it, so that it is gone when
the process ends, however it ends. It is kept while it is read, and after that as long as there is
room.
"""

import os
import re
import tempfile
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from hipsgen.errors import CoaddError, MissingExtraError
from hipsgen.images.files import path_of

ROOM = 4 << 30  # bytes of copies that nobody is reading; two workers need 20 coadds at once
_WAITS = (0.5, 2.0)  # seconds before the next attempts; lsst.resources makes some of its own
_DEAD = 60.0  # seconds for which a server that did not answer is not asked again
_PIECE = 1 << 22  # bytes copied at once
_UNREACHABLE = ("Connection refused", "Name or service not known", "Could not connect to the endp")
_REFUSED = re.compile(r"\b(401|403|Unauthorized|Forbidden|AccessDenied)\b")
_URL = re.compile(r"\S+://\S+")  # whose tract may well be 403
# what is read of a disassembled coadd besides its image, and how a URI says so
_COMPONENTS = {"mask": "component-mask", "photoCalib": "component-photocalib"}
_MEMBERS = ("zip-path", "unzip")  # what the Butler calls the member of a zip file in a fragment


@contextmanager
def local_file(uri: str) -> Iterator[Path]:
    """A path to read the content of a URI from, until the end of the `with` block.

    Raises CoaddError, naming what to do, when it cannot be had; MissingExtraError for a kind of
    place that needs other packages.
    """
    path = path_of(uri)
    if path is None or _named(uri, *_MEMBERS, *_COMPONENTS.values()):
        copy = _copies.take(uri)
        try:
            yield copy.path
        finally:
            _copies.give_back(copy)
        return
    if not path.exists():
        raise CoaddError("the file does not exist")
    yield path


def with_components(uri: str, components: Mapping[str, str]) -> str:
    """A URI of an image that means it together with other components of a disassembled coadd.

    components: their URIs by the Butler's names; those that are of no use here are left out.
    """
    parts = {key: components[name] for name, key in _COMPONENTS.items() if name in components}
    joint = "&" if "#" in uri else "#"
    return f"{uri}{joint}{urlencode(parts)}" if parts else uri


@dataclass
class _Copy:
    """file: open, and already deleted where the system lets one reach it nevertheless."""

    uri: str
    file: IO[bytes]
    path: Path
    size: int
    readers: int = 0


@dataclass
class _Copies:
    """All copies of this process."""

    room: int = ROOM
    _known: OrderedDict[str, _Copy] = field(default_factory=OrderedDict)
    _gates: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

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
                    _drop(old)


_copies = _Copies()
_silent: dict[str, float] = {}  # servers that did not answer, and until when they are left alone


def _copied(uri: str) -> _Copy:
    file = tempfile.NamedTemporaryFile(prefix="hipsgen-", suffix=".fits", delete=False)  # noqa: SIM115
    path = Path(f"/proc/self/fd/{file.fileno()}")
    if path.exists():
        os.unlink(file.name)
    else:  # not Linux: it goes when it is dropped
        path = Path(file.name)
    try:
        _fetch(uri, file)
        file.flush()
        return _Copy(uri, file, path, os.fstat(file.fileno()).st_size)
    except BaseException:
        file.close()
        with suppress(FileNotFoundError):
            os.unlink(file.name)
        raise


def _drop(copy: _Copy) -> None:
    copy.file.close()
    with suppress(FileNotFoundError):
        os.unlink(copy.file.name)


def _named(uri: str, *names: str) -> dict[str, str]:
    """What the fragment of a URI says under some of these names."""
    values = parse_qs(urlsplit(uri).fragment)
    return {name: values[name][0] for name in names if name in values}


def _bare(uri: str) -> str:
    """Without what is not part of the place itself."""
    return uri.split("#", 1)[0] if _named(uri, *_MEMBERS, *_COMPONENTS.values()) else uri


def _fetch(uri: str, into: IO[bytes]) -> None:
    """Copy the content, again if that might help. Raises CoaddError."""
    server = urlsplit(uri).netloc
    for wait in (*_WAITS, None):
        into.seek(0)
        into.truncate()
        if _silent.get(server, 0.0) > time.monotonic():
            raise CoaddError(f"{_bare(uri)} cannot be fetched: {server} does not answer")
        try:
            _copy_once(uri, into)
            return
        except (CoaddError, MissingExtraError):
            raise
        except FileNotFoundError as error:
            raise CoaddError(f"the file does not exist: {_bare(uri)}") from error
        except Exception as error:  # of the library of each kind of place
            advice = _advice(error, server)
            if advice or wait is None:
                said = " ".join(str(error).split())[:200] or type(error).__name__
                raise CoaddError(f"{_bare(uri)} cannot be fetched: {advice or said}") from error
            time.sleep(wait)


def _copy_once(uri: str, into: IO[bytes]) -> None:
    if _named(uri, *_COMPONENTS.values()):
        _assemble(uri, into)
        return
    try:
        from lsst.resources import ResourcePath

        place = ResourcePath(_bare(uri))  # which needs another package for some schemes
    except ImportError as error:
        raise MissingExtraError(f"reading {urlsplit(uri).scheme}:// files", "remote") from error
    member = next(iter(_named(uri, *_MEMBERS).values()), None)
    if member is None:
        size = place.size()
        with place.open("rb") as source:
            _pour(source, size, into)
        return
    with place.open("rb") as source, zipfile.ZipFile(source) as packed:
        if member not in packed.namelist():
            raise CoaddError(f"{_bare(uri)} holds no {member}")
        with packed.open(member) as file:
            _pour(file, packed.getinfo(member).file_size, into)


def _assemble(uri: str, into: IO[bytes]) -> None:
    """One FITS file of the image and its other components, each as it is compressed."""
    from astropy.io import fits

    others = _named(uri, *_COMPONENTS.values())
    member = _named(uri, *_MEMBERS)
    image = _bare(uri) + (f"#{urlencode(member)}" if member else "")
    made = fits.HDUList()
    with ExitStack() as open_files:
        for key, place in {"": image, **others}.items():
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


def _pour(source: Any, size: int, into: IO[bytes]) -> None:
    """All of a stream, and no request for more than there is."""
    while size > 0:
        piece = source.read(min(_PIECE, size))
        if not piece:
            raise OSError(f"the connection ended {size} bytes too early")
        into.write(piece)
        size -= len(piece)


def _advice(error: Exception, server: str) -> str:
    """What to do about an error that another attempt does not mend, "" for one that it might."""
    said = _URL.sub("", f"{error} {error.__cause__ or ''} {error.__context__ or ''}")
    if any(words in said for words in _UNREACHABLE):
        _silent[server] = time.monotonic() + _DEAD
        return f"{server} does not answer: is it running, and can this machine reach it?"
    if isinstance(error, PermissionError) or _REFUSED.search(said):
        return (
            "access is refused; credentials are those of lsst.resources: LSST_RESOURCES_WEBDAV_"
            "CONFIG or a bearer token for WebDAV, AWS_ACCESS_KEY_ID and the like for S3"
        )
    if isinstance(error, zipfile.BadZipFile):
        return "it is no zip file"
    return ""

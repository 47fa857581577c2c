"""Local copies of files that are remote, compressed as a whole, in a zip file or in components.

A copy is an unlinked file (`scratch`). It is kept while it is read; afterwards until the limit on
unread copies is reached, or as long as a build needs it and there is room.
"""

import os
import re
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote_plus, urlencode

import numpy as np

from hipsgen.errors import CoaddError
from hipsgen.files import NotRegularError, check_regular, open_regular
from hipsgen.images import access
from hipsgen.images.butler_server import component_paths, dataset_of
from hipsgen.images.packing import packing_of, unpack
from hipsgen.images.remote import MEMBERS, copy_to, member_of, resource_path, with_retries
from hipsgen.images.scratch import ScratchFile, ScratchWriter, free_space
from hipsgen.images.source import Values
from hipsgen.images.uris import path_of, stamp_of, uri_of

CAPACITY = 4 << 30  # bytes of copies that are neither being read nor needed by a build
# components of a disassembled coadd read besides its image, and their keys in the URI's fragment
_COMPONENTS = {"mask": "component-mask", "photoCalib": "component-photocalib"}
_OTHER_COMPONENT = re.compile("(component-(?:mask|photocalib))=([^&]*)")


@contextmanager
def local_file(uri: str) -> Iterator[Path]:
    """Provide a path from which the content of a URI can be read inside the `with` block.

    A file that is compressed as a whole is unpacked, once for all readers in this process.

    Raises CoaddError, with advice, if it cannot be fetched or unpacked, is no regular file, or may
    not be read; MissingExtraError if its scheme needs another package.
    """
    for part in parts_of(uri):
        access.check(part)
    path = _path_here(uri)
    if path is not None and (real := access.real_path(path)) != path:
        path, uri = real, uri_of(real)
    stamp = "" if path is None else _stamp(path)
    if path is not None and not _is_packed(path, stamp):
        yield path
        return
    try:
        copy = _copies.acquire(uri, stamp)
    except ValueError as error:  # for example brackets
        shown = uri.partition("?")[0][:80]
        raise CoaddError(f"{shown} is not a valid URI: {error}") from None
    try:
        yield copy.path
    finally:
        _copies.release(copy)


def _path_here(uri: str) -> Path | None:
    """Return the path of a single file on this machine; None for other URIs."""
    return None if member_of(uri) or _other_components(uri) else path_of(uri)


def _stamp(path: Path) -> str:
    try:
        return stamp_of(check_regular(path))
    except (FileNotFoundError, NotADirectoryError):
        raise CoaddError("the file does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(error) from error


@lru_cache(maxsize=10_000)
def _is_packed(path: Path, stamp: str) -> bool:
    """Whether a file with this stamp is compressed as a whole."""
    try:
        with open_regular(path) as file:
            return bool(packing_of(file))
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> CoaddError:
    reason = str(getattr(error, "strerror", None) or error)
    is_other = isinstance(error, NotRegularError)
    return CoaddError(reason if is_other else f"cannot be read ({reason})")


def has_copy(uri: str) -> bool:
    """Whether there is a local copy of the content of a remote file."""
    return _copies.has(uri)


def keep_copies(uris: Iterable[str]) -> None:
    """Keep copies of these URIs, also those made later, until `release_copies`."""
    _copies.keep(uris)


def release_copies(uris: Iterable[str]) -> None:
    """Undo `keep_copies`, once for each URI."""
    _copies.unkeep(uris)


@contextmanager
def kept_copies(uris: Sequence[str]) -> Iterator[None]:
    """Keep copies of these URIs inside the `with` block."""
    keep_copies(uris)
    try:
        yield
    finally:
        release_copies(uris)


def parts_of(uri: str) -> list[str]:
    """Return the URIs of the files that a URI stands for: one, or one for each component."""
    return [part.partition("#")[0] for part in (uri, *_other_components(uri).values())]


def with_components(uri: str, components: Mapping[str, str]) -> str:
    """Return the URI of an image, extended by those of other components of a disassembled coadd.

    components: URIs by the Butler's names; those that are not used here are omitted.
    """
    parts = {key: components[name] for name, key in _COMPONENTS.items() if name in components}
    separator = "&" if "#" in uri else "#"
    return f"{uri}{separator}{urlencode(parts)}" if parts else uri


def scratch_array(shape: tuple[int, int]) -> Values:
    """Return an array (rows, columns) float32 that is on the disk, in an unlinked file.

    Raises CoaddError if there is no room for it.
    """
    size = 4 * shape[0] * shape[1]
    scratch = ScratchFile.create()
    try:
        writer = ScratchWriter(scratch.file, _copies.make_room)
        writer.allocate(size)
        return np.asarray(np.memmap(scratch.file, np.float32, "r+", shape=shape))
    finally:
        scratch.discard()  # the array keeps its content


@dataclass
class _Copy:
    """A local copy of a URI's content; stamp: of the file on this machine that it was made from."""

    uri: str
    stamp: str
    scratch: ScratchFile
    size: int
    readers: int = 0

    @property
    def path(self) -> Path:
        """Path by which the open file can be opened again."""
        return self.scratch.path


def _drop_all(copies: Iterable[_Copy]) -> None:
    for copy in copies:
        copy.scratch.discard()


@dataclass
class _Copies:
    """All copies of this process.

    Attributes
    ----------
    capacity
        Bytes of copies that are neither read nor kept; a single one may be larger.
    """

    capacity: int = CAPACITY
    _copies: OrderedDict[tuple[str, str], _Copy] = field(default_factory=OrderedDict)
    _kept: Counter[str] = field(default_factory=Counter)
    _locks: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _reserve: int | None = None  # bytes of the disk that stay free

    def __post_init__(self) -> None:
        weakref.finalize(self, _drop_all, self._copies.values())  # at exit at the latest

    def has(self, uri: str) -> bool:
        """Whether there is a copy of a URI."""
        with self._lock:
            return (uri, "") in self._copies

    def acquire(self, uri: str, stamp: str = "") -> _Copy:
        """Return the copy of a URI, made by one thread if several need it; see `release`.

        stamp: of the file if it is on this machine.
        """
        key = uri, stamp
        with self._lock:
            copy_lock = self._locks.setdefault(key, threading.Lock())
        with copy_lock:
            copy = self._acquire_existing(key)
            if copy is None:
                scratch = self._make(uri)
                copy = _Copy(uri, stamp, scratch, scratch.size, readers=1)
                with self._lock:
                    self._copies[key] = copy
            return copy

    def _acquire_existing(self, key: tuple[str, str]) -> _Copy | None:
        """Return an existing copy, marked as being read so that it is not dropped."""
        with self._lock:
            copy = self._copies.get(key)
            if copy is not None:
                self._copies.move_to_end(key)
                copy.readers += 1
            return copy

    def _make(self, uri: str) -> ScratchFile:
        """Copy the content of a URI, and unpack it. Raises CoaddError."""
        path = _path_here(uri)
        if path is not None:
            with open_regular(path) as packed:
                return self._unpack(packed)
        copy = ScratchFile.create()
        try:
            with_retries(uri, lambda: _copy_once(uri, copy.file, self.make_room))
            copy.file.flush()
            if not packing_of(copy.file):
                return copy
            copy.file.seek(0)
            unpacked = self._unpack(copy.file)
        except BaseException:
            copy.discard()
            raise
        copy.discard()
        return unpacked

    def _unpack(self, packed: IO[bytes]) -> ScratchFile:
        unpacked = ScratchFile.create()
        try:
            unpack(packed, ScratchWriter(unpacked.file, self.make_room))
            if again := packing_of(unpacked.file):
                raise CoaddError(f"it is compressed twice: unpack it, its content is of {again}")
        except BaseException:
            unpacked.discard()
            raise
        return unpacked

    def make_room(self, count: int) -> bool:
        """Drop unread copies until `count` bytes fit on the disk; return whether they do.

        A tenth of the space that was free before the first copy stays free.
        """
        with self._lock:
            free = free_space()
            self._reserve = free // 10 if self._reserve is None else self._reserve
            missing = self._reserve + count - free
            for copy in sorted(self._unread(), key=lambda copy: copy.uri in self._kept):
                if missing <= 0:
                    break
                missing -= self._drop(copy)
            return missing <= 0

    def keep(self, uris: Iterable[str]) -> None:
        """Keep copies of these URIs, as long as there is room."""
        with self._lock:
            self._kept.update(uris)

    def unkeep(self, uris: Iterable[str]) -> None:
        """Undo `keep`."""
        with self._lock:
            self._kept.subtract(uris)
            self._kept += Counter()  # without those that are zero
            self._drop_beyond_capacity()

    def release(self, copy: _Copy) -> None:
        """Stop reading a copy; the least recently used ones are dropped if there are too many."""
        with self._lock:
            copy.readers -= 1
            self._drop_beyond_capacity()

    def _drop_beyond_capacity(self) -> None:
        free = [copy for copy in self._unread() if copy.uri not in self._kept]
        size = sum(copy.size for copy in free)
        for copy in free[:-1]:
            if size > self.capacity:
                size -= self._drop(copy)

    def _unread(self) -> list[_Copy]:
        """Return the copies that are not being read, the least recently used first."""
        return [copy for copy in self._copies.values() if not copy.readers]

    def _drop(self, copy: _Copy) -> int:
        """Delete a copy; return the bytes that this frees."""
        del self._copies[copy.uri, copy.stamp]
        copy.scratch.discard()
        return copy.size


_copies = _Copies()


def _other_components(uri: str) -> dict[str, str]:
    """Return the URIs of the other components of a disassembled coadd, by key in the fragment."""
    found = dict(_OTHER_COMPONENT.findall(uri.partition("#")[2]))
    return {key: unquote_plus(value) for key, value in found.items()}


def _copy_once(uri: str, into: IO[bytes], make_room: Callable[[int], bool]) -> None:
    into.seek(0)
    into.truncate()
    dataset = dataset_of(uri)
    if dataset is not None and not dataset.component:
        parts = {
            name: dataset._replace(component=name).uri for name in component_paths(dataset) if name
        }
        if parts and "image" not in parts:
            raise CoaddError(f"stored in components without an image: {', '.join(sorted(parts))}")
        uri = with_components(parts["image"], parts) if parts else uri
    writer = ScratchWriter(into, make_room)
    if _other_components(uri):
        _assemble(uri, into, writer)
    else:
        copy_to(resource_path(uri), writer)


def _assemble(uri: str, into: IO[bytes], writer: ScratchWriter) -> None:
    """Write one FITS file of the image and its other components, compressed as they are."""
    from astropy.io import fits

    member = member_of(uri)
    image = uri.split("#", 1)[0] + (f"#{MEMBERS[0]}={quote(member)}" if member else "")
    hdus, size = fits.HDUList(), 0
    with ExitStack() as open_files:
        for key, component_uri in {"": image, **_other_components(uri)}.items():
            path = open_files.enter_context(local_file(component_uri))
            file = open_files.enter_context(open_regular(path))
            size += os.fstat(file.fileno()).st_size
            options = {
                "memmap": False,
                "disable_image_compression": True,
                "do_not_scale_image_data": True,
            }
            for hdu in open_files.enter_context(fits.open(file, **options)):
                if key and isinstance(hdu, fits.PrimaryHDU):
                    if hdu.data is None:
                        continue
                    hdu = _as_extension(hdu)
                if key == _COMPONENTS["mask"]:
                    hdu.header["EXTTYPE"] = "MASK"
                hdus.append(hdu)
        writer.reserve(size)
        hdus.writeto(into, output_verify="ignore")


def _as_extension(primary: Any) -> Any:
    """Return a primary HDU, opened without scaling, as an extension of the same stored numbers."""
    from astropy.io import fits

    scaling = {k: primary.header[k] for k in ("BSCALE", "BZERO") if k in primary.header}
    extension = fits.ImageHDU(primary.data, primary.header)
    extension.header.update(scaling)  # the constructor removes them
    return extension

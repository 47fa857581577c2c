"""Local copies of files that are remote, inside a zip file, or stored in components.

A copy has no name: its file is deleted before anything is written to it, so that it disappears when
the process ends in any way. It is kept while it is read, and afterwards as long as the cache has
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
from typing import IO, Any
from urllib.parse import quote, unquote_plus, urlencode

from hipsgen.errors import CoaddError
from hipsgen.images import access
from hipsgen.images.butler_server import component_paths, dataset_of
from hipsgen.images.remote import MEMBERS, copy_to, member_of, resource_path, with_retries
from hipsgen.images.uris import path_of

CAPACITY = 4 << 30  # bytes of copies that are not being read; two workers need 20 coadds at once
# components of a disassembled coadd read besides its image, and their keys in the URI's fragment
_COMPONENTS = {"mask": "component-mask", "photoCalib": "component-photocalib"}
_OTHER_COMPONENT = re.compile("(component-(?:mask|photocalib))=([^&]*)")


@contextmanager
def local_file(uri: str) -> Iterator[Path]:
    """Provide a path from which the content of a URI can be read inside the `with` block.

    Raises CoaddError, with advice, if it cannot be fetched or may not be read; MissingExtraError if
    its scheme needs another package.
    """
    path = path_of(uri)
    for part in parts_of(uri):
        access.check(part)
    if path is None or member_of(uri) or _other_components(uri):
        try:
            copy = _copies.acquire(uri)
        except ValueError as error:  # for example brackets
            shown = uri.partition("?")[0][:80]
            raise CoaddError(f"{shown} is not a valid URI: {error}") from None
        try:
            yield copy.path
        finally:
            _copies.release(copy)
        return
    path = access.real_path(path)
    if not path.exists():
        raise CoaddError("the file does not exist")
    yield path


def has_copy(uri: str) -> bool:
    """Whether there is a local copy of a URI's content."""
    return _copies.has(uri)


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


@dataclass
class _Copy:
    """A local copy; path: leads to the open file, which has no name where the system permits it."""

    uri: str
    file: IO[bytes]
    path: Path
    size: int
    readers: int = 0


def _drop_all(copies: Iterable[_Copy]) -> None:
    for copy in copies:
        _discard(copy.file, copy.path)


@dataclass
class _Copies:
    """All copies of this process."""

    capacity: int = CAPACITY
    _by_uri: OrderedDict[str, _Copy] = field(default_factory=OrderedDict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        weakref.finalize(self, _drop_all, self._by_uri.values())  # at exit at the latest

    def has(self, uri: str) -> bool:
        """Whether there is a copy of a URI."""
        with self._lock:
            return uri in self._by_uri

    def acquire(self, uri: str) -> _Copy:
        """Return the copy of a URI, fetched by one thread if several need it; see `release`."""
        with self._lock:
            copy_lock = self._locks.setdefault(uri, threading.Lock())
        with copy_lock:
            copy = self._acquire_existing(uri)
            if copy is None:
                copy = _fetch(uri)
                with self._lock:
                    copy.readers += 1
                    self._by_uri[uri] = copy
            return copy

    def _acquire_existing(self, uri: str) -> _Copy | None:
        """Return an existing copy, marked as being read so that it is not dropped."""
        with self._lock:
            copy = self._by_uri.get(uri)
            if copy is not None:
                self._by_uri.move_to_end(uri)
                copy.readers += 1
            return copy

    def release(self, copy: _Copy) -> None:
        """Stop reading a copy; the least recently used ones are dropped if the cache is full."""
        with self._lock:
            copy.readers -= 1
            free = [c for c in self._by_uri.values() if not c.readers]
            size = sum(c.size for c in free)
            for old in free:
                if size > self.capacity:
                    size -= old.size
                    del self._by_uri[old.uri]
                    _discard(old.file, old.path)


_copies = _Copies()
_OPEN_FILES = Path("/proc/self/fd")  # by their numbers


def _fetch(uri: str) -> _Copy:
    file: IO[bytes]
    if _OPEN_FILES.exists():
        file = tempfile.TemporaryFile(prefix="hipsgen-")  # noqa: SIM115  (it never has a name)
        path = _OPEN_FILES / str(file.fileno())
    else:  # not Linux: deleted when the copy is dropped
        file = tempfile.NamedTemporaryFile(prefix="hipsgen-", suffix=".fits", delete=False)  # noqa: SIM115
        path = Path(file.name)
    try:
        with_retries(uri, lambda: _copy_once(uri, file))
        file.flush()
        return _Copy(uri, file, path, os.fstat(file.fileno()).st_size)
    except BaseException:
        _discard(file, path)
        raise


def _discard(file: IO[bytes], path: Path) -> None:
    file.close()
    if path.parent != _OPEN_FILES:
        path.unlink(missing_ok=True)


def _other_components(uri: str) -> dict[str, str]:
    """Return the URIs of the other components of a disassembled coadd, by key in the fragment."""
    found = dict(_OTHER_COMPONENT.findall(uri.partition("#")[2]))
    return {key: unquote_plus(value) for key, value in found.items()}


def _copy_once(uri: str, into: IO[bytes]) -> None:
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
    if _other_components(uri):
        _assemble(uri, into)
    else:
        copy_to(resource_path(uri), into)


def _assemble(uri: str, into: IO[bytes]) -> None:
    """Write one FITS file of the image and its other components, compressed as they are."""
    from astropy.io import fits

    member = member_of(uri)
    image = uri.split("#", 1)[0] + (f"#{MEMBERS[0]}={quote(member)}" if member else "")
    hdus = fits.HDUList()
    with ExitStack() as open_files:
        for key, component_uri in {"": image, **_other_components(uri)}.items():
            path = open_files.enter_context(local_file(component_uri))
            options = {
                "memmap": False,
                "disable_image_compression": True,
                "do_not_scale_image_data": True,
            }
            for hdu in open_files.enter_context(fits.open(path, **options)):
                if key and isinstance(hdu, fits.PrimaryHDU):
                    if hdu.data is None:
                        continue
                    hdu = _as_extension(hdu)
                if key == _COMPONENTS["mask"]:
                    hdu.header["EXTTYPE"] = "MASK"
                hdus.append(hdu)
        hdus.writeto(into, output_verify="ignore")


def _as_extension(primary: Any) -> Any:
    """Return a primary HDU, opened without scaling, as an extension of the same stored numbers."""
    from astropy.io import fits

    scaling = {k: primary.header[k] for k in ("BSCALE", "BZERO") if k in primary.header}
    extension = fits.ImageHDU(primary.data, primary.header)
    extension.header.update(scaling)  # the constructor removes them
    return extension

"""A few pixels of a file elsewhere: blocks of it, fetched when they are read and kept a while."""

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from hipsgen.errors import CoaddError
from hipsgen.images.remote import member_of, patiently, place_of
from hipsgen.images.uris import path_of

BLOCK = 63 << 14  # bytes: with a little more the WebDAV client of lsst.resources fetches two of its
_KEPT = 256  # blocks of all files
_FILES = 64  # that are known to be there
# how files begin that are compressed as a whole
_PACKED = (b"\x1f\x8b", b"\x1f\x9d", b"BZ", b"PK", b"\xfd7z")


def open_range_reader(uri: str) -> "RangeReader | None":
    """A file elsewhere, to read little of; None for one that is to be read as a whole.

    Those are files of this machine, compressed ones, and what is in parts or a part of others.
    """
    if path_of(uri) is not None or urlsplit(uri).fragment:
        return None
    try:
        blocks = _known(uri)
        return None if blocks.read(0, min(3, blocks.size)).startswith(_PACKED) else blocks
    except CoaddError:
        return None  # who copies it finds out what is wrong


@lru_cache(maxsize=_FILES)
def _known(uri: str) -> "RangeReader":
    return RangeReader(uri)


@dataclass
class _Pool:
    """RangeReader of all files, by file and number; those that were read longest ago make room."""

    known: OrderedDict[tuple[str, int], bytes] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: tuple[str, int]) -> bytes | None:
        """A block, if it is here."""
        with self.lock:
            if key in self.known:
                self.known.move_to_end(key)
            return self.known.get(key)

    def put(self, key: tuple[str, int], content: bytes) -> None:
        """Keep a block."""
        with self.lock:
            self.known[key] = content
            self.known.move_to_end(key)
            while len(self.known) > _KEPT:
                self.known.popitem(last=False)


_pool = _Pool()


class RangeReader:
    """The blocks of one file; runs of missing ones are fetched with one request.

    Safe between threads. Raises CoaddError when they cannot be had.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._place: Any = None
        self.notes: dict[Any, Any] = {}  # what readers know of it, for as long as it is known
        self.size: int = patiently(uri, lambda: self._found().size())

    def read(self, start: int, stop: int) -> bytes:
        """Bytes from `start` to `stop`, which lie within the file."""
        if start >= stop:
            return b""
        first, last = start // BLOCK, (stop - 1) // BLOCK
        with self._lock:
            found = {n: _pool.get((self._uri, n)) for n in range(first, last + 1)}
            missing = [n for n, block in found.items() if block is None]
            if missing:
                found |= self._fetch(missing[0], missing[-1])
        content = b"".join(found[n] or b"" for n in range(first, last + 1))
        return content[start - first * BLOCK : stop - first * BLOCK]

    def _fetch(self, first: int, last: int) -> dict[int, bytes]:
        start, stop = first * BLOCK, min((last + 1) * BLOCK, self.size)
        content = patiently(self._uri, lambda: self._read(start, stop))
        found = {
            n: content[n * BLOCK - start : (n + 1) * BLOCK - start] for n in range(first, last + 1)
        }
        for number, block in found.items():
            _pool.put((self._uri, number), block)
        return found

    def _read(self, start: int, stop: int) -> bytes:
        try:
            with self._found().open("rb") as source:
                source.seek(start)
                pieces, missing = [], stop - start
                while missing:
                    piece = source.read(missing)
                    if not piece:
                        raise OSError(f"the connection ended {missing} bytes too early")
                    pieces.append(piece)
                    missing -= len(piece)
                return b"".join(pieces)
        except BaseException:
            self._place = None  # a signed URL may have grown old
            raise

    def _found(self) -> Any:
        if self._place is None:
            place = place_of(self._uri)
            if member_of(str(place)):
                raise CoaddError("a member of a zip file is not read in blocks")
            self._place = place
        return self._place


class RangeFile(io.RawIOBase):
    """A place in a file of blocks, for those who read files."""

    def __init__(self, blocks: RangeReader) -> None:
        self._blocks = blocks
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As files do."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._blocks.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, into: Any) -> int:
        """As files do; all that is asked for, up to the end."""
        stop = min(self._at + len(into), self._blocks.size)
        content = self._blocks.read(self._at, stop)
        into[: len(content)] = content
        self._at += len(content)
        return len(content)

"""Read a few pixels of a remote file with HTTP range reads; blocks are cached in memory."""

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from hipsgen.errors import CoaddError
from hipsgen.images import access
from hipsgen.images.butler_server import dataset_of
from hipsgen.images.remote import member_of, resource_path, with_retries
from hipsgen.images.uris import path_of

# bytes; for a slightly larger block the WebDAV client of lsst.resources fetches two of its own
BLOCK = 63 << 14
_MAX_BLOCKS = 256  # largest number of cached blocks of all files
_MAX_READERS = 64  # largest number of cached readers
# first bytes of files that are compressed as a whole
_COMPRESSED_MAGIC = (b"\x1f\x8b", b"\x1f\x9d", b"BZ", b"PK", b"\xfd7z")


def open_range_reader(uri: str) -> "RangeReader | None":
    """Return a reader for parts of a remote file, None if it must be copied as a whole.

    That is the case for files on this machine, compressed files, members of other files and coadds
    stored in components.
    """
    if path_of(uri) is not None or urlsplit(uri).fragment:
        return None
    try:
        access.check(uri, is_located_by_server=dataset_of(uri) is not None)
        reader = _reader_of(uri)
        return None if reader.read(0, min(3, reader.size)).startswith(_COMPRESSED_MAGIC) else reader
    except CoaddError:
        return None  # the error is reported when the file is copied


@lru_cache(maxsize=_MAX_READERS)
def _reader_of(uri: str) -> "RangeReader":
    return RangeReader(uri)


@dataclass
class _Pool:
    """Cached blocks of all files, by URI and block number; the least recently used are dropped."""

    blocks: OrderedDict[tuple[str, int], bytes] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: tuple[str, int]) -> bytes | None:
        """Return a block, None if it is not cached."""
        with self.lock:
            if key in self.blocks:
                self.blocks.move_to_end(key)
            return self.blocks.get(key)

    def put(self, key: tuple[str, int], content: bytes) -> None:
        """Cache a block."""
        with self.lock:
            self.blocks[key] = content
            self.blocks.move_to_end(key)
            while len(self.blocks) > _MAX_BLOCKS:
                self.blocks.popitem(last=False)


_pool = _Pool()


class RangeReader:
    """Reads byte ranges of one file; consecutive missing blocks are fetched with one request.

    Safe for use by several threads. Raises CoaddError if the file cannot be read.

    Attributes
    ----------
    size
        Size of the file in bytes.
    header_cache
        Parsed headers, kept by `coadd_fits` as long as this reader.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._path: Any = None
        self.header_cache: dict[Any, Any] = {}
        self.size: int = with_retries(uri, lambda: self._resource().size())

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, which must lie within the file."""
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
        content = with_retries(self._uri, lambda: self._read(start, stop))
        found = {
            n: content[n * BLOCK - start : (n + 1) * BLOCK - start] for n in range(first, last + 1)
        }
        for number, block in found.items():
            _pool.put((self._uri, number), block)
        return found

    def _read(self, start: int, stop: int) -> bytes:
        try:
            with self._resource().open("rb") as source:
                source.seek(start)
                chunks, missing = [], stop - start
                while missing:
                    chunk = source.read(missing)
                    if not chunk:
                        raise OSError(f"the connection ended {missing} bytes too early")
                    chunks.append(chunk)
                    missing -= len(chunk)
                return b"".join(chunks)
        except BaseException:
            self._path = None  # a signed URL may have expired
            raise

    def _resource(self) -> Any:
        if self._path is None:
            path = resource_path(self._uri)
            if member_of(str(path)):
                raise CoaddError("a member of a zip file cannot be read by ranges")
            self._path = path
        return self._path


class RangeFile(io.RawIOBase):
    """A file object on top of a `RangeReader`, with its own position."""

    def __init__(self, reader: RangeReader) -> None:
        self._reader = reader
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the current position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, which is returned; negative ones become 0."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._reader.size}[
            whence
        ]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, into: Any) -> int:
        """Fill a buffer, up to the end of the file; return the number of bytes."""
        stop = min(self._position + len(into), self._reader.size)
        content = self._reader.read(self._position, stop)
        into[: len(content)] = content
        self._position += len(content)
        return len(content)

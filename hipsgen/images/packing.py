"""Recognize and unpack files that are compressed as a whole: gzip, bzip2, xz, compress and zip.

Such a file has no sections: its last pixel can only be read after all others.
"""

import bz2
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any, Protocol

from isal import igzip

from hipsgen.errors import CoaddError
from hipsgen.images.decode import DeflateError

_START = 10  # bytes that tell how a file is compressed
_CHUNK = 1 << 24  # bytes unpacked at a time
_DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError),
    *(zipfile.BadZipFile, DeflateError),
)


class Writer(Protocol):
    """What the content is written to."""

    def write(self, data: bytes, /) -> object:
        """Append bytes."""


def packing_of(file: IO[bytes]) -> str:
    """Return how an open file is compressed as a whole, such as `gzip`; "" if it is not."""
    start = os.pread(file.fileno(), _START, 0)
    return next((name for name, (magic, _) in _KINDS.items() if start.startswith(magic)), "")


def unpack(file: IO[bytes], into: Writer) -> None:
    """Write the content of a compressed file, which is at its start, piece by piece.

    Raises CoaddError if it is damaged, and all errors of `into`.
    """
    name = packing_of(file)
    stream = _guarded(name, _KINDS[name][1], file)
    try:
        while chunk := _guarded(name, stream.read, _CHUNK):
            into.write(chunk)
    finally:
        stream.close()


def _guarded(name: str, call: Callable[[Any], Any], argument: object) -> Any:
    try:
        return call(argument)
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CoaddError(f"it cannot be unpacked with {name} ({reason})") from error


def _only_member(file: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(file)
    members = archive.namelist()
    if len(members) != 1:
        raise CoaddError(
            f"it is a zip file with {len(members)} members: unpack it, and name the files to use"
        )
    return archive.open(members[0])


def _lzw(file: IO[bytes]) -> IO[bytes]:
    try:
        import uncompresspy
    except ImportError as error:
        raise CoaddError(
            "it is compressed with compress: pip install uncompresspy, or unpack it"
        ) from error
    return uncompresspy.LZWFile(file, mode="rb")  # type: ignore[no-any-return]


# how their files start, and how they are opened
_KINDS: dict[str, tuple[bytes, Callable[[Any], Any]]] = {
    "gzip": (b"\x1f\x8b\x08", igzip.open),
    "bzip2": (b"BZh", bz2.open),
    "xz": (b"\xfd7zXZ\0", lzma.open),
    "compress": (b"\x1f\x9d", _lzw),
    "zip": (b"PK\3\4", _only_member),
}

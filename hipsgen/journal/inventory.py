"""Inventory of the tiles that were written, with the size and checksum of each file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.sky.tiles import Tile
from hipsgen.survey.formats import format_of


@dataclass(frozen=True)
class FileChecksum:
    """Size of a file in bytes, and its checksum as computed by `checksum`.

    Both are 0 for a file that may or may not exist (`UNKNOWN`).
    """

    size: int
    checksum: int

    @classmethod
    def of(cls, data: bytes | memoryview) -> "FileChecksum":
        """Return the size and checksum of the bytes of a file."""
        return cls(len(data), checksum(data))


UNKNOWN = FileChecksum(0, 0)
# of the files of one tile, in the order of the survey's formats
TileChecksums = tuple[FileChecksum, ...]


def checksum(data: bytes | memoryview) -> int:
    """Return a 64-bit checksum: the CRC-32 in the upper half, the Adler-32 in the lower half.

    It detects corruption but is not cryptographic: it takes 0.07 ms for a FITS tile, a
    cryptographic hash 0.6 ms.
    """
    from isal import isal_zlib

    return isal_zlib.crc32(data) << 32 | isal_zlib.adler32(data)


class TileInventory:
    """Tiles, and the size and checksum of their files.

    Attributes
    ----------
    formats : tuple of str
        Names of the tile formats.
    rows : numpy.ndarray
        (n,) structured array, as stored in the journal: order and npix int64; size int64 and
        total uint64 (the checksum), both of shape (formats,).
    """

    def __init__(self, formats: Sequence[str], rows: npt.NDArray[Any] | None = None) -> None:
        self.formats = tuple(formats)
        self.rows = np.empty(0, _row_dtype(len(formats))) if rows is None else rows

    @classmethod
    def of(
        cls, formats: Sequence[str], files: Iterable[tuple[Tile, TileChecksums]]
    ) -> "TileInventory":
        """Make an inventory from tiles and the checksums of their files."""
        rows = [
            (tile.order, tile.npix, [c.size for c in checksums], [c.checksum for c in checksums])
            for tile, checksums in files
        ]
        return cls(formats, np.array(rows, _row_dtype(len(formats))))

    def __len__(self) -> int:
        return len(self.rows)

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles, in the order in which they were added."""
        for order, npix in self.rows[["order", "npix"]].tolist():
            yield Tile(order, npix)

    def items(self) -> Iterator[tuple[Tile, TileChecksums]]:
        """Yield each tile with the checksums of its files, one for each format."""
        sizes, checksums = self.rows["size"].tolist(), self.rows["total"].tolist()
        for tile, of_size, of_bytes in zip(self.tiles(), sizes, checksums, strict=True):
            yield tile, tuple(map(FileChecksum, of_size, of_bytes))

    def files(self) -> Iterator[tuple[str, FileChecksum]]:
        """Yield the path of each file with its checksum."""
        extensions = [format_of(name).extension for name in self.formats]
        for tile, checksums in self.items():
            for extension, known in zip(extensions, checksums, strict=True):
                yield tile.path(extension), known

    def size(self) -> dict[str, int]:
        """Return the total size of the files in bytes, by format."""
        return dict(zip(self.formats, self.rows["size"].sum(axis=0).tolist(), strict=True))


def _row_dtype(n_formats: int) -> np.dtype[Any]:
    """Return the stored type of a row of an inventory; the checksum's field is called total."""
    return np.dtype(
        [
            ("order", "i8"),
            ("npix", "i8"),
            ("size", "i8", (n_formats,)),
            ("total", "u8", (n_formats,)),
        ]
    )

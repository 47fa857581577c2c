"""What was written: the tiles, and of each file how long it is and what its bytes sum up to."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.sky.tiles import Tile
from hipsgen.survey.formats import format_of


@dataclass(frozen=True)
class FileChecksum:
    """Bytes of a file, and their sum as `checksum` makes it; 0, 0 for a file that may be there."""

    size: int
    checksum: int

    @classmethod
    def of(cls, data: bytes | memoryview) -> "FileChecksum":
        """That of a content."""
        return cls(len(data), checksum(data))


UNKNOWN = FileChecksum(0, 0)


def checksum(data: bytes | memoryview) -> int:
    """64 bits of a content, its CRC-32 before its Adler-32: against accidents, not against forgers.

    They cost 0.07 ms for a FITS tile, where a cryptographic hash takes 0.6.
    """
    from isal import isal_zlib

    return isal_zlib.crc32(data) << 32 | isal_zlib.adler32(data)


class TileInventory:
    """Tiles and their files: order, npix, and a `FileChecksum` for each format.

    rows: structured array (n,): order, npix int64; size int64 and total uint64, (formats,) each.
    """

    def __init__(self, formats: Sequence[str], rows: npt.NDArray[Any] | None = None) -> None:
        self.formats = tuple(formats)
        self.rows = np.empty(0, _row(len(formats))) if rows is None else rows

    @classmethod
    def of(
        cls, formats: Sequence[str], files: Iterable[tuple[Tile, Sequence[FileChecksum]]]
    ) -> "TileInventory":
        """Of tiles with the sums of their files, in the order of `formats`."""
        rows = [
            (tile.order, tile.npix, [s.size for s in sums], [s.checksum for s in sums])
            for tile, sums in files
        ]
        return cls(formats, np.array(rows, _row(len(formats))))

    def __len__(self) -> int:
        return len(self.rows)

    def tiles(self) -> Iterator[Tile]:
        """In the order in which they were counted."""
        for order, npix in self.rows[["order", "npix"]].tolist():
            yield Tile(order, npix)

    def items(self) -> Iterator[tuple[Tile, tuple[FileChecksum, ...]]]:
        """Each tile with the sums of its files, in the order of `formats`."""
        sizes, totals = self.rows["size"].tolist(), self.rows["total"].tolist()
        for tile, size, total in zip(self.tiles(), sizes, totals, strict=True):
            yield tile, tuple(map(FileChecksum, size, total))

    def files(self) -> Iterator[tuple[str, FileChecksum]]:
        """Path and sum of each file."""
        extensions = [format_of(name).extension for name in self.formats]
        for tile, sums in self.items():
            for extension, known in zip(extensions, sums, strict=True):
                yield tile.path(extension), known

    def size(self) -> dict[str, int]:
        """Bytes of all files, by format."""
        return dict(zip(self.formats, self.rows["size"].sum(axis=0).tolist(), strict=True))


def _row(count: int) -> np.dtype[Any]:
    """What is known of a tile in so many formats."""
    return np.dtype(
        [("order", "i8"), ("npix", "i8"), ("size", "i8", (count,)), ("total", "u8", (count,))]
    )

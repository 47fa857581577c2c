"""What the journal keeps: of blocks, of what lies above them, of a coadd's part in it."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.journal.inventory import FileChecksum, TileInventory
from hipsgen.sky.pyramid import Layer
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import Ranges


@dataclass(frozen=True)
class InputUse:
    """One coadd's part in a block: what it was multiplied with and what its headers say.

    coadd: its `CoaddRef.key`, which another run of the same build has too.
    """

    coadd: str
    scale: float
    calibration: str
    unit_in: str
    excluded: tuple[str, ...]
    t_min: float
    t_max: float


@dataclass(frozen=True)
class BlockRecord:
    """What a block left behind, or, without a fingerprint, what one that was begun may have left.

    fingerprint: of the recipe and the identities of its coadds. pictures: of the stretch of its
    previews, empty when they are of several. content: of its leaf tiles, by which the `BlockState`
    of the same ones is known. tiles: how many, of all orders, each counted once whatever its
    formats. size: bytes, by format. low, high: range of the leaf values. problems: `CoaddRef.key`
    of coadds that could not be read, and why. made: tiles that were written when it was last
    worked on; removed: those that were there before and are no more.
    """

    order: int
    npix: int
    fingerprint: str = ""
    pictures: str = ""
    content: str = ""
    tiles: int = 0
    size: dict[str, int] = field(default_factory=dict)
    low: float = math.inf
    high: float = -math.inf
    uses: list[InputUse] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    made: int = 0
    removed: int = 0
    seconds: float = 0.0
    peak_memory: int = 0

    @property
    def root(self) -> Tile:
        """The tile at the top of the block."""
        return Tile(self.order, self.npix)


LEAF = np.dtype([("npix", "i8"), ("digest", "u8")])


@dataclass(frozen=True)
class BlockFiles:
    """The part of a block's record that is only read when the block is worked on again.

    leaves: structured (n,), the leaf tiles that need not be made again while their digest is the
    same: npix int64, digest uint64.
    """

    inventory: TileInventory
    leaves: npt.NDArray[Any]


@dataclass(frozen=True)
class BlockState:
    """What the rest of the survey needs of a block.

    layer: of its root at half the width, as its parent takes it; None when it is empty. cells: of
    the MOC. small: for the Allskys. content: as in its record.
    """

    layer: Layer | None
    cells: Ranges
    small: dict[Tile, Layer] = field(default_factory=dict)
    content: str = ""


@dataclass(frozen=True)
class TopRecord:
    """What was written last: tiles above the blocks, and the files that are no tiles, by path.

    fingerprint: of what these tiles of a color survey were made of.
    """

    inventory: TileInventory
    files: dict[str, FileChecksum]
    fingerprint: str = ""

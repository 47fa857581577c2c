"""What the journal stores: records of blocks, of their inputs, and of the tiles above them.

`record_to_json` and `record_from_json` fix the stored keys, which are those of version 0.1.0 and do
not follow the names of attributes.
"""

import math
from collections.abc import Mapping
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
    """How a block used a coadd: the factor of its pixels, and what its headers say.

    Attributes
    ----------
    coadd : str
        `CoaddRef.key`, which is the same in every run of a build.
    scale : float
        Factor from the stored pixel values to the unit of the survey.
    calibration : str
        Where the calibration of the pixels was found.
    unit_in : str
        Unit of the coadd.
    excluded : tuple of str
        Mask planes whose pixels were excluded.
    t_min, t_max : float
        First and last observation, MJD; NaN if unknown.
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
    """What is known of a rendered block; without a fingerprint, of one that is in progress.

    Attributes
    ----------
    order, npix : int
        The root of the block.
    fingerprint : str
        Of the recipe and of the identities of the coadds; empty for a block that is not finished.
    previews : str
        Digest of the stretch of the previews; empty if they were not all made with the same one.
    content : str
        Digest of the leaf tiles, which the `BlockSummary` made from them has as well.
    n_tiles : int
        Tiles of all orders; a tile in several formats counts once.
    size : dict of str to int
        Bytes of the tiles by format.
    low, high : float
        Range of the leaf tiles' values; inf and -inf if there is none.
    input_uses : list of InputUse
        The coadds that contributed pixels.
    problems : list of (str, str)
        `CoaddRef.key` of the coadds that could not be read, and the reason.
    n_made, n_removed : int
        Tiles written and tiles deleted when the block was last rendered.
    seconds : float
        Time spent on rendering.
    peak_memory : int
        Largest resident size of the process until then, in bytes.
    """

    order: int
    npix: int
    fingerprint: str = ""
    previews: str = ""
    content: str = ""
    n_tiles: int = 0
    size: dict[str, int] = field(default_factory=dict)
    low: float = math.inf
    high: float = -math.inf
    input_uses: list[InputUse] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    n_made: int = 0
    n_removed: int = 0
    seconds: float = 0.0
    peak_memory: int = 0

    @property
    def root(self) -> Tile:
        """The tile at the top of the block."""
        return Tile(self.order, self.npix)


def record_to_json(record: BlockRecord, formats: tuple[str, ...]) -> dict[str, Any]:
    """Return a record as stored in the journal, with the formats of the block's tiles."""
    return {
        "order": record.order,
        "npix": record.npix,
        "fingerprint": record.fingerprint,
        "pictures": record.previews,
        "content": record.content,
        "tiles": record.n_tiles,
        "size": record.size,
        "low": record.low,
        "high": record.high,
        "uses": [_use_to_json(use) for use in record.input_uses],
        "problems": record.problems,
        "made": record.n_made,
        "removed": record.n_removed,
        "seconds": record.seconds,
        "peak_memory": record.peak_memory,
        "formats": formats,
    }


def record_from_json(values: Mapping[str, Any]) -> BlockRecord:
    """Return the record that `record_to_json` stored; KeyError or TypeError if it is damaged."""
    return BlockRecord(
        order=values["order"],
        npix=values["npix"],
        fingerprint=values["fingerprint"],
        previews=values["pictures"],
        content=values["content"],
        n_tiles=values["tiles"],
        size=values["size"],
        low=values["low"],
        high=values["high"],
        input_uses=[_use_from_json(use) for use in values["uses"]],
        problems=[(key, reason) for key, reason in values["problems"]],
        n_made=values["made"],
        n_removed=values["removed"],
        seconds=values["seconds"],
        peak_memory=values["peak_memory"],
    )


def _use_to_json(use: InputUse) -> dict[str, Any]:
    return {
        "coadd": use.coadd,
        "scale": use.scale,
        "calibration": use.calibration,
        "unit_in": use.unit_in,
        "excluded": use.excluded,
        "t_min": use.t_min,
        "t_max": use.t_max,
    }


def _use_from_json(values: Mapping[str, Any]) -> InputUse:
    return InputUse(
        coadd=values["coadd"],
        scale=values["scale"],
        calibration=values["calibration"],
        unit_in=values["unit_in"],
        excluded=tuple(values["excluded"]),
        t_min=values["t_min"],
        t_max=values["t_max"],
    )


# stored type of the digests of leaf tiles
LEAF = np.dtype([("npix", "i8"), ("digest", "u8")])


@dataclass(frozen=True)
class BlockTiles:
    """The part of a block's record that is read only when the block is rendered again.

    Attributes
    ----------
    inventory : TileInventory
        The tiles of the block; while it is in progress, all that may exist.
    leaves : numpy.ndarray
        (n,) structured array: npix int64 and digest uint64 of the leaf tiles that are kept as long
        as their digest stays the same.
    """

    inventory: TileInventory
    leaves: npt.NDArray[Any]


@dataclass(frozen=True)
class BlockSummary:
    """What the orders above a block and the files of the survey are made from.

    Attributes
    ----------
    root_layer : Layer or None
        Pixels of the root at half the tile width, as its parent needs them; None without data.
    cells : Ranges
        MOC cells of the leaf tiles.
    allsky_layers : dict of Tile to Layer
        Tiles of low orders, reduced to their size in the Allsky files.
    content : str
        As in the block's record, to check that they belong together.
    """

    root_layer: Layer | None
    cells: Ranges
    allsky_layers: dict[Tile, Layer] = field(default_factory=dict)
    content: str = ""


@dataclass(frozen=True)
class TopRecord:
    """What was written last: the tiles above the blocks, and the files that are not tiles.

    Attributes
    ----------
    inventory : TileInventory
        The tiles above the blocks.
    files : dict of str to FileChecksum
        The other files, by path.
    fingerprint : str
        Of what these tiles of a color survey were made from; empty for a survey of coadds.
    """

    inventory: TileInventory
    files: dict[str, FileChecksum]
    fingerprint: str = ""

"""Render one block of a color survey: each tile from the FITS tiles of the three surveys."""

from dataclasses import dataclass

import numpy as np

from hipsgen.journal.inventory import UNKNOWN, FileChecksum, TileChecksums, TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.lease import BuildLease
from hipsgen.journal.previous import load_block
from hipsgen.journal.records import LEAF, BlockRecord, BlockTiles
from hipsgen.planner.color_stretch import Triple, values_of
from hipsgen.render.tile_writer import TileWriter
from hipsgen.run import interrupt
from hipsgen.sky.stretch import Lupton
from hipsgen.sky.tiles import Tile
from hipsgen.survey.formats import format_of
from hipsgen.survey.store import Store

# the record of a block; or None and the checksums of the tiles above the blocks
ColorResult = tuple[BlockRecord | None, list[tuple[Tile, TileChecksums]]]

_NO_LEAVES = np.empty(0, LEAF)


@dataclass(frozen=True)
class ColorTask:
    """Everything that a worker needs to render a block; small and picklable.

    Attributes
    ----------
    bands : (Survey, Survey, Survey)
        Red, green and blue.
    lease : BuildLease
        Lease on the survey to which the tiles are written.
    stretch : Lupton
        From the values of the three surveys to colors.
    formats : tuple of str
        Tile formats.
    root : Tile or None
        Root of the block; None for the tiles above the blocks, which have no block record.
    tiles : tuple of Tile
        The tiles to render.
    fingerprint : str
        Of everything that determines their bytes.
    """

    bands: Triple
    lease: BuildLease
    stretch: Lupton
    formats: tuple[str, ...]
    root: Tile | None
    tiles: tuple[Tile, ...]
    fingerprint: str

    @property
    def out(self) -> Store:
        """Where the tiles are written."""
        return self.lease.store

    def render(self) -> "ColorResult":
        """Render the block; see `render_color_block`."""
        return render_color_block(self)


def render_color_block(task: ColorTask) -> ColorResult:
    """Write the tiles of a block, then its record.

    Returns the record of the block; for tiles above the blocks, the checksums of their files.
    Raises ConfigError if another build has taken the lease.
    """
    journal, root = Journal(task.out), task.root
    with task.lease.guard(
        on_conflict=lambda: journal.invalidate(root) if root else journal.begin_top()
    ):
        return _render(task, journal)


def _render(task: ColorTask, journal: Journal) -> ColorResult:
    previous = _begin(task, journal)
    written = _write_tiles(task)
    obsolete = previous.keys() - written.keys()
    for tile in obsolete:
        for name in task.formats:
            task.out.delete(tile.path(format_of(name).extension))
    if task.root is None:
        return None, list(written.items())
    inventory = TileInventory.of(task.formats, written.items())
    record = BlockRecord(
        order=task.root.order,
        npix=task.root.npix,
        fingerprint=task.fingerprint,
        n_tiles=len(inventory),
        size=inventory.size(),
        n_made=len(inventory),
        n_removed=sum(UNKNOWN not in previous[tile] for tile in obsolete),
    )
    journal.write_block(record, BlockTiles(inventory, _NO_LEAVES))
    return record, []


def _begin(task: ColorTask, journal: Journal) -> dict[Tile, TileChecksums]:
    """Record that a block is in progress; return the tiles of it that may exist."""
    if task.root is None:
        return {}
    deepest = max(tile.order for tile in task.tiles)
    _, tiles = load_block(task.out, task.root, deepest, task.formats)
    previous = dict(tiles.inventory.items())
    possible = {**dict.fromkeys(task.tiles, (UNKNOWN,) * len(task.formats)), **previous}
    inventory = TileInventory.of(task.formats, possible.items())
    record = BlockRecord(task.root.order, task.root.npix)
    journal.write_block(record, BlockTiles(inventory, _NO_LEAVES))
    return previous


def _write_tiles(task: ColorTask) -> dict[Tile, TileChecksums]:
    encoders = [format_of(name) for name in task.formats]
    written: dict[Tile, TileChecksums] = {}
    with TileWriter(task.out) as writer:
        for tile in task.tiles:
            interrupt.check()
            values = values_of(task.bands, tile)
            if values is not None:
                levels = task.stretch(values)
                files = [(tile.path(e.extension), e.encode(levels, tile)) for e in encoders]
                writer.write(*files)
                written[tile] = tuple(FileChecksum.of(data) for _, data in files)
    return written

"""One block of a color survey: its tiles of every order, from the float tiles of those orders."""

from dataclasses import dataclass

import numpy as np

from hipsgen.journal.inventory import UNKNOWN, FileChecksum, TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.lease import BuildLease
from hipsgen.journal.previous import Checksums, load_block
from hipsgen.journal.records import LEAF, BlockFiles, BlockRecord
from hipsgen.planner.color_stretch import Triple, values_of
from hipsgen.render.tile_writer import TileWriter
from hipsgen.run import interrupt
from hipsgen.sky.stretch import Lupton
from hipsgen.sky.tiles import Tile
from hipsgen.survey.formats import format_of
from hipsgen.survey.store import Store

ColorResult = tuple[BlockRecord | None, list[tuple[Tile, Checksums]]]  # or sums, no record


@dataclass(frozen=True)
class ColorTask:
    """The tiles under one of them, to be made; small and picklable.

    root: None for tiles that are not journalled. fingerprint: of all that decides their bytes.
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
        """Where the pictures go."""
        return self.lease.store

    def render(self) -> "ColorResult":
        """See `render_color_block`."""
        return render_color_block(self)


def render_color_block(task: ColorTask) -> ColorResult:
    """Make and write some tiles, then their record.

    Returns that, and, without one, the sums of the files. Raises ConfigError when another build
    has begun.
    """
    journal, root = Journal(task.out), task.root
    with task.lease.guard(
        on_conflict=lambda: journal.invalidate(root) if root else journal.begin_top()
    ):
        return _render(task, journal)


def _render(task: ColorTask, journal: Journal) -> ColorResult:
    before: dict[Tile, Checksums] = {}
    nothing = np.empty(0, LEAF)
    if task.root is not None:
        deepest = max(tile.order for tile in task.tiles)
        before = dict(load_block(task.out, task.root, deepest, task.formats)[1].inventory.items())
        may_be = {**dict.fromkeys(task.tiles, (UNKNOWN,) * len(task.formats)), **before}
        begun = BlockRecord(task.root.order, task.root.npix)
        journal.write(begun, BlockFiles(TileInventory.of(task.formats, may_be.items()), nothing))
    encoders = [format_of(name) for name in task.formats]
    written: dict[Tile, Checksums] = {}
    with TileWriter(task.out) as writer:
        for tile in task.tiles:
            interrupt.check()
            values = values_of(task.bands, tile)
            if values is not None:
                levels = task.stretch(values)
                files = [(tile.path(e.extension), e.encode(levels, tile)) for e in encoders]
                writer.write(*files)
                written[tile] = tuple(FileChecksum.of(data) for _, data in files)
    gone = before.keys() - written.keys()
    for tile in gone:
        for encoder in encoders:
            task.out.delete(tile.path(encoder.extension))
    if task.root is None:
        return None, list(written.items())
    inventory = TileInventory.of(task.formats, written.items())
    record = BlockRecord(
        order=task.root.order,
        npix=task.root.npix,
        fingerprint=task.fingerprint,
        tiles=len(inventory),
        size=inventory.size(),
        made=len(inventory),
        removed=sum(UNKNOWN not in before[tile] for tile in gone),
    )
    journal.write(record, BlockFiles(inventory, nothing))
    return record, []

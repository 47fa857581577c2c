"""What an earlier run left of a block, and what of it is still good."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

import numpy as np

from hipsgen.coadd import CoaddRef
from hipsgen.journal.fingerprints import leaf_digests
from hipsgen.journal.inventory import UNKNOWN, FileChecksum, TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.records import LEAF, BlockFiles, BlockRecord
from hipsgen.planner.blocks import Block
from hipsgen.planner.recipe import Recipe
from hipsgen.sky.tiles import Tile
from hipsgen.survey.store import Store

Checksums = tuple[FileChecksum, ...]


class PreviousBlock:
    """What is known of a block's tiles before it is worked on.

    kept: leaf tiles, by npix, that need not be made again. sums: of all tiles that may be there.
    digests: of the leaf tiles as they are wanted now. uses: of coadds that gave pixels to kept
    tiles. pictures_are_good: whether the previews are of this stretch.
    """

    def __init__(
        self,
        store: Store,
        recipe: Recipe,
        block: Block,
        refs: Mapping[int, CoaddRef],
        record: BlockRecord | None,
        files: BlockFiles,
    ) -> None:
        self._store, self._recipe, self._root = store, recipe, block.root
        self.digests = leaf_digests(recipe, block, refs)
        self.sums: dict[Tile, Checksums] = dict(files.inventory.items())
        known = _by_npix(files)
        self.kept = {npix for npix, digest in self.digests.items() if known.get(npix) == digest}
        self.uses = {use.coadd: use for use in record.uses} if record and self.kept else {}
        self.pictures_are_good = record is not None and (
            record.pictures == recipe.previews_digest()
        )
        planned = {Tile(recipe.order, npix) for npix in self.digests}
        self._may_be = planned | set(self._above(planned))
        changed = {tile for tile in planned if tile.npix not in self.kept}
        changed |= {t for t in self.sums if t.order == recipe.order and t not in planned}
        self._changed = changed | set(self._above(changed))

    @classmethod
    def of(
        cls, store: Store, recipe: Recipe, block: Block, refs: Mapping[int, CoaddRef]
    ) -> "PreviousBlock":
        """From the journal."""
        record, files = load_block(store, block.root, recipe.order, recipe.formats)
        return cls(store, recipe, block, refs, record, files)

    def is_changed(self, tile: Tile) -> bool:
        """Whether a leaf tile at or below a tile is to be made again, or is gone."""
        return tile in self._changed

    def mark_stale(self, tile: Tile) -> None:
        """Have a leaf tile, and those above it, rendered again: it is not as recorded."""
        self._changed |= {tile, *self._above([tile])}

    def estimate(self) -> tuple[int, int]:
        """Tiles, of all orders, that are at most to be made, and to be removed."""
        made = self._may_be & self._changed if self.pictures_are_good else self._may_be
        return len(made), len(self.sums.keys() - self._may_be)

    def in_progress_record(self) -> tuple[BlockRecord, BlockFiles]:
        """What is true of the block from now until its record is written."""
        unknown = (UNKNOWN,) * len(self._recipe.formats)
        may_be = {**dict.fromkeys(self._may_be & self._changed, unknown), **self.sums}
        leaves = [(npix, self.digests[npix]) for npix in sorted(self.kept)]
        record = BlockRecord(
            self._root.order,
            self._root.npix,
            pictures=self._recipe.previews_digest() if self.pictures_are_good else "",
            uses=list(self.uses.values()),
        )
        inventory = TileInventory.of(self._recipe.formats, may_be.items())
        return record, BlockFiles(inventory, np.array(leaves, LEAF))

    def remove_all_but(self, tiles: Set[Tile]) -> int:
        """Delete the tiles that were there and belong to the block no more; how many there were."""
        gone = self.sums.keys() - tiles
        for tile in gone:
            for encoder in self._recipe.encoders():
                self._store.delete(tile.path(encoder.extension))
        return sum(UNKNOWN not in self.sums[tile] for tile in gone)

    def _above(self, tiles: Iterable[Tile]) -> Iterator[Tile]:
        """The tiles of the block above these."""
        return (t.ancestor(k) for t in tiles for k in range(self._root.order, t.order))


def load_block(
    store: Store, root: Tile, order: int, formats: Sequence[str]
) -> tuple[BlockRecord | None, BlockFiles]:
    """What the journal has of a block, None for no record.

    Of a block whose record cannot be read any tile, down to an order, may be there.
    """
    tiles: Iterable[Tile] = ()
    try:
        found = Journal(store).block(root)
        if found is not None:
            return found
    except ValueError:
        tiles = root.subtree(order)
    unknown = (UNKNOWN,) * len(formats)
    return None, BlockFiles(
        TileInventory.of(formats, ((t, unknown) for t in tiles)), np.empty(0, LEAF)
    )


def _by_npix(files: BlockFiles) -> dict[int, int]:
    return dict(zip(files.leaves["npix"].tolist(), files.leaves["digest"].tolist(), strict=True))

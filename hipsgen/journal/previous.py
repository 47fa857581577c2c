"""Reusable tiles of a block from the previous build."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

import numpy as np

from hipsgen.coadd import CoaddRef
from hipsgen.journal.fingerprints import leaf_digests
from hipsgen.journal.inventory import UNKNOWN, TileChecksums, TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.records import LEAF, BlockRecord, BlockTiles
from hipsgen.planner.blocks import Block
from hipsgen.planner.recipe import Recipe
from hipsgen.sky.tiles import Tile
from hipsgen.survey.store import Store


class PreviousBlock:
    """Tiles of a block that exist before it is rendered, and which of them can be reused.

    Attributes
    ----------
    digests : dict of int to int
        Digest that each leaf tile (npix) will have.
    reusable : set of int
        Leaf tiles (npix) that need not be rendered again.
    checksums : dict of Tile to TileChecksums
        Checksums of all tiles that may exist.
    input_uses : dict of str to InputUse
        How the previous build used the coadds, by `CoaddRef.key`; empty if no tile is reusable.
    previews_are_current : bool
        Whether the previews were made with the stretch of the recipe.
    """

    def __init__(
        self,
        store: Store,
        recipe: Recipe,
        block: Block,
        refs: Mapping[int, CoaddRef],
        record: BlockRecord | None,
        tiles: BlockTiles,
    ) -> None:
        self._store, self._recipe, self._root = store, recipe, block.root
        self.digests = leaf_digests(recipe, block, refs)
        self.checksums: dict[Tile, TileChecksums] = dict(tiles.inventory.items())
        known = _by_npix(tiles)
        self.reusable = {npix for npix, digest in self.digests.items() if known.get(npix) == digest}
        uses = record.input_uses if record and self.reusable else []
        self.input_uses = {use.coadd: use for use in uses}
        self.previews_are_current = record is not None and (
            record.previews == recipe.previews_digest()
        )
        planned = {Tile(recipe.order, npix) for npix in self.digests}
        self._possible = planned | set(self._above(planned))
        changed = {tile for tile in planned if tile.npix not in self.reusable}
        changed |= {t for t in self.checksums if t.order == recipe.order and t not in planned}
        self._changed = changed | set(self._above(changed))

    @classmethod
    def of(
        cls, store: Store, recipe: Recipe, block: Block, refs: Mapping[int, CoaddRef]
    ) -> "PreviousBlock":
        """Read what the journal has of a block."""
        record, tiles = load_block(store, block.root, recipe.order, recipe.formats)
        return cls(store, recipe, block, refs, record, tiles)

    def is_changed(self, tile: Tile) -> bool:
        """Whether a leaf tile at or below a tile has to be rendered again, or is obsolete."""
        return tile in self._changed

    def mark_stale(self, tile: Tile) -> None:
        """Have a leaf tile and its ancestors rendered again: its file is not the recorded one."""
        self._changed |= {tile, *self._above([tile])}

    def estimate(self) -> tuple[int, int]:
        """Return upper bounds of the tiles, of all orders, to be written and to be removed."""
        made = self._possible & self._changed if self.previews_are_current else self._possible
        return len(made), len(self.checksums.keys() - self._possible)

    def in_progress_record(self) -> tuple[BlockRecord, BlockTiles]:
        """Return the record that holds from now until the block is rendered."""
        unknown = (UNKNOWN,) * len(self._recipe.formats)
        possible = {**dict.fromkeys(self._possible & self._changed, unknown), **self.checksums}
        leaves = [(npix, self.digests[npix]) for npix in sorted(self.reusable)]
        record = BlockRecord(
            self._root.order,
            self._root.npix,
            previews=self._recipe.previews_digest() if self.previews_are_current else "",
            input_uses=list(self.input_uses.values()),
        )
        inventory = TileInventory.of(self._recipe.formats, possible.items())
        return record, BlockTiles(inventory, np.array(leaves, LEAF))

    def remove_all_but(self, tiles: Set[Tile]) -> int:
        """Delete the other tiles of the block that may exist; return how many did exist."""
        obsolete = self.checksums.keys() - tiles
        for tile in obsolete:
            for encoder in self._recipe.encoders():
                self._store.delete(tile.path(encoder.extension))
        return sum(UNKNOWN not in self.checksums[tile] for tile in obsolete)

    def _above(self, tiles: Iterable[Tile]) -> Iterator[Tile]:
        """Yield the tiles of the block above some tiles."""
        return (t.ancestor(k) for t in tiles for k in range(self._root.order, t.order))


def load_block(
    store: Store, root: Tile, order: int, formats: Sequence[str]
) -> tuple[BlockRecord | None, BlockTiles]:
    """Read the record of a block and its tiles from the journal.

    Parameters
    ----------
    store : Store
        The survey.
    root : Tile
        Root of the block.
    order : int
        Order of the leaf tiles.
    formats : sequence of str
        Formats of the tiles.

    Returns
    -------
    record : BlockRecord or None
        None if there is no record, or it is damaged.
    tiles : BlockTiles
        The tiles that may exist: all tiles of the block if its record is damaged.
    """
    tiles: Iterable[Tile] = ()
    try:
        found = Journal(store).read_block(root)
        if found is not None:
            return found
    except ValueError:
        tiles = root.subtree(order)
    unknown = (UNKNOWN,) * len(formats)
    return None, BlockTiles(
        TileInventory.of(formats, ((t, unknown) for t in tiles)), np.empty(0, LEAF)
    )


def _by_npix(tiles: BlockTiles) -> dict[int, int]:
    return dict(zip(tiles.leaves["npix"].tolist(), tiles.leaves["digest"].tolist(), strict=True))

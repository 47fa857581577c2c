"""Fingerprints: what changes when a block, or a leaf tile, has to be rendered again."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from hipsgen.coadd import CoaddRef
from hipsgen.journal.inventory import FileChecksum
from hipsgen.journal.journal import Journal
from hipsgen.planner.blocks import Block
from hipsgen.planner.recipe import Recipe
from hipsgen.sky.stretch import Lupton
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import MOC_NAME
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.store import LocalStore
from hipsgen.survey.survey import Survey


def fingerprint(recipe: Recipe, refs: Sequence[CoaddRef]) -> str:
    """Changes when a block has to be worked on again."""
    text = "\n".join([recipe.digest(), *(r.key for r in refs)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def leaf_digests(recipe: Recipe, block: Block, refs: Mapping[int, CoaddRef]) -> dict[int, int]:
    """Of each leaf tile, by npix: changes when its values have to be made again; never 0."""
    whose = recipe.values_digest().encode()
    keys = {k: hashlib.sha256(ref.key.encode()).digest() for k, ref in refs.items()}
    return {
        npix: 1 | int.from_bytes(
            hashlib.sha256(whose + b"".join(keys[k] for k in indices)).digest()[:8], "big"
        )
        for npix, indices in block.leaves
    }  # fmt: skip


def leaf_content(leaves: Iterable[tuple[int, FileChecksum]]) -> str:
    """Return a short hash of leaf tiles: npix, size and checksum of the FITS file of each."""
    text = "\n".join(
        f"{npix} {known.size} {known.checksum}"
        for npix, known in sorted(leaves, key=lambda leaf: leaf[0])
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def color_contents(band: Survey, root_order: int) -> dict[Tile | None, list[str]]:
    """Return texts that change with the tiles of a survey, by block of a color survey made of it.

    For a survey without a journal, and for tiles above the blocks (None), that is one text for all.
    """
    whole = hashlib.sha256(band.store.read(PROPERTIES) + band.store.read(MOC_NAME)).hexdigest()
    found: dict[Tile | None, list[str]] = {None: [whole]}
    records = Journal(band.store).records() if isinstance(band.store, LocalStore) else ()
    for record in records:
        if record.order >= root_order and record.content:
            text = f"{record.npix} {record.content}"
            found.setdefault(record.root.ancestor(root_order), []).append(text)
    if len(found) > 1:  # properties have a date, and change with every build
        found[None] = sorted(text for root, texts in found.items() if root for text in texts)
    return found


def color_fingerprint(
    contents: Sequence[Mapping[Tile | None, list[str]]],
    root: Tile | None,
    recipe: tuple[str, tuple[str, ...], Lupton],
    tiles: Sequence[Tile],
) -> str:
    """Return what changes when a block of a color survey has to be rendered again.

    The text that is hashed is a stored format: that of version 0.1.0.
    """
    whose = [found.get(root, []) if len(found) > 1 else found[None] for found in contents]
    text = repr((whose, recipe, tuple(tiles)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

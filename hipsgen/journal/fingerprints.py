"""Fingerprints of blocks and leaf tiles: they change when these have to be rendered again."""

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
    """Return the fingerprint of a block: a hash of the recipe and of its coadds' identities."""
    text = "\n".join([recipe.digest(), *(r.key for r in refs)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def leaf_digests(recipe: Recipe, block: Block, refs: Mapping[int, CoaddRef]) -> dict[int, int]:
    """Return the digest of each leaf tile by npix: a hash of what its values depend on; never 0.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the survey; its stretch has no influence on the values.
    block : Block
        The leaf tiles, with the indices of their coadds.
    refs : mapping of int to CoaddRef
        The coadds of the block by index.
    """
    prefix = recipe.values_digest().encode()
    keys = {k: hashlib.sha256(ref.key.encode()).digest() for k, ref in refs.items()}
    return {
        npix: 1 | int.from_bytes(
            hashlib.sha256(prefix + b"".join(keys[k] for k in indices)).digest()[:8], "big"
        )
        for npix, indices in block.leaves
    }  # fmt: skip


def leaf_content(leaves: Iterable[tuple[int, FileChecksum]]) -> str:
    """Return a short hash of leaf tiles: of npix, size and checksum of each FITS file."""
    text = "\n".join(
        f"{npix} {known.size} {known.checksum}"
        for npix, known in sorted(leaves, key=lambda leaf: leaf[0])
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def color_contents(band: Survey, root_order: int) -> dict[Tile | None, list[str]]:
    """Return texts that change with the tiles of a survey, for a color survey made from it.

    Parameters
    ----------
    band : Survey
        One of the three surveys.
    root_order : int
        Order of the roots of the color survey's blocks.

    Returns
    -------
    dict of (Tile or None) to list of str
        The texts of each block by root, and of the tiles above the blocks (None). A survey without
        a journal has only the latter, which then stands for every block.
    """
    whole = hashlib.sha256(band.store.read(PROPERTIES) + band.store.read(MOC_NAME)).hexdigest()
    found: dict[Tile | None, list[str]] = {None: [whole]}
    records = Journal(band.store).records() if isinstance(band.store, LocalStore) else ()
    for record in records:
        if record.order >= root_order and record.content:
            text = f"{record.npix} {record.content}"
            found.setdefault(record.root.ancestor(root_order), []).append(text)
    if len(found) > 1:  # the hash of properties changes with every build, since they have a date
        found[None] = sorted(text for root, texts in found.items() if root for text in texts)
    return found


def color_fingerprint(
    contents: Sequence[Mapping[Tile | None, list[str]]],
    root: Tile | None,
    recipe: tuple[str, tuple[str, ...], Lupton],
    tiles: Sequence[Tile],
) -> str:
    """Return the fingerprint of a block of a color survey, or of the tiles above the blocks.

    Parameters
    ----------
    contents : sequence of mappings
        Texts of the three surveys, from `color_contents`.
    root : Tile or None
        Root of the block; None for the tiles above the blocks.
    recipe : tuple
        Version, formats and stretch. Its `repr` is hashed, which is a stored format: that of
        version 0.1.0.
    tiles : sequence of Tile
        The tiles of the block, which are hashed likewise.
    """
    texts = [found.get(root, []) if len(found) > 1 else found[None] for found in contents]
    text = repr((texts, recipe, tuple(tiles)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""Fingerprints: what changes when a block, or a leaf tile, has to be rendered again."""

import hashlib
from collections.abc import Mapping, Sequence

from hipsgen.coadd import CoaddRef
from hipsgen.plan.blocks import Block
from hipsgen.plan.recipe import Recipe


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

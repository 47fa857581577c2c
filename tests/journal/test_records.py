"""Stored formats of the journal: keys and digests are those of version 0.1.0."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from hipsgen.errors import ConfigError
from hipsgen.journal.inventory import FileChecksum, TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.records import (
    LEAF,
    BlockRecord,
    BlockTiles,
    InputUse,
    record_from_json,
    record_to_json,
)
from hipsgen.planner.recipe import Recipe
from hipsgen.sky.stretch import Asinh, Linear
from hipsgen.sky.tiles import Tile
from hipsgen.survey.store import LocalStore

USE = InputUse("a.fits[0] 1", 1.5, "PHOTCALIB", "nJy", ("SAT", "BAD"), 59000.25, 59001.5)
RECORD = BlockRecord(
    order=3,
    npix=17,
    fingerprint="f",
    previews="p",
    content="c",
    n_tiles=4,
    size={"fits": 1000, "png": 10},
    low=-1.5,
    high=8.25,
    input_uses=[USE],
    problems=[("b.fits[0] 2", "truncated")],
    n_made=3,
    n_removed=1,
    seconds=0.5,
    peak_memory=1 << 20,
)
STORED = {
    "order": 3,
    "npix": 17,
    "fingerprint": "f",
    "pictures": "p",
    "content": "c",
    "tiles": 4,
    "size": {"fits": 1000, "png": 10},
    "low": -1.5,
    "high": 8.25,
    "uses": [
        {
            "coadd": "a.fits[0] 1",
            "scale": 1.5,
            "calibration": "PHOTCALIB",
            "unit_in": "nJy",
            "excluded": ["SAT", "BAD"],
            "t_min": 59000.25,
            "t_max": 59001.5,
        }
    ],
    "problems": [["b.fits[0] 2", "truncated"]],
    "made": 3,
    "removed": 1,
    "seconds": 0.5,
    "peak_memory": 1 << 20,
    "formats": ["fits", "png"],
}
RECIPE = Recipe(
    order=5,
    render_order=6,
    block_depth=2,
    frame="galactic",
    formats=("fits", "png"),
    interpolation="optimal",
    overlap="mean",
    stretch=Asinh(-1.0, 9.0, 0.5, 0.25),
    excluded=("SAT",),
    blank=None,
    unit="nJy",
    band="g",
    pixel_scale=5e-5,
    tile_width=256,
)


def test_the_stored_record_is_that_of_version_0_1_0() -> None:
    stored = json.loads(json.dumps(record_to_json(RECORD, ("fits", "png"))))
    assert stored == STORED
    assert list(stored) == list(STORED)
    assert record_from_json(stored) == RECORD


def test_every_field_of_a_record_is_stored() -> None:
    """A field that is added has to be stored as well; other values than the defaults show it."""
    untouched = BlockRecord(3, 17)
    same = [f.name for f in fields(RECORD) if getattr(RECORD, f.name) == getattr(untouched, f.name)]
    assert same == ["order", "npix"]
    assert record_from_json(record_to_json(RECORD, ())) == RECORD


def test_infinite_ranges_are_stored() -> None:
    stored = json.loads(json.dumps(record_to_json(BlockRecord(0, 1), ())))
    assert (record_from_json(stored).low, record_from_json(stored).high) == (math.inf, -math.inf)


def test_the_arrays_of_a_stored_block_are_those_of_version_0_1_0(tmp_path) -> None:
    store = LocalStore(tmp_path)
    checksums = (FileChecksum(100, 7), FileChecksum(10, 2**63 + 1))
    tiles = TileInventory.of(("fits", "png"), [(Tile(3, 17), checksums)])
    block = BlockTiles(tiles, np.array([(17, 2**63 + 5)], LEAF))
    Journal(store).write_block(RECORD, block)
    with np.load(tmp_path / ".hipsgen/blocks/Norder3/Npix17.npz") as arrays:
        assert sorted(arrays.files) == ["leaves", "record", "tiles"]
        assert json.loads(arrays["record"].tobytes()) == STORED
        assert arrays["tiles"].dtype.names == ("order", "npix", "size", "total")
        assert arrays["tiles"]["total"].tolist() == [[7, 2**63 + 1]]
        assert arrays["leaves"].dtype.names == ("npix", "digest")
    record, found = Journal(store).read_block(Tile(3, 17))
    assert record == RECORD
    assert dict(found.inventory.items()) == {Tile(3, 17): checksums}
    assert found.leaves.tolist() == [(17, 2**63 + 5)]


RECIPES = {
    "image": RECIPE,
    "linear": replace(RECIPE, stretch=Linear(0.0, 1.0), blank=-1.0),
    "mask": replace(RECIPE, plane="mask", mask_planes=("BAD", "SAT"), formats=("fits",)),
}
# of the whole recipe, of what determines the values, and of the previews
DIGESTS = {
    "image": ("a174b82f8faeabe7", "9563f96a509f2845", "0afa04071ded5576"),
    "linear": ("e740fdb776d5bb72", "899c68c0f6f84d90", "bc03f0705adba359"),
    "mask": ("88d71c09a786342f", "ce3fcc6e83467de7", "0afa04071ded5576"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_digest_of_a_recipe_is_that_of_version_0_1_0(name: str) -> None:
    """It is part of every fingerprint: with another one all tiles would be rendered again."""
    recipe = RECIPES[name]
    stored = json.loads(json.dumps(recipe.to_json()))
    assert Recipe.from_json(stored) == recipe
    assert ("names" in stored) == (name == "mask")
    digests = recipe.digest(), recipe.values_digest(), recipe.previews_digest()
    assert digests == DIGESTS[name]


def test_a_recipe_of_another_version_is_rejected() -> None:
    stored = RECIPE.to_json()
    with pytest.raises(ConfigError, match="another version"):
        Recipe.from_json({**stored, "new": 1})
    del stored["overlap"]
    with pytest.raises(ConfigError, match="another version"):
        Recipe.from_json(stored)

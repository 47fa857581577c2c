"""The journal of a build: two small files for each block, in the survey's folder `.hipsgen`.

The record of a block is written before its first tile, with all tiles that may exist from then on,
and again after its last tile, with those that do exist. The summary of the block holds what the
orders above it are made from.
"""

import io
import json
import re
import secrets
import tokenize
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from hipsgen.errors import ConfigError, SurveyError
from hipsgen.journal.inventory import FileChecksum, TileInventory
from hipsgen.journal.records import (
    BlockRecord,
    BlockSummary,
    BlockTiles,
    TopRecord,
    record_from_json,
    record_to_json,
)
from hipsgen.planner.recipe import Recipe
from hipsgen.sky.pyramid import Layer
from hipsgen.sky.tiles import Tile
from hipsgen.survey import paths
from hipsgen.survey.originals import KEY as ORIGINALS
from hipsgen.survey.store import SMALL, Store

# raised by numpy, zipfile and json for damaged files
_DAMAGE = (
    ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, BadZipFile, RuntimeError,
    SyntaxError, tokenize.TokenError, SurveyError, MemoryError,
)  # fmt: skip


class Journal:
    """State of a build, kept in the survey; all access goes through its store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def exists(self) -> bool:
        """Whether a build was begun in this folder."""
        return self._store.stat(paths.BUILD) is not None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Mark the survey as being built, and remove the partial files of interrupted runs.

        A run that fails or is killed leaves its mark behind. The next run that succeeds then looks
        for partial files, which takes a walk through the whole survey.
        """
        mark = f"{paths.RUNS}/{secrets.token_hex(8)}"
        self._store.write(mark, b"")
        yield
        others = [path for path in self._store.list(paths.RUNS) if path != mark]
        if others:
            self._store.remove_partial_files()
        for path in (*others, mark):
            self._store.delete(path)

    def kind(self) -> str:
        """Return the kind of the survey: "bands" (of coadds), "color", or "" if there is none."""
        try:
            begun = self._begun()
        except ConfigError:
            return "bands"
        return "" if begun is None else "color" if "color" in begun else "bands"

    def _begun(self) -> dict[str, Any] | None:
        """Return the contents of build.json, None if missing. Raises ConfigError if damaged."""
        try:
            return dict(json.loads(self._store.read(paths.BUILD, SMALL)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, SurveyError) as error:
            raise ConfigError(f"{paths.BUILD} is damaged ({error}); use {{fresh}}") from error

    def begin(self, recipe: Recipe, originals: Sequence[str] = ()) -> None:
        """Store the recipe of the survey, and the roots of the files that it is made from."""
        values = {**recipe.to_json(), "digest": recipe.digest(), ORIGINALS: originals}
        self._store.write(paths.BUILD, json.dumps(values, indent=1).encode())

    def originals(self) -> list[str]:
        """Return the stored roots, [] if there are none. Raises ConfigError if damaged."""
        roots = (self._begun() or {}).get(ORIGINALS)
        return roots if isinstance(roots, list) else []

    def keep_creation_date(self, date: str) -> None:
        """Store the creation date of the survey for as long as it has no properties file."""
        self._store.write(paths.CREATED, date.encode())

    def creation_date(self) -> str:
        """Return the stored creation date, "" if there is none."""
        try:
            return self._store.read(paths.CREATED).decode("ascii", "replace")
        except FileNotFoundError:
            return ""

    def begin_color(self, recipe: dict[str, Any]) -> None:
        """Store the surveys from which a color survey is made, and its stretch."""
        self._store.write(paths.BUILD, json.dumps(recipe, indent=1).encode())

    def color_recipe(self) -> dict[str, Any]:
        """Return what `begin_color` stored, {} if there is none.

        Raises ConfigError if it is damaged.
        """
        begun = self._begun() or {}
        return begun if "stretch" in begun else {}

    def recipe(self) -> Recipe | None:
        """Return the recipe of the survey, None if no build was begun.

        Raises ConfigError if it is damaged or of another version.
        """
        values = self._begun()
        if values is None:
            return None
        digest = values.pop("digest", "")
        values.pop(ORIGINALS, None)
        try:
            recipe = Recipe.from_json(values)
            if recipe.digest() != digest:
                raise ValueError("the digest differs")
        except ConfigError:  # of another version
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{paths.BUILD} is damaged ({error}); use {{fresh}}") from error
        return recipe

    def write_block(
        self, record: BlockRecord, tiles: BlockTiles, summary: BlockSummary | None = None
    ) -> None:
        """Store the record of a block; without a summary the stored one is kept."""
        if summary is not None:
            self._write_summary(record.root, summary)
        values = _json_bytes(record_to_json(record, tiles.inventory.formats))
        buffer = io.BytesIO()
        np.savez(buffer, record=values, tiles=tiles.inventory.rows, leaves=tiles.leaves)
        self._store.write(paths.record(record.root), buffer.getvalue())

    def _write_summary(self, root: Tile, summary: BlockSummary) -> None:
        arrays: dict[str, Any] = {"cells": summary.cells, "content": np.array(summary.content)}
        if summary.root_layer is not None:
            arrays |= _arrays("", summary.root_layer)
        for tile, layer in summary.allsky_layers.items():
            arrays |= _arrays(f"_{tile.order}_{tile.npix}", layer)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        self._store.write(paths.record(root, paths.ROOTS), buffer.getvalue())

    def records(self) -> Iterator[BlockRecord]:
        """Yield the records of all blocks, finished or in progress; damaged ones are skipped."""
        for path in self._store.list(paths.BLOCKS):
            with suppress(*_DAMAGE), np.load(io.BytesIO(self._store.read(path))) as arrays:
                record = _record(arrays)
                if paths.record(record.root) == path:  # not the record of another block
                    yield record

    def roots(self) -> set[Tile]:
        """Return the roots of all blocks with a record or a summary, damaged or not."""
        files = [*self._store.list(paths.BLOCKS), *self._store.list(paths.ROOTS)]
        found = [re.search(r"/Norder(\d+)/Npix(\d+)\.npz$", path) for path in files]
        return {Tile(int(match[1]), int(match[2])) for match in found if match}

    def read_block(self, root: Tile) -> tuple[BlockRecord, BlockTiles] | None:
        """Return the record of a block, None if it was never begun.

        Raises ValueError if the record is damaged, or missing although the block has a summary.
        """
        try:
            with np.load(io.BytesIO(self._store.read(paths.record(root)))) as arrays:
                formats = json.loads(arrays["record"].tobytes())["formats"]
                record = _record(arrays)
                tiles = BlockTiles(TileInventory(formats, arrays["tiles"]), arrays["leaves"])
            if record.root != root:
                raise ValueError("it is the record of another block")
            return record, tiles
        except FileNotFoundError as error:
            if self._store.stat(paths.record(root, paths.ROOTS)) is None:
                return None
            raise ValueError(f"{paths.record(root)} is missing from the journal") from error
        except _DAMAGE as error:
            raise ValueError(f"{paths.record(root)} is damaged ({error})") from error

    def read_summary(self, root: Tile) -> BlockSummary:
        """Return the summary of a finished block. Raises ValueError if it is missing or damaged."""
        try:
            with np.load(io.BytesIO(self._store.read(paths.record(root, paths.ROOTS)))) as arrays:
                layer = _layer("", arrays) if "value" in arrays else None
                small: dict[Tile, Layer] = {}
                for name in arrays.files:
                    if name.startswith("value_"):
                        key = name.removeprefix("value_")
                        order, npix = map(int, key.split("_"))
                        small[Tile(order, npix)] = _layer(f"_{key}", arrays)
                return BlockSummary(layer, arrays["cells"], small, str(arrays["content"]))
        except _DAMAGE as error:
            raise ValueError(f"{paths.record(root, paths.ROOTS)} is damaged ({error})") from error

    def invalidate(self, root: Tile) -> None:
        """Have a block rendered again, whatever tiles of it exist."""
        if self._store.stat(paths.record(root, paths.ROOTS)) is None:
            self._store.write(paths.record(root, paths.ROOTS), b"")
        self._store.delete(paths.record(root))

    def remove(self, root: Tile) -> None:
        """Remove the record and the summary of a block that is no longer part of the survey."""
        self._store.delete(paths.record(root, paths.ROOTS))
        self._store.delete(paths.record(root))

    def begin_top(self) -> TileInventory:
        """Remove the record of the top orders until `record_top`, and return its tiles."""
        top = self.top()
        self._store.delete(paths.TOP)
        return TileInventory(()) if top is None else top.inventory

    def record_top(self, top: TopRecord) -> None:
        """Store the record of the top orders, just before the properties are written."""
        files = {path: (known.size, known.checksum) for path, known in top.files.items()}
        values = _json_bytes(
            {"formats": top.inventory.formats, "files": files, "fingerprint": top.fingerprint}
        )
        buffer = io.BytesIO()
        np.savez(buffer, record=values, tiles=top.inventory.rows)
        self._store.write(paths.TOP, buffer.getvalue())

    def top(self) -> TopRecord | None:
        """Return the record of the top orders, None if it is missing or damaged."""
        try:
            with np.load(io.BytesIO(self._store.read(paths.TOP))) as arrays:
                values = json.loads(arrays["record"].tobytes())
                inventory = TileInventory(values["formats"], arrays["tiles"])
            files = {k: FileChecksum(*v) for k, v in values["files"].items()}
            return TopRecord(inventory, files, values["fingerprint"])
        except _DAMAGE:
            return None


def _arrays(name: str, layer: Layer) -> dict[str, Any]:
    """Return the arrays to store of a layer; the coverage of a mask follows from its values."""
    if layer.value.dtype == np.int32:
        return {f"value{name}": layer.value}
    return {f"value{name}": layer.value, f"coverage{name}": layer.coverage}


def _layer(name: str, arrays: Any) -> Layer:
    value = arrays[f"value{name}"]
    return Layer(value, None if value.dtype == np.int32 else arrays[f"coverage{name}"])


def _json_bytes(values: dict[str, Any]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(values).encode(), np.uint8)


def _record(arrays: Any) -> BlockRecord:
    return record_from_json(json.loads(arrays["record"].tobytes()))

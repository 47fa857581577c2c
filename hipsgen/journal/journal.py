"""What is done: two small files per block, in the survey's folder `.hipsgen`.

A block's record is written before its first tile, as what may be there, and after its last, as
what is. Beside it lies the quarter of its parent that the root fills, for the top orders.
"""

import io
import json
import re
import secrets
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from hipsgen.errors import ConfigError
from hipsgen.journal.inventory import FileChecksum, TileInventory
from hipsgen.journal.records import BlockFiles, BlockRecord, BlockState, InputUse, TopRecord
from hipsgen.planner.recipe import Recipe
from hipsgen.sky.pyramid import Layer
from hipsgen.sky.tiles import Tile
from hipsgen.survey import paths
from hipsgen.survey.store import Store

_DAMAGE = (
    ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, BadZipFile, RuntimeError,
    SyntaxError, tokenize.TokenError,
)  # fmt: skip


class Journal:
    """The memory of a build. Reads and writes through a store only."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def exists(self) -> bool:
        """Whether a build was begun in this place."""
        return self._store.stat(paths.BUILD) is not None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Mark this run while it lasts, and clean up after others that did not end well.

        A run leaves its mark behind when it is killed or fails; the next that comes to an end then
        looks for unfinished files, which costs a walk through the whole survey.
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
        """What was begun in this place: "bands", "color", or "" for nothing."""
        try:
            begun = self._begun()
        except ConfigError:
            return "bands"
        return "" if begun is None else "color" if "color" in begun else "bands"

    def _begun(self) -> dict[str, Any] | None:
        """What was written down when a build began. Raises ConfigError when it is damaged."""
        try:
            return dict(json.loads(self._store.read(paths.BUILD)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{paths.BUILD} is damaged ({error}); use {{fresh}}") from error

    def begin(self, recipe: Recipe) -> None:
        """Write down what is being built."""
        text = json.dumps({**recipe.to_json(), "digest": recipe.digest()}, indent=1)
        self._store.write(paths.BUILD, text.encode())

    def note_created(self, when: str) -> None:
        """Keep the date of the survey while it has no properties."""
        self._store.write(paths.CREATED, when.encode())

    def created(self) -> str:
        """The date that was kept, empty for none."""
        try:
            return self._store.read(paths.CREATED).decode("ascii", "replace")
        except FileNotFoundError:
            return ""

    def begin_color(self, words: dict[str, Any]) -> None:
        """Write down of what a color survey is being made, and how."""
        self._store.write(paths.BUILD, json.dumps(words, indent=1).encode())

    def color(self) -> dict[str, Any]:
        """What an earlier `begin_color` wrote; empty for nothing. Raises ConfigError."""
        begun = self._begun() or {}
        return begun if "stretch" in begun else {}

    def recipe(self) -> Recipe | None:
        """What an earlier build in this place was begun with. Raises ConfigError."""
        values = self._begun()
        if values is None:
            return None
        digest = values.pop("digest", "")
        try:
            recipe = Recipe.from_json(values)
            if recipe.digest() != digest:
                raise ValueError("it is not what was written")
        except ConfigError:  # of another version
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{paths.BUILD} is damaged ({error}); use {{fresh}}") from error
        return recipe

    def write(
        self, record: BlockRecord, files: BlockFiles, state: BlockState | None = None
    ) -> None:
        """Note what is, or what may be, of a block; state None: it is the one that is there."""
        if state is not None:
            self._write_state(record.root, state)
        values = {
            **vars(record),  # asdict would copy every number
            "uses": [vars(use) for use in record.uses],
            "formats": files.inventory.formats,
        }
        buffer = io.BytesIO()
        np.savez(buffer, record=_text(values), tiles=files.inventory.rows, leaves=files.leaves)
        self._store.write(paths.record(record.root), buffer.getvalue())

    def _write_state(self, root: Tile, state: BlockState) -> None:
        arrays: dict[str, Any] = {"cells": state.cells, "content": np.array(state.content)}
        if state.layer is not None:
            arrays |= _arrays("", state.layer)
        for tile, layer in state.small.items():
            arrays |= _arrays(f"_{tile.order}_{tile.npix}", layer)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        self._store.write(paths.record(root, paths.ROOTS), buffer.getvalue())

    def records(self) -> Iterator[BlockRecord]:
        """All blocks that were begun; one whose record cannot be read is left out."""
        for path in self._store.list(paths.BLOCKS):
            with suppress(*_DAMAGE), np.load(io.BytesIO(self._store.read(path))) as arrays:
                record = _record(arrays)
                if paths.record(record.root) == path:  # not another block's
                    yield record

    def roots(self) -> set[Tile]:
        """Return the roots of all blocks with a record or a state, damaged or not."""
        files = [*self._store.list(paths.BLOCKS), *self._store.list(paths.ROOTS)]
        found = [re.search(r"/Norder(\d+)/Npix(\d+)\.npz$", path) for path in files]
        return {Tile(int(match[1]), int(match[2])) for match in found if match}

    def block(self, root: Tile) -> tuple[BlockRecord, BlockFiles] | None:
        """Return the record of a block, None for none. Raises ValueError for a damaged one."""
        try:
            with np.load(io.BytesIO(self._store.read(paths.record(root)))) as arrays:
                formats = json.loads(arrays["record"].tobytes())["formats"]
                record = _record(arrays)
                files = BlockFiles(TileInventory(formats, arrays["tiles"]), arrays["leaves"])
            if record.root != root:
                raise ValueError("it is that of another block")
            return record, files
        except FileNotFoundError as error:
            if self._store.stat(paths.record(root, paths.ROOTS)) is None:
                return None
            raise ValueError(f"{paths.record(root)} is missing from the journal") from error
        except _DAMAGE as error:
            raise ValueError(f"{paths.record(root)} is damaged ({error})") from error

    def state(self, root: Tile) -> BlockState:
        """What a finished block left for the top orders. Raises ValueError when it is damaged."""
        try:
            with np.load(io.BytesIO(self._store.read(paths.record(root, paths.ROOTS)))) as arrays:
                layer = _layer("", arrays) if "value" in arrays else None
                small = {}
                for name in arrays.files:
                    if name.startswith("value_"):
                        key = name.removeprefix("value_")
                        order, npix = map(int, key.split("_"))
                        small[Tile(order, npix)] = _layer(f"_{key}", arrays)
                return BlockState(layer, arrays["cells"], small, str(arrays["content"]))
        except _DAMAGE as error:
            raise ValueError(f"{paths.record(root, paths.ROOTS)} is damaged ({error})") from error

    def invalidate(self, root: Tile) -> None:
        """A block is to be made anew, whatever is there of it."""
        if self._store.stat(paths.record(root, paths.ROOTS)) is None:
            self._store.write(paths.record(root, paths.ROOTS), b"")
        self._store.delete(paths.record(root))

    def remove(self, root: Tile) -> None:
        """A block is of no use any more."""
        self._store.delete(paths.record(root, paths.ROOTS))
        self._store.delete(paths.record(root))

    def begin_top(self) -> TileInventory:
        """Remove the record of the top orders until `record_top`; return the tiles it had."""
        top = self.top()
        self._store.delete(paths.TOP)
        return TileInventory(()) if top is None else top.inventory

    def record_top(self, top: TopRecord) -> None:
        """Note what was written last of all but the properties."""
        files = {path: (known.size, known.checksum) for path, known in top.files.items()}
        words = {"formats": top.inventory.formats, "files": files, "fingerprint": top.fingerprint}
        text = _text(words)
        buffer = io.BytesIO()
        np.savez(buffer, record=text, tiles=top.inventory.rows)
        self._store.write(paths.TOP, buffer.getvalue())

    def top(self) -> TopRecord | None:
        """What `record_top` recorded; None when there is nothing, or nothing that can be read."""
        try:
            with np.load(io.BytesIO(self._store.read(paths.TOP))) as arrays:
                values = json.loads(arrays["record"].tobytes())
                inventory = TileInventory(values["formats"], arrays["tiles"])
            files = {k: FileChecksum(*v) for k, v in values["files"].items()}
            return TopRecord(inventory, files, values["fingerprint"])
        except _DAMAGE:
            return None


def _arrays(name: str, layer: Layer) -> dict[str, Any]:
    """What is kept of a layer; of flags the coverage follows from them."""
    if layer.value.dtype == np.int32:
        return {f"value{name}": layer.value}
    return {f"value{name}": layer.value, f"coverage{name}": layer.coverage}


def _layer(name: str, arrays: Any) -> Layer:
    value = arrays[f"value{name}"]
    return Layer(value, None if value.dtype == np.int32 else arrays[f"coverage{name}"])


def _text(values: dict[str, Any]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(values).encode(), np.uint8)


def _record(arrays: Any) -> BlockRecord:
    values = json.loads(arrays["record"].tobytes())
    del values["formats"]
    uses = [InputUse(**{**u, "excluded": tuple(u["excluded"])}) for u in values["uses"]]
    problems = [(what, reason) for what, reason in values["problems"]]
    return BlockRecord(**{**values, "uses": uses, "problems": problems})

"""What is done: one small file per finished block, in the survey's folder `.hipsgen`.

A block's file is written last, after its tiles; it holds the quarter of its parent that the root
fills, from which the top orders are made, so no tile is ever read back.
"""

import io
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hipsgen.errors import ConfigError
from hipsgen.run.config import Recipe
from hipsgen.sky.pyramid import Layer
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import Ranges
from hipsgen.survey.store import Store

FOLDER = ".hipsgen"
_BUILD = f"{FOLDER}/build.json"
_BLOCKS = f"{FOLDER}/blocks"
_RUNS = f"{FOLDER}/runs"


@dataclass(frozen=True)
class InputUse:
    """One coadd's part in a block: what it was multiplied with and what its headers say.

    coadd: its `CoaddRef.key`, which another run of the same build has too.
    """

    coadd: str
    scale: float
    calibration: str
    unit_in: str
    excluded: tuple[str, ...]
    t_min: float
    t_max: float


@dataclass(frozen=True)
class BlockRecord:
    """What a finished block left behind.

    fingerprint: of the recipe and the identities of its coadds. tiles: numbers written, by order.
    size: bytes written, by format. low, high: range of the leaf values.
    """

    order: int
    npix: int
    fingerprint: str
    tiles: dict[int, list[int]]
    size: dict[str, int]
    low: float
    high: float
    uses: list[InputUse]
    problems: list[tuple[str, str]]
    seconds: float
    peak_memory: int

    @property
    def root(self) -> Tile:
        """The tile at the top of the block."""
        return Tile(self.order, self.npix)

    @property
    def tile_count(self) -> int:
        """Tiles of all orders, each counted once whatever its formats."""
        return sum(map(len, self.tiles.values()))


@dataclass(frozen=True)
class BlockState:
    """What the rest of the survey needs of a block.

    layer: of its root at half the width, as its parent takes it; None when it is empty. cells: of
    the MOC. small: for the Allskys.
    """

    layer: Layer | None
    cells: Ranges
    small: dict[Tile, Layer] = field(default_factory=dict)


class Journal:
    """The memory of a build. Reads and writes through a store only."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def exists(self) -> bool:
        """Whether a build was begun in this place."""
        return self._store.stat(_BUILD) is not None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Mark this run while it lasts, and clean up after others that did not end well.

        A run leaves its mark behind when it is killed or fails; the next that comes to an end then
        looks for unfinished files, which costs a walk through the whole survey.
        """
        mark = f"{_RUNS}/{secrets.token_hex(8)}"
        self._store.write(mark, b"")
        yield
        others = [path for path in self._store.list(_RUNS) if path != mark]
        if others:
            self._store.sweep()
        for path in (*others, mark):
            self._store.delete(path)

    def kind(self) -> str:
        """What was begun in this place: "bands", "colour", or "" for nothing."""
        try:
            begun = json.loads(self._store.read(_BUILD))
        except FileNotFoundError:
            return ""
        except ValueError:
            return "bands"
        return "colour" if "color" in begun else "bands"

    def begin(self, recipe: Recipe) -> None:
        """Write down what is being built."""
        text = json.dumps(recipe.to_json(), indent=1)
        self._store.write(_BUILD, text.encode())

    def begin_color(self, stretch: str) -> None:
        """Mark a place as that of a colour survey."""
        self._store.write(_BUILD, json.dumps({"color": stretch}).encode())

    def recipe(self) -> Recipe | None:
        """What an earlier build in this place was begun with. Raises ConfigError."""
        try:
            return Recipe.from_json(json.loads(self._store.read(_BUILD)))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{_BUILD} is damaged ({error}); use --fresh") from error

    def write(self, record: BlockRecord, state: BlockState) -> None:
        """Note that a block is finished."""
        arrays: dict[str, Any] = {"cells": state.cells}
        if state.layer is not None:
            arrays |= {"value": state.layer.value, "coverage": state.layer.coverage}
        for tile, layer in state.small.items():
            name = f"{tile.order}_{tile.npix}"
            arrays |= {f"value_{name}": layer.value, f"coverage_{name}": layer.coverage}
        uses = [vars(use) for use in record.uses]
        text = json.dumps({**vars(record), "uses": uses}).encode()  # asdict would copy every number
        buffer = io.BytesIO()
        np.savez(buffer, record=np.frombuffer(text, np.uint8), **arrays)
        self._store.write(_path(record.root), buffer.getvalue())

    def records(self) -> Iterator[BlockRecord]:
        """All finished blocks; one that cannot be read counts as not finished."""
        for path in self._store.list(_BLOCKS):
            try:
                with np.load(io.BytesIO(self._store.read(path))) as arrays:
                    yield _record(json.loads(arrays["record"].tobytes()))
            except (ValueError, KeyError, OSError, EOFError, BadZipFile):
                continue

    def state(self, root: Tile) -> BlockState:
        """What a finished block left for the top orders."""
        with np.load(io.BytesIO(self._store.read(_path(root)))) as arrays:
            layer = Layer(arrays["value"], arrays["coverage"]) if "value" in arrays else None
            small = {}
            for name in arrays.files:
                if name.startswith("value_"):
                    key = name.removeprefix("value_")
                    order, npix = map(int, key.split("_"))
                    small[Tile(order, npix)] = Layer(arrays[name], arrays[f"coverage_{key}"])
            return BlockState(layer, arrays["cells"], small)

    def forget(self, root: Tile) -> None:
        """A block is to be done anew."""
        self._store.delete(_path(root))


def _path(root: Tile) -> str:
    return f"{_BLOCKS}/Norder{root.order}/Npix{root.npix}.npz"


def _record(values: dict[str, Any]) -> BlockRecord:
    uses = [InputUse(**{**u, "excluded": tuple(u["excluded"])}) for u in values["uses"]]
    tiles = {int(order): numbers for order, numbers in values["tiles"].items()}
    problems = [(what, reason) for what, reason in values["problems"]]
    return BlockRecord(**{**values, "uses": uses, "tiles": tiles, "problems": problems})

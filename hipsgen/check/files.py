"""Which tiles are there: every order, the same in every format, those of the MOC."""

import re
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from hipsgen.check.finding import Finding
from hipsgen.check.words import is_number
from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import MOC_NAME
from hipsgen.survey.http_store import HttpStore
from hipsgen.survey.survey import Survey

# (order, extension) -> npix
TileFiles = dict[tuple[int, str], set[int]]
_TILE_PATH = re.compile(r"^Norder(\d+)/Dir(\d+)/Npix(\d+)\.(\w+)$")


def tile_files(survey: Survey, extensions: Mapping[str, str]) -> tuple[TileFiles, list[str]]:
    """The tiles there are, and files that are none; on a web server, those that should be there."""
    found: TileFiles = {}
    strange: list[str] = []
    if isinstance(survey.store, HttpStore):
        for order in range(survey.order_min, survey.order + 1):
            here = {tile.npix for tile in survey.tiles_of(order)}
            found |= {(order, extension): here for extension in extensions.values()}
        return found, strange
    for path in survey.store.list():
        if not path.startswith("Norder") or "/Npix" not in path:
            continue
        match = _TILE_PATH.match(path)
        if match is None:
            strange.append(path)
            continue
        order, npix, extension = int(match[1]), int(match[3]), match[4]
        if npix >= 12 << 2 * order or Tile(order, npix).path(extension) != path:
            strange.append(path)
            continue
        found.setdefault((order, extension), set()).add(npix)
    return found, strange


def file_faults(
    survey: Survey, tiles: TileFiles, extensions: Mapping[str, str]
) -> Iterator[Finding]:
    """What is missing or too much. extensions: of the survey's formats, by name."""
    for extension in sorted({e for _, e in tiles} - set(extensions.values())):
        yield Finding(
            "error", "hips_tile_format", f"does not name the .{extension} tiles there are"
        )
    yield from _orders(survey, tiles, extensions)
    yield from _coverage(survey, tiles, extensions)


def _orders(survey: Survey, tiles: TileFiles, extensions: Mapping[str, str]) -> Iterator[Finding]:
    """Every order from 0 to hips_order, and every parent of a tile, in every format."""
    for name, extension in extensions.items():
        for order in range(survey.order + 1):
            here = tiles.get((order, extension), set())
            if not here and order >= survey.order_min:
                yield Finding("error", f"Norder{order}", f"has no {name} tile")
            if not here:
                continue
            below = tiles.get((order + 1, extension), set())
            yield from _some(
                f"Norder{order}", f"{name} tiles are missing above", {n >> 2 for n in below} - here
            )
            if below:
                yield from _some(
                    f"Norder{order}",
                    f"{name} tiles have none below",
                    here - {n >> 2 for n in below},
                )
        deeper = sorted(k for k, e in tiles if e == extension and k > survey.order)
        if deeper:
            yield Finding(
                "error",
                "hips_order",
                f"is {survey.order}, but there are {name} tiles of order {deeper[-1]}",
            )
    yield from _same_tiles(tiles, extensions)


def _same_tiles(tiles: TileFiles, extensions: Mapping[str, str]) -> Iterator[Finding]:
    """All formats have the same tiles."""
    first = next(iter(extensions.values()), "")
    for (order, extension), here in sorted(tiles.items()):
        other = tiles.get((order, first), set())
        if extension != first and other and here != other:
            yield from _some(
                f"Norder{order}", f"tiles are only .{extension}, not .{first}", here - other
            )
            yield from _some(
                f"Norder{order}", f"tiles are only .{first}, not .{extension}", other - here
            )


def _some(where: str, what: str, npix: set[int]) -> Iterator[Finding]:
    if npix:
        names = ", ".join(map(str, sorted(npix)[:5])) + (" ..." if len(npix) > 5 else "")
        yield Finding("error", where, f"{len(npix)} {what}: Npix {names}")


def _coverage(survey: Survey, tiles: TileFiles, extensions: Mapping[str, str]) -> Iterator[Finding]:
    """Moc.fits against the leaf tiles."""
    if survey.store.stat(MOC_NAME) is None:
        yield Finding("warning", MOC_NAME, "is missing; readers ask for every tile without it")
        return
    try:
        expected = {tile.npix for tile in survey.tiles_of(survey.order)}
    except SurveyError as error:
        yield Finding("error", MOC_NAME, str(error))
        return
    for extension in extensions.values():
        here = tiles.get((survey.order, extension), set())
        if here:
            yield from _some(MOC_NAME, f"cells have no .{extension} tile", expected - here)
            yield from _some(MOC_NAME, f".{extension} tiles lie outside", here - expected)
    fraction = survey.properties.get("moc_sky_fraction")
    if fraction and is_number(fraction):
        truth = float(survey.moc().sky_fraction)
        if abs(float(fraction) - truth) > 0.01 * truth:
            yield Finding(
                "error", "moc_sky_fraction", f"is {fraction}, but {MOC_NAME} covers {truth:.6g}"
            )


class Index:
    """Which tiles are there, in which formats (extension by name)."""

    def __init__(self, tiles: TileFiles, extensions: Mapping[str, str]) -> None:
        self.extensions = dict(extensions)
        self._npix = {
            (order, name): np.sort(np.fromiter(tiles[order, extension], np.int64))
            for name, extension in extensions.items()
            for order in range(max((k for k, _ in tiles), default=-1) + 1)
            if tiles.get((order, extension))
        }

    def formats_of(self, tile: Tile) -> list[str]:
        """Names of the formats in which a tile is there."""
        return [name for name in self.extensions if len(self._between(tile, tile.order, name))]

    def leads_on(self, tile: Tile) -> bool:
        """Whether a tile, or one below it, is there."""
        return any(len(self._between(tile, k, name)) for k, name in self._npix if k >= tile.order)

    def under(self, tile: Tile) -> Iterator[str]:
        """Paths of a tile and those below it that are there."""
        for order, name in self._npix:
            if order >= tile.order:
                for npix in self._between(tile, order, name).tolist():
                    yield Tile(order, npix).path(self.extensions[name])

    def roots(self, order: int) -> list[Tile]:
        """Tiles of an order that are there or lead on, in NESTED order."""
        found = [npix >> 2 * (k - order) for (k, _), npix in self._npix.items() if k >= order]
        numbers = np.unique(np.concatenate([np.empty(0, np.int64), *found]))
        return [Tile(order, npix) for npix in numbers.tolist()]

    def count(self) -> int:
        """How many tiles there are, whatever their formats."""
        orders = {order for order, _ in self._npix}
        of = {k: [npix for (order, _), npix in self._npix.items() if order == k] for k in orders}
        return sum(np.unique(np.concatenate(npix)).size for npix in of.values())

    def _between(self, tile: Tile, order: int, name: str) -> npt.NDArray[np.int64]:
        npix = self._npix.get((order, name), np.empty(0, np.int64))
        depth = 2 * (order - tile.order)
        ends = [tile.npix << depth, (tile.npix + 1) << depth]
        first, last = np.searchsorted(npix, ends)
        return npix[first:last]

"""Which tiles are there: every order, the same in every format, those of the MOC."""

import re
from array import array
from collections.abc import Iterator, Mapping

import numpy as np

from hipsgen.checker.finding import Finding
from hipsgen.checker.properties import is_number
from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import MAX_ORDER, IntArray, Tile
from hipsgen.survey.coverage import MOC_NAME
from hipsgen.survey.http_store import HttpStore
from hipsgen.survey.survey import Survey

# (order, extension) -> npix, sorted
TileFiles = dict[tuple[int, str], IntArray]
_NONE = np.empty(0, np.int64)
_TILE_PATH = re.compile(r"^Norder(\d+)/Dir(\d+)/Npix(\d+)\.(\w+)$")


def tile_files(survey: Survey, extensions: Mapping[str, str]) -> tuple[TileFiles, list[str]]:
    """The tiles there are, and files that are none; on a web server, those that should be there."""
    if isinstance(survey.store, HttpStore):
        orders = range(survey.order_min, survey.order + 1)
        npix = {order: survey.npix_of(order) for order in orders}
        return {(k, extension): npix[k] for k in orders for extension in extensions.values()}, []
    found: dict[tuple[int, str], array[int]] = {}
    strange: list[str] = []
    for path in survey.store.list():
        if not path.startswith("Norder") or "/Npix" not in path:
            continue
        match = _TILE_PATH.match(path)
        if match is None:
            strange.append(path)
            continue
        order, number, extension = int(match[1]), int(match[3]), match[4]
        if (
            order > MAX_ORDER
            or number >= 12 << 2 * order
            or Tile(order, number).path(extension) != path
        ):
            strange.append(path)
        else:
            found.setdefault((order, extension), array("q")).append(number)
    return {key: np.sort(np.frombuffer(npix, np.int64)) for key, npix in found.items()}, strange


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
    """Every order from the lowest to hips_order, and every parent of a tile, in every format."""
    for name, extension in extensions.items():
        for order in range(survey.order + 1):
            here = tiles.get((order, extension), _NONE)
            if not here.size and order >= survey.order_min:
                yield Finding("error", f"Norder{order}", f"has no {name} tile")
            if not here.size:
                continue
            above = np.unique(tiles.get((order + 1, extension), _NONE) >> 2)
            where = f"Norder{order}"
            yield from _some(where, f"{name} tiles are missing above", _minus(above, here))
            if above.size:
                yield from _some(where, f"{name} tiles have none below", _minus(here, above))
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
    for (order, extension), here in sorted(tiles.items(), key=lambda item: item[0]):
        other = tiles.get((order, first), _NONE)
        if extension != first and other.size:
            where = f"Norder{order}"
            only = f"tiles are only .{extension}, not .{first}"
            yield from _some(where, only, _minus(here, other))
            only = f"tiles are only .{first}, not .{extension}"
            yield from _some(where, only, _minus(other, here))


def _minus(npix: IntArray, others: IntArray) -> IntArray:
    return np.setdiff1d(npix, others, assume_unique=True)


def _some(where: str, what: str, npix: IntArray) -> Iterator[Finding]:
    if npix.size:
        names = ", ".join(map(str, npix[:5].tolist())) + (" ..." if npix.size > 5 else "")
        yield Finding("error", where, f"{npix.size} {what}: Npix {names}")


def _coverage(survey: Survey, tiles: TileFiles, extensions: Mapping[str, str]) -> Iterator[Finding]:
    """Moc.fits against the leaf tiles."""
    if survey.store.stat(MOC_NAME) is None:
        yield Finding("warning", MOC_NAME, "is missing; readers ask for every tile without it")
        return
    try:
        expected = survey.npix_of(survey.order)
    except SurveyError as error:
        yield Finding("error", MOC_NAME, str(error))
        return
    for extension in extensions.values():
        here = tiles.get((survey.order, extension), _NONE)
        if here.size:
            outside = f".{extension} tiles lie outside"
            yield from _some(MOC_NAME, f"cells have no .{extension} tile", _minus(expected, here))
            yield from _some(MOC_NAME, outside, _minus(here, expected))
    fraction = survey.properties.get("moc_sky_fraction")
    if fraction and is_number(fraction):
        truth = float(survey.moc.sky_fraction)
        if abs(float(fraction) - truth) > 0.01 * truth:
            yield Finding(
                "error", "moc_sky_fraction", f"is {fraction}, but {MOC_NAME} covers {truth:.6g}"
            )


class Index:
    """Which tiles are there, in which formats (extension by name)."""

    def __init__(self, tiles: TileFiles, extensions: Mapping[str, str]) -> None:
        self.extensions = dict(extensions)
        self._npix = {
            (order, name): npix
            for name, wanted in extensions.items()
            for (order, extension), npix in sorted(tiles.items(), key=lambda item: item[0])
            if extension == wanted
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
        numbers = np.unique(np.concatenate([_NONE, *found]))
        return [Tile(order, npix) for npix in numbers.tolist()]

    def count(self) -> int:
        """How many tiles there are, whatever their formats."""
        orders = {order for order, _ in self._npix}
        of = {k: [npix for (order, _), npix in self._npix.items() if order == k] for k in orders}
        return sum(np.unique(np.concatenate(npix)).size for npix in of.values())

    def _between(self, tile: Tile, order: int, name: str) -> IntArray:
        npix = self._npix.get((order, name), _NONE)
        depth = 2 * (order - tile.order)
        ends = [tile.npix << depth, (tile.npix + 1) << depth]
        first, last = np.searchsorted(npix, ends)
        return npix[first:last]

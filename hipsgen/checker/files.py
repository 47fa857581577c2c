"""Check which tiles exist: in every order, every format, and according to the MOC."""

import re
from array import array
from collections.abc import Iterator, Mapping

import numpy as np

from hipsgen.checker.finding import Finding
from hipsgen.checker.properties import is_number
from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import MAX_ORDER, IntArray, Tile
from hipsgen.survey.coverage import MOC_NAME, sky_fraction
from hipsgen.survey.http_store import HttpStore
from hipsgen.survey.survey import Survey

# sorted npix by (order, extension)
TileFiles = dict[tuple[int, str], IntArray]
_NONE = np.empty(0, np.int64)
_TILE_PATH = re.compile(r"^Norder(\d+)/Dir(\d+)/Npix(\d+)\.(\w+)$")


def tile_files(survey: Survey, extensions: Mapping[str, str]) -> tuple[TileFiles, list[str]]:
    """Return the tiles of a survey, and files whose path is not that of a tile.

    A web server has no listing, so the tiles of a survey there are those of its MOC.
    """
    if isinstance(survey.store, HttpStore):
        npix = {order: survey.npix_of(order) for order in range(survey.order + 1)}
        first = _first_order(survey, npix, extensions)
        return {
            (order, extension): npix[order]
            for order in range(first, survey.order + 1)
            for extension in extensions.values()
        }, []
    found: dict[tuple[int, str], array[int]] = {}
    misplaced: list[str] = []
    for path in survey.store.list():
        if not path.startswith("Norder") or "/Npix" not in path:
            continue
        match = _TILE_PATH.match(path)
        if match is None:
            misplaced.append(path)
            continue
        order, number, extension = int(match[1]), int(match[3]), match[4]
        if (
            order > MAX_ORDER
            or number >= 12 << 2 * order
            or Tile(order, number).path(extension) != path
        ):
            misplaced.append(path)
        else:
            found.setdefault((order, extension), array("q")).append(number)
    return {key: np.sort(np.frombuffer(npix, np.int64)) for key, npix in found.items()}, misplaced


def _first_order(
    survey: Survey, npix: Mapping[int, IntArray], extensions: Mapping[str, str]
) -> int:
    """Return the lowest order with tiles on a web server; npix: tiles of the MOC by order.

    Where hips_order_min does not say it, the first tile of each order that may be omitted is tried.
    """
    certain = survey.first_certain_order
    for order in () if survey.states_order_min else range(certain):
        paths = (Tile(order, int(npix[order][0])).path(e) for e in extensions.values())
        if npix[order].size and any(survey.store.stat(path) is not None for path in paths):
            return order
    return certain


def check_files(
    survey: Survey, tiles: TileFiles, extensions: Mapping[str, str]
) -> Iterator[Finding]:
    """Check for missing and superfluous tiles.

    extensions: file extension of each format of the survey, by name.
    """
    for extension in sorted({e for _, e in tiles} - set(extensions.values())):
        message = f"does not list the format of the existing .{extension} tiles"
        yield Finding("error", "hips_tile_format", message)
    yield from _check_orders(survey, tiles, extensions)
    yield from _check_coverage(survey, tiles, extensions)


def _check_orders(
    survey: Survey, tiles: TileFiles, extensions: Mapping[str, str]
) -> Iterator[Finding]:
    """Check, in every format, that all orders up to hips_order and all parents of tiles exist."""
    order_min = survey.first_certain_order
    if not survey.states_order_min:
        first = min((k for k, e in tiles if e in extensions.values()), default=0)
        order_min = min(first, order_min)
        if order_min:
            message = f"is missing, although the survey begins at order {order_min}"
            yield Finding("note", "hips_order_min", message)
    for name, extension in extensions.items():
        for order in range(survey.order + 1):
            here = tiles.get((order, extension), _NONE)
            if not here.size and order >= order_min:
                yield Finding("error", f"Norder{order}", f"has no {name} tile")
            if not here.size:
                continue
            parents = np.unique(tiles.get((order + 1, extension), _NONE) >> 2)
            where = f"Norder{order}"
            yield from _summarize(where, f"{name} parent tiles are missing", _minus(parents, here))
            if parents.size:
                childless = _minus(here, parents)
                yield from _summarize(where, f"{name} tiles have no child tile", childless)
        deeper = sorted(k for k, e in tiles if e == extension and k > survey.order)
        if deeper:
            message = f"is {survey.order}, but there are {name} tiles of order {deeper[-1]}"
            yield Finding("error", "hips_order", message)
    yield from _check_formats(tiles, extensions)


def _check_formats(tiles: TileFiles, extensions: Mapping[str, str]) -> Iterator[Finding]:
    """Check that all formats have the same tiles."""
    first = next(iter(extensions.values()), "")
    for (order, extension), here in sorted(tiles.items(), key=lambda item: item[0]):
        other = tiles.get((order, first), _NONE)
        if extension != first and other.size:
            where = f"Norder{order}"
            message = f"tiles exist as .{extension} but not as .{first}"
            yield from _summarize(where, message, _minus(here, other))
            message = f"tiles exist as .{first} but not as .{extension}"
            yield from _summarize(where, message, _minus(other, here))


def _minus(npix: IntArray, others: IntArray) -> IntArray:
    return np.setdiff1d(npix, others, assume_unique=True)


def _summarize(where: str, message: str, npix: IntArray) -> Iterator[Finding]:
    """Yield one finding on several tiles of an order, or none for no tile."""
    if npix.size:
        names = ", ".join(map(str, npix[:5].tolist())) + (" ..." if npix.size > 5 else "")
        yield Finding("error", where, f"{npix.size} {message}: Npix {names}")


def _check_coverage(
    survey: Survey, tiles: TileFiles, extensions: Mapping[str, str]
) -> Iterator[Finding]:
    """Check Moc.fits against the leaf tiles."""
    if survey.store.stat(MOC_NAME) is None:
        yield Finding(
            "warning", MOC_NAME, "is missing; without it clients request tiles that do not exist"
        )
        return
    try:
        expected = survey.npix_of(survey.order)
    except SurveyError as error:
        yield Finding("error", MOC_NAME, str(error))
        return
    for extension in extensions.values():
        here = tiles.get((survey.order, extension), _NONE)
        if here.size:
            missing = f"cells have no .{extension} tile"
            outside = f".{extension} tiles lie outside"
            yield from _summarize(MOC_NAME, missing, _minus(expected, here))
            yield from _summarize(MOC_NAME, outside, _minus(here, expected))
    fraction = survey.properties.get("moc_sky_fraction")
    if fraction and is_number(fraction):
        truth = sky_fraction(survey.moc)
        if abs(float(fraction) - truth) > 0.01 * truth:
            yield Finding(
                "error", "moc_sky_fraction", f"is {fraction}, but {MOC_NAME} covers {truth:.6g}"
            )


class TileIndex:
    """The tiles that exist, in which formats.

    extensions: file extension of each format of the survey, by name.
    """

    def __init__(self, tiles: TileFiles, extensions: Mapping[str, str]) -> None:
        self.extensions = dict(extensions)
        self._npix = {
            (order, name): npix
            for name, wanted in extensions.items()
            for (order, extension), npix in sorted(tiles.items(), key=lambda item: item[0])
            if extension == wanted
        }

    def formats_of(self, tile: Tile) -> list[str]:
        """Return the names of the formats in which a tile exists."""
        return [name for name in self.extensions if len(self._descendants(tile, tile.order, name))]

    def has_subtree(self, tile: Tile) -> bool:
        """Whether a tile or one of its descendants exists."""
        return any(
            len(self._descendants(tile, k, name)) for k, name in self._npix if k >= tile.order
        )

    def subtree_paths(self, tile: Tile) -> Iterator[str]:
        """Yield the paths of a tile and its descendants, as far as they exist."""
        for order, name in self._npix:
            if order >= tile.order:
                for npix in self._descendants(tile, order, name).tolist():
                    yield Tile(order, npix).path(self.extensions[name])

    def roots(self, order: int) -> list[Tile]:
        """Return the tiles of an order that have a subtree, in NESTED order."""
        found = [npix >> 2 * (k - order) for (k, _), npix in self._npix.items() if k >= order]
        numbers = np.unique(np.concatenate([_NONE, *found]))
        return [Tile(order, npix) for npix in numbers.tolist()]

    def count(self) -> int:
        """Return the number of tiles, each counted once for all its formats."""
        orders = {order for order, _ in self._npix}
        npix = {k: [n for (order, _), n in self._npix.items() if order == k] for k in orders}
        return sum(np.unique(np.concatenate(found)).size for found in npix.values())

    def _descendants(self, tile: Tile, order: int, name: str) -> IntArray:
        """Return the npix of the descendants of a tile at an order, in a format."""
        npix = self._npix.get((order, name), _NONE)
        depth = 2 * (order - tile.order)
        ends = [tile.npix << depth, (tile.npix + 1) << depth]
        first, last = np.searchsorted(npix, ends)
        return npix[first:last]

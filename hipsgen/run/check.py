"""Does a survey conform to the HiPS standard, and agree with itself?

Rules are those of IVOA HiPS 1.0 (2017). An error breaks a MUST or contradicts the survey itself; a
warning breaks a SHOULD that readers rely on; a note names optional words that are missing.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from hipsgen.errors import SurveyError
from hipsgen.run.check_tiles import TILE_PATH, TileFiles, check_tiles
from hipsgen.run.check_words import check_words, is_number, is_power_of_two
from hipsgen.run.finding import Finding
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import ALLSKY_ORDERS, MOC_NAME, allsky_shape
from hipsgen.survey.formats import format_of
from hipsgen.survey.preview import FILE_NAME as PREVIEW
from hipsgen.survey.store import Store, open_store
from hipsgen.survey.survey import Survey


def check_survey(place: Path) -> list[Finding]:
    """All findings on the survey in a folder; an unreadable one is a finding, not an exception."""
    store = open_store(place)
    try:
        survey = Survey.open(store)
    except SurveyError as error:
        return [Finding("error", "properties", str(error))]
    findings = list(check_words(survey.properties))
    try:
        findings += _files(survey)
    except SurveyError as error:
        findings.append(Finding("error", "survey", str(error)))
    return findings


def _files(survey: Survey) -> Iterator[Finding]:
    """The files against the properties, and against each other."""
    tiles, strange = _tile_files(survey.store)
    for path in strange:
        yield Finding("error", path, "is not where the tile of that number belongs")
    extensions = {name: format_of(name).extension for name in survey.formats}
    for extension in sorted({e for _, e in tiles} - set(extensions.values())):
        yield Finding(
            "error", "hips_tile_format", f"does not name the .{extension} tiles there are"
        )
    yield from _orders(survey, tiles, extensions)
    yield from _coverage(survey, tiles, extensions)
    yield from check_tiles(survey, tiles, extensions)
    yield from _allskys(survey, extensions)
    yield from _preview(survey.store)


def _tile_files(store: Store) -> tuple[TileFiles, list[str]]:
    found: TileFiles = {}
    strange: list[str] = []
    for path in store.list():
        if not path.startswith("Norder") or "/Npix" not in path:
            continue
        match = TILE_PATH.match(path)
        if match is None:
            strange.append(path)
            continue
        order, npix, extension = int(match[1]), int(match[3]), match[4]
        if npix >= 12 << 2 * order or Tile(order, npix).path(extension) != path:
            strange.append(path)
            continue
        found.setdefault((order, extension), set()).add(npix)
    return found, strange


def _orders(survey: Survey, tiles: TileFiles, extensions: Mapping[str, str]) -> Iterator[Finding]:
    """Every order from 0 to hips_order, and every parent of a tile, in every format."""
    for name, extension in extensions.items():
        for order in range(survey.order + 1):
            here = tiles.get((order, extension), set())
            if not here:
                yield Finding("error", f"Norder{order}", f"has no {name} tile")
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


def _allskys(survey: Survey, extensions: Mapping[str, str]) -> Iterator[Finding]:
    """Allsky files are optional; their form is not."""
    for order in ALLSKY_ORDERS:
        for name, extension in extensions.items():
            path = f"Norder{order}/Allsky.{extension}"
            try:
                pixels = format_of(name).decode(survey.store.read(path))
            except FileNotFoundError:
                continue
            except SurveyError as error:
                yield Finding("error", path, str(error))
                continue
            columns, rows = allsky_shape(order)
            width, rest = divmod(pixels.shape[1], columns)
            if rest or pixels.shape[0] != rows * width or not is_power_of_two(str(width)):
                size = f"{pixels.shape[1]} x {pixels.shape[0]}"
                yield Finding(
                    "error", path, f"is {size}, not {columns} x {rows} tiles of 2^k pixels"
                )


def _preview(store: Store) -> Iterator[Finding]:
    try:
        pixels = format_of("jpeg").decode(store.read(PREVIEW))
    except FileNotFoundError:
        return
    except SurveyError as error:
        yield Finding("error", PREVIEW, str(error))
        return
    if pixels.shape[:2] != (256, 256):
        yield Finding(
            "warning", PREVIEW, f"is {pixels.shape[1]} x {pixels.shape[0]}, not 256 x 256"
        )

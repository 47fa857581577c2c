"""Does a survey conform to the HiPS standard, and agree with itself?

Rules are those of IVOA HiPS 1.0 (2017). An error breaks a MUST or contradicts the survey itself; a
warning breaks a SHOULD that readers rely on; a note names optional words that are missing.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import SurveyError
from hipsgen.sky.tiles import Tile, pixel_size
from hipsgen.survey.coverage import ALLSKY_ORDERS, MOC_NAME, allsky_shape
from hipsgen.survey.formats import format_of
from hipsgen.survey.preview import FILE_NAME as PREVIEW
from hipsgen.survey.store import Store, open_store
from hipsgen.survey.survey import Survey

_MUST = (
    "creator_did",
    "obs_title",
    "dataproduct_type",
    "hips_version",
    "hips_release_date",
    "hips_status",
    "hips_tile_format",
    "hips_order",
    "hips_frame",
)
_SHOULD = (
    "obs_description",
    "prov_progenitor",
    "obs_regime",
    "hips_creation_date",
    "hips_initial_ra",
    "hips_initial_dec",
    "hips_initial_fov",
    "t_min",
    "t_max",
    "em_min",
    "em_max",
)
_STATUS = (
    {"private", "public"},
    {"master", "mirror", "partial"},
    {"clonable", "unclonable", "clonableOnce"},
)
_FRAMES = {"equatorial", "galactic", "ecliptic"}
_TYPES = {"image", "cube", "catalog"}
_TILE_PATH = re.compile(r"^Norder(\d+)/Dir(\d+)/Npix(\d+)\.(\w+)$")
Values = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

_SAMPLED = 16  # tiles of an order that are decoded


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. level: error, warning or note; where: a file or a keyword."""

    level: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.what}"


def check_survey(place: Path) -> list[Finding]:
    """All findings on the survey in a folder; an unreadable one is a finding, not an exception."""
    store = open_store(place)
    try:
        survey = Survey.open(store)
    except SurveyError as error:
        return [Finding("error", "properties", str(error))]
    findings = list(_words(survey.properties))
    try:
        findings += _files(survey)
    except SurveyError as error:
        findings.append(Finding("error", "survey", str(error)))
    return findings


def _words(p: Mapping[str, str]) -> Iterator[Finding]:
    """The properties by themselves."""
    for key in _MUST:
        if key not in p:
            yield Finding("error", key, "is missing, and must be there")
    for key in _SHOULD:
        if key not in p:
            yield Finding("note", key, "is missing, and should be there if it is known")
    for key, rule, advice in _FORMS:
        if key in p and not rule(p[key]):
            yield Finding("error", key, f"{p[key]!r} is not {advice}")
    if "fits" in p.get("hips_tile_format", "") and "hips_pixel_bitpix" not in p:
        yield Finding("warning", "hips_pixel_bitpix", "is missing; Aladin Lite fails without")
    yield from _scale(p)


def _scale(p: Mapping[str, str]) -> Iterator[Finding]:
    try:
        order, scale = int(p["hips_order"]), float(p["hips_pixel_scale"])
        width = int(p.get("hips_tile_width", "512"))
    except (KeyError, ValueError):
        return
    if 0 <= order <= 29 and width > 0 and abs(scale / pixel_size(order, width) - 1) > 0.05:
        right = f"{pixel_size(order, width):.4g}"
        yield Finding(
            "error", "hips_pixel_scale", f"{scale:g} deg is not that of order {order}, {right}"
        )


def _is_did(text: str) -> bool:
    return re.fullmatch(r"ivo://[^\s/]+(/\S*)?", text) is not None


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return False
    return True


def _is_status(text: str) -> bool:
    words = text.split()
    return all(len(kind & set(words)) == 1 for kind in _STATUS) and len(words) == len(_STATUS)


def _is_power_of_two(text: str) -> bool:
    return text.isdigit() and int(text) > 0 and int(text) & (int(text) - 1) == 0


def _increases(text: str) -> bool:
    try:
        low, high = map(float, text.split())
    except ValueError:
        return False
    return low < high


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _formats_known(text: str) -> bool:
    return bool(text.split()) and all(
        f in {"fits", "png", "jpeg", "webp", "tsv"} for f in text.split()
    )


_STATUS_TEXT = ", ".join("/".join(sorted(kind)) for kind in _STATUS)
_FORMS = (
    ("creator_did", _is_did, "an IVOA identifier (ivo://authority/path) without blanks"),
    ("hips_release_date", _is_date, "an ISO 8601 date"),
    ("hips_creation_date", _is_date, "an ISO 8601 date"),
    ("hips_status", _is_status, "one word each of " + _STATUS_TEXT),
    ("hips_tile_format", _formats_known, "a list of fits, png, jpeg, webp"),
    ("hips_order", str.isdigit, "a whole number"),
    ("hips_order_min", str.isdigit, "a whole number"),
    ("hips_frame", _FRAMES.__contains__, "one of " + ", ".join(sorted(_FRAMES))),
    ("dataproduct_type", _TYPES.__contains__, "one of " + ", ".join(sorted(_TYPES))),
    ("hips_tile_width", _is_power_of_two, "a power of two"),
    ("hips_pixel_cut", _increases, "two increasing numbers"),
    ("hips_data_range", _increases, "two increasing numbers"),
    ("hips_pixel_bitpix", {"8", "16", "32", "64", "-32", "-64"}.__contains__, "a FITS BITPIX"),
    ("hips_estsize", _is_number, "a number of kB"),
    ("hips_initial_ra", _is_number, "a number of degrees"),
    ("hips_initial_dec", _is_number, "a number of degrees"),
    ("hips_initial_fov", _is_number, "a number of degrees"),
    ("moc_sky_fraction", _is_number, "a number"),
    ("t_min", _is_number, "a Modified Julian Date"),
    ("t_max", _is_number, "a Modified Julian Date"),
    ("em_min", _is_number, "a number of metres"),
    ("em_max", _is_number, "a number of metres"),
)  # fmt: skip


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
    yield from _decoded(survey, tiles, extensions)
    yield from _allskys(survey, extensions)
    yield from _preview(survey.store)


TileFiles = dict[tuple[int, str], set[int]]  # (order, extension) -> npix


def _tile_files(store: Store) -> tuple[TileFiles, list[str]]:
    found: TileFiles = {}
    strange: list[str] = []
    for path in store.list():
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
    if fraction and _is_number(fraction):
        truth = float(survey.moc().sky_fraction)
        if abs(float(fraction) - truth) > 0.01 * truth:
            yield Finding(
                "error", "moc_sky_fraction", f"is {fraction}, but {MOC_NAME} covers {truth:.6g}"
            )


def _decoded(survey: Survey, tiles: TileFiles, extensions: Mapping[str, str]) -> Iterator[Finding]:
    """A few tiles of each order: size, type, and pictures against values."""
    for order in range(survey.order + 1):
        known = sorted(set.union(set(), *(n for (k, _), n in tiles.items() if k == order)))
        step = max(1, len(known) // _SAMPLED)
        for npix in known[::step]:
            yield from _one_tile(survey, Tile(order, npix), extensions)


def _one_tile(survey: Survey, tile: Tile, extensions: Mapping[str, str]) -> Iterator[Finding]:
    values: Values | None = None
    pictures: dict[str, Picture] = {}
    for name, extension in extensions.items():
        path = tile.path(extension)
        encoder = format_of(name)
        try:
            data = survey.store.read(path)
            pixels = encoder.decode(data)
        except FileNotFoundError:
            continue
        except SurveyError as error:
            yield Finding("error", path, str(error))
            continue
        if pixels.shape[:2] != (survey.tile_width, survey.tile_width):
            size = f"{pixels.shape[1]} x {pixels.shape[0]}"
            yield Finding("error", path, f"is {size}, not hips_tile_width {survey.tile_width}")
            continue
        if encoder.holds_values:
            values = pixels
            yield from _fits_header(survey, path, data)
            if not np.isfinite(pixels).any():
                yield Finding("error", path, "holds no data: every pixel is missing")
            yield from _in_parent(survey, tile, path, pixels)
        elif encoder.keeps_missing:
            pictures[path] = pixels
            subtype = survey.properties.get("dataproduct_subtype")
            if subtype != "color" and _is_coloured(pixels):
                yield Finding("error", "dataproduct_subtype", f"is not color, but {path} is")
    if values is not None:
        for path, picture in pictures.items():
            yield from _picture_of(path, values, picture)


def _in_parent(survey: Survey, tile: Tile, path: str, values: Values) -> Iterator[Finding]:
    """A parent of a leaf is the mean of its children, here: of this one's 2x2 pixels."""
    if (
        tile.order != survey.order
        or tile.order == 0
        or survey.properties.get("hips_pixel_bitpix") != "-32"
    ):
        return
    if survey.properties.get("hips_hierarchy", "mean") != "mean":
        return
    try:
        parent = survey.values(tile.parent)
    except SurveyError:
        return  # found when the parent itself is decoded
    if parent is None or parent.shape != values.shape:
        return
    half = values.shape[0] // 2
    row = 0 if tile.npix & 1 else half
    col = half if tile.npix & 2 else 0
    above = parent[row : row + half, col : col + half].astype(float)
    mean = values.astype(float).reshape(half, 2, half, 2).mean(axis=(1, 3))
    whole = np.isfinite(mean)  # all four have data
    with np.errstate(invalid="ignore"):
        off = np.abs(above - mean)[whole]
    if (
        off.size
        and not (off <= 1e-3 * np.abs(mean[whole]) + 1e-4 * np.abs(mean[whole]).max()).all()
    ):
        yield Finding("error", path, f"its parent, {tile.parent.path('fits')}, is not its mean")


def _is_coloured(pixels: Picture) -> bool:
    if pixels.ndim == 2:
        return False
    rgb = pixels[..., :3].astype(int)
    return bool((rgb.max(axis=2) - rgb.min(axis=2)).max() > 16)


def _fits_header(survey: Survey, path: str, data: bytes) -> Iterator[Finding]:
    from astropy.io import fits

    header = fits.Header.fromstring(data[: 2880 * (1 + data.find(b"END     ") // 2880)])
    if "DATASUM" in header and not _sums_agree(data):
        yield Finding("error", path, "does not agree with its own CHECKSUM or DATASUM")
    axis = str(header.get("CTYPE1", ""))
    if axis and axis.startswith("GLON") != (survey.frame == "galactic"):
        yield Finding("error", path, f"has CTYPE1 {axis}, but hips_frame is {survey.frame}")
    bitpix = survey.properties.get("hips_pixel_bitpix")
    if bitpix and str(header.get("BITPIX")) != bitpix:
        yield Finding(
            "error", path, f"has BITPIX {header.get('BITPIX')}, not hips_pixel_bitpix {bitpix}"
        )
    match = _TILE_PATH.match(path)
    for key, group in (("ORDER", 1), ("NPIX", 3)):
        if match and key in header and str(header[key]) != match[group]:
            yield Finding("error", path, f"says {key} = {header[key]}")


def _sums_agree(data: bytes) -> bool:
    from io import BytesIO

    from astropy.io import fits

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with fits.open(BytesIO(data), checksum=True) as hdus:
            len(hdus)
    return not any("verification failed" in str(w.message) for w in said)


def _picture_of(
    path: str,
    values: Values,
    picture: Picture,
) -> Iterator[Finding]:
    """The picture shows the values: the same pixels are missing, brighter is brighter."""
    shown = picture[..., -1] > 0 if picture.ndim == 3 else picture > 0
    known = np.isfinite(values)
    if (shown != known).mean() > 0.001:
        turned = (shown[::-1] == known).mean() > 0.999
        reason = "is upside down" if turned else "does not cover the pixels of the FITS tile"
        yield Finding("error", path, reason)
        return
    grey = picture if picture.ndim == 2 else picture[..., :3].mean(axis=2)
    both = shown & known
    if both.sum() > 1000 and np.ptp(values[both]) > 0 and np.ptp(grey[both]) > 0:
        upright = _rank_agreement(values, grey, both)
        flipped = _rank_agreement(values, grey[::-1], both)
        if flipped > upright + 0.2:
            yield Finding("error", path, "is upside down")


def _rank_agreement(values: Values, grey: npt.NDArray[Any], both: npt.NDArray[np.bool_]) -> float:
    """Correlation of the ranks (Spearman), which no monotonic stretch changes."""
    a, b = values[both].argsort().argsort(), np.asarray(grey)[both].argsort().argsort()
    return float(np.corrcoef(a, b)[0, 1])


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
            if rest or pixels.shape[0] != rows * width or not _is_power_of_two(str(width)):
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

"""Tiles of a survey against its properties, and against each other: a sample is decoded."""

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import SurveyError
from hipsgen.run.finding import Finding
from hipsgen.sky.tiles import Tile
from hipsgen.survey.formats import format_of
from hipsgen.survey.survey import Survey

# (order, extension) -> npix
TileFiles = dict[tuple[int, str], set[int]]
TILE_PATH = re.compile(r"^Norder(\d+)/Dir(\d+)/Npix(\d+)\.(\w+)$")
Values = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

_SAMPLED = 16  # tiles of an order that are decoded


def check_tiles(
    survey: Survey, tiles: TileFiles, extensions: Mapping[str, str]
) -> Iterator[Finding]:
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
    match = TILE_PATH.match(path)
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

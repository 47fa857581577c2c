"""The stretch of a color survey: zero points, gains and brightness from a sample of tiles."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import InputError
from hipsgen.images.units import is_per_pixel, parse
from hipsgen.sky.stretch import Channel, Lupton, SkyLevel
from hipsgen.sky.tiles import Tile
from hipsgen.survey.bands import white_balance
from hipsgen.survey.survey import Survey

_SAMPLE_TILES = 24
_SAMPLE_PIXELS = 20_000  # from each tile
_HIGH_QUANTILE = 0.999
_CALIBRATED = "Jy"

Triple = tuple[Survey, Survey, Survey]  # red, green, blue


def choose_lupton(bands: Triple, order: int) -> Lupton:
    """Choose zero points, gains and brightness from a sample of leaf tiles over the whole sky.

    Bands that share a calibrated unit (convertible to Jy) keep their ratios, with the color of the
    Sun as white. Other bands are scaled such that their bright pixels are equally bright.

    Parameters
    ----------
    bands : (Survey, Survey, Survey)
        Red, green and blue.
    order : int
        Order of the leaf tiles of the color survey.

    Raises
    ------
    InputError
        When a survey has no data where the green one has.
    """
    sample = _sample(bands, order)
    levels = [SkyLevel.of(values) for values in sample]
    units = [band.properties.get("hips_bunit", "") for band in bands]
    gains = [white_balance(band.properties.get("obs_band", "")) for band in bands]
    if not _are_calibrated(units):
        spans = [max(level.high - level.zero, 1e-30) for level in levels]
        gains = [spans[1] / span for span in spans]
    red, green, blue = (
        Channel(level.zero, level.sigma, gain) for level, gain in zip(levels, gains, strict=True)
    )
    channels = (red, green, blue)
    above_sky = [(v - c.zero) * c.gain for v, c in zip(sample, channels, strict=True)]
    valid = np.isfinite(above_sky).any(axis=0)
    means = np.nanmean(np.asarray(above_sky)[:, valid], axis=0)
    return Lupton(channels, float(np.quantile(means, _HIGH_QUANTILE)) if means.size else 1.0)


def values_of(bands: Triple, tile: Tile) -> npt.NDArray[np.floating[Any]] | None:
    """Return the values of a tile, (3, width, width), NaN where a band has no data.

    They are float32, or float64 if those of a band are. None if no band has the tile.
    """
    found = [band.values(tile) for band in bands]
    shape = next((f.shape for f in found if f is not None), None)
    if shape is None:
        return None
    empty = np.full(shape, np.nan, np.float32)
    return np.stack([empty if f is None else f for f in found])


def cells_of(moc: Any, order: int) -> list[int]:
    """Return the numbers of the tiles of an order that intersect a MOC."""
    return [
        int(n) for n in (moc.degrade_to_order(order) if order < moc.max_order else moc).flatten()
    ]


def _sample(bands: Triple, order: int) -> list[npt.NDArray[np.floating[Any]]]:
    tiles = [Tile(order, n) for n in cells_of(bands[1].moc, order)]
    if not tiles:
        raise InputError(f"{bands[1].store} has an empty coverage map (MOC)")
    chosen = [tiles[k] for k in np.linspace(0, len(tiles) - 1, _SAMPLE_TILES).astype(int)]
    parts = []
    for tile in dict.fromkeys(chosen):
        values = values_of(bands, tile)
        if values is not None:
            flat = values.reshape(3, -1)
            parts.append(flat[:, :: max(1, flat.shape[1] // _SAMPLE_PIXELS)])
    if not parts:
        raise InputError(f"{bands[1].store} has none of the tiles in its coverage map (MOC)")
    joined = np.concatenate(parts, axis=1)
    for band, values in zip(bands, joined, strict=True):
        if np.isnan(values).all():
            raise InputError(f"{band.store} has no data where the green band has data")
    return list(joined)


def _are_calibrated(units: Sequence[str]) -> bool:
    """Whether the units of the bands are spellings of one unit that is convertible to Jy."""
    parsed = [parse(unit) if is_per_pixel(unit) else None for unit in units]
    first = parsed[0]
    return first is not None and first.is_equivalent(_CALIBRATED) and set(parsed) == {first}

"""A colour survey from three FITS surveys: red, green, blue."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.errors import ConfigError, InputError
from hipsgen.run.build import Summary
from hipsgen.run.config import Runtime
from hipsgen.run.describe import Subject, geometry, identity, now, with_own
from hipsgen.run.engine import open_engine, run_bounded
from hipsgen.run.journal import Journal
from hipsgen.run.place import claim, wipe
from hipsgen.run.publish import created_before, write_page
from hipsgen.run.report import Reporter
from hipsgen.run.units import is_per_pixel
from hipsgen.sky.stretch import Channel, Lupton, SkyLevel
from hipsgen.sky.tiles import Tile
from hipsgen.survey.bands import white_balance
from hipsgen.survey.coverage import ALLSKY_ORDERS, MOC_NAME, moc_bytes
from hipsgen.survey.extent import extent
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.formats import Format, JpegTile, format_of
from hipsgen.survey.preview import FILE_NAME as PREVIEW
from hipsgen.survey.preview import view
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.properties import encode_properties
from hipsgen.survey.store import Store
from hipsgen.survey.survey import Survey

_SAMPLE_TILES = 24
_SAMPLE_PIXELS = 20_000  # of each
_HIGH_QUANTILE = 0.999
_CHUNK = 32  # tiles of one task
_CALIBRATED = "Jy"

Triple = tuple[Survey, Survey, Survey]


@dataclass(frozen=True)
class ColorTask:
    """Some tiles to be made; small and picklable."""

    bands: Triple
    out: Store
    stretch: Lupton
    formats: tuple[str, ...]
    tiles: tuple[Tile, ...]


def build_color(
    bands: Triple,
    store: Store,
    subject: Subject,
    formats: tuple[str, ...],
    runtime: Runtime,
    reporter: Reporter,
    own_properties: Sequence[tuple[str, str]] = (),
) -> Summary:
    """Make the pictures of every order from the float tiles of that order.

    Raises ConfigError when the three surveys do not fit together or a format cannot be
    transparent, InputError when they hold no data.
    """
    started = time.monotonic()
    _check_alike(bands)
    encoders = _encoders(formats)
    claim(store, colour=True)
    if any(str(band.store) == str(store) for band in bands):
        raise ConfigError(f"{store} is one of the three surveys: name another -o")
    if runtime.fresh:
        wipe(store)
    with Journal(store).running():
        created = created_before(store) or now()
        order = min(band.order for band in bands)
        moc = bands[0].moc().union(bands[1].moc(), bands[2].moc())
        stretch = choose_lupton(bands, order)
        Journal(store).begin_color(stretch.describe())
        store.delete(PROPERTIES)
        tiles = [Tile(k, n) for k in range(order + 1) for n in _cells(moc, k)]
        reporter.note(f"{subject.name}: order {order}, {len(tiles)} tiles of {subject.progenitor}")
        reporter.start(subject.name, len(tiles))
        names = tuple(encoder.name for encoder in encoders)
        tasks = (ColorTask(bands, store, stretch, names, c) for c in _chunks(tiles, _CHUNK))
        size: dict[str, int] = {}
        made = 0
        try:
            with open_engine(runtime.engine, runtime.workers) as executor:
                for done, sizes in run_bounded(executor, color_tiles, tasks, runtime.workers):
                    made += done
                    for name, count in sizes.items():
                        size[name] = size.get(name, 0) + count
                    reporter.advance(done)
        finally:
            reporter.stop()
        _write_allskys(bands, store, stretch, encoders)
        store.write(MOC_NAME, moc_bytes(moc, bands[0].frame))
        centre, icrs, fov = extent(moc, bands[0].frame)
        _write_preview(bands, store, stretch, order, centre, fov)
        write_page(store)
        words = {
            **identity(subject, created),
            "dataproduct_subtype": "color",
            **_light_of(bands),
            **geometry(order, bands[0].tile_width, bands[0].frame, " ".join(names), icrs, fov, moc),
            "hips_rgb_red": _rgb_word(bands[0]),
            "hips_rgb_green": _rgb_word(bands[1]),
            "hips_rgb_blue": _rgb_word(bands[2]),
            "hips_hierarchy": "mean",
            "hips_estsize": max(1, round(sum(size.values()) / 1024)),
            "hipsgen_stretch": stretch.describe(),
        }
        store.write(PROPERTIES, encode_properties(with_own(words, own_properties)))
        return Summary(
            subject.name, order, 3, made, size, time.monotonic() - started, 0, 0, kind="surveys"
        )


def color_tiles(task: ColorTask) -> tuple[int, dict[str, int]]:
    """Make and write some tiles; how many there were, and the bytes by format."""
    encoders = [format_of(name) for name in task.formats]
    size: dict[str, int] = {}
    for tile in task.tiles:
        values = _values(task.bands, tile)
        if values is None:
            continue
        levels = task.stretch(values)
        for encoder in encoders:
            data = encoder.encode(levels, tile)
            task.out.write(tile.path(encoder.extension), data)
            size[encoder.name] = size.get(encoder.name, 0) + len(data)
    return len(task.tiles), size


def choose_lupton(bands: Triple, order: int) -> Lupton:
    """Zero points, gains and brightness from a sample of leaf tiles all over the surveys.

    Bands with one calibrated unit (convertible to Jy) keep their ratios, with the Sun as white.
    Others are scaled so that their bright pixels are equally bright.
    """
    sample = _sample(bands, order)
    levels = [SkyLevel.of(values) for values in sample]
    units = {band.properties.get("hips_bunit", "") for band in bands}
    gains = [white_balance(band.properties.get("obs_band", "")) for band in bands]
    if len(units) > 1 or not _is_calibrated(next(iter(units))):
        spans = [max(level.high - level.zero, 1e-30) for level in levels]
        gains = [spans[1] / span for span in spans]
    red, green, blue = (
        Channel(level.zero, level.sigma, gain) for level, gain in zip(levels, gains, strict=True)
    )
    channels = (red, green, blue)
    over_sky = [(v - c.zero) * c.gain for v, c in zip(sample, channels, strict=True)]
    somewhere = np.isfinite(over_sky).any(axis=0)
    known = np.nanmean(np.asarray(over_sky)[:, somewhere], axis=0)
    return Lupton(channels, float(np.quantile(known, _HIGH_QUANTILE)) if known.size else 1.0)


def _check_alike(bands: Triple) -> None:
    for name in ("frame", "tile_width"):
        found = [getattr(band, name) for band in bands]
        if len(set(found)) > 1:
            raise ConfigError(f"the three surveys differ in {name}: {', '.join(map(str, found))}")
    for band in bands:
        if "fits" not in band.formats:
            raise ConfigError(f"{band.store} has no FITS tiles; colour is made of physical values")


def _encoders(formats: tuple[str, ...]) -> list[Format]:
    """The pictures asked for that can be transparent; PNG when there is none."""
    found = [format_of(name) for name in formats]
    fitting: list[Format] = [f for f in found if not f.holds_values and f.keeps_missing]
    return fitting or [format_of("png")]


def _cells(moc: Any, order: int) -> list[int]:
    return [
        int(n) for n in (moc.degrade_to_order(order) if order < moc.max_order else moc).flatten()
    ]


def _chunks(tiles: Sequence[Tile], size: int) -> Iterator[tuple[Tile, ...]]:
    waiting = iter(tiles)
    while chunk := tuple(islice(waiting, size)):
        yield chunk


def _values(bands: Triple, tile: Tile) -> npt.NDArray[np.float32] | None:
    """(3, width, width), NaN where a band has nothing; None where none has a tile."""
    found = [band.values(tile) for band in bands]
    shape = next((f.shape for f in found if f is not None), None)
    if shape is None:
        return None
    empty = np.full(shape, np.nan, np.float32)
    return np.stack([empty if f is None else f for f in found])


def _sample(bands: Triple, order: int) -> list[npt.NDArray[np.float32]]:
    tiles = [Tile(order, n) for n in _cells(bands[1].moc(), order)]
    if not tiles:
        raise InputError(f"{bands[1].store} covers nothing")
    chosen = [tiles[k] for k in np.linspace(0, len(tiles) - 1, _SAMPLE_TILES).astype(int)]
    parts = []
    for tile in dict.fromkeys(chosen):
        values = _values(bands, tile)
        if values is not None:
            flat = values.reshape(3, -1)
            parts.append(flat[:, :: max(1, flat.shape[1] // _SAMPLE_PIXELS)])
    if not parts:
        raise InputError(f"{bands[1].store} has none of the tiles its coverage map names")
    joined = np.concatenate(parts, axis=1)
    for band, values in zip(bands, joined, strict=True):
        if np.isnan(values).all():
            raise InputError(f"{band.store} has no data where the green band has")
    return list(joined)


def _is_calibrated(unit: str) -> bool:
    import astropy.units as u

    try:
        return bool(unit) and is_per_pixel(unit) and u.Unit(unit).is_equivalent(_CALIBRATED)
    except ValueError:
        return False


def _write_allskys(
    bands: Triple, store: Store, stretch: Lupton, encoders: Sequence[Format]
) -> None:
    fits = FitsTile()
    for order in ALLSKY_ORDERS:
        try:
            planes = [fits.decode(b.store.read(f"Norder{order}/Allsky.fits")) for b in bands]
        except FileNotFoundError:
            continue
        levels = stretch(np.stack(planes))
        for encoder in encoders:
            store.write(f"Norder{order}/Allsky.{encoder.extension}", encoder.encode(levels))


def _write_preview(
    bands: Triple,
    store: Store,
    stretch: Lupton,
    order: int,
    centre: tuple[float, float],
    fov: float,
) -> None:
    def read(tile: Tile) -> npt.NDArray[np.uint8] | None:
        values = _values(bands, tile)
        return None if values is None else stretch(values)

    picture = view(read, centre, fov, order, bands[0].tile_width)
    store.write(PREVIEW, JpegTile(quality=90).encode(picture))


def _light_of(bands: Triple) -> dict[str, Any]:
    lows = [b.properties["em_min"] for b in bands if "em_min" in b.properties]
    highs = [b.properties["em_max"] for b in bands if "em_max" in b.properties]
    if not lows or not highs:
        return {}
    regimes = {b.properties.get("obs_regime", "") for b in bands} - {""}
    return {
        "obs_regime": " ".join(sorted(regimes)),
        "em_min": min(lows, key=float),
        "em_max": max(highs, key=float),
    }


def _rgb_word(band: Survey) -> str:
    return f"{band.title} [{band.properties.get('creator_did', '')}]"

"""A colour survey from three FITS surveys: red, green, blue."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen import __version__
from hipsgen.errors import ConfigError, InputError
from hipsgen.run import stop
from hipsgen.run.build import Summary
from hipsgen.run.config import Runtime
from hipsgen.run.describe import Subject, geometry, identity, now, with_own
from hipsgen.run.earlier import Sums
from hipsgen.run.engine import open_engine, run_bounded
from hipsgen.run.journal import LEAF, BlockFiles, BlockRecord, Journal, TopRecord
from hipsgen.run.place import claim, forget, sweep_top, wipe
from hipsgen.run.plan import MAX_BLOCK_DEPTH
from hipsgen.run.publish import created_before
from hipsgen.run.report import Reporter
from hipsgen.run.tally import UNKNOWN, FileSum, Tally
from hipsgen.run.units import is_per_pixel
from hipsgen.run.writer import Writer
from hipsgen.sky.stretch import Channel, Lupton, SkyLevel
from hipsgen.sky.tiles import Tile
from hipsgen.survey.bands import white_balance
from hipsgen.survey.coverage import ALLSKY_ORDERS, MOC_NAME, moc_bytes
from hipsgen.survey.extent import extent
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.formats import Format, JpegTile, format_of
from hipsgen.survey.page import page_files
from hipsgen.survey.preview import FILE_NAME as PREVIEW
from hipsgen.survey.preview import view
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.properties import encode_properties
from hipsgen.survey.store import LocalStore, Store
from hipsgen.survey.survey import Survey

_SAMPLE_TILES = 24
_SAMPLE_PIXELS = 20_000  # of each
_HIGH_QUANTILE = 0.999
_CALIBRATED = "Jy"

Triple = tuple[Survey, Survey, Survey]


@dataclass(frozen=True)
class ColorTask:
    """The tiles under one of them, to be made; small and picklable.

    root: None for tiles that are not journalled. fingerprint: of all that decides their bytes.
    """

    bands: Triple
    out: Store
    stretch: Lupton
    formats: tuple[str, ...]
    root: Tile | None
    tiles: tuple[Tile, ...]
    fingerprint: str


def build_color(
    bands: Triple,
    store: Store,
    subject: Subject,
    formats: tuple[str, ...],
    runtime: Runtime,
    reporter: Reporter,
    own_properties: Sequence[tuple[str, str]] = (),
) -> Summary:
    """Make the pictures of every order from the float tiles of that order, or finish doing so.

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
    journal = Journal(store)
    with journal.running():
        created = created_before(store) or now()
        order = min(band.order for band in bands)
        moc = bands[0].moc().union(bands[1].moc(), bands[2].moc())
        names = tuple(encoder.name for encoder in encoders)
        stretch = _prepare(bands, order, names, journal, runtime.recut)
        tasks = _tasks(bands, store, stretch, names, moc, order)
        earlier = {record.root: record for record in journal.records()}
        wanted = {task.root: task for task in tasks if task.root is not None}
        todo = [task for task in tasks if task.root is None or not _is_done(task, earlier)]
        store.delete(PROPERTIES)
        departed = [record for root, record in earlier.items() if root not in wanted]
        removed = forget(departed, store, journal)
        count = sum(len(task.tiles) for task in tasks)
        reporter.note(f"{subject.name}: order {order}, {count} tiles of {subject.progenitor}")
        records = _render(todo, subject.name, runtime, reporter)
        above = [sums for made, sums in records if made is None]
        records_now = {**earlier, **{made.root: made for made, _ in records if made is not None}}
        kept = [records_now[root] for root in sorted(wanted)]
        top = Tally.of(names, (item for sums in above for item in sums))
        centre, icrs, fov = extent(moc, bands[0].frame)
        files = {
            **_allsky_files(bands, stretch, encoders),
            MOC_NAME: moc_bytes(moc, bands[0].frame),
            PREVIEW: _preview(bands, stretch, order, centre, fov),
            **dict(page_files()),
        }
        for path, data in files.items():
            store.write(path, data)
        known = {path: FileSum.of(data) for path, data in files.items()}
        journal.finish(TopRecord(top, known))
        removed += sweep_top(store, order - _depth(order), _by_order(top))
        size = {name: sum(r.size.get(name, 0) for r in kept) for name in names}
        size = {name: count + top.size()[name] for name, count in size.items()}
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
        made = [record for record, _ in records if record is not None]
        return Summary(
            subject.name,
            order,
            3,
            sum(record.tiles for record in kept) + len(top),
            size,
            time.monotonic() - started,
            len(wanted),
            len(made),
            made=sum(record.made for record in made) + len(top),
            removed=removed + sum(record.removed for record in made),
            updated=bool(earlier),
            kind="surveys",
        )


def color_tiles(task: ColorTask) -> tuple[BlockRecord | None, list[tuple[Tile, Sums]]]:
    """Make and write some tiles, then their record.

    Returns that, and, without one, the sums of the files.
    """
    journal = Journal(task.out)
    before: dict[Tile, Sums] = {}
    nothing = np.empty(0, LEAF)
    if task.root is not None:
        with suppress(ValueError):
            found = journal.block(task.root)
            before = dict(found[1].tally.items()) if found else {}
        may_be = {**dict.fromkeys(task.tiles, (UNKNOWN,) * len(task.formats)), **before}
        begun = BlockRecord(task.root.order, task.root.npix)
        journal.begin_block(begun, BlockFiles(Tally.of(task.formats, may_be.items()), nothing))
    encoders = [format_of(name) for name in task.formats]
    written: dict[Tile, Sums] = {}
    with Writer(task.out) as writer:
        for tile in task.tiles:
            stop.check()
            values = _values(task.bands, tile)
            if values is not None:
                levels = task.stretch(values)
                files = [(tile.path(e.extension), e.encode(levels, tile)) for e in encoders]
                writer.write(*files)
                written[tile] = tuple(FileSum.of(data) for _, data in files)
    gone = before.keys() - written.keys()
    for tile in gone:
        for encoder in encoders:
            task.out.delete(tile.path(encoder.extension))
    if task.root is None:
        return None, list(written.items())
    tally = Tally.of(task.formats, written.items())
    record = BlockRecord(
        order=task.root.order,
        npix=task.root.npix,
        fingerprint=task.fingerprint,
        tiles=len(tally),
        size=tally.size(),
        made=len(tally),
        removed=sum(UNKNOWN not in before[tile] for tile in gone),
    )
    journal.write(record, BlockFiles(tally, nothing), None)
    return record, []


def _tasks(
    bands: Triple, store: Store, stretch: Lupton, names: tuple[str, ...], moc: Any, order: int
) -> list[ColorTask]:
    """One for each block, and one for what is above them."""
    top = order - _depth(order)
    below: dict[Tile, list[Tile]] = {}
    for k in range(top, order + 1):
        for npix in _cells(moc, k):
            below.setdefault(Tile(k, npix).ancestor(top), []).append(Tile(k, npix))
    above = tuple(Tile(k, npix) for k in range(top) for npix in _cells(moc, k))
    common = repr((__version__, names, stretch))
    contents = [_contents(band, top) for band in bands]
    return [
        ColorTask(bands, store, stretch, names, root, tuple(tiles), _digest(common, contents, root))
        for root, tiles in [*sorted(below.items()), *([(None, above)] if above else [])]
    ]


def _prepare(
    bands: Triple, order: int, formats: tuple[str, ...], journal: Journal, recut: bool
) -> Lupton:
    """The stretch: that of an earlier build of the same, unless it is to be chosen anew.

    Raises ConfigError when the earlier one is of other surveys or formats.
    """
    begun = {"color": [_name(band) for band in bands], "formats": list(formats)}
    earlier = journal.color()
    if earlier and any(earlier.get(key) != value for key, value in begun.items()):
        raise ConfigError(
            "the colour survey that is there is of other surveys or formats "
            f"({' '.join(earlier['color'])}; {','.join(earlier['formats'])}): use --fresh"
        )
    if earlier and not recut:
        channels = [Channel(**channel) for channel in earlier["stretch"]["channels"]]
        red, green, blue = channels
        return Lupton((red, green, blue), earlier["stretch"]["high"])
    stretch = choose_lupton(bands, order)
    journal.begin_color({**begun, "stretch": asdict(stretch)})
    return stretch


def _name(band: Survey) -> str:
    """What a survey shows, wherever it lies: its band, or its name for good."""
    return band.properties.get("obs_band") or band.properties.get("creator_did", "")


def _contents(band: Survey, top: int) -> dict[Tile | None, list[str]]:
    """What tells whether tiles of a survey have changed, by the block that shows them.

    For surveys without a journal, and for tiles above the blocks, that is the survey as such.
    """
    whole = hashlib.sha256(band.store.read(PROPERTIES) + band.store.read(MOC_NAME)).hexdigest()
    found: dict[Tile | None, list[str]] = {None: [whole]}
    records = Journal(band.store).records() if isinstance(band.store, LocalStore) else ()
    for record in records:
        if record.order >= top and record.content:
            text = f"{record.npix} {record.content}"
            found.setdefault(record.root.ancestor(top), []).append(text)
    return found


def _digest(
    common: str, contents: Sequence[Mapping[Tile | None, list[str]]], root: Tile | None
) -> str:
    some = any(len(found) > 1 for found in contents)
    whose = [found.get(root, []) if some and len(found) > 1 else found[None] for found in contents]
    return hashlib.sha256(repr((common, whose)).encode()).hexdigest()[:16]


def _depth(order: int) -> int:
    return min(MAX_BLOCK_DEPTH, order)


def _is_done(task: ColorTask, earlier: Mapping[Tile, BlockRecord]) -> bool:
    record = earlier.get(task.root) if task.root is not None else None
    return record is not None and record.fingerprint == task.fingerprint


def _by_order(tally: Tally) -> dict[int, list[int]]:
    return {k: tally.npix_of(k).tolist() for k in set(tally.rows["order"].tolist())}


def _render(
    tasks: Sequence[ColorTask], name: str, runtime: Runtime, reporter: Reporter
) -> list[tuple[BlockRecord | None, list[tuple[Tile, Sums]]]]:
    """Do the tasks, with progress."""
    made = []
    reporter.start(name, sum(len(task.tiles) for task in tasks))
    try:
        with open_engine(runtime.engine, runtime.workers) as executor:
            for record, sums in run_bounded(executor, color_tiles, iter(tasks), runtime.workers):
                made.append((record, sums))
                reporter.advance(len(sums) if record is None else record.made)
    finally:
        reporter.stop()
    return made


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


def _allsky_files(
    bands: Triple, stretch: Lupton, encoders: Sequence[Format]
) -> dict[str, bytes | memoryview]:
    fits, files = FitsTile(), {}
    for order in ALLSKY_ORDERS:
        try:
            planes = [fits.decode(b.store.read(f"Norder{order}/Allsky.fits")) for b in bands]
        except FileNotFoundError:
            continue
        levels = stretch(np.stack(planes))
        for encoder in encoders:
            files[f"Norder{order}/Allsky.{encoder.extension}"] = encoder.encode(levels)
    return files


def _preview(
    bands: Triple, stretch: Lupton, order: int, centre: tuple[float, float], fov: float
) -> bytes | memoryview:
    def read(tile: Tile) -> npt.NDArray[np.uint8] | None:
        values = _values(bands, tile)
        return None if values is None else stretch(values)

    picture = view(read, centre, fov, order, bands[0].tile_width)
    return JpegTile(quality=90).encode(picture)


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

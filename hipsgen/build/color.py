"""A color survey from three FITS surveys, red, green and blue: made, gone on with, followed up."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen import __version__
from hipsgen.errors import ConfigError
from hipsgen.text import counted
from hipsgen.build.survey import BuildResult
from hipsgen.render.color_block import ColorTask, render_color_block
from hipsgen.plan.color_stretch import Triple, cells_of, choose_lupton, values_of
from hipsgen.plan.options import Runtime
from hipsgen.build.metadata import SurveyIdentity, geometry, identity_properties, override
from hipsgen.journal.previous import Checksums
from hipsgen.run.engine import check_engine, open_engine, run_bounded
from hipsgen.journal.journal import Journal
from hipsgen.journal.output import claim, remove_blocks, is_half_wiped, remove_stale_top_tiles, wipe
from hipsgen.plan.blocks import MAX_BLOCK_DEPTH
from hipsgen.build.publish import creation_date
from hipsgen.journal.records import BlockRecord, TopRecord
from hipsgen.run.progress import Reporter
from hipsgen.journal.inventory import FileChecksum, TileInventory
from hipsgen.journal.lease import BuildLease
from hipsgen.sky.stretch import Channel, Lupton
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import ALLSKY_ORDERS, MOC_NAME, moc_bytes
from hipsgen.survey.extent import initial_view
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.formats import Format, JpegTile, format_of
from hipsgen.survey.page import page_files
from hipsgen.survey.preview import FILE_NAME as PREVIEW
from hipsgen.survey.preview import view
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.properties import encode_properties
from hipsgen.survey.store import LocalStore, Store
from hipsgen.survey.survey import Survey

Made = list[tuple[BlockRecord | None, list[tuple[Tile, Checksums]]]]  # or sums without a record


def build_color(
    bands: Triple,
    store: Store,
    subject: SurveyIdentity,
    formats: tuple[str, ...],
    runtime: Runtime,
    reporter: Reporter,
    own_properties: Sequence[tuple[str, str]] = (),
) -> BuildResult:
    """Make the pictures of every order from the float tiles of that order, or finish doing so.

    Raises ConfigError when the three surveys do not fit together or a format cannot be
    transparent, InputError when they hold no data.
    """
    started = time.monotonic()
    _check_alike(bands)
    if any(band.planes for band in bands):
        raise ConfigError("a color survey is made of values: a mask has flags")
    encoders = _encoders(formats)
    names = tuple(encoder.name for encoder in encoders)
    claim(store, color=True)
    if any(str(band.store) == str(store) for band in bands):
        raise ConfigError(f"{store} is one of the three surveys: name another -o")
    fresh = runtime.fresh or is_half_wiped(store)
    if fresh:
        check_engine(runtime.engine)
    journal = Journal(store)
    with journal.running():
        order = min(band.order for band in bands)
        moc = bands[0].moc().union(bands[1].moc(), bands[2].moc())
        stretch = _prepare(bands, order, names, store, fresh, runtime.recut)
        created = creation_date(store)
        lease, tasks = _tasks(bands, store, stretch, names, moc, order)
        earlier = {record.root: record for record in journal.records()}
        wanted = {task.root for task in tasks if task.root is not None}
        known_top = journal.top()
        todo = [task for task in tasks if not _is_done(task, earlier, known_top)]
        count = sum(len(task.tiles) for task in tasks)
        reporter.note(
            f"{subject.name}: order {order}, {counted(count, 'tile')} of {subject.progenitor}"
        )
        with lease.guard():
            store.delete(PROPERTIES)
            if any(task.root is None for task in todo):
                journal.begin_top()
            removed = remove_blocks(journal.roots() - wanted, order, names, store)
        made = _render(todo, subject.name, runtime, reporter)
        done = [record for record, _ in made if record is not None]
        records = {**earlier, **{record.root: record for record in done}}
        blocks = [records[task.root] for task in tasks if task.root is not None]
        is_kept = known_top is not None and all(task.root is not None for task in todo)
        sums = [item for _, items in made for item in items]
        top = known_top.inventory if known_top and is_kept else TileInventory.of(names, sums)
        size = _sizes(names, blocks, top)
        with lease.guard(on_conflict=journal.begin_top):
            removed += remove_stale_top_tiles(store, order - _depth(order), top.tiles())
            words = {
                **identity_properties(subject, created),
                "dataproduct_subtype": "color",
                **_publish(bands, stretch, encoders, moc, order, top, tasks[-1].fingerprint, store),
                "hips_hierarchy": "mean",
                "hips_estsize": max(1, round(sum(size.values()) / 1024)),
                "hipsgen_stretch": stretch.describe(),
            }
            store.write(PROPERTIES, encode_properties(override(words, own_properties)))
        return BuildResult(
            name=subject.name,
            order=order,
            coadds=3,
            tiles=sum(record.tiles for record in blocks) + len(top),
            size=size,
            seconds=time.monotonic() - started,
            blocks=len(blocks),
            redone=len(done),
            made=sum(record.made for record in done) + len(sums),
            removed=removed + sum(record.removed for record in done),
            updated=bool(earlier),
            kind="survey",
        )


def _publish(
    bands: Triple,
    stretch: Lupton,
    encoders: Sequence[Format],
    moc: Any,
    order: int,
    top: TileInventory,
    fingerprint: str,
    store: Store,
) -> dict[str, Any]:
    """Write what is made once all tiles are in, but the properties; words for these."""
    frame, width = bands[0].frame, bands[0].tile_width
    center, icrs, fov = initial_view(moc, frame)
    files = {
        **_allsky_files(bands, stretch, encoders),
        MOC_NAME: moc_bytes(moc, frame),
        PREVIEW: _preview(bands, stretch, order, center, fov),
        **dict(page_files()),
    }
    for path, data in files.items():
        store.write(path, data)
    known = {path: FileChecksum.of(data) for path, data in files.items()}
    Journal(store).record_top(TopRecord(top, known, fingerprint))
    formats = " ".join(encoder.name for encoder in encoders)
    return {
        **_light_of(bands),
        **geometry(order, width, frame, formats, icrs, fov, moc),
        "hips_rgb_red": _rgb_word(bands[0]),
        "hips_rgb_green": _rgb_word(bands[1]),
        "hips_rgb_blue": _rgb_word(bands[2]),
    }


def _sizes(names: Sequence[str], blocks: Sequence[BlockRecord], top: TileInventory) -> dict[str, int]:
    """Bytes of all tiles, by format."""
    above = top.size()
    return {name: above[name] + sum(r.size.get(name, 0) for r in blocks) for name in names}


def _tasks(
    bands: Triple, store: Store, stretch: Lupton, names: tuple[str, ...], moc: Any, order: int
) -> tuple[BuildLease, list[ColorTask]]:
    """One for each block, and one for what is above them; with the turn to do them."""
    top = order - _depth(order)
    below: dict[Tile, list[Tile]] = {}
    for k in range(top, order + 1):
        for npix in cells_of(moc, k):
            below.setdefault(Tile(k, npix).ancestor(top), []).append(Tile(k, npix))
    above = tuple(Tile(k, npix) for k in range(top) for npix in cells_of(moc, k))
    blocks = [(root, tuple(tiles)) for root, tiles in sorted(below.items())]
    common, contents = (__version__, names, stretch), [_contents(band, top) for band in bands]
    work = [
        (root, tiles, _digest(contents, root, common, tiles))
        for root, tiles in [*blocks, (None, above)]
    ]
    lease = BuildLease.acquire(store, (fingerprint for *_, fingerprint in work))
    return lease, [ColorTask(bands, lease, stretch, names, *piece) for piece in work]


def _prepare(
    bands: Triple, order: int, formats: tuple[str, ...], store: Store, fresh: bool, recut: bool
) -> Lupton:
    """The stretch: that of an earlier build of the same, unless it is to be chosen anew.

    Raises ConfigError when the earlier one is of other surveys or formats.
    """
    begun = {"color": [_name(band) for band in bands], "formats": list(formats)}
    journal = Journal(store)
    earlier = {} if fresh else journal.color()
    if earlier and any(earlier.get(key) != value for key, value in begun.items()):
        raise ConfigError(
            "the color survey that is there is of other surveys or formats "
            f"({' '.join(earlier['color'])}; {','.join(earlier['formats'])}): use --fresh"
        )
    if earlier and not recut:
        channels = [Channel(**channel) for channel in earlier["stretch"]["channels"]]
        red, green, blue = channels
        return Lupton((red, green, blue), earlier["stretch"]["high"])
    stretch = choose_lupton(bands, order)
    if fresh:
        wipe(store)
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
    if len(found) > 1:  # properties have a date, and change with every build
        found[None] = sorted(text for root, texts in found.items() if root for text in texts)
    return found


def _digest(
    contents: Sequence[Mapping[Tile | None, list[str]]], root: Tile | None, *more: object
) -> str:
    """Changes when a block has to be made again."""
    whose = [found.get(root, []) if len(found) > 1 else found[None] for found in contents]
    return hashlib.sha256(repr((whose, *more)).encode()).hexdigest()[:16]


def _depth(order: int) -> int:
    return min(MAX_BLOCK_DEPTH, order)


def _is_done(task: ColorTask, earlier: Mapping[Tile, BlockRecord], top: TopRecord | None) -> bool:
    record = top if task.root is None else earlier.get(task.root)
    return record is not None and record.fingerprint == task.fingerprint


def _render(tasks: Sequence[ColorTask], name: str, runtime: Runtime, reporter: Reporter) -> Made:
    """Do the tasks, with progress."""
    made: Made = []
    reporter.start(name, sum(len(task.tiles) for task in tasks))
    try:
        with open_engine(runtime.engine, runtime.workers) as executor:
            for record, sums in run_bounded(
                executor, render_color_block, iter(tasks), runtime.workers
            ):
                made.append((record, sums))
                reporter.advance(len(sums) if record is None else record.made)
    finally:
        reporter.stop()
    return made


def _check_alike(bands: Triple) -> None:
    for name in ("frame", "tile_width"):
        found = [getattr(band, name) for band in bands]
        if len(set(found)) > 1:
            raise ConfigError(f"the three surveys differ in {name}: {', '.join(map(str, found))}")
    for band in bands:
        if "fits" not in band.formats:
            raise ConfigError(f"{band.store} has no FITS tiles; color is made of physical values")


def _encoders(formats: tuple[str, ...]) -> list[Format]:
    """The pictures asked for that can be transparent; PNG when there is none."""
    found = [format_of(name) for name in formats]
    fitting: list[Format] = [f for f in found if not f.holds_values and f.keeps_missing]
    return fitting or [format_of("png")]


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
    bands: Triple, stretch: Lupton, order: int, center: tuple[float, float], fov: float
) -> bytes | memoryview:
    def read(tile: Tile) -> npt.NDArray[np.uint8] | None:
        values = values_of(bands, tile)
        return None if values is None else stretch(values)

    picture = view(read, center, fov, order, bands[0].tile_width)
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

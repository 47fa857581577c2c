"""Color surveys of three FITS surveys, for `lifecycle.SurveyBuild`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from hipsgen.builder.color_products import ColorProducts
from hipsgen.builder.lifecycle import Changes, Published
from hipsgen.builder.metadata import SurveyIdentity
from hipsgen.coadd import Problem
from hipsgen.errors import ConfigError
from hipsgen.journal.fingerprints import color_contents, color_fingerprint
from hipsgen.journal.inventory import TileChecksums, TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.lease import BuildLease
from hipsgen.journal.output import remove_stale_top_tiles
from hipsgen.journal.records import BlockRecord, TopRecord
from hipsgen.planner.blocks import max_block_depth
from hipsgen.planner.color_stretch import Triple, cells_of, choose_lupton
from hipsgen.planner.options import tile_bytes
from hipsgen.planner.recipe import RECIPE_VERSION
from hipsgen.render.color_block import ColorResult, ColorTask
from hipsgen.run.progress import Reporter
from hipsgen.sky.frames import FRAMES
from hipsgen.sky.stretch import Channel, Lupton
from hipsgen.sky.tiles import Tile
from hipsgen.survey.formats import Format, format_of
from hipsgen.survey.store import Store
from hipsgen.survey.survey import Survey
from hipsgen.text import counted

Work = tuple[Tile | None, tuple[Tile, ...], str]  # root, tiles and fingerprint of a task


class ColorSurvey:
    """A `lifecycle.SurveyKind`: color tiles of each order from the FITS tiles of that order.

    All tiles above the blocks are one task, whose root is None; they are recorded with the top
    orders.
    """

    is_color = True
    skipped: Sequence[Problem] = ()
    n_inputs = 3

    def __init__(
        self,
        bands: Triple,
        store: Store,
        identity: SurveyIdentity,
        formats: tuple[str, ...],
        reporter: Reporter,
        properties: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Raise ConfigError when the surveys are incompatible, or one of them is the output."""
        check_compatible(bands)
        if any(str(band.store) == str(store) for band in bands):
            raise ConfigError(
                f"{store} is one of the three input surveys: choose another {{output}}"
            )
        self.name, self.store = identity.name, store
        self._bands, self._identity, self._reporter = bands, identity, reporter
        self._properties, self._encoders = properties, transparent_formats(formats)
        self.formats = tuple(encoder.name for encoder in self._encoders)
        self._journal = Journal(store)
        self._order = min(band.order for band in bands)
        self._root_order = self._order - max_block_depth(self._order, bands[0].tile_width)
        self._records: list[BlockRecord] = []
        self._sums: list[tuple[Tile, TileChecksums]] = []

    def prepare(self, fresh: bool, recut: bool) -> Iterable[str]:
        """See `SurveyKind`. Raises InputError when the surveys contain no data."""
        first, *others = (band.moc for band in self._bands)
        self._moc = first.union(*others)
        self._stretch = self._existing_stretch(fresh, recut) or choose_lupton(
            self._bands, self._order
        )
        self._work = self._all_work()
        return [fingerprint for *_, fingerprint in self._work]

    def _existing_stretch(self, fresh: bool, recut: bool) -> Lupton | None:
        """Return the stretch of the existing survey, or None when one has to be computed.

        Raises ConfigError when the existing survey was made from other surveys or formats.
        """
        earlier = {} if fresh else self._journal.color_recipe()
        if not earlier:
            return None
        if any(earlier.get(key) != value for key, value in self._sources().items()):
            raise ConfigError(
                f"the color survey in {self.store} was made from other surveys or formats "
                f"({' '.join(earlier['color'])}; {','.join(earlier['formats'])}): use {{fresh}}"
            )
        if recut:
            return None
        red, green, blue = (Channel(**channel) for channel in earlier["stretch"]["channels"])
        return Lupton((red, green, blue), earlier["stretch"]["high"])

    def _sources(self) -> dict[str, list[str]]:
        return {"color": [_name(band) for band in self._bands], "formats": list(self.formats)}

    def _all_work(self) -> list[Work]:
        """Return root, tiles and fingerprint of each block, and of all tiles above the blocks."""
        top = self._root_order
        below: dict[Tile, list[Tile]] = {}
        for order in range(top, self._order + 1):
            for npix in cells_of(self._moc, order):
                below.setdefault(Tile(order, npix).ancestor(top), []).append(Tile(order, npix))
        above = tuple(Tile(k, npix) for k in range(top) for npix in cells_of(self._moc, k))
        blocks = [(root, tuple(tiles)) for root, tiles in sorted(below.items())]
        contents = [color_contents(band, top) for band in self._bands]
        recipe = (RECIPE_VERSION, self.formats, self._stretch)
        return [
            (root, tiles, color_fingerprint(contents, root, recipe, tiles))
            for root, tiles in [*blocks, (None, above)]
        ]

    def begin(self) -> None:
        """See `SurveyKind`."""
        self._journal.begin_color({**self._sources(), "stretch": asdict(self._stretch)})

    def plan_changes(self) -> Changes:
        """See `SurveyKind`."""
        records = {record.root: record for record in self._journal.records()}
        self._known_top = self._journal.top()
        self._pending = [work for work in self._work if not self._is_done(work, records)]
        roots = {root for root, *_ in self._work}
        pending = {root for root, *_ in self._pending}
        self._kept = {
            root: record
            for root, record in records.items()
            if root in roots and root not in pending
        }
        n_tiles = sum(len(tiles) for _, tiles, _ in self._pending)
        return Changes(
            n_bytes=n_tiles * tile_bytes(self.formats, self._bands[0].tile_width),
            n_units=n_tiles,
            n_blocks=len(roots - {None}),
            n_pending=len(self._pending),
            kept=self._kept,
            replaced=[record for root, record in records.items() if root not in self._kept],
            obsolete_roots=sorted(self._journal.roots() - roots),
        )

    def _is_done(self, work: Work, records: dict[Tile, BlockRecord]) -> bool:
        root, _, fingerprint = work
        record: BlockRecord | TopRecord | None = (
            self._known_top if root is None else records.get(root)
        )
        return record is not None and record.fingerprint == fingerprint

    def announce(self, changes: Changes) -> None:
        """See `SurveyKind`."""
        count = sum(len(tiles) for _, tiles, _ in self._work)
        self._reporter.note(
            f"{self.name}: order {self._order}, {counted(count, 'tile')} from "
            f"{self._identity.progenitor}"
        )

    def update_journal(self, changes: Changes) -> None:
        """See `SurveyKind`."""
        if self._journal.color_recipe().get("stretch") != asdict(self._stretch):  # recomputed
            self.begin()
        if self._is_top_pending():
            self._journal.begin_top()

    def _is_top_pending(self) -> bool:
        return any(root is None for root, *_ in self._pending)

    def tasks(self, lease: BuildLease) -> Iterator[ColorTask]:
        """See `SurveyKind`."""
        for work in self._pending:
            yield ColorTask(self._bands, lease, self._stretch, self.formats, *work)

    def add_result(self, result: ColorResult) -> int:
        """See `SurveyKind`."""
        record, sums = result
        self._sums += sums
        if record is None:
            return len(sums)
        self._records.append(record)
        return record.n_made

    def check_complete(self) -> None:
        """See `SurveyKind`. The inputs are finished surveys, so nothing can be missing."""

    def publish(self, created: str) -> Published:
        """See `SurveyKind`."""
        top = TileInventory.of(self.formats, self._sums)
        if self._known_top is not None and not self._is_top_pending():
            top = self._known_top.inventory
        removed = remove_stale_top_tiles(self.store, self._root_order, top.tiles())
        records = {**self._kept, **{record.root: record for record in self._records}}
        blocks = [records[root] for root, *_ in self._work if root is not None]
        products = ColorProducts(self._bands, self._stretch, self._moc, self._order, self.store)
        *_, fingerprint = self._work[-1]
        products.write(self._encoders, top, fingerprint)
        products.write_properties(
            self._identity, created, self._encoders, blocks, top, self._properties
        )
        return Published(records=blocks, top=top, n_made=len(self._sums), n_removed=removed)

    def leaf_order(self) -> int:
        """See `SurveyKind`."""
        return self._order

    def rendered(self) -> Sequence[BlockRecord]:
        """See `SurveyKind`."""
        return self._records


def check_compatible(bands: Triple) -> None:
    """Raise ConfigError when three surveys cannot be combined into a color survey."""
    for name in ("frame", "tile_width"):
        found = [getattr(band, name) for band in bands]
        if len(set(found)) > 1:
            raise ConfigError(f"the three surveys differ in {name}: {', '.join(map(str, found))}")
    for band in bands:
        if band.frame not in FRAMES:
            raise ConfigError(
                f"{band.store} has hips_frame {band.frame[:40]!r}: the frame of a color survey "
                f"must be one of {', '.join(FRAMES)}"
            )
        if "fits" not in band.formats:
            raise ConfigError(f"{band.store} has no FITS tiles: a color survey needs pixel values")
        if band.planes:
            raise ConfigError(f"{band.store} is a mask survey: a color survey needs pixel values")


def transparent_formats(formats: Sequence[str]) -> list[Format]:
    """Return those of the formats that support transparency, or PNG if none does."""
    found = [format_of(name) for name in formats]
    transparent: list[Format] = [f for f in found if not f.holds_values and f.keeps_missing]
    return transparent or [format_of("png")]


def _name(band: Survey) -> str:
    """Return a name of a survey that does not depend on its folder: its band or creator_did."""
    return band.properties.get("obs_band") or band.properties.get("creator_did", "")

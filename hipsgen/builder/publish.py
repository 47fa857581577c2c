"""Publish a survey: top orders, Allsky, MOC, provenance, preview, page, and `properties` last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hipsgen.builder.metadata import (
    SurveyIdentity,
    geometry,
    identity_properties,
    now,
    override,
    times,
    wavelength_range,
)
from hipsgen.coadd import CoaddRef
from hipsgen.errors import HipsgenError, SurveyError
from hipsgen.journal.inventory import FileChecksum, TileChecksums, TileInventory
from hipsgen.journal.journal import Journal
from hipsgen.journal.output import remove_stale_top_tiles
from hipsgen.journal.records import BlockRecord, BlockSummary, InputUse, TopRecord
from hipsgen.planner.options import BuildOptions
from hipsgen.planner.recipe import Recipe
from hipsgen.render.block import encode_tile
from hipsgen.render.tile_writer import TileWriter
from hipsgen.sky.mask_planes import as_float
from hipsgen.sky.offset import absolute, as_in_file, relative
from hipsgen.sky.pyramid import Layer, parent_of, shrink
from hipsgen.sky.tiles import Tile
from hipsgen.survey.coverage import (
    ALLSKY_ORDERS,
    MOC_NAME,
    Ranges,
    allsky,
    allsky_width,
    moc_bytes,
    moc_of,
    moc_order,
)
from hipsgen.survey.extent import initial_view
from hipsgen.survey.formats import Format, JpegTile
from hipsgen.survey.page import page_files
from hipsgen.survey.preview import FILE_NAME as PREVIEW
from hipsgen.survey.preview import view
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.properties import encode_properties, parse_properties
from hipsgen.survey.provenance import FILE_NAME as PROVENANCE
from hipsgen.survey.provenance import LeftOut, Provenance, UsedCoadd
from hipsgen.survey.store import Store
from hipsgen.text import counted


@dataclass
class Publication:
    """Writes the files that depend on all blocks.

    Attributes
    ----------
    store, recipe
        Where and what to publish.
    records
        Records of the blocks that have tiles.
    inventory
        Tiles of the orders above the blocks.
    made, removed
        Number of these tiles written, and of obsolete ones deleted.
    """

    store: Store
    recipe: Recipe
    records: Sequence[BlockRecord]
    inventory: TileInventory = field(init=False)
    made: int = 0
    removed: int = 0

    def __post_init__(self) -> None:
        self._journal = Journal(self.store)
        self._roots = {record.root: record for record in self.records}
        self._above = {root.ancestor(order) for root in self._roots for order in range(root.order)}
        self._encoders = self.recipe.encoders()
        self._cells: list[Ranges] = []
        self._small: dict[Tile, Layer] = {}
        self._earlier: dict[Tile, TileChecksums] = {}
        self._sums: dict[Tile, TileChecksums] = {}

    def make(
        self,
        identity: SurveyIdentity,
        refs: Sequence[CoaddRef],
        options: BuildOptions,
        created: str,
        left_out: Sequence[LeftOut] = (),
    ) -> dict[str, Any]:
        """Write all files and return the properties."""
        files: dict[str, bytes | memoryview] = {}
        self._earlier = dict(self._journal.begin_top().items())
        with TileWriter(self.store) as self._writer:
            for face in range(12):
                self._top(Tile(0, face))
            files |= allsky_files(self._small, self.recipe, self._encoders)
            self._writer.write(*files.items())
        self.inventory = TileInventory.of(self.recipe.formats, self._sums.items())
        self.removed = remove_stale_top_tiles(
            self.store, self.recipe.block_order, self.inventory.tiles()
        )
        moc = moc_of(self._cells, moc_order(self.recipe.order))
        coadds = used_coadds(refs, self.records)
        center, icrs, fov = initial_view(moc, self.recipe.frame)
        others = {
            MOC_NAME: moc_bytes(moc, self.recipe.frame),
            PROVENANCE: Provenance(coadds, left_out).to_bytes(),
            PREVIEW: self._preview(center, fov),
            **dict(page_files()),
        }
        for path, data in others.items():
            self.store.write(path, data)
        known = {path: FileChecksum.of(data) for path, data in (files | others).items()}
        self._journal.record_top(TopRecord(self.inventory, known))
        properties = {
            **identity_properties(identity, created),
            "obs_band": self.recipe.band,
            **wavelength_range([identity.band]),
            **times(coadds),
            **geometry(
                self.recipe.order,
                self.recipe.tile_width,
                self.recipe.frame,
                format_names(self._encoders),
                icrs,
                fov,
                moc,
            ),
            **self._pixel_properties(),
            "hipsgen_left_out": len(left_out) or None,
        }
        properties = override(properties, options.properties)
        self.store.write(PROPERTIES, encode_properties(properties))
        return properties

    def _top(self, tile: Tile) -> Layer | None:
        """Return the layer of a tile at or above the roots; above them, make and write it."""
        if tile.order == self.recipe.block_order:
            return self._root(tile) if tile in self._roots else None
        if tile not in self._above:
            return None
        children = ((child.npix & 3, self._top(child)) for child in tile.children)
        layer = parent_of(children, self.recipe.tile_width)
        if layer is None:
            return None
        written, sums = encode_tile(self.recipe, tile, layer, self._encoders)
        if self._earlier.get(tile) != sums:
            self._writer.write(*written)
            self.made += 1
        self._sums[tile] = sums
        if tile.order in ALLSKY_ORDERS:
            self._small[tile] = shrink(layer, allsky_width(self.recipe.tile_width))
        return layer

    def _root(self, tile: Tile) -> Layer | None:
        state = self._state(self._roots[tile])
        if state is None:
            damaged = [r.root for r in self.records if self._state(r) is None]
            for root in damaged:
                self._journal.invalidate(root)
            blocks = counted(len(damaged), "block")
            raise HipsgenError(
                f"{self.store}: the journal of {blocks} is damaged, or another build changed it: "
                "rerun the same command to render them again"
            )
        self._cells.append(state.cells)
        self._small.update(state.allsky_layers)
        return state.root_layer

    def _state(self, record: BlockRecord) -> BlockSummary | None:
        """Return the state of a block, or None if it is damaged or does not match the record."""
        try:
            state = self._journal.read_summary(record.root)
        except ValueError:
            return None
        return state if state.content == record.content else None

    def _preview(self, center: tuple[float, float], fov: float) -> bytes | memoryview:
        """Return preview.jpg, 256 x 256 pixels, made from the FITS tiles."""
        fits = self._encoders[self.recipe.formats.index("fits")]

        def read(tile: Tile) -> Any:
            try:
                values = as_float(fits.decode(self.store.read(tile.path("fits"))))
                return self.recipe.levels(relative(values, self.recipe.offset))
            except FileNotFoundError:
                return None

        picture = view(read, center, fov, self.recipe.order, self.recipe.tile_width)
        return JpegTile(quality=90).encode(picture)

    def _pixel_properties(self) -> dict[str, Any]:
        recipe = self.recipe
        is_mask, is_double = recipe.plane == "mask", bool(recipe.offset)
        bitpix = 32 if is_mask else -64 if is_double else -32
        low = min(r.low for r in self.records)
        high = max(r.high for r in self.records)
        written = sum(self.inventory.size().values()) + sum(
            sum(r.size.values()) for r in self.records
        )
        return {
            "hips_bunit": recipe.unit,
            "hips_pixel_bitpix": bitpix,
            "data_pixel_bitpix": bitpix,
            "s_pixel_scale": f"{recipe.pixel_scale:.8g}",
            "hips_pixel_cut": format_range(recipe.stretch.low, recipe.stretch.high, is_double),
            "hips_data_range": format_range(low, high, is_double),
            "hips_sampling": recipe.interpolation,
            "hips_overlay": "or" if is_mask and recipe.overlap != "primary" else recipe.overlap,
            "hips_hierarchy": "or" if is_mask else "mean",
            "hips_estsize": max(1, round(written / 1024)),
            "hipsgen_stretch": recipe.stretch.describe(15 if is_double else 6),
            "hipsgen_offset": repr(recipe.offset) if is_double else None,
            "hipsgen_plane": None if recipe.plane == "image" else recipe.plane,
            "hipsgen_planes": " ".join(f"{name}:{bit}" for name, bit in recipe.planes.items()),
        }


def format_range(low: float, high: float, is_double: bool = False) -> str | None:
    """Format an increasing range with as few digits as necessary; None if it is empty.

    is_double: keep the digits of float64.
    """
    for digits in (15, 17) if is_double else (6, 9, 17):
        text = f"{low:.{digits}g} {high:.{digits}g}"
        if low < high and float(text.split()[0]) < float(text.split()[1]):
            return text
    return None


def used_coadds(refs: Sequence[CoaddRef], records: Sequence[BlockRecord]) -> list[UsedCoadd]:
    """Return the coadds that contributed pixels, in the order of the plan, with their scaling."""
    uses: dict[str, InputUse] = {}
    for record in records:
        for use in record.input_uses:
            uses.setdefault(use.coadd, use)
    return [_used(ref, uses[ref.key]) for ref in refs if ref.key in uses]


def _used(ref: CoaddRef, use: InputUse) -> UsedCoadd:
    return UsedCoadd(
        ref,
        unit_in=use.unit_in,
        scale=use.scale,
        calibration=use.calibration,
        excluded_planes=" ".join(use.excluded),
        t_min=use.t_min,
        t_max=use.t_max,
    )


def format_names(encoders: Sequence[Format]) -> str:
    """Return hips_tile_format: previews first, since clients use the first format they support."""
    return " ".join(e.name for e in sorted(encoders, key=lambda e: e.holds_values))


def allsky_files(
    small: Mapping[Tile, Layer], recipe: Recipe, encoders: Sequence[Format]
) -> dict[str, bytes | memoryview]:
    """Return the Allsky files of all low orders of the survey, in every format."""
    files: dict[str, bytes | memoryview] = {}
    for order in ALLSKY_ORDERS:
        layers = {tile.npix: layer for tile, layer in small.items() if tile.order == order}
        if not layers:
            continue
        values = as_in_file(allsky(layers, order, recipe.tile_width), recipe.offset)
        for encoder in encoders:
            is_picture = not encoder.holds_values
            pixels = recipe.levels(values) if is_picture else absolute(values, recipe.offset)
            files[f"Norder{order}/Allsky.{encoder.extension}"] = encoder.encode(pixels)
    return files


def creation_date(store: Store) -> str:
    """Return hips_creation_date: that of the existing or unfinished survey, or the current time.

    The journal keeps it while there is no `properties` file.
    """
    journal = Journal(store)
    try:
        text = store.read(PROPERTIES).decode("utf-8", "replace")
        known = parse_properties(text).get("hips_creation_date", "")
    except (FileNotFoundError, SurveyError):
        known = journal.creation_date()
    known = known or now()
    journal.keep_creation_date(known)
    return known

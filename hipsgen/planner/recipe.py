"""The recipe: all that decides the bytes of a survey's tiles, besides its coadds."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from hipsgen.errors import ConfigError
from hipsgen.images.coadd_fits import DEFAULT_EXCLUDED, FitsReader
from hipsgen.planner.options import TILE_WIDTH, BuildOptions
from hipsgen.planner.sample import Sample
from hipsgen.sky.mask_planes import OTHER, OTHER_BIT
from hipsgen.sky.stretch import Asinh, Linear, SkyLevel, choose_stretch
from hipsgen.sky.tiles import order_for
from hipsgen.survey.fits_tile import FitsTile
from hipsgen.survey.formats import Format, format_of

# of what the bytes of tiles depend on: a survey begun with another one cannot be continued
RECIPE_VERSION = "0.1.0"

# stored names of the stretches, in build.json and in fingerprints
_STRETCHES: dict[str, type[Linear] | type[Asinh]] = {"Linear": Linear, "Asinh": Asinh}


@dataclass(frozen=True)
class Recipe:
    """Everything besides the coadds that decides the bytes of the tiles.

    order: of the leaf tiles; render_order: at which coadds are sampled, deeper than `order` when
    the tiles are coarser than the input, whose pixels are then averaged. block_depth: a block
    is the subtree under a tile of order `order - block_depth`. names: of the flags of a mask, from
    bit 0 on.
    """

    order: int
    render_order: int
    block_depth: int
    frame: str
    formats: tuple[str, ...]
    interpolation: str
    overlap: str
    stretch: Linear | Asinh
    excluded: tuple[str, ...]
    blank: float | None
    unit: str
    band: str
    pixel_scale: float
    tile_width: int = TILE_WIDTH
    version: str = RECIPE_VERSION
    plane: str = "image"
    names: tuple[str, ...] = ()

    @property
    def block_order(self) -> int:
        """Order of the blocks' roots."""
        return self.order - self.block_depth

    @property
    def pixel_area(self) -> float:
        """arcsec^2 of the input pixels to which the unit refers."""
        return float(f"{(self.pixel_scale * 3600) ** 2:.9g}")

    @property
    def planes(self) -> dict[str, int]:
        """Bits of the flags of a mask by name; empty for values."""
        if self.plane != "mask":
            return {}
        return {**{name: bit for bit, name in enumerate(self.names)}, OTHER: OTHER_BIT}

    @property
    def reader(self) -> FitsReader:
        """What reads the coadds."""
        return FitsReader(self.excluded, self.blank, plane=self.plane)

    def encoders(self) -> tuple[Format, ...]:
        """The formats of the tiles, in the order asked for."""
        made: list[Format] = []
        for name in self.formats:
            if name == "fits":
                planes = tuple(self.planes.items())
                area = 0.0 if planes else self.pixel_area
                made.append(FitsTile(self.frame, self.unit, self.band, area, planes))
            else:
                made.append(format_of(name))
        return tuple(made)

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes it again."""
        kind = next(name for name, made in _STRETCHES.items() if type(self.stretch) is made)
        values = {**asdict(self), "stretch": [kind, asdict(self.stretch)]}
        if self.plane == "image":  # as it was written before there were others
            del values["plane"], values["names"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Recipe":
        """Raises ConfigError for values of another version of this software."""
        known = {f.name for f in fields(cls)}
        if {*values, "plane", "names"} != known:
            raise ConfigError("the build was begun by another version of hipsgen; use {fresh}")
        kind, parameters = values["stretch"]
        stretch = _STRETCHES[kind](**parameters)
        lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list) and k != "stretch"}
        return cls(**{**values, **lists, "stretch": stretch})

    def digest(self) -> str:
        """Short hash of all of it."""
        return _digest(self.to_json())

    def values_digest(self) -> str:
        """Short hash of what decides the values of tiles; how they are shown does not."""
        return _digest({**self.to_json(), "stretch": None})

    def pictures_digest(self) -> str:
        """Short hash of how values are shown."""
        return _digest(self.to_json()["stretch"])


def natural_order(pixel_scale: float, tile_width: int) -> int:
    """Return the leaf order for input pixels of a size in degrees."""
    return order_for(pixel_scale, tile_width)


def make_recipe(options: BuildOptions, sample: Sample, band: str, order: int, depth: int) -> Recipe:
    """What fixes the bytes, from what was asked for and what the coadds are like."""
    return Recipe(
        order=order,
        render_order=max(order, natural_order(sample.pixel_scale, options.tile_width)),
        block_depth=depth,
        frame=options.frame,
        formats=options.formats,
        interpolation=options.interpolation,
        overlap=options.overlap,
        stretch=stretch_of(options, sample.level),
        excluded=options.excluded,
        blank=options.blank,
        unit=sample.unit,
        band=band,
        pixel_scale=sample.pixel_scale,
        plane=options.plane,
        tile_width=options.tile_width,
        names=sample.names,
    )


def check_excluded(options: BuildOptions, sample: Sample) -> None:
    """Raise ConfigError for a mask plane that none of the coadds has."""
    for name in options.excluded:
        if name not in (*DEFAULT_EXCLUDED, *sample.planes):
            there = f"there are {', '.join(sample.planes)}" if sample.planes else "they have none"
            raise ConfigError(f"{{excluded}}: the masks have no plane {name!r}; {there}")


def stretch_of(options: BuildOptions, level: SkyLevel) -> Linear | Asinh:
    """The stretch of the pictures, from a sample of the survey's values.

    That of a variance begins at the lowest: where its sky is deeper is what one wants to see.
    """
    cuts = options.cuts
    if cuts is None and options.plane == "variance":
        low, high = level.cuts()
        cuts = min(low, level.minimum), high
    return choose_stretch(options.stretch, level, cuts)


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

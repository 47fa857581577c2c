"""What is asked for (`BuildOptions`), and what that fixes for every tile (`Recipe`)."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hipsgen.errors import ConfigError
from hipsgen.images.coadd_fits import DEFAULT_EXCLUDED, PLANES
from hipsgen.run.engine import ENGINES
from hipsgen.sky.combine import DEFAULT_OVERLAP, OVERLAPS
from hipsgen.sky.frames import FRAMES
from hipsgen.sky.resample import DEFAULT_INTERPOLATION, INTERPOLATIONS
from hipsgen.sky.stretch import STRETCHES
from hipsgen.sky.tiles import MAX_ORDER
from hipsgen.survey.formats import FORMATS

# measured, of each format
_TILE_BYTES = {"fits": 1_054_080, "png": 110_000, "jpeg": 60_000, "webp": 40_000}
_DEEPEST_ORDER = MAX_ORDER - 9  # its pixels are HEALPix cells of order 29


# properties that follow from the tiles
_MEASURED = {
    "dataproduct_type", "dataproduct_subtype", "hips_frame", "hips_order", "hips_order_min",
    "hips_pixel_bitpix", "hips_pixel_scale", "hips_tile_format", "hips_tile_width", "hips_version",
    "hipsgen_plane", "hipsgen_planes",
}  # fmt: skip


@dataclass(frozen=True)
class BuildOptions:
    """How the survey is to look; validated when made. Raises ConfigError.

    order None: the coarsest whose pixel is at most 5 % larger than the finest input's.
    cuts None: from a sample of the whole survey. blank: a pixel value that means "no data".
    properties: added to the properties file, or put in place of what it would say.
    """

    order: int | None = None
    frame: str = "equatorial"
    formats: tuple[str, ...] = ("fits", "png")
    interpolation: str = DEFAULT_INTERPOLATION
    overlap: str = DEFAULT_OVERLAP
    stretch: str = "asinh"
    cuts: tuple[float, float] | None = None
    excluded: tuple[str, ...] = DEFAULT_EXCLUDED
    blank: float | None = None
    properties: tuple[tuple[str, str], ...] = ()
    plane: str = "image"

    def __post_init__(self) -> None:
        _one_of("--planes", self.plane, PLANES)
        if self.order is not None and not 0 <= self.order <= _DEEPEST_ORDER:
            raise ConfigError(f"--order {self.order} is not within 0 and {_DEEPEST_ORDER}")
        _one_of("--frame", self.frame, FRAMES)
        _one_of("--interp", self.interpolation, INTERPOLATIONS)
        _one_of("--overlap", self.overlap, OVERLAPS)
        _one_of("--stretch", self.stretch, STRETCHES)
        for name in self.formats:
            _one_of("--format", name, tuple(FORMATS))
        if "fits" not in self.formats:
            raise ConfigError("--format must have fits: previews, colors and checks are made of it")
        if self.cuts is not None and not -math.inf < self.cuts[0] < self.cuts[1] < math.inf:
            raise ConfigError(f"--cuts {self.cuts[0]:g},{self.cuts[1]:g} do not increase")
        if self.blank is not None and not math.isfinite(self.blank):
            raise ConfigError(f"--blank {self.blank} needs no saying: it means no data anyway")
        for key, value in self.properties:
            _check_property(key, value)

    def of_plane(self, plane: str, alone: bool = True) -> "BuildOptions":
        """The same for another plane of the coadds. alone: nothing here was meant for the image.

        Of a mask there are flags in FITS tiles, and what values are made by does not apply.
        """
        if plane == "mask":
            return replace(
                self,
                plane=plane,
                formats=("fits",),
                interpolation="nearest",
                stretch="linear",
                cuts=(0.0, 1.0),  # so that a picture shows what has a flag
                excluded=(),
                blank=None,
            )
        if plane == "variance":
            return replace(self, plane=plane, blank=None, cuts=self.cuts if alone else None)
        return replace(self, plane=plane)


@dataclass(frozen=True)
class Runtime:
    """How the work is done.

    memory: bytes for decoded coadds, over all workers of this machine. strict: stop at the first
    input that cannot be used; skip_bad: finish without those. fresh: throw an earlier attempt away;
    recut: keep its values, and choose the display range of its previews anew.
    """

    workers: int = 1
    memory: int = 1 << 30
    engine: str = "threads"
    strict: bool = False
    skip_bad: bool = False
    fresh: bool = False
    recut: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"--workers {self.workers} is not at least 1")
        if self.engine not in ENGINES and not self.engine.startswith("tcp://"):
            known = ", ".join(ENGINES)
            raise ConfigError(f"--engine {self.engine!r} is none of: {known}, or tcp://HOST:PORT")
        if self.strict and self.skip_bad:
            raise ConfigError("--strict and --skip-bad contradict each other: choose one")
        if self.memory < 64 << 20:
            raise ConfigError(f"--memory {self.memory / (1 << 20):g} MB is not at least 64 MB")


def tile_bytes(formats: Iterable[str]) -> int:
    """About what a tile takes in all its formats."""
    return sum(_TILE_BYTES[name] for name in formats)


def _check_property(key: str, value: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", key) or not value.isprintable() or not value:
        raise ConfigError(f"--property {key}={value!r} is not a keyword and one line of text")
    if key in _MEASURED:
        raise ConfigError(f"--property {key}: what the survey is decides that, not a word")


def parse_size(text: str) -> int:
    """`2G`, `500MB`, `1.5 GiB` or a number of bytes -> bytes. Raises ConfigError."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kKmMgGtT]?)(i?[bB])?\s*", text)
    if not match or match[1].count(".") > 1 or match[1] == ".":
        raise ConfigError(f"--memory {text!r} is no size: write 500M or 2G")
    power = " KMGT".index(match[2].upper()) if match[2] else 0
    return int(float(match[1]) * 1024**power)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{option} {value!r} is none of: {', '.join(known)}")

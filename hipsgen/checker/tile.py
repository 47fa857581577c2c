"""One tile, wholly: its files against what was written, one another, and the tiles below it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.checker.finding import Finding
from hipsgen.checker.previews import is_colored, picture_faults
from hipsgen.errors import SurveyError
from hipsgen.journal.inventory import FileChecksum
from hipsgen.planner.recipe import Recipe
from hipsgen.sky.frames import FRAMES, to_icrs
from hipsgen.sky.mask_planes import as_float
from hipsgen.sky.polygon import bounding_circle, to_vectors
from hipsgen.sky.pyramid import Layer, parent_of
from hipsgen.sky.tiles import Tile
from hipsgen.survey.fits_header import Header, checksums_match, read_header
from hipsgen.survey.fits_tile import hpx_wcs
from hipsgen.survey.formats import format_of
from hipsgen.survey.provenance import Provenance
from hipsgen.survey.survey import Survey

Values = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

_WCS_SLACK = 1e-3  # pixels; wcslib and we differ by 1e-7
_BEYOND = 0.01  # share of the pixels of another's parent that may not follow a rule
_ENOUGH = 20  # pixels that a share is taken of
_INSIDE = 64  # pixels of a leaf tile that are looked for in the outlines of coadds
_RESOLVED = 2.0  # pixels that data may reach beyond an outline


@dataclass(frozen=True)
class Rules:
    """What is known of how a survey was made.

    ours: by this program, so that parents follow from leaf tiles to the last bit. recipe: with
    what, if its journal is there; then so do pictures.
    """

    ours: bool = False
    recipe: Recipe | None = None


@dataclass(frozen=True)
class JournalChecksums:
    """Checksums of some files in the journal. sums: by path; record: the file that has them."""

    sums: Mapping[str, FileChecksum]
    record: str

    def faults(self, path: str, data: bytes) -> Iterator[str]:
        """In what a file that is there differs from what was written."""
        if path not in self.sums:
            yield "is not in the journal"
        elif FileChecksum.of(data) != self.sums[path]:
            yield f"is not what was written, says the journal; {self._advice()}"

    def missing(self, path: str) -> Finding:
        """A file is not there."""
        what = f"is missing, and was written, says the journal; {self._advice()}"
        return Finding("error", path, what)

    def _advice(self) -> str:
        return f"remove {self.record} and build again to have it made anew"


@dataclass
class TileReport:
    """What was seen of a tile.

    layer: its values, or what they should be; None for no data. is_known: they can be relied on.
    scale: of integer values, one step.
    """

    layer: Layer | None = None
    is_known: bool = True
    scale: float = 0.0
    findings: list[Finding] = field(default_factory=list)


class TileChecker:
    """Looks at the tiles of a survey. extensions: of its formats, by name."""

    def __init__(
        self,
        survey: Survey,
        extensions: Mapping[str, str],
        rules: Rules,
        provenance: Provenance | None,
    ) -> None:
        self._survey, self._rules, self._provenance = survey, rules, provenance
        self._order, self._width = survey.order, survey.tile_width
        self._extensions = extensions
        self._is_color = survey.is_color

    def look(
        self,
        tile: Tile,
        present: Sequence[str],
        children: Sequence[tuple[int, TileReport]],
        written: JournalChecksums | None,
    ) -> TileReport:
        """Check a tile.

        present: names of the formats it is there in. children: what was seen of those it has, with
        their NESTED places. written: what the journal says, None when there is none.
        """
        seen = TileReport()
        values: Values | None = None
        pictures: dict[str, Picture] = {}
        for name in present:
            path = tile.path(self._extensions[name])
            found, trouble = self._read(tile, path, name, written)
            seen.findings += [Finding("error", path, text) for text in trouble]
            if found is None:
                seen.is_known &= not format_of(name).holds_values
            elif format_of(name).holds_values:
                values, seen.scale = found
            else:
                pictures[name] = found[0]
        if "fits" in self._extensions and values is None:
            seen.is_known = False
        if values is not None:
            path = tile.path("fits")
            texts = list(self._values(tile, values, seen, children))
            seen.findings += [Finding("error", path, text) for text in texts]
        for name, picture in pictures.items():
            path = tile.path(self._extensions[name])
            recipe = self._rules.recipe
            is_leaf = tile.order == self._order
            if values is not None:
                texts = list(picture_faults(name, picture, as_float(values), recipe, is_leaf))
                seen.findings += [Finding("error", path, text) for text in texts]
            if not self._is_color and is_colored(picture):
                seen.findings.append(
                    Finding("error", "dataproduct_subtype", "is not color, but tiles are colored")
                )
        return seen

    def _read(
        self, tile: Tile, path: str, name: str, written: JournalChecksums | None
    ) -> tuple[Any, list[str]]:
        """Pixels, with the step of integers, and what is wrong with the file by itself."""
        try:
            data = self._survey.store.read(path)
        except FileNotFoundError:
            return None, ["is missing"]
        except OSError as error:
            return None, [f"cannot be read ({error.strerror or error})"]
        trouble = [] if written is None else list(written.faults(path, data))
        try:
            if name != "fits":
                pixels, step = format_of(name).decode(data), 0.0
            else:
                header = read_header(data)
                if written is None and not checksums_match(data, header):
                    trouble.append("does not agree with its own CHECKSUM or DATASUM")
                trouble += self._header(tile, header)
                pixels, step = self._survey.form(name).decode(data), _step(header)
        except SurveyError as error:
            return None, [*trouble, str(error)]
        if pixels.shape[:2] != (self._width, self._width):
            size = f"{pixels.shape[1]} x {pixels.shape[0]}"
            return None, [*trouble, f"is {size}, not hips_tile_width {self._width}"]
        return (pixels, step), trouble

    def _header(self, tile: Tile, header: Header) -> Iterator[str]:
        for key, truth in (("ORDER", tile.order), ("NPIX", tile.npix)):
            if header.number(key, truth) != truth:
                yield f"says {key} = {header.number(key):.0f}"
        bitpix = self._survey.properties.get("hips_pixel_bitpix")
        if bitpix and f"{header.number('BITPIX'):.0f}" != bitpix:
            yield f"has BITPIX {header.number('BITPIX'):.0f}, not hips_pixel_bitpix {bitpix}"
        axis = header.text("CTYPE1")
        if axis and axis.startswith("GLON") != (self._survey.frame == "galactic"):
            yield f"has CTYPE1 {axis}, but hips_frame is {self._survey.frame}"
        off = _wcs_error(tile, self._width, self._survey.frame, header)
        if off > _WCS_SLACK:
            yield f"has a WCS that is off by {off:.3g} pixels"

    def _values(
        self,
        tile: Tile,
        values: Values,
        seen: TileReport,
        children: Sequence[tuple[int, TileReport]],
    ) -> Iterator[str]:
        """A FITS tile's values against those below, or where the coadds are."""
        known = np.isfinite(as_float(values))
        seen.layer = Layer(values)
        if not known.any():
            yield "holds no data: every pixel is missing"
        if tile.order == self._order:
            yield from self._outlines(tile, known)
            return
        if not children or not all(look.is_known for _, look in children):
            seen.is_known = bool(children) and not self._rules.ours
            return
        if not self._rules.ours:
            if _follows_no_rule(values, children):
                yield "is not made of the tiles below it"
            return
        expected = parent_of(((k, look.layer) for k, look in children), self._width)
        seen.layer = expected
        if expected is None or not np.array_equal(expected.visible(), values, equal_nan=True):
            what = "the mean" if values.dtype == np.float32 else "the flags"
            yield f"is not {what} of the tiles below it"

    def _outlines(self, tile: Tile, known: npt.NDArray[np.bool_]) -> Iterator[str]:
        """Data lie where coadds are."""
        if self._provenance is None or self._survey.frame not in FRAMES or not known.any():
            return
        places = np.flatnonzero(known)
        chosen = places[np.linspace(0, places.size - 1, _INSIDE).astype(int)]
        rows, cols = np.divmod(chosen, self._width)
        for col in np.flatnonzero(known.any(axis=0))[[0, -1]]:
            rows, cols = np.append(rows, known[:, col].argmax()), np.append(cols, col)
        vectors = to_icrs(tile.vectors(rows, cols, self._width), self._survey.frame)
        edge = tile.vectors([0, 0], [0, 1], self._width)
        slack = _RESOLVED * float(np.linalg.norm(edge[1] - edge[0]))
        if not _are_inside(self._provenance, vectors, slack):
            yield "has data outside the outlines of all coadds in provenance.fits"


def _step(header: Header) -> float:
    """What integers count in, 0 for floats."""
    return abs(header.number("BSCALE", 1.0)) if header.number("BITPIX", -32) > 0 else 0.0


def _wcs_error(tile: Tile, width: int, frame: str, header: Header) -> float:
    """Pixels by which a HEALPix WCS is off at two corners; 0 when there is none that we can tell.

    In the plane of the projection, where everything is linear; longitude repeats after 360 deg.
    """
    is_plain = header.text("CTYPE1").endswith("HPX") and header.number("CRVAL1", 1.0) % 90.0 == 0
    if not is_plain or frame not in FRAMES:
        return 0.0
    ours = Header({key: value for key, value, _ in hpx_wcs(tile, width, frame)})
    off = 0.0
    for pixel in (1.0, float(width)):
        x, y = np.subtract(_plane(header, pixel), _plane(ours, pixel))
        off = max(off, float(np.hypot((x + 180.0) % 360.0 - 180.0, y)))
    step = 45.0 / (width << tile.order)
    return off / (step * math.sqrt(2.0))


def _plane(header: Header, pixel: float) -> tuple[float, float]:
    """Where in the projection's plane, in degrees, pixel (p, p) is."""
    kind = "CD" if np.isfinite(header.number("CD1_1")) else "PC"
    at = [pixel - float(header.number(f"CRPIX{k}", 0.0)) for k in (1, 2)]
    plane = []
    for row in (1, 2):
        scale = 1.0 if kind == "CD" else header.number(f"CDELT{row}", 1.0)
        parts = [
            header.number(f"{kind}{row}_{k}", float(row == k and kind == "PC")) for k in (1, 2)
        ]
        plane.append(scale * (parts[0] * at[0] + parts[1] * at[1]))
    return plane[0] + header.number("CRVAL1", 0.0), plane[1] + header.number("CRVAL2", 0.0)


def _follows_no_rule(values: Values, children: Sequence[tuple[int, TileReport]]) -> bool:
    """Whether a parent is neither mean nor median of its children, nor one pixel of four.

    Others' rules are not written down; all that were measured are among these, to rounding.
    """
    width = values.shape[0]
    below = np.full((4, width, width), np.nan)
    half, step = width // 2, 0.0
    for place, look in children:
        if look.layer is None:
            continue
        step = max(step, look.scale)
        row, col = 0 if place & 1 else half, half if place & 2 else 0
        for k in range(4):
            below[k, row : row + half, col : col + half] = look.layer.value[k // 2 :: 2, k % 2 :: 2]
    known = np.isfinite(below)
    count = known.sum(axis=0)
    finite = np.isfinite(values)
    asked = finite | (count > 0)
    wrong = (finite & (count == 0)) | (~finite & (count == 4))
    some = finite & (count > 0)
    if wrong.sum() > max(2.0, _BEYOND * asked.sum()):
        return True
    if some.sum() < _ENOUGH:
        return False
    four = below[:, some]
    slack = 1e-5 * np.nanmax(np.abs(four), axis=0) + 0.76 * step
    value = values[some]
    rules = (
        np.abs(value - np.nanmean(four, axis=0)),
        np.abs(value - np.nanmedian(four, axis=0)),
        np.nanmin(np.abs(value - four), axis=0),
    )
    return all((off > slack).mean() > _BEYOND for off in rules)


def _are_inside(provenance: Provenance, vectors: npt.NDArray[np.float64], slack: float) -> bool:
    """Whether directions (n, 3) lie in outlines of coadds, or less than `slack` radians off."""
    center, radius = bounding_circle(vectors)
    near = provenance.near(center, radius + 4 * math.degrees(slack))
    left = np.ones(len(vectors), bool)
    for coadd in near:
        left &= ~coadd.holds(vectors)
    for coadd in near:
        if not left.any():
            return True
        lon, lat, _ = coadd.circle()
        inwards = to_vectors(lon, lat) - vectors
        distance = np.linalg.norm(inwards, axis=1, keepdims=True)
        moved = vectors + inwards * np.minimum(1.0, 2 * slack / np.maximum(distance, 1e-15))
        left &= ~coadd.holds(moved)
    return not left.any()

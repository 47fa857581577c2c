"""Check one tile: its files against the journal, each other and its children."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.checker.finding import Finding
from hipsgen.checker.previews import check_preview, is_colored
from hipsgen.errors import SurveyError
from hipsgen.journal.inventory import FileChecksum
from hipsgen.planner.recipe import Recipe
from hipsgen.sky.frames import FRAMES, axes_of, to_icrs
from hipsgen.sky.mask_planes import as_float
from hipsgen.sky.offset import as_in_file, relative
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

_WCS_TOLERANCE = 1e-3  # pixels; wcslib and hipsgen differ by 1e-7
_MAX_OUTLIERS = 0.01  # fraction of the pixels of a parent that may not follow a rule
_MIN_PIXELS = 20  # pixels needed to determine a fraction
_N_OUTLINE_PIXELS = 64  # pixels of a leaf tile that are compared with the outlines of coadds
_OUTLINE_TOLERANCE = 2.0  # pixels by which data may lie outside an outline


@dataclass(frozen=True)
class Rules:
    """What is known about how a survey was made.

    Attributes
    ----------
    is_ours
        Whether hipsgen built it; parents can then be reproduced exactly from the leaf tiles.
    recipe
        The recipe, if the journal exists; previews can then be reproduced exactly, too.
    """

    is_ours: bool = False
    recipe: Recipe | None = None


@dataclass(frozen=True)
class JournalChecksums:
    """Checksums of files according to the journal.

    Attributes
    ----------
    checksums
        Checksum of each file, by path.
    record
        Path of the record that contains them.
    """

    checksums: Mapping[str, FileChecksum]
    record: str

    def mismatches(self, path: str, data: bytes) -> Iterator[str]:
        """Yield how an existing file disagrees with the journal."""
        if path not in self.checksums:
            yield "is not in the journal"
        elif FileChecksum.of(data) != self.checksums[path]:
            yield f"is not what was written, according to the journal; {self._advice()}"

    def missing(self, path: str) -> Finding:
        """Return the finding for a file that does not exist."""
        message = f"is missing, but was written according to the journal; {self._advice()}"
        return Finding("error", path, message)

    def _advice(self) -> str:
        return f"remove {self.record} and rerun the build to make it again"


@dataclass
class TileReport:
    """Result of checking a tile.

    Attributes
    ----------
    layer
        Its values, or the correct ones if they can be computed; None if there is no data.
    is_known
        Whether `layer` is reliable.
    scale
        Step of integer values; 0 for floats.
    findings
        What is wrong with the tile.
    """

    layer: Layer | None = None
    is_known: bool = True
    scale: float = 0.0
    findings: list[Finding] = field(default_factory=list)


class TileChecker:
    """Checks the tiles of a survey.

    extensions: file extension of each of its formats, by name.
    """

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

    def check(
        self,
        tile: Tile,
        present: Sequence[str],
        children: Sequence[tuple[int, TileReport]],
        written: JournalChecksums | None,
    ) -> TileReport:
        """Check a tile.

        present: names of the formats in which it exists. children: reports of its children, with
        their NESTED positions (0 to 3). written: checksums from the journal, None without one.
        """
        report = TileReport()
        values: Values | None = None
        pictures: dict[str, Picture] = {}
        for name in present:
            path = tile.path(self._extensions[name])
            found, problems = self._read(tile, path, name, written)
            report.findings += [Finding("error", path, text) for text in problems]
            if found is None:
                report.is_known &= not format_of(name).holds_values
            elif format_of(name).holds_values:
                values, report.scale = found
            else:
                pictures[name] = found[0]
        if "fits" in self._extensions and values is None:
            report.is_known = False
        if values is not None:
            path = tile.path("fits")
            texts = list(self._check_values(tile, values, report, children))
            report.findings += [Finding("error", path, text) for text in texts]
        for name, picture in pictures.items():
            report.findings += self._check_picture(tile, name, picture, values)
        return report

    def _check_picture(
        self, tile: Tile, name: str, picture: Picture, values: Values | None
    ) -> Iterator[Finding]:
        """Check a preview tile, against the values of the FITS tile if they are known."""
        if values is not None:
            path, recipe = tile.path(self._extensions[name]), self._rules.recipe
            is_leaf = tile.order == self._order
            for text in check_preview(name, picture, as_float(values), recipe, is_leaf):
                yield Finding("error", path, text)
        if not self._is_color and is_colored(picture):
            yield Finding("error", "dataproduct_subtype", "is not color, but tiles are colored")

    def _read(
        self, tile: Tile, path: str, name: str, written: JournalChecksums | None
    ) -> tuple[Any, list[str]]:
        """Return the pixels with the step of integers, and what is wrong with the file itself.

        Values are relative to the offset of the survey.
        """
        try:
            data = self._survey.store.read(path)
        except FileNotFoundError:
            return None, ["is missing"]
        except OSError as error:
            return None, [f"cannot be read ({error.strerror or error})"]
        except SurveyError as error:
            return None, [str(error)]
        problems = [] if written is None else list(written.mismatches(path, data))
        try:
            if name != "fits":
                pixels, step = format_of(name).decode(data), 0.0
            else:
                header = read_header(data)
                if written is None and not checksums_match(data, header):
                    problems.append("contradicts its own CHECKSUM or DATASUM")
                problems += self._check_header(tile, header)
                pixels = relative(self._survey.form(name).decode(data), self._survey.offset)
                step = _step(header)
        except SurveyError as error:
            return None, [*problems, str(error)]
        if pixels.shape[:2] != (self._width, self._width):
            size = f"{pixels.shape[1]} x {pixels.shape[0]}"
            return None, [*problems, f"is {size} pixels, not hips_tile_width {self._width}"]
        return (pixels, step), problems

    def _check_header(self, tile: Tile, header: Header) -> Iterator[str]:
        for key, truth in (("ORDER", tile.order), ("NPIX", tile.npix)):
            if header.number(key, truth) != truth:
                yield f"has {key} = {header.number(key):.0f}"
        bitpix = self._survey.properties.get("hips_pixel_bitpix")
        if bitpix and f"{header.number('BITPIX'):.0f}" != bitpix:
            yield f"has BITPIX {header.number('BITPIX'):.0f}, not hips_pixel_bitpix {bitpix}"
        axis, frame = header.text("CTYPE1"), self._survey.frame
        named = next((f for f in FRAMES if axis.startswith(axes_of(f)[0])), frame)
        if named != frame:
            yield f"has CTYPE1 {axis}, but hips_frame is {frame}"
        off = _wcs_error(tile, self._width, self._survey.frame, header)
        if off > _WCS_TOLERANCE:
            yield f"has a WCS that is off by {off:.3g} pixels"

    def _check_values(
        self,
        tile: Tile,
        values: Values,
        report: TileReport,
        children: Sequence[tuple[int, TileReport]],
    ) -> Iterator[str]:
        """Check the values of a FITS tile against its children, or of a leaf against the coadds."""
        known = np.isfinite(as_float(values))
        report.layer = Layer(values)
        if not known.any():
            yield "contains no data: every pixel is missing"
        if tile.order == self._order:
            yield from self._check_outlines(tile, known)
            return
        if not children or not all(child.is_known for _, child in children):
            report.is_known = bool(children) and not self._rules.is_ours
            return
        if not self._rules.is_ours:
            if _follows_no_rule(values, children):
                yield "is not made of its child tiles"
            return
        expected = parent_of(((k, child.layer) for k, child in children), self._width)
        report.layer = expected
        if expected is None or not np.array_equal(
            as_in_file(expected.visible(), self._survey.offset), values, equal_nan=True
        ):
            rule = "mean" if values.dtype == np.float32 else "bitwise OR"
            yield f"is not the {rule} of its child tiles"

    def _check_outlines(self, tile: Tile, known: npt.NDArray[np.bool_]) -> Iterator[str]:
        """Check that data lie inside the outlines of coadds."""
        if self._provenance is None or self._survey.frame not in FRAMES or not known.any():
            return
        places = np.flatnonzero(known)
        chosen = places[np.linspace(0, places.size - 1, _N_OUTLINE_PIXELS).astype(int)]
        rows, cols = np.divmod(chosen, self._width)
        for col in np.flatnonzero(known.any(axis=0))[[0, -1]]:
            rows, cols = np.append(rows, known[:, col].argmax()), np.append(cols, col)
        vectors = to_icrs(tile.vectors(rows, cols, self._width), self._survey.frame)
        edge = tile.vectors([0, 0], [0, 1], self._width)
        tolerance = _OUTLINE_TOLERANCE * float(np.linalg.norm(edge[1] - edge[0]))
        if not _are_inside(self._provenance, vectors, tolerance):
            yield "has data outside the outlines of all coadds in provenance.fits"


def _step(header: Header) -> float:
    """Return the step of integer values, or 0 for floats."""
    return abs(header.number("BSCALE", 1.0)) if header.number("BITPIX", -32) > 0 else 0.0


def _wcs_error(tile: Tile, width: int, frame: str, header: Header) -> float:
    """Return the error of a HEALPix WCS at two corners, in pixels; 0 for an unsupported WCS.

    It is measured in the plane of the projection, where the WCS is linear; longitudes are equal
    modulo 360 degrees.
    """
    is_plain = header.text("CTYPE1").endswith("HPX") and header.number("CRVAL1", 1.0) % 90.0 == 0
    if not is_plain or frame not in FRAMES:
        return 0.0
    expected = Header({key: value for key, value, _ in hpx_wcs(tile, width, frame)})
    off = 0.0
    for pixel in (1.0, float(width)):
        x, y = np.subtract(_plane(header, pixel), _plane(expected, pixel))
        off = max(off, float(np.hypot((x + 180.0) % 360.0 - 180.0, y)))
    step = 45.0 / (width << tile.order)
    return off / (step * math.sqrt(2.0))


def _plane(header: Header, pixel: float) -> tuple[float, float]:
    """Return the position of pixel (p, p) in the plane of the projection, in degrees."""
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
    """Whether a parent is neither the mean nor the median of its children, nor one pixel of four.

    Other programs do not document their rules; those measured are among these, to rounding.
    """
    width = values.shape[0]
    below = np.full((4, width, width), np.nan)
    half, step = width // 2, 0.0
    for position, report in children:
        if report.layer is None:
            continue
        step = max(step, report.scale)
        row, col = 0 if position & 1 else half, half if position & 2 else 0
        for k in range(4):
            below[k, row : row + half, col : col + half] = report.layer.value[
                k // 2 :: 2, k % 2 :: 2
            ]
    known = np.isfinite(below)
    count = known.sum(axis=0)
    finite = np.isfinite(values)
    either = finite | (count > 0)
    wrong = (finite & (count == 0)) | (~finite & (count == 4))
    both = finite & (count > 0)
    if wrong.sum() > max(2.0, _MAX_OUTLIERS * either.sum()):
        return True
    if both.sum() < _MIN_PIXELS:
        return False
    four = below[:, both]
    tolerance = 1e-5 * np.nanmax(np.abs(four), axis=0) + 0.76 * step
    value = values[both]
    rules = (
        np.abs(value - np.nanmean(four, axis=0)),
        np.abs(value - np.nanmedian(four, axis=0)),
        np.nanmin(np.abs(value - four), axis=0),
    )
    return all((off > tolerance).mean() > _MAX_OUTLIERS for off in rules)


def _are_inside(provenance: Provenance, vectors: npt.NDArray[np.float64], tolerance: float) -> bool:
    """Whether all directions (n, 3) lie in outlines of coadds, within a tolerance in radians."""
    center, radius = bounding_circle(vectors)
    near = provenance.near(center, radius + 4 * math.degrees(tolerance))
    outside = np.ones(len(vectors), bool)
    for coadd in near:
        outside &= ~coadd.holds(vectors)
    for coadd in near:
        if not outside.any():
            return True
        lon, lat, _ = coadd.circle()
        inwards = to_vectors(lon, lat) - vectors
        distance = np.linalg.norm(inwards, axis=1, keepdims=True)
        moved = vectors + inwards * np.minimum(1.0, 2 * tolerance / np.maximum(distance, 1e-15))
        outside &= ~coadd.holds(moved)
    return not outside.any()

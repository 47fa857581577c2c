"""A look at the coadds before the first tile: pixel size, unit, and the sky level for the cuts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hipsgen.coadd import CoaddRef, Problem, corners_of
from hipsgen.errors import CoaddError, InputError
from hipsgen.images.source import CoaddInfo, CoaddReader, Section
from hipsgen.images.units import factor_to
from hipsgen.sky.mask_planes import OTHER, OTHER_BIT
from hipsgen.sky.polygon import mean_directions, to_vectors
from hipsgen.sky.stretch import SkyLevel
from hipsgen.sky.tiles import vectors_to_npix

COADDS = 24  # opened, spread over the survey
_STRIPS = 3  # of rows, in each
_ROWS = 32
_PIXELS = 100_000  # kept of each coadd
_PLACE_ORDER = 14
_REFS_AT_ONCE = 1 << 15
_FLAGGED = SkyLevel(0.0, 0.0, 1.0, 0.0, 1.0)  # or not
_NAME = re.compile(r"[A-Za-z0-9_-]{1,50}")


@dataclass(frozen=True)
class Sample:
    """What the sample says of the survey.

    pixel_scale: of the finest input, degrees. unit: that of the first coadd that has one.
    level: of the values in that unit. names: of the flags of masks. planes: of all their masks.
    """

    pixel_scale: float
    unit: str
    level: SkyLevel
    names: tuple[str, ...] = ()
    planes: tuple[str, ...] = ()


def take_sample(
    refs: Sequence[CoaddRef], reader: CoaddReader, like: tuple[str, float] | None = None
) -> tuple[Sample, list[Problem]]:
    """Open some coadds all over the survey; those that cannot be read are named.

    like: unit and pixel size (degrees) of a survey that has them already. Raises InputError when
    none can, or none has a pixel.
    """
    infos, problems = _opened(refs, reader)
    finest = min([info.pixel_scale for _, info in infos] + known_scales(refs))
    unit = next((info.unit for _, info in infos if info.unit), "")
    unit, finest = like or (unit, finest)
    values: list[npt.NDArray[np.float32]] = []
    for ref, info in infos:
        try:
            factor = np.float32(factor_to(info, unit, finest))
            values += [factor * part for part in _pixels(ref, info, reader)]
        except CoaddError as error:
            problems.append(Problem(str(ref), str(error)))
    known = np.concatenate([*values, np.empty(0, np.float32)])
    if not np.isfinite(known).any():  # data beside the strips: then all of it
        known = np.concatenate([*_everything(infos, reader, unit, finest), known])
    if not np.isfinite(known).any():
        raise InputError("the coadds hold no valid pixel where they were sampled")
    planes = dict.fromkeys(name for _, info in infos for name in info.planes)
    return Sample(finest, unit, SkyLevel.of(known), planes=tuple(planes)), problems


def take_names(refs: Sequence[CoaddRef], reader: CoaddReader) -> tuple[Sample, list[Problem]]:
    """What `take_sample` is for values, for masks: the names of their planes, no pixel.

    By the lowest bit that one has in some coadd, then by name; those that can stand in a header and
    in `properties`, and as many as there are bits for.
    """
    infos, problems = _opened(refs, reader)
    finest = min([info.pixel_scale for _, info in infos] + known_scales(refs))
    lowest: dict[str, int] = {}
    for _, info in infos:
        for name, bit in info.planes.items():
            if _NAME.fullmatch(name) and name != OTHER:
                lowest[name] = min(bit, lowest.get(name, bit))
    names = sorted(lowest, key=lambda name: (lowest[name], name))[:OTHER_BIT]
    return Sample(finest, "", _FLAGGED, tuple(names)), problems


def _opened(
    refs: Sequence[CoaddRef], reader: CoaddReader
) -> tuple[list[tuple[CoaddRef, CoaddInfo]], list[Problem]]:
    """Headers of some coadds, and which have none that can be read. Raises InputError for none."""
    infos: list[tuple[CoaddRef, CoaddInfo]] = []
    problems: list[Problem] = []
    for ref in spread(refs, COADDS):
        try:
            infos.append((ref, reader.info(ref)))
        except CoaddError as error:
            problems.append(Problem(str(ref), str(error)))
    if not infos:
        raise InputError(f"none of the coadds can be read; the first: {problems[0]}")
    return infos, problems


def known_scales(refs: Sequence[CoaddRef]) -> list[float]:
    """Pixel sizes, degrees, of the references that say."""
    return [ref.pixel_scale for ref in refs if ref.pixel_scale]


def spread(refs: Sequence[CoaddRef], count: int) -> list[CoaddRef]:
    """Up to `count` references, evenly along the NESTED order of their places on the sky."""
    if len(refs) <= count:
        return list(refs)
    starts = range(0, len(refs), _REFS_AT_ONCE)
    places = np.concatenate([_places(refs[k : k + _REFS_AT_ONCE]) for k in starts])
    by_place = np.argsort(places, kind="stable")
    return [refs[k] for k in by_place[np.linspace(0, len(refs) - 1, count).astype(int)]]


def _places(refs: Sequence[CoaddRef]) -> npt.NDArray[np.int64]:
    corners, counts = corners_of(refs)
    known = counts > 0
    vectors = mean_directions(to_vectors(corners[:, 0], corners[:, 1]), counts)[known]
    places = np.zeros(len(refs), np.int64)
    places[known] = vectors_to_npix(vectors, _PLACE_ORDER)
    return places


def _pixels(ref: CoaddRef, info: CoaddInfo, reader: CoaddReader) -> list[npt.NDArray[np.float32]]:
    """Strips of rows at the quarter, the middle and the three quarters, thinned out."""
    parts = []
    for section in _sections(info.shape):
        pixels = reader.read(ref, section).ravel()
        parts.append(pixels[:: max(1, pixels.size * _STRIPS // _PIXELS)])
    return parts


def _everything(
    infos: Sequence[tuple[CoaddRef, CoaddInfo]], reader: CoaddReader, unit: str, finest: float
) -> list[npt.NDArray[np.float32]]:
    """The valid pixels of the first coadd that has some."""
    for ref, info in infos:
        try:
            factor = np.float32(factor_to(info, unit, finest))
            pixels = factor * reader.read(ref, (slice(0, info.shape[0]), slice(0, info.shape[1])))
        except CoaddError:
            continue  # named before
        known = pixels[np.isfinite(pixels)]
        if known.size:
            return [known[:: max(1, known.size // _PIXELS)]]
    return []


def _sections(shape: tuple[int, int]) -> list[Section]:
    rows, cols = shape
    if rows <= 2 * _STRIPS * _ROWS:
        return [(slice(0, rows), slice(0, cols))]
    starts = [rows * (k + 1) // (_STRIPS + 1) - _ROWS // 2 for k in range(_STRIPS)]
    return [(slice(start, start + _ROWS), slice(0, cols)) for start in starts]

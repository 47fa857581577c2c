"""A look at the coadds before the first tile: pixel size, unit, and the sky level for the cuts."""

from collections.abc import Sequence
from dataclasses import dataclass

import healpy
import numpy as np
import numpy.typing as npt

from hipsgen.errors import CoaddError, InputError
from hipsgen.images.source import CoaddInfo, CoaddReader, CoaddRef, Problem, Section
from hipsgen.run.units import factor_to
from hipsgen.sky.polygon import bounding_circle, to_vectors
from hipsgen.sky.stretch import SkyLevel

_COADDS = 24  # opened, spread over the survey
_STRIPS = 3  # of rows, in each
_ROWS = 100
_PIXELS = 100_000  # kept of each coadd


@dataclass(frozen=True)
class Sample:
    """What the sample says of the survey.

    pixel_scale: of the finest input, degrees. unit: that of the first coadd that has one.
    level: of the values in that unit.
    """

    pixel_scale: float
    unit: str
    level: SkyLevel


def take_sample(refs: Sequence[CoaddRef], reader: CoaddReader) -> tuple[Sample, list[Problem]]:
    """Open some coadds all over the survey; those that cannot be read are named.

    Raises InputError when none can, or none has a pixel.
    """
    infos: list[tuple[CoaddRef, CoaddInfo]] = []
    problems: list[Problem] = []
    for ref in spread(refs, _COADDS):
        try:
            infos.append((ref, reader.info(ref)))
        except CoaddError as error:
            problems.append(Problem(str(ref), str(error)))
    if not infos:
        raise InputError(f"none of the coadds can be read; the first: {problems[0]}")
    finest = min([i.pixel_scale for _, i in infos] + [r.pixel_scale for r in refs if r.pixel_scale])
    unit = next((info.unit for _, info in infos if info.unit), "")
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
    return Sample(finest, unit, SkyLevel.of(known)), problems


def spread(refs: Sequence[CoaddRef], count: int) -> list[CoaddRef]:
    """Up to `count` references, evenly along the NESTED order of their places on the sky."""
    if len(refs) <= count:
        return list(refs)
    order = np.argsort([_place(ref) for ref in refs], kind="stable")
    return [refs[k] for k in order[np.linspace(0, len(refs) - 1, count).astype(int)]]


def _place(ref: CoaddRef) -> int:
    if not ref.polygon:
        return 0
    lon, lat = zip(*ref.polygon, strict=True)
    return int(healpy.vec2pix(1 << 14, *bounding_circle(to_vectors(lon, lat))[0], nest=True))


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

"""A sample of the coadds, read before the first tile: pixel size, unit and levels for the cuts."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hipsgen.coadd import CoaddRef, Problem, corners_of, reasons_of
from hipsgen.errors import CoaddError, InputError
from hipsgen.images.source import CoaddInfo, CoaddReader, Section
from hipsgen.images.staging import kept_copies
from hipsgen.images.units import common_unit, factor_to
from hipsgen.sky.mask_planes import OTHER, OTHER_BIT
from hipsgen.sky.polygon import mean_directions, to_vectors
from hipsgen.sky.stretch import SkyLevel
from hipsgen.sky.tiles import vectors_to_npix

N_COADDS = 24  # coadds in a sample, spread over the survey
_STRIPS = 3  # strips of rows read from each coadd
_ROWS = 32  # rows of a strip
_PIXELS = 100_000  # sampled from each coadd
_PIXELS_AT_ONCE = 1 << 24  # read at a time from a coadd that is read whole
_SORT_ORDER = 14  # HEALPix order by which coadds are sorted
_REFS_AT_ONCE = 1 << 15
_STEP = 1 / 16  # of the noise: the largest step of float32
_ROUNDING = 16  # steps of float64 by which products with a factor may differ
_MASK_LEVEL = SkyLevel(0.0, 0.0, 1.0, 0.0, 1.0)  # 0 without a flag, 1 with one
_PLANE_NAME = re.compile(r"[A-Za-z0-9_-]{1,50}")


@dataclass(frozen=True)
class CoaddSample:
    """Properties of a survey, measured on a sample of its coadds.

    Attributes
    ----------
    pixel_scale : float
        Smallest pixel size of the coadds, in degrees.
    unit : str
        Unit of the first coadd that has one.
    level : SkyLevel
        Statistics of the sampled values, in that unit.
    mask_planes : tuple of str
        Names of the planes of a mask survey, from bit 0 on; empty for other surveys.
    available_planes : tuple of str
        Names of the mask planes of all sampled coadds; empty for a mask survey.
    offset : float
        Value to which pixels must be relative for float32 to resolve their noise; 0 if float32
        resolves it anyway.
    notes : tuple of str
        What a user should know about the values.
    """

    pixel_scale: float
    unit: str
    level: SkyLevel
    mask_planes: tuple[str, ...] = ()
    available_planes: tuple[str, ...] = ()
    offset: float = 0.0
    notes: tuple[str, ...] = ()


def sample_plane(
    refs: Sequence[CoaddRef], reader: CoaddReader, plane: str
) -> tuple[CoaddSample, list[Problem]]:
    """Sample a plane of the coadds of a new survey; see `sample_pixels`, `sample_mask_planes`."""
    if plane == "mask":
        return sample_mask_planes(refs, reader)
    return sample_pixels(refs, reader, is_image=plane == "image")


def sample_pixels(
    refs: Sequence[CoaddRef],
    reader: CoaddReader,
    known: tuple[str, float, float] | None = None,
    is_image: bool = True,
) -> tuple[CoaddSample, list[Problem]]:
    """Sample the pixels of some coadds, spread over the whole survey.

    Parameters
    ----------
    refs : sequence of CoaddRef
        All coadds of the survey.
    reader : CoaddReader
        Reader of the coadds.
    known : (str, float, float), optional
        Unit, pixel size in degrees and offset of a survey that exists already; measured by default.
    is_image : bool
        Whether the values may need an offset, unlike variances.

    Returns
    -------
    sample : CoaddSample
        What was measured.
    problems : list of Problem
        The sampled coadds that cannot be read.

    Raises
    ------
    InputError
        When none of the coadds can be read, or none has a valid pixel, or their units cannot be
        converted to each other.
    """
    chosen = spread(refs, N_COADDS)
    with kept_copies([ref.uri for ref in chosen]):
        return _sample_pixels(refs, chosen, reader, known, is_image)


def _sample_pixels(
    refs: Sequence[CoaddRef],
    chosen: Sequence[CoaddRef],
    reader: CoaddReader,
    known: tuple[str, float, float] | None,
    is_image: bool,
) -> tuple[CoaddSample, list[Problem]]:
    infos, problems = _read_headers(chosen, reader)
    finest = min([info.pixel_scale for _, info in infos] + known_scales(refs))
    notes = list(dict.fromkeys(note for _, info in infos for note in info.notes))
    offset = 0.0
    if known is None:
        unit, on_units = common_unit([(str(ref), info.unit) for ref, info in infos])
        notes += on_units
    else:
        unit, finest, offset = known
    strips = _Strips(infos, reader, unit, finest)
    values = strips.values(offset, problems)
    if np.isinf(values).any():
        values[np.isinf(values)] = np.nan
        notes.append("pixels of 3e38 and more, of either sign, count as missing data")
    if not np.isfinite(values).any():
        raise InputError(_without_pixels(len(infos), problems))
    level = SkyLevel.of(values + offset if offset else values)
    if known is None and is_image and not _is_resolved(level):
        level, offset = strips.resolved(values, level)
        notes += _notes_on_offset(level, offset, unit)
    planes = dict.fromkeys(name for _, info in infos for name in info.planes)
    sample = CoaddSample(finest, unit, level, (), tuple(planes), offset, tuple(notes))
    return sample, problems


@dataclass(frozen=True)
class _Strips:
    """Sampled values of some coadds, in the unit of the survey."""

    infos: Sequence[tuple[CoaddRef, CoaddInfo]]
    reader: CoaddReader
    unit: str
    pixel_scale: float

    def values(self, offset: float, problems: list[Problem]) -> npt.NDArray[Any]:
        """Return the values (n,) minus an offset: float32, or float64 if there is an offset.

        NaN if missing, infinite for 3e38 and more. Appends the coadds that cannot be read to
        `problems`.
        """
        reader = self.reader
        if offset:
            reader = reader.with_offset(offset, self.unit, self.pixel_scale)
        values: list[npt.NDArray[np.float32]] = []
        for ref, info in self.infos:
            try:
                factor = np.float32(factor_to(info, self.unit, self.pixel_scale))
                values += [factor * part for part in _read_strips(ref, info, reader)]
            except CoaddError as error:
                problems.append(Problem(str(ref), str(error)))
        sampled = np.concatenate([*values, np.empty(0, np.float32)])
        if not np.isfinite(sampled).any():  # the strips may have missed all data
            whole = _read_whole(self.infos, reader, self.unit, self.pixel_scale, problems)
            sampled = np.concatenate([*whole, sampled])
        return sampled.astype(np.float64 if offset else np.float32)

    def resolved(self, values: npt.NDArray[np.float32], level: SkyLevel) -> tuple[SkyLevel, float]:
        """Measure values again that float32 does not resolve, relative to their median.

        Returns their level and the offset; the same level and 0 if float32 holds every value
        exactly, or if they have no digits that it loses.
        """
        offset = level.zero
        found = self.values(offset, [])
        # factors between units and pixel areas are rounded in float64, which adds no digits
        is_exact = np.allclose(
            found,
            (values.astype(np.float64) - offset).astype(np.float32),
            rtol=0.0,
            atol=_ROUNDING * float(np.spacing(abs(offset))),
            equal_nan=True,
        )
        precise = SkyLevel.of(found + offset)
        if is_exact or _is_resolved(precise):
            return level, 0.0
        return precise, offset


def _is_resolved(level: SkyLevel) -> bool:
    """Whether the step of float32 at the sky level is at most 1/16 of the noise."""
    step = float(np.spacing(np.float32(abs(level.zero))))
    return level.zero == 0.0 or step <= _STEP * level.sigma


def _notes_on_offset(level: SkyLevel, offset: float, unit: str) -> list[str]:
    """Describe the offset, and the values that are too far from it for float32."""
    if not offset:
        return []
    place = f"{offset:.12g} {unit}".rstrip()
    loss = f"is too coarse for their noise of {level.sigma:.3g}" if level.sigma else "rounds them"
    notes = [f"the values are near {place}, where float32 {loss}: FITS tiles are float64"]
    reach = _STEP * level.sigma * 2**24
    if 0 < reach < max(level.maximum - offset, offset - level.minimum):
        notes.append(
            f"values farther than {reach:.3g} from {offset:.12g} are rounded by more than "
            f"{_STEP:g} of the noise"
        )
    return notes


def sample_mask_planes(
    refs: Sequence[CoaddRef], reader: CoaddReader
) -> tuple[CoaddSample, list[Problem]]:
    """Collect the names of the mask planes of some coadds; no pixel is read.

    They are sorted by the lowest bit that a plane has in any coadd, then by name. Names that are
    not valid in FITS headers and in `properties` are left out, and so are those for which no bit
    is left. Parameters, return value and errors as for `sample_pixels`.
    """
    infos, problems = _read_headers(spread(refs, N_COADDS), reader)
    finest = min([info.pixel_scale for _, info in infos] + known_scales(refs))
    lowest: dict[str, int] = {}
    for _, info in infos:
        for name, bit in info.planes.items():
            if _PLANE_NAME.fullmatch(name) and name != OTHER:
                lowest[name] = min(bit, lowest.get(name, bit))
    names = sorted(lowest, key=lambda name: (lowest[name], name))[:OTHER_BIT]
    return CoaddSample(finest, "", _MASK_LEVEL, tuple(names)), problems


def _read_headers(
    refs: Sequence[CoaddRef], reader: CoaddReader
) -> tuple[list[tuple[CoaddRef, CoaddInfo]], list[Problem]]:
    """Read the headers of some coadds; return those that can be read, and the problems.

    Raises InputError if none can be read.
    """
    infos: list[tuple[CoaddRef, CoaddInfo]] = []
    problems: list[Problem] = []
    for ref in refs:
        try:
            infos.append((ref, reader.info(ref)))
        except CoaddError as error:
            problems.append(Problem(str(ref), str(error)))
    if not infos:
        raise InputError(_without_pixels(0, problems))
    return infos, problems


def _without_pixels(n_readable: int, problems: Sequence[Problem]) -> str:
    """Say why a sample has no pixel. n_readable: number of coadds of which headers can be read."""
    if not problems:
        return "the sampled coadds have no valid pixel"
    reasons = reasons_of(problems)
    if not n_readable:
        return f"none of the coadds can be read: {reasons}"
    return (
        f"the sampled coadds have no valid pixel; {len(problems)} of them cannot be read: {reasons}"
    )


def known_scales(refs: Sequence[CoaddRef]) -> list[float]:
    """Return the pixel sizes in degrees of the references that have one."""
    return [ref.pixel_scale for ref in refs if ref.pixel_scale]


def spread(refs: Sequence[CoaddRef], count: int) -> list[CoaddRef]:
    """Return up to `count` references, evenly spaced in the NESTED order of their positions."""
    if len(refs) <= count:
        return list(refs)
    starts = range(0, len(refs), _REFS_AT_ONCE)
    cells = np.concatenate([_cells(refs[k : k + _REFS_AT_ONCE]) for k in starts])
    by_cell = np.argsort(cells, kind="stable")
    return [refs[k] for k in by_cell[np.linspace(0, len(refs) - 1, count).astype(int)]]


def _cells(refs: Sequence[CoaddRef]) -> npt.NDArray[np.int64]:
    """Return the HEALPix cells (n,) of the coadds' centers, 0 without an outline."""
    corners, counts = corners_of(refs)
    known = counts > 0
    vectors = mean_directions(to_vectors(corners[:, 0], corners[:, 1]), counts)[known]
    cells = np.zeros(len(refs), np.int64)
    cells[known] = vectors_to_npix(vectors, _SORT_ORDER)
    return cells


def _read_strips(
    ref: CoaddRef, info: CoaddInfo, reader: CoaddReader
) -> list[npt.NDArray[np.float32]]:
    """Read strips of rows at one quarter, one half and three quarters of the height, thinned."""
    parts = []
    for section in _sections(info.shape):
        pixels = reader.read(ref, section, huge=np.inf).ravel()
        parts.append(pixels[:: max(1, pixels.size * _STRIPS // _PIXELS)])
    return parts


def _read_whole(
    infos: Sequence[tuple[CoaddRef, CoaddInfo]],
    reader: CoaddReader,
    unit: str,
    finest: float,
    problems: list[Problem],
) -> list[npt.NDArray[np.float32]]:
    """Read the valid pixels, thinned, of the first coadd that has any; add to `problems`."""
    for ref, info in infos:
        try:
            factor = np.float32(factor_to(info, unit, finest))
            found = _read_valid(ref, info, reader, factor)
        except CoaddError as error:
            if str(ref) not in {problem.source for problem in problems}:
                problems.append(Problem(str(ref), str(error)))
            continue
        if found.size:
            return [found]
    return []


def _read_valid(
    ref: CoaddRef, info: CoaddInfo, reader: CoaddReader, factor: np.float32
) -> npt.NDArray[np.float32]:
    """Read the valid pixels of a coadd, thinned: every n-th of them, row by row."""
    rows, cols = info.shape
    height = max(1, _PIXELS_AT_ONCE // cols)
    sections = [
        (slice(row, min(row + height, rows)), slice(0, cols)) for row in range(0, rows, height)
    ]

    def valid() -> Iterator[npt.NDArray[np.float32]]:
        for section in sections:
            pixels = factor * reader.read(ref, section)
            yield pixels[np.isfinite(pixels)]

    count = sum(part.size for part in valid())
    step, start, parts = max(1, count // _PIXELS), 0, []
    for part in valid() if count else ():
        parts.append(part[-start % step :: step])
        start += part.size
    return np.concatenate([*parts, np.empty(0, np.float32)])


def _sections(shape: tuple[int, int]) -> list[Section]:
    """Return the strips of an image, or a single section if it is small."""
    rows, cols = shape
    if rows <= 2 * _STRIPS * _ROWS:
        return [(slice(0, rows), slice(0, cols))]
    starts = [rows * (k + 1) // (_STRIPS + 1) - _ROWS // 2 for k in range(_STRIPS)]
    return [(slice(start, start + _ROWS), slice(0, cols)) for start in starts]

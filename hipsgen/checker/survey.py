"""Does a survey conform to the HiPS standard, and agree with itself?

Rules are those of IVOA HiPS 1.0 (2017). An error breaks a MUST or contradicts the survey itself; a
warning breaks a SHOULD that readers rely on; a note names optional words that are missing.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hipsgen.checker.coadds import against_inputs
from hipsgen.checker.files import Index, file_faults, tile_files
from hipsgen.checker.finding import Finding
from hipsgen.checker.properties import check_properties, is_number, is_power_of_two
from hipsgen.checker.tiles import DeepCheck
from hipsgen.errors import SurveyError
from hipsgen.run.progress import QuietReporter, Reporter
from hipsgen.sky.frames import FRAMES, from_icrs
from hipsgen.sky.polygon import to_vectors
from hipsgen.sky.tiles import cell_centers, pixel_size
from hipsgen.survey.coverage import ALLSKY_ORDERS, allsky_shape
from hipsgen.survey.formats import format_of
from hipsgen.survey.http_store import open_readable
from hipsgen.survey.preview import FILE_NAME as PREVIEW
from hipsgen.survey.store import Readable
from hipsgen.survey.survey import Survey

_VIEW_ORDER = 12  # at which is looked whether the first view shows something
_NUMBERS = re.compile(r"[-+]?\d[\d.e+-]*")
_MORE = "..."


@dataclass(frozen=True)
class Depth:
    """How far a check goes.

    every_tile: all of them, not a few of each order. against: so many leaf tiles are made again
    from the coadds. workers: how many at a time. seed: which tiles; None for others every time.
    """

    every_tile: bool = False
    against: int = 0
    workers: int = 1
    seed: int | None = None


def check_survey(
    place: str | os.PathLike[str], depth: Depth = Depth(), reporter: Reporter | None = None
) -> list[Finding]:
    """All findings on a survey in a folder or on a web server.

    One that cannot be read is a finding, not an exception.
    """
    try:
        survey = Survey.open(open_readable(place))
    except SurveyError as error:
        return [Finding("error", "properties", str(error))]
    findings = list(check_properties(survey.properties))
    try:
        findings += _files(survey, depth, reporter or QuietReporter())
        if depth.against:
            findings += against_inputs(survey, depth.against, depth.workers, depth.seed)
    except SurveyError as error:
        findings.append(Finding("error", "survey", str(error)))
    return list(dict.fromkeys(findings))


def _files(survey: Survey, depth: Depth, reporter: Reporter) -> Iterator[Finding]:
    """The files against the properties, and against each other."""
    extensions = {name: format_of(name).extension for name in survey.formats}
    tiles, strange = tile_files(survey, extensions)
    for path in strange:
        yield Finding("error", path, "is not where the tile of that number belongs")
    yield from file_faults(survey, tiles, extensions)
    deep = DeepCheck(survey, Index(tiles, extensions), depth.workers)
    yield from deep.findings(reporter) if depth.every_tile else deep.some()
    yield from _allskys(survey, extensions)
    yield from _preview(survey.store)
    yield from _first_view(survey)


def _allskys(survey: Survey, extensions: Mapping[str, str]) -> Iterator[Finding]:
    """Allsky files are optional; their form is not."""
    for order in ALLSKY_ORDERS:
        for name, extension in extensions.items():
            path = f"Norder{order}/Allsky.{extension}"
            try:
                pixels = survey.form(name).decode(survey.store.read(path))
            except FileNotFoundError:
                continue
            except SurveyError as error:
                yield Finding("error", path, str(error))
                continue
            columns, rows = allsky_shape(order)
            width, rest = divmod(pixels.shape[1], columns)
            if rest or pixels.shape[0] != rows * width or not is_power_of_two(str(width)):
                size = f"{pixels.shape[1]} x {pixels.shape[0]}"
                yield Finding(
                    "error", path, f"is {size}, not {columns} x {rows} tiles of 2^k pixels"
                )


def _preview(store: Readable) -> Iterator[Finding]:
    try:
        pixels = format_of("jpeg").decode(store.read(PREVIEW))
    except FileNotFoundError:
        return
    except SurveyError as error:
        yield Finding("error", PREVIEW, str(error))
        return
    if pixels.shape[:2] != (256, 256):
        yield Finding(
            "warning", PREVIEW, f"is {pixels.shape[1]} x {pixels.shape[0]}, not 256 x 256"
        )


def _first_view(survey: Survey) -> Iterator[Finding]:
    """Where readers look first, there is something."""
    words = [survey.properties.get(f"hips_initial_{key}", "") for key in ("ra", "dec", "fov")]
    if not all(map(is_number, words)) or survey.frame not in FRAMES:
        return
    try:
        moc = survey.moc
    except SurveyError:
        return
    ra, dec, fov = map(float, words)
    center = from_icrs(to_vectors(ra, dec), survey.frame)
    order = min(int(moc.max_order), _VIEW_ORDER)
    cells = (moc.degrade_to_order(order) if order < moc.max_order else moc).flatten()
    cosine = np.cos(np.radians(min(180.0, fov / 2 + 2 * pixel_size(order, 1))))
    if cells.size and not (cell_centers(order, cells.astype(np.int64)) @ center >= cosine).any():
        where = f"{ra:g} {dec:g}, {fov:g} deg wide"
        yield Finding("error", "hips_initial_ra", f"shows nothing of the survey: {where}")


def condensed(findings: Iterable[Finding], keep: int = 5) -> list[Finding]:
    """Of findings that say the same, numbers apart, the first few, and how many more there are."""
    kept: list[Finding] = []
    more: dict[tuple[str, str], int] = {}
    for finding in dict.fromkeys(findings):
        kind = finding.level, _NUMBERS.sub("#", finding.what)
        more[kind] = more.get(kind, 0) + 1
        if more[kind] <= keep:
            kept.append(finding)
        elif more[kind] == keep + 1:
            kept.append(replace(finding, where=_MORE))
    return [
        replace(f, where=_rest(more[f.level, _NUMBERS.sub("#", f.what)] - keep))
        if f.where == _MORE
        else f
        for f in kept
    ]


def _rest(count: int) -> str:
    return f"{count} more file{'s' if count != 1 else ''}"

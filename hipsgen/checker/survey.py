"""Check that a survey conforms to IVOA HiPS 1.0 (2017) and is consistent.

An error violates a MUST or contradicts the survey itself; a warning violates a SHOULD that clients
rely on; a note names a missing optional property.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hipsgen.checker.coadds import check_against_inputs
from hipsgen.checker.files import TileIndex, check_files, tile_files
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
from hipsgen.text import counted

_VIEW_ORDER = 12  # order at which the initial view is compared with the coverage
_NUMBERS = re.compile(r"[-+]?\d[\d.e+-]*")
_OTHERS = "..."


@dataclass(frozen=True)
class CheckOptions:
    """What to check.

    Attributes
    ----------
    deep
        Whether to check every tile instead of a few of each order.
    against_inputs
        Number of leaf tiles to render again from the coadds.
    workers
        Number of tiles checked at the same time.
    seed
        Seed of the choice of leaf tiles; None for a different choice every time.
    """

    deep: bool = False
    against_inputs: int = 0
    workers: int = 1
    seed: int | None = None


def check_survey(
    location: str | os.PathLike[str],
    options: CheckOptions = CheckOptions(),
    reporter: Reporter | None = None,
) -> list[Finding]:
    """Return the findings on a survey in a folder or at a URL.

    A survey that cannot be read is a finding, not an exception.
    """
    return check_and_count(location, options, reporter)[0]


def check_and_count(
    location: str | os.PathLike[str], options: CheckOptions, reporter: Reporter | None = None
) -> tuple[list[Finding], int]:
    """Return the findings on a survey, and how many leaf tiles were compared with its coadds."""
    try:
        survey = Survey.open(open_readable(location))
    except SurveyError as error:
        return [Finding("error", "properties", str(error))], 0
    findings, compared = list(check_properties(survey.properties)), 0
    try:
        findings += _check_files(survey, options, reporter or QuietReporter())
        count = options.against_inputs
        if count:
            differences, compared = check_against_inputs(
                survey, count, options.workers, options.seed
            )
            findings += differences
    except SurveyError as error:
        findings.append(Finding("error", "survey", str(error)))
    return list(dict.fromkeys(findings)), compared


def _check_files(survey: Survey, options: CheckOptions, reporter: Reporter) -> Iterator[Finding]:
    """Check the files against the properties and against each other."""
    extensions = {name: format_of(name).extension for name in survey.formats}
    tiles, misplaced = tile_files(survey, extensions)
    for path in misplaced:
        yield Finding("error", path, "is not at the path of a tile with this number")
    yield from check_files(survey, tiles, extensions)
    deep = DeepCheck(survey, TileIndex(tiles, extensions), options.workers)
    yield from deep.findings(reporter) if options.deep else deep.sample_findings()
    yield from _check_allskys(survey, extensions)
    yield from _check_preview(survey.store)
    yield from _check_initial_view(survey)


def _check_allskys(survey: Survey, extensions: Mapping[str, str]) -> Iterator[Finding]:
    """Check the dimensions of the Allsky files, which are optional."""
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


def _check_preview(store: Readable) -> Iterator[Finding]:
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


def _check_initial_view(survey: Survey) -> Iterator[Finding]:
    """Check that the initial view contains part of the survey."""
    texts = [survey.properties.get(f"hips_initial_{key}", "") for key in ("ra", "dec", "fov")]
    if not all(map(is_number, texts)) or survey.frame not in FRAMES:
        return
    try:
        moc = survey.moc
    except SurveyError:
        return
    ra, dec, fov = map(float, texts)
    center = from_icrs(to_vectors(ra, dec), survey.frame)
    order = min(int(moc.max_order), _VIEW_ORDER)
    cells = (moc.degrade_to_order(order) if order < moc.max_order else moc).flatten()
    cosine = np.cos(np.radians(min(180.0, fov / 2 + 2 * pixel_size(order, 1))))
    if cells.size and not (cell_centers(order, cells.astype(np.int64)) @ center >= cosine).any():
        where = f"{ra:g} {dec:g}, {fov:g} deg wide"
        yield Finding(
            "error", "hips_initial_ra", f"the initial view shows nothing of the survey: {where}"
        )


def group_similar(findings: Iterable[Finding], keep: int = 5) -> list[Finding]:
    """Keep the first few of findings that differ only in numbers, and count the others."""
    kept: list[Finding] = []
    counts: dict[tuple[str, str], int] = {}
    for finding in dict.fromkeys(findings):
        kind = finding.level, _NUMBERS.sub("#", finding.message)
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= keep:
            kept.append(finding)
        elif counts[kind] == keep + 1:
            kept.append(replace(finding, where=_OTHERS))
    return [
        replace(f, where=_count_files(counts[f.level, _NUMBERS.sub("#", f.message)] - keep))
        if f.where == _OTHERS
        else f
        for f in kept
    ]


def _count_files(count: int) -> str:
    return counted(count, "more file")

"""Build several surveys from one list of coadds: one per band and plane, and a color survey."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hipsgen.builder.coadd_survey import CoaddSurvey
from hipsgen.builder.color_survey import ColorSurvey
from hipsgen.builder.lifecycle import build_survey
from hipsgen.builder.metadata import SurveyIdentity
from hipsgen.builder.result import BuildResult, IncompleteBuildError
from hipsgen.coadd import Problem
from hipsgen.errors import ConfigError, HipsgenError, InputError
from hipsgen.images.coadd_fits import DEFAULT_MEMORY, FitsReader
from hipsgen.planner.coadd_list import CoaddList
from hipsgen.planner.jobs import SurveyJob, color_bands, expand_planes
from hipsgen.planner.options import BuildOptions, Runtime
from hipsgen.render.precompile import precompile
from hipsgen.run.progress import Reporter
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.store import open_store
from hipsgen.survey.survey import Survey

_LONGEST_NAME = 40  # characters of a band in the name of a folder


@dataclass(frozen=True)
class SurveySet:
    """Surveys to be built in one output folder.

    Attributes
    ----------
    coadds
        The coadds, by band.
    output
        The output folder.
    options
        Options of all surveys.
    planes
        Planes of the coadds; one survey each.
    color
        Three bands of a color survey, or empty.
    """

    coadds: CoaddList
    output: Path
    options: BuildOptions
    planes: tuple[str, ...] = ("image",)
    color: str = ""

    def __post_init__(self) -> None:
        """Raise ConfigError when the surveys of these bands cannot be made."""
        _check_folders(self.coadds.bands)
        if self.color and "image" not in self.planes:
            raise ConfigError("{color} needs the image plane: add image to {planes}")
        if self.color:
            _check_color(self.color, self.coadds.bands)

    def jobs(self, memory: int = DEFAULT_MEMORY) -> list[SurveyJob]:
        """Return the image surveys of all bands, then those of their other planes.

        memory: bytes that a reader may take.
        """
        readers = {plane: _reader(self.options, plane, memory) for plane in self.planes}
        return expand_planes(self.coadds.jobs, readers)

    @property
    def are_several(self) -> bool:
        """Whether each survey is a subfolder of the output, rather than the output itself."""
        return len(self.coadds.jobs) * len(self.planes) > 1 or bool(self.color)

    def folder(self, job: SurveyJob) -> Path:
        """Return the folder of a survey."""
        return self.output / band_folder(job.band, job.plane) if self.are_several else self.output

    def options_of(self, job: SurveyJob) -> BuildOptions:
        """Return the options of a survey, adapted to its plane."""
        return self.options.of_plane(job.plane, alone=len(self.planes) == 1)

    def identity(self, job: SurveyJob) -> SurveyIdentity:
        """Return the names that identify a survey."""
        folder, out = self.folder(job), self.output
        title = job.title or f"{out.name} {job.band}".strip()
        path = f"{out.name}/{folder.name}" if self.are_several else folder.name
        if job.plane != "image":
            title = f"{title}: {job.plane}"
            path = path if self.are_several else f"{path}/{job.plane}"
        source = job.source.describe()
        return SurveyIdentity(folder.name, title, source, job.band, path, job.plane)


def build_surveys(surveys: SurveySet, runtime: Runtime, reporter: Reporter) -> list[BuildResult]:
    """Build, resume or update every survey of a set, even if some of them lack inputs.

    Raises IncompleteBuildError when inputs cannot be used. It has the results of the other surveys,
    as any HipsgenError has those of the surveys that were finished before.
    """
    options, out = surveys.options, surveys.output
    precompile(options.interpolation, options.overlap, reporter, "mask" in surveys.planes)
    if surveys.planes == ("mask",) and len(options.formats) > 1:
        reporter.note("a mask survey has no previews: only FITS tiles are written")
    _check_no_survey(out, surveys.are_several)
    results: list[BuildResult] = []
    try:
        _build_all(surveys, runtime, reporter, results)
    except HipsgenError as error:
        error.results = tuple(results)
        raise
    return results


def _build_all(
    surveys: SurveySet, runtime: Runtime, reporter: Reporter, results: list[BuildResult]
) -> None:
    """Build the surveys of a set; append those that are finished to `results`."""
    missing: list[str] = []
    problems: dict[Problem, None] = {}
    is_color_blocked = False
    for job in surveys.jobs(runtime.memory):
        try:
            results.append(_build(surveys, job, runtime, reporter))
        except IncompleteBuildError as error:
            missing.append(error.message)
            problems |= dict.fromkeys(error.problems)
            is_color_blocked |= bool(surveys.color) and job.plane == "image"
        except InputError as error:
            if not surveys.are_several:
                raise
            missing.append(f"{surveys.folder(job).name}: {error.message}")
            is_color_blocked |= bool(surveys.color) and job.plane == "image"
    if surveys.color and not is_color_blocked:
        results.append(_build_color(surveys, runtime, reporter))
    if missing:
        raise _incomplete(missing, results, list(problems), is_color_blocked)


def _build(surveys: SurveySet, job: SurveyJob, runtime: Runtime, reporter: Reporter) -> BuildResult:
    store, identity = open_store(surveys.folder(job)), surveys.identity(job)
    options = surveys.options_of(job)
    survey = CoaddSurvey(job.source, store, identity, options, runtime, reporter)
    return build_survey(survey, runtime, reporter)


def _build_color(surveys: SurveySet, runtime: Runtime, reporter: Reporter) -> BuildResult:
    images = [job.band for job in surveys.coadds.jobs]
    red, green, blue = (
        surveys.output / band_folder(band) for band in color_bands(surveys.color, images)
    )
    out = surveys.output / ("color_" + _safe_name(surveys.color.replace(",", "")))
    options = surveys.options
    return build_color_survey(
        (red, green, blue), out, options.formats, runtime, reporter, options.properties, True
    )


def build_color_survey(
    inputs: tuple[Path, Path, Path],
    out: Path,
    formats: tuple[str, ...],
    runtime: Runtime,
    reporter: Reporter,
    properties: tuple[tuple[str, str], ...] = (),
    is_one_of_several: bool = False,
) -> BuildResult:
    """Build a color survey of three FITS surveys: red, green, blue.

    Raises ConfigError when they are incompatible, SurveyError when one is not finished.
    """
    red, green, blue = (Survey.open(open_store(folder)) for folder in inputs)
    bands = ", ".join(folder.name.removeprefix("band_") for folder in inputs)
    name = out.parent.resolve().name if is_one_of_several else out.name
    origins = [s.properties.get("prov_progenitor", s.title) for s in (red, green, blue)]
    identity = SurveyIdentity(
        name=out.name,
        title=f"{name}: color of {bands}",
        progenitor=", ".join(dict.fromkeys(origins)),
        path=f"{name}/{out.name}" if is_one_of_several else out.name,
    )
    store = open_store(out)
    survey = ColorSurvey((red, green, blue), store, identity, formats, reporter, properties)
    return build_survey(survey, runtime, reporter)


def _incomplete(
    missing: Sequence[str],
    results: Sequence[BuildResult],
    problems: Sequence[Problem],
    is_color_blocked: bool,
) -> IncompleteBuildError:
    done = ", ".join(result.name for result in results)
    more = [f"finished: {done}"] if done else []
    more += ["the color survey was not built"] if is_color_blocked else []
    return IncompleteBuildError("; ".join([*missing, *more]), results, problems)


def band_folder(band: str, plane: str = "image") -> str:
    """Return the name of a subfolder; band names may contain characters such as slashes."""
    return f"{'band' if plane == 'image' else plane}_{_safe_name(band)}"


def _safe_name(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9+-]+", "_", text).strip("_") or "none"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 9]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _reader(options: BuildOptions, plane: str, memory: int) -> FitsReader:
    adapted = options.of_plane(plane)
    return FitsReader(
        adapted.excluded, adapted.blank, plane=plane, unit=adapted.unit, memory=memory
    )


def _check_folders(bands: Sequence[str]) -> None:
    """Raise ConfigError when two surveys would be built in the same folder."""
    names: dict[str, str] = {}
    for band in bands:
        other = names.setdefault(band_folder(band), band)
        if other != band:
            raise ConfigError(
                f"{{bands}} {other!r} and {band!r} would both be built in {band_folder(band)}: "
                "build them one by one, each with its own {output}",
                value=bands,
            )


def _check_color(color: str, bands: Sequence[str]) -> None:
    try:
        color_bands(color, bands)
    except InputError as error:
        raise ConfigError(
            f"{{color}} {color!r}: {error.message}; name its three bands with {{bands}}, or none"
        ) from error


def _check_no_survey(out: Path, are_several: bool) -> None:
    """Raise ConfigError when the output for several surveys is itself a survey."""
    if are_several and (out / PROPERTIES).exists():
        raise ConfigError(
            f"{out} is a survey and cannot contain several surveys: choose another {{output}}"
        )

"""Several surveys from one list of coadds: a survey per band and plane, and a color survey."""

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
from hipsgen.errors import ConfigError, InputError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.planner.coadd_list import CoaddList
from hipsgen.planner.jobs import SurveyJob, color_bands, expand_planes
from hipsgen.planner.options import BuildOptions, Runtime
from hipsgen.render.precompile import precompile
from hipsgen.run.progress import Reporter
from hipsgen.survey.properties import FILE_NAME as PROPERTIES
from hipsgen.survey.store import open_store
from hipsgen.survey.survey import Survey


@dataclass(frozen=True)
class SurveySet:
    """The surveys that are to be built in one output folder.

    planes: of the coadds, each a survey of its own. color: three bands of a color survey, or "".
    """

    coadds: CoaddList
    output: Path
    options: BuildOptions
    planes: tuple[str, ...] = ("image",)
    color: str = ""

    def __post_init__(self) -> None:
        """Raises ConfigError or InputError when the color cannot be made of the bands."""
        if self.color and "image" not in self.planes:
            raise ConfigError("{color} is made of images: add image to {planes}")
        if self.color:
            color_bands(self.color, self.coadds.bands)

    def jobs(self) -> list[SurveyJob]:
        """Return the images of each band, then their other planes."""
        readers = {plane: _reader(self.options, plane) for plane in self.planes}
        return expand_planes(self.coadds.jobs, readers)

    @property
    def are_several(self) -> bool:
        """Whether each survey is a folder of the output, instead of the output itself."""
        return len(self.coadds.jobs) * len(self.planes) > 1 or bool(self.color)

    def place(self, job: SurveyJob) -> Path:
        """Return the folder of a survey."""
        return self.output / band_folder(job.band, job.plane) if self.are_several else self.output

    def options_of(self, job: SurveyJob) -> BuildOptions:
        """Return the options of a survey, which depend on its plane."""
        return self.options.of_plane(job.plane, alone=len(self.planes) == 1)

    def identity(self, job: SurveyJob) -> SurveyIdentity:
        """Return what a survey is called."""
        place, out = self.place(job), self.output
        title = job.title or f"{out.name} {job.band}".strip()
        path = f"{out.name}/{place.name}" if self.are_several else place.name
        if job.plane != "image":
            title = f"{title}: {job.plane}"
            path = path if self.are_several else f"{path}/{job.plane}"
        source = job.source.describe()
        return SurveyIdentity(place.name, title, source, job.band, path, job.plane)


def build_surveys(surveys: SurveySet, runtime: Runtime, reporter: Reporter) -> list[BuildResult]:
    """Build, finish or update every survey of a set; one that lacks inputs does not stop others.

    Raises IncompleteBuildError, with the results of the others, when inputs cannot be used.
    """
    options, out = surveys.options, surveys.output
    precompile(options.interpolation, options.overlap, reporter, "mask" in surveys.planes)
    if surveys.planes == ("mask",) and len(options.formats) > 1:
        reporter.note("a mask survey has no previews: only FITS tiles are made")
    _refuse_mixture(out, surveys.are_several)
    results: list[BuildResult] = []
    missing: list[str] = []
    problems: dict[Problem, None] = {}
    color_waits = False
    for job in surveys.jobs():
        try:
            results.append(_build(surveys, job, runtime, reporter))
        except IncompleteBuildError as error:
            missing.append(error.message)
            problems |= dict.fromkeys(error.problems)
            color_waits |= bool(surveys.color) and job.plane == "image"
        except InputError as error:
            if job.plane == "image":
                raise
            missing.append(f"{surveys.place(job).name}: {error.message}")  # no such plane
    if surveys.color and not color_waits:
        results.append(_build_color(surveys, runtime, reporter))
    if missing:
        raise _incomplete(missing, results, list(problems), color_waits)
    return results


def _build(surveys: SurveySet, job: SurveyJob, runtime: Runtime, reporter: Reporter) -> BuildResult:
    store, identity = open_store(surveys.place(job)), surveys.identity(job)
    options = surveys.options_of(job)
    survey = CoaddSurvey(job.source, store, identity, options, runtime, reporter)
    return build_survey(survey, runtime, reporter)


def _build_color(surveys: SurveySet, runtime: Runtime, reporter: Reporter) -> BuildResult:
    images = [job.band for job in surveys.coadds.jobs]
    red, green, blue = (
        surveys.output / band_folder(band) for band in color_bands(surveys.color, images)
    )
    out = surveys.output / ("color_" + _word(surveys.color.replace(",", "")))
    options = surveys.options
    return build_color_survey(
        (red, green, blue), out, options.formats, runtime, reporter, options.properties, True
    )


def build_color_survey(
    places: tuple[Path, Path, Path],
    out: Path,
    formats: tuple[str, ...],
    runtime: Runtime,
    reporter: Reporter,
    properties: tuple[tuple[str, str], ...] = (),
    is_one_of_several: bool = False,
) -> BuildResult:
    """Build a color survey of three FITS surveys: red, green, blue.

    Raises ConfigError when these do not fit together, SurveyError when one is not finished.
    """
    red, green, blue = (Survey.open(open_store(place)) for place in places)
    bands = ", ".join(place.name.removeprefix("band_") for place in places)
    name = out.parent.resolve().name if is_one_of_several else out.name
    origins = [s.properties.get("prov_progenitor", s.title) for s in (red, green, blue)]
    identity = SurveyIdentity(
        name=out.name,
        title=f"{name}: color of {bands}",
        progenitor=", ".join(dict.fromkeys(origins)),
        place=f"{name}/{out.name}" if is_one_of_several else out.name,
    )
    store = open_store(out)
    survey = ColorSurvey((red, green, blue), store, identity, formats, reporter, properties)
    return build_survey(survey, runtime, reporter)


def _incomplete(
    missing: Sequence[str],
    results: Sequence[BuildResult],
    problems: Sequence[Problem],
    color_waits: bool,
) -> IncompleteBuildError:
    done = ", ".join(result.name for result in results)
    more = [f"done: {done}"] if done else []
    more += ["the color survey waits"] if color_waits else []
    return IncompleteBuildError("; ".join([*missing, *more]), results, problems)


def band_folder(band: str, plane: str = "image") -> str:
    """Return the folder of a survey among others; filters may be called F110W/F160W, or worse."""
    return f"{'band' if plane == 'image' else plane}_{_word(band)}"


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9+-]+", "_", text).strip("_") or "none"


def _reader(options: BuildOptions, plane: str) -> FitsReader:
    wanted = options.of_plane(plane)
    return FitsReader(wanted.excluded, wanted.blank, plane=plane)


def _refuse_mixture(out: Path, are_several: bool) -> None:
    """Several surveys are folders of the output, which must not be a survey itself."""
    if are_several and (out / PROPERTIES).exists():
        raise ConfigError(
            f"{out} is one survey; several become folders in it: choose another {{output}}"
        )

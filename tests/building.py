"""Functions that build surveys in tests."""

from collections.abc import Sequence
from pathlib import Path

from hipsgen.builder.coadd_survey import CoaddSurvey
from hipsgen.builder.lifecycle import build_survey
from hipsgen.builder.metadata import SurveyIdentity
from hipsgen.builder.result import BuildResult
from hipsgen.builder.surveys import SurveySet, build_surveys
from hipsgen.images.source import ImageSource
from hipsgen.planner.coadd_list import list_coadds
from hipsgen.planner.jobs import CoaddQuery, narrow_to_color
from hipsgen.planner.options import BuildOptions, Runtime
from hipsgen.run.progress import QuietReporter, Reporter
from hipsgen.survey.store import Store


def build_one(
    source: ImageSource,
    store: Store,
    identity: SurveyIdentity,
    options: BuildOptions,
    runtime: Runtime,
    reporter: Reporter | None = None,
) -> BuildResult:
    """Build one coadd survey."""
    reporter = reporter or QuietReporter()
    survey = CoaddSurvey(source, store, identity, options, runtime, reporter)
    return build_survey(survey, runtime, reporter)


def build_all(
    inputs: Sequence[str],
    query: CoaddQuery,
    options: BuildOptions,
    runtime: Runtime,
    out: Path,
    color: str = "",
    reporter: Reporter | None = None,
    planes: tuple[str, ...] = ("image",),
) -> list[BuildResult]:
    """Build every survey of some inputs."""
    reporter = reporter or QuietReporter()
    coadds = list_coadds(inputs, narrow_to_color(query, color), reporter)
    return build_surveys(SurveySet(coadds, out, options, planes, color), runtime, reporter)

"""Turns coadded sky images into HiPS surveys.

The names below are the public API; each is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

from hipsgen.version import __version__ as __version__

if TYPE_CHECKING:
    from hipsgen.api import build, build_color, check, find_coadds, open_survey, plan
    from hipsgen.builder.estimate import SurveyChanges, SurveyPlan
    from hipsgen.builder.result import BuildResult, IncompleteBuildError
    from hipsgen.checker.finding import Finding
    from hipsgen.checker.report import CheckReport
    from hipsgen.coadd import CoaddRef, Problem
    from hipsgen.errors import (
        CoaddError,
        ConfigError,
        HipsgenError,
        InputError,
        MissingExtraError,
        SurveyError,
    )
    from hipsgen.planner.coadd_list import CoaddList
    from hipsgen.planner.options import BuildOptions, Runtime
    from hipsgen.survey.survey import Survey

_HOMES = {
    "hipsgen.api": ("build", "build_color", "check", "find_coadds", "open_survey", "plan"),
    "hipsgen.builder.estimate": ("SurveyChanges", "SurveyPlan"),
    "hipsgen.builder.result": ("BuildResult", "IncompleteBuildError"),
    "hipsgen.checker.finding": ("Finding",),
    "hipsgen.checker.report": ("CheckReport",),
    "hipsgen.coadd": ("CoaddRef", "Problem"),
    "hipsgen.errors": (
        "CoaddError",
        "ConfigError",
        "HipsgenError",
        "InputError",
        "MissingExtraError",
        "SurveyError",
    ),
    "hipsgen.planner.coadd_list": ("CoaddList",),
    "hipsgen.planner.options": ("BuildOptions", "Runtime"),
    "hipsgen.survey.survey": ("Survey",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BuildOptions",
    "BuildResult",
    "CheckReport",
    "CoaddError",
    "CoaddList",
    "CoaddRef",
    "ConfigError",
    "Finding",
    "HipsgenError",
    "IncompleteBuildError",
    "InputError",
    "MissingExtraError",
    "Problem",
    "Runtime",
    "Survey",
    "SurveyChanges",
    "SurveyError",
    "SurveyPlan",
    "build",
    "build_color",
    "check",
    "find_coadds",
    "open_survey",
    "plan",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

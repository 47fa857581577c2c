"""Public functions of hipsgen, which the command line calls as well."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hipsgen import values
from hipsgen.builder.estimate import SurveyPlan, plan_surveys
from hipsgen.builder.result import BuildResult
from hipsgen.builder.surveys import SurveySet, build_color_survey, build_surveys
from hipsgen.checker.report import CheckReport, check_surveys
from hipsgen.errors import ConfigError
from hipsgen.images.fits_folder import ImageChoice
from hipsgen.images.selection import Region, Selection
from hipsgen.images.uris import local_path
from hipsgen.planner.coadd_list import CoaddList, list_coadds
from hipsgen.planner.jobs import CoaddQuery
from hipsgen.planner.options import (
    BuildOptions,
    Runtime,
    formats_of,
    planes_of,
    properties_of,
)
from hipsgen.run.progress import CallbackReporter, Reporter
from hipsgen.survey.folders import surveys_under
from hipsgen.survey.http_store import open_readable
from hipsgen.survey.store import location_of
from hipsgen.survey.survey import Survey

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.units import Quantity
    from mocpy import MOC

Place = str | os.PathLike[str]
Progress = Callable[[int, int], object]
_COLOR_FORMATS = "png", "webp"
# whatever numpy.seterr says: a script may want errors for its own numbers
_numpy_defaults = np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")


def find_coadds(
    source: Place | Sequence[Place],
    *,
    collections: str | Iterable[str] = (),
    dataset_type: str = "",
    bands: str | Iterable[str] = (),
    where: str = "",
    region: "str | MOC | tuple[SkyCoord, Quantity] | None" = None,
    skymap: str = "",
    tracts: Iterable[int] = (),
    patches: Iterable[int] = (),
    hdu: str | int | Iterable[str | int] = "",
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    assume_band: str = "",
    strict: bool = False,
    reporter: Reporter | None = None,
) -> CoaddList:
    """List the coadds of a Butler repository, of FITS files, or of a manifest.

    The registry of a repository is queried once; nothing is written, and no pixel is read.

    Parameters
    ----------
    source : str, path-like, or sequence of these
        A Butler repository (folder, URI or label), FITS files, folders or lists of files, or a
        manifest that `CoaddList.save` wrote.
    collections : str or iterable of str
        Butler collections, searched in the order given.
    dataset_type : str
        Butler dataset type, such as ``deepCoadd_calexp``.
    bands : str or iterable of str
        Bands; each becomes a survey. Default: all bands of the collections, or the only band of
        plain FITS files.
    where : str
        Butler query expression, such as ``tract = 9813``.
    region : str, mocpy.MOC, or (SkyCoord, Quantity)
        Part of the sky that the coadds must overlap: a text such as ``circle:150.1,2.2,0.5``, as
        for the option ``--region``; a MOC in ICRS; or a position and a radius.
    skymap : str
        Butler skymap; required if there are several.
    tracts, patches : iterable of int
        Numbers of tracts and patches.
    hdu : str, int, or iterable of these
        Numbers or names (EXTNAME, may contain wildcards) of the HDUs of FITS files to use, or
        ``all``. By default every image is used that does not accompany another one as its weight,
        error, mask or the like.
    include, exclude : str or iterable of str
        Patterns of the names of FITS files, such as ``*_drz.fits``: only files that match one of
        `include`, if there is any, and none of `exclude` are used.
    assume_band : str
        Band of the FITS images that name none.
    strict : bool
        Whether to raise an error for the first input that cannot be used.
    reporter : Reporter, optional
        Receives messages and problems; the problems are also in `CoaddList.problems`.

    Returns
    -------
    CoaddList
        The coadds, by band.

    Raises
    ------
    ConfigError
        If an argument is invalid or missing; the message lists the possible values.
    InputError
        If an input cannot be read or contains no coadd.
    MissingExtraError
        If a repository needs a package that is not installed.

    Examples
    --------
    >>> import hipsgen
    >>> coadds = hipsgen.find_coadds("coadds", bands="g")
    >>> len(coadds), coadds.bands
    (2, ('g',))
    """
    query = CoaddQuery(
        collections=_texts("collections", collections),
        dataset_type=values.text("dataset_type", dataset_type),
        bands=_texts("bands", bands),
        skymap=values.text("skymap", skymap),
        where=values.text("where", where),
        selection=Selection(
            tracts=values.integers("tracts", tracts),
            patches=values.integers("patches", patches),
            region=None if region is None else Region.of(region),
        ),
        choice=ImageChoice(
            hdus=_hdus(hdu),
            include=_texts("include", include),
            exclude=_texts("exclude", exclude),
            assume_band=values.text("assume_band", assume_band),
        ),
        strict=values.flag("strict", strict),
    )
    return list_coadds(_places(source), query, reporter or CallbackReporter())


@_numpy_defaults
def plan(
    coadds: CoaddList,
    output: Place | None = None,
    *,
    options: BuildOptions | None = None,
    planes: Sequence[str] = ("image",),
    color: str = "",
    reporter: Reporter | None = None,
) -> list[SurveyPlan]:
    """Estimate what `build` would do, without building it.

    Parameters
    ----------
    coadds : CoaddList
        From `find_coadds`.
    output : str or path-like, optional
        Output folder of an earlier build: the plans then contain the changes to its surveys.
    options : BuildOptions, optional
        Options that determine the content of the surveys.
    planes : sequence of str
        Planes of the coadds, ``image``, ``variance`` or ``mask``; each becomes a survey.
    color : str
        Three bands of a color survey, such as ``gri``. They are validated, but the color survey is
        not part of the estimate.
    reporter : Reporter, optional
        Receives messages and problems.

    Returns
    -------
    list of SurveyPlan
        One for each band and plane.

    Raises
    ------
    ConfigError
        If the options contradict each other, or those of the existing survey.
    InputError
        If no coadd can be read and `options` has no order, or units cannot be converted.

    Examples
    --------
    >>> import hipsgen
    >>> coadds = hipsgen.find_coadds("coadds", bands="g")
    >>> (survey,) = hipsgen.plan(coadds)
    >>> survey.order, survey.unit
    (2, 'nJy')
    """
    folder = Path("survey") if output is None else local_path(output)
    surveys = _survey_set(coadds, folder, options, planes, color)
    return plan_surveys(surveys, reporter or CallbackReporter(), output is not None)


@_numpy_defaults
def build(
    coadds: CoaddList,
    output: Place,
    *,
    options: BuildOptions | None = None,
    runtime: Runtime | None = None,
    planes: Sequence[str] = ("image",),
    color: str = "",
    progress: Progress | None = None,
    reporter: Reporter | None = None,
) -> list[BuildResult]:
    """Build HiPS surveys from coadds; resume or update surveys of an earlier build.

    With one band, one plane and no color, `output` is the survey. Otherwise it contains a folder
    for each survey (``band_g``, ``mask_g``, ``color_gri``). A build can be interrupted at any time;
    the same call resumes it.

    Parameters
    ----------
    coadds : CoaddList
        From `find_coadds`.
    output : str or path-like
        Output folder; may contain surveys of an earlier build.
    options : BuildOptions, optional
        Options that determine the content of the surveys.
    runtime : Runtime, optional
        Workers, memory, engine, and whether to skip inputs that cannot be used.
    planes : sequence of str
        Planes of the coadds, ``image``, ``variance`` or ``mask``; each becomes a survey.
    color : str
        Three bands of a color survey, such as ``gri``.
    progress : callable, optional
        Called as ``progress(done, total)``, in tiles of the survey being built; restarts at 0 for
        each survey.
    reporter : Reporter, optional
        Receives all events, instead of `progress`.

    Returns
    -------
    list of BuildResult
        One for each survey, the color survey last.

    Raises
    ------
    ConfigError
        If options are invalid or contradict the existing survey, or the free space on the disk is
        too small.
    InputError
        If no coadd has a valid pixel, or units cannot be converted to each other.
    IncompleteBuildError
        If inputs cannot be used; its ``results`` are the finished surveys.

    Examples
    --------
    >>> import hipsgen
    >>> coadds = hipsgen.find_coadds("coadds", bands="g")
    >>> (result,) = hipsgen.build(coadds, "hips")
    >>> result.order, result.n_inputs, result.n_tiles
    (2, 2, 6)
    """
    surveys = _survey_set(coadds, local_path(output), options, planes, color)
    return build_surveys(surveys, _runtime(runtime), reporter or _callback(progress))


@_numpy_defaults
def build_color(
    red: Place,
    green: Place,
    blue: Place,
    output: Place,
    *,
    formats: Sequence[str] = ("png",),
    runtime: Runtime | None = None,
    properties: Iterable[tuple[str, str]] = (),
    progress: Progress | None = None,
    reporter: Reporter | None = None,
) -> BuildResult:
    """Build a color survey of three finished FITS surveys.

    Parameters
    ----------
    red, green, blue : str or path-like
        Folders of the surveys.
    output : str or path-like
        Output folder; may contain the color survey of an earlier build.
    formats : sequence of str
        ``png``, ``webp`` or both.
    runtime : Runtime, optional
        Workers and engine.
    properties : iterable of (str, str)
        Keys and values for the properties file, which take precedence over the computed ones.
    progress : callable, optional
        Called as ``progress(done, total)``, in tiles.
    reporter : Reporter, optional
        Receives all events, instead of `progress`.

    Returns
    -------
    BuildResult
        The color survey.

    Raises
    ------
    ConfigError
        If an argument is invalid, or the surveys differ in frame or tile width, or have no FITS
        tiles.
    SurveyError
        If one of them is not finished.

    Examples
    --------
    >>> import hipsgen
    >>> coadds = hipsgen.find_coadds("coadds", bands=["g", "r", "i"])
    >>> surveys = hipsgen.build(coadds, "bands")
    >>> color = hipsgen.build_color("bands/band_i", "bands/band_r", "bands/band_g", "bands/color")
    >>> color.is_color, color.n_inputs
    (True, 3)
    """
    bands = local_path(red), local_path(green), local_path(blue)
    formats = formats_of(formats, _COLOR_FORMATS) or _COLOR_FORMATS[:1]
    runtime, reporter = _runtime(runtime), reporter or _callback(progress)
    lines = properties_of(properties)
    return build_color_survey(bands, local_path(output), formats, runtime, reporter, lines)


@_numpy_defaults
def check(
    survey: Place,
    *,
    deep: bool = False,
    against_inputs: int = 0,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> CheckReport:
    """Check that surveys conform to the HiPS standard and are consistent.

    Parameters
    ----------
    survey : str or path-like
        A survey, a folder of surveys, or the http(s) URL of a survey.
    deep : bool
        Whether to check every tile against the journal, its children, its previews, the MOC and
        the Allsky files, instead of checking a few tiles of each order.
    against_inputs : int
        Number of random leaf tiles to render again from the coadds and compare.
    workers : int
        Number of tiles checked at the same time.
    reporter : Reporter, optional
        Receives the progress.

    Returns
    -------
    CheckReport
        The findings; its ``ok`` is true if there is neither an error nor a warning.

    Raises
    ------
    ConfigError
        If an argument is invalid.
    SurveyError
        If there is no survey.

    Examples
    --------
    >>> import hipsgen
    >>> hipsgen.check("hips", deep=True).ok
    True
    """
    workers = values.integer("workers", workers)
    if workers < 1:
        raise ConfigError(f"{{workers}} {workers} must be at least 1", value=workers)
    against_inputs = values.integer("against_inputs", against_inputs)
    if against_inputs < 0:
        raise ConfigError(
            f"{{against_inputs}} {against_inputs} must not be negative", value=against_inputs
        )
    places = surveys_under(location_of(survey), unfinished=True)
    return check_surveys(places, deep, against_inputs, workers, reporter or CallbackReporter())


def open_survey(survey: Place) -> Survey:
    """Open a finished HiPS survey, built by hipsgen or another program.

    Parameters
    ----------
    survey : str or path-like
        Its folder or http(s) URL.

    Returns
    -------
    Survey
        Gives access to properties, coverage, tiles and coadds of the survey.

    Raises
    ------
    SurveyError
        If there is no survey, or its properties cannot be read.

    Examples
    --------
    >>> import hipsgen
    >>> survey = hipsgen.open_survey("hips")
    >>> survey.order, survey.tile_width, survey.frame
    (2, 512, 'equatorial')
    """
    return Survey.open(open_readable(location_of(survey)))


def _places(source: Place | Iterable[Place]) -> list[str]:
    places = [source] if isinstance(source, str | bytes | os.PathLike) else source
    _require(places, "source", Iterable, "a path or several paths")
    found = []
    for place in places:
        _require(place, "source", (str, os.PathLike), "a path or several paths")
        found.append(os.fspath(place))
    return found


def _survey_set(
    coadds: CoaddList,
    folder: Path,
    options: BuildOptions | None,
    planes: Sequence[str],
    color: str,
) -> SurveySet:
    _require(coadds, "coadds", CoaddList, "the result of hipsgen.find_coadds")
    if options is not None:
        _require(options, "options", BuildOptions, "a hipsgen.BuildOptions")
    planes, color = planes_of(planes), values.text("color", color or "")
    return SurveySet(coadds, folder, options or BuildOptions(), planes, color)


def _runtime(runtime: Runtime | None) -> Runtime:
    if runtime is not None:
        _require(runtime, "runtime", Runtime, "a hipsgen.Runtime")
    return runtime or Runtime()


def _callback(progress: Progress | None) -> Reporter:
    if progress is not None and not callable(progress):
        raise ConfigError(
            f"progress must be a function, not {values.shown(progress)}",
            parameter="progress",
            value=progress,
        )
    return CallbackReporter(progress)


def _require(given: object, name: str, kind: Any, description: str) -> None:
    if not isinstance(given, kind):
        raise ConfigError(
            f"{name} must be {description}, not {values.shown(given)}", parameter=name, value=given
        )


def _hdus(given: str | int | Iterable[str | int]) -> tuple[str, ...]:
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes)
    chosen: Any = given if several else [given]
    texts = (one if isinstance(one, str) else str(values.integer("hdu", one)) for one in chosen)
    return values.names("hdu", filter(None, texts))


def _texts(name: str, given: str | Iterable[str]) -> tuple[str, ...]:
    return () if given == "" else values.names(name, given)

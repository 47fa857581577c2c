"""The public functions of hipsgen, which the command line calls as well."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hipsgen.builder.estimate import SurveyPlan, plan_surveys
from hipsgen.builder.result import BuildResult
from hipsgen.builder.surveys import SurveySet, build_color_survey, build_surveys
from hipsgen.checker.report import CheckReport, check_surveys
from hipsgen.errors import ConfigError
from hipsgen.images.selection import Region, Selection
from hipsgen.images.uris import path_of
from hipsgen.planner.coadd_list import CoaddList, list_coadds
from hipsgen.planner.jobs import CoaddQuery
from hipsgen.planner.options import BuildOptions, Runtime
from hipsgen.run.progress import CallbackReporter, Reporter
from hipsgen.survey.folders import surveys_under
from hipsgen.survey.http_store import open_readable
from hipsgen.survey.store import is_url
from hipsgen.survey.survey import Survey

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.units import Quantity
    from mocpy import MOC

Place = str | os.PathLike[str]
Progress = Callable[[int, int], object]


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
    strict: bool = False,
    reporter: Reporter | None = None,
) -> CoaddList:
    """List the coadds of a Butler repository, of FITS files, or of a manifest.

    The registry of a repository is asked once, and read only. No pixel is read.

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
        Bands, a survey each. Default: all bands of the collections; of plain FITS the only one.
    where : str
        Butler query expression, such as ``tract = 9813``.
    region : str, mocpy.MOC, or (SkyCoord, Quantity)
        Coadds that touch this part of the sky: a text as of ``--region``, a MOC (ICRS), or a
        position with a radius.
    skymap : str
        Butler skymap, where there are several.
    tracts, patches : iterable of int
        Numbers of tracts and patches.
    strict : bool
        Whether the first input that cannot be used is an error.
    reporter : Reporter, optional
        Receives notes and problems; `CoaddList.problems` has the problems, too.

    Returns
    -------
    CoaddList
        The coadds, by band.

    Raises
    ------
    ConfigError
        When an argument is invalid or missing; the message lists what there is.
    InputError
        When an input cannot be read or holds no coadd.
    MissingExtraError
        When a repository needs a package that is not installed.

    Examples
    --------
    >>> import hipsgen
    >>> coadds = hipsgen.find_coadds("coadds", bands="g")
    >>> len(coadds), coadds.bands
    (2, ('g',))
    """
    query = CoaddQuery(
        collections=_texts(collections),
        dataset_type=dataset_type,
        bands=_texts(bands),
        skymap=skymap,
        where=where,
        selection=Selection(
            tracts=frozenset(tracts),
            patches=frozenset(patches),
            region=None if region is None else Region.of(region),
        ),
        strict=strict,
    )
    places = [source] if isinstance(source, str | os.PathLike) else source
    return list_coadds(
        [os.fspath(place) for place in places], query, reporter or CallbackReporter()
    )


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
        Folder of an earlier build: the plans then say what would change in it.
    options : BuildOptions, optional
        How the surveys are to look.
    planes : sequence of str
        Planes of the coadds, a survey each: ``image``, ``variance``, ``mask``.
    color : str
        Three bands of a color survey, such as ``gri``; they are only checked here.
    reporter : Reporter, optional
        Receives notes and problems.

    Returns
    -------
    list of SurveyPlan
        One for each band and plane.

    Raises
    ------
    ConfigError
        When the options contradict each other, or those of the survey that is in place.
    InputError
        When no coadd can be read and `options` has no order.

    Examples
    --------
    >>> import hipsgen
    >>> coadds = hipsgen.find_coadds("coadds", bands="g")
    >>> (survey,) = hipsgen.plan(coadds)
    >>> survey.order, survey.unit
    (2, 'nJy')
    """
    place = Path("survey") if output is None else _folder(output)
    surveys = SurveySet(coadds, place, options or BuildOptions(), tuple(planes), color)
    return plan_surveys(surveys, reporter or CallbackReporter(), output is not None)


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
    """Build HiPS surveys of coadds; finish or update those that an earlier build left.

    One band, one plane and no color: `output` is the survey. Otherwise each survey is a folder in
    it (``band_g``, ``mask_g``, ``color_gri``). Interrupted at any time, the same call resumes.

    Parameters
    ----------
    coadds : CoaddList
        From `find_coadds`.
    output : str or path-like
        Folder to make, or that of an earlier build.
    options : BuildOptions, optional
        How the surveys are to look.
    runtime : Runtime, optional
        Workers, memory, engine, and what to do with inputs that cannot be used.
    planes : sequence of str
        Planes of the coadds, a survey each: ``image``, ``variance``, ``mask``.
    color : str
        Three bands of a color survey, such as ``gri``.
    progress : callable, optional
        Called as ``progress(done, total)``, in tiles of the survey being built; it starts again
        for each survey.
    reporter : Reporter, optional
        Receives all events instead of `progress`.

    Returns
    -------
    list of BuildResult
        One for each survey, the color survey last.

    Raises
    ------
    ConfigError
        When options are invalid or contradict an earlier build, or the surveys do not fit on the
        disk.
    InputError
        When no coadd has a valid pixel.
    IncompleteBuildError
        When inputs cannot be used; its ``results`` are the surveys that are finished.

    Examples
    --------
    >>> import hipsgen
    >>> coadds = hipsgen.find_coadds("coadds", bands="g")
    >>> (result,) = hipsgen.build(coadds, "hips")
    >>> result.order, result.n_inputs, result.n_tiles
    (2, 2, 6)
    """
    surveys = SurveySet(coadds, _folder(output), options or BuildOptions(), tuple(planes), color)
    return build_surveys(surveys, runtime or Runtime(), reporter or CallbackReporter(progress))


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
        Folder to make, or that of an earlier build.
    formats : sequence of str
        ``png``, ``webp`` or both.
    runtime : Runtime, optional
        Workers and engine.
    properties : iterable of (str, str)
        Lines for the properties file.
    progress : callable, optional
        Called as ``progress(done, total)``, in tiles.
    reporter : Reporter, optional
        Receives all events instead of `progress`.

    Returns
    -------
    BuildResult
        The color survey.

    Raises
    ------
    ConfigError
        When the surveys differ in frame or tile width, or have no FITS tiles.
    SurveyError
        When one of them is not finished.

    Examples
    --------
    >>> import hipsgen
    >>> coadds = hipsgen.find_coadds("coadds", bands=["g", "r", "i"])
    >>> surveys = hipsgen.build(coadds, "bands")
    >>> color = hipsgen.build_color("bands/band_i", "bands/band_r", "bands/band_g", "bands/color")
    >>> color.is_color, color.n_inputs
    (True, 3)
    """
    bands = _folder(red), _folder(green), _folder(blue)
    runtime, reporter = runtime or Runtime(), reporter or CallbackReporter(progress)
    formats, lines = tuple(formats), tuple(properties)
    return build_color_survey(bands, _folder(output), formats, runtime, reporter, lines)


def check(
    survey: Place,
    *,
    deep: bool = False,
    against_inputs: int = 0,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> CheckReport:
    """Check surveys against the HiPS standard and against themselves.

    Parameters
    ----------
    survey : str or path-like
        A survey, a folder of surveys, or the http(s) URL of a survey.
    deep : bool
        Whether every tile is decoded and compared with the journal, its children, its pictures,
        the MOC and the Allsky files.
    against_inputs : int
        How many leaf tiles, chosen at random, are rendered again from the coadds and compared.
    workers : int
        Tiles at a time.
    reporter : Reporter, optional
        Receives the progress.

    Returns
    -------
    CheckReport
        The findings; its ``ok`` is whether there is no error and no warning.

    Raises
    ------
    SurveyError
        When there is no survey.

    Examples
    --------
    >>> import hipsgen
    >>> hipsgen.check("hips", deep=True).ok
    True
    """
    places = surveys_under(os.fspath(survey), unfinished=True)
    return check_surveys(places, deep, against_inputs, workers, reporter or CallbackReporter())


def open_survey(survey: Place) -> Survey:
    """Open a finished HiPS survey, made by hipsgen or by another program.

    Parameters
    ----------
    survey : str or path-like
        Its folder, or its http(s) URL.

    Returns
    -------
    Survey
        Properties, coverage, tiles and coadds of the survey.

    Raises
    ------
    SurveyError
        When there is no survey, or its properties cannot be read.

    Examples
    --------
    >>> import hipsgen
    >>> survey = hipsgen.open_survey("hips")
    >>> survey.order, survey.tile_width, survey.frame
    (2, 512, 'equatorial')
    """
    place = os.fspath(survey)
    return Survey.open(open_readable(place if is_url(place) else _folder(place)))


def _texts(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) and given else tuple(given)


def _folder(place: Place) -> Path:
    """Return the folder that a path or a file: URI names. Raises ConfigError for another URI."""
    text = os.fspath(place)
    path: Any = path_of(text) if "://" in text else Path(text)
    if path is None:
        raise ConfigError(f"{{output}} {text}: surveys are written to and read from folders only")
    return Path(path)

"""Jobs: from the inputs that the user gives to one source of coadds for each survey."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hipsgen.coadd import CoaddRef, Problem
from hipsgen.errors import ConfigError, InputError
from hipsgen.images.butler_source import ButlerSource, open_registry
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.contents import ALL_HDUS
from hipsgen.images.fits_folder import FitsFolder, ImageChoice
from hipsgen.images.manifest import is_manifest, read_manifest
from hipsgen.images.registry import Registry, Search
from hipsgen.images.repository import is_repository, why_not_repository
from hipsgen.images.selection import ALL, Selection
from hipsgen.images.source import CoaddReader, ImageSource, RefList
from hipsgen.images.uris import path_if_local, path_of
from hipsgen.run.progress import Reporter
from hipsgen.survey.bands import wavelengths
from hipsgen.text import counted

ALL_BANDS = "*"


@dataclass(frozen=True)
class CoaddQuery:
    """Which coadds of the inputs to use.

    Attributes
    ----------
    collections : tuple of str
        Butler collections, in the order in which they are searched.
    dataset_type : str
        Butler dataset type.
    bands : tuple of str
        Bands, a survey each; empty for all, `ALL_BANDS` for one survey of all bands.
    skymap : str
        Butler skymap; "" if there is only one.
    where : str
        Butler query expression.
    selection : Selection
        Tracts, patches and region.
    choice : ImageChoice
        Files and HDUs, and the band of those that name none; of FITS files only.
    strict : bool
        Whether the first input that cannot be used is an error.
    """

    collections: tuple[str, ...] = ()
    dataset_type: str = ""
    bands: tuple[str, ...] = ()
    skymap: str = ""
    where: str = ""
    selection: Selection = ALL
    choice: ImageChoice = field(default_factory=ImageChoice)
    strict: bool = False


@dataclass(frozen=True)
class SurveyJob:
    """A survey to be built from the coadds of a band.

    Attributes
    ----------
    band : str
        Band; "" if the coadds have none.
    title : str
        Title of the survey; "" to use the name of its folder.
    source : ImageSource
        The coadds.
    plane : str
        Plane of the coadds: ``image``, ``variance`` or ``mask``.
    """

    band: str
    title: str
    source: ImageSource
    plane: str = "image"


def expand_planes(jobs: Sequence[SurveyJob], readers: Mapping[str, CoaddReader]) -> list[SurveyJob]:
    """Return the jobs of all planes, plane by plane, for the image jobs of each band.

    Parameters
    ----------
    jobs : sequence of SurveyJob
        A job for the images of each band.
    readers : mapping of str to CoaddReader
        The reader of each plane.
    """
    made = []
    for job in jobs:
        refs = tuple(job.source.refs())  # the registry is queried only once
        for plane, reader in readers.items():
            origin, problems = job.source.describe(), list(job.source.problems)
            made.append(replace(job, source=RefList(refs, reader, origin, problems), plane=plane))
    return sorted(made, key=lambda job: list(readers).index(job.plane))


def find_jobs(
    inputs: Sequence[str], query: CoaddQuery, reader: FitsReader, reporter: Reporter
) -> list[SurveyJob]:
    """Find the coadds of some inputs, and return a job for each band.

    Parameters
    ----------
    inputs : sequence of str
        A Butler repository, a manifest, or FITS files and folders.
    query : CoaddQuery
        Which coadds to use.
    reader : FitsReader
        Reader of the coadds.
    reporter : Reporter
        Receives notes and problems.

    Raises
    ------
    InputError
        When an input cannot be read or has no coadd.
    ConfigError
        When the query does not fit the inputs; the message lists the possible values.
    """
    if not inputs or not all(inputs):
        what = "an input is empty" if inputs else "no input"
        raise InputError(f"{what}: name a FITS file, a folder, a list or a Butler repository")
    repositories = [text for text in inputs if is_repository(text)]
    paths = filter(None, map(path_if_local, inputs))
    manifests = [path for path in paths if path.is_file() and is_manifest(path)]
    if (repositories or manifests) and len(inputs) > 1:
        raise ConfigError("a Butler repository or a manifest must be the only input")
    if (repositories or manifests) and query.choice:
        raise ConfigError(
            "{hdu}, {include}, {exclude} and {assume_band} apply to FITS files and folders, not to "
            f"{inputs[0]}: omit them"
        )
    if repositories:
        return _butler_jobs(repositories[0], query, reader, reporter)
    if query.collections or query.dataset_type or query.skymap or query.where:
        if not manifests:
            raise InputError(
                "{collections}, {dataset_type}, {skymap} and {where} apply to a Butler repository, "
                f"which {inputs[0]} is not: {why_not_repository(inputs[0])}"
            )
        raise ConfigError(
            "a manifest is read without a registry: select its coadds with {bands}, {tracts}, "
            "{patches} and {region} only"
        )
    if manifests:
        refs, origin = read_manifest(manifests[0])
        refs = query.selection.of(refs)
        bands = query.bands or tuple(dict.fromkeys(ref.band for ref in refs))
        return _jobs_by_band(refs, bands, origin, reader, [])
    if query.selection.tracts or query.selection.patches:
        raise ConfigError("plain FITS files have no tract and patch: select them with {region}")
    folder = FitsFolder(inputs, reader, query.strict, query.choice)
    refs = list(folder.refs())
    if folder.left_out:
        reporter.note(_describe_left_out(folder.left_out))
    if not refs:
        for problem in folder.problems:
            reporter.problem(problem)
        raise InputError(f"no usable image in {folder.describe()}: the reasons are listed above")
    refs = query.selection.of(refs)
    if query.bands != (ALL_BANDS,):
        _check_instruments(refs, folder.instruments)
    return _jobs_by_band(refs, query.bands, folder.describe(), reader, folder.problems)


def _describe_left_out(left_out: Sequence[Problem]) -> str:
    """Return one line about images that accompany others: how many, the first ones, and why."""
    shown = [f"{Path(one.source).name} ({one.reason})" for one in left_out[:2]]
    more = f" and {len(left_out) - 2} more" if len(left_out) > 2 else ""
    accompany = "accompany others" if len(left_out) > 1 else "accompanies another one"
    return (
        f"left out {counted(len(left_out), 'image')} that {accompany}: {', '.join(shown)}{more}; "
        f"{{hdu}} and {{include}} choose other images, {{hdu}} {ALL_HDUS} takes all as images of "
        "the sky"
    )


def _check_instruments(refs: Sequence[CoaddRef], instruments: Mapping[str, str]) -> None:
    """Raise ConfigError if images without a band differ in instrument or wavelength."""
    seen: dict[str, str] = {}
    for ref in refs:
        if ref.key in instruments:
            seen.setdefault(instruments[ref.key], str(path_of(ref.uri) or ref.uri))
    if len(seen) > 1:
        examples = [f"{what or 'nothing'} ({Path(name).name})" for what, name in seen.items()]
        more = f" and {len(examples) - 3} more" if len(examples) > 3 else ""
        raise ConfigError(
            f"the images name no band and differ in instrument or wavelength: "
            f"{'; '.join(examples[:3])}{more}: state their band with {{assume_band}}, choose files "
            f"with {{include}}, or put all into one survey with {{bands}} '{ALL_BANDS}'"
        )


def _butler_jobs(
    repository: str, query: CoaddQuery, reader: FitsReader, reporter: Reporter
) -> list[SurveyJob]:
    registry, refusal = open_registry(repository)
    if refusal:
        reporter.note(f"{repository} is read by SQL, as lsst.daf.butler cannot open it: {refusal}")
    with registry, registry.translate_errors(query.where):
        if not query.collections:
            known = ", ".join(registry.collections()[:12])
            raise ConfigError(f"choose a collection with {{collections}}; available: {known}")
        if not query.dataset_type:
            found = registry.coadd_types(query.collections)
            raise ConfigError(
                f"choose a dataset type with {{dataset_type}}; those of coadds are: "
                f"{', '.join(found) or 'none'}"
            )
        registry.check(query.dataset_type, query.collections, "")
        searched = registry.expand(query.collections)
        if searched != query.collections:
            reporter.note(f"collections are searched in this order: {', '.join(searched)}")
        bands = query.bands
        if not bands or bands == (ALL_BANDS,):
            bands = _bands_found(registry, query)
        for band in bands:
            registry.check(query.dataset_type, query.collections, band)
    return [_butler_job(repository, query, band, reader) for band in bands]


def _bands_found(registry: Registry, query: CoaddQuery) -> tuple[str, ...]:
    """Return the bands in which a query finds a coadd, all bands if it finds none."""
    bands = tuple(registry.bands(query.dataset_type, query.collections))
    if not query.where:
        return bands
    kind, searched = query.dataset_type, registry.expand(query.collections)
    skymaps = [query.skymap] if query.skymap else registry.skymaps(kind, searched)

    def is_found(band: str) -> bool:
        searches = (Search(kind, searched, skymap, band, query.where) for skymap in skymaps)
        return any(registry.tracts(search) for search in searches)

    return tuple(filter(is_found, bands)) or bands


def _butler_job(repository: str, query: CoaddQuery, band: str, reader: FitsReader) -> SurveyJob:
    source = ButlerSource(
        repository=repository,
        dataset_type=query.dataset_type,
        collections=query.collections,
        band=band,
        skymap=query.skymap,
        where=query.where,
        selection=query.selection,
        fits_reader=reader,
        strict=query.strict,
    )
    return SurveyJob(band, f"{query.dataset_type} {band} of {', '.join(query.collections)}", source)


def _jobs_by_band(
    refs: list[CoaddRef],
    bands: tuple[str, ...],
    origin: str,
    reader: CoaddReader,
    problems: list[Problem],
) -> list[SurveyJob]:
    found = list(dict.fromkeys(ref.band for ref in refs))
    if bands == (ALL_BANDS,):
        return [_list_job("", refs, origin, reader, problems)]
    if not bands:
        if len(found) > 1:
            raise _several_bands(refs, [band for band in found if band])
        return [_list_job(found[0], refs, origin, reader, problems)]
    bands = tuple(dict.fromkeys(known_band(band, found) for band in bands))
    # the band of an input that cannot be used is unknown, so every job reports it
    return [
        _list_job(band, [r for r in refs if r.band == band], origin, reader, problems)
        for band in bands
    ]


def _several_bands(refs: list[CoaddRef], bands: list[str]) -> ConfigError:
    """Return the error for images of several bands, or of one band and of none."""
    names = ", ".join(map(repr, bands))
    unnamed = [ref.uri for ref in refs if not ref.band]
    if not unnamed:
        return ConfigError(
            f"the images are of several bands ({names}): choose some of them with {{bands}}, or "
            f"put all into one survey with {{bands}} '{ALL_BANDS}'"
        )
    return ConfigError(
        f"{counted(len(unnamed), 'image')} of {len(refs)} (first {unnamed[0]}) without a band, "
        f"beside {'band' if len(bands) == 1 else 'the bands'} {names}: choose with {{bands}} or "
        f"{{exclude}}, give their band with {{assume_band}}, or put all into one survey with "
        f"{{bands}} '{ALL_BANDS}'"
    )


def known_band(name: str, known: Sequence[str]) -> str:
    """Find a band by name, or by a word of its name that no other band has.

    `Ks`, `K` and `k` are the same; `r` and `R`, of other wavelengths, are not. Raises InputError
    if the band is unknown.
    """
    if name in known:
        return name

    def is_alike(band: str) -> bool:
        one, other = ("k" if text.lower() == "ks" else text.lower() for text in (band, name))
        ranges = wavelengths(band), wavelengths(name)
        return one == other and (None in ranges or ranges[0] == ranges[1])

    alike = [band for band in known if is_alike(band)]
    alike = alike or [band for band in known if name in re.split(r"[^A-Za-z0-9]+", band)]
    if len(alike) != 1:
        if not any(known):
            raise InputError(
                f"no image of band {name!r}: the images have no band; omit {{bands}} and "
                "{color} to put all into one survey"
            )
        names = ", ".join(repr(b) for b in known)
        raise InputError(f"no image of band {name!r}; available: {names}")
    return alike[0]


def _list_job(
    band: str, refs: list[CoaddRef], origin: str, reader: CoaddReader, problems: list[Problem]
) -> SurveyJob:
    kinds = {ref.dataset_type for ref in refs} - {""}
    title = f"{min(kinds)} {band}" if len(kinds) == 1 else ""
    return SurveyJob(band, title, RefList(tuple(refs), reader, origin, list(problems)))


def color_bands(text: str, known: Sequence[str]) -> tuple[str, str, str]:
    """Return the red, green and blue band of a text such as `gri` or `g,r,i`.

    Bands are sorted by wavelength, the longest is red. If the wavelength of a band is unknown, the
    order given is kept, blue first.

    Parameters
    ----------
    text : str
        Three bands.
    known : sequence of str
        Bands of the coadds; empty to accept any name.

    Raises
    ------
    ConfigError
        When the text does not consist of three bands.
    InputError
        When a band is not among the known ones.
    """
    names = [part.strip() for part in text.split(",")] if "," in text else _split(text, known)
    if len(names) != 3:
        raise ConfigError(f"{{color}} {text!r} is not three bands, such as gri or J,H,Ks")
    if known:
        names = [known_band(name, known) for name in names]
    ranges = [wavelengths(name) for name in names]
    if all(ranges):
        names = [name for _, name in sorted(zip(ranges, names, strict=True), key=lambda p: p[0])]  # type: ignore[arg-type,return-value]
    blue, green, red = names
    return red, green, blue


def _split(text: str, known: Sequence[str]) -> list[str]:
    """Split `gri` into g, r and i; known bands may have names of several letters."""
    names: list[str] = []
    rest = text
    while rest:
        fitting = [band for band in known if band and rest.startswith(band)]
        name = max(fitting, key=len) if fitting else rest[0]
        names.append(name)
        rest = rest[len(name) :]
    return names


def narrow_to_color(query: CoaddQuery, color: str) -> CoaddQuery:
    """Return a query restricted to the three bands of a color, unless it names bands already."""
    if not color or query.bands:
        return query
    return replace(query, bands=tuple(reversed(color_bands(color, []))))

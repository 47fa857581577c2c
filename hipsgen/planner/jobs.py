"""From what the user names to one source of coadds per survey."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hipsgen.coadd import CoaddRef, Problem
from hipsgen.errors import ConfigError, InputError
from hipsgen.images.butler_source import ButlerSource, open_registry
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.fits_folder import FitsFolder
from hipsgen.images.manifest import is_manifest, read_manifest
from hipsgen.images.registry import Registry, Search
from hipsgen.images.repository import is_repository, why_not_repository
from hipsgen.images.selection import ALL, Selection
from hipsgen.images.source import CoaddReader, ImageSource, RefList
from hipsgen.run.progress import Reporter
from hipsgen.survey.bands import wavelengths

ALL_BANDS = "*"


@dataclass(frozen=True)
class CoaddQuery:
    """Which coadds of the inputs; the names are those of the command line."""

    collections: tuple[str, ...] = ()
    dataset_type: str = ""
    bands: tuple[str, ...] = ()
    skymap: str = ""
    where: str = ""
    selection: Selection = ALL
    strict: bool = False


@dataclass(frozen=True)
class SurveyJob:
    """One survey to be made: its band ("" when the coadds do not say) and its coadds.

    title: empty when there is nothing better to call it than its folder. plane: of the coadds.
    """

    band: str
    title: str
    source: ImageSource
    plane: str = "image"


def expand_planes(jobs: Sequence[SurveyJob], readers: Mapping[str, CoaddReader]) -> list[SurveyJob]:
    """For each plane, by its reader, a job on the coadds of each of these, which are of images."""
    if list(readers) == ["image"]:
        return list(jobs)
    made = []
    for job in jobs:
        refs = tuple(job.source.refs())  # the registry is asked once
        for plane, reader in readers.items():
            text, problems = job.source.describe(), list(job.source.problems)
            made.append(replace(job, source=RefList(refs, reader, text, problems), plane=plane))
    return sorted(made, key=lambda job: list(readers).index(job.plane))


def find_jobs(
    inputs: Sequence[str], query: CoaddQuery, reader: FitsReader, reporter: Reporter
) -> list[SurveyJob]:
    """One job per band. Raises InputError or ConfigError, naming what there is to ask for."""
    repositories = [text for text in inputs if is_repository(text)]
    manifests = [text for text in inputs if Path(text).is_file() and is_manifest(Path(text))]
    if (repositories or manifests) and len(inputs) > 1:
        raise ConfigError("a Butler repository or a manifest is to be the only input")
    if repositories:
        return _butler_jobs(repositories[0], query, reader, reporter)
    if query.collections or query.dataset_type or query.skymap or query.where:
        if not manifests:
            raise InputError(
                "{collections}, {dataset_type}, {skymap} and {where} are for a Butler repository, "
                f"which {inputs[0]} is not: {why_not_repository(inputs[0])}"
            )
        words = "{bands}, {tracts}, {patches} and {region}"
        raise ConfigError(f"a manifest needs no registry: only {words} narrow it")
    if manifests:
        refs, text = read_manifest(Path(manifests[0]))
        refs = query.selection.of(refs)
        bands = query.bands or tuple(dict.fromkeys(ref.band for ref in refs))
        return _jobs_by_band(refs, bands, text, reader, [])
    if query.selection.tracts or query.selection.patches:
        raise ConfigError("plain FITS have no tract and patch: narrow them with {region}")
    folder = FitsFolder(inputs, reader, query.strict)
    refs = list(folder.refs())
    if not refs:
        for problem in folder.problems:
            reporter.problem(problem)
        raise InputError(f"no usable image in {folder.describe()}: see what was left out above")
    refs = query.selection.of(refs)
    return _jobs_by_band(refs, query.bands, folder.describe(), reader, folder.problems)


def _butler_jobs(
    repository: str, query: CoaddQuery, reader: FitsReader, reporter: Reporter
) -> list[SurveyJob]:
    registry, refusal = open_registry(repository)
    if refusal:
        reporter.note(f"{repository} is read by SQL, since lsst.daf.butler refuses it: {refusal}")
    with registry, registry.translate_errors(query.where):
        if not query.collections:
            known = ", ".join(registry.collections()[:12])
            raise ConfigError(f"name a collection with {{collections}}; there are: {known}")
        if not query.dataset_type:
            found = registry.coadd_types(query.collections)
            raise ConfigError(
                f"name a dataset type with {{dataset_type}}; of coadds there are: "
                f"{', '.join(found) or 'none'}"
            )
        registry.check(query.dataset_type, query.collections, "")
        searched = registry.expand(query.collections)
        if searched != query.collections:
            reporter.note(f"searched in this order: {', '.join(searched)}")
        bands = query.bands
        if not bands or bands == (ALL_BANDS,):
            bands = _bands_found(registry, query)
        for band in bands:
            registry.check(query.dataset_type, query.collections, band)
    return [_butler_job(repository, query, band, reader) for band in bands]


def _bands_found(registry: Registry, query: CoaddQuery) -> tuple[str, ...]:
    """The bands of which a query finds a coadd; all there are when it finds none."""
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
    text: str,
    reader: CoaddReader,
    problems: list[Problem],
) -> list[SurveyJob]:
    found = list(dict.fromkeys(ref.band for ref in refs))
    if bands == (ALL_BANDS,):
        return [_list_job("", refs, text, reader, problems)]
    if not bands:
        if len(found) > 1:
            names = ", ".join(repr(band) for band in found)
            raise ConfigError(
                f"images of several bands ({names}): choose with {{bands}}, once or more, "
                f"or put all into one map with {{bands}} '{ALL_BANDS}'"
            )
        return [_list_job(found[0], refs, text, reader, problems)]
    bands = tuple(known_band(band, found) for band in bands)
    # what cannot be used may be of any band
    return [
        _list_job(band, [r for r in refs if r.band == band], text, reader, problems)
        for band in bands
    ]


def known_band(name: str, known: Sequence[str]) -> str:
    """The band meant by a name: `Ks`, `K` and `k` are one. Raises InputError for none."""
    if name in known:
        return name

    def plain(band: str) -> str:
        return "k" if band.lower() == "ks" else band.lower()

    alike = [band for band in known if plain(band) == plain(name)]
    if len(alike) != 1:
        if not any(known):
            raise InputError(
                f"no image of band {name!r}: no image states one; omit {{bands}} to put all into "
                "one map"
            )
        names = ", ".join(repr(b) for b in known)
        raise InputError(f"no image of band {name!r}; there are: {names}")
    return alike[0]


def _list_job(
    band: str, refs: list[CoaddRef], text: str, reader: CoaddReader, problems: list[Problem]
) -> SurveyJob:
    kinds = {ref.dataset_type for ref in refs} - {""}
    title = f"{min(kinds)} {band}" if len(kinds) == 1 else ""
    return SurveyJob(band, title, RefList(tuple(refs), reader, text, list(problems)))


def color_bands(text: str, known: Sequence[str]) -> tuple[str, str, str]:
    """Red, green and blue band of `gri` or `g,r,i`, whatever the order: red is the longest.

    Bands whose wavelength is not known keep the order given, blue first. Raises ConfigError for
    other than three bands, or one that is not among `known`.
    """
    names = [part.strip() for part in text.split(",")] if "," in text else _split(text, known)
    if len(names) != 3:
        raise ConfigError(f"{{color}} {text!r} is not three bands, like gri or J,H,Ks")
    if known:
        names = [known_band(name, known) for name in names]
    ranges = [wavelengths(name) for name in names]
    if all(ranges):
        names = [name for _, name in sorted(zip(ranges, names, strict=True), key=lambda p: p[0])]  # type: ignore[arg-type,return-value]
    blue, green, red = names
    return red, green, blue


def _split(text: str, known: Sequence[str]) -> list[str]:
    """`gri` -> g, r, i; names of several letters are found among the known ones."""
    names: list[str] = []
    rest = text
    while rest:
        fitting = [band for band in known if band and rest.startswith(band)]
        name = max(fitting, key=len) if fitting else rest[0]
        names.append(name)
        rest = rest[len(name) :]
    return names


def narrow_to_color(query: CoaddQuery, color: str) -> CoaddQuery:
    """Return the query for the three bands of a color, if it asks for a color but for no band."""
    if not color or query.bands:
        return query
    return replace(query, bands=tuple(reversed(color_bands(color, []))))

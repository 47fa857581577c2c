"""Find the coadds of a Butler repository, through lsst.daf.butler or by SQL."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from textwrap import shorten

from hipsgen.coadd import CoaddRef, Polygon, Problem
from hipsgen.errors import InputError, MissingExtraError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.database import DatabaseError
from hipsgen.images.registry import (
    READABLE_STORAGE_CLASSES,
    RegisteredCoadd,
    Registry,
    Search,
    available,
    comma_separated,
    one_line,
)
from hipsgen.images.registry_butler import ButlerRegistry
from hipsgen.images.registry_sql import SqlRegistry
from hipsgen.images.remote import advice_on, lacks_package
from hipsgen.images.repository import is_repository, resolve_label, why_not_repository
from hipsgen.images.selection import ALL, Selection
from hipsgen.images.staging import with_components

_TRACTS_PER_PAGE = 100
_MAX_REASON = 150  # longest reason in characters
_refusals: dict[str, str] = {}  # why daf_butler cannot open a repository, in this process


def open_registry(repository: str) -> tuple[Registry, str]:
    """Open the registry of a repository.

    daf_butler reads most repositories since 2021. One that it refuses is read by SQL in its present
    form; no migration is needed.

    Returns
    -------
    registry
        The open registry.
    reason
        Why it is not read with daf_butler; "" if it is.

    Raises
    ------
    InputError
        If neither can read it, with daf_butler's reason.
    MissingExtraError
        If a package is missing.
    """
    if not is_repository(repository):
        raise InputError(
            f"{repository} is not a Butler repository: {why_not_repository(repository)}"
        )
    if repository in _refusals:
        return SqlRegistry(repository), _refusals[repository]
    try:
        return ButlerRegistry(repository), ""
    except MissingExtraError:
        raise
    except Exception as error:  # errors of daf_butler's managers, readers and drivers
        if lacks_package(error):
            raise MissingExtraError(f"the repository {repository}", "remote") from error
        reason = f"{type(error).__name__}: {one_line(error)}"
        location = resolve_label(repository) or repository
        if "://" in location and (advice := advice_on(error, location)):
            raise InputError(f"{repository} cannot be opened: {advice}") from error
        try:
            registry = SqlRegistry(repository)
            _refusals[repository] = shorten(reason, _MAX_REASON, placeholder=" ...")
            return registry, _refusals[repository]
        except DatabaseError:  # shorter than daf_butler's own message
            raise
        except InputError:
            if status := getattr(error, "status_code", 0):
                reason = f"the server responds with status {status}: check the repository's name"
            if "://" in location and isinstance(error, FileNotFoundError):
                reason = "there is no butler.yaml (a Butler server's is at /api/butler/repo/NAME)"
            raise InputError(f"{repository} cannot be opened: {reason}") from error


@dataclass
class ButlerSource:
    """Coadds of one dataset type in one band, found first in a sequence of collections.

    The registry is queried here, 100 tracts per query; workers never query it.
    """

    repository: str
    dataset_type: str
    collections: Sequence[str]
    band: str
    skymap: str = ""
    where: str = ""
    selection: Selection = ALL
    fits_reader: FitsReader = field(default_factory=FitsReader)
    strict: bool = False
    problems: list[Problem] = field(default_factory=list)

    def describe(self) -> str:
        """Return one line for the properties file and for reports."""
        text = f"Butler {', '.join(self.collections)} {self.dataset_type}"
        text += f" where {self.where}" if self.where else ""
        return text + (f" in {self.selection}" if self.selection else "")

    def reader(self) -> FitsReader:
        """Return the reader for workers, which needs only URIs."""
        return self.fits_reader

    def refs(self) -> Iterator[CoaddRef]:
        """Iterate over the coadds, by tract and patch.

        Raises InputError if the repository, a collection, the dataset type, the band or `where` is
        wrong, or nothing is found; the message lists what is available.
        """
        self.problems.clear()
        registry, _ = open_registry(self.repository)
        with registry, registry.translate_errors(self.where):
            yield from self._pages(registry, self._search(registry))

    def _search(self, registry: Registry) -> Search:
        if self.where:
            _check_balanced(self.where)
        registry.check(self.dataset_type, self.collections, self.band)
        found = registry.skymaps(self.dataset_type, self.collections)
        if self.skymap and self.skymap not in found:
            raise InputError(
                f"no skymap {self.skymap!r} with coadds; available: {comma_separated(found)}"
            )
        if not self.skymap and len(found) > 1:
            raise InputError(
                f"coadds of several skymaps: {comma_separated(found)}; name one with {{skymap}}"
            )
        return Search(
            dataset_type=self.dataset_type,
            collections=registry.expand(self.collections),
            skymap=self.skymap or next(iter(found), ""),
            band=self.band,
            where=self.where,
        )

    def _pages(self, registry: Registry, search: Search) -> Iterator[CoaddRef]:
        tracts = self._candidate_tracts(registry, search, registry.tracts(search))
        any_selected = False
        for start in range(0, len(tracts), _TRACTS_PER_PAGE):
            page = tracts[start : start + _TRACTS_PER_PAGE]
            found = registry.page(search, page)
            polygons = registry.patch_polygons(search.skymap, page)
            for coadd in found:
                ref = self._coadd_ref(coadd, polygons)
                if ref is not None and self.selection.has(ref):
                    any_selected = True
                    yield ref
        if not any_selected and not self.problems:
            raise InputError(self._nothing_found(registry, search))

    def _candidate_tracts(self, registry: Registry, search: Search, tracts: list[int]) -> list[int]:
        """Return the tracts that may hold selected coadds; the others are not queried."""
        region = self.selection.region
        tracts = [tract for tract in tracts if self.selection.has_tract(tract)]
        if region is None or not tracts:
            return tracts
        outlines = registry.tract_polygons(search.skymap)
        return [tract for tract in tracts if region.touches(outlines.get(tract, Polygon()))]

    def _nothing_found(self, registry: Registry, search: Search) -> str:
        tracts = registry.tracts(
            Search(search.dataset_type, search.collections, skymap=search.skymap)
        )
        condition = f" in band {self.band!r}" if self.band else ""
        condition += f" where {self.where}" if self.where else ""
        condition += f" in {self.selection}" if self.selection else ""
        text = f"no {self.dataset_type}{condition}; {available([str(t) for t in tracts], 'tracts')}"
        if self.selection.patches and any(map(self.selection.has_tract, tracts)):
            patches = registry.values(search.dataset_type, search.collections, "patch")
            text += f"; {available(sorted(patches, key=int), 'patches')}"
        return text

    def _coadd_ref(
        self, found: RegisteredCoadd, polygons: dict[tuple[int, int], Polygon]
    ) -> CoaddRef | None:
        reason = ""
        if found.storage_class not in READABLE_STORAGE_CLASSES:
            supported = comma_separated(READABLE_STORAGE_CLASSES)
            reason = f"storage class {found.storage_class} cannot be read; supported: {supported}"
        elif not found.uris:
            reason = "registered, but not stored in the datastore"
        elif "" not in found.uris and "image" not in found.uris:
            reason = f"stored in components without an image: {comma_separated(sorted(found.uris))}"
        if reason:
            name = ", ".join(f"{k}={v}" for k, v in found.data_id.items())
            if self.strict:
                raise InputError(f"{name}: {reason}")
            self.problems.append(Problem(name, reason))
            return None
        tract_and_patch = int(found.data_id["tract"]), int(found.data_id["patch"])
        return CoaddRef(
            uri=found.uris.get("") or with_components(found.uris["image"], found.uris),
            identity=found.dataset_id,
            band=str(found.data_id.get("band", "")),
            polygon=polygons.get(tract_and_patch, Polygon()),
            data_id=tuple(found.data_id.items()),
            dataset_type=self.dataset_type,
            run=found.run,
            dataset_id=found.dataset_id,
            storage_class=found.storage_class,
        )


def _check_balanced(where: str) -> None:
    """Raise InputError unless parentheses and quotes are balanced: more are put around it."""
    depth, quoted = 0, False
    for letter in where:
        quoted ^= letter == "'"
        depth += 0 if quoted else (letter == "(") - (letter == ")")
        if depth < 0:
            break
    if depth or quoted:
        raise InputError(f"{{where}} {where!r} has an unbalanced parenthesis or quote: close it")

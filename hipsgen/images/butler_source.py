"""Coadds of a Data Butler repository, whoever reads its registry."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from textwrap import shorten

from hipsgen.coadd import CoaddRef, Polygon, Problem
from hipsgen.errors import InputError, MissingExtraError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.database import DatabaseError
from hipsgen.images.registry import LAYOUTS, Found, Registry, Search, first_line, listed, some
from hipsgen.images.registry_butler import ButlerRegistry
from hipsgen.images.registry_sql import SqlRegistry
from hipsgen.images.remote import advice_on, wants_package
from hipsgen.images.repository import is_repository, labelled, why_not
from hipsgen.images.selection import ALL, Selection
from hipsgen.images.staging import with_components

_TRACTS_PER_PAGE = 100
_LONG = 150  # letters of a reason
_refused: dict[str, str] = {}  # repositories that daf_butler did not take, in this process


def open_registry(repository: str) -> tuple[Registry, str]:
    """The registry of a repository, and why it is not daf_butler that reads it, "" if it does.

    daf_butler knows most repositories since 2021. One that it refuses is read by SQL, as it is:
    nothing has to be migrated. Raises InputError when neither can, with daf_butler's reason.
    """
    if not is_repository(repository):
        raise InputError(f"{repository} is not a Butler repository: {why_not(repository)}")
    if repository in _refused:
        return SqlRegistry(repository), _refused[repository]
    try:
        return ButlerRegistry(repository), ""
    except MissingExtraError:
        raise
    except Exception as error:  # daf_butler raises what its managers, readers and drivers raise
        if wants_package(error):
            raise MissingExtraError(f"the repository {repository}", "remote") from error
        reason = f"{type(error).__name__}: {first_line(error)}"
        place = labelled(repository) or repository
        if "://" in place and (advice := advice_on(error, place)):
            raise InputError(f"{repository} cannot be opened: {advice}") from error
        try:
            registry = SqlRegistry(repository)
            _refused[repository] = shorten(reason, _LONG, placeholder=" ...")
            return registry, _refused[repository]
        except DatabaseError:  # of which daf_butler speaks at greater length
            raise
        except InputError:
            if status := getattr(error, "status_code", 0):
                reason = f"the server answers with {status}: has it a repository of this name?"
            if "://" in place and isinstance(error, FileNotFoundError):
                reason = "there is no butler.yaml (a Butler server's is at /api/butler/repo/NAME)"
            raise InputError(f"{repository} cannot be opened: {reason}") from error


@dataclass
class ButlerSource:
    """One band of one dataset type, found first in a sequence of collections.

    The registry is asked here, in pages of tracts, and never by a worker.
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
        """One line for `properties` and reports."""
        text = f"Butler {', '.join(self.collections)} {self.dataset_type}"
        text += f" where {self.where}" if self.where else ""
        return text + (f" in {self.selection}" if self.selection else "")

    def reader(self) -> FitsReader:
        """What workers read with: URIs only."""
        return self.fits_reader

    def refs(self) -> Iterator[CoaddRef]:
        """The coadds, by tract and patch.

        Raises InputError when the repository, a collection, the dataset type, the band or the
        `where` is wrong, or nothing is found; the message lists what there is.
        """
        self.problems.clear()
        registry, _ = open_registry(self.repository)
        with registry, registry.naming_errors(self.where):
            yield from self._pages(registry, self._search(registry))

    def _search(self, registry: Registry) -> Search:
        if self.where:
            _check_balanced(self.where)
        registry.check(self.dataset_type, self.collections, self.band)
        found = registry.skymaps(self.dataset_type, self.collections)
        if self.skymap and self.skymap not in found:
            raise InputError(f"no skymap {self.skymap!r} with coadds; there are: {listed(found)}")
        if not self.skymap and len(found) > 1:
            raise InputError(f"coadds of several skymaps: {listed(found)}; name one with --skymap")
        return Search(
            dataset_type=self.dataset_type,
            collections=registry.expand(self.collections),
            skymap=self.skymap or next(iter(found), ""),
            band=self.band,
            where=self.where,
        )

    def _pages(self, registry: Registry, search: Search) -> Iterator[CoaddRef]:
        tracts = self._narrowed(registry, search, registry.tracts(search))
        some_were = False
        for start in range(0, len(tracts), _TRACTS_PER_PAGE):
            page = tracts[start : start + _TRACTS_PER_PAGE]
            found = registry.page(search, page)
            polygons = registry.patch_polygons(search.skymap, page)
            for one in found:
                made = self._coadd_ref(one, polygons)
                if made is not None and self.selection.has(made):
                    some_were = True
                    yield made
        if not some_were and not self.problems:
            raise InputError(self._nothing(registry, search))

    def _narrowed(self, registry: Registry, search: Search, tracts: list[int]) -> list[int]:
        """The tracts of which some coadd may be wanted: pages of others are not asked for."""
        region = self.selection.region
        tracts = [tract for tract in tracts if self.selection.has_tract(tract)]
        if region is None or not tracts:
            return tracts
        outlines = registry.tract_polygons(search.skymap)
        return [tract for tract in tracts if region.touches(outlines.get(tract, Polygon()))]

    def _nothing(self, registry: Registry, search: Search) -> str:
        known = registry.tracts(
            Search(search.dataset_type, search.collections, skymap=search.skymap)
        )
        asked = f" in band {self.band!r}" if self.band else ""
        asked += f" where {self.where}" if self.where else ""
        asked += f" in {self.selection}" if self.selection else ""
        text = f"no {self.dataset_type}{asked}; {some([str(t) for t in known], 'tracts')}"
        if self.selection.patches and any(map(self.selection.has_tract, known)):
            patches = registry.values(search.dataset_type, search.collections, "patch")
            text += f"; {some(sorted(patches, key=int), 'patches')}"
        return text

    def _coadd_ref(self, found: Found, polygons: dict[tuple[int, int], Polygon]) -> CoaddRef | None:
        reason = ""
        if found.storage_class not in LAYOUTS:
            reason = f"storage class {found.storage_class} is not a coadd that can be read"
        elif not found.uris:
            reason = "registered, but not stored in the datastore"
        elif "" not in found.uris and "image" not in found.uris:
            reason = f"stored in components without an image: {listed(sorted(found.uris))}"
        if reason:
            name = ", ".join(f"{k}={v}" for k, v in found.data_id.items())
            if self.strict:
                raise InputError(f"{name}: {reason}")
            self.problems.append(Problem(name, reason))
            return None
        place = int(found.data_id["tract"]), int(found.data_id["patch"])
        return CoaddRef(
            uri=found.uris.get("") or with_components(found.uris["image"], found.uris),
            identity=found.dataset_id,
            band=str(found.data_id.get("band", "")),
            polygon=polygons.get(place, Polygon()),
            data_id=tuple(found.data_id.items()),
            dataset_type=self.dataset_type,
            run=found.run,
            dataset_id=found.dataset_id,
            storage_class=found.storage_class,
        )


def _check_balanced(where: str) -> None:
    """Raise InputError for parentheses that would reach out of the ones put round it."""
    depth, quoted = 0, False
    for letter in where:
        quoted ^= letter == "'"
        depth += 0 if quoted else (letter == "(") - (letter == ")")
        if depth < 0:
            break
    if depth or quoted:
        raise InputError(f"--where {where!r} has a parenthesis or a quote without its partner")

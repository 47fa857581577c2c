"""What whoever reads a registry promises: daf_butler, and SQL for what daf_butler refuses."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.engine import Engine

from hipsgen.errors import InputError
from hipsgen.images import butler_source
from hipsgen.images.butler_source import ButlerSource, open_registry
from hipsgen.images.registry import Collection, Registry, Search
from hipsgen.images.registry_butler import ButlerRegistry
from hipsgen.images.registry_sql import SqlRegistry
from samples.repository import CHAIN, DATASET_TYPE
from samples.skymap import NAME
from samples.tractfiles import FIRST_RUN, REPROCESSED, SECOND_RUN
from tests.profiles import examples

TRACTS = [4848, 4849]
EVERYTHING = Search(DATASET_TYPE, (CHAIN,), NAME)


@pytest.fixture(params=[ButlerRegistry, SqlRegistry], ids=lambda kind: kind.__name__)
def registry(request: pytest.FixtureRequest, repository: Path) -> Iterator[Registry]:
    with request.param(str(repository)) as opened:
        yield opened


@cache
def both(repository: Path) -> tuple[Registry, Registry]:
    return ButlerRegistry(str(repository)), SqlRegistry(str(repository))


def test_it_names_its_collections_and_their_kinds(registry: Registry):
    wanted = {(CHAIN, "CHAINED"), (FIRST_RUN, "RUN"), (SECOND_RUN, "RUN")}
    assert set(registry.all_collections()) == {Collection(*c) for c in wanted}
    assert registry.collections() == [CHAIN, FIRST_RUN, SECOND_RUN]


def test_it_names_dataset_types_by_dimensions_and_storage_class(registry: Registry):
    kind = registry.dataset_types()[DATASET_TYPE]
    assert kind.dimensions == {"skymap", "tract", "patch", "band"}
    assert kind.storage_class == "ExposureF"
    assert registry.coadd_types([CHAIN]) == [DATASET_TYPE]


def test_it_knows_bands_from_short_to_long_wavelength_and_skymaps(registry: Registry):
    assert registry.bands(DATASET_TYPE, [CHAIN]) == ["g", "r", "i"]
    assert registry.skymaps(DATASET_TYPE, [CHAIN]) == [NAME]


def test_globs_are_searched_from_the_last_name_to_the_first(registry: Registry):
    assert registry.expand(["*"]) == tuple(sorted([CHAIN, FIRST_RUN, SECOND_RUN], reverse=True))
    assert registry.expand([FIRST_RUN, "*"])[0] == FIRST_RUN
    with pytest.raises(InputError, match="no collection 'nothing"):
        registry.expand([CHAIN, "nothing*"])


@pytest.mark.parametrize(
    ("collections", "newer"),
    [((CHAIN,), 1), ((FIRST_RUN, SECOND_RUN), 0), ((SECOND_RUN, FIRST_RUN), 1), ((SECOND_RUN,), 1)],
)
def test_the_first_collection_wins(registry: Registry, collections: tuple[str, ...], newer: int):
    found = registry.page(Search(DATASET_TYPE, collections, NAME, "r"), TRACTS)
    assert sum(f.run == SECOND_RUN for f in found) == newer
    places = [(f.data_id["tract"], f.data_id["patch"]) for f in found]
    assert places == sorted(set(places))
    assert REPROCESSED in places


def test_a_page_holds_the_tracts_asked_for(registry: Registry):
    assert registry.tracts(EVERYTHING) == TRACTS
    for tract in TRACTS:
        found = registry.page(EVERYTHING, [tract])
        assert {f.data_id["tract"] for f in found} == {tract}
        assert all(set(f.uris) == {""} for f in found)
    assert registry.page(EVERYTHING, [3]) == []


def test_patches_have_outlines(registry: Registry):
    polygons = registry.patch_polygons(NAME, TRACTS)
    assert set(polygons) == {(tract, patch) for tract in TRACTS for patch in range(4)}
    assert {len(p) for p in polygons.values()} == {4}
    assert registry.patch_polygons(NAME, [4848]).keys() < polygons.keys()


def test_what_is_no_query_is_named(registry: Registry):
    for where in ("tract =", "color = 3", "tract = :mine"):
        with (
            pytest.raises(InputError, match=r"^where ") as raised,
            registry.translate_errors(where),
        ):
            registry.tracts(Search(DATASET_TYPE, (CHAIN,), NAME, where=where))
        assert "\n" not in str(raised.value)


def test_both_readers_give_the_same(repository: Path):
    butler, sql = both(repository)
    assert butler.dataset_types() == sql.dataset_types()
    assert butler.patch_polygons(NAME, TRACTS) == sql.patch_polygons(NAME, TRACTS)
    for collections in ((CHAIN,), (FIRST_RUN,), (SECOND_RUN, FIRST_RUN)):
        search = Search(DATASET_TYPE, collections, NAME)
        assert butler.page(search, TRACTS) == sql.page(search, TRACTS)
        assert list(sql.page(search, TRACTS)[0].data_id) == list(
            butler.page(search, TRACTS)[0].data_id
        )


numbers = st.sampled_from([0, 1, 2, 3, 4847, 4848, 4849])
words = st.sampled_from(["'g'", "'r'", "'i'", "'y'"])
comparisons = st.one_of(
    st.builds("{} {} {}".format, st.sampled_from(["tract", "patch", "patch.id"]),
              st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), numbers),
    st.builds("{} {} {}".format, numbers, st.sampled_from(["<", ">", "="]), st.just("patch")),
    st.builds("band {} {}".format, st.sampled_from(["=", "!="]), words),
    st.builds("patch {} ({}, {})".format, st.sampled_from(["IN", "NOT IN"]), numbers, numbers),
    st.builds("tract IN ({}..{}:{})".format, numbers, st.just(4850), st.integers(1, 3)),
    st.builds("band IN ({}, {})".format, words, words),
)  # fmt: skip
expressions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({}) AND ({})".format, inner, inner),
        st.builds("{} or {}".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=4,
)


@examples(0.6)
@given(where=expressions)
def test_both_readers_understand_a_query_alike(repository: Path, where: str):
    butler, sql = both(repository)
    search = Search(DATASET_TYPE, (CHAIN,), NAME, where=where)
    assert butler.tracts(search) == sql.tracts(search)
    assert butler.page(search, TRACTS) == sql.page(search, TRACTS)


def test_a_repository_that_neither_can_read_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "butler.yaml").write_text("datastore: {}\nregistry: {db: 'sqlite:///none.sqlite3'}")
    with pytest.raises(InputError, match=r"none\.sqlite3 is not there.*butler\.yaml") as raised:
        open_registry(str(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", [ButlerRegistry, SqlRegistry])
def test_statements_grow_with_pages_and_not_with_references(
    kind: type[Registry], repository: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(butler_source, "open_registry", lambda root: (kind(root), ""))
    statements: list[str] = []

    def count(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    def counts(where: str) -> tuple[int, int]:
        """Statements and references."""
        statements.clear()
        source = ButlerSource(str(repository), DATASET_TYPE, (CHAIN,), "r", where=where)
        return len(list(source.refs())), len(statements)

    event.listen(Engine, "before_cursor_execute", count)
    try:
        few, many = counts("patch = 0"), counts("")
        monkeypatch.setattr(butler_source, "_TRACTS_PER_PAGE", 1)
        paged = counts("")
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert (few[0], many[0], paged[0]) == (2, 8, 8)
    assert few[1] == many[1]
    assert 1 <= paged[1] - many[1] <= 12  # of one more page

"""ButlerSource on the sample repository: what it finds, what it says when it finds nothing."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy

from hipsgen.errors import CoaddError, InputError
from hipsgen.images.butler_source import ButlerSource
from hipsgen.images.registry import polygons_of
from hipsgen.images.registry_sql import SqlRegistry
from hipsgen.images.repository import is_repository
from hipsgen.images.uris import path_of, uri_of
from hipsgen.images.where_sql import sql_clause
from samples.repository import CHAIN, DATASET_TYPE
from samples.skymap import NAME
from samples.tractfiles import FIRST_RUN, REPROCESSED, SECOND_RUN


def source(repository: Path | str, **changes: Any) -> ButlerSource:
    asked = {
        "repository": str(repository),
        "dataset_type": DATASET_TYPE,
        "collections": (CHAIN,),
        "band": "r",
        **changes,
    }
    return ButlerSource(**asked)


def places(found: ButlerSource) -> list[tuple[int, int]]:
    return [(d["tract"], d["patch"]) for d in (dict(r.data_id) for r in found.refs())]


def test_a_repository_is_known_by_its_folder_or_its_yaml(repository: Path, tmp_path: Path):
    assert is_repository(str(repository))
    assert is_repository(str(repository / "butler.yaml"))
    assert not is_repository(str(tmp_path))
    assert not is_repository(str(repository / "gen3.sqlite3"))


def test_a_repository_is_named_by_url_by_another_yaml_and_by_label(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for url in ("https://host/api/butler/repo/dp0.2", "s3://bucket/butler.yaml", "s3://b/v1.2/"):
        assert is_repository(url)
    (tmp_path / "list.yaml").write_text("- a.fits\n")
    assert is_repository(uri_of(repository))
    for url in ("https://host/x.fits", "file:///no/such/folder", "http://[::1", "://", "//[x/y"):
        assert not is_repository(url)
    assert not is_repository(str(tmp_path / "list.yaml"))
    copy = Path(shutil.copytree(repository, tmp_path / "copy"))
    other = (copy / "butler.yaml").rename(copy / "site.yaml")
    truth = [ref.dataset_id for ref in source(repository).refs()]
    assert [ref.dataset_id for ref in source(other).refs()] == truth
    (tmp_path / "index.yaml").write_text(f"main: {other}\n")
    assert not is_repository("main")
    monkeypatch.setenv("DAF_BUTLER_REPOSITORY_INDEX", str(tmp_path / "index.yaml"))
    assert is_repository("main")
    assert not is_repository("other")
    assert [ref.dataset_id for ref in source("main").refs()] == truth
    with SqlRegistry("main") as by_sql:
        assert CHAIN in by_sql.collections()


def test_the_newest_of_a_chain_is_found_first(repository: Path):
    refs = list(source(repository).refs())
    assert len(refs) == 8
    (newer,) = (dict(ref.data_id) for ref in refs if ref.run != FIRST_RUN)
    assert (newer["tract"], newer["patch"]) == REPROCESSED
    assert {r.run for r in refs} == {FIRST_RUN, SECOND_RUN}
    assert {r.run for r in source(repository, collections=(FIRST_RUN, SECOND_RUN)).refs()} == {
        FIRST_RUN
    }


def test_references_come_by_tract_and_patch_with_all_of_the_butlers_words(repository: Path):
    found = list(source(repository).refs())
    assert places(source(repository)) == [(t, p) for t in (4848, 4849) for p in range(4)]
    for ref in found:
        assert dict(ref.data_id) == {
            **{"skymap": NAME, "band": "r"},
            **{k: dict(ref.data_id)[k] for k in ("tract", "patch")},
        }
        assert (ref.dataset_type, ref.storage_class, ref.band) == (DATASET_TYPE, "ExposureF", "r")
        assert ref.identity == ref.dataset_id
        assert len(ref.polygon) == 4


def test_where_and_skymap_narrow_the_search(repository: Path):
    assert places(source(repository, where="tract = 4849 AND patch IN (1, 3)")) == [
        (4849, 1),
        (4849, 3),
    ]
    # an OR of the user's does not reach the rest of the query
    assert len(places(source(repository, where="patch = 0 OR patch = 1"))) == 4
    assert len(places(source(repository, skymap=NAME))) == 8


@pytest.mark.parametrize("number", [3, 2**53 + 1, 2**63 - 1, -(2**53) - 1])
def test_large_integers_of_a_query_are_exact(number: int):
    column = sqlalchemy.column("visit", sqlalchemy.BigInteger)
    clause = sql_clause(f"visit = {number}", {"visit": column}, sqlalchemy)
    assert list(clause.compile().params.values()) == [number]


WRONG = {
    "collection": ({"collections": ("nowhere",)}, ["no collection 'nowhere'", CHAIN, FIRST_RUN]),
    "one of two collections": ({"collections": (CHAIN, "nowhere")}, ["'nowhere'", CHAIN]),
    "dataset type": ({"dataset_type": "deep"}, ["no dataset type 'deep'", DATASET_TYPE]),
    "band": ({"band": "y"}, ["in band 'y'", "g, r, i"]),
    "skymap": ({"skymap": "rings"}, ["no skymap 'rings'", NAME]),
    "where that is no expression": ({"where": "tract ="}, ["where", "tract ="]),
    "where with an unknown name": ({"where": "color = 3"}, ["color"]),
    "where with a name that is not bound": ({"where": "tract = :mine"}, ["mine"]),
    "nothing found": ({"where": "tract = 1"}, ["tract = 1", "band 'r'", "4848, 4849"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_one_line_and_list_the_possible_values(name: str, repository: Path):
    changes, words = WRONG[name]
    with pytest.raises(InputError) as raised:
        list(source(repository, **changes).refs())
    for word in words:
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_a_folder_without_butler_yaml_is_no_repository(tmp_path: Path):
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(
            InputError, match=r"is not a Butler repository: (it has no|there is no)"
        ):
            list(source(place).refs())


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A copy of the repository, to be damaged."""
    return Path(shutil.copytree(repository, tmp_path / "copy"))


@pytest.mark.parametrize("damage", ["missing", "garbage"])
def test_a_registry_that_cannot_be_opened_is_an_input_error(damage: str, copy: Path):
    (copy / "gen3.sqlite3").unlink()
    if damage == "garbage":
        (copy / "gen3.sqlite3").write_text("no database")
    with pytest.raises(
        InputError, match=r"(cannot be opened: .*(database|sqlite)|the registry .* is not there)"
    ) as raised:
        list(source(copy).refs())
    assert "\n" not in str(raised.value)


@pytest.fixture
def writable(copy: Path) -> Iterator[Any]:
    from lsst.daf.butler import Butler

    with Butler.from_config(str(copy), writeable=True) as butler:
        yield butler


def test_a_dataset_type_that_is_no_coadd_is_refused(writable: Any, copy: Path):
    from lsst.daf.butler import DatasetType

    universe = writable.dimensions
    for name, dimensions in {"per_tract": ("skymap", "tract", "band"), "none": ()}.items():
        writable.registry.registerDatasetType(
            DatasetType(name, dimensions, "ExposureF", universe=universe)
        )
        with pytest.raises(InputError, match=f"{name} has the dimensions .*not tract and patch"):
            list(source(copy, dataset_type=name).refs())


def test_a_dataset_type_without_datasets_is_told(writable: Any, copy: Path):
    from lsst.daf.butler import DatasetType

    kind = DatasetType(
        "empty", ("skymap", "tract", "patch", "band"), "ExposureF", universe=writable.dimensions
    )
    writable.registry.registerDatasetType(kind)
    with pytest.raises(InputError, match=f"no empty in {CHAIN}"):
        list(source(copy, dataset_type="empty").refs())


def test_several_skymaps_are_to_be_chosen_from(writable: Any, copy: Path):
    import uuid

    from lsst.daf.butler import DataCoordinate, DatasetRef, FileDataset

    import samples.repository as made

    insert = writable.registry.insertDimensionData
    some = {"tract_max": 10, "patch_nx_max": 2, "patch_ny_max": 2}
    insert("skymap", {"name": "other", "hash": b"x", **some})
    insert("tract", {"skymap": "other", "id": 3})
    insert("patch", {"skymap": "other", "tract": 3, "id": 0, "cell_x": 0, "cell_y": 0})
    kind = writable.get_dataset_type(DATASET_TYPE)
    first = next(iter(source(copy).refs()))
    file = path_of(first.uri)
    assert file is not None
    extra = shutil.copy(file, copy.parent / "extra.fits")
    data_id = DataCoordinate.standardize(
        skymap="other", tract=3, patch=0, band="r", universe=writable.dimensions
    )
    ref = DatasetRef(kind, writable.registry.expandDataId(data_id), run=FIRST_RUN, id=uuid.uuid4())
    with made.named_formatter() as formatter:
        writable.ingest(FileDataset(str(extra), [ref], formatter=formatter), transfer="move")
    with pytest.raises(InputError, match=f"several skymaps: other, {NAME}; .*with skymap"):
        list(source(copy).refs())
    assert len(places(source(copy, skymap=NAME))) == 8
    (found,) = source(copy, skymap="other").refs()
    assert dict(found.data_id)["tract"] == 3
    assert found.polygon == ()  # its patch has no region in the registry


def test_a_dataset_that_is_registered_but_not_stored_is_left_out_and_told(
    writable: Any, copy: Path
):
    gone = next(iter(source(copy).refs()))
    ref = writable.get_dataset(gone_id(gone))
    writable.pruneDatasets([ref], disassociate=False, unstore=True, purge=False)
    found = source(copy)
    assert len(list(found.refs())) == 7
    (problem,) = found.problems
    assert "tract=4848" in problem.source
    assert "not stored" in problem.reason
    with pytest.raises(InputError, match="not stored"):
        list(source(copy, strict=True).refs())


def gone_id(ref: Any) -> Any:
    import uuid

    return uuid.UUID(ref.dataset_id)


def test_a_file_that_was_deleted_is_a_coadd_error_when_it_is_read(copy: Path):
    found = source(copy)
    ref = next(iter(found.refs()))
    path = path_of(ref.uri)
    assert path is not None
    path.unlink()
    with pytest.raises(CoaddError, match="does not exist"):
        found.reader().info(ref)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_a_region_that_is_damaged_or_no_polygon_is_no_outline():
    corners = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], "<f8")
    good = b"p" + corners.tobytes()
    broken = b"p" + np.where(corners > 0, np.nan, 0).tobytes()
    outlines = polygons_of([good, good[:-5], broken, b"c" + bytes(32), b"", None, good])
    assert [len(outline) for outline in outlines] == [3, 0, 0, 0, 0, 0, 3]
    np.testing.assert_allclose(outlines[-1], [(0, 0), (90, 0), (0, 90)], atol=1e-12)


def test_nothing_in_the_repository_changes(repository: Path):
    before = hashes(repository)
    for band in ("g", "r", "i"):
        found = source(repository, band=band)
        for ref in found.refs():
            rows, cols = found.reader().info(ref).shape
            pixels = found.reader().read(ref, (slice(0, rows), slice(0, cols)))
            assert np.isfinite(pixels).any()
    with pytest.raises(InputError):
        list(source(repository, where="tract =").refs())
    assert hashes(repository) == before


def test_a_source_describes_its_query(repository: Path):
    text = source(repository, where="tract = 4848").describe()
    assert text == f"Butler {CHAIN} {DATASET_TYPE} where tract = 4848"

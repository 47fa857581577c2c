import os
import shutil
import sqlite3

import numpy as np
import pyarrow
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import vstack
from pyarrow import parquet

from hipsgen.errors import InputError
from tests.viewer.conftest import Client
from viewer.app import ViewerConfig, create_app
from viewer.catalogs.object_tables import open_object_tables
from viewer.catalogs.query import CatalogQuery
from viewer.catalogs.sky_index import Cone

CHAIN, TYPE = "sample/coadds", "objectTable_tract"
RA, DEC = 55.70, -31.42  # between the two tracts of the sample


@pytest.fixture(scope="module")
def repository(sample_repository):
    return sample_repository


@pytest.fixture
def own(repository, tmp_path):
    """A copy that the test may damage."""
    return shutil.copytree(repository, tmp_path / "repo")


@pytest.fixture(scope="module")
def measured(repository):
    """All tables, read by the Butler."""
    from lsst.daf.butler import Butler

    with Butler.from_config(str(repository)) as butler:
        refs = butler.query_datasets(TYPE, collections=CHAIN)
        return vstack([butler.get(ref) for ref in refs])


def ask(catalog, radius=1.0, **words):
    return catalog.rows(CatalogQuery(Cone(RA, DEC, radius), limit=20_000, **words))


def ids(found):
    return [int(row[0]) for row in found["rows"]]


def test_rows_of_all_tracts_as_the_butler_gives_them(repository, measured):
    objects = open_object_tables(str(repository), [CHAIN])
    assert str(objects) == f"catalog {TYPE}: 2 tables"
    found = ask(objects)
    assert sorted(ids(found)) == sorted(measured["objectId"])
    assert not found["problems"]
    told = {c["name"]: (c["kind"], c["unit"]) for c in objects.describe()["columns"]}
    assert list(told) == measured.colnames
    assert told["r_psfFlux"] == ("number", "nJy")
    assert told["detect_isPrimary"] == ("flag", "")


@pytest.mark.parametrize("radius", [0.001, 0.003, 0.01])
def test_a_cone_over_the_seam(repository, measured, radius):
    text = "refExtendedness == 1 and r_psfFlux / r_psfFluxErr > 8 and detect_isPrimary"
    found = ask(open_object_tables(str(repository), [CHAIN]), radius, filter=text)
    at = SkyCoord(measured["coord_ra"], measured["coord_dec"])
    apart = at.separation(SkyCoord(RA, DEC, unit="deg")).deg
    kept = (measured["refExtendedness"] == 1) & measured["detect_isPrimary"] & (apart <= radius)
    kept &= measured["r_psfFlux"] / measured["r_psfFluxErr"] > 8
    right = [int(measured["objectId"][k]) for k in np.argsort(apart) if kept[k]]
    assert ids(found) == right
    assert radius < 0.01 or {k >> 44 for k in right} == {4848, 4849}


def test_a_file_is_opened_when_its_tract_is_looked_at(repository):
    objects = open_object_tables(str(repository), [CHAIN])
    objects.rows(CatalogQuery(Cone(RA + 90, DEC, 1)))
    assert len(objects._open) == 1  # the first, for its columns
    ask(objects)
    assert len(objects._open) == 2


def test_sql_is_used_where_daf_butler_fails(own, repository):
    config = own / "butler.yaml"
    other = "lsst.daf.butler.datastores.posixDatastore.PosixDatastore"
    known = "lsst.daf.butler.datastores.fileDatastore.FileDatastore"
    config.write_text(config.read_text().replace(known, other))
    one, two = (ask(open_object_tables(str(root), [CHAIN])) for root in (repository, own))
    assert one["rows"] == two["rows"]


def test_nothing_is_written(own):
    database = own / "gen3.sqlite3"

    def state():
        return {path: path.stat().st_mtime_ns for path in own.rglob("*")}, database.read_bytes()

    before = state()
    ask(open_object_tables(str(own), [CHAIN]))
    assert state() == before


def tables_of(root):
    with sqlite3.connect(root / "gen3.sqlite3") as database:
        rows = database.execute("select path from file_datastore_records order by path").fetchall()
    return [root / path for (path,) in rows if path.endswith(".parq")]


def tract_in(table):
    return parquet.read_table(table)["tract"][0].as_py()


def test_a_damaged_table_is_reported_and_the_others_are_served(own, measured):
    broken, whole = tables_of(own)
    broken.write_bytes(b"junk")
    objects = open_object_tables(str(own), [CHAIN])
    client = Client(create_app(ViewerConfig((), catalogs=(objects,))))
    url = f"/api/catalogs/{TYPE}?ra={RA}&dec={DEC}&radius=1&limit=20000"
    found = client.get(url).json()
    tract = tract_in(whole)
    assert {int(row[0]) >> 44 for row in found["rows"]} == {tract}
    (problem,) = found["problems"]
    assert f"{TYPE} of tract {9697 - tract}" in problem
    os.unlink(whole)
    answer = client.get(url)
    assert answer.status_code == 404
    assert "of tract 484" in answer.json()["error"]
    with pytest.raises(InputError, match="cannot be read"):
        open_object_tables(str(own), [CHAIN])


def test_a_table_with_other_columns_is_reported(own):
    first, second = tables_of(own)
    parquet.write_table(parquet.read_table(second).drop_columns(["i_psfFlux"]), second)
    objects = open_object_tables(str(own), [CHAIN])
    found = ask(objects, columns=("objectId", "i_psfFlux"))
    tract = tract_in(first)
    assert {int(row[0]) >> 44 for row in found["rows"]} == {tract}
    assert "no column 'i_psfFlux'" in found["problems"][0]
    assert not ask(objects, columns=("objectId",))["problems"]


def test_tables_by_patch(own):
    """Tables by tract are preferred, because they are fewer files."""
    from lsst.daf.butler import Butler, DatasetType

    with Butler.from_config(str(own), writeable=True) as butler:
        dimensions = ("skymap", "tract", "patch")
        kind = DatasetType("objectTable", dimensions, "ArrowTable", universe=butler.dimensions)
        butler.registry.registerDatasetType(kind)
        for record in butler.query_dimension_records("patch"):
            x, y, z = record.region.getCentroid()
            center = SkyCoord(x, y, z, representation_type="cartesian").spherical
            columns = {
                "patch": [record.tract * 10 + record.id],
                "coord_ra": [center.lon.deg],
                "coord_dec": [center.lat.deg],
            }
            butler.put(
                pyarrow.table(columns), kind, record.dataId, run="sample/run/20260202T000000Z"
            )
    objects = open_object_tables(str(own), [CHAIN], "objectTable")
    assert sorted(ids(ask(objects))) == [48480, 48481, 48482, 48483, 48490, 48491, 48492, 48493]
    assert open_object_tables(str(own), [CHAIN]).name == TYPE


@pytest.mark.parametrize(
    ("collections", "table", "words"),
    [
        ([], "", "name a collection with -c; available: sample/coadds"),
        (["other"], "", "no collection 'other'"),
        ([CHAIN], "source", r"no object table source .* patch: objectTable_tract"),
        ([CHAIN], "deepCoadd_calexp", "no object table deepCoadd_calexp"),
        (["sample/run/20260202T000000Z"], "", "tables by tract or patch: none"),
    ],
)
def test_missing_tables_are_reported_with_the_alternatives(repository, collections, table, words):
    with pytest.raises(InputError, match=words):
        open_object_tables(str(repository), collections, table)

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hipsgen import files
from hipsgen.cli import cli
from hipsgen.errors import ConfigError, InputError, MissingExtraError
from hipsgen.survey.provenance import Provenance
from tests.profiles import examples
from tests.viewer.conftest import Client, other_coadd
from tests.viewer.serving import Wire, served
from tests.viewer.small_hips import DEC, RA, make_survey
from viewer.app import ViewerConfig, create_app
from viewer.catalogs import tables
from viewer.catalogs.catalog import open_file
from viewer.catalogs.filters import parse_filter
from viewer.catalogs.query import CatalogQuery
from viewer.catalogs.sky_index import Cone

BIG = 3303582064834445313  # an objectId of Rubin's, which a float64 would round


def stars(count=2000, seed=1):
    """Positions all over the sky, many of them at the poles and at RA 0."""
    rng = np.random.default_rng(seed)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    ra = rng.uniform(0, 360, count)
    ra[: count // 4] = rng.normal(0, 0.3, count // 4) % 360
    dec[: count // 4] = rng.normal(0, 0.3, count // 4)
    pole = slice(count // 4, count // 2)
    dec[pole] = np.where(rng.uniform(size=count // 4) < 0.5, 1, -1) * (
        90 - np.abs(rng.normal(0, 0.4, count // 4))
    )
    flux = rng.lognormal(6, 2, count)
    flux[::50] = np.nan
    return Table(
        {
            "objectId": BIG + np.arange(count),
            "ra": ra * units.deg,
            "dec": dec * units.deg,
            "r_psfFlux": flux * units.nJy,
            "extendedness": rng.integers(0, 2, count),
            "band": rng.choice(["g", "r", "i"], count),
            "primary": rng.uniform(size=count) < 0.7,
        }
    )


def test_column_names_may_contain_commas_and_slashes(tmp_path):
    table = Table({"ra": [1.0], "dec": [2.0], "a,b": [3], "b": [4], "c": [5]})
    catalog = open_file(f"{write(table, tmp_path / 'x.parquet')},name=a/b")
    client = Client(create_app(ViewerConfig((), catalogs=(catalog,))))
    for columns, wanted in (("a,b", [[3]]), ("b,c", [[4, 5]]), (("a,b", "c"), [[3, 5]])):
        query = urlencode({"ra": 1, "dec": 2, "radius": 1, "columns": columns}, doseq=True)
        answer = client.get(f"/api/catalogs/a%2Fb?{query}")
        assert answer.json()["rows"] == wanted


def write(table, path):
    forms = {".csv": "ascii.csv", ".xml": "votable", ".parquet": "parquet", ".fits": "fits"}
    table.write(path, format=forms[path.suffix])
    return str(path)


@pytest.fixture(scope="module")
def table():
    return stars()


@pytest.fixture(scope="module")
def opened(table, tmp_path_factory):
    return open_file(write(table, tmp_path_factory.mktemp("catalog") / "stars.parquet"))


@pytest.fixture(scope="module")
def client(opened):
    return Client(create_app(ViewerConfig((), catalogs=(opened,))))


def ids(found):
    column = [c["name"] for c in found["columns"]].index("objectId")
    return [int(row[column]) for row in found["rows"]]


def ask(catalog, ra, dec, radius, **words):
    limit = words.pop("limit", 20_000)
    return catalog.rows(CatalogQuery(Cone(ra, dec, radius), limit=limit, **words))


def expected(table, ra, dec, radius):
    """objectIds in a cone, nearest first, computed by astropy."""
    apart = SkyCoord(table["ra"], table["dec"]).separation(SkyCoord(ra, dec, unit="deg")).deg
    order = np.argsort(apart)
    return [int(table["objectId"][k]) for k in order if apart[k] <= radius]


@given(
    ra=st.one_of(st.floats(0, 360), st.floats(-0.5, 0.5).map(lambda x: x % 360)),
    dec=st.one_of(st.floats(-90, 90), st.floats(-1, 1), st.floats(89, 90), st.floats(-90, -89)),
    radius=st.floats(-4, 2.255).map(lambda x: 10**x),
)
@example(ra=0.0, dec=90.0, radius=0.7)
@example(ra=0.0, dec=-90.0, radius=0.7)
@example(ra=0.0, dec=0.0, radius=0.2)
@example(ra=359.999, dec=0.0, radius=0.2)
@example(ra=12.0, dec=-30.0, radius=180.0)
@example(ra=0.0, dec=0.0, radius=177.8)
@examples(1.5)
def test_a_cone_has_the_rows_that_astropy_finds(table, opened, ra, dec, radius):
    found = ask(opened, ra, dec, radius)
    assert set(ids(found)) == set(expected(table, ra, dec, radius))
    assert not found["more"]


@pytest.mark.parametrize(("ra", "dec"), [(0, 0), (200, 89.9), (10, -89.9), (123, 40)])
def test_the_nearest_come_first_and_more_is_reported(table, opened, ra, dec):
    right = expected(table, ra, dec, 30)
    found = ask(opened, ra, dec, 30, limit=20)
    assert ids(found) == right[:20]
    assert found["more"]
    at = SkyCoord(found["ra"], found["dec"], unit="deg")
    by_id = {int(row["objectId"]): row for row in table}
    true = SkyCoord(*[[by_id[k][c] for k in ids(found)] for c in ("ra", "dec")], unit="deg")
    assert at.separation(true).arcsec.max() < 1e-6
    assert not ask(opened, ra, dec, 30, limit=len(right))["more"]


def test_the_brightest_come_first_and_nan_last(table, opened):
    found = ask(opened, 0, 0, 180, sort="-r_psfFlux", limit=30)
    brightest = np.argsort(-np.nan_to_num(np.array(table["r_psfFlux"]), nan=-1))[:30]
    assert ids(found) == [int(table["objectId"][k]) for k in brightest]
    everything = ask(opened, 0, 0, 180, sort="r_psfFlux", columns=("r_psfFlux",))
    fluxes = [row[0] for row in everything["rows"]]
    missing = int(np.isnan(table["r_psfFlux"]).sum())
    assert all(flux is None for flux in fluxes[-missing:])
    assert fluxes[:-missing] == sorted(fluxes[:-missing])


def test_large_integers_are_sorted_exactly(table, opened):
    wanted = sorted(map(int, table["objectId"]))
    assert ids(ask(opened, 0, 0, 180, sort="objectId", limit=300)) == wanted[:300]
    assert ids(ask(opened, 0, 0, 180, sort="-objectId", limit=300)) == wanted[:-301:-1]


FILTERS = {
    "r_psfFlux > 1000 and extendedness == 0": lambda t: (
        (t["r_psfFlux"] > 1000) & (t["extendedness"] == 0)
    ),
    "r_psfFlux > 1000 and extendedness == 0 or not (dec < 20)": lambda t: (
        (t["r_psfFlux"] > 1000) & (t["extendedness"] == 0) | ~(t["dec"] < 20)
    ),
    "isnan(r_psfFlux)": lambda t: np.isnan(t["r_psfFlux"]),
    "primary and band == 'g'": lambda t: t["primary"] & (t["band"] == "g"),
    "not primary or band != 'g'": lambda t: ~t["primary"] | (t["band"] != "g"),
    "primary == False": lambda t: ~t["primary"],
    "band <= 'i'": lambda t: t["band"] <= "i",
    "10 < dec <= 20": lambda t: (t["dec"] > 10) & (t["dec"] <= 20),
    "-dec + 2*(ra - 180)/4 >= +1e1": lambda t: -t["dec"] + 2 * (t["ra"] - 180) / 4 >= 10,
    "extendedness * 200 > 150": lambda t: t["extendedness"] == 1,
    "1 / extendedness > 5": lambda t: t["extendedness"] == 0,
    f"objectId == {BIG + 7}": lambda t: t["objectId"] == BIG + 7,
    "1 < 2": lambda t: np.ones(len(t), bool),
    "1 > 2": lambda t: np.zeros(len(t), bool),
    " r_psfFlux != r_psfFlux ": lambda t: np.isnan(t["r_psfFlux"]),
}


@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_agrees_with_numpy(table, opened, text):
    plain = {name: np.array(table[name]) for name in table.colnames}
    with np.errstate(all="ignore"):
        kept = FILTERS[text](_Rows(plain))
    found = ask(opened, 0, 0, 180, filter=text)
    assert set(ids(found)) == set(plain["objectId"][kept])


def test_large_integers_of_both_signs_are_compared_exactly():
    numbers = np.array([-BIG, -BIG - 1, BIG, BIG + 1])
    for text, wanted in ((f"n == -{BIG}", 0), (f"-{BIG + 1} == n", 1), (f"n == {BIG + 1}", 3)):
        kept = parse_filter(text, {"n": "integer"})({"n": numbers}, 4)
        assert np.flatnonzero(kept).tolist() == [wanted]


class _Rows(dict):
    def __len__(self):
        return len(self["ra"])


HOSTILE = {
    "__import__('os')": "__import__('os')",
    "__import__('os').system('true')": "not allowed",
    "ra.__class__": "ra.__class__",
    "().__class__.__bases__[0] == 1": "not allowed",
    "9**9**9 > ra": "9**9**9",
    "ra << 100 > 1": "ra << 100",
    "ra % 0 == 1": "ra % 0",
    "10**400 > ra": "10**400",
    f"ra > {'9' * 500}": "too large",
    f"ra > {'9' * 30}": "too large",
    "ra > 1e999 * 1j": "1j",
    "(" * 900 + "ra > 1" + ")" * 900: "is invalid",
    "not " * 450 + "primary": "levels",
    "-" * 1900 + "ra > 1": "",
    "+".join(["ra"] * 600) + " > 1": "",
    " and ".join(["primary"] * 200): "",
    "ra>1 or " * 130_000 + "ra > 1": "characters",
    "lambda: 1": "not allowed",
    "[ra for ra in (1,)]": "not allowed",
    "(ra := 1) > 0": "not allowed",
    "f'{ra}' == 'x'": "not allowed",
    "band == b'g'": "neither a number nor a text",
    "ra == None": "neither a number nor a text",
    "isnan(ra, ra)": "not allowed",
    "isnan(*ra)": "not allowed",
    "exec('1')": "not allowed",
    "isnan('x')": "text",
    "ra": "is a number",
    "ra and dec": "'ra' is a number",
    "not band": "'band' is a text",
    "band + 1 > 2": "'band' is a text",
    "band > 1": "'band' is a text and '1' a number",
    "ra in (1, 2)": "not allowed",
    "ra is dec": "not allowed",
    "ra >": "is invalid",
    "ra > 1; dec > 2": "is invalid",
    "ra > 1\nor dec": "one line",
    "ra > \0": "one line",
    "r_psflux > 2": "did you mean: r_psfFlux",
    "qqq > 2": "available: objectId, ra, dec",
}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:30].encode("ascii", "replace"))
def test_an_invalid_filter_is_refused_quickly_in_one_line(client, text):
    query = urlencode({"ra": 1, "dec": 2, "radius": 180, "filter": text})
    started = time.process_time()  # of all threads, whatever else the machine does
    answer = client.get(f"/api/catalogs/stars?{query}")
    assert time.process_time() - started < 1
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert HOSTILE[text] in error
    assert "\n" not in error
    assert len(error) < 400


@given(text=st.text(alphabet="ra dec_p()<>=!*+-/.,'\"[]0123456789e:nots&|^~@%", max_size=60))
@settings(examples(3), deadline=1000)
def test_any_filter_text_gives_rows_or_an_error(client, text):
    query = urlencode({"ra": 1, "dec": 2, "radius": 3, "filter": text})
    assert client.get(f"/api/catalogs/stars?{query}").status_code in (200, 400)


@pytest.mark.parametrize("ending", [".csv", ".xml", ".parquet", ".fits"])
def test_each_format_gives_the_same_rows(table, opened, tmp_path, ending):
    catalog = open_file(write(table, tmp_path / f"stars{ending}"))
    text = "primary and band == 'g' and r_psfFlux > 100"
    one, other = (ask(c, 0, 0, 60, filter=text) for c in (opened, catalog))
    assert one["rows"]
    assert [row[:1] + row[4:] for row in one["rows"]] == [
        row[:1] + row[4:] for row in other["rows"]
    ]
    for k in (1, 2, 3):
        a, b = ([row[k] for row in found["rows"]] for found in (one, other))
        np.testing.assert_allclose(a, b, rtol=1e-14)
    columns = {c["name"]: c for c in catalog.describe()["columns"]}
    kinds = {name: c["kind"] for name, c in columns.items()}
    assert kinds == {
        "objectId": "integer",
        "ra": "number",
        "dec": "number",
        "r_psfFlux": "number",
        "extendedness": "integer",
        "band": "text",
        "primary": "flag",
    }
    if ending != ".csv":  # which has none
        assert columns["r_psfFlux"]["unit"] == "nJy"


@pytest.mark.parametrize("ending", [".csv", ".xml", ".parquet", ".fits"])
def test_missing_values_are_nan_empty_or_false(tmp_path, ending):
    table = Table(
        {
            "ra": MaskedColumn([1.0, 2.0, 3.0, 4.0], mask=[0, 0, 1, 0]),
            "dec": [1.0, 1.0, 1.0, np.nan],
            "count": MaskedColumn([5, 6, 7, 8], mask=[0, 1, 0, 0]),
            "word": MaskedColumn(["a", "b", "c", "d"], mask=[0, 1, 0, 0]),
        }
    )
    catalog = open_file(write(table, tmp_path / f"holes{ending}"))
    assert (catalog.describe()["rows"], catalog.describe()["left_out"]) == (2, 2)
    found = ask(catalog, 1, 1, 2, columns=("count", "word"))
    assert found["rows"][0] == (5, "a")
    assert found["rows"][1][0] is None
    assert found["rows"][1][1] in ("", "N/A")
    assert len(ask(catalog, 1, 1, 2, filter="count == 5")["rows"]) == 1
    assert len(ask(catalog, 1, 1, 2, filter="isnan(count)")["rows"]) == 1


POSITIONS = {
    "usual": (("ra", "dec"), 1.0, ""),
    "capitals": (("RA", "DEC"), 1.0, ""),
    "vizier": (("_RAJ2000", "_DEJ2000"), 1.0, "deg"),
    "icrs": (("RA_ICRS", "DE_ICRS"), 1.0, "deg"),
    "obscore": (("s_ra", "s_dec"), 1.0, "deg"),
    "afw": (("coord_ra", "coord_dec"), np.pi / 180, "rad"),
    "rubin": (("coord_ra", "coord_dec"), 1.0, "deg"),
}


@pytest.mark.parametrize("ending", [".csv", ".ecsv", ".vot", ".fits", ".parquet"])
def test_long_ids_are_exact_where_others_are_missing(tmp_path, ending):
    first = 3614563210000000123
    ids = MaskedColumn([first, first + 1, 5], mask=[False, False, True])
    made = Table({"ra": [10.0, 10.1, 10.2], "dec": [1.0] * 3, "id": ids})
    file = tmp_path / f"stars{ending}"
    if ending == ".parquet":
        pyarrow, parquet = (pytest.importorskip(f"pyarrow{k}") for k in ("", ".parquet"))
        columns = {name: list(made[name]) for name in ("ra", "dec")}
        parquet.write_table(pyarrow.table({**columns, "id": [first, first + 1, None]}), file)
    else:
        formats = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv", ".vot": "votable", ".fits": "fits"}
        made.write(file, format=formats[ending])
    stars = open_file(str(file))

    def told(condition: str) -> list:
        cone = Cone(10.0, 1.0, 5.0)
        return [row[0] for row in stars.rows(CatalogQuery(cone, condition, ("id",)))["rows"]]

    assert told("") == [str(first), str(first + 1), None]
    assert told(f"id == {first + 1}") == [str(first + 1)]
    assert told(f"id == {first + 77}") == []
    assert told("isnan(id)") == [None]


@pytest.mark.parametrize("case", POSITIONS)
def test_position_columns_by_name_and_unit(tmp_path, case):
    (ra, dec), factor, unit = POSITIONS[case]
    table = Table({"other": [1, 2], ra: factor * np.array([10.0, 20]), dec: [0, factor * 30.0]})
    if unit:
        table[ra].unit = table[dec].unit = unit
    found = ask(open_file(write(table, tmp_path / "x.fits")), 20, 30, 1)
    np.testing.assert_allclose([found["ra"], found["dec"]], [[20], [30]], rtol=1e-14)


def test_only_rubin_columns_without_a_unit_may_be_radians(tmp_path):
    for names, is_radians in ((("coord_ra", "coord_dec"), True), (("ra", "dec"), False)):
        table = Table(dict(zip(names, ([1.0, 6.2], [-0.5, 1.5]), strict=True)))
        for ending in (".csv", ".parquet"):
            path = tmp_path / f"{names[0]}{ending}"
            found = ask(open_file(write(table, path)), 0, 0, 180)
            scale = np.degrees(1.0) if is_radians and ending == ".csv" else 1.0
            np.testing.assert_allclose(sorted(found["ra"]), np.array([1.0, 6.2]) * scale)
            told = ask(open_file(f"{path},unit=rad"), 0, 0, 180)
            np.testing.assert_allclose(sorted(told["ra"]), np.degrees([1.0, 6.2]))


def test_a_ucd_takes_precedence_over_a_name(tmp_path):
    table = Table({"ra": [1.0], "dec": [2.0], "alpha": [3.0], "delta": [4.0]})
    table["alpha"].meta["ucd"] = "pos.eq.ra;meta.main"
    table["delta"].meta["ucd"] = "pos.eq.dec;meta.main"
    found = ask(open_file(write(table, tmp_path / "x.xml")), 3, 4, 1)
    np.testing.assert_allclose([found["ra"], found["dec"]], [[3.0], [4.0]], rtol=1e-14)


def test_columns_that_the_user_names(tmp_path):
    table = Table({"x,ra": [10.0], "y": [20.0], "z": ["a"]})
    path = write(table, tmp_path / "a,b.csv")
    with pytest.raises(InputError, match=r"available: x,ra, y, z; .*--catalog FILE,ra=COLUMN"):
        open_file(path)
    assert ask(open_file(f"{path},ra=x,ra,dec=y"), 10, 20, 1)["dec"] == [20.0]
    for wrong, words in (
        (",ra=y,dec=q", "no numeric column 'q'"),
        (",ra=y,dec=z", "numeric column 'z'"),
    ):
        with pytest.raises(InputError, match=words):
            open_file(path + wrong)
    for wrong in (",ra=y", ",ra=y,dec=y,unit=hours"):
        with pytest.raises(ConfigError, match="--catalog"):
            open_file(path + wrong)
    assert open_file(f"{path},ra=y,dec=y,name=mine").name == "mine"


@pytest.mark.parametrize("ending", ["csv", "vot", "xml", "parquet", "fits", "txt"])
def test_unreadable_tables_are_refused_in_one_line(tmp_path, ending):
    file = tmp_path / f"junk.{ending}"
    file.write_bytes(b"\x00\xff junk" * 50)
    result = CliRunner().invoke(cli, ["serve", str(tmp_path), "--catalog", str(file)])
    assert isinstance(result.exception, InputError)
    assert f"junk.{ending}" in str(result.exception)
    assert "\n" not in str(result.exception)
    with pytest.raises(InputError, match="there is no such file"):
        open_file(str(tmp_path / "none.csv"))


def test_parquet_needs_an_extra(opened, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    (tmp_path / "x.parquet").touch()
    with pytest.raises(MissingExtraError, match=r"hipsgen\[catalogs\]"):
        open_file(str(tmp_path / "x.parquet"))


def test_catalogs_are_listed_for_the_page(client, table):
    (stars,) = client.get("/api/catalogs").json()["catalogs"]
    assert (stars["name"], stars["rows"], stars["left_out"]) == ("stars", len(table), 0)
    assert stars["columns"][3] == {"name": "r_psfFlux", "kind": "number", "unit": "nJy"}


def test_rows_over_http(client, table):
    cone = {"ra": -0.1, "dec": 0, "radius": 0.3}
    found = client.get(
        "/api/catalogs/stars", params={**cone, "columns": "band,objectId", "limit": 3}
    ).json()
    assert [c["name"] for c in found["columns"]] == ["objectId", "band"]
    # as text, since JavaScript would round it
    assert [row[0] for row in found["rows"]] == [str(k) for k in expected(table, -0.1, 0, 0.3)[:3]]
    assert found["more"]


@pytest.mark.parametrize(
    ("name", "words", "status", "says"),
    [
        ("other", {}, 404, "no catalog 'other'"),
        ("stars", {"ra": "x"}, 400, "two numbers"),
        ("stars", {"radius": "nan"}, 400, "radius=nan"),
        ("stars", {"radius": 181}, 400, "to 180"),
        ("stars", {"limit": 20_001}, 400, "to 20000"),
        ("stars", {"limit": ""}, 400, "limit="),
        ("stars", {"columns": "objectid"}, 400, "did you mean: objectId"),
        ("stars", {"sort": "-bend"}, 400, "did you mean: band"),
        ("stars", {"sort": "band"}, 400, "text column"),
    ],
)
def test_invalid_queries(client, name, words, status, says):
    answer = client.get(f"/api/catalogs/{name}", params={"ra": 1, "dec": 2, "radius": 1, **words})
    assert answer.status_code == status
    assert says in answer.json()["error"]


def test_a_changed_file_is_reopened_and_a_broken_one_reported(tmp_path):
    path = tmp_path / "x.parquet"
    catalog = open_file(write(Table({"ra": [1.0], "dec": [2.0]}), path))
    client = Client(create_app(ViewerConfig((), catalogs=(catalog,))))
    url = "/api/catalogs/x?ra=1&dec=2&radius=1"
    assert len(client.get(url).json()["rows"]) == 1
    path.unlink()
    write(Table({"ra": [1.0, 1.1], "dec": [2.0, 2.0]}), path)
    assert len(client.get(url).json()["rows"]) == 2
    path.unlink()
    write(Table({"ra": [1.0], "dec": [2.0], "kind": ["star"]}), path)
    assert client.get(f"{url}&filter=kind=='star'").json()["rows"] == [[1.0, 2.0, "star"]]
    assert client.get("/api/catalogs").json()["catalogs"][0]["rows"] == 1
    path.write_bytes(b"junk")
    broken = client.get(url)
    assert broken.status_code == 404
    assert "x.parquet" in broken.json()["error"]
    path.unlink()
    assert client.get(url).status_code == 404


def test_two_of_one_name_are_refused(opened):
    with pytest.raises(ConfigError, match="two catalogs are called 'stars'"):
        create_app(ViewerConfig((), catalogs=(opened, opened)))


def test_only_requested_columns_are_read(tmp_path):
    wide = Table({"ra": [1.0, 2.0], "dec": [1.0, 2.0]} | {f"c{k}": [k, k] for k in range(100)})
    catalog = open_file(write(wide, tmp_path / "wide.parquet"))
    ask(catalog, 1, 1, 9, columns=("c7",), filter="c9 > 0", sort="c11")
    kept = tables.column_cache.names(catalog._table(catalog._parts[0]).table.number)
    assert kept == {"ra", "dec", "c7", "c9", "c11"}


def test_evicted_columns_are_read_again(table, opened, tmp_path, monkeypatch):
    other = open_file(write(table, tmp_path / "other.parquet"))
    number = other._table(other._parts[0]).table.number
    right = ask(opened, 0, 0, 90, filter="primary")["rows"]
    monkeypatch.setattr(tables, "CACHE_SIZE", 3 * 8 * len(table))
    for _ in range(2):
        assert ask(other, 0, 0, 90, filter="primary")["rows"] == right
        assert 1 <= len(tables.column_cache.names(number)) <= 5


def test_a_cone_of_a_million_rows_is_fast(tmp_path):
    catalog = open_file(write(stars(1_000_000), tmp_path / "million.parquet"))
    text = "r_psfFlux > 10 and extendedness == 0"
    ask(catalog, 0, 0, 0.1, filter=text)
    for ra, dec, radius in [(0, 0, 0.1), (10, 89.8, 0.2), (200, 30, 5), (0, 0, 1), (80, -20, 30)]:
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            found = ask(catalog, ra, dec, radius, filter=text, limit=2000)
            seconds.append(time.perf_counter() - started)
        print(f"{radius} deg: {len(found['rows'])} rows, {1000 * min(seconds):.1f} ms")
        assert min(seconds) < 0.05


@pytest.mark.parametrize("text", ["", "primary", "r_psfFlux > 30000", "r_psfFlux > 1e9"])
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_expanding_cones_find_the_nearest(table, opened, text, limit):
    plain = {name: np.array(table[name]) for name in table.colnames}
    kept = {
        "": np.ones(len(table), bool),
        "primary": plain["primary"],
        "r_psfFlux > 30000": plain["r_psfFlux"] > 30_000,
        "r_psfFlux > 1e9": plain["r_psfFlux"] > 1e9,
    }[text]
    for ra, dec in [(0, 0), (0, 90), (180, -10), (359.9, 0.1)]:
        found = ask(opened, ra, dec, 180, filter=text, limit=limit)
        right = expected(table[kept], ra, dec, 180)
        assert ids(found) == right[:limit]
        assert found["more"] == (len(right) > limit)


@pytest.mark.parametrize("ending", [".csv", ".xml", ".parquet", ".fits"])
def test_a_table_without_rows(tmp_path, ending):
    empty = Table({"ra": np.zeros(0), "dec": np.zeros(0)})
    catalog = open_file(write(empty, tmp_path / f"empty{ending}"))
    found = ask(catalog, 1, 2, 180, filter="ra > 1", sort="dec")
    assert (found["rows"], found["ra"], found["more"]) == ([], [], False)


def test_the_command_line_opens_catalogs(root, tmp_path, monkeypatch):
    path = write(stars(100), tmp_path / "mine.csv")
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    command = ["serve", str(root), "--port", "0", "--catalog"]
    done = CliRunner().invoke(cli, [*command, path, "--catalog", f"{path},name=other"])
    assert done.exception is None
    assert "with catalog mine: 100 rows\nwith catalog other: 100 rows\n" in done.output
    twice = CliRunner().invoke(cli, [*command, path, "--catalog", path]).exception
    assert "two catalogs are called 'mine'" in str(twice)
    alone = CliRunner().invoke(cli, ["serve", str(root), "-c", "x"]).exception
    assert "--objects REPO" in str(alone)


def test_a_real_server_outlives_hostile_requests_at_once(root, opened, table):
    filters = ["primary", "9**9**9 > ra", "(" * 3000, "x" * 60_000, "not " * 400 + "primary"]
    with served(root, catalogs=(opened,)) as port:

        def get(text):
            query = urlencode({"ra": 0, "dec": 0, "radius": 180, "limit": 50, "filter": text})
            with closing(Wire(port)) as wire:
                answer, body = wire.get(f"/api/catalogs/stars?{query}")
            return answer.status, body

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(get, filters * 8))
        assert {status for status, _ in answers[::5]} == {200}
        right = expected(table[np.array(table["primary"])], 0, 0, 180)[:50]
        assert all(ids(json.loads(body)) == right for _, body in answers[::5])
        assert {status for k, (status, _) in enumerate(answers) if k % 5} == {400}
        # a million characters are more than a request may have
        with suppress(OSError, HTTPException):
            assert get("y" * 1_000_000)[0] in range(400, 500)
        assert get("primary")[0] == 200


def test_catalog_requests_do_not_wait_for_hanging_coadds(opened, tmp_path, monkeypatch):
    """A file system may take any time to find a file."""
    responds = threading.Event()

    def check_regular(path):
        if Path(path).name != "coadd.fits":
            return files.check_regular(path)
        responds.wait(60)
        raise FileNotFoundError(path)

    monkeypatch.setattr("hipsgen.images.staging.check_regular", check_regular)
    survey = make_survey(tmp_path / "root" / "band_g")
    coadd = other_coadd(uri=(tmp_path / "coadd.fits").as_uri())
    (survey / "provenance.fits").write_bytes(Provenance([coadd]).to_bytes())
    with served(survey.parent, catalogs=(opened,), originals=[str(tmp_path)]) as port:
        hanging = []
        for _ in range(8):
            hanging.append(socket.create_connection(("127.0.0.1", port), 20))
            query = urlencode({"survey": "band_g", "ra": RA, "dec": DEC})
            hanging[-1].sendall(f"GET /api/pixel?{query} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        hanging[0].settimeout(1)
        with pytest.raises(TimeoutError):
            hanging[0].recv(1)
        with closing(Wire(port)) as wire:
            answer, body = wire.get("/api/catalogs/stars?ra=0&dec=0&radius=1")
        assert (answer.status, json.loads(body)["rows"] != []) == (200, True)
        responds.set()
        hanging[0].settimeout(20)
        received = b""
        while b"the file does not exist" not in received:
            received += hanging[0].recv(1 << 16)
        for client in hanging:
            client.close()

"""Registries on a real PostgreSQL server, by a role that may SELECT and nothing else."""

import gc
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from hipsgen.errors import InputError
from hipsgen.images.butler_source import ButlerSource, open_registry
from hipsgen.images.database import DatabaseError
from hipsgen.images.registry import Registry, Search
from hipsgen.images.registry_butler import ButlerRegistry
from hipsgen.images.registry_sql import SqlRegistry
from tests.repositories.conftest import (
    BANDS,
    CHAIN,
    DATASET_TYPE,
    Findings,
    build_band,
    write_coadds,
)
from tests.repositories.postgres import Server, server

# a repository that daf_butler refuses leaves its connection to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
READER, SECRET = "reader", "it's read:only"
VARIABLES = ("PGUSER", "PGPASSWORD", "PGPASSFILE", "LSST_DB_AUTH", "LSST_DB_AUTH_CREDENTIALS")


@pytest.fixture(scope="module")
def postgres(shared_data: Path) -> Iterator[Server]:
    """Databases `butler`, as written in 2021, and `bare`, the same without btree_gist."""
    dump = shared_data / "old_registries" / "23.0.4-postgresql" / "dump.sql"
    with server() as started:
        started.psql(
            f"CREATE ROLE {READER} LOGIN PASSWORD '{SECRET.replace(chr(39), 2 * chr(39))}'"
        )
        started.psql("CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
        for name in ("butler", "bare"):
            started.psql(f"CREATE DATABASE {name}")
            started.psql("", name, dump)
            started.psql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}", name)
        started.psql("DROP EXTENSION btree_gist CASCADE", "bare")
        yield started


@pytest.fixture(autouse=True)
def swept() -> Iterator[None]:
    """No such connection is left to the next test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without any credentials."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def reader(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGUSER", READER)
    monkeypatch.setenv("PGPASSWORD", SECRET)


def repository(shared_data: Path, root: Path, url: str) -> Path:
    shutil.copytree(shared_data / "old_registries" / "23.0.4-postgresql", root)
    text = (root / "butler.yaml").read_text()
    old = "postgresql://127.0.0.1:55432/butlerv23"
    assert old in text
    (root / "butler.yaml").write_text(text.replace(old, url))
    return root


def content(postgres: Server, database: str) -> str:
    """All rows of all tables."""
    command = [str(postgres.programs / "pg_dump"), "--data-only", "--inserts", "-U", "owner"]
    url = postgres.url(database, "owner:its%20password")
    run = subprocess.run([*command, "-d", url], capture_output=True, text=True, check=True)
    return "\n".join(line for line in run.stdout.splitlines() if not line.startswith("\\"))


@pytest.mark.parametrize("database", ["butler", "bare"])
def test_it_is_opened_counted_built_and_left_untouched(
    database: str,
    postgres: Server,
    reader: None,
    shared_data: Path,
    tmp_path: Path,
    truth: dict[str, str],
    findings: Findings,
):
    name = "23.0.4 on PostgreSQL" + ", without btree_gist" * (database == "bare")
    root = repository(shared_data, tmp_path / "repository", postgres.url(database))
    before = content(postgres, database)
    registry, refusal = open_registry(str(root))
    registry.close()
    assert isinstance(registry, SqlRegistry if database == "bare" else ButlerRegistry)
    assert ("btree_gist" in refusal) == (database == "bare")
    findings.note(name, "open", "by SQL" if refusal else "by daf_butler")
    counts = [len(list(ButlerSource(str(root), DATASET_TYPE, (CHAIN,), b).refs())) for b in BANDS]
    assert counts == [12, 12, 12]
    findings.note(name, "count", "3 x 12")
    write_coadds(root)
    assert build_band(root, tmp_path / "out") == truth
    findings.note(name, "build", "same bytes")
    assert content(postgres, database) == before
    findings.note(name, "untouched", "yes")


def test_both_readers_give_the_same(
    postgres: Server, reader: None, shared_data: Path, tmp_path: Path
):
    root = str(repository(shared_data, tmp_path / "repository", postgres.url("butler")))
    with ButlerRegistry(root) as butler, SqlRegistry(root) as sql:
        assert set(butler.all_collections()) == set(sql.all_collections())
        assert butler.dataset_types() == sql.dataset_types()
        (skymap,) = butler.skymaps(DATASET_TYPE, [CHAIN])
        search = Search(DATASET_TYPE, (CHAIN,), skymap, where="patch IN (0..3) AND NOT band = 'g'")
        tracts = butler.tracts(search)
        assert sql.tracts(search) == tracts
        assert len(tracts) == 2
        assert butler.page(search, tracts) == sql.page(search, tracts)
        assert butler.patch_polygons(skymap, tracts) == sql.patch_polygons(skymap, tracts)


def auth_file(path: Path, url: str, mode: int = 0o600) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'- url: {url}\n  username: {READER}\n  password: "{SECRET}"\n')
    path.chmod(mode)


@pytest.mark.parametrize("kind", [ButlerRegistry, SqlRegistry])
@pytest.mark.parametrize("way", ["db-auth.yaml", "LSST_DB_AUTH", "PGPASSFILE", "variables"])
def test_credentials_come_from_where_the_butler_takes_them(
    way: str,
    kind: type[Registry],
    postgres: Server,
    nobody: Path,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    url = postgres.url("butler")
    if way == "db-auth.yaml":
        auth_file(nobody / ".lsst" / "db-auth.yaml", url)
    elif way == "LSST_DB_AUTH":
        auth_file(tmp_path / "elsewhere.yaml", url)
        monkeypatch.setenv("LSST_DB_AUTH", str(tmp_path / "elsewhere.yaml"))
    elif way == "PGPASSFILE":
        escaped = SECRET.replace(":", "\\:")
        (tmp_path / "pgpass").write_text(f"127.0.0.1:{postgres.port}:butler:{READER}:{escaped}\n")
        (tmp_path / "pgpass").chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
        monkeypatch.setenv("PGUSER", READER)
    else:
        monkeypatch.setenv("PGUSER", READER)
        monkeypatch.setenv("PGPASSWORD", SECRET)
    with kind(str(repository(shared_data, tmp_path / "repository", url))) as registry:
        assert registry.bands(DATASET_TYPE, [CHAIN]) == list(BANDS)


REFUSED = {
    "wrong password": (READER, "wrong", "butler", r"password is wrong.*db-auth\.yaml.*PGPASSWORD"),
    "no password": ("", "", "butler", r"no password.*db-auth\.yaml.*LSST_DB_AUTH"),
    "no grant": ("stranger", "stranger", "butler", r"permission denied.*GRANT SELECT.*TO stranger"),
    "no database": (READER, SECRET, "nowhere", r"nowhere.*does not exist.*butler\.yaml"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_errors_for_refused_access_name_cause_and_next_step(
    case: str,
    postgres: Server,
    nobody: Path,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    user, password, database, words = REFUSED[case]
    if user:
        monkeypatch.setenv("PGUSER", user)
        monkeypatch.setenv("PGPASSWORD", password)
    root = repository(shared_data, tmp_path / "repository", postgres.url(database))
    with pytest.raises(DatabaseError, match=words) as raised:
        open_registry(str(root))
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_a_server_that_does_not_answer_is_named(nobody: Path, shared_data: Path, tmp_path: Path):
    root = repository(shared_data, tmp_path / "repository", "postgresql://127.0.0.1:1/butler")
    with pytest.raises(DatabaseError, match=r"127\.0\.0\.1:1/butler.*is it running"):
        open_registry(str(root))


def test_a_file_of_passwords_that_others_may_read_is_refused(
    postgres: Server, nobody: Path, shared_data: Path, tmp_path: Path
):
    auth_file(nobody / ".lsst" / "db-auth.yaml", postgres.url("butler"), mode=0o644)
    root = repository(shared_data, tmp_path / "repository", postgres.url("butler"))
    with pytest.raises(InputError, match=r"db-auth\.yaml.*permissions") as raised:
        open_registry(str(root))
    assert "\n" not in str(raised.value)

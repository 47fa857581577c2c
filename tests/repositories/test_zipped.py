"""Coadds in zip files that the Butler has ingested, and in parts, wherever they are."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from hipsgen.coadd import CoaddRef
from hipsgen.images.butler_source import ButlerSource
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.images.registry import Registry
from hipsgen.images.registry_butler import ButlerRegistry
from hipsgen.images.registry_sql import SqlRegistry
from hipsgen.images.uris import path_of
from samples.repository import CHAIN, DATASET_TYPE, named_formatter
from tests.images.conftest import repository
from tests.images.test_disassembled import disassemble, split
from tests.repositories.conftest import survey_bytes
from tests.repositories.remote import TOKEN, build, butler_server, moved, s3

__all__ = ["repository"]
pytestmark = pytest.mark.filterwarnings("ignore")  # of moto and of the Butler's server


@pytest.fixture(scope="module")
def zipped(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with the coadds of a band in zip files, one for each run."""
    from lsst.daf.butler import Butler

    place = tmp_path_factory.mktemp("zipped")
    root = Path(shutil.copytree(repository, place / "repository"))
    with named_formatter():
        butler = Butler.from_config(str(root), writeable=True)
        for run in butler.collections.query_info(CHAIN)[0].children:
            refs = butler.query_datasets(DATASET_TYPE, run, where="band = 'r'")
            made = butler.retrieve_artifacts_zip(refs, place / run)
            butler.pruneDatasets(refs, disassociate=False, unstore=True)
            butler.ingest_zip(made, transfer="move")
        butler.close()
    return root


def refs_of(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> list[CoaddRef]:
    with monkeypatch.context() as patched, registry:
        patched.setattr("hipsgen.images.butler_source.open_registry", lambda _: (registry, ""))
        return list(ButlerSource(registry.repository, DATASET_TYPE, (CHAIN,), "r").refs())


@pytest.mark.parametrize("kind", [ButlerRegistry, SqlRegistry])
def test_the_pixels_are_those_of_the_files(
    kind: type[Registry], zipped: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
):
    refs = refs_of(kind(str(zipped)), monkeypatch)
    originals = refs_of(kind(str(repository)), monkeypatch)
    assert [ref.dataset_id for ref in refs] == [ref.dataset_id for ref in originals]
    assert all("#zip-path=" in ref.uri for ref in refs)
    assert len({ref.uri.split("#")[0] for ref in refs}) == 2
    reader = FitsReader()
    for ref, original in zip(refs, originals, strict=True):
        shape = reader.info(original).shape
        everything = tuple(slice(0, n) for n in shape)
        pixels = reader.read(ref, everything)
        np.testing.assert_array_equal(pixels, reader.read(original, everything))
        glanced = reader.with_range_reads().read(ref, everything)
        np.testing.assert_array_equal(glanced, pixels)


@pytest.mark.slow
def test_disassembled_coadds_behind_a_butler_server(repository: Path, tmp_path: Path):
    root = Path(shutil.copytree(repository, tmp_path / "repository"))
    refs = list(ButlerSource(str(root), DATASET_TYPE, (CHAIN,), "r").refs())
    for ref in refs[:3]:
        path = path_of(ref.uri)
        assert path is not None
        disassemble(root, ref.dataset_id, split(path, True))
    with s3(root) as store:
        there = moved(root, tmp_path / "moved", store.url)
        with butler_server(there, tmp_path / "log", **store.environment) as url:
            token = {"BUTLER_RUBIN_ACCESS_TOKEN": TOKEN}
            code, said = build(url, tmp_path / "server", CHAIN, **token)
    assert code == 0, said
    assert "cannot be used" not in said
    assert build(repository, tmp_path / "plain", CHAIN)[0] == 0
    assert survey_bytes(tmp_path / "server") == survey_bytes(tmp_path / "plain")


@pytest.mark.slow
def test_from_s3_and_a_butler_server_comes_the_same_survey(
    zipped: Path, repository: Path, tmp_path: Path
):
    assert build(repository, tmp_path / "plain", CHAIN)[0] == 0
    with s3(zipped) as store:
        root = moved(zipped, tmp_path / "moved", store.url)
        code, said = build(root, tmp_path / "s3", CHAIN, **store.environment)
        assert code == 0, said
        with butler_server(root, tmp_path / "log", **store.environment) as url:
            code, said = build(url, tmp_path / "server", CHAIN, BUTLER_RUBIN_ACCESS_TOKEN=TOKEN)
            assert code == 0, said
    truth = survey_bytes(tmp_path / "plain")
    assert survey_bytes(tmp_path / "s3") == truth
    assert survey_bytes(tmp_path / "server") == truth

"""Every registry since 2021: read as it is, whoever reads it, and left as it was."""

from pathlib import Path

from hipsgen.images.butler_source import ButlerSource, open_catalogue
from hipsgen.images.registry_butler import ButlerCatalogue
from hipsgen.images.registry_sql import SqlCatalogue
from tests.repositories.conftest import (
    BANDS,
    CHAIN,
    DATASET_TYPE,
    SPOILT,
    Findings,
    build_band,
    hashes,
)


def test_it_is_opened_counted_built_and_left_untouched(
    aged: tuple[str, Path], truth: dict[str, str], tmp_path: Path, findings: Findings
):
    name, root = aged
    before = hashes(root)
    catalogue, refusal = open_catalogue(str(root))
    catalogue.close()
    by_sql = name in SPOILT or name == "23int"
    assert isinstance(catalogue, SqlCatalogue if by_sql else ButlerCatalogue)
    assert bool(refusal) == by_sql
    assert "\n" not in refusal
    findings.note(name, "open", "by SQL" if by_sql else "by daf_butler")
    counts = [len(list(ButlerSource(str(root), DATASET_TYPE, (CHAIN,), b).refs())) for b in BANDS]
    assert counts == [12, 12, 12]
    findings.note(name, "count", "3 x 12")
    assert build_band(root, tmp_path / "out") == truth
    findings.note(name, "build", "same bytes")
    assert hashes(root) == before
    findings.note(name, "untouched", "yes")

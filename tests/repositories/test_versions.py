"""Every registry since 2021: read as it is, whoever reads it, and left as it was."""

from pathlib import Path

from hipsgen.images.butler_source import ButlerSource, open_registry
from hipsgen.images.registry_butler import ButlerRegistry
from hipsgen.images.registry_sql import SqlRegistry
from tests.repositories.conftest import (
    BANDS,
    CHAIN,
    DAMAGED,
    DATASET_TYPE,
    Findings,
    build_band,
    hashes,
)


def test_it_is_opened_counted_built_and_left_untouched(
    aged: tuple[str, Path], truth: dict[str, str], tmp_path: Path, findings: Findings
):
    name, root = aged
    before = hashes(root)
    registry, refusal = open_registry(str(root))
    registry.close()
    by_sql = name in DAMAGED or name == "23int"
    assert isinstance(registry, SqlRegistry if by_sql else ButlerRegistry)
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

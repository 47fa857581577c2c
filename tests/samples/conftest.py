from pathlib import Path

import pytest

SIZE, SEED = 200, 7


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest sample."""
    pytest.importorskip("lsst.daf.butler", reason="the sample repository needs lsst-daf-butler")
    from samples.repository import make_repository

    root = tmp_path_factory.mktemp("sample") / "repo"
    assert make_repository(root, SIZE, SEED, workers=1) == 27
    return root

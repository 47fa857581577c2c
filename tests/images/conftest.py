from pathlib import Path

import pytest

SIZE, SEED = 200, 7


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest sample repository; shared by all tests, which must not change it."""
    pytest.importorskip("lsst.daf.butler", reason="needs the extra butler")
    from samples.repository import make_repository

    # tests.contracts has this fixture too, and takes what is there
    root = tmp_path_factory.getbasetemp() / "sample repository"
    if not root.exists():
        make_repository(root, SIZE, SEED, workers=1)
    return root

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repository(sample_repository: Path) -> Path:
    """Shared by all tests, which must not change it."""
    return sample_repository

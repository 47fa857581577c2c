"""A survey of many coadds costs the viewer little; `make bench-coadds` measures a larger one."""

import pytest

from hipsgen.survey import paths
from tests.benchmarks.coadds import VISITS, WORKERS, measure
from viewer.coadds.positions import MIN_STORED

pytestmark = pytest.mark.slow
COADDS = 20_000


def test_many_coadds_cost_little_time_and_memory(tmp_path):
    """The limits are generous: other tests run at the same time."""
    assert COADDS > MIN_STORED
    found = measure(tmp_path, COADDS)
    assert found.found == VISITS
    assert (tmp_path / "root" / "band_r" / paths.POSITIONS).stat().st_size < 33 * COADDS
    assert found.patches_size > 2  # MB: every coadd has an outline of its own
    assert found.start < 20
    assert found.click < 3
    assert max(found.pauses) < 2
    assert len(found.memory) == WORKERS
    assert max(found.memory) < 300  # MB

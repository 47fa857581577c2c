"""Which coadds are looked at before the first tile."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hipsgen.coadd import CoaddRef
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.planner.sample import spread
from tests.conftest import Build, StarField


def test_coadds_to_be_sampled_lie_all_over_the_survey() -> None:
    """Two fields, one with a hundred times the coadds: most of the sample is in that one."""
    refs = []
    for lon, count in ((10.0, 2000), (200.0, 20)):
        places = np.random.default_rng(count).uniform(-1, 1, (count, 2))
        for k, (x, y) in enumerate(places.tolist()):
            x += lon
            polygon = ((x, y), (x + 0.1, y), (x, y + 0.1))
            refs.append(CoaddRef(f"{lon}/{k}", "1", polygon=polygon))
    found = spread(refs, 24)
    assert len({ref.uri for ref in found}) == 24
    there = np.array([ref.polygon[0] for ref in found])
    assert (there[:, 0] > 100).any()
    quarters = {(x > 10, y > 0) for x, y in there if x < 100}
    assert len(quarters) == 4


def test_few_coadds_are_all_sampled_and_those_of_no_outline_too() -> None:
    refs = [CoaddRef(str(k), "1") for k in range(30)]
    assert spread(refs[:24], 24) == refs[:24]
    assert len(set(spread(refs, 24))) == 24


@pytest.mark.parametrize("many", [True, False])
def test_a_glance_is_enough_where_most_coadds_are_not_sampled(
    many: bool, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a few, which are all read soon, copies serve better; the survey is the same."""
    glances: list[bool] = []
    inner = FitsReader.read

    def read(self: FitsReader, *args: Any, **kwargs: Any) -> Any:
        glances.append(self.range_reads)
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(FitsReader, "read", read)
    monkeypatch.setattr("hipsgen.builder.prepare.N_COADDS", 1 if many else 24)
    paths = [StarField(40.0 + 0.1 * k, 0.0).write(tmp_path / f"{k}.fits") for k in range(2)]
    build(paths)
    assert any(glances) == many
    assert not all(glances)

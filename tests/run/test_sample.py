"""Which coadds are looked at before the first tile."""

import numpy as np

from hipsgen.images.source import CoaddRef
from hipsgen.run.sample import spread


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

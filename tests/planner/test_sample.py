"""Which coadds are sampled before the first tile, and how they are read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hipsgen.coadd import CoaddRef
from hipsgen.errors import CoaddError, InputError
from hipsgen.images.coadd_fits import FitsReader
from hipsgen.planner.sample import sample_pixels, spread
from tests.conftest import Build, StarField


def test_the_sample_is_spread_over_the_whole_survey() -> None:
    """Two fields, one with 100 times as many coadds, which has most of the sample."""
    refs = []
    for lon, count in ((10.0, 2000), (200.0, 20)):
        centers = np.random.default_rng(count).uniform(-1, 1, (count, 2))
        for k, (x, y) in enumerate(centers.tolist()):
            x += lon
            polygon = ((x, y), (x + 0.1, y), (x, y + 0.1))
            refs.append(CoaddRef(f"{lon}/{k}", "1", polygon=polygon))
    found = spread(refs, 24)
    assert len({ref.uri for ref in found}) == 24
    corners = np.array([ref.polygon[0] for ref in found])
    assert (corners[:, 0] > 100).any()
    quarters = {(x > 10, y > 0) for x, y in corners if x < 100}
    assert len(quarters) == 4


def test_few_coadds_are_all_sampled_even_without_an_outline() -> None:
    refs = [CoaddRef(str(k), "1") for k in range(30)]
    assert spread(refs[:24], 24) == refs[:24]
    assert len(set(spread(refs, 24))) == 24


@pytest.mark.parametrize("many", [True, False])
def test_range_reads_are_used_if_most_coadds_are_not_sampled(
    many: bool, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few coadds are all needed soon, so whole copies are made instead."""
    range_reads: list[bool] = []
    inner = FitsReader.read

    def read(self: FitsReader, *args: Any, **kwargs: Any) -> Any:
        range_reads.append(self.range_reads)
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(FitsReader, "read", read)
    monkeypatch.setattr("hipsgen.builder.prepare.N_COADDS", 1 if many else 24)
    paths = [StarField(40.0 + 0.1 * k, 0.0).write(tmp_path / f"{k}.fits") for k in range(2)]
    build(paths)
    assert any(range_reads) == many
    assert not all(range_reads)


class Failing(FitsReader):
    """A reader of headers whose pixels are all damaged."""

    def read(self, ref: CoaddRef, *args: Any, **kwargs: Any) -> Any:
        """Fail, each for a reason of its own or for the same."""
        raise CoaddError("bad tile" if ref.uri.endswith("2.fits") else "bad sector")


def test_an_error_without_readable_coadds_lists_the_reasons(tmp_path: Path) -> None:
    paths = [
        StarField(40.0 + 0.1 * k, 0.0, size=20).write(tmp_path / f"{k}.fits") for k in range(4)
    ]
    refs = [CoaddRef(str(path), "x") for path in paths]
    with pytest.raises(InputError) as raised:
        sample_pixels(refs, Failing())
    assert str(raised.value) == (
        "the sampled coadds have no valid pixel; 4 of them cannot be read: "
        f"{paths[0]}: bad sector; {paths[2]}: bad tile"
    )
    for path in paths:
        path.write_bytes(b"SIMPLE  = nothing")
    with pytest.raises(InputError, match=r"none of the coadds can be read: .*0\.fits: cannot be"):
        sample_pixels(refs, FitsReader())

"""Tiles of another width in the page: drawn, and read at the right pixel."""

from pathlib import Path

import numpy as np
import pytest

import hipsgen
from tests.browser.conftest import Watched, running
from tests.conftest import StarField

WIDTH = 128
MIDDLE = 10.0, 20.0


@pytest.fixture
def narrow(static: Path, tmp_path: Path) -> Path:
    """A survey of tiles of 128 pixels."""
    rng = np.random.default_rng(5)
    stars = [(x, y, 3000.0) for x, y in rng.uniform(20, 580, (300, 2))]
    field = StarField(*MIDDLE, background=1.0, stars=stars)
    coadds = hipsgen.find_coadds(field.write(tmp_path / "a.fits", FILTER="r"))
    options = hipsgen.BuildOptions(tile_width=WIDTH)
    hipsgen.build(coadds, tmp_path / "sky" / "band_r", options=options)
    return tmp_path / "sky"


def test_narrow_tiles_are_drawn_and_read(watched: Watched, narrow: Path) -> None:
    survey = hipsgen.open_survey(narrow / "band_r")
    assert (survey.tile_width, survey.order) == (WIDTH, 13)
    with running(narrow) as url:
        watched.open(f"{url}#survey=band_r&ra={MIDDLE[0]}&dec={MIDDLE[1]}&fov=0.02")
        assert len(watched.drawn()) > 10
        assert any("Norder13" in tile for tile in watched.tiles())
        watched.look(*MIDDLE, 0.002)
        watched.once(lambda: any("Norder13" in tile for tile in watched.tiles()))
        told = watched.readout_at(420, 300)
        (shown,) = told["values"]
        shown = watched.until(
            "viewer.readout.values[0].state === 'value' && viewer.readout.values[0]"
        )
        value, order = shown["value"], shown["order"]
        tiles = [tile for tile in survey.tiles_of(order) if survey.values(tile) is not None]
        pixels = np.concatenate([survey.values(tile).ravel() for tile in tiles])
        assert np.isclose(pixels, value, rtol=1e-6).any()
        watched.leave()

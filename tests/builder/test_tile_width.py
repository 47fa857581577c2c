"""Tiles of other widths: the same pixels, in other files."""

from pathlib import Path

import numpy as np
import pytest

import hipsgen
from hipsgen.errors import ConfigError
from hipsgen.planner.options import TILE_WIDTHS, deepest_order
from hipsgen.sky.tiles import Tile, deinterleave, pixel_size
from hipsgen.survey.survey import Survey
from tests.conftest import StarField
from tests.finished.make import write_coadd

ORDER = 2  # natural, of tiles of 512 pixels


@pytest.fixture(scope="module")
def coadds(tmp_path_factory: pytest.TempPathFactory) -> hipsgen.CoaddList:
    folder = tmp_path_factory.mktemp("coadds")
    for k, lon in enumerate((40.0, 40.7)):  # they overlap
        write_coadd(folder / f"{k}.fits", "g", lon, k)
    return hipsgen.find_coadds(folder)


def build(coadds: hipsgen.CoaddList, out: Path, width: int, **options: object) -> Survey:
    made = hipsgen.BuildOptions(tile_width=width, **options)  # type: ignore[arg-type]
    hipsgen.build(coadds, out, options=made)
    return hipsgen.open_survey(out)


@pytest.fixture(scope="module")
def usual(coadds: hipsgen.CoaddList, tmp_path_factory: pytest.TempPathFactory) -> Survey:
    return build(coadds, tmp_path_factory.mktemp("usual") / "hips", 512)


def within(survey: Survey, tile: Tile, width: int) -> np.ndarray:
    """The pixels of a deeper and narrower tile in the tile of 512 pixels that it lies in."""
    depth = tile.order - ORDER
    x, y = deinterleave(tile.npix & ((1 << 2 * depth) - 1))
    row, col = (width * k for k in ((1 << depth) - 1 - x, y))
    around = survey.values(tile.ancestor(ORDER))
    return around[row : row + width, col : col + width]


@pytest.mark.parametrize("width", [64, 128, 256])
def test_narrow_tiles_hold_the_pixels_of_wide_ones(
    coadds: hipsgen.CoaddList, usual: Survey, tmp_path: Path, width: int
) -> None:
    survey = build(coadds, tmp_path / "hips", width)
    assert survey.tile_width << survey.order == 512 << ORDER
    tiles = list(survey.tiles_of(survey.order))
    assert tiles
    for tile in tiles:
        values = survey.values(tile)
        if values is not None:
            np.testing.assert_allclose(values, within(usual, tile, width), rtol=1e-4, atol=1e-4)
    assert hipsgen.check(tmp_path / "hips", deep=True, against_inputs=5).ok


@pytest.mark.parametrize("width", [1024, 2048])
def test_wide_tiles_hold_the_pixels_of_narrow_ones(
    coadds: hipsgen.CoaddList, usual: Survey, tmp_path: Path, width: int
) -> None:
    survey = build(coadds, tmp_path / "hips", width)
    order = survey.order
    assert width << order == 512 << ORDER
    for tile in usual.tiles_of(ORDER):
        narrow = usual.values(tile)
        if narrow is None:
            continue
        depth = ORDER - order
        x, y = deinterleave(tile.npix & ((1 << 2 * depth) - 1))
        row, col = (512 * k for k in ((1 << depth) - 1 - x, y))
        wide = survey.values(tile.ancestor(order))[row : row + 512, col : col + 512]
        np.testing.assert_allclose(wide, narrow, rtol=1e-4, atol=1e-4)
    assert hipsgen.check(tmp_path / "hips", deep=True).ok


def test_the_deepest_order_follows_the_width() -> None:
    for width in TILE_WIDTHS:
        deepest = deepest_order(width)
        assert pixel_size(deepest, width) == pytest.approx(pixel_size(29, 1))
        hipsgen.BuildOptions(order=deepest, tile_width=width)
        with pytest.raises(ConfigError, match=f"not between 0 and {deepest}"):
            hipsgen.BuildOptions(order=deepest + 1, tile_width=width)


@pytest.mark.parametrize("width", [0, 32, 100, 8192])
def test_other_widths_are_refused(width: int) -> None:
    with pytest.raises(ConfigError, match=rf"^tile_width {width} is not one of: 64, .*4096$"):
        hipsgen.BuildOptions(tile_width=width)


def test_the_width_of_a_survey_stays(coadds: hipsgen.CoaddList, tmp_path: Path) -> None:
    build(coadds, tmp_path / "hips", 64)
    with pytest.raises(ConfigError, match="tile_width 64, not 128"):
        build(coadds, tmp_path / "hips", 128)


def test_an_estimate_follows_the_width(coadds: hipsgen.CoaddList, tmp_path: Path) -> None:
    options = hipsgen.BuildOptions(tile_width=64, formats=("fits",))
    (plan,) = hipsgen.plan(coadds, options=options)
    (result,) = hipsgen.build(coadds, tmp_path / "hips", options=options)
    assert result.n_tiles <= plan.n_tiles <= 2 * result.n_tiles
    assert result.size["fits"] / result.n_tiles == pytest.approx(plan.n_bytes / plan.n_tiles)


@pytest.mark.parametrize(("width", "deepest"), [(64, 23), (512, 20)])
def test_pixels_smaller_than_those_of_the_deepest_order(
    tmp_path: Path, width: int, deepest: int
) -> None:
    """HEALPix cells of order 29 are 0.4 mas wide; an order is chosen, or the WCS is wrong."""
    sky = StarField(10, 20, size=40, scale=1e-4 / 3600, background=3.0)
    coadds = hipsgen.find_coadds(sky.write(tmp_path / "fine.fits"))
    message = (
        rf"coadds, 0\.0001 arcsec, are smaller than .* 0\.00039 arcsec: .* order up to {deepest}$"
    )
    for call in (hipsgen.plan, hipsgen.build):
        with pytest.raises(ConfigError, match=message):
            call(coadds, tmp_path / "out", options=hipsgen.BuildOptions(tile_width=width))
    options = hipsgen.BuildOptions(tile_width=width, order=deepest)
    assert hipsgen.plan(coadds, options=options)[0].order == deepest
    (result,) = hipsgen.build(coadds, tmp_path / "out", options=options)
    survey = hipsgen.open_survey(result.path)
    (tile,) = map(survey.values, survey.tiles_of(deepest))
    assert tile is not None
    # a square of 4 mas
    assert 80 < np.isfinite(tile).sum() < 120
    np.testing.assert_allclose(tile[np.isfinite(tile)], 3.0, rtol=1e-6)

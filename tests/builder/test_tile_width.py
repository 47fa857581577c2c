"""Tiles of other widths: the same pixels, in other files."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import hipsgen
from hipsgen.errors import ConfigError
from hipsgen.planner.options import TILE_WIDTHS, deepest_order
from hipsgen.sky.tiles import Tile, deinterleave, pixel_size
from hipsgen.survey.survey import Survey
from tests.finished.make import write_coadd
from tests.images.making import tan_header

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
def test_pixels_smaller_than_those_of_the_deepest_order_are_averaged(
    tmp_path: Path, width: int, deepest: int, caplog: pytest.LogCaptureFixture
) -> None:
    """HEALPix cells of order 29 are 0.4 mas wide; these pixels have a quarter of that."""
    scale, size = 1e-4 / 3600, 60
    header = tan_header((size, size), CDELT1=-scale, CDELT2=scale, CRVAL1=10.0, CRVAL2=20.0)
    stripes = np.indices((size, size)).sum(axis=0) % 2 * 2.0 + 2.0
    fits.PrimaryHDU(stripes.astype(np.float32), header).writeto(tmp_path / "fine.fits")
    coadds = hipsgen.find_coadds(tmp_path / "fine.fits")
    caplog.set_level("INFO", "hipsgen")
    for order in (None, deepest):
        options = hipsgen.BuildOptions(tile_width=width, order=order)
        out = tmp_path / f"out_{order}"
        notes: list[str] = []
        for call in (hipsgen.plan, hipsgen.build):
            caplog.clear()
            (result,) = call(coadds, out, options=options)
            notes += [text for text in caplog.messages if "smaller than the smallest" in text]
        assert len(notes) == 2
        assert "0.0001 arcsec, are smaller than the smallest of HEALPix, 0.00039 arcsec" in notes[0]
        survey = hipsgen.open_survey(result.path)
        assert survey.order == deepest
        tiles = [survey.values(tile) for tile in survey.tiles_of(deepest)]
        values = np.concatenate([tile.ravel() for tile in tiles if tile is not None])
        known = values[np.isfinite(values)]
        assert 200 < known.size < 270  # a square of 6 mas
        np.testing.assert_allclose(known, 3.0, atol=0.2)  # not sampled at points, from 2 to 4
        fraction = float(survey.properties["moc_sky_fraction"])
        assert fraction == pytest.approx((size * scale) ** 2 / 41252.96, rel=1.0)
        assert fraction > 0.0
        assert hipsgen.check(out, deep=True).ok

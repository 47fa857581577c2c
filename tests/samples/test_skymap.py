import numpy as np
import pytest

from samples.skymap import (
    FIELD_DEC,
    FIELD_RA,
    MIN_INNER,
    PIXEL_SCALE,
    local_basis,
    make_tracts,
    offset_position,
)


@pytest.mark.parametrize("inner", [MIN_INNER, 333, 1000])
def test_tracts_overlap_by_more_than_an_arcminute(inner: int) -> None:
    west, east = make_tracts(inner)
    columns = west.shape[1]
    y = west.shape[0] / 2
    for edge in (0.0, float(columns - 1)):
        ra, dec = west.wcs().wcs_pix2world([(edge, y)], 0)[0]
        x, _ = east.to_pixel(ra, dec)
        overlap = (columns - x if edge == 0.0 else x) * PIXEL_SCALE
        if edge == 0.0:
            assert 60 < overlap < columns * PIXEL_SCALE
        else:
            assert overlap > columns * PIXEL_SCALE


def test_pixel_grids_of_the_tracts_differ() -> None:
    west, east = make_tracts(1000)
    seam = west.wcs().wcs_pix2world([(10, 50), (10, 1900)], 0)
    phase = np.array([east.to_pixel(*p) for p in seam]) % 1
    assert np.all((phase > 0.02) & (phase < 0.98))
    assert np.abs(phase[0] - phase[1]).max() > 0.05  # a rotation too


def test_default_patches_are_large_and_clipped_at_the_tract() -> None:
    tract = make_tracts(1000)[0]
    boxes = [p.box for p in tract.patches()]
    assert boxes[0] == (0, 0, 1050, 1050)
    assert boxes[3] == (950, 950, 2000, 2000)
    assert [(p.id, p.x, p.y) for p in tract.patches()] == [
        (0, 0, 0),
        (1, 1, 0),
        (2, 0, 1),
        (3, 1, 1),
    ]


def test_own_projection_agrees_with_astropy() -> None:
    tract = make_tracts(MIN_INNER)[1]
    rng = np.random.default_rng(0)
    for x, y in rng.uniform(-50, 450, (20, 2)):
        ra, dec = tract.wcs().wcs_pix2world([(x, y)], 0)[0]
        assert tract.to_pixel(ra, dec) == pytest.approx((x, y), abs=1e-6)
        xi, eta = tract.to_tangent(np.array(x), np.array(y))
        vector = np.array([xi, eta, 1.0]) @ local_basis(tract.ra, tract.dec)
        expected = local_basis(ra, dec)[2]
        np.testing.assert_allclose(vector / np.linalg.norm(vector), expected, atol=1e-14)


def test_patch_wcs_is_the_tract_wcs_moved() -> None:
    tract = make_tracts(MIN_INNER)[0]
    for patch in tract.patches():
        x0, y0 = patch.box[:2]
        moved = tract.wcs(patch.box).wcs_pix2world([(3.0, 4.0)], 0)
        whole = tract.wcs().wcs_pix2world([(3.0 + x0, 4.0 + y0)], 0)
        np.testing.assert_allclose(moved, whole, rtol=0, atol=1e-12)


def test_offsets_point_east_and_north() -> None:
    ra, dec = offset_position(FIELD_RA, FIELD_DEC, 10.0, 0.0)
    assert (ra - FIELD_RA) * np.cos(np.radians(dec)) * 3600 == pytest.approx(10.0, abs=1e-3)
    _, dec = offset_position(FIELD_RA, FIELD_DEC, 0.0, 10.0)
    assert (dec - FIELD_DEC) * 3600 == pytest.approx(10.0, abs=1e-3)


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size 199 is below 200"):
        make_tracts(MIN_INNER - 1)

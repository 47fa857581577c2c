import numpy as np
import pytest

from samples.profiles import SEEING, Blob, DustyDisk, Profile, Sersic, SpiralDisk, Star
from samples.sky import BANDS, PIXEL_AREA, SATURATION
from samples.skymap import make_tracts
from samples.tractfiles import sample_sky

SIZE, SEED = 200, 7


@pytest.mark.parametrize(
    ("profile", "loss"),
    [
        (Star(), 0.03),
        (Star(halo=0.03, spikes=0.02), 0.05),
        (Blob(0.4), 0.001),
        (Sersic(0.3, 1.0, 0.5, 30.0), 0.01),
        (Sersic(3.0, 1.0, 0.5, 30.0), 0.01),
        (Sersic(1.0, 4.0, 0.8, 0.0), 0.15),
        # dust takes light away, arms only move it
        (SpiralDisk(5.0, 0.7, 20.0), 0.25),
        (DustyDisk(5.0, 0.15, 20.0), 0.6),
    ],
)
def test_profiles_hold_their_flux(profile: Profile, loss: float) -> None:
    step = 0.05
    north, east = np.mgrid[-30:30:step, -30:30:step] + step / 3
    total = profile(east, north).sum() * step**2
    assert 1 - loss < total < 1.03


def test_star_has_the_seeing() -> None:
    half = Star()(np.array([0.0, SEEING / 2]), np.zeros(2))
    assert half[1] / half[0] == pytest.approx(0.5, rel=1e-6)


def test_position_angle_turns_north_through_east() -> None:
    profile = Sersic(3.0, 1.0, 0.3, 30.0)
    sin, cos = np.sin(np.radians(30)), np.cos(np.radians(30))
    along, across = profile(np.array([4 * sin, 4 * cos]), np.array([4 * cos, -4 * sin]))
    assert along > 10 * across


def test_knots_lie_on_the_arms() -> None:
    disk = SpiralDisk(6.0, 0.8, 25.0, contrast=0.9)
    on = np.array([disk.arm_position(rho, 0) for rho in (0.8, 1.2, 1.7)])
    quarter = 90.0 / disk.arms * 2
    sin, cos = np.sin(np.radians(quarter)), np.cos(np.radians(quarter))
    off = on @ np.array([[cos, -sin], [sin, cos]])
    assert np.all(disk(on[:, 0], on[:, 1]) > 1.5 * disk(off[:, 0], off[:, 1]))


def test_rendered_tracts_are_the_analytic_sky() -> None:
    sky = sample_sky(SIZE, SEED)
    rng = np.random.default_rng(1)
    for tract in make_tracts(SIZE):
        image = sky.render(tract)
        y, x = (rng.integers(0, n, 2000) for n in tract.shape)
        ra, dec = tract.wcs().wcs_pix2world(np.stack([x, y], axis=-1), 0).T
        for plane, band in zip(image, BANDS, strict=True):
            truth = sky.brightness(ra, dec, band) * PIXEL_AREA
            np.testing.assert_allclose(plane[y, x], truth, rtol=2e-5, atol=1e-4)


def test_sky_is_clipped_at_saturation() -> None:
    image = sample_sky(SIZE, SEED).render(make_tracts(SIZE)[0])
    assert image.max() == pytest.approx(SATURATION * PIXEL_AREA)
    assert 10 < (image[1] >= image.max()).sum() < 2000


def test_another_seed_is_another_sky() -> None:
    first, same, other = (sample_sky(SIZE, seed).sources for seed in (1, 1, 2))
    assert [s.ra for s in first] == [s.ra for s in same]
    assert [s.ra for s in first] != [s.ra for s in other]

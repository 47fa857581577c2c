import numpy as np
import pytest
from astropy.coordinates import (
    ICRS,
    BarycentricMeanEcliptic,
    CartesianRepresentation,
    Galactic,
)
from healpy import Rotator

from hipsgen.errors import SurveyError
from hipsgen.sky.frames import FRAMES, axes_of, from_icrs, letter_of, to_icrs


def unit_vectors(seed: int = 1) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(200, 3))
    vectors = np.concatenate([vectors, np.eye(3), -np.eye(3)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("frame", "astropys"),
    [("galactic", Galactic()), ("ecliptic", BarycentricMeanEcliptic(equinox="J2000"))],
)
def test_frames_agree_with_astropy(
    frame: str, astropys: Galactic | BarycentricMeanEcliptic
) -> None:
    vectors = unit_vectors()
    there = ICRS(CartesianRepresentation(vectors.T)).transform_to(astropys)
    np.testing.assert_allclose(from_icrs(vectors, frame), there.cartesian.xyz.value.T, atol=1e-12)
    back = astropys.realize_frame(CartesianRepresentation(vectors.T)).transform_to(ICRS())
    np.testing.assert_allclose(to_icrs(vectors, frame), back.cartesian.xyz.value.T, atol=1e-12)


@pytest.mark.parametrize("frame", ["galactic", "ecliptic"])
def test_frames_agree_with_healpy_within_a_tenth_of_an_arcsecond(frame: str) -> None:
    vectors = unit_vectors()
    there = Rotator(coord=["C", letter_of(frame)])(vectors.T).T
    apart = np.linalg.norm(from_icrs(vectors, frame) - there, axis=1)
    assert np.degrees(apart.max()) * 3600 < 0.1


@pytest.mark.parametrize("frame", FRAMES)
def test_there_and_back_is_where_one_was(frame: str) -> None:
    vectors = unit_vectors()
    np.testing.assert_allclose(to_icrs(from_icrs(vectors, frame), frame), vectors, atol=1e-15)
    np.testing.assert_allclose(from_icrs(to_icrs(vectors, frame), frame), vectors, atol=1e-15)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_is_a_rotation_of_arrays_of_any_shape(frame: str) -> None:
    vectors = unit_vectors()[:60].reshape(3, 4, 5, 3)
    turned = to_icrs(vectors, frame)
    assert turned.shape == vectors.shape
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), 1.0, rtol=1e-14)
    x, y, z = to_icrs(np.eye(3), frame)
    np.testing.assert_allclose(np.cross(x, y), z, atol=1e-15)


def test_equatorial_is_icrs() -> None:
    vectors = unit_vectors()
    np.testing.assert_array_equal(to_icrs(vectors, "equatorial"), vectors)


def test_an_unknown_frame_is_refused() -> None:
    for use in (lambda f: to_icrs(np.eye(3), f), lambda f: from_icrs(np.eye(3), f), axes_of):
        with pytest.raises(SurveyError, match="'horizontal' is not one of: equatorial, galactic"):
            use("horizontal")

import numpy as np
import pytest
from astropy.coordinates import ICRS, CartesianRepresentation, Galactic

from hipsgen.sky.frames import FRAMES, from_icrs, to_icrs


def unit_vectors(seed: int = 1) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(200, 3))
    vectors = np.concatenate([vectors, np.eye(3), -np.eye(3)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_galactic_is_astropys() -> None:
    vectors = unit_vectors()
    there = ICRS(CartesianRepresentation(vectors.T)).transform_to(Galactic())
    np.testing.assert_allclose(
        from_icrs(vectors, "galactic"), there.cartesian.xyz.value.T, atol=1e-12
    )
    back = Galactic(CartesianRepresentation(vectors.T)).transform_to(ICRS())
    np.testing.assert_allclose(to_icrs(vectors, "galactic"), back.cartesian.xyz.value.T, atol=1e-12)


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
    with pytest.raises(KeyError, match="ecliptic"):
        to_icrs(np.eye(3), "ecliptic")

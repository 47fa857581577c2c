"""Each kernel against its slow twin, compiled or not (see test_without_jit)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numba import config

from hipsgen.sky import kernels, resample
from tests import naive

SEEDS = range(4)
Array = npt.NDArray[Any]


class Guarded(np.ndarray[Any, Any]):
    """An array without negative indices: what a compiled kernel would take from beside it."""

    def __getitem__(self, key: Any) -> Any:
        _check(key)
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _check(key)
        super().__setitem__(key, value)


def _check(key: Any) -> None:
    if any(not isinstance(k, slice) and k < 0 for k in (key if isinstance(key, tuple) else (key,))):
        raise IndexError(f"{key} lies before the array")


def guarded(array: Array) -> Array:
    """As it is when the kernels are compiled; without the compiler, with its bounds checked."""
    return array.view(Guarded) if config.DISABLE_JIT else array


def holed(rng: np.random.Generator, shape: tuple[int, int], holes: float) -> Array:
    pixels = rng.normal(3.0, 100.0, shape).astype(np.float32)
    pixels[rng.random(shape) < holes] = np.nan
    return pixels


def positions(rng: np.random.Generator, shape: tuple[int, int], n: int) -> tuple[Array, Array]:
    """Anywhere on the image and a little beside it, on pixels, on their edges and nowhere."""
    rows, cols = shape
    x, y = rng.uniform(-2, cols + 1, (n, n)), rng.uniform(-2, rows + 1, (n, n))
    x[0], y[1] = np.round(x[0]), np.round(y[1])
    x[2], y[3] = np.round(x[2]) + 0.5, np.round(y[3]) + 0.5
    x[4, 0], y[4, 1], x[4, 2] = np.nan, np.inf, -np.inf
    x[5], y[5] = -0.5, np.nextafter(rows - 0.5, 0)
    return x, y


def written(kernel: Callable[..., None], *args: Any, out: Array) -> Array:
    kernel(*[guarded(a) if isinstance(a, np.ndarray) else a for a in args], guarded(out))
    return out


def assert_as_float32(got: Array, wanted: Array, scale: float = 1.0) -> None:
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_allclose(got, wanted, rtol=2e-7, atol=1e-10 * scale)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("holes", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos3", "optimal", "lanczos5"])
def test_samplers_agree_with_naive(
    interpolation: str, limited: bool, holes: float, seed: int
) -> None:
    rng = np.random.default_rng([seed, 1])
    pixels = holed(rng, (14, 17), holes)
    x, y = positions(rng, pixels.shape, 11)
    table = resample._weights(interpolation)
    out = written(
        kernels.SAMPLERS[table.shape[1]], pixels, x, y, table, limited, out=np.empty_like(x, "f4")
    )
    assert_as_float32(out, naive.sample(pixels, x, y, table, limited), scale=100.0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (5, 5)])
@pytest.mark.parametrize("interpolation", ["bilinear", "optimal", "lanczos5"])
def test_samplers_agree_with_naive_on_images_smaller_than_the_kernel(
    interpolation: str, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(2)
    pixels = holed(rng, shape, 0.1)
    x, y = positions(rng, shape, 8)
    table = resample._weights(interpolation)
    sampler = kernels.SAMPLERS[table.shape[1]]
    out = written(sampler, pixels, x, y, table, True, out=np.empty_like(x, "f4"))
    assert_as_float32(out, naive.sample(pixels, x, y, table, True), scale=100.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_sample_nearest_agrees_with_naive(seed: int) -> None:
    rng = np.random.default_rng([seed, 3])
    pixels = holed(rng, (7, 12), 0.2)
    x, y = positions(rng, pixels.shape, 20)
    out = written(kernels.sample_nearest, pixels, x, y, out=np.empty_like(x, "f4"))
    np.testing.assert_array_equal(out, naive.nearest(pixels, x, y))


def test_a_position_just_under_the_edge_of_one_pixel_stays_on_it() -> None:
    # 0.49999999999999994 + 0.5 rounds to 1, the pixel beside
    pixels = np.array([[5.0]], np.float32)
    at = np.full((1, 1), np.nextafter(0.5, 0))
    out = written(kernels.sample_nearest, pixels, at, at, out=np.empty((1, 1), np.float32))
    assert out[0, 0] == 5.0


def accumulated(seed: int) -> tuple[Array, Array, Array, Array, Array]:
    rng = np.random.default_rng([seed, 4])
    values = holed(rng, (9, 11), 0.2)
    x, y = rng.uniform(-0.5, 29.5, values.shape), rng.uniform(-0.5, 19.5, values.shape)
    x[0], y[1], x[2, :5] = -0.5, 19.5, 14.5
    weight = rng.uniform(0, 2, values.shape) * (rng.random(values.shape) < 0.5)
    return values, x, y, weight * rng.normal(size=values.shape), weight


@pytest.mark.parametrize("seed", SEEDS)
def test_add_mean_agrees_with_naive(seed: int) -> None:
    values, _, _, total, weight = accumulated(seed)
    wanted = naive.add_mean(values, total, weight)
    kernels.add_mean(guarded(values), guarded(total), guarded(weight))
    np.testing.assert_allclose((total, weight), wanted, rtol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ramp", [1.0, 5.0, 40.0])
def test_add_feathered_agrees_with_naive(ramp: float, seed: int) -> None:
    values, x, y, total, weight = accumulated(seed)
    wanted = naive.add_feathered(values, x, y, (20, 30), ramp, total, weight)
    kernels.add_feathered(
        *map(guarded, (values, x, y)), 20, 30, ramp, *map(guarded, (total, weight))
    )
    np.testing.assert_allclose((total, weight), wanted, rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [1.0, 5.6e-5])
def test_keep_deepest_agrees_with_naive(scale: float, seed: int) -> None:
    values, x, y, total, weight = accumulated(seed)
    wanted = naive.keep_deepest(values, x, y, (20, 30), scale, total, weight)
    kernels.keep_deepest(
        *map(guarded, (values, x, y)), 20, 30, scale, *map(guarded, (total, weight))
    )
    np.testing.assert_allclose((total, weight), wanted, rtol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_divide_agrees_with_naive(seed: int) -> None:
    _, _, _, total, weight = accumulated(seed)
    assert (weight == 0).any()
    out = written(kernels.divide, total, weight, out=np.empty(total.shape, np.float32))
    assert_as_float32(out, naive.divide(total, weight))


@pytest.mark.parametrize("seed", SEEDS)
def test_halve_agrees_with_naive(seed: int) -> None:
    rng = np.random.default_rng([seed, 5])
    value = holed(rng, (12, 16), 0.5)
    coverage = np.where(np.isnan(value), 0, rng.uniform(0, 1, value.shape)).astype(np.float32)
    out_value, out_coverage = np.empty((6, 8), np.float32), np.empty((6, 8), np.float32)
    kernels.halve(*map(guarded, (value, coverage, out_value, out_coverage)))
    wanted_value, wanted_coverage = naive.halve(value, coverage)
    assert_as_float32(out_value, wanted_value, scale=1e6)
    assert_as_float32(out_coverage, wanted_coverage)


@pytest.mark.parametrize("step", [1, 4, 16])
def test_fill_cells_agrees_with_naive(step: int) -> None:
    rng = np.random.default_rng(6)
    nodes = rng.normal(0, 1e4, (4, 6))
    bends = rng.normal(0, 1e3, (2, 3, 5))
    keep = rng.random((3, 5)) < 0.6
    out = np.full((3 * step, 5 * step), np.nan)
    kernels.fill_cells(guarded(nodes), *map(guarded, bends), step, guarded(keep), guarded(out))
    wanted = naive.fill_cells(nodes, *bends, step, keep)
    np.testing.assert_allclose(out, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spacing", [0.8, 1.0065, 1.4])
def test_keep_missing_agrees_with_naive(spacing: float) -> None:
    rng = np.random.default_rng(8)
    pixels = rng.normal(0, 1, (24, 28)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.08] = np.nan
    row, col = np.mgrid[0:20, 0:20] * spacing
    x, y = 2 + 0.8 * col - 0.6 * row + 6, 0.6 * col + 0.8 * row - 1
    out = naive.nearest(pixels, x, y).astype(np.float32)
    wanted = naive.keep_missing(pixels, x, y, out)
    kernels.keep_missing(*map(guarded, (pixels, x, y, out)))
    np.testing.assert_array_equal(np.isnan(out), np.isnan(wanted))

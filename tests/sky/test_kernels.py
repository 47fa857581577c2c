"""Each kernel against its slow twin, compiled or not (see test_without_jit)."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numba import config

from hipsgen.sky import grid_kernels, mask_kernels, resample, sample_kernels, tile_kernels
from hipsgen.sky.grid import PixelMap
from hipsgen.sky.mask_planes import NO_DATA, MaskPlaneMapping
from hipsgen.sky.stretch import Asinh, Linear, _tables
from tests import naive
from tests.sky import weights_of

SEEDS = range(4)
ALL = np.ones((1, 1), np.bool_)
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


def assert_as_float32(got: Array, wanted: Array, scale: float = 1.0) -> None:
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_allclose(got, wanted, rtol=2e-7, atol=1e-10 * scale)


def guarded_map(x: Array, y: Array) -> PixelMap:
    at = PixelMap.from_positions(x, y)
    return at._replace(**{k: guarded(v) for k, v in at._asdict().items() if np.ndim(v)})


def sampled(
    interpolation: str,
    pixels: Array,
    at: PixelMap,
    limited: bool = False,
    first: tuple[int, int] = (0, 0),
) -> tuple[Array, Array]:
    """What the kernel writes, and which cells it found holes in."""
    weights = resample.polynomials(interpolation)
    out, holed = np.empty((at.rows, at.cols), np.float32), np.empty(at.state.shape, np.bool_)
    whole = interpolation == "nearest"
    sample_kernels.SAMPLERS[len(weights)](
        guarded(pixels), *first, at, weights, whole, limited, guarded(out), guarded(holed)
    )
    return out, holed


def scale_of(interpolation: str, pixels: Array) -> float:
    """How far from the truth the sums may be, in the units of `assert_as_float32`."""
    single = resample.polynomials(interpolation).dtype == np.float32
    return 4e3 * float(np.nanmax(np.abs(pixels), initial=0.0)) if single else 100.0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("holes", [0.0, 0.05, 0.4])
@pytest.mark.parametrize(
    ("interpolation", "limited"),
    [
        ("bilinear", False),
        *product(["lanczos3", "optimal", "lanczos5"], [False, True]),
    ],
)
def test_samplers_agree_with_naive(
    interpolation: str, limited: bool, holes: float, seed: int
) -> None:
    rng = np.random.default_rng([seed, 1])
    pixels = holed(rng, (14, 17), holes)
    x, y = positions(rng, pixels.shape, 11)
    out, _ = sampled(interpolation, pixels, guarded_map(x, y), limited)
    wanted = naive.sample(pixels, x, y, weights_of(interpolation), limited)
    assert_as_float32(out, wanted, scale_of(interpolation, pixels))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (5, 5)])
@pytest.mark.parametrize("interpolation", ["bilinear", "optimal", "lanczos5"])
def test_samplers_agree_with_naive_on_images_smaller_than_the_kernel(
    interpolation: str, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(2)
    pixels = holed(rng, shape, 0.1)
    x, y = positions(rng, shape, 8)
    limited = interpolation != "bilinear"
    out, _ = sampled(interpolation, pixels, guarded_map(x, y), limited)
    wanted = naive.sample(pixels, x, y, weights_of(interpolation), limited)
    assert_as_float32(out, wanted, scale_of(interpolation, pixels))


def gridded(rng: np.random.Generator, step: int, size: tuple[int, int]) -> PixelMap:
    """A turned and bent grid of 3 x 5 cells round the middle of an image; some cells outside."""
    j, i = (np.indices((4, 6)) - np.array([1.5, 2.5])[:, None, None]) * step
    x, y = 0.8 * i - 0.6 * j + size[1] / 2, 0.6 * i + 0.8 * j + size[0] / 2
    curvature = rng.normal(0, 0.3, (2, 2, 3, 5))
    state = np.where(rng.random((3, 5)) < 0.2, grid_kernels.OUTSIDE, grid_kernels.SMOOTH).astype(
        np.uint8
    )
    at = PixelMap(3 * step, 5 * step, step, np.stack([x, y]), curvature, state, np.empty((2, 0, 0)))
    return at._replace(**{k: guarded(v) for k, v in at._asdict().items() if np.ndim(v)})


@pytest.mark.parametrize("holes", [0.0, 0.02])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "optimal", "lanczos5"])
def test_samplers_agree_with_naive_on_a_grid_inside_across_and_beside_the_edge(
    interpolation: str, holes: float
) -> None:
    rng = np.random.default_rng([9, int(100 * holes)])
    for size in ((60, 70), (12, 20)):
        pixels = holed(rng, size, holes)
        at = gridded(rng, 8, size)
        x, y = at.positions()
        out, found = sampled(interpolation, pixels, at, limited=interpolation == "optimal")
        if interpolation == "nearest":
            np.testing.assert_array_equal(out, naive.nearest(pixels, x, y))
            continue
        limited = interpolation == "optimal"
        wanted = naive.sample(pixels, x, y, weights_of(interpolation), limited)
        assert_as_float32(out, wanted, scale_of(interpolation, pixels))
        if size == (60, 70) and not holes:
            assert not found.any()
        if holes:
            assert found.any()


@pytest.mark.parametrize("interpolation", ["bilinear", "optimal"])
def test_a_part_of_the_image_gives_the_same_as_all_of_it(interpolation: str) -> None:
    rng = np.random.default_rng(10)
    pixels = holed(rng, (60, 70), 0.02)
    at = gridded(rng, 8, (60, 70))
    plain = at._replace(nodes=np.asarray(at.nodes), curvature=np.asarray(at.curvature))
    section = plain._replace(state=np.asarray(at.state)).section(
        pixels.shape, resample.margin(interpolation)
    )
    assert section is not None
    whole, _ = sampled(interpolation, pixels, at, True)
    part = np.ascontiguousarray(pixels[section])
    alone, _ = sampled(interpolation, part, at, True, (section[0].start, section[1].start))
    assert alone.tobytes() == whole.tobytes()


@pytest.mark.parametrize("seed", SEEDS)
def test_sample_nearest_agrees_with_naive(seed: int) -> None:
    rng = np.random.default_rng([seed, 3])
    pixels = holed(rng, (7, 12), 0.2)
    x, y = positions(rng, pixels.shape, 20)
    out, _ = sampled("nearest", pixels, guarded_map(x, y))
    np.testing.assert_array_equal(out, naive.nearest(pixels, x, y))


def test_a_position_just_under_the_edge_of_one_pixel_stays_on_it() -> None:
    # 0.49999999999999994 + 0.5 rounds to 1, the pixel beside
    pixels = np.array([[5.0]], np.float32)
    at = np.full((1, 1), np.nextafter(0.5, 0))
    out, _ = sampled("nearest", pixels, guarded_map(at, at))
    assert out[0, 0] == 5.0


def picked(
    pixels: Array, at: PixelMap, mapping: MaskPlaneMapping, first: tuple[int, int] = (0, 0)
) -> Array:
    t, out = mapping, np.empty((at.rows, at.cols), np.int32)
    mask_kernels.sample_nearest(
        guarded(pixels), *first, at, t.bits, t.shifts, t.rest, t.other, NO_DATA, guarded(out)
    )
    return out


@pytest.mark.parametrize("seed", SEEDS)
def test_pick_agrees_with_naive(seed: int) -> None:
    rng = np.random.default_rng([seed, 12])
    pixels = rng.integers(-(2**31), 2**31, (60, 70)).astype(np.int32)
    pixels[rng.random(pixels.shape) < 0.3] = 0
    froms, tos = rng.permutation(32)[:14].tolist(), rng.permutation(30)[:14].tolist()
    names = [f"P{k}" for k in range(14)]
    table = {**dict(zip(names[:12], tos, strict=False)), "OTHER": 30}
    mapping = MaskPlaneMapping.between(dict(zip(names, froms, strict=True)), table, "OTHER")
    moved = dict(zip(froms[:12], tos[:12], strict=True))
    x, y = positions(rng, pixels.shape, 20)
    wanted = naive.sample_nearest(pixels, x, y, moved, 30)
    np.testing.assert_array_equal(picked(pixels, guarded_map(x, y), mapping), wanted)
    at = gridded(rng, 8, pixels.shape)
    x, y = at.positions()
    wanted = naive.sample_nearest(pixels, x, y, moved, 30)
    np.testing.assert_array_equal(picked(pixels, at, mapping), wanted)
    part = np.ascontiguousarray(pixels[10:, 20:])
    some = picked(part, at, mapping, (10, 20))
    inside = (y >= 9.5) & (x >= 19.5)
    np.testing.assert_array_equal(some, np.where(inside, wanted, NO_DATA))


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
    tile_kernels.add_mean(guarded(values), ALL, 32, guarded(total), guarded(weight))
    np.testing.assert_allclose((total, weight), wanted, rtol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ramp", [1.0, 5.0, 40.0])
def test_add_feathered_agrees_with_naive(ramp: float, seed: int) -> None:
    values, x, y, total, weight = accumulated(seed)
    wanted = naive.add_feathered(values, x, y, (20, 30), ramp, total, weight)
    tile_kernels.add_feathered(
        guarded(values), guarded_map(x, y), ALL, 20, 30, ramp, *map(guarded, (total, weight))
    )
    np.testing.assert_allclose((total, weight), wanted, rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [1.0, 5.6e-5])
def test_keep_deepest_agrees_with_naive(scale: float, seed: int) -> None:
    values, x, y, total, weight = accumulated(seed)
    wanted = naive.keep_deepest(values, x, y, (20, 30), scale, total, weight)
    tile_kernels.keep_deepest(
        guarded(values), guarded_map(x, y), ALL, 20, 30, scale, *map(guarded, (total, weight))
    )
    np.testing.assert_allclose((total, weight), wanted, rtol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_divide_agrees_with_naive(seed: int) -> None:
    _, _, _, total, weight = accumulated(seed)
    assert (weight == 0).any()
    out = np.empty(total.shape, np.float32)
    tile_kernels.divide(guarded(total), guarded(weight), ALL, 32, guarded(out))
    assert_as_float32(out, naive.divide(total, weight))


@pytest.mark.parametrize("seed", SEEDS)
def test_halve_agrees_with_naive(seed: int) -> None:
    rng = np.random.default_rng([seed, 5])
    value = holed(rng, (12, 16), 0.5)
    coverage = np.where(np.isnan(value), 0, rng.uniform(0, 1, value.shape)).astype(np.float32)
    out_value, out_coverage = np.empty((6, 8), np.float32), np.empty((6, 8), np.float32)
    outs = map(guarded, (out_value, out_coverage))
    tile_kernels.halve(guarded(value), guarded(coverage), 0, 0, *outs)
    wanted_value, wanted_coverage = naive.halve(value, coverage)
    assert_as_float32(out_value, wanted_value, scale=1e6)
    assert_as_float32(out_coverage, wanted_coverage)


@pytest.mark.parametrize("enough", [0.5, 0.25])
def test_show_keeps_what_is_covered_enough(enough: float) -> None:
    rng = np.random.default_rng(14)
    value, coverage = holed(rng, (7, 9), 0.2), rng.random((7, 9)).astype(np.float32)
    coverage[2] = enough
    out = np.empty_like(value)
    count = tile_kernels.mask_uncovered(guarded(value), guarded(coverage), enough, guarded(out))
    np.testing.assert_array_equal(out, np.where(coverage >= enough, value, np.nan))
    assert count == (coverage >= enough).sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_halving_a_leaf_is_halving_with_full_coverage(seed: int) -> None:
    rng = np.random.default_rng([seed, 6])
    value = holed(rng, (12, 16), 0.5)
    full = (~np.isnan(value)).astype(np.float32)
    found, wanted = np.zeros((2, 9, 11), np.float32), np.zeros((2, 9, 11), np.float32)
    tile_kernels.halve_leaf(guarded(value), 2, 3, *map(guarded, found))
    tile_kernels.halve(guarded(value), guarded(full), 2, 3, *map(guarded, wanted))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("step", [1, 4, 16, 32])
def test_positions_agree_with_naive(step: int) -> None:
    rng = np.random.default_rng(6)
    nodes, curvature = rng.normal(0, 1e4, (2, 4, 6)), rng.normal(0, 1e3, (2, 2, 3, 5))
    state = rng.choice([grid_kernels.OUTSIDE, grid_kernels.SMOOTH], (3, 5)).astype(np.uint8)
    at = PixelMap(3 * step, 5 * step, step, nodes, curvature, state, np.empty((2, 0, 0)))
    for found, *values in zip(at.positions(), nodes, curvature, strict=True):
        wanted = naive.positions(*values, step, state == grid_kernels.OUTSIDE)
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stretch", [Linear(-3.0, 40.0), Asinh(-3.0, 4e4, 1.0, 0.2)])
@pytest.mark.parametrize("shift", [0.0, -3.5, 1e6])
def test_to_levels_agrees_with_naive(stretch: Linear | Asinh, shift: float) -> None:
    moved = {"low": stretch.low + shift, "high": stretch.high + shift}
    moved |= {"zero": stretch.zero + shift} if isinstance(stretch, Asinh) else {}
    stretch = replace(stretch, **moved)
    guesses, limits, steps = _tables(stretch)
    rng = np.random.default_rng(11)
    values = (shift + np.sinh(rng.uniform(-12, 12, 600))).astype(np.float32)
    values[:500:2] = limits[:250]
    values[1:500:2] = np.nextafter(limits[:250], np.float32(-np.inf))
    values[-5:] = np.nan, np.inf, -np.inf, stretch.zero, 0.0
    values = values.reshape(20, 30)
    lines = np.full((20, 31), 7, np.uint8)
    zero = np.float32(stretch.zero)
    tile_kernels.to_levels(guarded(values), zero, guesses, limits, steps, guarded(lines))
    wanted = naive.levels(values.ravel(), limits[:-1]).reshape(values.shape)
    np.testing.assert_array_equal(lines[::-1, 1:], wanted)
    assert (lines[:, 0] == 7).all()


def test_to_big_endian_agrees_with_naive() -> None:
    values = np.random.default_rng(13).integers(0, 2**32, 50, dtype=np.uint32)
    values[:3] = 0, 2**32 - 1, 1
    out = np.empty_like(values)
    total = tile_kernels.to_big_endian(guarded(values), guarded(out))
    wanted, wanted_total = naive.big_endian(values)
    np.testing.assert_array_equal(out, wanted)
    assert total == wanted_total


@pytest.mark.parametrize("holes", [0.0, 0.7, 1.0])
def test_measure_finds_range_and_filled_cells(holes: float) -> None:
    values = holed(np.random.default_rng(12), (12, 12), holes)
    values[:6, :3] = np.nan
    some = np.empty((4, 4), np.bool_)
    low, high = tile_kernels.measure_cells(guarded(values.view(np.int32)), guarded(some))
    known = values[~np.isnan(values)]
    if known.size > 3:
        assert known.min() < 0 < known.max()
    assert (low, high) == (known.min(initial=np.inf), known.max(initial=-np.inf))
    np.testing.assert_array_equal(some, ~np.isnan(values).reshape(4, 3, 4, 3).all(axis=(1, 3)))


@pytest.mark.parametrize("spacing", [0.8, 1.0065, 1.4])
def test_keep_missing_agrees_with_naive(spacing: float) -> None:
    rng = np.random.default_rng(8)
    pixels = rng.normal(0, 1, (24, 28)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.08] = np.nan
    row, col = np.mgrid[0:20, 0:20] * spacing
    x, y = 2 + 0.8 * col - 0.6 * row + 6, 0.6 * col + 0.8 * row - 1
    out = naive.nearest(pixels, x, y).astype(np.float32)
    wanted = naive.keep_missing(pixels, x, y, out)
    at = guarded_map(x, y)
    sample_kernels.keep_missing(
        guarded(pixels), 0, 0, at, np.ones(at.state.shape, np.bool_), guarded(out)
    )
    np.testing.assert_array_equal(np.isnan(out), np.isnan(wanted))

"""Flags: by name, of either, never averaged."""

import numpy as np
import pytest

from hipsgen.sky.combine import Accumulator
from hipsgen.sky.grid import PixelMap
from hipsgen.sky.mask_planes import (
    NO_DATA,
    MaskAccumulator,
    MaskPlaneMapping,
    as_float,
    halve,
    is_valid,
    union,
)
from hipsgen.sky.pyramid import Layer, parent_of, shrink
from tests import naive

WIDTH = 32


def some_flags(seed: int, width: int = WIDTH) -> np.ndarray:
    rng = np.random.default_rng(seed)
    flags = rng.integers(0, 2**31, (width, width)).astype(np.int32)
    flags[rng.random(flags.shape) < 0.3] = 0
    flags[rng.random(flags.shape) < 0.4] = NO_DATA
    return flags


def halved(flags: np.ndarray) -> np.ndarray:
    return naive.either(
        naive.either(flags[::2, ::2], flags[1::2, ::2]),
        naive.either(flags[::2, 1::2], flags[1::2, 1::2]),
    )


def test_the_union_has_the_flags_of_either_and_all_of_what_is_known() -> None:
    one, other = some_flags(0), some_flags(1)
    np.testing.assert_array_equal(union(one, other), naive.either(one, other))
    out = np.empty((WIDTH // 2, WIDTH // 2), np.int32)
    halve(one, out)
    np.testing.assert_array_equal(out, halved(one))


def test_bits_are_moved_by_name_and_what_has_no_name_goes_to_the_last() -> None:
    translation = MaskPlaneMapping.between(
        {"A": 3, "B": 4, "C": 31, "D": 7, "FAR": 40}, {"A": 1, "B": 2, "C": 0, "REST": 9}, "REST"
    )
    moved = dict(zip(translation.shifts.tolist(), translation.bits.tolist(), strict=True))
    assert moved == {-2: 1 << 3 | 1 << 4, -31: 1 << 31}
    assert translation.rest == 0xFFFFFFFF & ~(1 << 3 | 1 << 4 | 1 << 31)
    assert translation.other == 1 << 9


def test_a_parent_of_masks_has_the_flags_of_all_and_is_covered_where_one_is() -> None:
    children = {0: Layer(some_flags(2)), 1: None, 2: Layer(some_flags(3)), 3: None}
    got = parent_of(children.items(), WIDTH)
    half = WIDTH // 2
    wanted = np.full((WIDTH, WIDTH), NO_DATA)
    wanted[half:, :half], wanted[half:, half:] = halved(some_flags(2)), halved(some_flags(3))
    assert got.value.dtype == np.int32
    assert got.visible() is got.value
    np.testing.assert_array_equal(got.value, wanted)
    np.testing.assert_array_equal(got.coverage, wanted != NO_DATA)
    small = shrink(got, WIDTH // 4)
    np.testing.assert_array_equal(small.value, halved(halved(got.value)))
    # a child that is of half the width already
    alone = parent_of([(2, shrink(Layer(some_flags(3)), half))], WIDTH)
    np.testing.assert_array_equal(alone.value[half:, half:], halved(some_flags(3)))
    assert (alone.value[:half] == NO_DATA).all()


@pytest.mark.parametrize("overlap", ["feather", "mean", "primary"])
def test_coadds_are_united_or_the_deepest_is_taken(overlap: str) -> None:
    shape, scale = (40, 50), 1e-4
    rows, cols = np.mgrid[:WIDTH, :WIDTH].astype(float)
    gathered, deepest = MaskAccumulator(WIDTH, overlap), Accumulator(WIDTH, "primary")
    wanted = np.full((WIDTH, WIDTH), NO_DATA)
    parts = []
    for seed in range(3):
        at = PixelMap.from_positions(cols - 15.0 + 15 * seed, rows + 3.0 - 2 * seed)
        flags = some_flags(seed)
        x, y = at.positions()
        off = (x < -0.5) | (x >= shape[1] - 0.5) | (y < -0.5) | (y >= shape[0] - 0.5)
        flags[off] = NO_DATA
        gathered.add(flags.copy(), at, shape, scale)
        number = np.where(flags == NO_DATA, np.nan, seed).astype(np.float32)
        deepest.add(number, at, shape, scale)
        parts.append(flags)
        wanted = naive.either(wanted, flags)
    if overlap == "primary":
        whose = deepest.result()
        wanted = np.full((WIDTH, WIDTH), NO_DATA)
        for seed, flags in enumerate(parts):
            wanted[whose == seed] = flags[whose == seed]
        assert {0, 1, 2} <= set(np.unique(whose[np.isfinite(whose)]))
    np.testing.assert_array_equal(gathered.result(), wanted)


def test_what_is_known_and_shown() -> None:
    flags = np.array([[0, NO_DATA], [5, 1 << 30]], np.int32)
    np.testing.assert_array_equal(is_valid(flags), [[True, False], [True, True]])
    np.testing.assert_array_equal(as_float(flags), np.float32([[0, np.nan], [5, 1 << 30]]))
    values = np.float32([[1, np.nan]])
    assert as_float(values) is values
    np.testing.assert_array_equal(is_valid(values), [[True, False]])

"""The cache of decoded coadds: each is decoded once, and the size limit is kept."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hipsgen.coadd import CoaddRef
from hipsgen.images.source import CoaddInfo, Section
from hipsgen.render.coadd_cache import CoaddCache

SIZE = 100
BYTES = 4 * SIZE * SIZE


@dataclass(eq=False)
class Counting:
    """A reader that records the sections it reads."""

    reads: list[tuple[str, Section]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def info(self, ref: CoaddRef) -> CoaddInfo:
        return CoaddInfo((SIZE, SIZE), None, 1.0)  # type: ignore[arg-type]

    def read(self, ref: CoaddRef, section: Section) -> np.ndarray:
        with self.lock:
            self.reads.append((ref.uri, section))
        rows, cols = section
        shape = (rows.stop - rows.start, cols.stop - cols.start)
        return np.full(shape, float(ref.uri), np.float32)


def refs(count: int) -> list[CoaddRef]:
    return [CoaddRef(str(k), "") for k in range(count)]


PART = (slice(10, 20), slice(30, 70))


def test_each_coadd_is_decoded_once_if_all_fit() -> None:
    reader = Counting()
    cache = CoaddCache(reader, 50 * BYTES)
    for ref in refs(50) * 4:
        pixels, first = cache.read(ref, PART)
        assert pixels.shape == (SIZE, SIZE)
        assert first == (0, 0)
        assert (pixels == float(ref.uri)).all()
    assert len(reader.reads) == 50


@pytest.mark.parametrize("capacity", [4, 10])
def test_the_limit_is_kept_and_the_last_used_stay(capacity: int) -> None:
    reader = Counting()
    cache = CoaddCache(reader, capacity * BYTES)
    some = refs(3 * capacity)
    for ref in some:
        cache.read(some[0], PART)  # in use all the time
        cache.read(ref, PART)
    assert len(reader.reads) == 3 * capacity
    assert cache._bytes == capacity * BYTES
    cache.read(some[0], PART)
    assert len(reader.reads) == 3 * capacity
    cache.read(some[1], PART)
    assert len(reader.reads) == 3 * capacity + 1


def test_only_the_section_is_read_of_a_coadd_larger_than_its_share() -> None:
    reader = Counting()
    cache = CoaddCache(reader, 3 * BYTES)
    pixels, first = cache.read(refs(1)[0], PART)
    assert pixels.shape == (10, 40)
    assert first == (10, 30)
    assert reader.reads == [("0", PART)]


def test_threads_that_need_the_same_coadd_decode_it_once() -> None:
    reader = Counting()
    cache = CoaddCache(reader, 8 * BYTES)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda ref: cache.read(ref, PART), refs(8) * 40))
    assert len(reader.reads) == 8


def test_a_coadd_is_dropped_after_the_last_block_that_needs_it() -> None:
    reader = Counting()
    cache = CoaddCache(reader, 50 * BYTES)
    a, b, c = refs(3)
    with cache.in_use(0, {a: 0, b: 2}), cache.in_use(1, {b: 2, c: 1}):
        for ref in (a, b, c):
            cache.read(ref, PART)
        with cache.in_use(2, {b: 2}):
            pass
        assert cache._bytes == 3 * BYTES  # blocks 0 and 1 are not finished
    assert cache._bytes == 0
    with cache.in_use(3, {a: 4}):
        cache.read(a, PART)
    assert cache._bytes == BYTES
    assert len(reader.reads) == 4


def test_a_coadd_that_was_decoded_twice_counts_once() -> None:
    cache = CoaddCache(Counting(), 8 * BYTES)
    (ref,) = refs(1)
    pixels = np.zeros((SIZE, SIZE), np.float32)
    cache._put(ref, pixels)
    cache._put(ref, pixels.copy())
    assert cache._bytes == BYTES


def test_copies_of_files_are_kept_until_the_last_block_that_needs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hipsgen.images import staging

    copies = staging._Copies()
    monkeypatch.setattr(staging, "_copies", copies)
    cache = CoaddCache(Counting(), BYTES)
    first, second, third = refs(3)
    with cache.in_use(0, {first: 1, second: 0}):
        assert copies._kept == {"0": 1, "1": 1}
    with cache.in_use(1, {first: 1, third: 7}):
        assert copies._kept == {"0": 1, "2": 1}
    assert copies._kept == {"2": 1}
    cache.clear()
    assert copies._kept == {}

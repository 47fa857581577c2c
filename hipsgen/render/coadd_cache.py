"""Decoded coadds, kept while neighbors need them."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from hipsgen.coadd import CoaddRef
from hipsgen.images.source import CoaddInfo, CoaddReader, Section

_SHARE = 4  # a coadd larger than 1 / 4 of the cache is read in the sections that are asked for


class CoaddCache:
    """Whole coadds up to a number of bytes, the least recently used dropped first.

    Shared by the threads of a process; two that want the same coadd decode it once. A coadd that no
    block to come needs is dropped at once.
    """

    def __init__(self, reader: CoaddReader, limit: int) -> None:
        self._reader = reader
        self._limit = limit
        self._lock = threading.Lock()
        self._busy: dict[CoaddRef, threading.Lock] = {}
        self._infos: OrderedDict[CoaddRef, CoaddInfo] = OrderedDict()
        self._pixels: OrderedDict[CoaddRef, npt.NDArray[np.float32]] = OrderedDict()
        self._bytes = 0
        self._until: dict[CoaddRef, int] = {}
        self._serving: set[int] = set()
        self._next = 0  # block to be begun

    @contextmanager
    def serving(self, number: int, until: Mapping[CoaddRef, int]) -> Iterator[None]:
        """While a block is worked on. until: number of the last block that needs each coadd.

        Blocks are begun in the order of their numbers.
        """
        with self._lock:
            self._serving.add(number)
            self._next = number + 1
            self._until.update(until)
        try:
            yield
        finally:
            with self._lock:
                self._serving.discard(number)
                earliest = min(self._serving, default=self._next)
                for ref in [ref for ref, last in self._until.items() if last < earliest]:
                    del self._until[ref]
                    self._drop(ref)

    def info(self, ref: CoaddRef) -> CoaddInfo:
        """Headers of a coadd. Raises CoaddError."""
        with self._lock:
            info = self._infos.get(ref)
            if info is not None:
                self._infos.move_to_end(ref)
                return info
        info = self._reader.info(ref)
        with self._lock:
            self._infos[ref] = info
            while len(self._infos) > 1000:
                self._infos.popitem(last=False)
        return info

    def read(
        self, ref: CoaddRef, section: Section
    ) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
        """Pixels that hold a section, and the row and column of the first of them.

        The whole coadd where that is worth it and fits into the cache. Raises CoaddError.
        """
        info = self.info(ref)
        rows, cols = info.shape
        if info.in_parts or 4 * rows * cols > self._limit // _SHARE:
            return self._reader.read(ref, section), (section[0].start, section[1].start)
        with self._lock:
            gate = self._busy.setdefault(ref, threading.Lock())
        with gate:
            pixels = self._get(ref)
            if pixels is None:
                pixels = self._reader.read(ref, (slice(0, rows), slice(0, cols)))
                self._put(ref, pixels)
        return pixels, (0, 0)

    def _get(self, ref: CoaddRef) -> npt.NDArray[np.float32] | None:
        with self._lock:
            pixels = self._pixels.get(ref)
            if pixels is not None:
                self._pixels.move_to_end(ref)
            return pixels

    def _put(self, ref: CoaddRef, pixels: npt.NDArray[np.float32]) -> None:
        with self._lock:
            self._drop(ref)  # two threads may have come through two gates
            self._pixels[ref] = pixels
            self._bytes += pixels.nbytes
            while self._bytes > self._limit and len(self._pixels) > 1:
                self._drop(next(iter(self._pixels)))

    def _drop(self, ref: CoaddRef) -> None:
        pixels = self._pixels.pop(ref, None)
        self._busy.pop(ref, None)
        if pixels is not None:
            self._bytes -= pixels.nbytes

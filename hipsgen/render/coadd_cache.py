"""Cache of decoded coadds, which are kept as long as neighboring blocks need them."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from hipsgen.coadd import CoaddRef
from hipsgen.images.source import CoaddInfo, CoaddReader, Section
from hipsgen.images.staging import keep_copies, release_copies, scratch_array

_SHARE = 4  # coadds larger than 1/4 of the cache are not kept, but read section by section


class CoaddCache:
    """Cache of whole coadds; the least recently used are dropped first.

    It is shared by the threads of a process. If several need the same coadd, it is decoded once. A
    coadd that no further block needs is dropped immediately. Until then local copies of the files,
    from which coadds that are too large for the cache are read, are kept as well. Those that can
    only be decoded as a whole are decoded to the disk (`scratch_array`).

    Parameters
    ----------
    reader : CoaddReader
        Reader of the coadds.
    limit : int
        Maximal size in bytes.
    """

    def __init__(self, reader: CoaddReader, limit: int) -> None:
        self._reader = reader
        self._limit = limit
        self._lock = threading.Lock()
        self._decoding: dict[CoaddRef, threading.Lock] = {}
        self._infos: OrderedDict[CoaddRef, CoaddInfo] = OrderedDict()
        self._pixels: OrderedDict[CoaddRef, npt.NDArray[np.float32]] = OrderedDict()
        self._bytes = 0
        self._on_disk: dict[CoaddRef, npt.NDArray[np.float32]] = {}
        self._disk_lock = threading.Lock()  # one at a time: decoding may take all of the memory
        self._last_blocks: dict[CoaddRef, int] = {}
        self._in_progress: set[int] = set()  # numbers of blocks
        self._next = 0  # number of the next block to start

    @contextmanager
    def in_use(self, number: int, last_blocks: Mapping[CoaddRef, int]) -> Iterator[None]:
        """Keep the coadds of a block while it is rendered; blocks are started in numerical order.

        Parameters
        ----------
        number : int
            Number of the block.
        last_blocks : mapping of CoaddRef to int
            Number of the last block that needs each coadd of this block.
        """
        with self._lock:
            self._in_progress.add(number)
            self._next = number + 1
            keep_copies(ref.uri for ref in last_blocks if ref not in self._last_blocks)
            self._last_blocks.update(last_blocks)
        try:
            yield
        finally:
            with self._lock:
                self._in_progress.discard(number)
                earliest = min(self._in_progress, default=self._next)
                obsolete = [ref for ref, last in self._last_blocks.items() if last < earliest]
                for ref in obsolete:
                    del self._last_blocks[ref]
                    self._drop(ref)
                _release(obsolete)

    def clear(self) -> None:
        """Drop all coadds, and no longer keep their local copies."""
        with self._lock:
            _release(self._last_blocks)
            self._last_blocks.clear()
            for ref in [*self._pixels, *self._on_disk]:
                self._drop(ref)

    def info(self, ref: CoaddRef) -> CoaddInfo:
        """Return what the headers of a coadd say. Raises CoaddError if they cannot be read."""
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
        """Return pixels that include a section of a coadd.

        Parameters
        ----------
        ref : CoaddRef
            The coadd.
        section : Section
            Slices of the rows and columns.

        Returns
        -------
        pixels : numpy.ndarray
            (rows, columns) float32, or int32 for masks: the whole coadd if it is cached, otherwise
            the section alone.
        first : (int, int)
            Row and column of the first of these pixels in the coadd.

        Raises
        ------
        CoaddError
            When the coadd cannot be read.
        """
        info = self.info(ref)
        rows, cols = info.shape
        is_large = 4 * rows * cols > self._limit // _SHARE
        if info.in_parts or (is_large and not info.as_whole):
            return self._reader.read(ref, section), (section[0].start, section[1].start)
        with self._lock:
            decoding = self._decoding.setdefault(ref, threading.Lock())
        with decoding:
            pixels = self._get(ref)
            if pixels is None and is_large:
                pixels = self._decode_to_disk(ref, info.shape)
            if pixels is None:
                pixels = self._reader.read(ref, (slice(0, rows), slice(0, cols)))
                self._put(ref, pixels)
        return pixels, (0, 0)

    def _decode_to_disk(self, ref: CoaddRef, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        with self._disk_lock:
            section = slice(0, shape[0]), slice(0, shape[1])
            pixels = self._reader.read(ref, section, (), scratch_array(shape))
        with self._lock:
            self._on_disk[ref] = pixels
        return pixels

    def _get(self, ref: CoaddRef) -> npt.NDArray[np.float32] | None:
        with self._lock:
            pixels = self._pixels.get(ref)
            if pixels is not None:
                self._pixels.move_to_end(ref)
            return self._on_disk.get(ref) if pixels is None else pixels

    def _put(self, ref: CoaddRef, pixels: npt.NDArray[np.float32]) -> None:
        with self._lock:
            self._drop(ref)  # another thread may have decoded it under another lock
            self._pixels[ref] = pixels
            self._bytes += pixels.nbytes
            while self._bytes > self._limit and len(self._pixels) > 1:
                self._drop(next(iter(self._pixels)))

    def _drop(self, ref: CoaddRef) -> None:
        pixels = self._pixels.pop(ref, None)
        self._decoding.pop(ref, None)
        self._on_disk.pop(ref, None)
        if pixels is not None:
            self._bytes -= pixels.nbytes


def _release(refs: Iterable[CoaddRef]) -> None:
    release_copies([ref.uri for ref in refs])

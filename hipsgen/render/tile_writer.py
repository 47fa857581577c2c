"""Writing of tiles in background threads while the next tiles are rendered."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from hipsgen.survey.store import Store

_THREADS = 2
_QUEUED = 4  # tiles that may wait to be written; `write` blocks if there are more


class TileWriter:
    """Writes files to a store in threads of its own; a context manager.

    When the `with` block ends without an exception, all files are on the disk and survive a crash
    of the machine. An error of the store is raised there, or by the next `write`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="hipsgen-write")
        self._slots = threading.BoundedSemaphore(_QUEUED)
        self._failed: BaseException | None = None
        self._folders: set[str] = set()

    def __enter__(self) -> "TileWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is not None:
            return
        if self._failed is not None:
            raise self._failed
        self._store.fsync_directories(sorted(self._folders))

    def write(self, *files: tuple[str, bytes | memoryview]) -> None:
        """Queue the files (path, content) of a tile to be written; see `Store.write`."""
        if self._failed is not None:
            raise self._failed
        self._folders.update(path.rpartition("/")[0] for path, _ in files)
        self._slots.acquire()
        self._pool.submit(self._write, files).add_done_callback(self._done)

    def _write(self, files: tuple[tuple[str, bytes | memoryview], ...]) -> None:
        for path, data in files:
            self._store.write(path, data)

    def _done(self, future: "Future[None]") -> None:
        self._slots.release()
        if not future.cancelled() and (error := future.exception()) is not None:
            self._failed = error

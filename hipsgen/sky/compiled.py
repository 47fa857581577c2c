"""Compile kernels with numba and cache the machine code on disk.

numba's cache checks only the source file of the cached function, but our kernels call functions of
other files. They are therefore cached in a folder whose name contains a digest of all kernel
sources: when any of them changes, a new folder is used.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit

_PACKAGE = Path(__file__).parents[1]
_SOURCES = ("sky/*_kernels.py", "sky/lanes.py", "sky/compiled.py", "images/*_kernels.py")
_MAX_AGE = 30 * 86400  # seconds


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function to be called from Python: cached on disk, runs without the GIL."""
    return _compile(function, nogil=True)


def short_kernel(function: Callable[..., Any]) -> Any:
    """Compile like `kernel`, for a function that takes less time than releasing the GIL would."""
    return _compile(function, nogil=False)


def _compile(function: Callable[..., Any], nogil: bool) -> Any:
    before = config.CACHE_DIR
    config.CACHE_DIR = str(_cache_folder())
    try:
        return njit(nogil=nogil, cache=True)(function)
    finally:
        config.CACHE_DIR = before


@cache
def _cache_folder() -> Path:
    """Return the first writable cache folder: next to the modules, as numba does, or the user's.

    If none is writable, as in a read-only container, each process compiles into its own temporary
    folder.
    """
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for path in sorted(_PACKAGE.glob(pattern)):
            digest.update(path.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    for base in _cache_locations():
        folder = base / name
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                _remove_old_caches(base, name)
                return folder
    private = tempfile.mkdtemp(prefix="hipsgen-")  # readable only by this user: code is run from it
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return Path(private)


def _cache_locations() -> Iterator[Path]:
    if config.CACHE_DIR:  # NUMBA_CACHE_DIR
        yield Path(config.CACHE_DIR)
    yield _PACKAGE / "__pycache__"
    with suppress(RuntimeError):  # no home directory
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hipsgen"


def _remove_old_caches(base: Path, current: str) -> None:
    """Remove cache folders of other versions that have not been used for `_MAX_AGE`."""
    for folder in base.glob("kernels-*"):
        with suppress(OSError):
            if folder.name != current and folder.stat().st_mtime < time.time() - _MAX_AGE:
                shutil.rmtree(folder)

"""How kernels are compiled, and where what was compiled is kept.

numba looks only at the file in which a function stands to see whether what it kept is still of
today; but ours call functions of other files. So they are kept in a folder whose name is made of
all their sources: a change in any of them is a change of place.
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

_HOME = Path(__file__).parents[1]
_SOURCES = ("sky/*_kernels.py", "sky/lanes.py", "sky/compiled.py", "images/*_kernels.py")
_OLD = 30 * 86400  # seconds


def kernel(function: Callable[..., Any]) -> Any:
    """A function that Python calls: compiled once on a machine, and run without the GIL."""
    return _kept(function, nogil=True)


def short_kernel(function: Callable[..., Any]) -> Any:
    """The same of one that is done before the GIL would be handed over and back."""
    return _kept(function, nogil=False)


def _kept(function: Callable[..., Any], nogil: bool) -> Any:
    before = config.CACHE_DIR
    config.CACHE_DIR = str(_folder())
    try:
        return njit(nogil=nogil, cache=True)(function)
    finally:
        config.CACHE_DIR = before


@cache
def _folder() -> Path:
    """The first place that can be written to: beside the modules, as numba does, or the user's.

    Where there is none, as in a container that is read only, each process compiles for itself.
    """
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for path in sorted(_HOME.glob(pattern)):
            digest.update(path.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    for base in _bases():
        folder = base / name
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                _sweep(base, name)
                return folder
    alone = tempfile.mkdtemp(prefix="hipsgen-")  # nobody else's: code is run from there
    atexit.register(shutil.rmtree, alone, ignore_errors=True)
    return Path(alone)


def _bases() -> Iterator[Path]:
    if config.CACHE_DIR:  # NUMBA_CACHE_DIR
        yield Path(config.CACHE_DIR)
    yield _HOME / "__pycache__"
    with suppress(RuntimeError):  # no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hipsgen"


def _sweep(base: Path, mine: str) -> None:
    """Remove what earlier versions left a while ago."""
    for folder in base.glob("kernels-*"):
        with suppress(OSError):
            if folder.name != mine and folder.stat().st_mtime < time.time() - _OLD:
                shutil.rmtree(folder)

"""Data that begin on a page go past the page cache where the file system lets them."""

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from hipsgen.survey import store as store_module
from hipsgen.survey.store import LocalStore

SIZES = [1, 4096, 1 << 19, (1 << 19) + 1, 1_054_080, 1 << 20, (1 << 21) + 17]


def on_a_page(size: int, off: int = 0) -> memoryview:
    """Random bytes that begin `off` bytes behind the start of a page."""
    room = mmap.mmap(-1, size + mmap.PAGESIZE)
    room[:] = np.random.default_rng(size).integers(0, 256, len(room), np.uint8).tobytes()
    return memoryview(room)[off : off + size]


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system that can be written to directly, and one that may not."""
    if request.param == "disk":
        yield tmp_path
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("needs /dev/shm")
    with TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["bytes", "page", "askew"])
def test_large_files_come_out_as_they_went_in(place: Path, size: int, kind: str):
    data = on_a_page(size, 24 if kind == "askew" else 0)
    store = LocalStore(place)
    for _ in range(2):  # new, and in place of another
        store.write("a/large.fits", bytes(data) if kind == "bytes" else data)
        assert store.read("a/large.fits") == data
    assert sorted(os.listdir(place / "a")) == ["large.fits"]


@pytest.mark.parametrize("behavior", ["refuses", "falls short"])
def test_a_file_system_that_goes_back_on_its_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behavior: str
):
    def fail(handle: int, data: memoryview) -> bool:
        if behavior == "refuses":
            raise OSError(errno.EINVAL, "not here")
        os.write(handle, on_a_page(2 << 20))  # and more than there will be
        return False

    monkeypatch.setattr(store_module, "_write_pages", fail)
    data = on_a_page(1_054_080)
    LocalStore(tmp_path).write("tile.fits", data)
    assert (tmp_path / "tile.fits").read_bytes() == data


def test_a_file_system_without_direct_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(handle: int, command: int, *flags: int) -> int:
        if flags and flags[0] & os.O_DIRECT:
            raise OSError(errno.EINVAL, "not here")
        return os.O_WRONLY

    monkeypatch.setattr(store_module.fcntl, "fcntl", refuse)
    data = on_a_page(1_054_080)
    LocalStore(tmp_path).write("tile.fits", data)
    assert (tmp_path / "tile.fits").read_bytes() == data
    assert os.listdir(tmp_path) == ["tile.fits"]

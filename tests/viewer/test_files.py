"""Files inside a root are opened, by either system call; files elsewhere are not."""

import os
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest

from viewer.http import files

LINUX = pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="needs Linux")


@pytest.fixture
def root(tmp_path) -> Path:
    """Files, links and special files, some of which are outside the root."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "folder").mkdir(parents=True)
    outside.mkdir()
    for place in (root / "file", root / "folder" / "file", outside / "file"):
        place.write_bytes(str(place.relative_to(tmp_path)).encode())
    (tmp_path / "rootless").write_bytes(b"beside")
    (root / "link").symlink_to("folder/file")
    (root / "linked").symlink_to(root / "folder")
    (root / "out").symlink_to(outside / "file")
    (root / "folder-out").symlink_to(outside)
    (root / "beside").symlink_to(tmp_path / "rootless")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nothing")
    os.mkfifo(root / "fifo")
    return root


GOOD = {"file": "root/file", "folder/file": "root/folder/file"}
LED = {"link": "root/folder/file", "linked/file": "root/folder/file", "linked/../file": "root/file"}
BAD = (
    "out", "folder-out/file", "beside", "loop", "dangling", "fifo", "folder", "nothing",
    "../outside/file", "../rootless", "folder/../../outside/file", "file/x", ".",
)  # fmt: skip


@pytest.fixture(params=["by descriptor", "by name"])
def opened(request, monkeypatch) -> Callable[..., FileIO]:
    if request.param == "by name":
        monkeypatch.delattr(os, "O_PATH", raising=False)
    elif not hasattr(os, "O_PATH"):
        pytest.skip("needs Linux")
    return files.open_inside


@pytest.mark.parametrize("name", [*GOOD, *LED])
def test_files_inside_the_root_are_opened(opened, root, name):
    before = len(os.listdir("/proc/self/fd"))
    with opened([root], root / name) as file:
        assert file.read() == (GOOD | LED)[name].encode()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", BAD)
def test_files_elsewhere_and_special_files_are_not_opened(opened, root, name):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):  # noqa: PT011 - any subclass
        opened([root], f"{root}/{name}")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_root_is_the_whole_system_or_one_of_several(opened, root, tmp_path):
    for roots in ([Path("/")], [tmp_path / "outside", root]):
        with opened(roots, root / "file") as file:
            assert file.read() == b"root/file"


@LINUX
@pytest.mark.parametrize("name", [*GOOD, *LED, *BAD])
def test_what_is_opened_at_once_is_what_would_be_opened(root, name):
    before = len(os.listdir("/proc/self/fd"))
    path = f"{root}/{name}"
    try:
        with files.open_inside([root], path) as file:
            wanted = file.read()
    except OSError:
        wanted = None
    try:
        file = files.open_if_cached([root], path)
    except OSError:
        assert wanted is None
    else:
        # links and uncached paths need the function that may block
        assert file is None or file.read() == wanted
        assert file is not None or name not in GOOD
        if file is not None:
            file.close()
    assert len(os.listdir("/proc/self/fd")) == before


@LINUX
def test_systems_without_openat2_use_the_fallback(root, monkeypatch):
    monkeypatch.setattr(files, "_openat2", lambda *_: -1)
    assert files.open_if_cached([root], f"{root}/file") is None
    monkeypatch.setattr(files, "_openat2", None)
    assert files.open_if_cached([root], f"{root}/file") is None


@LINUX
def test_what_is_in_memory_is_told_without_bringing_it_in(tmp_path):
    size = 3 << 20
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    with FileIO(path) as file:
        for _ in range(50):
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if not files.is_cached(file, 0, size):
                break
            time.sleep(0.1)
        else:
            pytest.skip("this file system keeps all in memory")
        assert len(os.pread(file.fileno(), size, 0)) == size
        assert files.is_cached(file, 0, size)
        # beyond the end of the file
        assert not files.is_cached(file, size, size + 1)

"""The writer of tiles: all files exist when it is closed, and no error is lost."""

import time
from pathlib import Path

import pytest

from hipsgen.render.tile_writer import TileWriter
from hipsgen.survey.store import LocalStore

FILES = [(f"Norder3/Dir0/Npix{k}.fits", b"tile") for k in range(9)]


class SlowStore(LocalStore):
    """A folder on a slow disk."""

    def write(self, path: str, data: bytes | memoryview) -> None:
        time.sleep(0.05)
        super().write(path, data)


def test_all_files_exist_when_the_writer_is_closed(tmp_path: Path):
    """The record of the block is written next, and lists them."""
    with TileWriter(SlowStore(tmp_path)) as writer:
        for file in FILES:
            writer.write(file)
    assert sorted(LocalStore(tmp_path).list()) == [path for path, _ in FILES]


def test_an_error_of_the_last_write_is_raised(tmp_path: Path):
    (tmp_path / "Norder3").write_text("not a folder")
    with pytest.raises(OSError, match="Norder3"), TileWriter(SlowStore(tmp_path)) as writer:
        writer.write(FILES[0])

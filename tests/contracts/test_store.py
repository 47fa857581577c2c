"""What every Store promises; an implementation subclasses `StoreContract`."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hipsgen.errors import SurveyError
from hipsgen.survey.store import LocalStore, Store, open_store


class StoreContract:
    """A subclass makes `store` and the two ways of looking behind it.

    break_writes: from here on every write fails once its bytes are on their way.
    """

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        raise NotImplementedError

    def break_writes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        raise NotImplementedError

    def all_files(self, store: Store) -> list[str]:
        """Everything that is there, unfinished files too."""
        raise NotImplementedError

    def leave_unfinished(self, store: Store, path: str) -> None:
        """What a writer of a path leaves that is killed in the middle of it."""
        raise NotImplementedError

    def sweep_once_while_written(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """From here on the first file written is swept away before it has its name."""
        raise NotImplementedError

    def test_a_file_is_read_as_written(self, store: Store):
        for path, data in {"properties": b"a", "Norder3/Dir0/Npix1.fits": b"\0\xff" * 5000}.items():
            store.write(path, data)
            assert store.read(path) == data

    def test_a_second_write_replaces_the_first(self, store: Store):
        store.write("a/b", b"long long content")
        store.write("a/b", b"short")
        assert store.read("a/b") == b"short"
        assert self.all_files(store) == ["a/b"]

    def test_reading_what_is_not_there_is_file_not_found(self, store: Store):
        store.write("a/b", b"")
        for path in ("c", "a/c", "a/b/c", "a"):
            with pytest.raises(FileNotFoundError):
                store.read(path)

    def test_list_is_sorted_and_complete_under_a_folder(self, store: Store):
        paths = ["b", "a/z", "a.txt", "a/b/c", "Norder3/Dir0/Npix10.fits", "Norder3/Allsky.fits"]
        for path in paths:
            store.write(path, b"x")
        assert list(store.list()) == sorted(paths)
        assert list(store.list("a")) == ["a/b/c", "a/z"]
        assert list(store.list("Norder3/Dir0")) == ["Norder3/Dir0/Npix10.fits"]
        assert list(store.list("Norder4")) == []
        assert list(store.list("b")) == []

    def test_what_killed_writers_left_is_swept_away(self, store: Store):
        store.write("a/whole", b"x")
        store.write("d.txt", b"y")
        for path in ("a/whole", "b/c", "d"):
            self.leave_unfinished(store, path)
        assert len(self.all_files(store)) == 5
        store.remove_partial_files()
        assert self.all_files(store) == ["a/whole", "d.txt"]
        assert store.read("a/whole") == b"x"

    def test_a_writer_that_is_alive_survives_the_sweep_of_another(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ):
        with monkeypatch.context() as patched:
            self.sweep_once_while_written(store, patched)
            store.write("a/b", b"content" * 1000)
        assert store.read("a/b") == b"content" * 1000
        assert self.all_files(store) == ["a/b"]

    def test_the_room_is_known_before_anything_is_there(self, store: Store):
        room = store.free_space()
        assert room is None or room > 0

    def test_settling_is_allowed_for_folders_that_are_not_there(self, store: Store):
        store.write("a/b/c", b"x")
        store.fsync_directories(["", "a", "a/b", "none"])

    def test_an_empty_store_lists_nothing(self, store: Store):
        assert list(store.list()) == []

    def test_stat_returns_the_size_of_files_only(self, store: Store):
        store.write("a/b", b"12345")
        stat = store.stat("a/b")
        assert stat is not None
        assert stat.size == 5
        for path in ("a", "c", "a/c", "a/b/c"):
            assert store.stat(path) is None, path

    def test_delete_removes_one_file_and_may_be_repeated(self, store: Store):
        store.write("a/b", b"1")
        store.write("a/c", b"1")
        store.delete("a/b")
        store.delete("a/b")
        store.delete("x/y")
        store.delete("a/c/d")
        assert list(store.list()) == ["a/c"]

    @pytest.mark.parametrize(
        "path", ["../x", "a/../../x", "/etc/passwd", "a/..", "", "a//b", "a/", ".."]
    )
    def test_paths_that_leave_the_root_are_refused(self, store: Store, path: str):
        for ask in (store.read, store.stat, store.delete, lambda p: store.write(p, b"")):
            with pytest.raises(SurveyError, match="not a relative path inside the survey"):
                ask(path)
        if path:
            with pytest.raises(SurveyError):
                list(store.list(path))

    def test_a_reader_never_sees_a_part_of_a_file(self, store: Store):
        contents = [bytes([k]) * (300_000 + 100_000 * k) for k in range(3)]
        store.write("t/f", contents[0])
        done = threading.Event()
        wrong: list[int] = []
        reads = 0

        def read() -> None:
            nonlocal reads
            while not done.is_set():
                data = store.read("t/f")
                reads += 1
                if data not in contents or list(store.list()) != ["t/f"]:
                    wrong.append(len(data))

        thread = threading.Thread(target=read)
        thread.start()
        try:
            rounds = 0
            while rounds < 30 or (reads < 10 and rounds < 2000):
                store.write("t/f", contents[rounds % 3])
                rounds += 1
        finally:
            done.set()
            thread.join()
        assert reads >= 10
        assert not wrong

    def test_writers_of_one_file_do_not_mix(self, store: Store):
        contents = [bytes([k]) * 200_000 for k in range(4)]

        def write(data: bytes) -> None:
            for _ in range(5):
                store.write("same", data)

        threads = [threading.Thread(target=write, args=(data,)) for data in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.read("same") in contents
        assert self.all_files(store) == ["same"]

    def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ):
        store.write("a/b", b"old")
        with monkeypatch.context() as broken:
            self.break_writes(broken)
            for path in ("a/b", "a/new"):
                with pytest.raises(OSError, match="disk is full"):
                    store.write(path, b"new content")
        assert store.read("a/b") == b"old"
        assert self.all_files(store) == ["a/b"]


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return LocalStore(tmp_path / "a survey")

    def break_writes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "the disk is full")

        monkeypatch.setattr("os.fsync", full)

    def all_files(self, store: Store) -> list[str]:
        assert isinstance(store, LocalStore)
        root = store.root
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())

    def leave_unfinished(self, store: Store, path: str) -> None:
        writer = "from hipsgen.survey.store import LocalStore; import os, sys, pathlib;"
        writer += "os.replace = lambda *_: os._exit(9);"
        writer += "LocalStore(pathlib.Path(sys.argv[1])).write(sys.argv[2], b'half')"
        done = subprocess.run([sys.executable, "-c", writer, str(store), path], check=False)
        assert done.returncode == 9

    def sweep_once_while_written(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        replace = os.replace

        def swept(aside: str, target: str) -> None:
            monkeypatch.setattr("os.replace", replace)
            os.unlink(aside)  # which our own sweep would not
            replace(aside, target)

        monkeypatch.setattr("os.replace", swept)

    def test_files_of_a_killed_writer_are_not_listed(self, store: LocalStore):
        store.write("a/Npix1.fits", b"1")
        (store.root / "a" / ".Npix2.fits.0123456789ab.part").write_bytes(b"half")
        assert list(store.list()) == ["a/Npix1.fits"]

    def test_the_file_is_on_disk_before_it_gets_its_name(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch
    ):
        events: list[str] = []
        fsync, replace = os.fsync, os.replace
        monkeypatch.setattr("os.fsync", lambda *a: (events.append("fsync"), fsync(*a)))
        monkeypatch.setattr("os.replace", lambda *a: (events.append("replace"), replace(*a)))
        store.write("x", b"1")
        assert events == ["fsync", "replace"]

    def test_links_that_run_in_a_circle_do_not_hang_the_list(self, store: LocalStore):
        store.write("a/b", b"1")
        (store.root / "a" / "loop").symlink_to(store.root, target_is_directory=True)
        assert list(store.list()) == ["a/b"]

    def test_open_store_makes_one_and_shows_its_place(self, tmp_path: Path):
        store = open_store(tmp_path)
        store.write("x", b"1")
        assert (tmp_path / "x").read_bytes() == b"1"
        assert str(store) == str(tmp_path)

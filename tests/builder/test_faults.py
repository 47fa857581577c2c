"""A disk fails at any of its calls: rerunning the command gives the same survey."""

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Build, StarField
from tests.torture.campaign import differences, tree

CALLS = ("write", "fsync", "replace", "open", "unlink")


class Disk:
    """Counts the calls that write; the k-th fails, or all from the k-th on."""

    def __init__(self, fails_at: int = -1, for_good: bool = False) -> None:
        self.fails_at, self.for_good, self.calls = fails_at, for_good, 0
        self._lock = threading.Lock()

    def asked(self) -> None:
        with self._lock:
            number, self.calls = self.calls, self.calls + 1
        if number == self.fails_at or (self.for_good and number > self.fails_at >= 0):
            raise OSError(errno.EROFS if self.for_good else errno.EIO, "the disk fails")

    @contextmanager
    def under(self, monkeypatch: pytest.MonkeyPatch) -> Iterator["Disk"]:
        with monkeypatch.context() as patched:
            for name in CALLS:
                patched.setattr(os, name, self._watched(getattr(os, name)))
            yield self

    def _watched(self, call: Any) -> Any:
        def watched(*args: Any, **options: Any) -> Any:
            reading = call.__name__ == "open" and not args[1] & os.O_CREAT
            if not reading:
                self.asked()
            return call(*args, **options)

        return watched


OPTIONS = {
    "order": 2,
    "tile_width": 64,
    "formats": ("fits",),
    "cuts": (0.0, 10.0),
    "stretch": "linear",
}


@pytest.mark.slow
@pytest.mark.usefixtures("small_page")
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("update", [False, True], ids=["a new survey", "an update"])
def test_a_disk_that_fails_at_any_call_loses_nothing(
    update: bool,
    for_good: bool,
    build: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Fail once with EIO, or become a read-only file system."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    before = [StarField(40.0, 0.0, size=100, background=1.0).write(tmp_path / "a.fits")]
    inputs = [*before, StarField(70.0, 3.0, size=100, background=2.0).write(tmp_path / "b.fits")]
    out, start = tmp_path / "out", tmp_path / "start" / "out"
    truth = tree(build(inputs, "out", **OPTIONS).place)

    def begin() -> None:
        shutil.rmtree(out, ignore_errors=True)
        if update:
            shutil.copytree(start, out)

    build(before, "start/out", **OPTIONS)
    begin()
    with Disk().under(monkeypatch) as counting:
        build(inputs, "out", **OPTIONS)
    assert counting.calls > 60
    said = []
    for k in range(0, counting.calls, 1 + 6 * for_good):
        begin()
        with Disk(k, for_good).under(monkeypatch):
            try:
                build(inputs, "out", **OPTIONS)
            except OSError as error:
                said.append(str(error))
        made = build(inputs, "out", **OPTIONS)
        assert differences(truth, tree(made.place)) == [], k
    assert all("the disk fails" in text for text in said)
    assert len(said) > 0.6 * counting.calls / (1 + 6 * for_good)
    print(f"{counting.calls} calls, {len(said)} builds failed")

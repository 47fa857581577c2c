"""Two builds with different inputs in one folder: a finished survey is that of one of them."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hipsgen.checker.survey import CheckOptions, check_survey
from hipsgen.errors import ConfigError
from hipsgen.survey.store import LocalStore
from tests.conftest import Build, StarField
from tests.test_cli import hipsgen
from tests.torture.campaign import differences, tree

OPTIONS = {
    "order": 2,
    "tile_width": 64,
    "formats": ("fits",),
    "cuts": (0.0, 10.0),
    "stretch": "linear",
}


class Interleaved:
    """Calls a function before the k-th write or deletion in a local store."""

    def __init__(self, k: int = -1, action: Callable[[], object] = lambda: None) -> None:
        self.k, self.action, self.calls = k, action, 0
        self._lock = threading.RLock()

    def install(self, patched: pytest.MonkeyPatch) -> "Interleaved":
        for name in ("write", "delete"):
            patched.setattr(LocalStore, name, self._watched(getattr(LocalStore, name)))
        return self

    def _watched(self, call: Callable[..., object]) -> Callable[..., object]:
        def watched(store: LocalStore, *args: object) -> object:
            with self._lock:
                number, self.calls = self.calls, self.calls + 1
            if number == self.k:
                self.action()
            return call(store, *args)

        return watched


def is_sound(out: Path) -> bool:
    return all(found.level == "note" for found in check_survey(out, CheckOptions(deep=True)))


def skies(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the inputs of two builds: one in both, one replaced, one only in the first."""
    both = StarField(40.0, 0.0, size=100, background=1.0).write(folder / "both.fits")
    one = StarField(44.0, 1.0, size=100, background=2.0).write(folder / "one.fits")
    other = StarField(44.0, 1.0, size=100, background=3.0).write(folder / "other.fits")
    far = StarField(70.0, 3.0, size=100, background=2.0).write(folder / "far.fits")
    return [both, one, far], [both, other]


@pytest.mark.slow
@pytest.mark.usefixtures("small_page")
@pytest.mark.parametrize("start", ["nothing", "a survey of the second build"])
def test_another_build_starts_at_any_write_of_a_build(
    start: str, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, second = skies(tmp_path)
    expected = {
        name: tree(build(inputs, "out", fresh=True, **OPTIONS).place)
        for name, inputs in (("first", first), ("second", second))
    }
    out, before = tmp_path / "out", tmp_path / "before"
    shutil.copytree(out, before)
    ended: list[str] = []
    refused: list[str] = []

    def begin() -> None:
        shutil.rmtree(out)
        if start != "nothing":
            shutil.copytree(before, out)
        ended.clear()

    def run(inputs: list[Path], name: str, workers: int) -> None:
        try:
            build(inputs, "out", workers=workers, **OPTIONS)
            ended.append(name)
        except ConfigError as error:
            refused.append(str(error))

    begin()
    with monkeypatch.context() as patched:
        counting = Interleaved().install(patched)
        run(first, "first", 1)
    assert counting.calls > 30
    finished = []
    for k in range(counting.calls):
        begin()
        with monkeypatch.context() as patched:
            Interleaved(k, lambda: run(second, "second", 2)).install(patched)
            run(first, "first", 1)
        if (out / "properties").exists():
            survey = tree(out)
            assert any(survey == expected[name] for name in ended), (k, ended)
            assert [
                f for f in check_survey(out, CheckOptions(deep=True)) if f.level != "note"
            ] == [], k
        finished.append(ended[-1] if ended else "")
        made = build(second, "out", **OPTIONS)
        assert differences(expected["second"], tree(made.place)) == [], k
    assert all("another build" in text for text in refused)
    print({name: finished.count(name) for name in set(finished)})


@pytest.mark.slow
def test_two_processes_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Both may stop; then one of them, when run again, builds its own survey."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, second = skies(tmp_path)
    rng = np.random.default_rng(5)

    def words(inputs: list[Path], out: Path) -> list[str]:
        options = ["--order", "4", "--tile-width", "128", "--cuts", "0,10"]
        return ["build", *map(str, inputs), "-o", str(out), *options]

    def finish(inputs: list[Path], out: Path) -> dict[str, str]:
        ran = hipsgen(*words(inputs, out))
        assert ran.returncode == 0, ran
        return tree(out)

    def start(inputs: list[Path], out: Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "hipsgen", *words(inputs, out)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    expected = finish(first, tmp_path / "one" / "out"), finish(second, tmp_path / "two" / "out")
    kept = 0
    for k in range(5):
        out = tmp_path / f"race{k}" / "out"
        both = [start(first, out)]
        time.sleep(rng.uniform(0.0, 0.5))
        both.append(start(second, out))
        outputs = [process.communicate(timeout=60)[0] for process in both]
        for process, output in zip(both, outputs, strict=True):
            assert process.returncode == 0 or "another build" in output, output
        if (out / "properties").exists():
            kept += 1
            assert tree(out) in expected, outputs
            assert is_sound(out), k
        assert differences(expected[1], finish(second, out)) == [], k
    print(f"{kept} of 5 races ended with a survey")

"""Kill builds at random times, then finish them and compare the results."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hipsgen.checker.survey import CheckOptions, check_survey

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TIMEOUT = 2.0  # seconds within which a build must stop after SIGINT or SIGTERM
_BEGINNING = 0.2  # seconds in which Python is still starting and may respond to signals in any way
_SHORTER = 0.8
_ROUNDS = 6  # largest number of kills before a build is allowed to finish


@dataclass
class Outcome:
    """Result of a campaign. killed: number of kills by signal, or "worker"; wrong: errors."""

    killed: Counter[str] = field(default_factory=Counter)
    trees: int = 0
    finished: int = 0
    races: int = 0
    updates: int = 0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(self.killed.items()))
        return (
            f"{sum(self.killed.values())} kills ({kinds}), {self.finished} came too late; "
            f"{self.races} times two at once; {self.trees} trees compared, {self.updates} of them "
            "updates; "
            f"slowest stop {self.slowest:.2f} s; "
            f"{len(self.wrong)} faults"
        )


@dataclass(frozen=True)
class Campaign:
    """Builds `inputs` in a folder of its own, with an engine.

    starts: what builds are begun upon: nothing (None), or a survey that is to be updated.
    """

    inputs: Path
    folder: Path
    engine: str = "threads"
    options: tuple[str, ...] = ()
    starts: tuple[Path | None, ...] = (None,)

    def run(self, kills: int, seed: int, told: Callable[[str], None] = lambda _: None) -> Outcome:
        """Kill builds; every few kills, let the build finish and compare the result."""
        rng, outcome = random.Random(seed), Outcome()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        started = time.monotonic()
        self._finish(self.folder / "truth" / "out", outcome)
        # seconds of a build by what it is begun upon
        lengths: dict[Path | None, float] = {None: time.monotonic() - started}
        truth = tree(self.folder / "truth" / "out")
        out = self.folder / "out"
        while sum(outcome.killed.values()) < kills and len(outcome.wrong) < 5:
            start = rng.choice(self.starts)
            if start is not None:
                shutil.copytree(start, out)
                outcome.updates += 1
            span = lengths.get(start, _SHORTER * lengths[None])
            for number in range(rng.randint(1, _ROUNDS)):
                # half of a build is the start of Python
                after = rng.uniform(0.0 if rng.random() < 0.2 else 0.4, 1.0) * span
                started = time.monotonic()
                if not self._kill(out, after, rng, outcome):
                    if number == 0:
                        lengths[start] = time.monotonic() - started
                    break
                span *= _SHORTER  # the rest of a build
            if rng.random() < 0.2:
                self._race(out, outcome)
            self._finish(out, outcome)
            outcome.trees += 1
            outcome.wrong += differences(truth, tree(out))
            self._check(out, outcome)
            shutil.rmtree(out, ignore_errors=True)
            told("\n".join([str(outcome), *outcome.wrong]))
        return outcome

    def _start(self, out: Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "hipsgen", "build", str(self.inputs), "-o", str(out)]
        return subprocess.Popen(
            [*command, "--engine", self.engine, "--workers", "2", *self.options],
            env=quiet(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _kill(self, out: Path, after: float, rng: random.Random, outcome: Outcome) -> bool:
        """Kill the build; return whether it was still running."""
        how = rng.choice(SIGNALS)
        worker = self.engine == "processes" and rng.random() < 0.3
        process = self._start(out)
        try:
            said, _ = process.communicate(timeout=after)
            outcome.finished += 1
            if process.returncode:
                outcome.wrong.append(f"ended by itself with {process.returncode}: {said}")
            return False
        except subprocess.TimeoutExpired:
            pass
        children = workers_of(process.pid) if worker else []
        if children:
            os.kill(rng.choice(children), signal.SIGKILL)
            outcome.killed["worker"] += 1
            process.communicate(timeout=60)
            return True
        sent = time.monotonic()
        process.send_signal(how)
        outcome.killed[how.name] += 1
        said, _ = process.communicate(timeout=60)
        took = time.monotonic() - sent
        if how is not signal.SIGKILL and process.returncode != 0:
            outcome.slowest = max(outcome.slowest, took)
            if took > TIMEOUT:
                outcome.wrong.append(f"{how.name} took {took:.1f} s: {said}")
            if after < _BEGINNING:
                return True
            begun = ", order " in said
            words = "rerun the same command to resume" if begun else "hipsgen: stopped"
            if words not in said and process.returncode != -how:
                outcome.wrong.append(f"{how.name} after {after:.2f} s: {said!r}")
            if "Traceback" in said:
                outcome.wrong.append(f"{how.name} after {after:.2f} s: {said}")
        deadline = time.monotonic() + TIMEOUT
        while (left := workers_of(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        outcome.wrong += [f"{how.name} left worker {child}" for child in left]
        return True

    def _race(self, out: Path, outcome: Outcome) -> None:
        """Run two builds of one folder at the same time: neither may damage the other's result."""
        outcome.races += 1
        both = [self._start(out), self._start(out)]
        for process in both:
            said, _ = process.communicate(timeout=120)
            if "Traceback" in said:
                outcome.wrong.append(f"of two at once one said: {said}")

    def _finish(self, out: Path, outcome: Outcome) -> None:
        process = self._start(out)
        said, _ = process.communicate(timeout=120)
        if process.returncode:
            outcome.wrong.append(f"did not finish: {said}")

    def _check(self, out: Path, outcome: Outcome) -> None:
        found = check_survey(out, CheckOptions(deep=True))
        outcome.wrong += [str(finding) for finding in found if finding.level != "note"]


def quiet() -> dict[str, str]:
    """The environment of builds whose dates do not differ."""
    return {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}


def tree(out: Path) -> dict[str, str]:
    """Hashes of all files but the journal's; temporary files anywhere count."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
        and (".hipsgen" not in path.relative_to(out).parts or path.name.endswith(".part"))
    }


def differences(truth: dict[str, str], found: dict[str, str]) -> list[str]:
    """Return the files that are missing, superfluous or different."""
    return [
        f"{name}: {'missing' if name not in found else 'another' if name in truth else 'too many'}"
        for name in sorted(truth.keys() | found.keys())
        if truth.get(name) != found.get(name)
    ][:5]


def workers_of(pid: int) -> list[int]:
    """Return the processes of the group that `pid` leads."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(words[2]) == pid and int(place.name) != pid and words[0] != "Z":
            found.append(int(place.name))
    return found

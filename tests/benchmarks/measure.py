"""Run a command, or a piece of code, and say what it cost."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Cost:
    """cpu: user and system seconds, of all threads and children; wall: seconds; peak: bytes."""

    cpu: float
    wall: float
    peak: int


def run(command: Sequence[str], cwd: Path, log: Path | None = None) -> Cost:
    """The cost of a command. Raises CalledProcessError when it fails."""
    with open(log or os.devnull, "ab") as output:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024)


def middle(costs: Sequence[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(
        median(c.cpu for c in costs),
        median(c.wall for c in costs),
        int(median(c.peak for c in costs)),
    )


def cpu_of(work: Callable[[], object], repeats: int = 7) -> float:
    """CPU seconds of this thread for a piece of code: the median, after a first call to warm up."""
    work()
    found = []
    for _ in range(repeats):
        started = time.thread_time()
        work()
        found.append(time.thread_time() - started)
    return median(found)

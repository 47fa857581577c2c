"""Run a command, or a piece of code, and say what it cost."""

import json
import os
import subprocess
import sys
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


# a process begins with the peak memory of the one that starts it: so a small one does
_STARTER = """
import json, os, subprocess, sys, time
started = time.monotonic()
with open(sys.argv[1], "ab") as output:
    process = subprocess.Popen(sys.argv[2:], stdout=output, stderr=output)
    _, status, usage = os.wait4(process.pid, 0)
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([status, cpu, time.monotonic() - started, usage.ru_maxrss * 1024]))
"""


def run(command: Sequence[str], cwd: Path, log: Path | None = None) -> Cost:
    """The cost of a command. Raises CalledProcessError when it fails."""
    starter = [sys.executable, "-S", "-c", _STARTER, str(log or os.devnull), *command]
    done = subprocess.run(starter, cwd=cwd, stdout=subprocess.PIPE, check=True)
    status, cpu, wall, peak = json.loads(done.stdout)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
    return Cost(cpu, wall, peak)


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

"""Run Python code in a process with limits on time and memory."""

import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_bounded(
    *command: str | Path, memory: int = 2 << 30, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments; subprocess.TimeoutExpired after some seconds.

    memory: bytes of address space.
    """
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)),
    )


def outcomes(code: str, *arguments: str | Path, memory: int = 2 << 30) -> dict[str, str]:
    """Run code that prints lines of a name, a tab and an outcome; return the outcomes by name."""
    ran = run_bounded("-W", "ignore", "-c", code, *arguments, memory=memory)
    assert ran.returncode == 0, ran.stderr
    return dict(line.split("\t", 1) for line in ran.stdout.splitlines())

"""`python -m tests.benchmarks.serving`: tiles by `hipsgen serve` and by nginx, both asked by wrk.

The same files, one server after the other, in turns, on the machine that wrk runs on, too. Needs
nginx and wrk.
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.viewer.serving import free_port
from tests.viewer.small_hips import make_survey

TILES = 64  # so that all of them stay in memory
KINDS = {"fits": 1_054_080, "png": 30_000}
WORKERS = 4
CONNECTIONS = 200
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Asked:
    """What wrk tells. rate: answers a second. p99: milliseconds. refused: errors of any kind."""

    rate: float
    p99: float
    refused: int


def make_tiles(root: Path) -> None:
    """A survey whose tiles are bytes that nobody looks at."""
    folder = make_survey(root / "band_g")
    tiles = folder / "Norder3" / "Dir0"
    tiles.mkdir(parents=True, exist_ok=True)
    for ending, size in KINDS.items():
        for npix in range(TILES):
            (tiles / f"Npix{npix}.{ending}").write_bytes(os.urandom(size))


@contextmanager
def hipsgen(root: Path, log: Path) -> Iterator[tuple[str, int]]:
    """Address of the folder of tiles, and the process."""
    command = [sys.executable, "-m", "hipsgen", "serve", root, "--port", 0, "--workers", WORKERS]
    with log.open("wb") as errors:
        running = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert running.stdout
    url = running.stdout.readline().split()[0]
    try:
        yield f"{url}hips/band_g/Norder3/Dir0", running.pid
    finally:
        running.terminate()
        running.wait(10)


@contextmanager
def nginx(root: Path, scratch: Path) -> Iterator[tuple[str, int]]:
    """The same of nginx, with as many processes."""
    port = free_port()
    path = scratch / "nginx.conf"
    path.write_text(
        f"""daemon off; worker_processes {WORKERS}; pid {scratch}/nginx.pid; user root;
        error_log {scratch}/error.log; worker_rlimit_nofile 4096; events {{}}
        http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
        server {{ listen 127.0.0.1:{port} backlog=511; root {root}; etag on;
        add_header Access-Control-Allow-Origin *; add_header X-Content-Type-BuildOptions nosniff;
        types {{ application/fits fits; image/png png; }} }} }}"""
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    running = subprocess.Popen([program, "-p", str(scratch), "-c", str(path)])
    time.sleep(1)
    try:
        yield f"http://127.0.0.1:{port}/band_g/Norder3/Dir0", running.pid
    finally:
        running.terminate()
        running.wait(10)


def ask(url: str, ending: str, seconds: int, scratch: Path) -> Asked:
    """All tiles of a kind, one after the other, by many connections."""
    script = scratch / "tiles.lua"
    script.write_text(
        f"""local path, k = "{url.split("/", 3)[3]}", 0
        request = function()
            k = (k + 1) % {TILES}
            return wrk.format("GET", "/" .. path .. "/Npix" .. k .. ".{ending}")
        end"""
    )
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
    done = subprocess.run(
        [*command, "-s", str(script), url], check=True, capture_output=True, text=True
    ).stdout
    value, unit = re.search(r"99%\s+([\d.]+)(\w+)", done).groups()  # type: ignore[union-attr]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1])  # type: ignore[index]
    failed = [int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", done)]
    failed += [int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", done)]
    return Asked(rate, float(value) * _UNITS[unit], sum(failed))


def memory(pid: int) -> float:
    """MB of a process and its children that are their own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for one in (str(pid), *children):
        text = Path(f"/proc/{one}/smaps_rollup").read_text()
        total += sum(int(n) for n in re.findall(r"Private_\w+:\s+(\d+) kB", text))
    return total / 1024


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        (scratch / "sky").mkdir()
        make_tiles(scratch / "sky")
        with (
            hipsgen(scratch / "sky", scratch / "log") as (ours, pid),
            nginx(scratch / "sky", scratch) as (theirs, _),
        ):
            print("| tiles | server | answers/s | MB/s | p99, ms | errors |")
            print("|---|---|---:|---:|---:|---:|")
            for ending, size in KINDS.items():
                ask(ours, ending, 2, scratch)
                before = memory(pid)
                found: dict[str, list[Asked]] = {"hipsgen": [], "nginx": []}
                for _ in range(given.rounds):
                    found["hipsgen"].append(ask(ours, ending, given.seconds, scratch))
                    found["nginx"].append(ask(theirs, ending, given.seconds, scratch))
                rates = {}
                for name, asked in found.items():
                    rate = rates[name] = statistics.median(one.rate for one in asked)
                    p99 = statistics.median(one.p99 for one in asked)
                    print(
                        f"| {ending}, {size / 1e6:.2f} MB | {name} | {rate:.0f} |"
                        f" {rate * size / 1e6:.0f} | {p99:.0f} | {sum(a.refused for a in asked)} |"
                    )
                share = rates["hipsgen"] / rates["nginx"]
                print(f"| | share of nginx | {share:.2f} | | | |")
                after = memory(pid)
                print(f"| | memory of hipsgen | {before:.0f} to {after:.0f} MB | | | |")
        print(f"{WORKERS} processes each, {CONNECTIONS} connections, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()

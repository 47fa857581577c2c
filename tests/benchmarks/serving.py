"""`python -m tests.benchmarks.serving`: tiles by the viewer and by nginx, both asked by wrk.

Needs nginx and wrk, which run on the same machine. Each server is measured in turns with nginx, in
several rounds, and compared with nginx's rate just before and after: others may use the machine.
For the same reason there is the CPU time for an answer, in the kernel and outside, and what share
of nginx's rate follows from it and from wrk's own on a machine that does nothing else.
With --candidates also other servers that could stand in place of ours (`candidates.py`); those
that are not installed are left out.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.candidates import ROOT, WORKERS, commands
from tests.viewer.serving import free_port
from tests.viewer.small_hips import make_survey

TILES = 64  # so that all of them stay in memory
KINDS = {"fits": 1_054_080, "png": 30_000}
CONNECTIONS = 200
FOLDER = "hips/band_g/Norder3/Dir0"
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Asked:
    """What wrk tells. rate: answers a second. p99: milliseconds. failed: errors of any kind.

    cost, of_wrk: CPU time of the server and of wrk for an answer, in microseconds.
    """

    rate: float
    p99: float
    failed: int
    cost: float
    of_wrk: float

    @property
    def total(self) -> float:
        """What limits the rate when nothing else runs."""
        return self.cost + self.of_wrk


@dataclass(frozen=True)
class Server:
    """One that is running."""

    pid: int
    port: int


@dataclass(frozen=True)
class Measured:
    """Of one round: a server, and nginx before and after it."""

    server: Asked
    before: Asked
    after: Asked

    @property
    def share(self) -> float:
        """Of nginx's rate."""
        return 2 * self.server.rate / (self.before.rate + self.after.rate)

    @property
    def share_by_cost(self) -> float:
        """Of the rate that nginx would have if nothing else ran."""
        return (self.before.total + self.after.total) / (2 * self.server.total)


def make_tiles(root: Path) -> None:
    """A survey whose tiles are bytes that nobody looks at."""
    tiles = root / FOLDER
    make_survey(tiles.parent.parent)
    tiles.mkdir(parents=True, exist_ok=True)
    for ending, size in KINDS.items():
        for npix in range(TILES):
            (tiles / f"Npix{npix}.{ending}").write_bytes(os.urandom(size))


@contextmanager
def running(command: Sequence[str], port: int, root: Path, log: Path) -> Iterator[int]:
    """A server that answers; the number of its first process."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, env={**os.environ, ROOT: str(root)}, stdout=errors, stderr=errors
        )
    try:
        _await(port, process, log)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(2)  # its other processes
                return
        time.sleep(0.1)
    raise SystemExit(f"{process.args!r} does not respond: {log.read_text()[-500:]}")


def nginx_command(root: Path, port: int, scratch: Path) -> Sequence[str]:
    """Of nginx, with as many processes."""
    path = scratch / "nginx.conf"
    path.write_text(
        f"""daemon off; worker_processes {WORKERS}; pid {scratch}/nginx.pid; user root;
        error_log {scratch}/error.log; worker_rlimit_nofile 4096; events {{}}
        http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
        server {{ listen 127.0.0.1:{port} backlog=511; root {root}; etag on;
        add_header Access-Control-Allow-Origin *; add_header X-Content-Type-Options nosniff;
        types {{ application/fits fits; image/png png; }} }} }}"""
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return program, "-p", str(scratch), "-c", str(path)


def ask(server: Server, ending: str, seconds: float, scratch: Path) -> Asked:
    """All tiles of a kind, one after the other, by many connections."""
    script = scratch / "tiles.lua"
    script.write_text(
        f"""local k = 0
        request = function()
            k = (k + 1) % {TILES}
            return wrk.format("GET", "/{FOLDER}/Npix" .. k .. ".{ending}")
        end"""
    )
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
    before, wrk_before = processor_time(server.pid), os.times()
    done = subprocess.run(
        [*command, "-s", str(script), f"http://127.0.0.1:{server.port}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    spent, now = processor_time(server.pid) - before, os.times()
    of_wrk = sum(now[2:4]) - sum(wrk_before[2:4])
    value, unit = re.search(r"99%\s+([\d.]+)(\w+)", done).groups()  # type: ignore[union-attr]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1])  # type: ignore[index]
    answers = max(int(re.search(r"(\d+) requests in", done)[1]), 1)  # type: ignore[index]
    failed = [int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", done)]
    failed += [int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", done)]
    p99 = float(value) * _UNITS[unit]
    return Asked(rate, p99, sum(failed), 1e6 * spent / answers, 1e6 * of_wrk / answers)


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def processor_time(pid: int) -> float:
    """Seconds that a process and its children have had."""
    ticks = 0
    for one in family(pid):
        words = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MB of a process and its children that are their own."""
    total = 0
    for one in family(pid):
        text = Path(f"/proc/{one}/smaps_rollup").read_text()
        total += sum(int(n) for n in re.findall(r"Private_\w+:\s+(\d+) kB", text))
    return total / 1024


def one_round(
    servers: Sequence[Server], nginx: Server, ending: str, seconds: int, scratch: Path
) -> list[Measured]:
    """Each server once, and nginx between them."""
    found, before = [], ask(nginx, ending, seconds, scratch)
    for server in servers:
        asked = ask(server, ending, seconds, scratch)
        after = ask(nginx, ending, seconds, scratch)
        found.append(Measured(asked, before, after))
        before = after
    return found


def line(kind: str, name: str, rounds: Sequence[Measured], grown: str) -> str:
    """Medians of the rounds."""
    rate, nginx, p99, cost, by_cost = (
        statistics.median(values)
        for values in (
            [one.server.rate for one in rounds],
            [one.after.rate for one in rounds],
            [one.server.p99 for one in rounds],
            [one.server.cost for one in rounds],
            [one.share_by_cost for one in rounds],
        )
    )
    shares = sorted(one.share for one in rounds)
    failed = sum(one.server.failed for one in rounds)
    return (
        f"| {kind} | {name} | {rate:.0f} | {nginx:.0f} | {statistics.median(shares):.2f}"
        f" ({shares[0]:.2f} to {shares[-1]:.2f}) | {cost:.0f} | {by_cost:.2f} | {p99:.0f} |"
        f" {failed} | {grown} |"
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--candidates", action="store_true", help="also servers in place of ours")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scratch = Path(folder)
        make_tiles(scratch / "sky")

        def start(command: Sequence[str], port: int) -> Server:
            log = scratch / f"log{port}"
            pid = stack.enter_context(running(command, port, scratch / "sky", log))
            return Server(pid, port)

        servers = {}
        for name, command in commands(given.candidates).items():
            port = free_port()
            servers[name] = start([word.replace("PORT", str(port)) for word in command], port)
        port = free_port()
        nginx = start(nginx_command(scratch / "sky", port, scratch), port)
        print("| tiles | server | answers/s | nginx | share of nginx | CPU, µs an answer |"
              " share by CPU | p99, ms | errors | MB |")  # fmt: skip
        print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
        for ending, size in KINDS.items():
            for one in (*servers.values(), nginx):
                ask(one, ending, 1, scratch)
            before = {name: memory(one.pid) for name, one in servers.items()}
            rounds = [
                one_round([*servers.values()], nginx, ending, given.seconds, scratch)
                for _ in range(given.rounds)
            ]
            for (name, one), *found in zip(servers.items(), *rounds, strict=True):
                grown = f"{before[name]:.0f} to {memory(one.pid):.0f}"
                print(line(f"{ending}, {size / 1e6:.2f} MB", name, found, grown), flush=True)
    print(f"{WORKERS} processes each, {CONNECTIONS} connections, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()

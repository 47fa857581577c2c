"""Several worker processes on one port: start, replacement and stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.viewer.serving import Process, state
from tests.viewer.small_hips import FACE, make_survey
from viewer.http.files import is_cached

pytestmark = pytest.mark.slow

COUNT = 3
TILE = f"hips/band_g/Norder0/Dir0/Npix{FACE}.fits"
# 2 s are promised; the rest allows for a busy machine
SOON = 2.0 + 2.0


@pytest.fixture
def server(root, tmp_path):
    with Process(root, tmp_path / "log", {"workers": COUNT}) as running:
        assert until(lambda: len(running.workers()) == COUNT)
        yield running


def until(is_so: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait for a condition; return whether it became true."""
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(is_so())


def is_well(server: Process) -> bool:
    return httpx.get(f"{server.url}hips/band_g/properties").status_code == 200


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if state(pid) not in ("Z", "")]


def is_free(port: int) -> bool:
    with socket.socket() as other:
        return other.connect_ex(("127.0.0.1", port)) != 0


def bytes_read(pid: int) -> int:
    return count(pid, "rchar")


def count(pid: int, key: str) -> int:
    """Return a counter of /proc/PID/io: `rchar` for all bytes read, `read_bytes` for the disk."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def test_all_of_them_answer(server):
    assert is_well(server)
    before = {pid: bytes_read(pid) for pid in server.workers()}

    def ask(_: int) -> int:
        with httpx.Client(base_url=server.url) as client:
            return sum(client.get(TILE).status_code == 200 for _ in range(100))

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(ask, range(24))) == 2400
    assert all(bytes_read(pid) > before[pid] + 10 * 65536 for pid in server.workers())
    assert server.complaints() == ""


def test_what_one_has_read_from_the_disk_the_others_need_not_read(tmp_path):
    survey = make_survey(tmp_path / "root" / "band_g")
    moc, size = survey / "Moc.fits", 8 << 20
    moc.write_bytes(os.urandom(size))
    with moc.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if is_cached(file, 0, size):
            pytest.skip("this file system keeps all in memory")
        with Process(tmp_path / "root", tmp_path / "log", {"workers": COUNT}) as server:
            assert until(lambda: len(server.workers()) == COUNT)
            url = f"{server.url}hips/band_g/Moc.fits"
            with ThreadPoolExecutor(6) as pool:
                before = [count(pid, "read_bytes") for pid in server.workers()]
                httpx.get(url)
                assert is_cached(file, 0, size)
                bodies = list(pool.map(lambda _: httpx.get(url).content, range(24)))
                after = [count(pid, "read_bytes") for pid in server.workers()]
    assert all(body == moc.read_bytes() for body in bodies)
    assert sum(after) - sum(before) < size + size // 2


KEEPER_OF_A_FOLDER = """
import asyncio, os, secrets, sys
from pathlib import Path
from viewer.http.workers import supervise
from viewer.server import bind_socket, make_server

folder, most, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

async def app(scope, receive, send):
    place = folder / scope["path"][1:]
    try:
        body = place.read_bytes()
    except FileNotFoundError:
        body = place.name.encode() * 5000
        part = folder / f"{place.name}.{secrets.token_hex(8)}.part"
        part.write_bytes(body)
        await asyncio.sleep(0.001)
        part.replace(place)
        for old in sorted(folder.glob("tile-*[0-9]"))[most:]:
            old.unlink(missing_ok=True)
    headers = [(b"content-length", b"%d" % len(body)), (b"x-process", b"%d" % os.getpid())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

with bind_socket("127.0.0.1", 0) as listening:
    print(listening.getsockname()[1], flush=True)
    supervise(workers, lambda: make_server(app).run(sockets=[listening]))
"""


def test_they_share_a_port_and_a_folder_of_bounded_size(tmp_path):
    """Workers share files that one of them has written, and serve no partial file."""
    folder, most = tmp_path / "cache", 20
    folder.mkdir()
    words = [sys.executable, "-c", KEEPER_OF_A_FOLDER, str(folder), str(most), str(COUNT)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout
        url = f"http://127.0.0.1:{int(keeper.stdout.readline())}"

        def ask(turn: int) -> str:
            found = set()
            with httpx.Client(base_url=url) as client:
                for k in range(60):
                    name = f"tile-{(k * 7 + turn) % 60}"
                    answer = client.get(name)
                    assert answer.content == name.encode() * 5000
                    found.add(answer.headers["x-process"])
            return found.pop()

        try:
            with ThreadPoolExecutor(8) as pool:
                processes = set(pool.map(ask, range(32)))
        finally:
            keeper.terminate()
            keeper.wait(10)
    assert len(processes) == COUNT
    assert 0 < len(list(folder.iterdir())) <= most + COUNT


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_one_that_ends_is_replaced(server, number):
    first = server.workers()
    time.sleep(1)
    os.kill(first[1], number)
    assert until(lambda: len(set(server.workers()) - {first[1]}) == COUNT)
    assert set(first) - {first[1]} < set(server.workers())
    assert until(lambda: server.zombies() == [])
    assert all(is_well(server) for _ in range(20))
    said = f"process {first[1]} ended ({signal.Signals(number).name}): starting a replacement\n"
    assert server.complaints() == said


def test_when_all_are_killed_others_come(server):
    for _ in range(2):
        time.sleep(1)
        killed = server.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert until(lambda killed=killed: len(set(server.workers()) - set(killed)) == COUNT)
        assert is_well(server)
    assert server.zombies() == []


def test_one_that_came_later_calls_surveys_as_the_others_do(tmp_path):
    root = tmp_path / "root"
    make_survey(root / "run1" / "band_g", obs_title="first")
    with Process(root, tmp_path / "log", {"workers": COUNT}) as server:
        assert until(lambda: len(server.workers()) == COUNT)
        # with the same name, and earlier in the list than the other
        make_survey(root / "run0" / "band_g", obs_title="second")
        time.sleep(2.1)
        killed = server.workers()[0]
        os.kill(killed, signal.SIGKILL)
        assert until(lambda: len(set(server.workers()) - {killed}) == COUNT)
        for _ in range(30):
            told = {
                one["name"]: one["title"] for one in httpx.get(f"{server.url}api/surveys").json()
            }
            assert told == {"band_g": "first", "run0-band_g": "second"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_all_end(server, number):
    workers = server.workers()
    # one idle client, and one that has just connected
    with httpx.Client(base_url=server.url) as client:
        assert client.get("hips/list").status_code == 200
        start = time.monotonic()
        os.kill(server.pid, number)
        assert server.wait() == -number
    assert time.monotonic() < start + SOON
    assert alive(workers) == []
    assert is_free(server.port)


def test_ctrl_c_reaches_all_of_a_terminal_at_once(root, tmp_path):
    options = {"start_new_session": True}
    with Process(root, tmp_path / "log", {"workers": COUNT}, **options) as server:
        assert until(lambda: len(server.workers()) == COUNT)
        workers = server.workers()
        assert is_well(server)
        start = time.monotonic()
        os.killpg(server.pid, signal.SIGINT)
        server.wait()
        assert time.monotonic() < start + SOON
        assert alive(workers) == []
        told = server.complaints()
        assert "starting a replacement" not in told
        assert told.count("Traceback") <= 1  # of the supervisor itself; the command handles it


def test_stopping_does_not_wait_for_who_does_not_listen(tmp_path):
    """With a stalled client, and with a stopped worker."""
    survey = make_survey(tmp_path / "band_g")
    os.truncate(survey / "Moc.fits", 1 << 30)
    with Process(survey, tmp_path / "log", {"workers": COUNT}) as server:
        assert until(lambda: len(server.workers()) == COUNT)
        workers = server.workers()
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(b"GET /hips/band_g/Moc.fits HTTP/1.1\r\nHost: here\r\n\r\n")
        assert client.recv(100)
        os.kill(workers[0], signal.SIGSTOP)
        start = time.monotonic()
        server.stop()
        assert time.monotonic() < start + SOON
        assert alive(workers) == []
        client.close()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_does_not_wait_for_an_answer_that_is_worked_on(root, tmp_path, workers, number):
    program = (
        "import sys, time, viewer.app, viewer.server\n"
        "viewer.app.hips_list = lambda *_: time.sleep(60)\n"
        f"viewer.server.serve([sys.argv[1]], port=0, workers={workers})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout
        url = httpx.URL(running.stdout.readline().split()[0])
        with socket.create_connection((url.host, url.port or 0)) as client:
            client.sendall(b"GET /hips/list HTTP/1.1\r\nHost: here\r\n\r\n")
            time.sleep(0.5)
            start = time.monotonic()
            running.send_signal(number)
            # its workers hold the other end of the pipe, too
            running.communicate(timeout=20)
    assert time.monotonic() < start + SOON


def test_workers_do_not_outlive_their_parent(server):
    workers = server.workers()
    time.sleep(1)
    # a replacement has the pipe, too
    os.kill(workers[0], signal.SIGKILL)
    assert until(lambda: len(set(server.workers()) - {workers[0]}) == COUNT)
    workers = server.workers()
    assert is_well(server)
    start = time.monotonic()
    os.kill(server.pid, signal.SIGKILL)
    assert until(lambda: alive(workers) == [], SOON)
    assert time.monotonic() < start + SOON
    assert is_free(server.port)


def test_work_that_always_fails_is_not_begun_all_the_time(tmp_path):
    log = tmp_path / "begun"
    program = (
        "import os, sys\nfrom viewer.http.workers import supervise\n"
        "def work():\n    os.write(os.open(sys.argv[1], 1025), b'x')\n    os._exit(3)\n"
        "supervise(2, work)"
    )
    log.write_text("")
    keeper = subprocess.Popen(
        [sys.executable, "-c", program, str(log)], stderr=subprocess.PIPE, text=True
    )
    time.sleep(3.5)
    assert 4 <= len(log.read_text()) <= 10
    start = time.monotonic()
    keeper.terminate()
    _, told = keeper.communicate(timeout=20)
    assert time.monotonic() < start + SOON
    assert "ended (exit code 3): starting a replacement" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command(root, number):
    command = [sys.executable, "-m", "hipsgen", "serve", str(root), "--port", "0"]
    running = subprocess.Popen(
        [*command, "--workers", "2", "--read-only", "--token", "long-enough-token"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout
    url = running.stdout.readline().split()[0]
    bearer = {"authorization": "Bearer long-enough-token"}
    assert httpx.get(f"{url}api/surveys").status_code == 401
    assert httpx.get(f"{url}api/flags", headers=bearer).json()["read_only"] is True
    start = time.monotonic()
    running.send_signal(number)
    _, told = running.communicate(timeout=20)
    assert time.monotonic() < start + SOON
    assert (running.returncode, told) == (0, "")


def test_the_command_takes_its_token_from_the_environment(root):
    command = [sys.executable, "-m", "hipsgen", "serve", str(root), "--port", "0"]
    for token in ("", "short"):
        ended = subprocess.run(
            command,
            env={**os.environ, "HIPSGEN_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 2
        assert ended.stderr.startswith("hipsgen: --token (or HIPSGEN_TOKEN) of ")
        assert ended.stderr.count("\n") == 1
    with subprocess.Popen(
        command,
        env={**os.environ, "HIPSGEN_TOKEN": "long-enough-token"},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout
        url = running.stdout.readline().split()[0]
        assert httpx.get(url).status_code == 401
        running.terminate()

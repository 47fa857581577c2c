"""Clients that disconnect, stall or send malformed requests leave no resources behind."""

import asyncio
import contextlib
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.viewer.serving import Process, Wire, complaints, served, served_app
from tests.viewer.small_hips import make_survey
from viewer.http import protocol

TILE, BIG = "/hips/band_g/Norder3/Dir0/Npix1.fits", "/hips/band_g/Moc.fits"
SIZE = 1 << 20
REQUEST = f"GET {TILE} HTTP/1.1\r\nHost: here\r\n\r\n".encode()
AT_ONCE = 50


@pytest.fixture(scope="module")
def surveys(tmp_path_factory) -> Path:
    """A survey with a tile of 1 MB, and a sparse MOC of 1 GB."""
    root = tmp_path_factory.mktemp("root")
    survey = make_survey(root / "band_g")
    (survey / TILE.removeprefix("/hips/band_g/")).write_bytes(os.urandom(SIZE))
    os.truncate(survey / "Moc.fits", 1 << 30)
    return root


@pytest.fixture
def server(surveys, tmp_path) -> Iterator[Process]:
    # tiles in memory go back to the system at once, not into pools that each thread keeps
    at_once = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    with Process(surveys, tmp_path / "log", env=at_once) as running:
        yield running


def connect(port: int, said: bytes) -> socket.socket:
    """A client with a small receive buffer, so that a tile does not fit into it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    client.settimeout(20)
    client.connect(("127.0.0.1", port))
    client.sendall(said)
    return client


def drop(client: socket.socket, rudely: bool) -> None:
    """Close a connection; rudely: with a TCP reset."""
    if rudely:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def come_and_leave(port: int, times: int) -> None:
    """Connect clients and drop them: two of three during a response, one during its request."""
    for _ in range(times // AT_ONCE):
        clients = [connect(port, REQUEST[: 20 if i % 3 == 0 else None]) for i in range(AT_ONCE)]
        for i, client in enumerate(clients):
            assert i % 3 == 0 or client.recv(1 << 12).startswith(b"HTTP/1.1 200")
            drop(client, rudely=bool(i % 2))


def within(seconds: float, is_so: Callable[[], bool]) -> bool:
    """Wait for a condition; return whether it became true."""
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.05)
    return is_so()


def is_well(port: int) -> bool:
    wire = Wire(port)
    answer, body = wire.get(TILE)
    wire.close()
    return answer.status == 200 and len(body) == SIZE


@pytest.mark.slow
def test_thousands_that_drop_their_connections_leave_nothing_behind(server):
    come_and_leave(server.port, 2000)
    assert is_well(server.port)
    files, threads, memory = server.open_files(), server.threads(), server.memory()
    come_and_leave(server.port, 6000)
    assert is_well(server.port)
    assert within(5, lambda: server.open_files() <= files + 2)
    assert server.threads() <= threads + 10
    assert server.memory() <= memory + (20 << 20)
    server.stop()
    assert server.complaints() == ""


def test_requests_without_end_wait_where_they_come_from(server):
    """One client pipelines without end: memory is bounded, and other clients are served."""
    assert is_well(server.port)
    before, end = server.memory(), time.monotonic() + 3
    asked = b"GET /nowhere HTTP/1.1\r\n\r\n" * 2000
    with socket.create_connection(("127.0.0.1", server.port), 20) as client:

        def ask() -> None:
            with contextlib.suppress(OSError):
                while time.monotonic() < end:
                    client.sendall(asked)

        threading.Thread(target=ask, daemon=True).start()
        told = 0
        while time.monotonic() < end:
            told += len(client.recv(1 << 18))
        assert told > 1 << 20
        start = time.monotonic()
        assert is_well(server.port)
        assert time.monotonic() < start + 1
        assert server.memory() <= before + (20 << 20)


def test_files_are_not_read_for_clients_that_left(server):
    before = server.bytes_read()
    for _ in range(10):
        client = connect(server.port, REQUEST.replace(TILE.encode(), BIG.encode()))
        assert client.recv(100)
        drop(client, rudely=True)
    assert is_well(server.port)
    assert server.bytes_read() - before < 200 << 20


def test_more_clients_than_a_process_may_have_files(surveys, tmp_path):
    """More than the usual soft limit are served; at the hard one it is said that it is for now."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 96))

    with Process(surveys, tmp_path / "log", preexec_fn=limited) as server:
        idle = [connect(server.port, b"") for _ in range(60)]
        assert is_well(server.port)
        wire = Wire(server.port)
        assert wire.get(TILE)[0].status == 200
        idle += [connect(server.port, b"") for _ in range(60)]
        assert within(5, lambda: server.open_files() == 96)
        assert wire.get(TILE)[0].status == 503
        said = server.complaints()
        assert said.count("new connections must wait: Too many open files") == 1
        assert "Traceback" not in said
        for client in idle:
            client.close()
        assert within(5, lambda: wire.get(TILE)[0].status == 200)
        wire.close()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: here\r\n",
        b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n12",
    ],
)
def test_unfinished_requests_time_out(said, surveys, monkeypatch):
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT", 1.0)
    with served(surveys) as port:
        client = connect(port, said)
        start = time.monotonic()
        # a byte now and then does not help
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < start + 5:
                client.settimeout(0.3)
                with contextlib.suppress(TimeoutError):
                    if not client.recv(1 << 16):
                        break
                client.sendall(b"x")
        assert time.monotonic() < start + 3
        client.close()


def test_stalled_clients_are_disconnected_and_slow_ones_are_not(surveys, monkeypatch):
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 2.0)
    with served(surveys) as port:
        assert is_well(port)
        before = len(os.listdir("/proc/self/fd"))
        big = REQUEST.replace(TILE.encode(), BIG.encode())
        idle = [connect(port, big) for _ in range(20)]
        slow = connect(port, REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        got = b""
        while piece := slow.recv(1 << 15):
            got += piece
            time.sleep(0.05)
        assert len(got) > SIZE
        slow.close()
        # one who always waits for what comes next
        slow = connect(port, big)
        start, got = time.monotonic(), 0
        while time.monotonic() < start + 5:
            piece = slow.recv(1 << 12)
            assert piece
            got += len(piece)
            time.sleep(0.02)
        slow.close()
        # what is left is the clients' own ends
        assert within(10, lambda: len(os.listdir("/proc/self/fd")) <= before + len(idle))
        for client in idle:
            client.close()


@pytest.mark.parametrize("path", ["/nowhere", "/api/coadds", "/hips/list", TILE, BIG])
@pytest.mark.parametrize("at_once", [b"", b"this is no length\r\n"])
def test_nonsense_in_the_midst_of_an_answer_ends_it_without_a_complaint(path, at_once, surveys):
    with served(surveys) as port, complaints() as told:
        asked = REQUEST.replace(TILE.encode(), path.encode())[:-2]
        client = connect(port, asked + b"Transfer-Encoding: chunked\r\n\r\n" + at_once)
        if not at_once:
            # when the answer has begun
            time.sleep(0.2)
            client.sendall(b"this is no length\r\n")
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := client.recv(1 << 16):
                got += piece
        client.close()
        assert got.startswith(b"HTTP/1.1 ")
        assert got.count(b"HTTP/1.1 ") == 1
        assert is_well(port)
    assert told == []


def test_stopping_does_not_wait_for_a_stalled_client(server):
    client = connect(server.port, REQUEST.replace(TILE.encode(), BIG.encode()))
    assert client.recv(100)
    start = time.monotonic()
    server.stop()
    assert time.monotonic() < start + 5
    assert "Traceback" not in server.complaints()
    client.close()


def close(client: socket.socket) -> None:
    client.close()


def reset(client: socket.socket) -> None:
    drop(client, rudely=True)


def send_no_more(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)


BODY = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n123456789"


@pytest.mark.parametrize("said", [REQUEST, BODY])
@pytest.mark.parametrize("leave", [close, reset, send_no_more])
def test_what_is_made_for_a_client_that_left_is_cancelled(said, leave):
    events = []

    async def make() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    async def app(scope, receive, send):
        events.append("begun")
        making = asyncio.ensure_future(make())
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
        making.cancel()
        await asyncio.wait([making])
        events.append(body)

    with complaints() as told, served_app(app) as port:
        client = connect(port, said)
        assert within(5, lambda: events == ["begun"])
        time.sleep(0.3)
        assert events == ["begun"]
        leave(client)
        # well before the time in which an answer may still be begun
        assert within(protocol.HALF_CLOSED_TIMEOUT / 2, lambda: len(events) == 3)
        client.close()
    assert events == ["begun", "cancelled", said.partition(b"\r\n\r\n")[2]]
    assert told == []


def test_an_application_that_sends_on_to_a_client_that_left_gets_an_error():
    raised = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
                await asyncio.sleep(0.01)
        except OSError as error:
            raised.append(error)
            raise

    with complaints() as told, served_app(app) as port:
        client = connect(port, REQUEST)
        assert client.recv(100)
        time.sleep(0.3)
        assert raised == []
        reset(client)
        assert within(2, lambda: len(raised) == 1)
    assert told == []

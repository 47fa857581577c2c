"""Large answers to clients that take them slowly: how much they may hold, and for how long."""

import socket
import threading
import time

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from tests.viewer.serving import PATIENCE, Wire, complaints
from viewer.http import limits
from viewer.http.limits import BusyError, ReadPool
from viewer.server import make_server, take_port

SIZE = 24 << 20  # more than the system keeps of an answer for a client
ROOM = 60 << 20


@pytest.fixture
def port():
    """A server of nothing but large answers, with room for two."""
    desk = ReadPool("answer", room=ROOM)

    async def large(request):
        try:
            return await desk.run_response(lambda: b"x" * SIZE)
        except BusyError:
            return Response(status_code=503)

    app = Starlette(routes=[Route("/", large)])
    with take_port("127.0.0.1", 0) as listening:
        server = make_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(PATIENCE)


def slow_client(port: int) -> socket.socket:
    """One that has asked, seen that there is an answer, and takes no more of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    client.connect(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert client.recv(15) == b"HTTP/1.1 200 OK"
    return client


def status(port: int) -> int:
    wire = Wire(port)
    answer, body = wire.get("/")
    wire.close()
    assert len(body) == (SIZE if answer.status == 200 else 0)
    return answer.status


def until(port: int, wanted: int) -> None:
    end = time.monotonic() + PATIENCE
    while status(port) != wanted:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_those_who_take_large_answers_slowly_hold_no_more_than_there_is_room_for(port):
    assert status(port) == 200
    slow = [slow_client(port) for _ in range(2)]
    assert status(port) == 503
    slow.pop().close()
    until(port, 200)
    slow.pop().close()


def test_one_who_takes_nothing_for_long_is_left(port, monkeypatch):
    monkeypatch.setattr(limits, "_SLOWEST", 0.3)
    slow = [slow_client(port) for _ in range(2)]
    until(port, 200)
    for client in slow:
        client.close()


def test_nobody_is_told_of_an_answer_that_was_taken(port):
    with complaints() as told:
        assert [status(port) for _ in range(5)] == [200] * 5
    assert told == []

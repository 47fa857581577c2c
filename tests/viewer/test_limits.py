"""Large responses to slow clients: limits on memory and time."""

import asyncio
import socket
import threading
import time
from contextlib import aclosing, suppress

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from tests.viewer.serving import TIMEOUT, Wire, complaints
from viewer.http import limits
from viewer.http.clients import current_client, remember_client
from viewer.http.limits import BusyError, Outcome, ReadPool
from viewer.server import bind_socket, make_server

SIZE = 24 << 20  # more than the system buffers for a client
ROOM = 90 << 20  # two thirds of it for one client


@pytest.fixture
def port():
    """Port of a server of large responses, with memory for two of a client."""
    pool = ReadPool("answer", max_unsent=ROOM)

    async def large(request):
        try:
            return await pool.run_response(lambda: b"x" * SIZE)
        except BusyError:
            return Response(status_code=503)

    app = Starlette(routes=[Route("/", large)])
    with bind_socket("127.0.0.1", 0) as listening:
        server = make_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(TIMEOUT)


def slow_client(port: int) -> socket.socket:
    """Return a client that has read the start of a response, then stalls."""
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
    end = time.monotonic() + TIMEOUT
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


def test_a_stalled_client_is_disconnected(port, monkeypatch):
    monkeypatch.setattr(limits, "_SEND_TIMEOUT", 0.3)
    slow = [slow_client(port) for _ in range(2)]
    until(port, 200)
    for client in slow:
        client.close()


def test_a_delivered_response_logs_nothing(port):
    with complaints() as told:
        assert [status(port) for _ in range(5)] == [200] * 5
    assert told == []


def test_work_of_one_request_runs_at_the_same_time():
    """Each call waits for all others: run one after the other they would never end."""
    pool = ReadPool("coadd", max_running=4, timeout=TIMEOUT)
    together = threading.Barrier(3)

    def work(number: int) -> int:
        together.wait(TIMEOUT)
        return number

    assert asyncio.run(pool.run_all(work, [(k,) for k in range(3)])) == [0, 1, 2]


def test_one_request_takes_one_place_and_leaves_turns_to_others():
    pool = ReadPool("coadd", max_running=3, max_waiting=0, timeout=TIMEOUT)
    running, most, order = 0, 0, []
    lock = threading.Lock()

    def work(name: str) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            order.append(name)
        time.sleep(0.02)
        with lock:
            running -= 1

    async def requests() -> None:
        first = asyncio.create_task(pool.run_all(work, [("many",)] * 12))
        await asyncio.sleep(0.03)
        await pool.run(work, "one")
        await first

    asyncio.run(requests())
    assert most == 2
    assert order.index("one") < 8


def test_a_place_is_free_again_only_when_all_that_was_begun_has_ended():
    pool = ReadPool("coadd", max_running=3, max_waiting=-2, timeout=0.1)
    end = threading.Event()
    begun = []

    def hang(number: int) -> None:
        begun.append(number)
        assert end.wait(TIMEOUT)

    async def requests() -> None:
        with pytest.raises(BusyError, match=r"within 0\.1 s"):
            await pool.run_all(hang, [(k,) for k in range(5)])
        with pytest.raises(BusyError, match="too many"):
            await pool.run(lambda: 1)
        end.set()
        await one_that_is_taken(pool)

    asyncio.run(requests())
    assert sorted(begun) == [0, 1]


def test_an_error_ends_the_request_and_frees_its_place():
    pool = ReadPool("coadd", max_running=1, max_waiting=0, timeout=TIMEOUT)
    begun = []

    def fail(number: int) -> None:
        begun.append(number)
        raise ValueError(f"no {number}")

    async def requests() -> None:
        with pytest.raises(ValueError, match="no 0"):
            await pool.run_all(fail, [(k,) for k in range(9)])
        await one_that_is_taken(pool)

    asyncio.run(requests())
    assert len(begun) < 9


def test_a_late_call_gives_its_turn_to_another_and_is_not_repeated():
    pool = ReadPool("coadd", max_running=1, max_waiting=0, timeout=TIMEOUT)
    end, begun = threading.Event(), []

    def read(name: str) -> str:
        begun.append(name)
        assert name != "hanging" or end.wait(TIMEOUT)
        return name.upper()

    async def outcomes(*names: str) -> list[Outcome[str]]:
        calls = [(name,) for name in names]
        return [one async for one in pool.run_each(read, calls, names, 0.2)]

    async def requests() -> None:
        late, sound = await outcomes("hanging", "sound")
        assert (late.number, late.result, "within 0.2 s" in late.error) == (0, None, True)
        assert sound == Outcome(1, "SOUND")
        late, sound = await outcomes("hanging", "sound")
        assert (late.number, "earlier request" in late.error) == (0, True)
        assert sound == Outcome(1, "SOUND")
        end.set()
        while (await outcomes("hanging"))[0].error:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(requests(), TIMEOUT))
    assert begun == ["hanging", "sound", "sound", "hanging"]


def test_all_calls_of_a_request_share_its_timeout():
    pool = ReadPool("coadd", max_running=1, timeout=0.3, max_late=0)
    end = threading.Event()

    async def requests() -> list[Outcome[bool]]:
        outcomes = pool.run_each(end.wait, [(TIMEOUT,)] * 3, ["a", "b", "c"], 0.1)
        return [one async for one in outcomes]

    found = asyncio.run(requests())
    end.set()
    assert [one.number for one in found] == [0, 1, 2]
    assert ["within 0.1 s" in found[0].error, "within 0.3 s" in found[2].error] == [True, True]


def test_a_request_that_ends_early_begins_no_more_calls():
    pool = ReadPool("coadd", max_running=1, max_waiting=0, timeout=TIMEOUT)
    begun = []

    async def requests() -> None:
        outcomes = pool.run_each(begun.append, [(k,) for k in range(9)], "abcdefghi", 1.0)
        async with aclosing(outcomes):
            async for _ in outcomes:
                break
        await one_that_is_taken(pool)

    asyncio.run(requests())
    assert len(begun) < 9


async def by(client: str, coroutine):
    """Run a request of a client."""
    remember_client({"client": (client, 1)})
    return await coroutine


def test_one_client_leaves_places_and_a_thread_to_the_others():
    """One client asks for more than there is; another one is answered meanwhile."""
    pool = ReadPool("coadd", timeout=TIMEOUT)
    end = threading.Event()

    async def requests() -> tuple[list, list]:
        greedy = [
            asyncio.create_task(by("192.0.2.1", pool.run_all(end.wait, [(TIMEOUT,)] * 3)))
            for _ in range(60)
        ]
        await asyncio.sleep(0.05)
        others = [
            await asyncio.wait_for(
                asyncio.create_task(by(f"192.0.2.{k}", pool.run(lambda k=k: k))), 5
            )
            for k in range(2, 40)
        ]
        end.set()
        return await asyncio.gather(*greedy, return_exceptions=True), others

    greedy, others = asyncio.run(requests())
    assert others == list(range(2, 40))
    refused = [one for one in greedy if isinstance(one, BusyError)]
    # half of the 37 places
    assert len(greedy) - len(refused) == 19
    assert "from your address" in str(refused[0])
    assert not pool._shares


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6(one, other, are_same):
    async def client(address: str) -> str:
        remember_client({"client": (address, 1)})
        return current_client()

    assert (asyncio.run(client(one)) == asyncio.run(client(other))) == are_same


def test_one_client_leaves_memory_for_large_responses_of_others():
    pool = ReadPool("coadd", max_unsent=90)

    async def requests() -> None:
        make = pool.run_response(lambda: b"x" * 50)
        first = await asyncio.create_task(by("192.0.2.1", make))
        again = pool.run_response(lambda: b"x" * 20)
        with pytest.raises(BusyError):
            await asyncio.create_task(by("192.0.2.1", again))
        await asyncio.create_task(by("192.0.2.2", pool.run_response(lambda: b"x" * 20)))
        first._done(50)
        await asyncio.create_task(by("192.0.2.1", pool.run_response(lambda: b"x" * 60)))

    asyncio.run(requests())


async def one_that_is_taken(pool: ReadPool) -> None:
    """Retry until the server has capacity again."""
    for _ in range(int(TIMEOUT / 0.01)):
        with suppress(BusyError):
            assert await pool.run(lambda: 1) == 1
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the place was never given back")

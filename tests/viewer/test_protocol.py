"""HTTP on the wire: pipelining, range requests, unfinished requests."""

import ast
import asyncio
import errno
import http.client
import inspect
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tests.viewer.serving import Wire, complaints, served
from tests.viewer.small_hips import make_survey
from viewer.http import protocol
from viewer.http.protocol import MAX_HEAD_SIZE

TILE, BIG = "/hips/band_g/Norder3/Dir0/Npix1.fits", "/hips/band_g/Moc.fits"
HOST = "Host: here\r\n"


@pytest.fixture(scope="module")
def survey(tmp_path_factory) -> Path:
    """A tile of 1 MB, and a MOC larger than one check of the page cache covers."""
    survey = make_survey(tmp_path_factory.mktemp("root") / "band_g")
    (survey / TILE.removeprefix("/hips/band_g/")).write_bytes(os.urandom(1 << 20))
    (survey / BIG.removeprefix("/hips/band_g/")).write_bytes(os.urandom((9 << 20) + 12345))
    return survey


@pytest.fixture(scope="module")
def port(survey) -> Iterator[int]:
    with complaints() as told, served(survey.parent) as port:
        yield port
    assert told == []


def content(survey: Path, path: str) -> bytes:
    return (survey / path.removeprefix("/hips/band_g/")).read_bytes()


def answers(client: socket.socket, methods: list[str]) -> list[tuple[int, bytes]]:
    """Return status and body of each response on one connection."""
    found = []
    with client.makefile("rb") as stream:
        for method in methods:
            status = int(stream.readline().split()[1])
            headers = http.client.parse_headers(stream)
            size = 0 if method == "HEAD" else int(headers["content-length"])
            found.append((status, stream.read(size)))
    return found


@pytest.mark.parametrize("room", [1 << 12, 1 << 22])
def test_requests_that_do_not_wait_for_answers(port, survey, room):
    """With any receive buffer, and with slow clients."""
    asked = [("GET", TILE), ("HEAD", BIG), ("GET", BIG), ("GET", "/nowhere"), ("GET", TILE)]
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        client.settimeout(20)
        client.connect(("127.0.0.1", port))
        said = "".join(f"{m} {path} HTTP/1.1\r\n{HOST}\r\n" for m, path in asked)
        client.sendall(said.encode())
        time.sleep(0.3)
        found = answers(client, [method for method, _ in asked])
    tile, big = content(survey, TILE), content(survey, BIG)
    assert [status for status, _ in found] == [200, 200, 200, 404, 200]
    assert [body for _, body in found[:3]] == [tile, b"", big]
    assert found[4][1] == tile


@pytest.mark.parametrize("part", [slice(0, 1), slice(5, (7 << 20) + 1), slice(-10, None)])
def test_a_part_of_a_file_over_the_wire(port, survey, part):
    whole = content(survey, BIG)
    first, last, _ = part.indices(len(whole))
    wire = Wire(port)
    words = f"GET {BIG} HTTP/1.1\r\n{HOST}Range: bytes={first}-{last - 1}\r\n\r\n"
    answer, body = wire.ask(words.encode())
    assert (answer.status, body) == (206, whole[part])
    assert wire.get(TILE)[1] == content(survey, TILE)
    wire.close()


def test_a_file_that_the_system_has_forgotten(port, survey):
    path = survey / BIG.removeprefix("/hips/band_g/")
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    wire = Wire(port)
    assert wire.get(BIG)[1] == path.read_bytes()
    wire.close()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_that_does_not_tell_what_is_in_memory(port, survey, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "preadv", refuse)
    wire = Wire(port)
    assert wire.get(BIG)[1] == content(survey, BIG)
    wire.close()


@pytest.mark.parametrize("line", [b"X: " + b"y" * 1000 + b"\r\n", b"y" * 1000, b"\r\n"])
def test_a_head_without_an_end_is_not_taken(port, line):
    """With many header lines, one, or none."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        begin = b"" if line == b"\r\n" else b"GET / HTTP/1.1\r\nHost: here\r\n"
        client.sendall(begin + (b"" if line.startswith((b"X", b"\r")) else b"X: "))
        sent = 0
        try:
            while sent < 100 * MAX_HEAD_SIZE:
                sent += client.send(line * 100)
            client.settimeout(5)
            while client.recv(1 << 16):
                pass
        except ConnectionError:
            pass
    assert sent < 100 * MAX_HEAD_SIZE
    wire = Wire(port)
    assert wire.get(TILE)[0].status == 200
    wire.close()


def test_a_long_body_does_not_count_as_header(port):
    body = b"x" * (2 * MAX_HEAD_SIZE)
    head = f"POST /api/nothing HTTP/1.1\r\n{HOST}Content-Length: {len(body)}\r\n\r\n".encode()
    wire = Wire(port)
    for _ in range(3):
        assert wire.ask(head + body)[0].status == 404
    wire.close()


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_other_protocols_are_not_taken_up(port, survey, protocol):
    wire = Wire(port)
    words = f"GET {TILE} HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    for _ in range(2):
        answer, body = wire.ask(words.encode())
        assert (answer.status, body) == (200, content(survey, TILE))
    assert wire.get(TILE)[0].status == 200
    wire.close()


def test_what_comes_behind_an_offer_to_change_the_protocol(port, survey):
    """In the same packet, completely or partially."""
    offer = f"GET /healthz HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n".encode()
    asked = f"GET {TILE} HTTP/1.1\r\n{HOST}\r\n".encode()
    for cut in (len(asked), 9):
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            client.sendall(offer + asked[:cut])
            time.sleep(0.1)
            client.sendall(asked[cut:])
            assert answers(client, ["GET"] * 2)[1] == (200, content(survey, TILE))


@pytest.mark.parametrize("path", ["/healthz", "/hips/list", TILE, BIG])
@pytest.mark.parametrize("count", [1, 3])
def test_a_half_closed_connection_gets_its_responses(port, path, count):
    asked = f"GET {path} HTTP/1.1\r\n{HOST}\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(asked * count)
        client.shutdown(socket.SHUT_WR)
        found = answers(client, ["GET"] * count)
        assert [status for status, _ in found] == [200] * count
        assert len({body for _, body in found}) == 1
        assert client.recv(1) == b""


def listed(kind: str) -> set[str]:
    """Return the names of a uvicorn class that the module's docstring lists."""
    found = re.search(rf"{kind}(?: \([^)]*\))?: ([^;.(]*)", protocol.__doc__ or "")
    assert found
    return set(re.findall(r"\w+", found[1]))


def used() -> dict[str, set[str]]:
    """Return the names of uvicorn classes that the module's code uses."""
    found: dict[str, set[str]] = {"HttpToolsProtocol": set(), "cycle": set(), "flow": set()}
    for owner in (protocol.Connection, protocol._Flow):
        tree = ast.parse(inspect.getsource(owner))
        ours = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        ours |= {name for name in vars(owner) if not name.startswith("__")} | vars_of(tree)
        of_self = "HttpToolsProtocol" if owner is protocol.Connection else "flow"
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                of = ast.unparse(node.value)
                if of == "super()" or (of == "self" and node.attr not in ours):
                    found[of_self].add(node.attr)
                elif (kind := of.removeprefix("self.")) in found:
                    found[kind].add(node.attr)
    public = {*dir(asyncio.Protocol), "shutdown"}
    return {kind: names - public for kind, names in found.items()}


def vars_of(tree: ast.AST) -> set[str]:
    """Return the private attributes that the code assigns."""
    targets = [t for node in ast.walk(tree) if isinstance(node, ast.Assign) for t in node.targets]
    names = {t.attr for t in targets if isinstance(t, ast.Attribute)}
    return {name for name in names if name.startswith("_")}


@pytest.mark.parametrize("kind", ["HttpToolsProtocol", "cycle", "flow"])
def test_what_is_used_of_uvicorn_beyond_its_interface_is_listed(kind):
    assert listed(kind) == used()[kind]


def test_what_is_used_of_uvicorn_beyond_its_interface_is_there():
    config = uvicorn.Config(lambda *_: None, log_config=None)
    loop = asyncio.new_event_loop()
    there = {
        "HttpToolsProtocol": HttpToolsProtocol(config, ServerState(), {}, loop),
        "cycle": RequestResponseCycle(
            **dict.fromkeys(inspect.signature(RequestResponseCycle).parameters)
        ),
        "flow": FlowControl(asyncio.Transport()),
    }
    loop.close()
    gone = [f"{k}.{n}" for k, one in there.items() for n in listed(k) if not hasattr(one, n)]
    assert not gone, f"uvicorn {uvicorn.__version__} lacks {', '.join(gone)}"
    assert inspect.ismethod(there["cycle"].send)  # the module uses its __self__
    # our private names must not collide with those of a later uvicorn
    ours = {name for name in vars(protocol.Connection) if re.match("_[a-z]", name)}
    assert not ours & {*dir(there["HttpToolsProtocol"])}

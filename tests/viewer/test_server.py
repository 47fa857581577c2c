import asyncio
import logging
import signal
import socket
import threading
import time
import urllib.request
from contextlib import ExitStack

import pytest
import uvicorn

from hipsgen.errors import ConfigError, InputError, SurveyError
from tests.viewer.serving import served_app
from viewer import server
from viewer.catalogs.catalog import open_file


@pytest.fixture
def no_run(monkeypatch):
    """Record what would be served, without serving it."""
    runs = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: runs.append(sockets))
    return runs


def test_one_line_reports_url_and_surveys(root, no_run, capsys):
    server.serve([root], port=0)
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("http://127.0.0.1:")
    assert line.endswith("shows 2 surveys: band_g, band_r (stop with Ctrl-C)")
    assert len(no_run) == 1


def test_browser_is_opened_on_demand(root, no_run, monkeypatch):
    opened = []
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    server.serve([root], port=0)
    assert opened == []
    server.serve([root], port=0, open_browser=True)
    assert opened[0].startswith("http://127.0.0.1:")


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match=r"nothing_here does not exist: choose the output folder"):
        server.serve([tmp_path / "nothing_here"])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is a file, not a folder"):
        server.serve([tmp_path / "file"])


def test_no_survey_under_a_folder(root, tmp_path):
    with pytest.raises(SurveyError, match=rf"no survey under {tmp_path} .*hipsgen build"):
        server.serve([root, tmp_path])


def test_port_in_use(root):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} on 127.0.0.1 is in use.*--port"):
            server.serve([root], port=port)


def test_unknown_host(root):
    with pytest.raises(ConfigError, match=r"--host 300\.1\.1\.1"):
        server.serve([root], host="300.1.1.1", port=0)


def test_port_out_of_range(root):
    with pytest.raises(ConfigError, match=r"--port 70000: .*65535"):
        server.serve([root], port=70000)


def test_many_names_are_shortened():
    assert server._summary([str(i) for i in range(9)]) == "9 surveys: 0, 1, 2, 3, 4, 5, …"


def test_address_to_type():
    with server.bind_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert server.server_url(listening, "0.0.0.0") == f"http://127.0.0.1:{port}/"
        assert server.server_url(listening, "::1") == f"http://[::1]:{port}/"


def test_it_really_serves(root, monkeypatch):
    seen = []
    startup = uvicorn.Server.startup

    async def ask_then_stop(self, sockets=None):
        await startup(self, sockets)
        port = sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/hips/band_g/properties"
        loop = asyncio.get_running_loop()
        seen.append(await loop.run_in_executor(None, lambda: urllib.request.urlopen(url).read()))
        self.should_exit = True

    monkeypatch.setattr(uvicorn.Server, "startup", ask_then_stop)
    server.serve([root], port=0)
    assert b"ivo://test/P/band_g" in seen[0]


def test_a_first_view_of_a_missing_survey_is_reported(root):
    with pytest.raises(ConfigError, match=r"--view: no survey 'nosuch'; available: band_g"):
        server.serve([root], port=0, view="http://here/#survey=nosuch&ra=1")


@pytest.mark.parametrize("view", ["nonsense", "http://here/"])
def test_an_invalid_first_view_is_reported(root, view):
    with pytest.raises(ConfigError, match=f"--view '{view}' is not a link"):
        server.serve([root], port=0, view=view)


def test_two_catalogs_of_a_name_are_refused_before_any_output(root, tmp_path, capsys):
    (tmp_path / "stars.csv").write_text("ra,dec\n1,2\n")
    stars = open_file(str(tmp_path / "stars.csv"))
    with pytest.raises(ConfigError, match="two catalogs are called 'stars'"):
        server.serve([root], port=0, catalogs=[stars, stars])
    assert capsys.readouterr().out == ""


def test_an_unfinished_survey_is_reported(tmp_path):
    begun = tmp_path / "sky" / "band_g" / ".hipsgen"
    begun.mkdir(parents=True)
    (begun / "build.json").write_text("{}")
    with pytest.raises(SurveyError, match=r"no finished survey under .*run its 'hipsgen build'"):
        server.serve([tmp_path / "sky"], port=0)


def test_a_public_port_prints_a_warning(root, no_run, capsys):
    said = "anyone who can reach this port can see the surveys: use --token to restrict access"
    server.serve([root], host="0.0.0.0", port=0)
    assert said in capsys.readouterr().out
    server.serve([root], host="0.0.0.0", port=0, token="correct-horse")
    server.serve([root], host="127.0.0.1", port=0)
    assert said not in capsys.readouterr().out


async def wait_or_answer(scope, receive, send):
    """Wait for the client to disconnect, or respond with the port of the request."""
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    body = f"{scope['server'][1]}".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def read(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        return answer.read()


def of_the_process() -> list[object]:
    """Return global state that a server in a thread must not change."""
    loggers = logging.Logger.manager.loggerDict
    return [
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        logging.getLogger().handlers[:],
        logging.getLogger().level,
        {k: v.disabled for k, v in loggers.items() if isinstance(v, logging.Logger)},
    ]


def test_several_servers_run_and_end_in_threads_of_a_process_with_a_loop_of_its_own():
    logging.getLogger("somebody").addHandler(logging.NullHandler())
    logging.getLogger("uvicorn.error")  # create the logger before its state is recorded
    logging.getLogger("uvicorn.access")
    logging.getLogger("uvicorn.asgi")
    threads = threading.active_count()

    async def kernel() -> None:
        before = of_the_process()
        with ExitStack() as others, ExitStack() as first:
            one = first.enter_context(served_app(wait_or_answer, configure_logging=False))
            ports = [
                others.enter_context(served_app(wait_or_answer, configure_logging=False))
                for _ in range(2)
            ]
            for port in (one, *ports):
                assert await asyncio.to_thread(read, port) == str(port).encode()
            with socket.create_connection(("127.0.0.1", one)) as client:
                client.sendall(b"GET /wait HTTP/1.1\r\nHost: here\r\n\r\n")
                await asyncio.sleep(0.3)
                start = time.monotonic()
                first.close()
                assert time.monotonic() < start + 3
            with socket.socket() as client:
                assert client.connect_ex(("127.0.0.1", one)) != 0
            for port in ports:
                assert await asyncio.to_thread(read, port) == str(port).encode()
        assert of_the_process() == before

    asyncio.run(kernel())
    # threads of the loop itself have ended, too
    assert threading.active_count() == threads

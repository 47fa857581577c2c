"""After several wrong tokens a client must wait; other clients need not."""

import httpx
import pytest

from tests.viewer.serving import served
from viewer.http import guesses
from viewer.http.guesses import FREE, MAX_CLIENTS, MAX_WAIT, Guesses
from viewer.http.proxy import parse_networks

TOKEN = "correct-horse"


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(guesses.time, "monotonic", lambda: now[0])
    return now


def test_the_wait_doubles_after_the_first_wrong_tokens(clock):
    counted = Guesses()
    waits = []
    for _ in range(FREE + 8):
        counted.add("one")
        waits.append(counted.wait("one"))
        clock[0] += waits[-1]
        assert counted.wait("one") == 0.0
    assert waits[: FREE - 1] == [0.0] * (FREE - 1)
    assert waits[FREE - 1 :] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, MAX_WAIT, MAX_WAIT, MAX_WAIT]
    assert counted.wait("another") == 0.0
    counted.forget("one")
    counted.add("one")
    assert counted.wait("one") == 0.0


def test_the_number_of_remembered_clients_is_limited():
    counted = Guesses()
    for k in range(3 * MAX_CLIENTS):
        counted.add(f"client {k}")
    assert len(counted) == MAX_CLIENTS


@pytest.mark.parametrize("way", ["header", "form"])
def test_only_the_client_that_sent_wrong_tokens_must_wait(root, way):
    trusted = parse_networks("127.0.0.1")
    with served(root, token=TOKEN, trusted=trusted) as port:
        url = f"http://127.0.0.1:{port}/"

        def send(token: str, client: str) -> httpx.Response:
            headers = {"x-forwarded-for": client}
            if way == "form":
                return httpx.post(url, data={"token": token}, headers=headers)
            return httpx.get(url, headers={**headers, "authorization": f"Bearer {token}"})

        good = send(TOKEN, "192.0.2.9").status_code
        assert good == (303 if way == "form" else 200)
        statuses = [send(f"guess {k}", "192.0.2.1").status_code for k in range(FREE + 5)]
        assert statuses[: FREE - 1] == [401] * (FREE - 1)
        assert set(statuses[FREE:]) == {429}
        # not even the right one is looked at, or guesses would be answered after all
        refused = send(TOKEN, "192.0.2.1")
        assert (refused.status_code, "set-cookie" in refused.headers) == (429, False)
        assert 1 <= int(refused.headers["retry-after"]) <= MAX_WAIT
        assert "too many wrong tokens" in refused.text.lower()
        assert send(TOKEN, "192.0.2.2").status_code == good


def test_the_cookie_is_valid_while_the_client_must_wait(root):
    with served(root, token=TOKEN) as port:
        url = f"http://127.0.0.1:{port}/api/surveys"
        cookies = httpx.post(url, data={"token": TOKEN}).cookies
        for k in range(FREE + 2):
            httpx.get(url, headers={"authorization": f"Bearer {k}"})
        assert httpx.get(url, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 429
        assert httpx.get(url, cookies=cookies).status_code == 200
        # asking without a token is no guess
        assert httpx.get(url).status_code == 401

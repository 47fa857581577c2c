"""Who may look: whoever knows the token, as a header, or as a cookie that the login page gives."""

import hashlib
import hmac
import html
import re
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hipsgen.errors import ConfigError
from viewer.http import health

SHORTEST = 8
_MAX_BODY = 4096
_REMEMBERED = 30 * 86400  # seconds
_FORM = "application/x-www-form-urlencoded"
_REFUSED = (
    "this viewer needs its token: open it in a browser, or send 'Authorization: Bearer TOKEN'"
)

# the login page has no script, and what is typed goes nowhere else
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
# the form goes to the address that was asked, whatever stands before it, and that is shown then
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Token needed</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { display: grid; place-items: center; min-height: 90vh; margin: 0 }
form { display: grid; gap: .6rem; width: min(22rem, 90vw) }
input, button { font: inherit; padding: .4rem .6rem }
p { margin: 0; min-height: 1.5em }
</style>
<form method="post">
<label for="token">Token of this viewer</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Show the sky</button>
<p role="alert">%s</p>
</form>
</html>
"""


def check_token(token: str | None) -> str | None:
    """A token that headers can carry, or None for none. Raises ConfigError, without telling it."""
    if token is None:
        return None
    if len(token) < SHORTEST or not re.fullmatch(r"[!-~]+", token):
        raise ConfigError(
            f"--token (or HIPSGEN_TOKEN) of {len(token)} characters: give at least {SHORTEST},"
            " ASCII without spaces, such as 'openssl rand -hex 16' makes"
        )
    return token


class TokenRequired:
    """Answers those who know the token; all others get the login page, or are told of it (401).

    The cookie is an HMAC of the token: it opens this viewer, tells nobody the token, and is void
    when there is another. A token in an address is not taken, since addresses are written down.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._token = token.encode()
        # viewers on other ports of the same host share its cookies
        self._cookie = f"hipsgen-{self._derived('name')[:8]}".encode()
        self._pass = self._derived("pass").encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http" or scope["path"] == _root(scope) + health.PATH:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        # nothing else takes forms
        if scope["method"] == "POST" and headers.get("content-type", "").startswith(_FORM):
            body = await _body_of(receive)
            if body is not None:
                await self._login(body, scope)(scope, receive, send)
        elif self._knows(headers):
            await self.app(scope, receive, _for_one(send))
        else:
            await _refuse(headers)(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").encode("latin-1").partition(b" ")
        if scheme.lower() == b"bearer" and _same(given.strip(), self._token):
            return True
        cookies = ";".join(headers.getlist("cookie")).encode("latin-1").split(b";")
        pairs = (cookie.strip().partition(b"=") for cookie in cookies)
        return any(key == self._cookie and _same(value, self._pass) for key, _, value in pairs)

    def _login(self, body: bytes, scope: Scope) -> Response:
        try:
            given = parse_qs(body, max_num_fields=8).get(b"token", [b""])[0]
        except ValueError:
            given = b""
        if not _same(given, self._token):
            return _login_page("That is not the token.")
        answer = Response(status_code=303, headers={"location": _here(scope)})
        answer.set_cookie(
            self._cookie.decode(),
            self._pass.decode(),
            max_age=_REMEMBERED,
            path=_root(scope) or "/",
            secure=scope["scheme"] == "https",
            httponly=True,
            samesite="strict",
        )
        answer.headers["cache-control"] = "no-store"
        return answer

    def _derived(self, purpose: str) -> str:
        return hmac.digest(self._token, f"hipsgen viewer {purpose}".encode(), "sha256").hex()


def _same(given: bytes, kept: bytes) -> bool:
    """Compares in a time that tells nothing, not even of the length."""
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(kept).digest())


def _refuse(headers: Headers) -> Response:
    if "text/html" in headers.get("accept", ""):
        return _login_page("")
    return PlainTextResponse(f"{_REFUSED}\n", 401, _UNKNOWN)


def _login_page(complaint: str) -> Response:
    headers = {**_UNKNOWN, "content-security-policy": _POLICY}
    return Response(_PAGE % html.escape(complaint), 401, headers, "text/html")


_UNKNOWN = {"www-authenticate": 'Bearer realm="hipsgen"', "cache-control": "no-store"}


def _root(scope: Scope) -> str:
    return str(scope.get("root_path", ""))


def _here(scope: Scope) -> str:
    """The address that was asked, told in a way that does not depend on what stands before it."""
    last = scope.get("raw_path", b"").rpartition(b"/")[2].decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    return f"./{last}" + (f"?{query}" if query else "")


async def _body_of(receive: Receive) -> bytes | None:
    """What was sent, as far as a login can be long; None when the client has gone."""
    body = b""
    while len(body) <= _MAX_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return body
    return b""


def _for_one(send: Send) -> Send:
    """Caches that several people share must not keep what only some may see."""

    async def send_private(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if "public" in (known := headers.get("cache-control", "")):
                headers["cache-control"] = known.replace("public", "private")
        await send(message)

    return send_private

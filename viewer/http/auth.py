"""Authentication by a token, sent as a header, or by the cookie that the login page sets."""

import hashlib
import hmac
import html
import math
import re
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hipsgen.errors import ConfigError
from viewer.http import health
from viewer.http.clients import current_client
from viewer.http.guesses import Guesses
from viewer.http.paths import same_url

MIN_LENGTH = 8
_MAX_BODY = 4096
_COOKIE_MAX_AGE = 30 * 86400  # seconds
_FORM = "application/x-www-form-urlencoded"
_UNAUTHORIZED = (
    "this viewer requires a token: open it in a browser, or send 'Authorization: Bearer TOKEN'"
)

# the login page has no script, and its form can only be sent to this server
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
# without an action, the form is posted to the requested URL, whatever proxy is in front; a
# successful login redirects to the same URL
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Token required</title>
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
<button>Log in</button>
<p role="alert">%s</p>
</form>
</html>
"""


def check_token(token: str | None) -> str | None:
    """Return the token if it is valid in a header, or None if there is none.

    Raises ConfigError, whose message does not contain the token.
    """
    if token is None:
        return None
    if len(token) < MIN_LENGTH or not re.fullmatch(r"[!-~]+", token):
        raise ConfigError(
            f"--token (or HIPSGEN_TOKEN) of {len(token)} characters is invalid: use at least"
            f" {MIN_LENGTH} ASCII characters without spaces, such as from 'openssl rand -hex 16'"
        )
    return token


class TokenRequired:
    """Middleware that responds 401 to requests without the token, to browsers with the login page.

    The cookie is an HMAC of the token: it is valid for this viewer, does not reveal the token, and
    becomes invalid when the token changes. A token in the URL is ignored, since URLs are logged.

    A client that has sent several wrong tokens gets 429 until some time has passed, even for the
    right one, also if it sends several at once; the cookie stays valid, as it cannot be guessed.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._token = token.encode()
        # all ports of a host share its cookies, so each viewer needs its own cookie name
        self._cookie = f"hipsgen-{self._derived('name')[:8]}".encode()
        self._pass = self._derived("pass").encode()
        self._guesses = Guesses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an authenticated request on, or respond to it here."""
        if scope["type"] != "http" or scope["path"] == _root(scope) + health.PATH:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        # only the login page sends forms
        if scope["method"] == "POST" and headers.get("content-type", "").startswith(_FORM):
            body = await _read_body(receive)
            if body is not None:
                await self._login(body, scope)(scope, receive, send)
            return
        token = _bearer_token(headers)
        if self._has_cookie(headers) or (token is not None and self._is_right(token)):
            await self.app(scope, receive, _privately(send))
        elif token is not None and (wait := self._guesses.wait(current_client())):
            reason = f"too many wrong tokens: wait {math.ceil(wait)} s\n"
            await PlainTextResponse(reason, 429, _retry_after(wait))(scope, receive, send)
        else:
            await _unauthorized(headers)(scope, receive, send)

    def _has_cookie(self, headers: Headers) -> bool:
        cookies = ";".join(headers.getlist("cookie")).encode("latin-1").split(b";")
        pairs = (cookie.strip().partition(b"=") for cookie in cookies)
        return any(key == self._cookie and _same(value, self._pass) for key, _, value in pairs)

    def _is_right(self, token: bytes) -> bool:
        """Return whether a token is the right one; false, unchecked, while its client must wait."""
        client = current_client()
        if self._guesses.wait(client):
            return False
        if _same(token, self._token):
            self._guesses.forget(client)
            return True
        if token:
            self._guesses.add(client)
        return False

    def _login(self, body: bytes, scope: Scope) -> Response:
        try:
            given = parse_qs(body, max_num_fields=8).get(b"token", [b""])[0]
        except ValueError:
            given = b""
        wait = self._guesses.wait(current_client())
        if not self._is_right(given):
            if wait:
                return _login_page(f"Too many wrong tokens: wait {math.ceil(wait)} s.", wait)
            return _login_page("Wrong token.")
        response = Response(status_code=303, headers={"location": same_url(scope)})
        response.set_cookie(
            self._cookie.decode(),
            self._pass.decode(),
            max_age=_COOKIE_MAX_AGE,
            path=_root(scope) or "/",
            secure=scope["scheme"] == "https",
            httponly=True,
            samesite="strict",
        )
        response.headers["cache-control"] = "no-store"
        return response

    def _derived(self, purpose: str) -> str:
        return hmac.digest(self._token, f"hipsgen viewer {purpose}".encode(), "sha256").hex()


def _same(given: bytes, expected: bytes) -> bool:
    """Compare in a time that depends neither on the contents nor on the length of the secret."""
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest())


def _unauthorized(headers: Headers) -> Response:
    if "text/html" in headers.get("accept", ""):
        return _login_page("")
    return PlainTextResponse(f"{_UNAUTHORIZED}\n", 401, _CHALLENGE)


def _login_page(message: str, wait: float = 0.0) -> Response:
    headers = {
        **(_retry_after(wait) if wait else _CHALLENGE),
        "content-security-policy": _POLICY,
        # with no-referrer, browsers send "Origin: null" with the form
        "referrer-policy": "same-origin",
    }
    return Response(_PAGE % html.escape(message), 429 if wait else 401, headers, "text/html")


def _retry_after(wait: float) -> dict[str, str]:
    return {"retry-after": str(math.ceil(wait)), "cache-control": "no-store"}


def _bearer_token(headers: Headers) -> bytes | None:
    scheme, _, given = headers.get("authorization", "").encode("latin-1").partition(b" ")
    return given.strip() if scheme.lower() == b"bearer" else None


_CHALLENGE = {"www-authenticate": 'Bearer realm="hipsgen"', "cache-control": "no-store"}


def _root(scope: Scope) -> str:
    return str(scope.get("root_path", ""))


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body, empty if too long for a login, or None if the client has disconnected."""
    body = b""
    while len(body) <= _MAX_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return body
    return b""


def _privately(send: Send) -> Send:
    """Make responses private, so that shared caches do not store them."""

    async def send_private(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if "public" in (policy := headers.get("cache-control", "")):
                headers["cache-control"] = policy.replace("public", "private")
        await send(message)

    return send_private

"""Refuses requests from foreign web pages and from clients without the token, before any route sees them."""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from scope_batch.errors import UsageError
from scope_batch.job.faults import shown
from scope_batch.serve.bodies import ClosingUnread
from scope_batch.serve.page import PAGE_PATH
from scope_batch.serve.problem_documents import HttpProblem, answer_to

FORM_TYPES = frozenset(("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"))
"""Content types that a page of any other site may post without asking; the protocol needs none of them."""
MULTIPART = "multipart/form-data"
FORM_PATH = "/v1/videos"
"""The one call that takes a form: OpenAI's client sends every video so."""
TOKEN_PATH = "/t/"
_HOST_NAME = re.compile(r"[a-z0-9._-]{1,253}")
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")


@dataclass(frozen=True, slots=True)
class Access:
    """Says who may talk to the server.

    host           the address that the server listens on
    allowed_hosts  further names under which clients reach it, without port
    token          what clients must present; needed unless `host` is of this machine only
    token_in_path  accept the token as the path's prefix /t/TOKEN, too
    """

    host: str = "127.0.0.1"
    allowed_hosts: frozenset[str] = frozenset()
    token: str | None = None
    token_in_path: bool = False

    def __post_init__(self) -> None:
        if self.token is None and not self.is_local:
            raise UsageError(f"--host {shown(self.host)}: other machines reach this address: it needs --token")
        if self.token is None and self.token_in_path:
            raise UsageError("--token-in-path needs --token")
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise UsageError("--token: must be 16 to 256 letters, digits and . _ ~ -")

        for name in self.allowed_hosts:
            if not _HOST_NAME.fullmatch(name):
                raise UsageError(f"--allow-host {shown(name)}: is not a host name; allowed: a name without port")

    @property
    def is_local(self) -> bool:
        """True if only programs on this machine reach the server."""
        return self.host == "localhost" or _is_loopback(self.host)

    def knows_host(self, name: str) -> bool:
        """Return whether a request may name the server so. A name that no page's DNS can point here is safe: an address
        cannot be rebound."""
        if name in ("localhost", self.host.lower()) or name in self.allowed_hosts:
            return True
        return _is_loopback(name) if self.is_local else _is_address(name)


class Guard:
    """ASGI middleware: checks Host, Origin, content type and token, in this order.

    After a refusal, as after every answer that comes before the whole body, the connection is closed.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the protocol has no web sockets; the connection is closed
        closing = ClosingUnread(scope, receive, send)
        receive, send = closing.receive, closing.send
        try:
            headers = Headers(scope=scope)
            _check_host(headers, self._access)
            _check_origin(headers)
            _check_content_type(headers, takes_forms=scope["path"].endswith(FORM_PATH))
            scope = _without_token(scope, headers, self._access)
        except HttpProblem as problem:
            await answer_to(problem, scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _check_host(headers: Headers, access: Access) -> None:
    hosts = headers.getlist("host")
    name = _host_name(hosts[0]) if len(hosts) == 1 else None
    if name is None or not access.knows_host(name):
        raise HttpProblem(
            HTTPStatus.MISDIRECTED_REQUEST, "this server does not go by that host name; --allow-host NAME adds one"
        )


def _check_origin(headers: Headers) -> None:
    """A browser names the page's origin; it must be this server. Other clients send none."""
    for origin in headers.getlist("origin"):
        if not re.fullmatch(r"https?://[^/@]+", origin) or urlsplit(origin).netloc.lower() != headers["host"].lower():
            raise HttpProblem(HTTPStatus.FORBIDDEN, "pages of other sites may not use this server")


def _check_content_type(headers: Headers, *, takes_forms: bool) -> None:
    """Refuse forms. Where a client can send nothing else, a multipart form is taken if it has a bearer token, be it
    any: a page of another site cannot send that header without asking first, and is refused then."""
    has_token = headers.get("authorization", "").lower().startswith("bearer ")
    for value in headers.getlist("content-type"):
        content_type = value.partition(";")[0].strip().lower()
        is_taken_here = takes_forms and content_type == MULTIPART
        if is_taken_here and not has_token:
            raise HttpProblem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "the form needs the header Authorization: Bearer TOKEN (any token, if the server has none)",
            )
        if content_type in FORM_TYPES and not is_taken_here:
            raise HttpProblem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "forms are refused; send application/json, or application/octet-stream for data",
            )


def _without_token(scope: Scope, headers: Headers, access: Access) -> Scope:
    """Return the scope for the routes. Raises HttpProblem unless the request presents the token."""
    if access.token is None or (scope["path"] == PAGE_PATH and scope["method"] in ("GET", "HEAD")):
        return scope  # the page holds no data, and asks for the token itself
    path: str = scope["path"]
    if access.token_in_path and path.startswith(TOKEN_PATH):
        given, _, rest = path.removeprefix(TOKEN_PATH).partition("/")
        if _same(given, access.token):
            raw = scope.get("raw_path") or path.encode()
            return {**scope, "path": f"/{rest}", "raw_path": b"/" + raw.split(b"/", 3)[-1]}
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and _same(given.strip(), access.token):
        return scope
    raise HttpProblem(
        HTTPStatus.UNAUTHORIZED, "the token is missing or wrong: Authorization: Bearer TOKEN",
        {"WWW-Authenticate": "Bearer"},
    )  # fmt: skip


def _same(given: str, token: str) -> bool:
    """Compare in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def _host_name(host: str) -> str | None:
    """Return the lower-case name of "name:port", "1.2.3.4" or "[::1]:port"; None if it is none of these."""
    match = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?", host.lower())
    return (match[1] or match[2]) if match else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return _is_address(name) and ipaddress.ip_address(name).is_loopback

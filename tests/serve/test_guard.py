from __future__ import annotations

import asyncio
import hmac
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scope_batch.errors import UsageError
from scope_batch.serve.guard import Access, Guard
from tests.serve.conftest import Call

TOKEN = "a-token-of-the-test"
PUBLIC = Access(host="0.0.0.0", token=TOKEN)


async def show_path(request: Request) -> PlainTextResponse:
    if request.url.path == "/read":
        await request.body()
    return PlainTextResponse(request.url.path)


def guarded(access: Access) -> Guard:
    return Guard(Starlette(routes=[Route("/{path:path}", show_path, methods=["GET", "POST"])]), access)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:1234", "[::1]:8000", "LOCALHOST", "gpu.lan:8000"])
def test_a_known_host_passes(host: str, call: Call) -> None:
    app = guarded(Access(allowed_hosts=frozenset({"gpu.lan"})))
    assert call(app, "GET", "/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.168.1.7",
        "",
        "a b",
        "localhost@evil",
        "127.0.0.1:8000:1",
    ],
)
def test_a_foreign_host_is_refused(host: str, call: Call) -> None:
    assert call(guarded(Access()), "GET", "/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize(
    ("method", "path", "host", "body", "closes"),
    [
        ("POST", "/read", "localhost", b"abc", False),
        ("POST", "/x", "localhost", b"abc", True),
        ("POST", "/x", "evil.example", b"abc", True),
        ("POST", "/x", "localhost", b"", False),
        ("GET", "/x", "localhost", None, False),
    ],
    ids=["read", "not read", "refused", "empty", "none"],
)
def test_a_connection_with_an_unread_body_is_closed(
    method: str, path: str, host: str, body: bytes | None, closes: bool, call: Call
) -> None:
    answer = call(guarded(Access()), method, path, headers={"Host": host}, content=body)
    assert (answer.headers.get("connection") == "close") is closes


def test_two_host_headers_are_refused(call: Call) -> None:
    headers = [("Host", "localhost"), ("Host", "evil.example")]
    assert call(guarded(Access()), "GET", "/", headers=headers).status_code == 421


def test_any_address_passes_where_other_machines_are_served(call: Call) -> None:
    headers = {"Host": "192.168.1.7:8000", "Authorization": f"Bearer {TOKEN}"}
    assert call(guarded(PUBLIC), "GET", "/health", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200),
        ("https://LOCALHOST:8000", 200),
        ("http://localhost:3000", 403),
        ("http://evil.example", 403),
        ("http://evil@localhost:8000", 403),
        ("http://localhost:8000/x", 403),
        ("file://localhost:8000", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_only_pages_of_this_server_may_call(origin: str, status: int, call: Call) -> None:
    headers = {"Host": "localhost:8000", "Origin": origin}
    assert call(guarded(Access()), "POST", "/", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/octet-stream", 200),
        ("text/plain", 415),
        ("Text/Plain; charset=utf-8", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/x-www-form-urlencoded", 415),
    ],
)
def test_content_types_that_pages_can_post_without_asking_are_refused(kind: str, status: int, call: Call) -> None:
    assert call(guarded(Access()), "POST", "/", headers={"Content-Type": kind}, content=b"{}").status_code == status


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("", 401),
        (b"Bearer \xff\xff", 401),
    ],
)
def test_the_token_is_needed(value: str | bytes, status: int, call: Call) -> None:
    answer = call(guarded(PUBLIC), "GET", "/health", headers={"Authorization": value})
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 401), ("DELETE", 401)])
def test_the_page_that_asks_for_the_token_needs_none(method: str, status: int, call: Call) -> None:
    assert call(guarded(PUBLIC), method, "/").status_code == status


def test_the_token_is_compared_in_constant_time(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *pair: compared.append(pair) or compare(*pair))
    call(guarded(PUBLIC), "GET", "/health", headers={"Authorization": "Bearer wrong"})
    assert compared == [(b"wrong", TOKEN.encode())]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/t/{TOKEN}/api/v1/batch", 200),
        (f"/t/{TOKEN}x/api/v1/batch", 401),
        ("/t//api/v1/batch", 401),
        ("/api/v1/batch", 401),
    ],
)
def test_the_token_may_stand_in_the_path(path: str, status: int, call: Call) -> None:
    answer = call(guarded(Access(token=TOKEN, token_in_path=True)), "GET", path)
    assert answer.status_code == status
    if status == 200:
        assert answer.text == "/api/v1/batch"


def test_the_path_holds_no_token_unless_asked(call: Call) -> None:
    assert call(guarded(Access(token=TOKEN)), "GET", f"/t/{TOKEN}/health").status_code == 401


@pytest.mark.parametrize(
    "access",
    [
        {"host": "0.0.0.0"},
        {"host": "192.168.1.7"},
        {"host": "::"},
        {"host": "gpu.lan"},
        {"allowed_hosts": frozenset({"a:8000"})},
        {"allowed_hosts": frozenset({""})},
        {"token_in_path": True},
        {"token": ""},
        {"token": "short"},
        {"token": "a/path/in/the/token"},
    ],
    ids=str,
)
def test_unsafe_settings_are_refused_at_the_start(access: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--"):
        Access(**access)


def test_web_sockets_reach_no_route() -> None:
    async def never(*_: Any) -> None:
        raise AssertionError

    asyncio.run(Guard(never, Access())({"type": "websocket", "headers": []}, never, never))


def test_refusals_are_problem_documents(call: Call) -> None:
    answer: httpx.Response = call(guarded(PUBLIC), "GET", "/health")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "kind", "authorization", "status"),
    [
        ("/v1/videos", "multipart/form-data; boundary=x", "Bearer any", 200),
        ("/v1/videos", "multipart/form-data; boundary=x", None, 415),
        ("/v1/videos", "multipart/form-data; boundary=x", "Basic YTpi", 415),
        ("/v1/videos", "text/plain", "Bearer any", 415),
        ("/v1/videos", "application/x-www-form-urlencoded", "Bearer any", 415),
        ("/api/v1/batch", "multipart/form-data; boundary=x", "Bearer any", 415),
    ],
)
def test_a_form_needs_a_header_that_no_page_of_another_site_can_send(
    path: str, kind: str, authorization: str | None, status: int, call: Call
) -> None:
    headers = {"Content-Type": kind} | ({} if authorization is None else {"Authorization": authorization})
    assert call(guarded(Access()), "POST", path, headers=headers, content=b"x").status_code == status


def test_the_refusal_of_a_form_says_what_would_be_taken(call: Call) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    detail = [call(guarded(Access()), "POST", path, headers=headers).text for path in ("/v1/videos", "/api/v1/batch")]
    assert "the form needs the header Authorization: Bearer" in detail[0]
    assert "Bearer" not in detail[1]


def test_a_page_of_another_site_cannot_post_a_form_even_with_a_token(call: Call) -> None:
    headers = {
        "Content-Type": "multipart/form-data; boundary=x", "Authorization": "Bearer any", "Origin": "http://evil.example",
    }  # fmt: skip
    assert call(guarded(Access()), "POST", "/v1/videos", headers=headers, content=b"x").status_code == 403

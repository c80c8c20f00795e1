"""What the answers of a server mean, and how long a client waits for one."""

from __future__ import annotations

import httpx
import pytest

from scope_batch.errors import (
    JobError,
    OutputError,
    ScopeBatchError,
    TemporaryError,
    UnavailableError,
    UsageError,
)
from scope_batch.submit.connection import LONGEST_PAUSE_S, PATIENCE_S, LostError, Server, UnknownJobError
from tests.submit.answers import URL, refused, says, server


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, JobError),
        (401, UsageError),
        (403, UsageError),
        (404, UnknownJobError),
        (408, LostError),
        (409, TemporaryError),
        (413, JobError),
        (421, UsageError),
        (422, JobError),
        (500, UnavailableError),
        (502, LostError),
        (503, LostError),
        (507, OutputError),
        (307, UnavailableError),
    ],
)
def test_a_refusal_is_one_line_of_the_right_kind(status: int, error: type[ScopeBatchError]) -> None:
    made, _, _ = server(says(status, detail="the reason"))
    with pytest.raises(error) as caught:
        made.call("GET", "/x")
    assert type(caught.value) is error
    assert str(caught.value).startswith(URL)
    assert "\n" not in str(caught.value)


def test_every_problem_of_a_refusal_is_a_line() -> None:
    made, _, _ = server(says(422, detail="2 problems", problems=["seed: is wrong", "fps: is wrong"]))
    with pytest.raises(JobError) as caught:
        made.call("GET", "/x")
    assert caught.value.problems == (f"{URL}: seed: is wrong", f"{URL}: fps: is wrong")


def test_an_answer_that_is_no_problem_document_is_told_by_its_status() -> None:
    made, _, _ = server(lambda _: httpx.Response(500, text="<html>"))
    with pytest.raises(UnavailableError, match="answers 500 Internal Server Error"):
        made.call("GET", "/x")


@pytest.mark.parametrize("token", [None, "0123456789abcdef"])
def test_the_token_is_sent_as_bearer(token: str | None) -> None:
    made, requests, _ = server(says(version="1"), token=token)
    made.version()
    assert requests[0].headers.get("authorization") == (token and f"Bearer {token}")


def test_a_server_that_is_away_at_first_is_not_waited_for() -> None:
    made, requests, _ = server(refused)
    with pytest.raises(UnavailableError, match=f"{URL}: cannot be reached: Connection refused"):
        made.version()
    assert len(requests) == 1


@pytest.mark.parametrize("text", ["hello", "[1]", '{"status": "healthy"}'])
def test_another_server_is_told(text: str) -> None:
    made, _, _ = server(lambda _: httpx.Response(200, text=text))
    with pytest.raises(UnavailableError, match="is no scope-batch server"):
        made.version()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://gpu:8000/t/SECRET", "http://gpu:8000"),
        ("http://gpu:8000/t/SECRET/", "http://gpu:8000"),
        ("https://me:SECRET@gpu/scope/t/SECRET", "https://gpu/scope"),
        ("http://gpu/a@b", "http://gpu/a@b"),
    ],
)
def test_a_url_is_used_whole_and_shown_without_its_secrets(url: str, shown: str) -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(404)

    made = Server(url, transport=httpx.MockTransport(handle))
    with pytest.raises(UnknownJobError, match=f"^{shown}: answers 404"):
        made.call("GET", "/x")
    assert (asked, made.url) == ([f"{url.rstrip('/')}/x"], shown)


@pytest.mark.parametrize(
    "url", ["gpu/t/SECRET", "http://gpu/t/SECRET?x", "me:SECRET@gpu", "http://me:SEC/RET@gpu", "http://me:SEC RET@gpu"]
)
def test_a_wrong_url_is_told_without_its_secrets(url: str) -> None:
    with pytest.raises(UsageError, match=r"^--server") as caught:
        Server(url)
    assert "SEC" not in str(caught.value)
    assert "RET" not in str(caught.value)


@pytest.mark.parametrize("text", ["<html>", "[1]", "{}"])
def test_a_page_of_a_proxy_is_one_line(text: str) -> None:
    made, _, _ = server(lambda _: httpx.Response(200, text=text))
    with pytest.raises(UnavailableError, match=rf"^{URL}: is no scope-batch server: its answer to GET /x [^\n]+$"):
        made.call("GET", "/x")["job"]


@pytest.mark.parametrize("url", ["gpu:8000", "ftp://gpu", "http://", "http://a b", "http://gpu/?x=1", "http://[::1"])
def test_what_is_no_url_of_a_server_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="--server"):
        Server(url)


def test_a_lost_request_is_repeated_with_longer_pauses() -> None:
    made, _, time = server(refused, refused, refused, says(503), says(ok=True))
    told: list[str] = []
    made.on_trouble = told.append
    assert made.patiently(lambda: made.call("GET", "/x")) == {"ok": True}
    assert time.pauses == [0.5, 1, 2, 4]
    assert told == [f"{URL}: cannot be reached: Connection refused; trying again"]


def test_patience_ends() -> None:
    made, _, time = server(refused)
    with pytest.raises(LostError, match="cannot be reached"):
        made.patiently(lambda: made.call("GET", "/x"))
    assert PATIENCE_S < sum(time.pauses) <= PATIENCE_S + LONGEST_PAUSE_S
    assert max(time.pauses) == LONGEST_PAUSE_S


def test_a_refusal_is_not_repeated() -> None:
    made, requests, _ = server(says(409))
    with pytest.raises(TemporaryError):
        made.patiently(lambda: made.call("GET", "/x"))
    assert len(requests) == 1

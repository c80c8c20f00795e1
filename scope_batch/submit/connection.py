"""Talks to one server: answers become values, refusals become errors, and what is lost on the way is tried again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

import httpx

from scope_batch.errors import (
    JobError,
    MissingInputError,
    OutputError,
    ScopeBatchError,
    TemporaryError,
    UnavailableError,
    UsageError,
)

CONNECT_S, ANSWER_S, SILENCE_S = 10.0, 120.0, 60.0
"""Longest waits: for a connection, for an answer, and between two signs of life of a stream of events."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Pauses between two attempts; each one is twice as long as the one before."""
PATIENCE_S = 15 * 60.0
"""After so many seconds without the server a client gives up. The time that this machine sleeps does not count."""
RETRY_AFTER = frozenset((HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT))
"""Statuses of a server that is starting or ending, or of the proxy in front of it."""
Result = TypeVar("Result")


class LostError(TemporaryError):
    """The connection broke, or the server is not ready: the same request may succeed later."""


class UnknownJobError(MissingInputError):
    """The server has no such job, or no longer."""


class Answer(dict[str, Any]):
    """The JSON object of an answer. Raises UnavailableError for a value that it lacks. `what` names it there."""

    def __init__(self, values: Mapping[str, Any], what: str) -> None:
        super().__init__(values)
        self._what = what

    def __missing__(self, name: str) -> Any:
        raise UnavailableError(f"{self._what} lacks {name}")


@dataclass(slots=True)
class Server:
    """A server by its URL, such as http://gpu:8000. `on_trouble` is called with one line when a request is repeated.

    url  is used whole for requests; what this attribute holds afterwards is without the token and the password in it,
         so it may be shown and stored.
    """

    url: str
    token: str | None = None
    on_trouble: Callable[[str], object] = lambda _: None
    pause: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    transport: httpx.BaseTransport | None = None
    _client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        whole, self.url = self.url.rstrip("/"), _without_secrets(self.url.rstrip("/"))
        if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", whole):
            raise UsageError(f"{self._option()}: is not the URL of a server, such as http://gpu:8000")
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
        try:
            self._client = httpx.Client(base_url=whole, headers=headers, timeout=timeout, transport=self.transport)
        except UnicodeEncodeError:
            raise UsageError("--token: must be ASCII") from None
        except httpx.InvalidURL as error:
            reason = "is not a URL; a password needs %-escapes" if "@" in whole else error
            raise UsageError(f"{self._option()}: {reason}") from None

    def _option(self) -> str:
        """Return --server and its value, if no part of that can be a password."""
        return "--server" if "@" in self.url else f"--server {self.url}"

    def close(self) -> None:
        self._client.close()

    def version(self) -> str:
        """Return the server's version. Raises UnavailableError if it cannot be reached, or is something else."""
        try:
            return str(self.call("GET", "/health")["version"])
        except LostError as error:
            raise UnavailableError(str(error)) from error

    def call(self, method: str, path: str, **request: Any) -> Answer:
        """Send one request and return the JSON of the answer.

        Raises LostError, what a refusal means, and UnavailableError if the answer is none of a scope-batch server, such
        as the page of a proxy.
        """
        with self._network():
            answer = self._client.request(method, path, **request)
        self._check(answer)
        what = f"{self.url}: is no scope-batch server: its answer to {method} {path}"
        if not isinstance(values := _json(answer), dict):
            raise UnavailableError(f"{what} is no JSON object")
        return Answer(values, what)

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], params: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """Open an answer that is read as it comes. Raises as `call` does, also while it is read."""
        timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
        with (
            self._network(),
            self._client.stream("GET", path, headers=dict(headers), params=params, timeout=timeout) as answer,
        ):
            if not answer.is_success:
                answer.read()
                self._check(answer)
            yield answer

    def patiently(self, attempt: Callable[[], Result]) -> Result:
        """Return what `attempt` returns; after a LostError it is called again, with longer and longer pauses."""
        patience = Patience(self)
        while True:
            try:
                return attempt()
            except LostError as error:
                patience.wait(error)

    @contextmanager
    def _network(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise LostError(f"{self.url}: does not answer") from error
        except httpx.ConnectError as error:
            raise LostError(f"{self.url}: cannot be reached: {_reason(error)}") from error
        except httpx.RequestError as error:
            raise LostError(f"{self.url}: the connection broke: {_reason(error)}") from error

    def _check(self, answer: httpx.Response) -> None:
        """Raise what a refusal means; its words are those of the server's problem document."""
        if answer.is_success:
            return
        document = values if isinstance(values := _json(answer), dict) else {}
        detail = str(document.get("detail") or f"answers {answer.status_code} {answer.reason_phrase}")
        raise self._refusal(answer.status_code, detail, [str(line) for line in document.get("problems", ())])

    def _refusal(self, status: int, detail: str, problems: list[str]) -> ScopeBatchError:
        line = f"{self.url}: {detail}"
        match status:
            case HTTPStatus.UNAUTHORIZED if self.token is None:
                return UsageError(f"{self.url}: needs --token (or $SCOPE_BATCH_TOKEN), the one it was started with")
            case HTTPStatus.UNAUTHORIZED:
                return UsageError(f"{self.url}: --token is not the one that the server was started with")
            case HTTPStatus.FORBIDDEN | HTTPStatus.MISDIRECTED_REQUEST:
                return UsageError(line)
            case HTTPStatus.NOT_FOUND | HTTPStatus.METHOD_NOT_ALLOWED:
                return UnknownJobError(line)
            case HTTPStatus.CONFLICT:
                return TemporaryError(line)
            case HTTPStatus.INSUFFICIENT_STORAGE:
                return OutputError(line)
            case _ if status in RETRY_AFTER or status == HTTPStatus.REQUEST_TIMEOUT:
                return LostError(line)
            case _ if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
                return JobError(*(f"{self.url}: {problem}" for problem in problems or [detail]))
        return UnavailableError(line)


class Patience:
    """Waits between attempts, each time longer, and gives up when the server has been away for too long."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pause_s = FIRST_PAUSE_S
        self._lost_at_s: float | None = None

    def begin_anew(self) -> None:
        """Take note that something came through."""
        self._pause_s, self._lost_at_s = FIRST_PAUSE_S, None

    def wait(self, error: LostError) -> None:
        """Pause before the next attempt. Raises the error if the server has been away for too long."""
        now_s = self._server.clock()
        if self._lost_at_s is None:
            self._lost_at_s = now_s
            self._server.on_trouble(f"{error}; trying again")
        elif now_s - self._lost_at_s > PATIENCE_S:
            raise error
        self._server.pause(self._pause_s)
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)


def _without_secrets(url: str) -> str:
    """Return a URL without user name, password and the token of the path /t/TOKEN."""
    url = re.sub(r"^(\w+://)?[^/?#]*@", r"\1", url)
    return re.sub(r"/t/[^/?#]*", "", url)


def _reason(error: httpx.RequestError) -> str:
    """Return what the library says, without the number of a system error."""
    return re.sub(r"^\[.*?\] ", "", str(error)) or type(error).__name__


def _json(answer: httpx.Response) -> Any:
    """Return the JSON of an answer; None for anything else."""
    try:
        return answer.json()
    except ValueError:
        return None

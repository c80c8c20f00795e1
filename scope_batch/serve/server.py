"""Runs the server: state directory, workers and application, from the start to a clean end by a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import uvicorn

from scope_batch.errors import Interrupted, MissingInputError, TemporaryError
from scope_batch.files.access import shown, status_of
from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.lane import CHUNK_TIMEOUT_S
from scope_batch.jobs.supervisor import Supervisor
from scope_batch.models.folder import builtin_folder, models_folder
from scope_batch.render.options import RenderOptions
from scope_batch.serve.application import create_app
from scope_batch.serve.guard import Access
from scope_batch.serve.pipeline import Pipeline
from scope_batch.serve.requests import Files
from scope_batch.serve.roots import Root
from scope_batch.serve.service import Policy, Service
from scope_batch.serve.uploads import UploadLimits, Uploads

GRACE_S = 4
"""Answers that are not finished so many seconds after the signal are cut off."""
LORA_VARIABLE, ASSETS_VARIABLE = "DAYDREAM_SCOPE_LORA_DIR", "DAYDREAM_SCOPE_ASSETS_DIR"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Options of `scope-batch serve`. models: a folder, "tiny", or None for the default places."""

    state_dir: Path
    port: int = 8000
    access: Access = field(default_factory=Access)
    policy: Policy = field(default_factory=Policy)
    limits: UploadLimits = field(default_factory=UploadLimits)
    options: RenderOptions = field(default_factory=RenderOptions)
    devices: tuple[str, ...] = ("auto",)
    chunk_timeout_s: float = CHUNK_TIMEOUT_S
    models: str | None = None
    lora_root: Path | None = None
    assets_root: Path | None = None

    def roots(self) -> tuple[Root, Root]:
        """Return the roots of LoRAs and of assets; those that are not given are where Scope keeps them.

        Raises MissingInputError for a given one that is no folder.
        """
        base = models_folder(None if builtin_folder(self.models) else self.models)
        lora = self.lora_root or _of_environment(LORA_VARIABLE) or base / "lora"
        assets = self.assets_root or _of_environment(ASSETS_VARIABLE) or base.parent / "assets"
        for folder, option in ((self.lora_root, "--lora-root"), (self.assets_root, "--assets-root")):
            status = None if folder is None else status_of(folder)
            if folder is not None and (status is None or not stat.S_ISDIR(status.st_mode)):
                raise MissingInputError(f"{option} {shown(folder)}: there is no such folder")
        return Root(lora.absolute(), "--lora-root"), Root(assets.absolute(), "--assets-root")


def serve(settings: ServerSettings, announce: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM, then let the chunks in flight be committed; a second signal stops at once.

    announce  called with the server's URL once it listens.
    Raises TemporaryError if the address or the state directory is in use, OutputError if the latter is not writable.
    """
    loras, assets = settings.roots()
    with listening(settings.access.host, settings.port) as listener, JobTable(settings.state_dir) as table:
        queue_length = settings.policy.most_active - len(settings.devices)
        supervisor = Supervisor(table, settings.options, settings.devices, queue_length, settings.chunk_timeout_s)
        files = Files(Uploads(settings.state_dir.absolute() / "uploads", settings.limits), assets, loras)
        with _signals() as signals, supervisor:
            service = Service(table, supervisor, files, Pipeline(loras, settings.models), settings.policy)
            server = _Server(service, settings.access)
            signals.end(server)
            try:
                announce(_url(listener))
                server.run([listener])
                supervisor.drain()
            except Interrupted:
                supervisor.drain(0)


class _Server(uvicorn.Server):
    """Ends the streams of events when a signal arrives: uvicorn waits for open answers."""

    def __init__(self, service: Service, access: Access) -> None:
        # No access log: a path may hold the token.
        super().__init__(
            uvicorn.Config(
                create_app(service, access),
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        asyncio.get_running_loop().call_soon_threadsafe(self._service.closing.set)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on an address during the with-body; port 0: any free one. Raises TemporaryError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(found[4][:2], family=found[0], backlog=2048)
        # accepted connections inherit it; asyncio sets it only for sockets made with the protocol's number
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not a host name"
        raise TemporaryError(f"{shown(Path(host))}, port {port}: cannot listen: {reason}") from error
    with listener:
        yield listener


class _Signals:
    """Takes the signals that come before uvicorn does, and the one that ended it, which it raises again.

    The first one ends the server, also before that has begun to run; the next one raises Interrupted. Later ones have
    no effect: the workers are killed already, and the table is not closed before their threads have ended.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._server: uvicorn.Server | None = None

    def end(self, server: uvicorn.Server) -> None:
        """End this server after the first signal, or at once if that has come."""
        self._server = server
        server.should_exit = self._seen > 0

    def handle(self, signum: int, _: FrameType | None) -> None:
        self._seen += 1
        if self._seen > 2:
            return
        if self._seen == 2:
            raise Interrupted(signum, now=True)
        if self._server is not None:
            self._server.should_exit = True


@contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    before = {number: signal.signal(number, signals.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _of_environment(variable: str) -> Path | None:
    return Path(value) if (value := os.environ.get(variable)) else None

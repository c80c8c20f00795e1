"""Takes requests for renders and answers for their jobs, by the job table and whoever runs its jobs."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from scope_batch.core.plan import Plan
from scope_batch.errors import ProblemsError
from scope_batch.job import Job
from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.listeners import Change
from scope_batch.jobs.records import WAITING, BusyError, JobRecord, JobSettings
from scope_batch.jobs.worker import LoadOrder
from scope_batch.render.prepare import prepare_job
from scope_batch.serve.bodies import checked, whole_body
from scope_batch.serve.downloads import Content, Format, output_content, preview_jpeg
from scope_batch.serve.event_stream import EventStream, Listener, Words
from scope_batch.serve.job_events import RAW_NAME, caller_text, job_of_output, protocol_event, state_of
from scope_batch.serve.job_text import MAX_TEXT_BYTES, check_job_text, check_planned_frames, check_record, read_job_text
from scope_batch.serve.pipeline import LoadReply, LoadRequest, Pipeline
from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.requests import Files, Translation, in_client_words, read_body, translate, without_refused_fields

VIDEO_NAME = "out.mp4"
PREVIEW_NAME = "preview.png"
SETTINGS = JobSettings((RAW_NAME, VIDEO_NAME), PREVIEW_NAME)
CHECK_S, CHECK_THREADS = 20.0, 1
"""A check of a job's text may take so long; so many jobs are checked or planned at once, since that takes the time of
other threads."""
SWEEP_S = 600.0
_T = TypeVar("_T")
log = logging.getLogger(__name__)


class Runner(Protocol):
    """Runs the jobs of the table; the supervisor of `scope_batch.jobs`."""

    def submit(self, request: str, settings: JobSettings, caller: str = "", key: str | None = None) -> JobRecord: ...

    def cancel(self, job: str) -> JobRecord | None: ...

    def load(self, order: LoadOrder, done: Callable[[str], object]) -> None: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of the server.

    most_active    jobs that may run or wait; workers: so many of them run at once.
    on_disconnect  "cancel" a job whose client leaves, or "continue".
    keep_s         uploads and jobs are kept so many seconds.
    """

    most_active: int = 1
    workers: int = 1
    on_disconnect: Literal["cancel", "continue"] = "cancel"
    keep_s: float = 24 * 3600.0
    read_timeout_s: float = 60.0


@dataclass(slots=True)
class Service:
    """The state of the server. `closing` is set when it shuts down.

    Methods that are no coroutines wait for the disk: the event loop has them called in threads.
    """

    table: JobTable
    runner: Runner
    files: Files
    pipeline: Pipeline
    policy: Policy = Policy()
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _loading: threading.Lock = field(default_factory=threading.Lock)
    """Keeps two loads in one order for the status and for the runner."""
    _checks: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(CHECK_THREADS))

    async def load(self, request: Request) -> LoadReply:
        """Begin to load the pipeline of a request. Raises BusyError while a job runs or waits."""
        self._refuse_if_closing()
        return await run_in_threadpool(self._load, await self.read(request))

    def _load(self, body: bytes) -> LoadReply:
        wanted = checked(LoadRequest, read_body(body))
        if self.table.active():
            raise BusyError("a job runs or waits; the pipeline cannot be loaded now")
        with self._loading:
            reply, order = self.pipeline.load(wanted)
            self.runner.load(order, partial(self.pipeline.finish, order))
        return reply

    async def submit(self, request: Request) -> EventStream:
        """Add the job of a request, and answer with its events. Raises before the first event if there is no job."""
        await run_in_threadpool(self.refuse_if_busy)
        body = await whole_body(request, self.policy.read_timeout_s)
        record = await self.planned(partial(self._submit, body))
        on_hang_up = None if self.policy.on_disconnect == "continue" else lambda: self.runner.cancel(record.id)
        return EventStream(
            Listener(self.table, record.id, on_hang_up=on_hang_up, position=self._position), self.closing
        )

    def events(self, job: str, after: int, words: Words = protocol_event) -> EventStream:
        """Answer with the events of a job after the one with that number."""
        position = self._position if words is protocol_event else None
        return EventStream(
            Listener(self.table, self.known(job).id, after, words=words, position=position), self.closing
        )

    def state(self, job: str) -> dict[str, Any]:
        return self._state(self.known(job))

    def jobs(self, limit: int, before: str | None) -> dict[str, Any]:
        """Return the states of the newest jobs, those submitted before a job, and how many jobs may run or wait."""
        return {
            "jobs": [self._state(record) for record in self.records(limit, before)],
            "active": len(self.table.active()),
            "most_active": self.policy.most_active,
        }

    def records(self, limit: int, after: str | None = None, *, newest_first: bool = True) -> list[JobRecord]:
        """Return the jobs behind the job `after`, or from the first one on, without those that are to be removed."""
        found = self.table.records(limit, after=after, newest_first=newest_first)
        return [record for record in found if not record.unwanted]

    def _state(self, record: JobRecord) -> dict[str, Any]:
        ahead = self.table.jobs_ahead(record.id) if record.state in WAITING else None
        return state_of(record, ahead, has_preview=(self.table.folder(record.id) / PREVIEW_NAME).is_file())

    async def check_text(self, request: Request) -> bytes:
        """Return the JSON of a `JobCheck` of the job's text in the body. Raises HttpProblem (503) if it takes long."""
        body = await whole_body(request, self.policy.read_timeout_s, MAX_TEXT_BYTES)
        return await self._in_time(partial(check_job_text, body, self.files, self.pipeline.models))

    async def check_job(self, job: str) -> bytes:
        """Return the JSON of a `JobCheck` of a job in the table. Raises HttpProblem (503) if it takes long."""
        return await self._in_time(partial(check_record, await run_in_threadpool(self.known, job)))

    async def _in_time(self, check: Callable[[], bytes]) -> bytes:
        try:
            async with asyncio.timeout(CHECK_S):
                # A check that takes longer ends by itself, and keeps its place among the threads until then.
                return await to_thread.run_sync(check, abandon_on_cancel=True, limiter=self._checks)
        except TimeoutError:
            raise HttpProblem(
                HTTPStatus.SERVICE_UNAVAILABLE, f"the check was given up after {CHECK_S:g} seconds"
            ) from None

    async def submit_text(self, request: Request) -> str:
        """Add the job of the text in the body and return its id. It does not depend on who watches it."""
        await run_in_threadpool(self.refuse_if_busy)
        body = await whole_body(request, self.policy.read_timeout_s, MAX_TEXT_BYTES)
        return (await self.planned(partial(self._submit_text, body))).id

    async def planned(self, submit: Callable[[], _T]) -> _T:
        """Call what plans and submits a job in a thread, a few at a time, as planning takes the time of all threads."""
        return await to_thread.run_sync(submit, limiter=self._checks)

    def preview(self, job: str) -> bytes:
        """Return the last frame of the last finished chunk as a small JPEG. Raises HttpProblem if there is none yet."""
        return preview_jpeg(self.table.folder(self.known(job).id) / PREVIEW_NAME)

    def cancel(self, job: str | None) -> None:
        """Cancel a job, or the oldest one that has not ended; does nothing when idle."""
        if job is not None:
            self.runner.cancel(self.known(job).id)
        elif active := self.table.active():
            self.runner.cancel(active[0].id)

    def delete(self, job: str) -> bool:
        """Cancel a job if need be, and remove it with its outputs when it has ended. Returns whether it is gone."""
        self.runner.cancel(self.known(job).id)
        self.table.discard(job)
        self.table.remove_unwanted()
        return self.table.get(job) is None

    def download(self, handle: str, wanted: Format) -> Content:
        """Return the output of a job. Raises HttpProblem: 403 for any other name, 404 if it is gone."""
        if (job := job_of_output(handle)) is None:
            raise HttpProblem(HTTPStatus.FORBIDDEN, "path: is no handle of an output of this server")
        record = self.table.get(job)
        return output_content(record.outputs if record else (), wanted)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Remove what has expired, and jobs that clients deleted while they ran."""
        loop = asyncio.get_running_loop()

        def listen(change: Change) -> None:
            if not change.is_news:
                loop.call_soon_threadsafe(self._changed.set)

        with self.table.listeners.listening(listen):
            cleaner = asyncio.create_task(self._clean())
            try:
                yield
            finally:
                cleaner.cancel()

    async def _clean(self) -> None:
        async def call(step: Callable[[], None]) -> None:
            try:
                await run_in_threadpool(step)
            except Exception as error:  # such as a full disk: the next time may do better
                log.error("what has expired cannot be removed: %s", error, exc_info=error)

        while True:
            await call(self.expire)
            deadline = asyncio.get_running_loop().time() + SWEEP_S
            while (left := deadline - asyncio.get_running_loop().time()) > 0:
                self._changed.clear()
                await call(self.table.remove_unwanted)
                try:
                    await asyncio.wait_for(self._changed.wait(), left)
                except TimeoutError:
                    break

    def expire(self) -> None:
        """Remove jobs that ended too long ago, and old uploads that no job needs any more."""
        self.table.expire(self.policy.keep_s)
        requests = " ".join(record.request for record in self.table.active())
        self.files.uploads.expire(self.policy.keep_s, is_used=lambda path: path.name in requests)

    def _submit(self, body: bytes) -> JobRecord:
        self.refuse_if_busy()
        request = read_body(body)
        job, translation = translate(request, self.pipeline.defaults_for(request.get("pipeline_id")), self.files)
        try:
            job = without_refused_fields(job, translation)
        except ProblemsError as error:
            raise in_client_words(error, translation.names) from None
        return self.add(job, translation)

    def add(self, job: Job, translation: Translation, **notes: str | None) -> JobRecord:
        """Plan a job and add it to the table. Raises JobError or MissingInputError in the client's words, BusyError.

        notes  are kept with the job; if one with the same `key` is in the table, that one is returned.
        """
        try:
            plan = prepare_job(job)
            check_planned_frames(job, plan)
        except ProblemsError as error:
            raise in_client_words(error, translation.names) from None
        return self._add(translation, plan, notes)

    def _submit_text(self, body: bytes) -> JobRecord:
        self.refuse_if_busy()
        _, translation, plan = read_job_text(body, self.files, self.pipeline.models)
        return self._add(translation, plan, {})

    def _add(self, translation: Translation, plan: Plan, notes: Mapping[str, Any]) -> JobRecord:
        sizes = {"total_chunks": len(plan.chunks), "num_frames": plan.delivery.frames}
        caller = caller_text(translation, {**notes, **sizes})
        return self.runner.submit(json.dumps(translation.fields), SETTINGS, caller, notes.get("key"))

    def _position(self, record: JobRecord) -> int:
        """Return how many jobs must end before this one begins."""
        if record.state not in WAITING:
            return 0
        return max(0, self.table.jobs_ahead(record.id) - self.policy.workers + 1)

    async def read(self, request: Request) -> bytes:
        """Return the body of a request. Raises HttpProblem: 413 for a long one, 408 for a client that stalls."""
        return await whole_body(request, self.policy.read_timeout_s)

    def refuse_if_busy(self) -> None:
        """Raise before the work of a plan; the table decides again when the job is added."""
        self._refuse_if_closing()
        if len(self.table.active()) >= self.policy.most_active:
            raise BusyError(f"busy: {self.policy.most_active} of at most {self.policy.most_active} jobs run or wait")

    def _refuse_if_closing(self) -> None:
        if self.closing.is_set():
            raise HttpProblem(HTTPStatus.SERVICE_UNAVAILABLE, "the server is shutting down")

    def known(self, job: str) -> JobRecord:
        """Return a job. Raises HttpProblem (404) if there is none, or it is to be removed."""
        record = self.table.get(job)
        if record is None or record.unwanted:
            raise HttpProblem(HTTPStatus.NOT_FOUND, "there is no such job, or no longer")
        return record

from __future__ import annotations

import asyncio
import functools
import json
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scope_batch.core.plan import Plan
from scope_batch.errors import JobError, OutputError, TemporaryError
from scope_batch.job import Job
from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.records import JobRecord, JobSettings
from scope_batch.jobs.worker import LoadOrder
from scope_batch.serve import job_text as job_text_module
from scope_batch.serve import service as service_module
from scope_batch.serve.application import FAMILIES, create_app
from scope_batch.serve.bodies import MAX_BODY_BYTES
from scope_batch.serve.guard import Access, Guard
from scope_batch.serve.job_events import RAW_NAME, caller_text
from scope_batch.serve.job_text import MAX_TEXT_BYTES
from scope_batch.serve.pipeline import LoadRequest, Pipeline
from scope_batch.serve.requests import MAX_FRAMES, Files, Translation
from scope_batch.serve.roots import Root
from scope_batch.serve.service import PREVIEW_NAME, Policy, Service
from scope_batch.serve.uploads import UploadLimits, Uploads
from tests.serve.bodies import SHAPE, VIDEO
from tests.serve.client import Client, post
from tests.serve.conftest import Call

AS_JSON = {"Content-Type": "application/json"}
NOBODY = caller_text(Translation({}))
REQUEST = {"pipeline_id": "slate", "prompt": "a cat", "num_frames": 21}
FRAMES = np.arange(2 * 16 * 16 * 3, dtype=np.uint8).reshape(2, 16, 16, 3)


@dataclass
class ByHand:
    """Runs no job by itself; `then` is called with each new job, which is running."""

    table: JobTable
    then: Callable[[JobRecord], object] = lambda _: None
    load_error: str | None = ""
    """Why nothing can be loaded; None: it is not known yet."""
    loaded: list[LoadOrder] = field(default_factory=list)

    def submit(self, request: str, settings: JobSettings, caller: str = "", key: str | None = None) -> JobRecord:
        record = self.table.submit(request, settings, most_active=1, caller=caller, key=key)
        self.table.take_next()
        self.then(record)
        return record

    def cancel(self, job: str) -> JobRecord | None:
        return self.table.cancel(job)

    def load(self, order: LoadOrder, done: Callable[[str], object]) -> None:
        self.loaded.append(order)
        if self.load_error is not None:
            done(self.load_error)

    def finish(self, record: JobRecord) -> None:
        path = self.table.folder(record.id) / RAW_NAME
        np.save(path, FRAMES)
        self.table.end(record.id, "done", outputs=(str(path),))


@dataclass
class World:
    app: Guard
    service: Service
    runner: ByHand
    folder: Path

    @property
    def table(self) -> JobTable:
        return self.service.table

    def run(self, fields: Any, client: Client | None = None, family: str = FAMILIES[0]) -> Client:
        return asyncio.run(post(self.app, family, fields, client))

    def start(self) -> str:
        """Start a job that nobody listens to."""
        return self.runner.submit(json.dumps(REQUEST), JobSettings((RAW_NAME,)), NOBODY).id


@contextmanager
def make_world(tmp_path: Path) -> Iterator[World]:
    """Yield an application whose folders are below `tmp_path`."""
    for folder in ("assets", "lora"):
        (tmp_path / folder).mkdir()
    (tmp_path / "assets" / "tiger.png").write_bytes(b"x")
    (tmp_path / "lora" / "l.safetensors").write_bytes(b"x")
    (tmp_path / "lora" / "notes.txt").write_bytes(b"x")
    assets, loras = Root(tmp_path / "assets", "--assets-root"), Root(tmp_path / "lora", "--lora-root")
    with JobTable(tmp_path / "state") as table:
        files = Files(Uploads(tmp_path / "uploads", UploadLimits(data_bytes=1000)), assets, loras)
        runner = ByHand(table)
        service = Service(table, runner, files, Pipeline(loras, None))
        yield World(create_app(service, Access()), service, runner, tmp_path)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with make_world(tmp_path) as made:
        yield made


@pytest.fixture
def loaded(world: World, call: Call) -> World:
    assert load(world, call).status_code == 200
    return world


def load(world: World, call: Call, **params: Any) -> Any:
    return call(world.app, "POST", "/api/v1/pipeline/load", json={"pipeline_ids": ["slate"], "load_params": params})


def status(world: World, call: Call) -> dict[str, Any]:
    answer: dict[str, Any] = call(world.app, "GET", "/api/v1/pipeline/status").json()
    return answer


def test_the_pipeline_is_loaded_with_the_body_of_the_draft(world: World, call: Call) -> None:
    assert status(world, call)["status"] == "not_loaded"
    lora = {"path": "l.safetensors", "scale": 0.5, "merge_mode": "runtime_peft"}
    body = {
        "pipeline_ids": ["edges", "slate"],
        "load_params": {"height": 320, "width": 576, "loras": [lora], "lora_merge_mode": "runtime_peft"},
        "connection_id": None,
        "connection_info": None,
        "user_id": None,
    }
    answer = call(world.app, "POST", "/api/v1/pipeline/load", json=body)
    assert answer.json()["message"] == "Pipeline loading initiated successfully"
    after = status(world, call)
    assert (after["status"], after["pipeline_id"], after["error"]) == ("loaded", "slate", None)
    assert after["loaded_lora_adapters"] == [{"path": "l.safetensors", "scale": 0.5}]


def test_the_status_is_loading_before_the_reply(world: World, call: Call) -> None:
    world.runner.load_error = None
    load(world, call)
    assert status(world, call)["status"] == "loading"
    assert world.run(REQUEST).status == 400


def test_what_cannot_be_loaded_is_an_error_of_the_status(world: World, call: Call) -> None:
    world.runner.load_error = f"{world.folder}/models/vae.pth: is missing"
    load(world, call)
    after = status(world, call)
    assert (after["status"], after["error"]) == ("error", "vae.pth: is missing")
    assert world.run(REQUEST).status == 400


def test_of_two_loads_the_second_counts(world: World, call: Call) -> None:
    world.runner.load_error = None
    load(world, call, height=64)
    load(world, call, height=128)
    first, second = world.runner.loaded
    world.service.pipeline.finish(first, "")
    assert status(world, call)["status"] == "loading"
    world.service.pipeline.finish(second, "")
    after = status(world, call)
    assert (after["status"], after["load_params"]) == ("loaded", {"height": 128})


@pytest.mark.parametrize(
    ("modes", "merging"),
    [
        ({}, None),
        ({"lora_merge_mode": "runtime_peft"}, "never"),
        ({"lora_merge_mode": "permanent_merge"}, None),
        ({"merge_mode": "runtime_peft"}, "never"),
        ({"merge_mode": "permanent_merge", "lora_merge_mode": "runtime_peft"}, None),
    ],
    ids=str,
)
def test_loras_whose_scales_may_change_are_not_merged(
    modes: dict[str, str], merging: str | None, world: World, call: Call
) -> None:
    mode = {name: value for name, value in modes.items() if name == "merge_mode"}
    rest = {name: value for name, value in modes.items() if name != "merge_mode"}
    assert load(world, call, loras=[{"path": "l.safetensors", "scale": 0, **mode}], **rest).status_code == 200
    fields = json.loads(world.runner.loaded[0].request)
    assert fields.get("lora_merge") == merging
    assert fields["lora_scales"] == {str(world.folder / "lora" / "l.safetensors"): 0}


@pytest.mark.parametrize(("params", "vace"), [({}, True), ({"vace_enabled": False}, False)])
def test_vace_is_loaded_too_unless_it_is_not_wanted(
    params: dict[str, Any], vace: bool, world: World, call: Call
) -> None:
    world.service.pipeline = Pipeline(world.service.files.loras, "tiny")
    load(world, call, **params)
    assert world.runner.loaded[0].vace == vace


def test_vace_is_not_loaded_where_its_files_are_missing(world: World, call: Call) -> None:
    world.service.pipeline = Pipeline(world.service.files.loras, str(world.folder))
    call(world.app, "POST", "/api/v1/pipeline/load", json={"pipeline_ids": ["longlive"]})
    assert not world.runner.loaded[0].vace


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"pipeline_ids": []}, 400),
        ({"pipeline_ids": ["nonsense"]}, 400),
        ({"pipeline_ids": ["slate", "longlive"]}, 400),
        ({"pipeline_ids": ["edges"]}, 400),
        ({}, 422),
        ({"pipeline_ids": ["slate"], "load_params": {"height": 321}}, 422),
        ({"pipeline_ids": ["slate"], "load_params": {"seed": 10**30}}, 422),
        ({"pipeline_ids": ["slate"], "load_params": {"vae_type": "x"}}, 422),
        ({"pipeline_ids": ["slate"], "load_params": {"lora_merge_mode": "x"}}, 422),
        ({"pipeline_ids": ["slate"], "load_params": {"loras": [{"path": "../x.safetensors"}]}}, 422),
        ({"pipeline_ids": ["slate"], "load_params": {"loras": [{"path": "/etc/passwd"}]}}, 422),
        ({"pipeline_ids": ["slate"], "load_params": {"loras": [{"path": "l.safetensors", "scale": 11}]}}, 422),
        ({"pipeline_ids": ["slate"], "load_params": {"loras": 2 * [{"path": "l.safetensors"}]}}, 422),
    ],
    ids=str,
)
def test_a_wrong_load_is_refused_and_changes_nothing(body: Any, code: int, world: World, call: Call) -> None:
    answer = call(world.app, "POST", "/api/v1/pipeline/load", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (code, "application/problem+json")
    assert status(world, call)["status"] == "not_loaded"


def test_a_load_is_read_as_far_as_a_body_may_be_long(world: World, call: Call) -> None:
    answer = load(world, call, foo="x" * MAX_BODY_BYTES)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def test_half_a_surrogate_pair_in_a_load_is_refused(world: World, call: Call) -> None:
    body = b'{"pipeline_ids": ["slate"], "load_params": {"foo": "\\ud800"}}'
    answer = call(world.app, "POST", "/api/v1/pipeline/load", content=body, headers=AS_JSON)
    assert answer.status_code == 422
    assert status(world, call)["status"] == "not_loaded"


def test_a_fault_of_a_load_names_its_field(world: World, call: Call) -> None:
    assert load(world, call, height="tall").json()["problems"][0].startswith("load_params.height: ")


def test_a_runner_that_begins_to_load_does_not_hold_up_the_event_loop(
    world: World, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*_: Any) -> None:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()

    monkeypatch.setattr(world.runner, "load", begin)
    assert load(world, call).status_code == 200


def test_two_loads_at_once_reach_the_runner_in_the_order_of_the_status(
    world: World, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, first, second = world.service.pipeline.load, threading.Event(), threading.Event()

    def begin_slowly(request: LoadRequest) -> Any:
        begun, is_first = begin(request), not first.is_set()
        first.set()
        if is_first:
            second.wait(0.3)  # time for the other load to overtake this one, if it may
        return begun

    monkeypatch.setattr(world.service.pipeline, "load", begin_slowly)
    orders: list[LoadOrder] = []
    monkeypatch.setattr(world.runner, "load", lambda order, _: (orders.append(order), second.set()))
    threads = [threading.Thread(target=load, args=(world, call), kwargs={"height": size}) for size in (64, 128)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = json.loads(orders[-1].request)
    assert status(world, call)["load_params"] == {"height": last["height"]}


def test_unknown_load_parameters_are_warned_about(world: World, call: Call) -> None:
    assert load(world, call, frobnicate=1).json()["warnings"] == ["load_params.frobnicate: unknown key, ignored"]


def test_nothing_is_loaded_while_a_job_runs(loaded: World, call: Call) -> None:
    loaded.start()
    assert load(loaded, call).status_code == 409
    assert status(loaded, call)["status"] == "loaded"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_job_from_upload_to_download(family: str, loaded: World, call: Call) -> None:
    headers = {**SHAPE, "Content-Type": "application/octet-stream"}
    upload = call(loaded.app, "POST", f"{family}/upload", content=VIDEO.tobytes(), headers=headers).json()
    assert upload == {"input_path": upload["input_path"], "num_frames": 3, "shape": [*VIDEO.shape]}
    loaded.runner.then = loaded.runner.finish
    client = loaded.run({**REQUEST, "input_path": upload["input_path"], "frobnicate": 1}, family=family)
    assert client.status == 200
    (first, started), warning, (name, complete) = client.events
    sizes = {"total_chunks": 2, "num_frames": 21, "position": 0}
    assert (first, started) == ("started", {"job": started["job"], **sizes})
    assert (warning, name) == (("warning", {"message": "frobnicate: unknown key, ignored"}), "complete")
    assert complete["video_shape"] == [*FRAMES.shape]
    answer = call(loaded.app, "GET", f"{family}/download", params={"path": complete["output_path"]})
    assert answer.content[20:] == FRAMES.tobytes()


def test_a_long_input_makes_no_longer_video_than_a_number_may(loaded: World) -> None:
    with (loaded.folder / "uploads" / f"video-{'0' * 32}.bin").open("wb") as file:
        file.write(struct.pack("<5I", 4, MAX_FRAMES + 1, 64, 64, 3))
        file.truncate(20 + (MAX_FRAMES + 1) * 64 * 64 * 3)  # black frames, which take no room on the disk
    loaded.runner.then = loaded.runner.finish
    fields = {**REQUEST, "num_frames": "input", "input_path": f"video-{'0' * 32}", "height": 64, "width": 64}
    client = loaded.run(fields)
    assert client.status == 422
    assert json.loads(client.text)["detail"] == (
        "num_frames: the video would have 10001 frames; at most 10000 are allowed over HTTP"
    )


def test_an_address_with_a_slash_too_many_is_not_redirected(world: World, call: Call) -> None:
    assert call(world.app, "GET", "/api/v1/assets/").status_code == 404


def test_a_field_that_has_no_effect_is_a_warning(loaded: World) -> None:
    loaded.runner.then = loaded.runner.finish
    events = loaded.run({**REQUEST, "noise_scale": 0.5}).events
    message = "noise_scale: cannot be honoured, ignored: there is no input video (input_path)"
    assert events[1] == ("warning", {"message": message})
    assert "noise_scale" not in json.loads(loaded.table.records()[0].request)


def test_data_is_uploaded(world: World, call: Call) -> None:
    answer = call(world.app, "POST", "/api/v1/batch/upload-data", content=b"abc")
    assert answer.json() == {"data_blob_path": answer.json()["data_blob_path"], "size_bytes": 3}
    assert call(world.app, "POST", "/api/v1/batch/upload-data", content=bytes(1001)).status_code == 413


def test_the_request_reaches_the_table_with_paths_and_defaults(loaded: World, call: Call) -> None:
    load(loaded, call, height=64, width=96, seed=7)
    loaded.runner.then = loaded.runner.finish
    loaded.run({"prompt": "a cat", "num_frames": 21})
    fields = json.loads(loaded.table.records()[0].request)
    wanted = {"pipeline_id": "slate", "height": 64, "width": 96, "seed": 7, "chunk_grid": 12}
    assert {name: fields[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({**REQUEST, "pipeline_id": "longlive"}, 400),
        ({**REQUEST, "height": 321}, 422),
        ({"pipeline_id": "slate"}, 422),
        ([], 422),
        ({**REQUEST, "input_path": "/etc/passwd"}, 422),
        ({**REQUEST, "lora_scales": {"l.safetensors": 1}}, 422),
        ({**REQUEST, "first_frame_image": "tiger.png"}, 422),
        ({**REQUEST, "prompt": "x" * MAX_BODY_BYTES}, 413),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_request_is_refused_before_any_event(fields: Any, code: int, loaded: World) -> None:
    client = loaded.run(fields)
    assert (client.status, client.events, loaded.table.records()) == (code, [], [])
    assert str(loaded.folder) not in client.text.decode()


def test_a_busy_server_says_so_before_any_event(loaded: World) -> None:
    loaded.start()
    client = loaded.run(REQUEST)
    assert (client.status, client.events) == (409, [])


def test_of_fifty_posts_at_once_one_runs(loaded: World) -> None:
    loaded.service.policy = Policy(on_disconnect="continue")

    async def post_all() -> list[int]:
        clients = [post(loaded.app, "/api/v1/batch", REQUEST, Client(leave_at="retry")) for _ in range(50)]
        return [client.status for client in await asyncio.gather(*clients)]

    codes = asyncio.run(post_all())
    assert (codes.count(200), codes.count(409)) == (1, 49)


@pytest.mark.parametrize(("policy", "cancelled"), [("cancel", True), ("continue", False)])
def test_a_client_that_leaves_cancels_its_job_if_so_configured(policy: Any, cancelled: bool, loaded: World) -> None:
    loaded.service.policy = Policy(on_disconnect=policy)
    loaded.run(REQUEST, Client(leave_at="retry"))
    (record,) = loaded.table.records()
    assert (record.state, record.cancel_requested) == ("running", cancelled)


def test_who_only_watches_cancels_nothing(loaded: World) -> None:
    job = loaded.start()
    stream = loaded.service.events(job, 0)
    client = Client(leave_at="retry")
    asyncio.run(stream({"type": "http"}, client.receive, client.send))
    assert not loaded.service.state(job)["error"]
    record = loaded.table.get(job)
    assert record is not None
    assert not record.cancel_requested


@pytest.mark.parametrize("family", FAMILIES)
def test_cancel_is_answered_in_every_state(family: str, loaded: World, call: Call) -> None:
    for start in (lambda: "", loaded.start, lambda: ""):
        start()
        answer = call(loaded.app, "POST", f"{family}/cancel")
        assert (answer.status_code, answer.json()) == (200, {"status": "cancelling"})
    assert loaded.table.records()[0].cancel_requested


def test_cancel_may_name_the_job(loaded: World, call: Call) -> None:
    job = loaded.start()
    assert call(loaded.app, "POST", "/api/v1/batch/cancel", params={"job": "0" * 32}).status_code == 404
    assert not loaded.table.records()[0].cancel_requested
    assert call(loaded.app, "POST", "/api/v1/batch/cancel", params={"job": job}).status_code == 200
    assert loaded.table.records()[0].cancel_requested


def test_the_state_of_a_job_that_waits_tells_how_many_come_before_it(loaded: World, call: Call) -> None:
    running = loaded.start()
    waiting = loaded.table.submit(json.dumps(REQUEST), JobSettings((RAW_NAME,)), most_active=2, caller=NOBODY).id
    states = [call(loaded.app, "GET", f"/api/v1/batch/{job}").json() for job in (running, waiting)]
    assert [(state["state"], state["jobs_ahead"]) for state in states] == [("running", None), ("queued", 1)]


def test_a_job_has_a_state_and_its_events_again(loaded: World, call: Call) -> None:
    loaded.runner.then = loaded.runner.finish
    job = loaded.start()
    state = call(loaded.app, "GET", f"/api/v1/batch/{job}").json()
    assert (state["state"], state["output_path"]) == ("done", f"output-{job}")
    assert b"event: complete" in call(loaded.app, "GET", f"/api/v1/batch/{job}/events").content
    again = call(loaded.app, "GET", f"/api/v1/batch/{job}/events", headers={"Last-Event-ID": "1"})
    assert b"event:" not in again.content


@pytest.mark.parametrize("path", ["x", "0" * 32, "0" * 32 + "/events", "..%2f..%2fetc", "%00"])
def test_an_unknown_job_is_404(path: str, world: World, call: Call) -> None:
    assert call(world.app, "GET", f"/api/v1/batch/{path}").status_code == 404


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "9" * 99])
def test_a_wrong_event_id_is_refused(value: str, world: World, call: Call) -> None:
    answer = call(world.app, "GET", f"/api/v1/batch/{world.start()}/events", headers={"Last-Event-ID": value})
    assert answer.status_code == 422


def test_a_finished_job_is_deleted_with_its_output(loaded: World, call: Call) -> None:
    loaded.runner.then = loaded.runner.finish
    job = loaded.start()
    assert call(loaded.app, "DELETE", f"/api/v1/batch/{job}").json() == {"status": "deleted"}
    assert not loaded.table.folder(job).exists()
    for path in (f"/api/v1/batch/{job}", f"/api/v1/batch/download?path=output-{job}"):
        assert call(loaded.app, "GET", path).status_code == 404


def test_a_running_job_is_deleted_when_it_has_ended(loaded: World, call: Call) -> None:
    job = loaded.start()
    answer = call(loaded.app, "DELETE", f"/api/v1/batch/{job}")
    assert (answer.status_code, answer.json()) == (202, {"status": "cancelling"})
    assert call(loaded.app, "GET", f"/api/v1/batch/{job}").status_code == 404

    async def end_and_wait() -> None:
        async with loaded.service.running():
            loaded.table.end(job, "cancelled")
            while loaded.table.get(job) is not None:
                await asyncio.sleep(0)

    asyncio.run(end_and_wait())


def test_a_job_that_was_deleted_while_it_ran_stays_away_after_a_restart(loaded: World, call: Call) -> None:
    job, before = loaded.start(), loaded.service
    call(loaded.app, "DELETE", f"/api/v1/batch/{job}")
    after = create_app(Service(before.table, before.runner, before.files, before.pipeline), Access())
    assert call(after, "GET", f"/api/v1/batch/{job}").status_code == 404
    assert call(after, "GET", "/api/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/api/v1/batch", REQUEST),
        ("/api/v1/jobs", REQUEST),
        ("/api/v1/submissions", {"job": REQUEST}),
        ("/v1/videos", {"model": "slate", "prompt": "a cat"}),
    ],
)
def test_jobs_are_planned_one_after_the_other(
    path: str, fields: Any, loaded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, planned = threading.Event(), threading.Event(), list[bool]()

    def plan(_: Job) -> Plan:
        if first.is_set():
            second.set()
        first.set()
        planned.append(second.wait(0.3) and len(planned) == 0)  # time for the other request, if it may
        raise JobError("no such plan")

    async def post_two() -> list[Client]:
        return await asyncio.gather(*(post(loaded.app, path, fields) for _ in range(2)))

    for module in (service_module, job_text_module):
        monkeypatch.setattr(module, "prepare_job", plan)
    assert {client.status for client in asyncio.run(post_two())} <= {400, 422}
    assert planned == [False, False]


@pytest.mark.parametrize("step", ["expire", "remove"])
def test_an_error_does_not_end_the_removal_of_jobs(
    step: str, loaded: World, call: Call, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as a disk that is full for a moment."""
    job, working, failed = loaded.start(), getattr(loaded.table, step), threading.Event()
    call(loaded.app, "DELETE", f"/api/v1/batch/{job}")

    def fail_once(*values: Any) -> Any:
        if failed.is_set():
            return working(*values)
        failed.set()
        raise OutputError("no space left")

    async def end_twice() -> None:
        async with loaded.service.running():
            loaded.table.end(job, "cancelled")
            while not failed.is_set() or loaded.table.get(job) is not None:
                await asyncio.sleep(0.01)
                loaded.table.count_lost_worker(other)  # wakes the cleaner

    other = loaded.table.submit("{}", JobSettings(()), most_active=2).id
    monkeypatch.setattr(loaded.table, step, fail_once)
    asyncio.run(asyncio.wait_for(end_twice(), 20))
    assert "no space left" in caplog.text


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/etc/passwd", 403),
        ("x", 403),
        ("", 403),
        ("../output-" + "0" * 32, 403),
        ("output-" + "0" * 31, 403),
        ("output-" + "0" * 32 + "\n", 403),
        ("output-" + "0" * 32, 404),
    ],
)
def test_only_outputs_of_this_server_are_sent(path: str, code: int, world: World, call: Call) -> None:
    assert call(world.app, "GET", "/api/v1/batch/download", params={"path": path}).status_code == code


def test_a_file_for_people(loaded: World, call: Call) -> None:
    loaded.runner.then = loaded.runner.finish
    params = {"path": f"output-{loaded.start()}", "format": "npy"}
    answer = call(loaded.app, "GET", "/api/v1/generate/download", params=params)
    assert answer.content == (loaded.table.folder(loaded.table.records()[0].id) / RAW_NAME).read_bytes()
    answer = call(loaded.app, "GET", "/api/v1/generate/download", params={**params, "format": "mp4"})
    assert answer.status_code == 404
    answer = call(loaded.app, "GET", "/api/v1/generate/download", params={**params, "format": "exe"})
    assert answer.status_code == 422


def test_the_size_of_an_output_can_be_asked(loaded: World, call: Call) -> None:
    loaded.runner.then = loaded.runner.finish
    answer = call(loaded.app, "HEAD", "/api/v1/batch/download", params={"path": f"output-{loaded.start()}"})
    assert (answer.status_code, int(answer.headers["content-length"])) == (200, 20 + FRAMES.nbytes)


def test_a_server_that_shuts_down_takes_no_job(loaded: World) -> None:
    loaded.service.closing.set()
    assert loaded.run(REQUEST).status == 503


def test_a_runner_that_shuts_down_is_503(loaded: World) -> None:
    def refuse(_: JobRecord) -> None:
        raise TemporaryError("shutting down")

    loaded.runner.then = refuse
    assert loaded.run(REQUEST).status == 503


def test_what_is_old_goes_and_what_a_job_uses_stays(loaded: World, call: Call) -> None:
    uploads = loaded.service.files.uploads
    sent = [call(loaded.app, "POST", "/api/v1/batch/upload-data", content=b"x").json()["data_blob_path"] for _ in "ab"]
    used, unused = (uploads.path_of(handle, "data") for handle in sent)
    loaded.runner.submit(json.dumps({**REQUEST, "data_blob_path": str(used)}), JobSettings(()), NOBODY)
    loaded.service.policy = Policy(keep_s=-1)
    loaded.service.expire()
    assert (used.exists(), unused.exists()) == (True, False)
    loaded.table.end(loaded.table.records()[0].id, "failed")
    loaded.service.expire()
    assert (used.exists(), loaded.table.records()) == (False, [])


def test_what_the_server_has_is_listed(world: World, call: Call) -> None:
    assert call(world.app, "GET", "/api/v1/assets").json() == {"assets": [{"name": "tiger.png", "path": "tiger.png"}]}
    loras = call(world.app, "GET", "/api/v1/lora/list").json()
    assert loras == {"lora_files": [{"name": "l.safetensors", "path": "l.safetensors"}]}
    schemas = call(world.app, "GET", "/api/v1/pipelines/schemas").json()
    assert "longlive" in schemas["pipelines"]
    assert "chunk_specs" in schemas["job"]["properties"]
    assert call(world.app, "GET", "/health").json()["status"] == "healthy"


def test_an_asset_is_added_and_may_be_named(world: World, call: Call) -> None:
    answer = call(world.app, "POST", "/api/v1/assets", params={"filename": "a lion (1).PNG"}, content=b"lion")
    assert answer.json() == {"name": "a lion (1).PNG", "path": "a lion (1).PNG", "size_bytes": 4}
    assert world.service.files.assets.path_of("a lion (1).PNG").read_bytes() == b"lion"
    assert [*(world.folder / "uploads").glob("*.*")] == []


def test_assets_count_among_all_uploads(world: World, call: Call, tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "few", UploadLimits(all_bytes=10))
    world.service.files = replace(world.service.files, uploads=uploads)

    def add(name: str, size: int) -> int:
        return call(world.app, "POST", "/api/v1/assets", params={"filename": name}, content=bytes(size)).status_code

    assert [add("a.png", 5), add("a.png", 5), add("b.png", 5), add("c.png", 1)] == [200, 409, 200, 507]


@pytest.mark.parametrize(("characters", "status"), [(83, 200), (84, 422)])
def test_the_name_of_an_asset_fits_into_255_bytes(world: World, call: Call, characters: int, status: int) -> None:
    name = characters * "中" + ".jpeg"
    answer = call(world.app, "POST", "/api/v1/assets", params={"filename": name}, content=b"x")
    assert (answer.status_code, "255 bytes" in answer.text) == (status, status == 422)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("tiger.png", 409),
        ("link.png", 409),
        ("../lion.png", 422),
        ("sub/lion.png", 422),
        ("/tmp/lion.png", 422),
        (".lion.png", 422),
        ("lion.exe", 422),
        ("lion", 422),
        ("lion\n.png", 422),
        ("l\0.png", 422),
        ("x" * 300 + ".png", 422),
        ("", 422),
    ],
    ids=ascii,
)
def test_an_asset_with_a_bad_or_taken_name_is_refused(name: str, code: int, world: World, call: Call) -> None:
    (world.folder / "assets" / "link.png").symlink_to(world.folder / "lora" / "notes.txt")
    before = sorted(path for path in world.folder.rglob("*") if path.is_file())
    answer = call(world.app, "POST", "/api/v1/assets", params={"filename": name}, content=b"lion")
    assert answer.status_code == code
    assert sorted(path for path in world.folder.rglob("*") if path.is_file()) == before
    assert (world.folder / "assets" / "tiger.png").read_bytes() == b"x"


def test_every_call_of_the_contract_is_in_the_openapi_document(world: World, call: Call) -> None:
    paths = call(world.app, "GET", "/openapi.json").json()["paths"]
    for family in FAMILIES:
        calls = {"/upload", "/upload-data", "", "/cancel", "/download", "/{job}", "/{job}/events"}
        assert {f"{family}{name}" for name in calls} <= paths.keys()


def test_every_reference_in_the_openapi_document_leads_somewhere(world: World, call: Call) -> None:
    answer = call(world.app, "GET", "/openapi.json")
    document = answer.json()
    references = {*re.findall(r'"\$ref": ?"#/([^"]*)"', answer.text)}
    assert any(reference.endswith("/LoadParams") for reference in references)
    for reference in references:
        keys = (key.replace("~1", "/").replace("~0", "~") for key in reference.split("/"))
        assert functools.reduce(lambda value, key: value[key], keys, document)


def test_the_guard_stands_before_every_call(world: World, call: Call) -> None:
    for path in ("/health", "/openapi.json", "/api/v1/batch/x", "/nowhere"):
        assert call(world.app, "GET", path, headers={"Host": "evil.example"}).status_code == 421


JOB_TEXT = b"pipeline_id: slate\nprompt: a cat\nnum_frames: 21\n"
AS_YAML = {"Content-Type": "application/yaml"}


def test_every_call_of_the_page_is_in_the_openapi_document(world: World, call: Call) -> None:
    page = call(world.app, "GET", "/").text
    calls = re.findall(r"""(?:call\("([A-Z]+)", |get\(|=>\s+)["`](api/v1/[^"`?]*)""", page)
    known = call(world.app, "GET", "/openapi.json").json()["paths"]
    methods = {re.sub(r"\{\w+\}", "X", path): operations for path, operations in known.items()}
    assert len(calls) == page.count("api/v1/") >= 9
    for method, path in calls:
        assert (method or "GET").lower() in methods["/" + re.sub(r"\$\{[\w.]+\}", "X", path)]


def test_a_job_file_is_started_without_a_loaded_pipeline(world: World, call: Call) -> None:
    answer = call(world.app, "POST", "/api/v1/jobs", content=JOB_TEXT, headers=AS_YAML)
    (record,) = world.table.records()
    assert (answer.status_code, answer.json()) == (202, {"job": record.id})
    assert json.loads(record.request) == {"pipeline_id": "slate", "prompt": "a cat", "num_frames": 21}
    assert record.settings.preview == PREVIEW_NAME


@pytest.mark.parametrize(
    ("text", "code"),
    [(b"colour: red\n", 422), (b"", 422), (b"prompt: " + b"x" * MAX_TEXT_BYTES, 413)],
    ids=["unknown key", "empty", "long"],
)
def test_a_bad_job_file_is_not_started(text: bytes, code: int, world: World, call: Call) -> None:
    answer = call(world.app, "POST", "/api/v1/jobs", content=text, headers=AS_YAML)
    assert (answer.status_code, world.table.records()) == (code, [])


def test_a_busy_server_starts_no_job_file(world: World, call: Call) -> None:
    world.start()
    assert call(world.app, "POST", "/api/v1/jobs", content=JOB_TEXT, headers=AS_YAML).status_code == 409


def test_a_job_file_is_checked_while_a_job_runs(world: World, call: Call) -> None:
    world.start()
    answer = call(world.app, "POST", "/api/v1/jobs/check", content=JOB_TEXT, headers=AS_YAML)
    assert (answer.status_code, len(answer.json()["plan"]["chunks"])) == (200, 2)
    answer = call(world.app, "POST", "/api/v1/jobs/check", content=JOB_TEXT + b"colour: red\n", headers=AS_YAML)
    assert (answer.status_code, answer.json()["problems"][0]["line"]) == (200, 4)
    long = call(world.app, "POST", "/api/v1/jobs/check", content=b"#" * (MAX_TEXT_BYTES + 1), headers=AS_YAML)
    assert long.status_code == 413


def test_a_check_that_takes_long_is_given_up(world: World, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr("scope_batch.serve.service.CHECK_S", 0.01)
    monkeypatch.setattr("scope_batch.serve.service.check_job_text", lambda *_: ended.wait())
    try:
        answer = call(world.app, "POST", "/api/v1/jobs/check", content=JOB_TEXT, headers=AS_YAML)
        assert answer.status_code == 503
    finally:
        ended.set()


def test_the_plan_of_a_job_is_that_of_its_text(world: World, call: Call) -> None:
    job = call(world.app, "POST", "/api/v1/jobs", content=JOB_TEXT, headers=AS_YAML).json()["job"]
    checked = call(world.app, "POST", "/api/v1/jobs/check", content=JOB_TEXT, headers=AS_YAML).json()
    assert call(world.app, "GET", f"/api/v1/jobs/{job}/plan").json() == checked
    assert call(world.app, "GET", f"/api/v1/jobs/{'0' * 32}/plan").status_code == 404


def test_a_job_whose_input_is_gone_has_no_plan(world: World, call: Call) -> None:
    path = str(world.folder / "uploads" / "gone.bin")
    caller = caller_text(Translation({}, names={path: "video-1"}))
    job = world.runner.submit(json.dumps({**REQUEST, "input_path": path}), JobSettings((RAW_NAME,)), caller).id
    answer = call(world.app, "GET", f"/api/v1/jobs/{job}/plan").json()
    assert (answer["plan"], len(answer["problems"])) == (None, 1)
    assert "video-1" in answer["problems"][0]["message"]
    assert str(world.folder) not in answer["problems"][0]["message"]


def test_jobs_are_listed_the_newest_first(world: World, call: Call) -> None:
    world.runner.then = world.runner.finish
    jobs = [world.start() for _ in range(3)]
    answer = call(world.app, "GET", "/api/v1/jobs", params={"limit": 2}).json()
    assert [job["job"] for job in answer["jobs"]] == [jobs[2], jobs[1]]
    assert (answer["jobs"][0]["prompt"], answer["active"], answer["most_active"]) == ("a cat", 0, 1)
    rest = call(world.app, "GET", "/api/v1/jobs", params={"before": jobs[1]}).json()["jobs"]
    assert [job["job"] for job in rest] == [jobs[0]]
    assert call(world.app, "GET", "/api/v1/jobs", params={"limit": 1000}).status_code == 422


def test_the_preview_is_a_small_picture(world: World, call: Call) -> None:
    job = world.start()
    path = f"/api/v1/jobs/{job}/preview"
    assert call(world.app, "GET", path).status_code == 404
    Image.new("RGB", (1600, 800), "red").save(world.table.folder(job) / PREVIEW_NAME)
    answer = call(world.app, "GET", path)
    assert (answer.headers["content-type"], Image.open(BytesIO(answer.content)).size) == ("image/jpeg", (640, 320))
    assert call(world.app, "GET", f"/api/v1/batch/{job}").json()["has_preview"]


@pytest.mark.parametrize("prompt", ["a cat", [{"text": "a cat"}, {"text": "b"}], {"text": "a cat"}])
def test_a_job_is_known_by_its_first_prompt(prompt: Any, world: World, call: Call) -> None:
    request = json.dumps({**REQUEST, "prompt": prompt})
    job = world.runner.submit(request, JobSettings((RAW_NAME,)), NOBODY).id
    assert call(world.app, "GET", f"/api/v1/batch/{job}").json()["prompt"] == "a cat"

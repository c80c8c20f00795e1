"""Jobs whose inputs are uploads laid out as named files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio import CapacityLimiter
from PIL import Image

from scope_batch.jobs.job_table import JobTable
from scope_batch.jobs.records import JobSettings, Progress
from scope_batch.serve import submission_calls
from scope_batch.serve.application import create_app
from scope_batch.serve.guard import Access
from scope_batch.serve.pipeline import Pipeline
from scope_batch.serve.requests import Files
from scope_batch.serve.roots import Root
from scope_batch.serve.service import Service
from scope_batch.serve.submissions import translate_submission
from scope_batch.serve.uploads import UploadLimits, Uploads
from tests.serve.conftest import Call
from tests.serve.test_application import ByHand, World

JOB = {"pipeline_id": "slate", "prompt": "a cat", "num_frames": 21, "height": 64, "width": 64}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    for folder in ("assets", "lora/b"):
        (tmp_path / folder).mkdir(parents=True)
    assets, loras = Root(tmp_path / "assets", "--assets-root"), Root(tmp_path / "lora", "--lora-root")
    with JobTable(tmp_path / "state") as table:
        runner = ByHand(table)
        uploads = Uploads(tmp_path / "uploads", UploadLimits(file_bytes=10_000))
        service = Service(table, runner, Files(uploads, assets, loras), Pipeline(loras, None))
        yield World(create_app(service, Access()), service, runner, tmp_path)


def upload(world: World, call: Call, data: bytes) -> str:
    answer = call(world.app, "POST", "/api/v1/files", content=data, headers={"X-SHA256": sha256(data)})
    assert answer.json()["size_bytes"] == len(data)
    handle: str = answer.json()["file"]
    return handle


def submit(world: World, call: Call, job: Any = JOB, **more: Any) -> Any:
    return call(world.app, "POST", "/api/v1/submissions", json={"job": job, **more})


def stored(world: World, job: str) -> dict[str, Any]:
    record = world.table.get(job)
    assert record is not None
    fields: dict[str, Any] = json.loads(record.request)
    return fields


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def picture() -> bytes:
    data = BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(data, "PNG")
    return data.getvalue()


def npy(frames: int) -> bytes:
    data = BytesIO()
    np.save(data, np.zeros((frames, 8, 8, 3), np.uint8))
    return data.getvalue()


def test_a_job_needs_no_loaded_pipeline_and_gets_none_of_the_protocols_defaults(world: World, call: Call) -> None:
    answer = submit(world, call, {"prompt": "a cat", "noise_scale": 0.7, **JOB})
    assert answer.status_code == 202
    assert stored(world, answer.json()["job"]) == {"noise_scale": 0.7, **JOB}


def test_names_of_the_job_are_files_that_keep_their_names(world: World, call: Call) -> None:
    files = {"0/clip.npy": upload(world, call, npy(21)), "1/keys/a.png": upload(world, call, picture())}
    specs = [{"chunk": 0, "first_frame_image": "1/keys/a.png"}]
    answer = submit(world, call, {**JOB, "input_path": "0/clip.npy", "chunk_specs": specs}, files=files)
    assert answer.status_code == 202, answer.text
    fields = stored(world, answer.json()["job"])
    clip, image = Path(fields["input_path"]), Path(fields["chunk_specs"][0]["first_frame_image"])
    assert (clip.name, image.read_bytes()) == ("clip.npy", picture())
    assert clip.parent.parent == image.parent.parent.parent


@pytest.mark.parametrize("name", ["0/series", "0/series/%05d.png"], ids=["folder", "pattern"])
def test_a_folder_or_a_pattern_of_pictures_is_one_input(world: World, call: Call, name: str) -> None:
    files = {f"0/series/{index:05d}.png": upload(world, call, picture()) for index in range(21)}
    answer = submit(world, call, {**JOB, "vace_frames": name}, files=files)
    assert answer.status_code == 202, answer.text
    assert stored(world, answer.json()["job"])["vace_frames"].endswith(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"promt": "x"}, "promt: unknown key (did you mean prompt?)"),
        ({"output": "x.mp4"}, "output: is not the server's to do"),
        ({"models": "/models"}, "models: is not the server's to do"),
        ({"input_path": "0/clip.mp4"}, "input_path: '0/clip.mp4': no such file"),
        ({"input_path": "/etc/passwd"}, "must be the name of a file under --assets-root"),
        ({"lora_scales": {"x.safetensors": 1}}, "no such file under --lora-root"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_rendered_is_refused_and_leaves_no_files(
    world: World, call: Call, change: dict[str, Any], message: str
) -> None:
    answer = submit(world, call, {**JOB, **change}, files={"0/other.npy": upload(world, call, npy(1))})
    assert answer.status_code == 422
    assert message in answer.json()["detail"]
    assert [*(world.folder / "uploads").glob("sets/*")] == []


@pytest.mark.parametrize(
    "name", ["", ".", "/a.png", "../a.png", "a/../b.png", "a//b.png", "a\0b", "a\nb", "a\\b", "x" * 600, "ä" * 200]
)
def test_names_that_could_leave_the_folder_are_refused(world: World, call: Call, name: str) -> None:
    answer = submit(world, call, files={name: upload(world, call, b"x")})
    assert answer.status_code == 422
    assert "is no name of a file" in answer.json()["detail"]


@pytest.mark.parametrize("handle", ["video-" + 32 * "0", "file-" + 32 * "0", "../x", ""])
def test_only_handles_of_uploaded_files_are_taken(world: World, call: Call, handle: str) -> None:
    assert submit(world, call, files={"a.png": handle}).status_code == 422


def test_a_name_cannot_be_a_file_and_a_folder(world: World, call: Call) -> None:
    handle = upload(world, call, b"x")
    answer = submit(world, call, files={"a": handle, "a/b": handle})
    assert (answer.status_code, answer.json()["detail"]) == (422, "files: 'a/b': is both a file and a folder")


def test_a_file_is_kept_as_long_as_its_job_needs_it(world: World, call: Call) -> None:
    answer = submit(world, call, {**JOB, "input_path": "a.npy"}, files={"a.npy": upload(world, call, npy(3))})
    file = Path(stored(world, answer.json()["job"])["input_path"])
    world.service.files.uploads.expire(-1, is_used=lambda path: path.name in str(file))
    assert file.read_bytes() == npy(3)
    world.service.files.uploads.expire(-1)
    assert not file.exists()


def test_the_same_key_gives_the_same_job_and_another_is_busy(world: World, call: Call) -> None:
    first = submit(world, call, key=32 * "a")
    assert submit(world, call, key=32 * "a").json() == first.json()
    assert submit(world, call, key=32 * "b").status_code == 409


@pytest.mark.parametrize(("path", "status"), [("/api/v1/batch", 409), ("/api/v1/jobs", 409), ("/v1/videos", 429)])
def test_a_busy_server_does_not_go_on_reading(world: World, call: Call, path: str, status: int) -> None:
    submit(world, call)
    answer = call(world.app, "POST", path, content=b"x" * 1000)
    assert (answer.status_code, answer.headers.get("connection")) == (status, "close")


def test_two_equal_submissions_at_once_are_one_job(world: World, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)

    def translated(*arguments: Any) -> Any:
        both.wait(60)
        return translate_submission(*arguments)

    monkeypatch.setattr(submission_calls, "translate_submission", translated)
    monkeypatch.setattr(world.service, "_checks", CapacityLimiter(2))
    files = {"a.npy": upload(world, call, npy(3))}
    more = {"key": 32 * "a", "files": files}
    with ThreadPoolExecutor(2) as pool:
        answers = [*pool.map(lambda _: submit(world, call, {**JOB, "input_path": "a.npy"}, **more), range(2))]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.json()["job"] for answer in answers}) == len(world.table.records()) == 1
    assert len([*(world.folder / "uploads").glob("sets/*")]) == 1


def test_a_key_is_known_however_many_jobs_came_after(world: World, call: Call) -> None:
    first = submit(world, call, key=32 * "a").json()
    for _ in range(101):
        world.table.end(world.table.submit("{}", JobSettings(()), most_active=200, caller="{}").id, "cancelled")
    assert submit(world, call, key=32 * "a").json() == first


def test_unknown_keys_of_a_submission_are_refused(world: World, call: Call) -> None:
    answer = submit(world, call, file={})
    assert (answer.status_code, answer.json()["detail"]) == (422, "file: Extra inputs are not permitted")


def test_an_upload_is_limited_and_checked(world: World, call: Call) -> None:
    assert call(world.app, "POST", "/api/v1/files", content=b"x" * 10_001).status_code == 413
    answer = call(world.app, "POST", "/api/v1/files", content=b"x", headers={"X-SHA256": 64 * "0"})
    assert answer.status_code == 422
    assert [*(world.folder / "uploads").glob("*.*")] == []


def test_events_are_those_of_a_render_without_paths(world: World, call: Call) -> None:
    job = submit(world, call).json()["job"]
    started = {"event": "started", "chunks": 2, "num_frames": 21, "outputs": ["/secret/out.npy"], "load_s": 0.1}
    world.table.append_event(job, "started", started, Progress(0, 2, 0, 21))
    world.table.append_event(job, "warning", {"event": "warning", "message": "/secret/x.png: is dark"})
    world.table.end(job, "failed", error="/secret/x.png: is gone", exit_code=66)
    text = call(world.app, "GET", f"/api/v1/jobs/{job}/events").text
    assert "secret" not in text
    datas = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert datas[0] == {"chunks": 2, "num_frames": 21, "load_s": 0.1}
    assert datas[-1] == {"frames": 0, "error": "x.png: is gone", "exit_code": 66}
    state = call(world.app, "GET", f"/api/v1/jobs/{job}").json()
    assert (state["state"], state["exit_code"], state["result"]) == ("failed", 66, None)


def test_an_unknown_job_is_404(world: World, call: Call) -> None:
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
        assert call(world.app, method, f"/api/v1/jobs/{32 * '0'}{path}").status_code == 404


def test_the_calls_stand_in_the_openapi_document(world: World, call: Call) -> None:
    document = call(world.app, "GET", "/openapi.json").json()
    assert {"/api/v1/files", "/api/v1/submissions", "/api/v1/jobs/{job}", "/v1/videos"} <= document["paths"].keys()
    forms = document["paths"]["/v1/videos"]["post"]["requestBody"]["content"]
    assert forms.keys() == {"application/json", "multipart/form-data"}

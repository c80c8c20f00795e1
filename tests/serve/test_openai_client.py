"""Videos by the client of OpenAI's video API, of which only the base URL is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from scope_batch.job import parse_job
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.serve.test_server import running

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("server")
    with running(folder, "--token", TOKEN, "--queue", "1") as server:
        url = f"{str(server.http.base_url).rstrip('/')}/v1"
        with openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0) as made:
            yield made


def create(client: openai.OpenAI, **more: Any) -> Any:
    values = {"prompt": "a cat", "model": "slate", "size": "64x64", "seconds": "1", **more}
    return client.videos.create_and_poll(**values, poll_interval_ms=100)


def expected(folder: Path, **fields: Any) -> np.ndarray[Any, Any]:
    output = folder / "expected.npy"
    job = parse_job({"pipeline_id": "slate", "prompt": "a cat", "width": 64, "height": 64, **fields})
    render_job(job, "job", RenderOptions(outputs=(str(output),), overwrite=True))
    frames: np.ndarray[Any, Any] = np.load(output)
    return frames


def frames_of(client: openai.OpenAI, video: str) -> np.ndarray[Any, Any]:
    variant: Any = "npy"
    frames: np.ndarray[Any, Any] = np.load(BytesIO(client.videos.download_content(video, variant=variant).content))
    return frames


def picture() -> bytes:
    data = BytesIO()
    Image.new("RGB", (64, 64), "red").save(data, "PNG")
    return data.getvalue()


def test_a_video_is_created_polled_and_downloaded(client: openai.OpenAI, tmp_path: Path) -> None:
    video = create(client)
    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    assert (video.model, video.size, video.seconds, video.prompt) == ("slate", "64x64", "1", "a cat")
    assert video.completed_at is not None
    assert video.created_at <= video.completed_at < video.expires_at
    assert client.videos.retrieve(video.id) == video
    assert client.videos.download_content(video.id).content[4:8] == b"ftyp"
    assert np.array_equal(frames_of(client, video.id), expected(tmp_path, num_frames=16))


def test_any_field_of_a_job_goes_under_extra_body(client: openai.OpenAI, tmp_path: Path) -> None:
    specs = [{"chunk": 1, "text": "a dog"}, {"frame": 25, "text": "a bird"}]
    fields = {"num_frames": 33, "seed": 7, "manage_cache": False, "denoising_steps": [1000, 750], "fps": 8}
    extra = {**fields, "chunk_specs": json.dumps(specs)}
    video = create(client, seconds=openai.omit, extra_body=extra)
    assert (video.status, video.seconds) == ("completed", "4.125")
    assert np.array_equal(frames_of(client, video.id), expected(tmp_path, **fields, chunk_specs=specs))


def test_a_picture_is_the_first_frame(client: openai.OpenAI, tmp_path: Path) -> None:
    (tmp_path / "reference.png").write_bytes(picture())
    video = create(client, input_reference=("red.png", picture(), "image/png"))
    specs = [{"chunk": 0, "first_frame_image": str(tmp_path / "reference.png")}]
    assert np.array_equal(frames_of(client, video.id), expected(tmp_path, num_frames=16, chunk_specs=specs))


def test_a_video_is_the_input(client: openai.OpenAI, tmp_path: Path) -> None:
    source = create(client)
    (tmp_path / "reference.mp4").write_bytes(client.videos.download_content(source.id).content)
    video = create(client, prompt="a dog", input_reference=tmp_path / "reference.mp4")
    same = expected(tmp_path, prompt="a dog", num_frames=16, fps=16, input_path=str(tmp_path / "reference.mp4"))
    assert np.array_equal(frames_of(client, video.id), same)


@pytest.mark.parametrize(("variant", "width"), [("spritesheet", 4 * 64), ("sheet", 4 * 64), ("thumbnail", 64)])
def test_pictures_of_a_video(client: openai.OpenAI, variant: Any, width: int) -> None:
    video = create(client)
    data = client.videos.download_content(video.id, variant=variant).content
    with Image.open(BytesIO(data)) as image:
        assert (image.format, image.width) == ("JPEG", width)


def test_videos_are_listed_in_pages_in_both_orders(client: openai.OpenAI) -> None:
    made = [create(client).id for _ in range(3)]
    newest = [video.id for video in client.videos.list(limit=2)]  # the client asks for every page
    assert newest[:3] == made[::-1]
    oldest = [video.id for video in client.videos.list(limit=2, order="asc")]
    assert oldest == newest[::-1]
    page = client.videos.list(limit=1, after=made[2])
    assert ([video.id for video in page.data], page.has_more) == ([made[1]], True)


def test_a_deleted_video_is_gone(client: openai.OpenAI) -> None:
    video = create(client)
    assert client.videos.delete(video.id).deleted
    for call in (client.videos.retrieve, client.videos.download_content, client.videos.delete):
        with pytest.raises(openai.NotFoundError, match="there is no such job"):
            call(video.id)


def test_a_running_video_can_be_deleted_and_a_busy_server_is_a_rate_limit(client: openai.OpenAI) -> None:
    extra = {"num_frames": 10_000}
    make = lambda: client.videos.create(prompt="x", model="slate", size="64x64", extra_body=extra)  # type: ignore[arg-type]  # noqa: E731
    first, second = make(), make()
    assert first.status in ("queued", "in_progress")
    with pytest.raises(openai.RateLimitError, match="busy"):
        make()
    with pytest.raises(openai.BadRequestError, match="not completed"):
        client.videos.download_content(first.id)
    for video in (second, first):
        assert client.videos.delete(video.id).deleted
    assert create_when_free(client).status == "completed"


def create_when_free(client: openai.OpenAI) -> Any:
    while True:
        try:
            return create(client)
        except openai.RateLimitError:
            continue


@pytest.mark.parametrize(
    ("values", "param", "message"),
    [
        ({"model": "sora-2"}, "model", "allowed: .*longlive"),
        ({"size": "big"}, "size", "is not WIDTHxHEIGHT"),
        ({"size": "70x64"}, "width", "multiple"),
        ({"seconds": "soon"}, "seconds", "no length of a video"),
        ({"extra_body": {"promt": "x"}}, "promt", r"unknown key \(did you mean prompt\?\)"),
        ({"extra_body": {"num_frames": 3}}, "seconds", "num_frames is given, too"),
        ({"extra_body": {"chunk_specs": [{"chunk": 1}]}}, "chunk_specs", "send the list as JSON text"),
        ({"extra_body": {"input_path": "/etc/passwd", "fps": 16}}, "input_path", "under --assets-root"),
        ({"extra_body": {"output": "x.mp4"}}, "output", "leave it out"),
        ({"input_reference": ("x.png", b"")}, None, "the file is empty"),
        ({"input_reference": ("x.mp4", b"nonsense")}, "input_reference", "reference.mp4"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_request_is_a_bad_request(
    client: openai.OpenAI, values: dict[str, Any], param: str | None, message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        create(client, **values)
    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")


def test_a_wrong_key_is_an_authentication_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="wrong").videos.list()
    assert caught.value.type == "authentication_error"


def test_json_is_taken_as_well_with_a_handle_of_an_upload(client: openai.OpenAI) -> None:
    with httpx.Client(base_url=str(client.base_url), headers={"Authorization": f"Bearer {TOKEN}"}) as http:
        handle = http.post("/../api/v1/files", content=picture()).json()["file"]
        reference = {"file_id": handle}
        body = {"prompt": "x", "model": "slate", "size": "64x64", "seconds": 1, "input_reference": reference}
        answer = http.post("videos", json={**body, "extra_body": {"seed": 5}})
        assert answer.status_code == 200, answer.text
        client.videos.poll(answer.json()["id"], poll_interval_ms=100)
        missing = http.post("videos", json={**body, "input_reference": f"file-{32 * '0'}"})
        assert missing.status_code == 400
        assert missing.json()["error"]["param"] == "input_reference"

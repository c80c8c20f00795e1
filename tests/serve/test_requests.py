from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from scope_batch.errors import JobError, MissingInputError
from scope_batch.job import Job, parse_job
from scope_batch.job.schedule import Schedule
from scope_batch.render.prepare import refused_fields
from scope_batch.serve.requests import Files, Translation, public_text, read_body, translate, without_refused_fields
from scope_batch.serve.roots import Root
from scope_batch.serve.uploads import UploadLimits, Uploads
from tests.serve.bodies import SHAPE, VIDEO, request_of

SEED_BODY: dict[str, Any] = {
    "pipeline_id": "longlive",
    "prompt": "p",
    "num_frames": 96,
    "seed": 42,
    "noise_scale": 0.7,
    "manage_cache": False,
    "prompt_interpolation_method": "linear",
    "vace_context_scale": 1.0,
}
"""What the protocol's clients send without having been asked for anything."""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    for folder in ("assets", "lora"):
        (tmp_path / folder).mkdir()
    for name in ("assets/tiger.png", "assets/depth.mp4", "lora/l.safetensors", "lora/m.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    return Files(
        Uploads(tmp_path / "uploads", UploadLimits()),
        Root(tmp_path / "assets", "--assets-root"),
        Root(tmp_path / "lora", "--lora-root"),
    )


def job_of(files: Files, defaults: dict[str, Any] | None = None, /, **fields: Any) -> tuple[Job, Translation]:
    return translate({**SEED_BODY, **fields}, defaults or {}, files)


def test_a_plain_request_of_the_protocol(files: Files) -> None:
    job, translation = job_of(files)
    assert (job.num_frames, job.manage_cache, job.chunk_grid) == (96, False, 12)
    assert job.noise_scale is None, "0.7 is the protocol's default, not the client's wish"
    assert translation.warnings == []


@pytest.mark.parametrize(
    ("pipeline_id", "steps"),
    [("longlive", (1000, 750, 500, 250)), ("streamdiffusionv2", (750, 250)), ("memflow", None)],
)
def test_absent_steps_are_the_protocols(pipeline_id: str, steps: tuple[int, ...] | None, files: Files) -> None:
    assert job_of(files, pipeline_id=pipeline_id)[0].denoising_steps == steps
    assert job_of(files, pipeline_id=pipeline_id, denoising_steps=[900])[0].denoising_steps == (900,)


@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("levels", [50, 900, 100_000])
def test_a_body_that_is_nested_too_deep_is_refused(start: str, end: str, levels: int) -> None:
    with pytest.raises(JobError, match=r"^body: has more than 50 levels of lists and maps$"):
        read_body(f'{{"prompt": {levels * start}1{levels * end}}}'.encode())
    assert read_body(f'{{"prompt": {49 * start}1{49 * end}}}'.encode())


@pytest.mark.parametrize("other", ["./l.safetensors", "link.safetensors", "{}/lora/l.safetensors"])
def test_two_names_of_one_lora_are_refused(files: Files, tmp_path: Path, other: str) -> None:
    (tmp_path / "lora" / "link.safetensors").symlink_to("l.safetensors")
    loras = {"l.safetensors": 1, "m.safetensors": 1, other.format(tmp_path): 0.5}
    for fields in ({"lora_scales": loras}, {"chunk_specs": [{"chunk": 1, "lora_scales": loras}]}):
        with pytest.raises(JobError, match=r"lora_scales: '.*': the file is listed twice"):
            job_of(files, **fields)


def test_a_lora_may_stand_in_several_maps(files: Files) -> None:
    loras = {"lora_scales": {"l.safetensors": 1}}
    job_of(files, **loras, chunk_specs=[{"chunk": 1, **loras}, {"chunk": 2, **loras}])


@pytest.mark.parametrize("scale", [0.6, 1, [0.7, 0.5]])
def test_another_noise_scale_counts(scale: Any, files: Files) -> None:
    values = tuple(scale) if isinstance(scale, list) else (scale,)
    assert job_of(files, noise_scale=scale)[0].noise_scale == Schedule(values)


def test_unknown_keys_are_left_out_with_a_warning_each(files: Files) -> None:
    job, translation = job_of(
        files,
        frobnicate=1,
        prompt=[{"text": "a", "weigth": 2}],
        chunk_specs=[{"chunk": 0, "text": "b", "cache_reset": True}],
    )
    assert sorted(translation.warnings) == [
        "chunk_specs[0].cache_reset: unknown key, ignored",
        "frobnicate: unknown key, ignored",
        "prompt[0].weigth: unknown key, ignored",
    ]
    assert (job.prompt[0].text, job.chunk_specs[0].text) == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value"),
    [("models", "/"), ("output", "/etc/passwd"), ("video", {"codec": "ffv1"}), ("keep_state", [1])],
)
def test_fields_of_the_machine_are_not_served(name: str, value: Any, files: Files) -> None:
    job, translation = job_of(files, **{name: value})
    assert translation.warnings == [f"{name}: not served, ignored"]
    assert getattr(job, name) == Job.model_fields[name].default


def test_a_chunk_out_of_range_is_left_out_with_a_warning(files: Files) -> None:
    job, translation = job_of(files, num_frames=25, chunk_specs=[{"chunk": chunk, "text": "b"} for chunk in (1, 2, 3)])
    assert [entry.chunk for entry in job.chunk_specs] == [1, 2]
    assert translation.warnings == ["chunk_specs[2].chunk: 3 is out of range, ignored; the last one is 2"]


def test_slices_of_no_frames_mean_no_conditioning(files: Files) -> None:
    blob, _ = asyncio.run(files.uploads.receive_data(request_of([bytes(4 * 3 * 12 * 64 * 64)], {})))
    entry = {"chunk": 0, "vace_frames_shape": [1, 3, 12, 64, 64], "vace_frames_offset": 0}
    empty = {
        "chunk": 1,
        "vace_frames_shape": [1, 3, 0, 64, 64],
        "vace_frames_offset": 9,
        "input_video_shape": [0, 64, 64, 3],
        "input_video_offset": 5,
    }
    job, translation = job_of(files, data_blob_path=blob, chunk_specs=[entry, empty])
    assert job.chunk_specs[0].vace_frames_shape == (1, 3, 12, 64, 64)
    assert (job.chunk_specs[1].vace_frames_shape, job.chunk_specs[1].input_video_offset) == (None, None)
    assert job.data_blob_path == files.uploads.path_of(blob, "data")
    assert translation.names == {str(job.data_blob_path): blob}


def test_an_uploaded_video_is_the_input(files: Files) -> None:
    handle, _ = asyncio.run(files.uploads.receive_video(request_of([VIDEO.tobytes()], SHAPE)))
    assert job_of(files, input_path=handle)[0].input_path == files.uploads.path_of(handle, "video")


def test_names_stand_for_files_under_the_roots(files: Files) -> None:
    second = str(files.loras.folder / "m.safetensors")
    job, translation = job_of(
        files,
        vace_frames="depth.mp4",
        lora_scales={"l.safetensors": 0.5},
        chunk_specs=[
            {"chunk": 0, "first_frame_image": "tiger.png", "lora_scales": {second: 1}},
            {"chunk": 1, "vace_ref_images": ["tiger.png"]},
        ],
        audio="none",
    )
    tiger = files.assets.folder / "tiger.png"
    assert job.vace_frames == files.assets.folder / "depth.mp4"
    assert (job.chunk_specs[0].first_frame_image, job.chunk_specs[1].vace_ref_images) == (tiger, (tiger,))
    assert [*job.lora_scales] == [str(files.loras.folder / "l.safetensors")]
    assert public_text(f"{tiger}: too small", translation.names) == "tiger.png: too small"


def test_lists_of_the_first_revision_are_resolved_too(files: Files) -> None:
    job, _ = job_of(
        files,
        first_frames=[{"chunk": 0, "image": "tiger.png"}],
        vace_ref_images=[{"chunk": 2, "images": ["tiger.png"]}],
    )
    assert [entry.chunk for entry in job.chunk_specs] == [0, 2]
    assert job.chunk_specs[0].first_frame_image == files.assets.folder / "tiger.png"


@pytest.mark.parametrize(
    "fields",
    [
        {"input_path": "/etc/passwd"},
        {"input_path": "video-" + "0" * 32},
        {"input_path": "../lora/l.safetensors"},
        {"data_blob_path": "/etc/passwd"},
        {"data_blob_path": "tiger.png"},
        {"vace_frames": "/etc/passwd"},
        {"vace_masks": "/dev/zero"},
        {"audio": "/etc/passwd"},
        {"first_frame_image": "/etc/passwd"},
        {"last_frame_image": "none.png"},
        {"vace_ref_images": ["/etc/passwd"]},
        {"vace_ref_images": [{"chunk": 0, "images": ["/etc/passwd"]}]},
        {"first_frames": [{"chunk": 0, "image": "/etc/passwd"}]},
        {"lora_scales": {"/etc/passwd": 1}},
        {"lora_scales": {"tiger.png": 1}},
        {"chunk_specs": [{"chunk": 0, "first_frame_image": "/etc/passwd"}]},
        {"chunk_specs": [{"chunk": 0, "input_video": "/etc/passwd"}]},
        {"chunk_specs": [{"chunk": 0, "lora_scales": {"../x.safetensors": 1}}]},
        {"chunk_specs": [{"chunk": 0, "vace_ref_images": ["../x"]}]},
        {"pre_processor_id": {"id": "edges", "params": {"table": "/etc/passwd"}}},
        {"post_processor_id": [{"id": "edges", "params": {"deep": [{"x": "../secret"}]}}]},
    ],
    ids=str,
)
def test_no_field_reaches_a_file_outside(fields: dict[str, Any], files: Files) -> None:
    with pytest.raises((JobError, MissingInputError)) as caught:
        job_of(files, **fields)
    assert str(caught.value).startswith(next(iter(fields)))


def test_every_bad_name_has_a_line(files: Files) -> None:
    with pytest.raises(JobError) as caught:
        job_of(files, vace_frames="../x", first_frame_image="none.png")
    assert [line.partition(":")[0] for line in caught.value.problems] == ["vace_frames", "first_frame_image"]


def test_messages_hold_the_clients_names_only(files: Files) -> None:
    with pytest.raises(JobError) as caught:
        job_of(files, lora_scales={"l.safetensors": 99})
    assert str(files.loras.folder) not in str(caught.value)
    assert "l.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/srv/models/wan/vae.pth: missing", "vae.pth: missing"),
        ("cannot open '/srv/state/x.npy'", "cannot open 'x.npy'"),
        ("30000/1001 and https://huggingface.co/a/b stay", "30000/1001 and https://huggingface.co/a/b stay"),
    ],
)
def test_folders_of_the_machine_are_left_out_of_messages(message: str, shown: str) -> None:
    assert public_text(message, {}) == shown


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"noise_scale": 0.5}, ["noise_scale"]),
        ({"noise_controller": True, "chunk_specs": [{"chunk": 1, "text": "b", "noise_scale": 0.4}]},
         ["noise_controller", "chunk_specs[0].noise_scale"]),
        ({"vace_context_scale": 1.5}, ["vace_context_scale"]),
        ({"pipeline_id": "streamdiffusionv2", "memory_bank": True}, ["memory_bank"]),
        ({"pre_processor_id": "edges"}, ["pre_processor_id"]),
        ({"chunk_prompts": [{"chunk": 1, "text": "b", "noise_scale": 0.4}], "input_length": "hold"},
         ["input_length"]),
        ({"manage_cache": True, "prompt_interpolation_method": "slerp"}, []),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_honoured_is_left_out_with_a_warning(
    fields: dict[str, Any], dropped: list[str], files: Files
) -> None:
    job, translation = job_of(files, **fields)
    job = without_refused_fields(job, translation)
    warned = {line.partition(":")[0] for line in translation.warnings if "honoured" in line}
    assert warned == {*dropped}
    assert refused_fields(parse_job(translation.fields)) == refused_fields(job) == []


def test_what_was_given_at_load_holds_where_the_request_is_silent(files: Files) -> None:
    first, second = (str(files.loras.folder / name) for name in ("l.safetensors", "m.safetensors"))
    defaults = {"height": 320, "width": 576, "seed": 7, "lora_scales": {first: 0.25, second: 0.5}}
    job, _ = job_of(files, defaults, width=640, lora_scales={"l.safetensors": 1})
    assert (job.height, job.width, job.seed) == (320, 640, Schedule((42,)))
    assert {path: scale.values for path, scale in job.lora_scales.items()} == {first: (1,), second: (0.5,)}


@pytest.mark.parametrize(("frames", "accepted"), [(10_000, True), (10_001, False)])
def test_a_request_has_at_most_ten_thousand_frames(frames: int, accepted: bool, files: Files) -> None:
    if accepted:
        assert job_of(files, num_frames=frames)[0].num_frames == frames
    else:
        with pytest.raises(JobError, match="at most 10000"):
            job_of(files, num_frames=frames)


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 10**30}, {"seed": -1}, {"height": 321}, {"noise_scale": 1.5}, {"denoising_steps": []},
        {"num_frames": 0}, {"num_frames": True}, {"prompt": 5}, {"chunk_specs": 7}, {"chunk_specs": [7]},
        {"lora_scales": [1]}, {"chunk_specs": [{"chunk": -1}]},
        {"chunk_specs": [{"chunk": 0, "vace_frames_shape": [1, 3, -1, 64, 64]}]},
        {"chunk_specs": [{"chunk": 0}, {"chunk": 0}]}, {"vace_frames": 7}, {"chunk_grid": "x"}, {"pipeline_id": 3},
        {"vace_ref_images": "x"},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_values_are_refused_by_name(fields: dict[str, Any], files: Files) -> None:
    with pytest.raises((JobError, MissingInputError), match=next(iter(fields))):
        job_of(files, **fields)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"7", b"nul", b'{"seed": NaN}', b'{"seed": -Infinity}', b'{"a": 1, "a": 2}',
        b'{"prompt": "\\ud800"}',
        b'{"seed": ' + b"9" * 9999 + b"}", b"[" * 100_000, b"\xff\xfe", b'{"x": {"y": 1, "y": 2}}',
    ],
    ids=lambda data: ascii(data[:20]),
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(JobError, match=r"^body: "):
        read_body(data)


def test_a_body_is_read() -> None:
    assert read_body(b'{"prompt": "\xc3\xa9", "seed": 3}') == {"prompt": "é", "seed": 3}

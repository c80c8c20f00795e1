"""Tests control, masks and input video of an entry: a path, or a part of the data blob."""

import pytest

from scope_batch.errors import JobError
from scope_batch.job import Job, load_text, parse_job
from scope_batch.job.chunk_spec import ChunkSpec

FRAMES = "vace_frames_offset: 0, vace_frames_shape: [1, 3, 12, 64, 64]"
MASKS = "vace_masks_offset: 9, vace_masks_shape: [1, 1, 12, 64, 64]"


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(JobError) as caught:
        load_text(f"prompt: a\n{text}", name="j")
    return caught.value.problems


def test_parts_of_the_blob_of_a_request_are_read() -> None:
    video = "input_video_offset: 0, input_video_shape: [13, 64, 64, 3]"
    job = load_text(f"prompt: a\ndata_blob_path: b\nchunk_specs: [{{chunk: 1, {FRAMES}, {MASKS}, {video}}}]", name="j")
    (entry,) = job.chunk_specs
    assert (entry.vace_masks_offset, entry.input_video_shape) == (9, (13, 64, 64, 3))


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("vace_frames_offset: 0", "15: chunk_specs[0].vace_frames_offset: a part of the data blob needs both "
         "vace_frames_offset and vace_frames_shape"),
        ("vace_masks_shape: [1, 1, 9, 64, 64]", "15: chunk_specs[0].vace_masks_shape: a part of the data blob needs "
         "both vace_masks_offset and vace_masks_shape"),
        (f"vace_frames: a.npy, {FRAMES}", "35: chunk_specs[0].vace_frames_offset: vace_frames is set twice, as a "
         "path and as a part of the data blob in line 4"),
        ("vace_frames_offset: 0, vace_frames_shape: [1, 2, 12, 64, 64]", "57: chunk_specs[0].vace_frames_shape: must "
         "be [1, 3, T, H, W] or [1, 1, T, H, W], not [1, 2, 12, 64, 64]"),
        ("vace_frames_offset: 0, vace_frames_shape: [3, 12, 64, 64]", "57: chunk_specs[0].vace_frames_shape: must "
         "be [1, 3, T, H, W] or [1, 1, T, H, W], not [3, 12, 64, 64]"),
        ("vace_masks_offset: 0, vace_masks_shape: [1, 3, 12, 64, 64]", "55: chunk_specs[0].vace_masks_shape: must be "
         "[1, 1, T, H, W], not [1, 3, 12, 64, 64]"),
        ("input_video_offset: 0, input_video_shape: [12, 64, 64, 4]", "57: chunk_specs[0].input_video_shape: must be "
         "[T, H, W, 3], not [12, 64, 64, 4]"),
        ("vace_frames_offset: 0, vace_frames_shape: [1, 3, 9223372036854775807, 64, 64]",
         "57: chunk_specs[0].vace_frames_shape: [1, 3, 9223372036854775807, 64, 64] is larger than any file"),
        ("input_video_offset: 9223372036854775807, input_video_shape: [12, 64, 64, 3]",
         "75: chunk_specs[0].input_video_shape: [12, 64, 64, 3] is larger than any file"),
        ("vace_frames_offset: -4, vace_frames_shape: [1, 3, 12, 64, 64]",
         "35: chunk_specs[0].vace_frames_offset: must be at least 0, not -4"),
        ("vace_frames_offset: 0, vace_frames_shape: [1, 3, -12, 64, 64]",
         "64: chunk_specs[0].vace_frames_shape[2]: must be at least 1, not -12"),
        (f"{FRAMES}, vace_masks_offset: 9, vace_masks_shape: [1, 1, 9, 64, 64]",
         "117: chunk_specs[0].vace_masks_shape: 9 masks for 12 frames of vace_frames"),
    ],
)  # fmt: skip
def test_a_bad_part_is_one_line(entry: str, line: str) -> None:
    assert problems(f"data_blob_path: b\nchunk_specs:\n - {{chunk: 1, {entry}}}") == (f"j:4:{line}",)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"chunk_specs: [{{chunk: 1, {MASKS}}}]",
         "2:26: chunk_specs[0].vace_masks_offset: there is no data_blob_path that the offset could refer to"),
        ("data_blob_path: b", "2:1: data_blob_path: no entry of chunk_specs uses it (vace_frames_offset and the like)"),
        ("chunk_specs: [{chunk: 1, vace_temporally_locked: false}]",
         "2:26: chunk_specs[0].vace_temporally_locked: there are no vace_frames or vace_masks in this entry"),
        ("vace_use_input_video: true", "2:1: vace_use_input_video: needs an input_path"),
        ("input_path: a\nvace_use_input_video: true\nvace_frames: b",
         "4:1: vace_frames: the control frames are set twice, first by vace_use_input_video in line 3"),
        ("chunk_grid: 8", "2:13: chunk_grid: must be 'engine' or 12, not 8"),
    ],
)  # fmt: skip
def test_a_contradiction_is_one_line(text: str, line: str) -> None:
    assert problems(text) == (f"j:{line}",)


def test_entries_of_python_objects_are_checked() -> None:
    entry = ChunkSpec(chunk=1, vace_masks_offset=0, vace_masks_shape=(1, 1, 9, 64, 64))
    assert Job(prompt="a", data_blob_path="/b", chunk_specs=[entry])  # type: ignore[arg-type]
    with pytest.raises(JobError, match=r"^chunk_specs\[0\]\.vace_masks_offset: there is no data_blob_path"):
        parse_job({"prompt": "a", "chunk_specs": [entry]})

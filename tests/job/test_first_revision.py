"""Tests that the sparse lists of the protocol's first revision become entries of `chunk_specs`."""

from pathlib import Path

import pytest

from scope_batch.errors import JobError, MissingInputError
from scope_batch.job import Job, check_inputs, load_text, parse_job
from scope_batch.job.chunk_spec import ChunkImage
from tests.effort import growth


def job(text: str) -> Job:
    return load_text(f"prompt: a\n{text}", name="j", folder=Path("/jobs"))


ALL = """\
chunk_prompts: [{chunk: 2, text: b}]
first_frames:
- {chunk: 2, image: a.png}
- {frame: 40, image: b.png}
last_frames: [{chunk: 2, image: /c.png}]
vace_ref_images: [{time: '0:01', images: [d.png]}]
chunk_specs: [{chunk: 5, seed: 1}]"""


def test_values_for_one_chunk_join_into_one_entry() -> None:
    entries = job(ALL).chunk_specs
    assert [(entry.chunk, entry.frame, entry.time) for entry in entries] == [
        (5, None, None),
        (2, None, None),
        (None, 40, None),
        (None, None, 1.0),
    ]
    assert (entries[1].text, entries[1].first_frame_image) == ("b", Path("/jobs/a.png"))
    assert entries[1].last_frame_image == Path("/c.png")
    assert entries[3].vace_ref_images == (Path("/jobs/d.png"),)


@pytest.mark.parametrize(
    ("place", "where"),
    [
        ((1, "text"), "j:2:28"),
        ((1, "first_frame_image"), "j:4:14"),
        ((2, "first_frame_image"), "j:5:15"),
        ((1, "last_frame_image"), "j:6:26"),
        ((3, "vace_ref_images"), "j:7:34"),
        ((3, "time"), "j:7:20"),
    ],
)
def test_each_keeps_its_line(place: tuple[int, str], where: str) -> None:
    assert job(ALL).where("chunk_specs", *place) == where


def test_a_missing_image_is_named_with_its_line() -> None:
    with pytest.raises(MissingInputError, match=r"^j:3:14: chunk_specs\[0\]\.first_frame_image: no such file: /jobs/a"):
        check_inputs(job("first_frames:\n- {chunk: 2, image: a.png}"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("first_frames: [{chunk: 1, image: a}, {chunk: 1, image: b}]",
         "2:46: chunk_specs[1].chunk: chunk 1 has an entry already in line 2"),
        ("first_frames: [{chunk: 1}]", "2:16: first_frames[0].image: is required"),
        ("last_frames: [{image: a}]", "2:15: last_frames[0]: needs its place: one of chunk, frame and time"),
        ("last_frames: [{chunk: 1, frame: 2, image: a}]",
         "2:26: last_frames[0].frame: the place is set twice, first as chunk in line 2"),
        ("last_frames: [{chunk: -1, image: a}]", "2:23: last_frames[0].chunk: must be at least 0, not -1"),
        ("last_frames: [{time: soon, image: a}]",
         "2:22: chunk_specs[0].time: must be seconds or \"MM:SS.mmm\", not 'soon'"),
        ("vace_ref_images: [{chunk: 1, images: [a, b]}]",
         "2:30: chunk_specs[0].vace_ref_images: a chunk takes one reference image, not 2"),
        ("vace_ref_images: [a, {chunk: 1, images: [b]}]",
         "2:22: vace_ref_images[1]: must be a path; or every item must be {chunk, images}, with frame or time in "
         "place of chunk"),
        ("vace_ref_images: [a, b]", "2:1: vace_ref_images: a chunk takes one reference image, not 2"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_one_line(text: str, line: str) -> None:
    with pytest.raises(JobError) as caught:
        job(text)
    assert caught.value.problems == (f"j:{line}",)


def test_a_path_alone_is_the_job_s_reference() -> None:
    assert job("vace_ref_images: [r.png]").vace_ref_images == (Path("/jobs/r.png"),)


def test_lists_of_python_objects_are_folded_too() -> None:
    loaded = Job(prompt="a", first_frames=[ChunkImage(chunk=1, image="/a.png")])  # type: ignore[arg-type]
    assert (loaded.chunk_specs[0].first_frame_image, loaded.first_frames) == (Path("/a.png"), ())


def test_a_folded_job_can_be_read_again() -> None:
    loaded = job(ALL)
    assert parse_job(loaded.to_public_dict()).chunk_specs[1].first_frame_image == Path.cwd() / "a.png"


def test_folding_prompts_takes_work_in_proportion_to_their_number() -> None:
    def fold(count: int) -> None:
        prompts = "\n".join(f"- {{chunk: {k}, text: t{k}}}" for k in range(count))
        assert len(job(f"chunk_prompts:\n{prompts}").chunk_specs) == count

    assert growth(fold, 300) < 2.2


def test_a_null_beside_the_value_does_not_keep_it_from_being_folded() -> None:
    loaded = job("chunk_prompts: [{chunk: 1, text: b, frame: null, time: null}]")
    assert [(entry.chunk, entry.text) for entry in loaded.chunk_specs] == [(1, "b")] and not loaded.chunk_prompts

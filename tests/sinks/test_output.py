from pathlib import Path

import pytest

from scope_batch.errors import JobError, UsageError
from scope_batch.sinks.output import Output, files_of, has_files, numbered, parse_outputs


def parse(job_output=None, *cli: str, fmt: str | None = None, video=None) -> tuple[Output, ...]:
    return parse_outputs(job_output, cli, fmt, "cat", video)


def test_without_any_output_it_is_an_mp4_named_like_the_job():
    (output,) = parse()
    assert (output.path, output.format) == (Path("cat.mp4"), "mp4")
    assert output.options is not None
    assert (output.options.codec, output.options.crf, output.options.preset) == ("libx264", 14, "veryfast")


def test_the_command_line_replaces_the_jobs_outputs():
    assert [output.name for output in parse(["a.mp4", "b.npy"], "c.mkv", "-")] == ["c.mkv", "-"]


def test_a_map_and_the_jobs_video_settings_resolve_every_option():
    outputs = [{"path": "a.mkv", "codec": "ffv1"}, "b.MP4", "c.npy"]
    first, second, third = parse(outputs, video={"codec": "libx265", "pix_fmt": "yuv444p"})
    assert first.options is not None and second.options is not None
    assert (first.options.codec, first.options.pix_fmt, first.options.crf) == ("ffv1", "yuv444p", None)
    assert (second.format, second.options.codec, second.options.crf) == ("mp4", "libx265", 18)
    assert third.options is None


def test_webm_and_stdout_have_their_own_defaults():
    webm, stdout = parse(["a.webm", "-"])
    assert webm.options is not None and (webm.options.codec, webm.options.crf) == ("libvpx-vp9", 20)
    assert (stdout.path, stdout.format) == (None, "npy")
    assert parse(None, "-", fmt="nut")[0].format == "nut"


@pytest.mark.parametrize(
    ("job_output", "message"),
    [
        ("cat.avi", r"unknown extension '.avi'; allowed: .mp4"),
        ("cat", "unknown extension"),
        ("cat.png", "needs one number in its file name"),
        ("%05d-%05d.png", "needs one number"),
        (["a.mp4", "./a.mp4"], "named twice"),
        ({"path": "a.mp4", "quality": 3}, "unknown key 'quality'; allowed: path, codec, crf, preset, pix_fmt"),
        ({"codec": "ffv1"}, "None is not a path"),
        ({"path": "a.webm", "preset": "slow"}, "libvpx-vp9 has no option 'preset'; allowed: codec, crf, pix_fmt"),
        ({"path": "a.mp4", "codec": "ffv1"}, "'ffv1' cannot be stored in mp4; allowed: libx264"),
        ({"path": "a.mp4", "crf": 99}, "99 is not a number in 0..51"),
        ({"path": "a.mp4", "preset": "warp"}, "'warp' is not known; allowed: veryfast, ultrafast"),
        ({"path": "a.mp4", "pix_fmt": "bgr0"}, "'bgr0' is not known; allowed: yuv420p"),
        ({"path": "a.npy", "crf": 3}, "npy has no encoder settings; remove crf"),
    ],
)
def test_an_unknown_output_is_refused_with_the_allowed_ones(job_output, message):
    with pytest.raises(JobError, match=message):
        parse(job_output)


def test_standard_output_is_written_once_and_f_belongs_to_it():
    with pytest.raises(UsageError, match="only once"):
        parse(None, "-", "-")
    with pytest.raises(UsageError, match="needs -o -"):
        parse(None, "a.mp4", fmt="nut")
    with pytest.raises(UsageError, match="allowed: npy, nut"):
        parse(None, "-", fmt="mov")


def test_a_sequence_finds_its_own_files_only(tmp_path: Path):
    for name in ("a00000.png", "a00001.png", "a0x.png", "b00000.png", "a7.png", "a2024.png", "a000002.png"):
        (tmp_path / name).touch()
    assert sorted(file.name for file in files_of(tmp_path / "a%05d.png")) == ["a00000.png", "a00001.png"]
    assert numbered(tmp_path / "a%05d.png", 7).name == "a00007.png"
    assert files_of(tmp_path / "none" / "a%05d.png") == []


@pytest.mark.parametrize("name", ["a.npy", "%02d.png"])
def test_files_of_an_output_are_seen(tmp_path: Path, name: str) -> None:
    assert not has_files(tmp_path / name)
    (tmp_path / name.replace("%02d", "07")).touch()
    assert has_files(tmp_path / name) and not has_files(tmp_path / ("a" * 300) / name)

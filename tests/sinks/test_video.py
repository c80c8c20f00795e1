import os
import re
import signal
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from scope_batch.core.sound import SoundTrack
from scope_batch.errors import Interrupted, JobError, OutputError, TemporaryError, TimeLimitError
from scope_batch.media import ffmpeg, patience
from scope_batch.media.ffmpeg import file_url, run_quiet
from scope_batch.sinks.command import Sound, VideoFormat
from scope_batch.sinks.encode import try_encoder
from scope_batch.sinks.encoders import VideoOptions, resolve_options
from scope_batch.sinks.verify import verify_video
from scope_batch.sinks.video_file import VideoSink


def video(container: str, fps: Fraction = Fraction(16), sound: Sound | None = None, **options: object) -> VideoFormat:
    return VideoFormat(container, resolve_options(container, options, "output"), 96, 64, fps, sound)


@pytest.fixture
def write(publish):
    def written(path: Path, frames: np.ndarray, format: VideoFormat, **more) -> VideoSink:  # noqa: A002
        with publish(VideoSink, path, len(frames), format, **more) as sink:
            sink.write(frames)
        return sink

    return written


def described(path: Path) -> str:
    return run_quiet(["-hide_banner", "-i", file_url(path)]).stderr


@pytest.mark.parametrize(("name", "options"), [("a.mkv", {"codec": "ffv1"}), ("a.nut", {})])
def test_lossless_formats_come_back_bit_for_bit(tmp_path: Path, make_frames, decoded, name, options, write):
    write(tmp_path / name, make_frames(5), video(name[2:], **options))
    assert np.array_equal(decoded(tmp_path / name), make_frames(5))


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("count", [1, 13])
def test_every_container_holds_exactly_the_frames(tmp_path: Path, make_frames, decoded, container, count, write):
    write(tmp_path / f"a.{container}", make_frames(count), video(container))
    assert len(decoded(tmp_path / f"a.{container}")) == count


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_colours_are_bt709_and_right_within_three_levels(tmp_path: Path, decoded, container, write):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (128, 128, 128), (255, 255, 255), (0, 0, 0)]
    frames = np.stack([np.full((64, 96, 3), colour, np.uint8) for colour in colours])
    write(tmp_path / f"a.{container}", frames, video(container))
    assert re.search(r"yuv420p\(tv, bt709[,)]", described(tmp_path / f"a.{container}"))
    difference = decoded(tmp_path / f"a.{container}").astype(int) - frames
    assert np.abs(difference).max() <= 3


def test_the_frame_rate_is_exact(tmp_path: Path, make_frames, write):
    write(tmp_path / "a.mp4", make_frames(30), video("mp4", fps=Fraction(30000, 1001)))
    assert "29.97 fps" in described(tmp_path / "a.mp4")
    times = run_quiet(["-v", "error", "-i", file_url(tmp_path / "a.mp4"), "-c", "copy", "-f", "framecrc", "-"]).stdout
    assert "#tb 0: 1/30000" in times and "1001," in times


def test_the_same_frames_make_the_same_bytes(tmp_path: Path, make_frames, write):
    for name in ("a.mp4", "b.mp4", "a.mkv", "b.mkv"):
        write(tmp_path / name, make_frames(13), video(name[2:]), metadata="{}")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def test_an_interrupted_video_is_a_valid_partial(tmp_path: Path, make_frames, decoded, names, publish):
    with pytest.raises(Interrupted), publish(VideoSink, tmp_path / "a.mp4", 21, video("mp4")) as sink:
        sink.write(make_frames(9))
        raise Interrupted(2)
    assert names() == ["a.partial.mp4"] and len(decoded(tmp_path / "a.partial.mp4")) == 9


def child_pid(sink: VideoSink) -> int:
    assert sink._encoder is not None
    return sink._encoder._child.pid


@pytest.mark.parametrize("frames_before", [9, 21])
@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_encoder_leaves_nothing(tmp_path: Path, make_frames, names, frames_before, with_signal, publish):
    with (
        pytest.raises(TemporaryError, match="encoder was"),
        publish(VideoSink, tmp_path / "a.mp4", 21, video("mp4")) as sink,
    ):
        sink.write(make_frames(frames_before))
        os.kill(child_pid(sink), with_signal)
        os.waitid(os.P_PID, child_pid(sink), os.WEXITED | os.WNOWAIT)
        if frames_before < 21:
            sink.write(make_frames(12, 9))
    assert names() == []
    with pytest.raises(ProcessLookupError):
        os.kill(child_pid(sink), 0)


def test_abort_kills_the_encoder_at_once(tmp_path: Path, make_frames, names, publish):
    with pytest.raises(Interrupted), publish(VideoSink, tmp_path / "a.mp4", 21, video("mp4")) as sink:
        sink.write(make_frames(9))
        sink.abort()
        raise Interrupted(2, now=True)
    assert names() == []


def test_the_encoder_holds_the_lock_as_long_as_it_lives(tmp_path: Path, make_frames, publish):
    with publish(VideoSink, tmp_path / "a.mp4", 9, video("mp4")) as sink:
        sink.write(make_frames(9))
        held = [os.path.realpath(fd) for fd in Path(f"/proc/{child_pid(sink)}/fd").iterdir()]
        assert str(tmp_path / ".a.mp4.work" / "lock") in held


def out_of_time() -> None:
    raise TimeLimitError("the time is over")


@pytest.mark.parametrize("frames_before", [0, 21])
def test_an_encoder_that_stands_still_after_the_time_limit_is_killed(
    tmp_path: Path, make_frames, names, publish, monkeypatch, frames_before: int
):
    """It stalls in the middle, when its pipe is full, and at the end, when it should flush its frames."""
    monkeypatch.setattr(patience, "STALL_S", 0.2)
    sink = publish(VideoSink, tmp_path / "a.mp4", 10_000, video("mp4"), check_stop=out_of_time)
    with pytest.raises(TimeLimitError) as raised, sink as opened:
        opened.write(make_frames(21))
        os.kill(child_pid(opened), signal.SIGSTOP)
        while not frames_before:
            opened.write(make_frames(21))
        raise TimeLimitError("the time is over")
    assert f"{tmp_path / 'a.mp4'}: the encoder stood still for 0.2 s and was given up" in raised.value.__notes__[0]
    assert names() == []
    with pytest.raises(ProcessLookupError):
        os.kill(child_pid(opened), 0)


def test_an_encoder_that_uses_the_cpu_is_not_a_stalled_one(tmp_path: Path, make_frames, publish, monkeypatch):
    monkeypatch.setattr(patience, "STALL_S", 5)
    with publish(VideoSink, tmp_path / "a.mp4", 21, video("mp4"), check_stop=out_of_time) as sink:
        sink.write(make_frames(21))


def test_a_stopped_encoder_does_not_hold_up_a_stop_at_once(tmp_path: Path, make_frames, names, publish):
    with pytest.raises(Interrupted), publish(VideoSink, tmp_path / "a.mp4", 21, video("mp4")) as sink:
        sink.write(make_frames(9))
        os.kill(child_pid(sink), signal.SIGSTOP)
        sink.abort()
        raise Interrupted(2, now=True)
    assert names() == []


@pytest.mark.parametrize("codec", ["libx264", "libx265", "ffv1"])
def test_a_frame_that_does_not_decode_is_noticed(tmp_path: Path, make_frames, write, codec):
    """The container still counts as many packets as before."""
    path = tmp_path / "a.mkv"
    write(path, make_frames(30), video("mkv", codec=codec))
    data = bytearray(path.read_bytes())
    middle = len(data) * 3 // 4
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(OutputError, match=r"decoded|read back|holds"):
        verify_video(path, 30, 64, 96)


def test_little_memory_is_no_fault_of_the_job(monkeypatch):
    monkeypatch.setattr(ffmpeg.resource, "getrlimit", lambda _: (300 << 20, 300 << 20))
    with pytest.raises(TemporaryError, match=r"300 MiB of memory \(ulimit -v\): .*preset"):
        try_encoder(VideoFormat("mp4", VideoOptions("libx264", 14, "warp", "yuv420p"), 96, 64, Fraction(16)))


def test_a_video_with_a_frame_missing_is_noticed(tmp_path: Path, make_frames, write):
    write(tmp_path / "a.mp4", make_frames(9), video("mp4"))
    with pytest.raises(OutputError, match="holds 9 frames of 96x64, expected 10 frames of 96x64"):
        verify_video(tmp_path / "a.mp4", 10, 64, 96)
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(OutputError, match="cannot be read back"):
        verify_video(tmp_path / "a.mp4", 9, 64, 96)


def test_options_that_the_encoder_refuses_are_the_jobs_fault():
    try_encoder(video("webm"))
    with pytest.raises(JobError, match=r"mp4 \(libx264\): the encoder failed: .*preset"):
        try_encoder(VideoFormat("mp4", VideoOptions("libx264", 14, "warp", "yuv420p"), 96, 64, Fraction(16)))


def track_of(path: Path) -> SoundTrack:
    return SoundTrack(path, Fraction(0), Fraction(9), "stop", Fraction(9))


@pytest.mark.parametrize("seconds", ["0.3", "5"])
@pytest.mark.parametrize("container", ["mp4", "webm", "mkv"])
def test_sound_ends_with_the_picture(tmp_path: Path, make_frames, decoded, container, seconds, write):
    tone = tmp_path / "tone.wav"
    run_quiet(["-v", "error", "-f", "lavfi", "-i", f"sine=d={seconds}", file_url(tone)])
    write(tmp_path / f"a.{container}", make_frames(16), video(container, sound=Sound(track_of(tone), Fraction(1))))
    assert len(decoded(tmp_path / f"a.{container}")) == 16
    duration = re.search(r"Duration: 00:00:0([\d.]+).*Audio:", described(tmp_path / f"a.{container}"), re.DOTALL)
    assert duration and 0.95 <= float(duration[1]) <= 1.1


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm", "nut"])
@pytest.mark.parametrize("layout", ["mono", "2.1", "4.0", "5.1(side)", "7.1(wide)", "hexadecagonal", "22.2"])
def test_sound_for_any_loudspeakers_goes_into_any_container(tmp_path: Path, container, layout):
    """AC-3 uses 5.1(side), which Opus does not support; AAC supports at most eight channels."""
    sound = tmp_path / "many.mov"
    run_quiet(
        [
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "sine=d=0.3",
            "-af",
            f"pan={layout}|c0=c0",
            "-c:a",
            "pcm_s16le",
            file_url(sound),
        ]
    )
    try_encoder(video(container, sound=Sound(track_of(sound), Fraction(1, 8))))


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize(("frames", "fps"), [(1, "16"), (21, "16"), (45, "16"), (35, "24"), (41, "30000/1001")])
def test_sound_costs_no_picture(tmp_path: Path, make_frames, decoded, container, frames, fps, write):
    tone = tmp_path / "tone.wav"
    run_quiet(["-v", "error", "-f", "lavfi", "-i", "sine=d=9", file_url(tone)])
    sound = Sound(track_of(tone), frames / Fraction(fps))
    write(tmp_path / f"a.{container}", make_frames(frames), video(container, fps=Fraction(fps), sound=sound))
    assert len(decoded(tmp_path / f"a.{container}")) == frames


def test_a_name_that_looks_like_a_protocol_is_a_file(tmp_path: Path, make_frames, names, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write(Path("-http:%d.mp4"), make_frames(1), video("mp4"))
    assert names() == ["-http:%d.mp4"]


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from scope_batch.errors import ScopeBatchError
from scope_batch.sinks.npy import NpySink
from scope_batch.sinks.video_file import VideoSink
from scope_batch.core.sound import SoundTrack
from scope_batch.sinks.command import VideoFormat
from scope_batch.sinks.encoders import resolve_options
from scope_batch.sinks.publish import Publication
from fractions import Fraction
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
path = Path(sys.argv[1])
frames = np.random.default_rng(0).integers(0, 255, (60, 64, 96, 3), dtype=np.uint8)
try:
    with Publication([path]) as publication:
        if path.suffix == ".npy":
            sink = NpySink(path, 60, 64, 96, publication)
        else:
            video = VideoFormat("mp4", resolve_options("mp4", {}, ""), 96, 64, Fraction(16))
            sink = VideoSink(path, 60, video, publication)
        with sink:
            for part in np.split(frames, 5):
                sink.write(part)
except ScopeBatchError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("name", ["a.npy", "a.mp4"])
def test_a_file_that_may_not_grow_is_an_output_error_and_leaves_nothing(tmp_path: Path, names, python, name):
    done = subprocess.run([python, "-c", LIMITED, str(tmp_path / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 74 and "a." in done.stdout, done
    assert names() == []

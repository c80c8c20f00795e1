"""Measures the cost of the sinks beyond disk and encoder, with slate frames replayed from memory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from scope_batch.core.plan import Plan
from scope_batch.media.ffmpeg import file_url, run_quiet
from scope_batch.sinks.command import VideoFormat, encode_args
from scope_batch.sinks.npy import write_all
from scope_batch.sinks.output import parse_outputs
from scope_batch.sinks.output_set import SinkSettings, claim_outputs, open_sinks
from tests.bench.figures import Figure, shares, stopwatch
from tests.bench.replay import Replay, drawn, slate_plan

MIB = 1 << 20


def npy(folder: Path, *, frames: int = 900, height: int = 480, width: int = 832, repeat: int = 7) -> list[Figure]:
    """Compare NPY output with a plain write and sync of the same bytes in the same blocks.

    The two take turns in the same folder. 900 frames of 832x480 are 1.08 GB.
    """
    plan = slate_plan(frames, height, width)
    made = drawn(plan)
    ours_s: list[float] = []
    disk_s: list[float] = []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        _write_plainly(Path(place, "plain.bin"), made, [])  # the first gigabyte on an idle disk is not like the next
        for _ in range(repeat):
            _write_plainly(Path(place, "plain.bin"), made, disk_s)
            _render(Path(place, "out.npy"), plan, made, ours_s)
    size_mib = frames * height * width * 3 / MIB
    note = f"{size_mib:.0f} MiB, both synced"
    return [
        Figure("npy: share of the disk's speed", "%", shares(disk_s, ours_s), at_least=70, note=note),
        Figure("npy: disk alone", "MiB/s", tuple(size_mib / s for s in disk_s)),
        Figure("npy: scope-batch", "MiB/s", tuple(size_mib / s for s in ours_s)),
    ]


def mp4(folder: Path, *, frames: int = 600, height: int = 480, width: int = 832, repeat: int = 5) -> list[Figure]:
    """Compare MP4 output with the same ffmpeg command on a raw file of the same frames in the page cache.

    Ours is timed with everything that a render does besides: opening, counting the file's frames, sync, rename.
    """
    plan = slate_plan(frames, height, width)
    made = drawn(plan)
    ours_s: list[float] = []
    ffmpeg_s: list[float] = []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        raw = Path(place, "frames.raw")
        _write_plainly(raw, made, [], keep=True)
        for _ in range(repeat):
            _encode_file(raw, Path(place, "plain.mp4"), plan, ffmpeg_s)
            _render(Path(place, "out.mp4"), plan, made, ours_s)
    return [
        Figure("mp4: share of ffmpeg's speed", "%", shares(ffmpeg_s, ours_s), at_least=90, note=f"{frames} frames"),
        Figure("mp4: ffmpeg from a file", "fps", tuple(frames / s for s in ffmpeg_s)),
        Figure("mp4: scope-batch", "fps", tuple(frames / s for s in ours_s)),
    ]


def _render(target: Path, plan: Plan, made: list[Replay], into: list[float]) -> None:
    outputs, settings = parse_outputs(None, [str(target)], None, "job"), SinkSettings()
    with (
        stopwatch(into),
        claim_outputs(outputs, settings) as publication,
        open_sinks(outputs, plan, settings, publication) as writer,
    ):
        for chunk, generated in zip(plan.chunks, made, strict=True):
            writer.submit(generated, chunk.keep)
    target.unlink()


def _write_plainly(target: Path, made: list[Replay], into: list[float], *, keep: bool = False) -> None:
    with stopwatch(into):
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for generated in made:
            write_all(fd, generated.kept.data.cast("B"))
        os.fsync(fd)
        os.close(fd)
    if not keep:
        target.unlink()


def _encode_file(raw: Path, target: Path, plan: Plan, into: list[float]) -> None:
    options = parse_outputs(None, [str(target)], None, "job")[0].options
    assert options is not None
    args = encode_args(VideoFormat("mp4", options, plan.width, plan.height, plan.fps), target, None)
    with stopwatch(into):
        done = run_quiet([file_url(raw) if arg == "pipe:0" else arg for arg in args])
    assert done.returncode == 0, done.stderr
    target.unlink()

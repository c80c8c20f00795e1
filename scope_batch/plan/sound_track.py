"""Aligns the sound with the picture, and warns if they differ in length or speed."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from scope_batch.core.plan import ClipFacts, Plan
from scope_batch.core.sound import AudioLength, SoundFacts, SoundTrack
from scope_batch.core.timing import Timing
from scope_batch.plan.diagnostics import Diagnostics, counted, place
from scope_batch.plan.view.text import clock, rate

if TYPE_CHECKING:
    from scope_batch.job import Job

TOLERANCE_S = Fraction(1, 20)
"""Sound and picture may differ by this, or by one frame: codecs work in packets."""
AFTER_END: dict[AudioLength, str] = {
    "stop": "silence from there on",
    "loop": "it starts over",
    "hold": "its last second is repeated",
}


def place_sound(
    job: Job, plan: Plan, clip: ClipFacts | None, sound: SoundFacts, diagnostics: Diagnostics
) -> SoundTrack:
    """Return the sound track of a plan without one. The input's sound starts at the first frame that is read."""
    placer = _SoundPlacer(job, plan, sound, diagnostics)
    if job.audio != "input":
        return placer.of_file()
    assert clip is not None, "the job model lets `input` through only beside an input_path"
    return placer.of_clip(clip)


@dataclass(frozen=True, slots=True)
class _SoundPlacer:
    job: Job
    plan: Plan
    sound: SoundFacts
    diagnostics: Diagnostics

    @property
    def where(self) -> str:
        return f"{place(self.job, 'audio')}: {self.sound.path.name}"

    @property
    def picture_s(self) -> Fraction:
        delivery = self.plan.delivery
        return delivery.frames / delivery.fps

    @property
    def tolerance_s(self) -> Fraction:
        return max(TOLERANCE_S, 1 / self.plan.delivery.fps)

    def of_file(self) -> SoundTrack:
        heard_s, length = self.sound.seconds, self.job.audio_length or "stop"
        if heard_s > self.picture_s + self.tolerance_s:
            over = heard_s - self.picture_s
            lengths = f"{self.where} is {_s(heard_s)} long, the picture {_s(self.picture_s)}"
            self._report(f"{lengths}: {_s(over)} are cut off", "stop confirms this")
        self._check_end(heard_s, length)
        return SoundTrack(self.sound.path, self.sound.start_s, min(heard_s, self.picture_s), length, heard_s)

    def of_clip(self, clip: ClipFacts) -> SoundTrack:
        frames = min(clip.frames, self.plan.num_frames)
        read_s, shown_s = frames / clip.fps, self.picture_s * frames / self.plan.num_frames
        first_s = self._first_s(clip)
        heard_s = self.sound.seconds - first_s
        if self.job.input_end is not None:
            heard_s = min(heard_s, clip.frames / clip.fps)
        if heard_s <= 0:
            self.diagnostics.problems.append(
                f"{self.where}: its sound ends before input_start; allowed: none or a file"
            )
        self._check_speed(clip, read_s, shown_s)
        starts_over = clip.frames < self.plan.num_frames and self.job.input_length == "loop"
        length = self.job.audio_length or ("loop" if starts_over else "stop")
        start_s = self.sound.start_s + first_s
        if not (starts_over and length == "loop"):
            self._check_end(heard_s, length)
            return SoundTrack(self.sound.path, start_s, min(heard_s, self.picture_s), length, heard_s)
        if heard_s < min(shown_s, read_s) - self.tolerance_s:
            short = _s(min(shown_s, read_s) - heard_s)
            self.diagnostics.warnings.append(
                f"{self.where}: its sound ends {short} before its picture: silence in each round"
            )
        return SoundTrack(self.sound.path, start_s, min(heard_s, shown_s), length, shown_s)

    def _first_s(self, clip: ClipFacts) -> Fraction:
        """Return the time of the first frame that is read, in seconds from the start of the clip."""
        timing, start = clip.timing or Timing.even(clip.frames, clip.fps), Fraction(self.job.input_start)
        return start if self.job.input_fps != "native" else timing.at_s(timing.shown_before(start))

    def _check_speed(self, clip: ClipFacts, read_s: Fraction, shown_s: Fraction) -> None:
        apart = abs(shown_s - read_s)
        if apart <= self.tolerance_s:
            return
        fast = shown_s < read_s
        pace = f"{float(read_s / shown_s if fast else shown_s / read_s):.3g}x {'fast' if fast else 'slow'}"
        remedy = "" if self.plan.post_processors else f" (fps: {clip.fps} keeps them together)"
        frames = read_s * clip.fps
        self.diagnostics.warnings.append(
            f"{self.where}: the picture runs {pace} and the sound does not: {rate(clip.fps)} frames a second are read, "
            f"{rate(frames / shown_s)} are shown; after {counted(round(frames), 'frame')} they are {_s(apart)} "
            f"apart{remedy}"
        )

    def _check_end(self, heard_s: Fraction, length: AudioLength) -> None:
        if heard_s < self.picture_s - self.tolerance_s:
            early, end = _s(self.picture_s - heard_s), clock(float(heard_s))
            message = f"{self.where}: the sound ends at {end}, {early} before the picture: {AFTER_END[length]}"
            self._report(message, "loop, hold or stop")
        elif self.job.audio_length is not None and heard_s <= self.picture_s + self.tolerance_s:
            where = place(self.job, "audio_length")
            self.diagnostics.notes.append(f"{where} has no effect: the sound ends with the picture")

    def _report(self, message: str, allowed: str) -> None:
        """Add a warning, or only a note if the job sets audio_length."""
        if self.job.audio_length is None:
            self.diagnostics.warnings.append(f"{message} (audio_length: {allowed})")
        else:
            self.diagnostics.notes.append(message)


def _s(seconds: Fraction) -> str:
    return f"{float(seconds):.2f} s"

from fractions import Fraction

import pytest

from scope_batch.core.timing import Timing, picked_frames
from scope_batch.errors import JobError

MS = Fraction(1, 1000)


def rounded(rate: Fraction, count: int, tick: Fraction = MS) -> Timing:
    return Timing.of_ticks([round(i / (rate * tick)) for i in range(count)], round(1 / (rate * tick)), tick)


def picks(timing: Timing, fps=None, start=None, end=None) -> list[int]:
    return list(picked_frames(timing, name="c.mp4", fps=fps, start_s=start, end_s=end))


@pytest.mark.parametrize(
    "rate", [Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(60)]
)
def test_a_common_rate_is_found_through_rounded_times(rate):
    assert rounded(rate, 200).fps == rate


@pytest.mark.parametrize("rate", [Fraction(25, 2), Fraction(15), Fraction(100, 3)])
def test_a_gif_rate_is_found_in_hundredths(rate):
    assert rounded(rate, 20, Fraction(1, 100)).fps == rate


def test_times_count_from_the_first_frame():
    timing = Timing.of_ticks([500, 540, 580, 620], 40, MS)
    assert (list(timing.ticks), timing.end, timing.fps) == ([0, 40, 80, 120], 160, 25)


def test_one_frame_has_the_rate_of_its_duration():
    assert Timing.of_ticks([7], 40, MS).fps == 25 and Timing.of_ticks([7], 0, MS).fps == 16


@pytest.mark.parametrize("ticks", [[0, 40, 80, 160, 200], [0, 40, 80, 120, 200, 280], [0, 0, 0], [0, 33, 80, 110, 150]])
def test_a_varying_rate_is_refused_natively_and_sampled_by_time(ticks):
    timing = Timing.of_ticks(ticks, 40, MS)
    with pytest.raises(JobError, match=r"c.mp4: its frame rate varies; `input_fps: N`"):
        picks(timing)
    assert len(picks(timing, fps=Fraction(25))) == round(timing.end_s * 25)


def test_sampling_takes_the_frame_that_is_shown_at_each_moment():
    timing = Timing.of_ticks([0, 40, 80, 120, 200, 280], 80, MS)
    assert picks(timing, fps=Fraction(25)) == [0, 1, 2, 3, 3, 4, 4, 5, 5]
    assert picks(Timing.even(25, Fraction(25)), fps=Fraction(10)) == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22]
    assert picks(Timing.even(4, Fraction(10)), fps=Fraction(20)) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("rate", [Fraction(30), Fraction(24000, 1001), Fraction(60)])
def test_a_clip_with_rounded_times_sampled_at_its_own_rate_is_itself(rate):
    timing = rounded(rate, 100)
    assert picks(timing, fps=rate) == picks(timing) == list(range(100))


def test_a_moment_counts_as_reached_as_early_as_times_are_rounded():
    timing = Timing.of_ticks([0, 1, 5, 9], 4, Fraction(1, 10))
    assert timing.fps is None
    assert [timing.shown_by(Fraction(t)) for t in ("0.4995", "0.498", "0.5")] == [3, 2, 3]
    assert [timing.shown_before(Fraction(t)) for t in ("0.5000005", "0.500002", "0.5")] == [2, 3, 2]


def test_start_and_end_take_the_frames_shown_in_between():
    timing = Timing.even(25, Fraction(25))
    assert picks(timing, start=0.2, end=0.4) == [5, 6, 7, 8, 9]
    assert picks(timing, start=0.21) == list(range(6, 25))
    assert picks(timing, fps=Fraction(10), start=0.21, end=0.5) == [5, 7, 10]
    assert picks(timing, fps=Fraction(10), end=0.2) == [0, 2]


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [(1.0, None, "outside the clip"), (-0.1, None, "outside"), (None, 1.2, "past the end"),
     (0.5, 0.5, "must lie after"),
     (0.41, 0.43, "no frame between")],
)  # fmt: skip
def test_a_range_without_frames_is_refused(start, end, message):
    with pytest.raises(JobError, match=message):
        picks(Timing.even(25, Fraction(25)), start=start, end=end)


@pytest.mark.parametrize(
    ("step_ms", "nominal"), [(33.3, 30), (40, 25), (16.7, 60), (41.7, 24), (70, 14), (3000, 1), (1, 240)]
)
def test_the_nominal_rate_is_the_usual_one_that_most_frames_keep_to(step_ms, nominal):
    ticks = [round(n * step_ms) for n in range(60) if n not in (7, 8, 30)]
    assert Timing.of_ticks(ticks, 0, MS).fps is None
    assert Timing.of_ticks(ticks, 0, MS).nominal_fps == nominal


def test_a_varying_rate_of_rounded_times_is_sampled_without_stutter():
    kept = [n for n in range(60) if n not in (7, 30)]
    timing = Timing.of_ticks([round(n * 1000 / 30) for n in kept], 33, MS)
    assert timing.fps is None
    assert [kept[pick] for pick in picks(timing, fps=30)] == [n - (n in (7, 30)) for n in range(60)]

"""Judges a recorded film by a golden: bit for bit, or within thresholds where the machine or the encoding differs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scope_batch.golden.alignment import Shift, find_shift, find_swaps
from scope_batch.golden.comparison import FramePair, FrameResult
from scope_batch.golden.metrics import measure
from scope_batch.golden.record import Record
from scope_batch.golden.thresholds import Thresholds
from scope_batch.media.source import Frame

Tier = Literal["exact", "other_machine", "encoded"]
"""What a film is held to: the same bits, or the thresholds of one of the other two."""
TIERS: tuple[Tier, ...] = ("exact", "other_machine", "encoded")


@dataclass(frozen=True, slots=True)
class Finding:
    """A frame that fails. reduced: the figures are those of its thumbnail, as the golden does not hold it whole."""

    frame: int
    reasons: tuple[str, ...]
    figures: FrameResult
    reduced: bool

    def __str__(self) -> str:
        figures = f"{'reduced to its thumbnail: ' if self.reduced else ''}{self.figures}"
        return f"{'; '.join(self.reasons)} ({figures})"


@dataclass(slots=True)
class Verdict:
    """The result of one verification.

    equal     every frame has the golden's checksum.
    problems  what no threshold excuses: another number of frames, size or rate.
    finding   the first frame that fails.
    pairs     what there is to show: golden and film, whole frames or thumbnails.
    worst_db  the lowest PSNR among whole frames and thumbnails; infinite if all are equal.
    """

    tier: Tier
    equal: bool = False
    problems: list[str] = field(default_factory=list)
    finding: Finding | None = None
    pairs: list[FramePair] = field(default_factory=list)
    shift: Shift | None = None
    swaps: list[tuple[int, int]] = field(default_factory=list)
    worst_db: float = math.inf

    @property
    def passed(self) -> bool:
        return not self.problems and self.finding is None

    def to_json(self) -> dict[str, Any]:
        finding = self.finding
        return {
            "passed": self.passed,
            "tier": self.tier,
            "equal": self.equal,
            "problems": self.problems,
            "frame": None if finding is None else finding.frame,
            "reasons": [] if finding is None else list(finding.reasons),
            "figures": None if finding is None else finding.figures.to_json(),
            "figures_of": None if finding is None else "thumbnail" if finding.reduced else "frame",
            "shift": None if self.shift is None else {"first": self.shift.first, "frames": self.shift.frames},
            "swapped": [list(swap) for swap in self.swaps],
            "worst_psnr_db": self.worst_db if math.isfinite(self.worst_db) else None,
        }


def judge(golden: Record, film: Record, tier: Tier, thresholds: Thresholds) -> Verdict:
    """Judge `film` by `golden`. thresholds: those of the tier; not used by "exact"."""
    verdict = Verdict(tier, problems=_problems(golden, film))
    same_size = (golden.frames.height, golden.frames.width) == (film.frames.height, film.frames.width)
    unlike = [
        index
        for index, (one, other) in enumerate(zip(golden.frames.hashes, film.frames.hashes, strict=False))
        if one != other
    ]
    verdict.equal = not unlike and not verdict.problems
    if not unlike or not same_size:
        return verdict
    pictures = _pictures(golden, film, unlike, thresholds)
    thumbnails = [_pair(index, golden.thumbnails[index], film.thumbnails[index], thresholds) for index in unlike]
    verdict.worst_db = min(pair.result.psnr_db for pair in (*pictures, *thumbnails))
    verdict.finding = _first_failure(tier, unlike, pictures, thumbnails)
    if verdict.finding is not None:
        frame = verdict.finding.frame
        verdict.pairs = _shown(frame, pictures, thumbnails)
        verdict.shift = find_shift(golden.thumbnails, film.thumbnails, frame)
        if verdict.shift is None:
            verdict.swaps = find_swaps(golden.thumbnails, film.thumbnails, unlike)
    return verdict


def _problems(golden: Record, film: Record) -> list[str]:
    one, other = golden.frames, film.frames
    lines = []
    if (one.width, one.height) != (other.width, other.height):
        lines.append(f"frames are {other.width}x{other.height}, those of the golden {one.width}x{one.height}")
    if golden.count != film.count:
        lines.append(f"{film.count} frames, the golden has {golden.count}")
    if one.fps != other.fps:
        lines.append(f"{float(other.fps):.6g} frames per second, the golden has {float(one.fps):.6g}")
    return lines


def _pictures(golden: Record, film: Record, unlike: Sequence[int], thresholds: Thresholds) -> list[FramePair]:
    """The whole frames that both hold and that are not equal, in order."""
    held = {**film.pictures, **({} if film.unlike is None else dict([film.unlike]))}
    both = (index for index in unlike if index in golden.pictures and index in held)
    return [_pair(index, golden.pictures[index], held[index], thresholds) for index in both]


def _pair(index: int, golden: Frame, film: Frame, thresholds: Thresholds) -> FramePair:
    return FramePair(FrameResult.of(index, measure(golden, film), thresholds), golden, film)


def _first_failure(
    tier: Tier, unlike: Sequence[int], pictures: Sequence[FramePair], thumbnails: Sequence[FramePair]
) -> Finding | None:
    whole = {pair.result.frame: pair.result for pair in pictures}
    small = {pair.result.frame: pair.result for pair in thumbnails}
    if tier == "exact":
        frame = unlike[0]
        reduced = frame not in whole
        return Finding(frame, ("not the bits of the golden",), small[frame] if reduced else whole[frame], reduced)
    for frame in unlike:
        for results, reduced in ((whole, False), (small, True)):
            result = results.get(frame)
            if result is not None and result.judgement == "differs":
                return Finding(frame, result.reasons, result, reduced)
    return None


def _shown(frame: int, pictures: Sequence[FramePair], thumbnails: Sequence[FramePair]) -> list[FramePair]:
    """The failing frame, as a thumbnail where it is not held whole, and the next whole frame that is not equal."""
    whole = next((pair for pair in pictures if pair.result.frame >= frame), None)
    if whole is not None and whole.result.frame == frame:
        return [whole]
    small = next(pair for pair in thumbnails if pair.result.frame == frame)
    return [pair for pair in (small, whole) if pair is not None]

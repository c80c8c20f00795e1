"""Defines thresholds with the meanings of idiff's options, and judges the difference of two frames by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from scope_batch.errors import JobError
from scope_batch.golden.metrics import FrameDifference

Judgement = Literal["equal", "within", "warned", "differs"]
"""The result of a comparison, from the best to the worst."""
ORDER: tuple[Judgement, ...] = ("equal", "within", "warned", "differs")
_PERCENT, _VALUE, _SSIM = 100.0, 1.0, 1.0
_MOST_DB = 200.0
_RANGES = {
    "fail": _VALUE, "fail_percent": _PERCENT, "hard_fail": _VALUE, "warn": _VALUE, "warn_percent": _PERCENT,
    "min_psnr": _MOST_DB, "min_ssim": _SSIM,
}  # fmt: skip
"""Threshold -> its largest allowed value; the smallest is 0."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Differences are in 0..1 as for idiff: 1/255 is one level. None: the threshold is not used.

    fail, fail_percent  a frame fails if more than `fail_percent` (0 by default) of its pixels differ by more than
                        `fail` in some channel.
    hard_fail           a frame fails if one of its pixels differs by more.
    warn, warn_percent  as `fail`, but only a warning.
    min_psnr, min_ssim  a frame fails whose PSNR (dB) or SSIM is lower.
    Without `fail`, `fail_percent`, `hard_fail`, `min_psnr` and `min_ssim` any difference fails.
    """

    fail: float | None = None
    fail_percent: float | None = None
    hard_fail: float | None = None
    warn: float | None = None
    warn_percent: float | None = None
    min_psnr: float | None = None
    min_ssim: float | None = None

    def judge(self, difference: FrameDifference) -> tuple[Judgement, tuple[str, ...]]:
        """Return the judgement of one frame, and a line for each threshold that it breaks."""
        if difference.equal:
            return "equal", ()
        reasons = tuple(self._failures(difference))
        if reasons:
            return "differs", reasons
        if self.warn is not None or self.warn_percent is not None:
            warned = _too_many("warn", difference, self.warn, self.warn_percent)
            if warned:
                return "warned", (warned,)
        return "within", ()

    def _failures(self, difference: FrameDifference) -> list[str]:
        lines = []
        asked = (self.fail, self.fail_percent, self.hard_fail, self.min_psnr, self.min_ssim)
        if self.fail is not None or self.fail_percent is not None or all(value is None for value in asked):
            lines.append(_too_many("fail", difference, self.fail, self.fail_percent))
        if self.hard_fail is not None and difference.largest > levels_of(self.hard_fail):
            lines.append(f"a pixel differs by {difference.largest}/255 (hard_fail {levels_of(self.hard_fail):g}/255)")
        if self.min_psnr is not None and difference.psnr_db < self.min_psnr:
            lines.append(f"PSNR {difference.psnr_db:.2f} dB (min_psnr {self.min_psnr:g})")
        if self.min_ssim is not None and difference.ssim < self.min_ssim:
            lines.append(f"SSIM {difference.ssim:.4f} (min_ssim {self.min_ssim:g})")
        return [line for line in lines if line]

    def to_json(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def levels_of(value: float) -> float:
    """Return a difference in 0..1 in levels of 255. Rounded, so that 2/255, however it was written, is 2."""
    return round(value * 255, 3)


def _too_many(name: str, difference: FrameDifference, value: float | None, percent: float | None) -> str:
    levels, most = levels_of(value or 0.0), percent or 0.0
    over = difference.percent_over(levels)
    if over <= most:
        return ""
    return f"{over:.3g} % of the pixels differ by more than {levels:g}/255 ({name}_percent {most:g})"


def thresholds_of(values: Mapping[str, Any], where: str) -> Thresholds:
    """Check thresholds read from a file. Raises JobError for an unknown name or a value out of range."""
    names = [field.name for field in fields(Thresholds)]
    for name, value in values.items():
        if name not in names:
            raise JobError(f"{where}: unknown threshold {name!r}; allowed: {', '.join(names)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _RANGES[name]:
            raise JobError(f"{where}: {name}: {value!r} is not a number in 0..{_RANGES[name]:g}")
    return Thresholds(**values)

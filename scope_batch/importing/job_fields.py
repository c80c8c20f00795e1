"""Settings of an export as fields of a job. What a job takes is asked of the job itself, its planner included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scope_batch.core.frame_size import fitted_size
from scope_batch.core.geometry import SIZE_STEP
from scope_batch.errors import JobError
from scope_batch.importing.notes import ImportNotes
from scope_batch.importing.reading import Export, Lora, Setting
from scope_batch.job import parse_job
from scope_batch.job.schedule import LORA_SCALE, Scheduled
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.plan import plan_job
from scope_batch.plan.settings import default_of

DEFAULT_PIPELINE: str = default_of("pipeline_id")
DEFAULT_SEED: int = default_of("seed")
ALSO_CALLED = {
    "base_seed": "seed",
    "lora_merge_strategy": "lora_merge",
    "lora_merge_mode": "lora_merge",
}
VIDEO_ONLY = ("noise_scale", "noise_controller")
"""Without an input video these mean nothing, here and there."""
NEEDS_FILES = frozenset(("vace_context_scale", "vace_use_input_video", "vace_enabled"))
NO_FILES = "acts on images and control videos, which an export does not hold"
FIELDS = (
    "denoising_steps", "manage_cache", "kv_cache_attention_bias", "prompt_interpolation_method", "vae_type",
    "quantization",
)  # fmt: skip
"""Carried over one to one."""
SMALLEST = {"prompt": "a", "num_frames": 1}
MERGING = {"permanent_merge": "always", "runtime_peft": "never"}


@dataclass(frozen=True, slots=True)
class Line:
    """A field of the job to be written; `off`: as a comment, for the user to switch on."""

    field: str
    value: Any
    remark: str = ""
    off: bool = False


class Fields:
    """Takes the settings one by one; what nobody took is told at the end."""

    def __init__(self, export: Export, told: ImportNotes) -> None:
        self._left = {ALSO_CALLED.get(name, name): setting for name, setting in export.settings.items()}
        self._export, self._told = export, told
        self.pipeline_id = self._pipeline()

    def _pipeline(self) -> str:
        setting = self._take("pipeline_id")
        if setting is None:
            self._told.assumed("pipelineId (absent)", DEFAULT_PIPELINE)
        elif isinstance(setting.value, str) and setting.value in KNOWN_PIPELINES.ids():
            return setting.value
        else:
            known = ", ".join(KNOWN_PIPELINES.ids())
            self._told.left_out(
                setting.place, setting.value, f"no such pipeline here ({known}); {DEFAULT_PIPELINE} renders instead"
            )
        return DEFAULT_PIPELINE

    @property
    def foreign(self) -> bool:
        """The export was made with a pipeline that this program does not have."""
        asked = self._export.settings.get("pipeline_id")
        return asked is not None and asked.value != self.pipeline_id

    def size(self) -> Iterator[Line]:
        height, width = self._take("height"), self._take("width")
        if height is None or width is None:
            spec = KNOWN_PIPELINES.get(self.pipeline_id)
            self._told.assumed("resolution (absent)", f"{spec.width}x{spec.height}, the pipeline's own")
            return
        if not all(type(side.value) is int and side.value > 0 for side in (height, width)):
            self._told.left_out("resolution", [height.value, width.value], "must be whole numbers of pixels")
            return
        fitted = fitted_size(height.value, width.value)
        if fitted != (height.value, width.value):
            asked, made = f"{width.value}x{height.value}", f"{fitted[1]}x{fitted[0]}"
            self._told.assumed("resolution", f"{made} for {asked}, sides are multiples of {SIZE_STEP} in 64..2048")
        yield Line("height", fitted[0])
        yield Line("width", fitted[1])

    def seed(self) -> Iterator[Line]:
        setting = self._take("seed")
        if setting is None:
            self._told.assumed("seed (absent)", str(DEFAULT_SEED))
        elif why := self._refusal("seed", setting.value):
            self._told.left_out(setting.place, setting.value, f"{why}; {DEFAULT_SEED} instead")
        else:
            yield Line("seed", setting.value)
            yield Line("noise_device", "cuda", "draws the noise that Scope drew, on a GPU of the same kind", off=True)
            return
        yield Line("seed", DEFAULT_SEED)

    def plain(self) -> Iterator[Line]:
        for name in FIELDS:
            setting = self._take(name)
            if setting is None or self._asks_for_nothing(name, setting.value):
                continue
            if name == "denoising_steps" and self.foreign:
                self._told.left_out(setting.place, setting.value, "they were made for another pipeline")
            elif why := self._refusal(name, setting.value):
                self._told.left_out(setting.place, setting.value, why)
            else:
                yield Line(name, setting.value)

    def video(self) -> Iterator[Line]:
        """The input video is no part of an export; what acts on it is written for when it is there."""
        mode = self._take("input_mode")
        if mode is not None and mode.value == "video":
            self._told.left_out(mode.place, mode.value, "an export holds no video; write its path as input_path")
            yield Line("input_path", "clip.mp4", "the video that was the input", off=True)
        elif mode is not None and mode.value != "text":
            self._told.left_out(mode.place, mode.value, "text and video are known")
        for name in VIDEO_ONLY:
            setting = self._take(name)
            if setting is None:
                continue
            if why := malformed({name: setting.value}, name):
                self._told.left_out(setting.place, setting.value, why)
            else:
                yield Line(name, setting.value, "counts with an input_path only", off=True)

    def loras(self) -> Iterator[Line]:
        """`lora_scales` and how they are applied."""
        scales, modes = dict[str, float](), set[str]()
        strategy = self._take("lora_merge")
        for lora in self._export.loras:
            wanted = scales | {lora.path: scales.get(lora.path, 0.0) + lora.scale}
            scale_fault = Scheduled(*LORA_SCALE).fault(wanted[lora.path])
            if why := scale_fault or self._refusal("lora_scales", wanted):
                why = why.removeprefix(f"lora_scales.{lora.path}: ")
                self._told.left_out(f"{lora.place} {lora.path}", lora.scale, why)
                continue
            if lora.path in scales:
                self._told.assumed(lora.place, f"{lora.path} is listed twice, its scales are added")
            scales = wanted
            modes.add(self._merging(lora, strategy))
        if scales:
            yield Line("lora_scales", scales)
            if len(modes) == 1 and "auto" not in modes:
                yield Line("lora_merge", modes.pop())
            elif len(modes) > 1:
                self._told.assumed("loras", "their merge modes differ, lora_merge stays auto")

    def _merging(self, lora: Lora, strategy: Setting | None) -> str:
        mode = lora.merge_mode or strategy
        if mode is None:
            return "auto"
        if not isinstance(mode.value, str) or mode.value not in MERGING:
            self._told.left_out(mode.place, mode.value, f"{' and '.join(MERGING)} are known; auto instead")
            return "auto"
        return MERGING[mode.value]

    def tell_left(self) -> None:
        for name, setting in self._left.items():
            needs_file = name in NEEDS_FILES
            if not (needs_file and setting.value in (True, False, 1.0)):
                self._told.left_out(setting.place, setting.value, NO_FILES if needs_file else "not known here")

    def _take(self, name: str) -> Setting | None:
        return self._left.pop(name, None)

    def _asks_for_nothing(self, name: str, value: Any) -> bool:
        """Plain attention is all that most pipelines have; for the others it is a choice."""
        return (
            name == "kv_cache_attention_bias"
            and value == 1.0
            and KNOWN_PIPELINES.get(self.pipeline_id).attention_bias is None
        )

    def _refusal(self, name: str, value: Any) -> str | None:
        return refusal({"pipeline_id": self.pipeline_id, name: value}, name)


def malformed(fields: dict[str, Any], name: str) -> str | None:
    """Why a job (with a prompt) does not take these fields; None = it does."""
    try:
        parse_job(fields | SMALLEST)
    except JobError as error:
        return error.problems[0].removeprefix(f"{name}: ")
    return None


def refusal(fields: dict[str, Any], name: str) -> str | None:
    """Why such a job cannot be rendered as text to video; None = it can."""
    try:
        job = parse_job(fields | SMALLEST)
        plan_job(job, KNOWN_PIPELINES.get(job.pipeline_id), None)
    except JobError as error:
        return error.problems[0].removeprefix(f"{name}: ")
    return None

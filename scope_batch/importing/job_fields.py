"""Converts the settings of an export to fields of a job. The job's schema and planner decide which are valid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scope_batch.core.frame_size import fitted_size
from scope_batch.core.geometry import SIZE_STEP
from scope_batch.errors import JobError
from scope_batch.importing.notes import ImportNotes
from scope_batch.importing.reading import Export, Lora, Setting, merged
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
"""Fields that have no effect without an input video, in Scope as well."""
NEEDS_FILES = frozenset(("vace_context_scale", "vace_use_input_video", "vace_enabled"))
NO_FILES = "acts on images and control videos, which an export does not hold"
FIELDS = (
    "denoising_steps", "manage_cache", "kv_cache_attention_bias", "prompt_interpolation_method", "vae_type",
    "quantization",
)  # fmt: skip
"""Fields whose values are the same in an export and in a job."""
SMALLEST = {"prompt": "a", "num_frames": 1}
MERGING = {"permanent_merge": "always", "runtime_peft": "never"}


@dataclass(frozen=True, slots=True)
class Line:
    """A field of the job. `off`: it is written as a comment, for the user to enable."""

    field: str
    value: Any
    remark: str = ""
    off: bool = False


class Fields:
    """Converts settings to lines, one by one; `note_unused` notes the settings that were not converted."""

    def __init__(self, export: Export, notes: ImportNotes) -> None:
        self._remaining: dict[str, Setting] = {}
        for name, setting in export.settings.items():
            self._remaining = merged(self._remaining, {ALSO_CALLED.get(name, name): setting})
        self._export, self._notes = export, notes
        self.pipeline_id = self._pipeline()

    def _pipeline(self) -> str:
        setting = self._take("pipeline_id")
        if setting is None:
            self._notes.assumed("pipelineId (absent)", DEFAULT_PIPELINE)
        elif isinstance(setting.value, str) and setting.value in KNOWN_PIPELINES.ids():
            return setting.value
        else:
            known = ", ".join(KNOWN_PIPELINES.ids())
            self._notes.left_out(
                setting.place,
                setting.value,
                f"no such pipeline (known: {known}); {DEFAULT_PIPELINE} is used instead",
            )
        return DEFAULT_PIPELINE

    @property
    def foreign(self) -> bool:
        """True if the export is of a pipeline that this program does not have."""
        setting = self._export.settings.get("pipeline_id")
        return setting is not None and setting.value not in (None, self.pipeline_id)

    def size(self) -> Iterator[Line]:
        height, width = self._take("height"), self._take("width")
        if height is None or width is None:
            spec = KNOWN_PIPELINES.get(self.pipeline_id)
            self._notes.assumed("resolution (absent)", f"{spec.width}x{spec.height}, the pipeline's own")
            return
        if not all(type(side.value) is int and side.value > 0 for side in (height, width)):
            self._notes.left_out("resolution", [height.value, width.value], "must be whole numbers of pixels")
            return
        fitted = fitted_size(height.value, width.value)
        if fitted != (height.value, width.value):
            size = f"{fitted[1]}x{fitted[0]} for {width.value}x{height.value}"
            self._notes.assumed("resolution", f"{size}, sides are multiples of {SIZE_STEP} in 64..2048")
        yield Line("height", fitted[0])
        yield Line("width", fitted[1])

    def seed(self) -> Iterator[Line]:
        setting = self._take("seed")
        if setting is None:
            self._notes.assumed("seed (absent)", str(DEFAULT_SEED))
        elif reason := self._refusal("seed", setting.value):
            self._notes.left_out(setting.place, setting.value, f"{reason}; {DEFAULT_SEED} is used instead")
        else:
            yield Line("seed", setting.value)
            yield Line("noise_device", "cuda", "the same noise as in Scope, on a GPU of the same kind", off=True)
            return
        yield Line("seed", DEFAULT_SEED)

    def plain(self) -> Iterator[Line]:
        for name in FIELDS:
            setting = self._take(name)
            if setting is None or self._is_plain_attention(name, setting.value):
                continue
            if name == "denoising_steps" and self.foreign:
                self._notes.left_out(setting.place, setting.value, "these are steps of another pipeline")
            elif reason := self._refusal(name, setting.value):
                self._notes.left_out(setting.place, setting.value, reason)
            else:
                yield Line(name, setting.value)

    def video(self) -> Iterator[Line]:
        """Yield comments for the input video, which is not part of an export, and for the fields that act on it."""
        mode = self._take("input_mode")
        if mode is not None and mode.value == "video":
            self._notes.left_out(mode.place, mode.value, "an export holds no video; write its path as input_path")
            yield Line("input_path", "clip.mp4", "path of the input video", off=True)
        elif mode is not None and mode.value != "text":
            self._notes.left_out(mode.place, mode.value, "must be text or video")
        for name in VIDEO_ONLY:
            setting = self._take(name)
            if setting is None:
                continue
            if reason := malformed({name: setting.value}, name):
                self._notes.left_out(setting.place, setting.value, reason)
            else:
                yield Line(name, setting.value, "has an effect only with an input_path", off=True)

    def loras(self) -> Iterator[Line]:
        """Yield `lora_scales`, and `lora_merge` if it is the same for all LoRAs."""
        scales, modes = dict[str, float](), set[str]()
        strategy = self._take("lora_merge")
        for lora in self._export.loras:
            new_scales = scales | {lora.path: scales.get(lora.path, 0.0) + lora.scale}
            scale_fault = Scheduled(*LORA_SCALE).fault(new_scales[lora.path])
            if reason := scale_fault or self._refusal("lora_scales", new_scales):
                reason = reason.removeprefix(f"lora_scales.{lora.path}: ")
                self._notes.left_out(f"{lora.place} {lora.path}", lora.scale, reason)
                continue
            if lora.path in scales:
                self._notes.assumed(lora.place, f"{lora.path} is listed twice, its scales are added")
            scales = new_scales
            modes.add(self._merging(lora, strategy))
        if scales:
            yield Line("lora_scales", scales)
            if len(modes) == 1 and "auto" not in modes:
                yield Line("lora_merge", modes.pop())
            elif len(modes) > 1:
                self._notes.assumed("loras", "their merge modes differ, so lora_merge is auto")

    def _merging(self, lora: Lora, strategy: Setting | None) -> str:
        mode = lora.merge_mode or strategy
        if mode is None:
            return "auto"
        if not isinstance(mode.value, str) or mode.value not in MERGING:
            self._notes.left_out(mode.place, mode.value, f"must be {' or '.join(MERGING)}; auto is used instead")
            return "auto"
        return MERGING[mode.value]

    def note_unused(self) -> None:
        """Note the settings that were not converted."""
        for name, setting in self._remaining.items():
            needs_file = name in NEEDS_FILES
            if not (needs_file and setting.value in (None, True, False, 1.0)):
                self._notes.left_out(setting.place, setting.value, NO_FILES if needs_file else "unknown setting")

    def _take(self, name: str) -> Setting | None:
        """Remove and return a setting; None if it is absent or null."""
        setting = self._remaining.pop(name, None)
        return None if setting is None or setting.value is None else setting

    def _is_plain_attention(self, name: str, value: Any) -> bool:
        """Return True for an attention bias of 1 and a pipeline that has no other; it is then not written."""
        return (
            name == "kv_cache_attention_bias"
            and value == 1.0
            and KNOWN_PIPELINES.get(self.pipeline_id).attention_bias is None
        )

    def _refusal(self, name: str, value: Any) -> str | None:
        return refusal({"pipeline_id": self.pipeline_id, name: value}, name)


def malformed(fields: dict[str, Any], name: str) -> str | None:
    """Return the reason why a job (with a prompt) cannot have these fields; None if it can."""
    try:
        parse_job(fields | SMALLEST)
    except JobError as error:
        return error.problems[0].removeprefix(f"{name}: ")
    return None


def refusal(fields: dict[str, Any], name: str) -> str | None:
    """Return the reason why such a job cannot be rendered as text to video; None if it can."""
    try:
        job = parse_job(fields | SMALLEST)
        plan_job(job, KNOWN_PIPELINES.get(job.pipeline_id), None)
    except JobError as error:
        return error.problems[0].removeprefix(f"{name}: ")
    return None

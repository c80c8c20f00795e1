"""Notes fields that the mode and the pipeline honour, but that have no effect in this job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scope_batch.core.plan import Chunk, ClipFacts
from scope_batch.core.timeline import Kind, Placement
from scope_batch.plan.chunk_overrides import ChunkOverrides
from scope_batch.plan.cuts import NEW_MODE, RESET
from scope_batch.plan.diagnostics import Diagnostics, name_chunks, place
from scope_batch.plan.material_fields import Facts, all_clip_fields
from scope_batch.plan.settings import Settings
from scope_batch.plan.vace import steers

if TYPE_CHECKING:
    from scope_batch.job import Job

WHOLE_PIXELS = 1
"""A fit that cuts or pads fewer pixels than this does not change the shape."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A planned job with the facts that show which fields had an effect.

    overrides    per chunk, the settings of its entries.
    causes       per chunk, the changes that would cut it, whether `manage_cache` allows the cut or not.
    method_used  prompts were blended with the job's `prompt_interpolation_method`.
    control_is_short  control or masks of the whole job end before it.
    """

    settings: Settings
    clip: ClipFacts | None
    facts: Facts
    chunks: Sequence[Chunk]
    overrides: Sequence[ChunkOverrides]
    causes: Sequence[Sequence[str]]
    placements: Sequence[Placement]
    method_used: bool
    control_is_short: bool

    def all_replace(
        self, get: Callable[[ChunkOverrides], object], used: Callable[[Chunk], bool] = lambda _: True
    ) -> bool:
        """Return True if there are chunks for which `used` is true, and entries set a value for each of them."""
        own = [get(overrides) for chunk, overrides in zip(self.chunks, self.overrides, strict=True) if used(chunk)]
        return bool(own) and None not in own


def note_idle(job: Job, outcome: Outcome, diagnostics: Diagnostics) -> None:
    for field, reason_of in REASONS.items():
        reason = reason_of(job, outcome) if field in job.model_fields_set else None
        if reason is not None:
            diagnostics.notes.append(f"{place(job, field)} has no effect: {reason}")
    _note_partly(job, outcome, diagnostics)
    diagnostics.notes.extend(_entry_notes(outcome))


def same_shape(width: int, height: int, settings: Settings) -> bool:
    """Return True if a picture of that size fills the output without a cut, a bar or a distortion."""
    cover = max(settings.width / width, settings.height / height)
    return max(abs(width * cover - settings.width), abs(height * cover - settings.height)) < WHOLE_PIXELS


def _is_video(chunk: Chunk) -> bool:
    return chunk.mode == "video"


def _is_steered(chunk: Chunk) -> bool:
    return chunk.vace is not None and steers(chunk.vace)


OWN = "every chunk has its own"


def _prompt(_: Job, outcome: Outcome) -> str | None:
    return "chunk 0 has a prompt of its own" if outcome.overrides[0].prompts is not None else None


def _seed(_: Job, outcome: Outcome) -> str | None:
    return OWN if outcome.all_replace(lambda overrides: overrides.seed) else None


def _noise_scale(_: Job, outcome: Outcome) -> str | None:
    return OWN if outcome.all_replace(lambda overrides: overrides.noise_scale, _is_video) else None


def _noise_controller(_: Job, outcome: Outcome) -> str | None:
    return OWN if outcome.all_replace(lambda overrides: overrides.noise_controller, _is_video) else None


def _denoising_steps(_: Job, outcome: Outcome) -> str | None:
    return OWN if outcome.all_replace(lambda overrides: overrides.denoising_steps) else None


def _vace_context_scale(_: Job, outcome: Outcome) -> str | None:
    return OWN if outcome.all_replace(lambda overrides: overrides.vace_context_scale, _is_steered) else None


def _attention_bias(_: Job, outcome: Outcome) -> str | None:
    if all(chunk.start_latent == 0 for chunk in outcome.chunks):
        return "no chunk has earlier frames to attend to"
    return OWN if outcome.all_replace(lambda overrides: overrides.kv_cache_attention_bias) else None


def _method(_: Job, outcome: Outcome) -> str | None:
    return None if outcome.method_used else "no prompts are blended with it"


def _manage_cache(job: Job, outcome: Outcome) -> str | None:
    if outcome.all_replace(lambda overrides: overrides.manage_cache):
        return OWN
    managed = [
        causes
        for causes, overrides in zip(outcome.causes, outcome.overrides, strict=True)
        if overrides.manage_cache is None
    ]
    return None if job.manage_cache or any(managed) else "no change would cut a chunk"


def _cuts(job: Job, outcome: Outcome) -> str | None:
    automatic = any(chunk.cut_reason not in (None, RESET) for chunk in outcome.chunks[1:])
    return "the only cuts are those by reset_cache" if job.cuts == "allow" and not automatic else None


def _chunk_grid(job: Job, outcome: Outcome) -> str | None:
    grid = outcome.settings.grid
    if not grid.by_slots:
        return None
    lists = (job.seed, job.noise_scale, job.vace_context_scale, job.kv_cache_attention_bias, *job.lora_scales.values())
    last = max(0, *(len(schedule.values) - 1 for schedule in lists if schedule is not None))
    last = max(last, *(entry.chunk + 1 for entry in job.chunk_specs if entry.chunk is not None), 0)
    if last == 0:
        return "nothing is placed by chunk"
    same = all(
        min(grid.position(chunk.index, chunk.first_frame), last) == min(chunk.index, last) for chunk in outcome.chunks
    )
    placed = any(overrides.clip_fields for overrides in outcome.overrides)
    return "slots and chunks have equal numbers here" if same and not placed else None


def _fit(job: Job, outcome: Outcome) -> str | None:
    facts = [outcome.facts[clip_field.source] for clip_field in all_clip_fields(job)]
    sizes = [(fact.width, fact.height) for fact in facts if not fact.exact]
    sizes += [(outcome.clip.width, outcome.clip.height)] if outcome.clip is not None else []
    same = bool(sizes) and all(same_shape(*size, outcome.settings) for size in sizes)
    return "every picture has the output's shape" if same else None


def _input_length(job: Job, outcome: Outcome) -> str | None:
    enough = outcome.clip is not None and outcome.clip.frames >= outcome.settings.num_frames
    return "the input is long enough" if enough and job.input_length != "error" else None


def _vace_length(job: Job, outcome: Outcome) -> str | None:
    named = job.vace_frames is not None or job.vace_masks is not None
    if not named or outcome.control_is_short or job.vace_length == "error":
        return None
    return "control frames and masks are long enough"


def _lora_merge(job: Job, outcome: Outcome) -> str | None:
    if job.lora_merge != "never":
        return None
    if job.quantization is not None:
        return f"under quantization: {job.quantization} LoRAs stay beside the weights anyway"
    by_lora = zip(*(chunk.lora_scales for chunk in outcome.chunks), strict=True)
    change = all(len({*scales}) > 1 for scales in by_lora)
    return "LoRAs whose scale changes are never merged" if change and outcome.chunks[0].lora_scales else None


def _vace_use_input_video(job: Job, _: Outcome) -> str | None:
    if job.vace_use_input_video and job.pre_processor_output == "vace_frames":
        return "pre_processor_output: vace_frames sends the input video through VACE already"
    return None


def _covered(kind: Kind, field: str) -> Callable[[Job, Outcome], str | None]:
    def reason(job: Job, outcome: Outcome) -> str | None:
        own = [place(job, name) for name in ("input_path", "vace_frames", "vace_masks")]
        spans = [
            (placement.first_frame, placement.end_frame)
            for placement in outcome.placements
            if placement.source.kind == kind and placement.where not in own
        ]
        return f"{field} of entries covers every frame" if _reach(spans) >= outcome.settings.num_frames else None

    return reason


def _reach(spans: Iterable[tuple[int, int]]) -> int:
    """Return the end of the range from frame 0 on that the spans cover without a gap."""
    end = 0
    for first, until in sorted(spans):
        if first <= end:
            end = max(end, until)
    return end


def _input_path(job: Job, outcome: Outcome) -> str | None:
    if job.input_steers:
        return _covered("control", "vace_frames")(job, outcome)
    return _covered("video", "input_video")(job, outcome)


REASONS: dict[str, Callable[[Job, Outcome], str | None]] = {
    "prompt": _prompt,
    "seed": _seed,
    "noise_scale": _noise_scale,
    "noise_controller": _noise_controller,
    "manage_cache": _manage_cache,
    "kv_cache_attention_bias": _attention_bias,
    "prompt_interpolation_method": _method,
    "denoising_steps": _denoising_steps,
    "input_path": _input_path,
    "input_length": _input_length,
    "fit": _fit,
    "vace_frames": _covered("control", "vace_frames"),
    "vace_masks": _covered("masks", "vace_masks"),
    "vace_context_scale": _vace_context_scale,
    "vace_use_input_video": _vace_use_input_video,
    "vace_length": _vace_length,
    "lora_merge": _lora_merge,
    "chunk_grid": _chunk_grid,
    "cuts": _cuts,
}
"""Field of the job -> function that returns why it has no effect, or None if it has one."""


PARTLY: dict[str, tuple[Callable[[Chunk], bool], str]] = {
    "noise_scale": (_is_video, "the others have no input video"),
    "noise_controller": (_is_video, "the others have no input video"),
    "vace_context_scale": (_is_steered, "the others have no VACE input"),
}
"""Field -> function that tells which chunks use it, and why the others do not."""


def _note_partly(job: Job, outcome: Outcome, diagnostics: Diagnostics) -> None:
    for field, (uses, reason) in PARTLY.items():
        using = [chunk.index for chunk in outcome.chunks if uses(chunk)] if field in job.model_fields_set else []
        if 0 < len(using) < len(outcome.chunks):
            diagnostics.notes.append(f"{place(job, field)} acts in {name_chunks(using)} only: {reason}")


def _entry_notes(outcome: Outcome) -> Iterator[str]:
    """Yield notes on entries without effect. An entry of a slot has one if it has one in any chunk of the slot."""
    managed: dict[str, bool] = {}
    for chunk, overrides, causes in zip(outcome.chunks, outcome.overrides, outcome.causes, strict=True):
        if overrides.manage_cache not in (None, outcome.settings.manage_cache):
            managed[overrides.where] = managed.get(overrides.where, False) or bool(causes)
        if not overrides.reset_cache:
            continue
        if chunk.index == 0:
            yield f"{overrides.where}: reset_cache has no effect: chunk 0 starts the sequence anyway"
        elif chunk.mode != outcome.chunks[chunk.index - 1].mode:
            yield f"{overrides.where}: reset_cache has no effect: the {NEW_MODE[chunk.mode]} is a cut anyway"
    for where, acts in managed.items():
        if not acts:
            yield f"{where}: manage_cache has no effect: no change would cut the chunk"

"""Defines the settings that the entries of a job replace in one chunk, and reads them from an entry."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scope_batch.core.conditioning import BlendMethod, Prompt
from scope_batch.plan.material_fields import KINDS, ClipField

if TYPE_CHECKING:
    from scope_batch.job import ChunkSpec
    from scope_batch.job.prompts import WeightedPrompt

PROMPT_FIELDS = ("text", "prompts", "transition_target_prompts")
"""The three fields that set new prompts."""
PROTOCOL_TRANSITION_STEPS = 4
"""Steps of a `transition_target_prompts` without `transition_num_steps`: the protocol's default."""
MIN_TRANSITION_STEPS = 2
"""Minimum of steps of a transition; with fewer the new prompt applies at once."""
DEFAULT_TRANSITION_METHOD: BlendMethod = "linear"


@dataclass(frozen=True, slots=True)
class ChunkOverrides:
    """The settings of entries for one chunk, under the job's field names. None: not set.

    where        names the entries in messages.
    prompts      from `text`, `prompts` or `transition_target_prompts`; their weights sum to 1.
    transition_num_steps  counts chunks; 0 and 1 mean at once.
    lora_scales  by the path as written.
    clip_fields  clips, control frames and masks, by field.
    """

    where: str
    prompts: tuple[Prompt, ...] | None = None
    prompt_interpolation_method: BlendMethod | None = None
    transition_num_steps: int | None = None
    transition_method: BlendMethod = DEFAULT_TRANSITION_METHOD
    reset_cache: bool = False
    manage_cache: bool | None = None
    denoising_steps: tuple[int, ...] | None = None
    seed: int | None = None
    noise_scale: float | None = None
    noise_controller: bool | None = None
    vace_context_scale: float | None = None
    kv_cache_attention_bias: float | None = None
    lora_scales: Mapping[str, float] = field(default_factory=dict)
    clip_fields: Mapping[str, ClipField] = field(default_factory=dict)
    first_frame_image: Path | None = None
    last_frame_image: Path | None = None
    vace_ref_images: tuple[Path, ...] = ()

    @property
    def wants_transition(self) -> bool:
        return self.transition_num_steps is not None and self.transition_num_steps >= MIN_TRANSITION_STEPS

    @property
    def reference(self) -> Path | None:
        """The reference image; a chunk has at most one."""
        return self.vace_ref_images[0] if self.vace_ref_images else None

    def over(self, earlier: ChunkOverrides, fields: Collection[str]) -> ChunkOverrides:
        """Return `earlier` with the settings of `fields` replaced by those of `self`.

        Scales of other LoRAs, and clips of other fields, are kept.
        """
        clip_fields = {
            **earlier.clip_fields,
            **{name: clip_field for name, clip_field in self.clip_fields.items() if name in fields},
        }
        scales = {**earlier.lora_scales, **(self.lora_scales if "lora_scales" in fields else {})}
        names = {"prompts" if name in PROMPT_FIELDS else name for name in fields} - KINDS.keys() - {"lora_scales"}
        return replace(
            earlier,
            lora_scales=scales,
            clip_fields={name: clip_fields[name] for name in KINDS if name in clip_fields},
            **{name: getattr(self, name) for name in names},
        )


NO_OVERRIDES = ChunkOverrides("")
"""The overrides of a chunk without entries."""


def read_overrides(where: str, spec: ChunkSpec, clip_fields: Mapping[str, ClipField]) -> ChunkOverrides:
    """Read the settings of one entry; `where` names it in messages."""
    steps = spec.transition_num_steps
    if steps is None and spec.transition_target_prompts is not None:
        steps = PROTOCOL_TRANSITION_STEPS
    return ChunkOverrides(
        where=where,
        prompts=None if spec.target is None else normalised(spec.target),
        prompt_interpolation_method=spec.prompt_interpolation_method,
        transition_num_steps=steps,
        transition_method=spec.transition_method or DEFAULT_TRANSITION_METHOD,
        reset_cache=spec.reset_cache,
        manage_cache=spec.manage_cache,
        denoising_steps=spec.denoising_steps,
        seed=spec.seed,
        noise_scale=spec.noise_scale,
        noise_controller=spec.noise_controller,
        vace_context_scale=spec.vace_context_scale,
        kv_cache_attention_bias=spec.kv_cache_attention_bias,
        lora_scales=spec.lora_scales or {},
        clip_fields=clip_fields,
        first_frame_image=spec.first_frame_image,
        last_frame_image=spec.last_frame_image,
        vace_ref_images=spec.vace_ref_images,
    )


def normalised(prompts: Sequence[WeightedPrompt]) -> tuple[Prompt, ...]:
    """Return the prompts with weights that sum to 1."""
    total = sum(prompt.weight for prompt in prompts)
    return tuple(Prompt(prompt.text, prompt.weight / total) for prompt in prompts)

"""What the entries of one chunk ask for, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scope_batch.core.plan import BlendMethod, Prompt
from scope_batch.plan.blends import normalised
from scope_batch.plan.material import KINDS, Offer
from scope_batch.plan.remarks import Remarks

LEAST_STEPS = 2
"""Of a transition; fewer mean that the new prompt is there at once."""


@dataclass(frozen=True, slots=True)
class Orders:
    """None = not asked for. `transition_steps` counts chunks; 0 and 1 mean at once. `offers`: material, by field."""

    where: str
    prompts: tuple[Prompt, ...] | None = None
    blend_method: BlendMethod | None = None
    transition_steps: int | None = None
    transition_method: BlendMethod = "linear"
    reset_cache: bool = False
    manage_cache: bool | None = None
    denoising_steps: tuple[int, ...] | None = None
    seed: int | None = None
    noise_scale: float | None = None
    noise_controller: bool | None = None
    vace_context_scale: float | None = None
    attention_bias: float | None = None
    lora_scales: Mapping[str, float] = field(default_factory=dict)
    offers: Mapping[str, Offer] = field(default_factory=dict)
    first_image: Path | None = None
    last_image: Path | None = None
    reference: Path | None = None

    @property
    def wants_transition(self) -> bool:
        return self.transition_steps is not None and self.transition_steps >= LEAST_STEPS


NO_ORDERS = Orders("")
"""What a chunk without entries asks for."""


def read_orders(values: Mapping[str, Any], where: str, remarks: Remarks) -> Orders:
    """`values`: merged entries of a chunk, under the job's names; `where` names those entries in messages."""
    if values.get("transition_num_steps", 0) < LEAST_STEPS and values.get("transition_method", "linear") != "linear":
        remarks.problems.append(f"{where}: transition_method needs transition_num_steps ({LEAST_STEPS} or more)")
    prompts = values.get("prompts")
    return Orders(
        where=where,
        prompts=None if prompts is None else normalised(prompts),
        blend_method=values.get("prompt_interpolation_method"),
        transition_steps=values.get("transition_num_steps"),
        transition_method=values.get("transition_method", "linear"),
        reset_cache=values.get("reset_cache", False),
        manage_cache=values.get("manage_cache"),
        denoising_steps=values.get("denoising_steps"),
        seed=values.get("seed"),
        noise_scale=values.get("noise_scale"),
        noise_controller=values.get("noise_controller"),
        vace_context_scale=values.get("vace_context_scale"),
        attention_bias=values.get("kv_cache_attention_bias"),
        lora_scales=values.get("lora_scales", {}),
        offers={name: values[name] for name in KINDS if name in values},
        first_image=values.get("first_frame_image"),
        last_image=values.get("last_frame_image"),
        reference=next(iter(values.get("vace_ref_images", ())), None),
    )

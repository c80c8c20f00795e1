"""Converts a plan to JSON values for `plan --json`. Keys are only added, never removed."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from scope_batch.core.conditioning import BlendMethod, Prompt, Transition
from scope_batch.core.file_size import forecast
from scope_batch.core.plan import Chunk, Landing, Plan, ProcessorRef, Vace
from scope_batch.core.sound import SoundTrack
from scope_batch.core.timeline import TENSOR_NAMES, Placement
from scope_batch.plan.loras import lora_names
from scope_batch.plan.view.text import shares_of, sources_of


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """Return the whole plan. `fps` is a number, `fps_exact` the same as a fraction, "30000/1001"; frames count from 0.

    `delivered`: frames of the outputs, after the post-processors; per chunk: how many frames it adds to them.

    Per chunk, `prompts` are the texts with their shares (those of a transition mixed by its `t`), `denoising_steps` the
    list before video mode replaces its first step, `noise_seed` the seed of the noise.
    `kv_cache_attention_bias`: null if the pipeline has none.
    `vace`: the VACE input of the chunk, null if it has none; `fresh`: its encoder streams restart. Its `stills` cover
    frames first_frame .. end_frame - 1 of the chunk.
    Placements cover delivered frames first_frame .. end_frame - 1; later ones cover earlier ones of their
    kind. `fps_exact`, `start_s`, `end_s`: its frames are selected by time; null: all are used. `timed_by`: the clip
    whose times are used.
    `device_memory`: bytes, null if there is no forecast; `peak` = `persistent` + `transient`.
    `sound`: null for a silent job; `take_s` seconds from `start_s` of the file on are heard, then `audio_length`
    decides; a loop restarts every `round_s` seconds.
    A LoRA has the name of its file; `merged`: one scale for the whole job, merged into the weights; else a side branch.
    """
    modes = {chunk.mode for chunk in plan.chunks}
    sizes = forecast(plan)
    loras = lora_names(plan.loras)
    return {
        "pipeline_id": plan.pipeline_id,
        "num_frames": plan.num_frames,
        **_rate(plan.fps),
        "height": plan.height,
        "width": plan.width,
        "pre_processors": _processors(plan.pre_processors),
        "pre_processor_output": plan.pre_processor_output,
        "post_processors": _processors(plan.post_processors),
        "delivered": _delivered(plan),
        "mode": modes.pop() if len(modes) == 1 else "mixed",
        "memory_bank": plan.memory_bank,
        "loras": [{"name": name, "merged": use.merged} for name, use in zip(loras, plan.loras, strict=True)],
        "chunks": [
            _chunk(chunk, shares, loras, sources) | {"delivered": len(plan.delivered(chunk))}
            for chunk, shares, sources in zip(plan.chunks, shares_of(plan.chunks), sources_of(plan), strict=True)
        ],
        "sound": _sound(plan.sound),
        "placements": [_placement(placement) for placement in plan.placements],
        "landings": [_landing(landing) for landing in plan.landings],
        "forecast": {"npy_bytes": sizes.raw, "mp4_bytes": sizes.mp4},
        "device_memory": None if plan.memory is None else plan.memory.to_json(),
        "notes": list(plan.notes),
        "warnings": list(plan.warnings),
    }


def _chunk(chunk: Chunk, shares: Iterable[Prompt], loras: Iterable[str], sources: Iterable[str]) -> dict[str, Any]:
    return {
        "index": chunk.index,
        "first_frame": chunk.first_frame,
        "frames": chunk.frames,
        "keep": chunk.keep,
        "latents": chunk.latents,
        "start_latent": chunk.start_latent,
        "mode": chunk.mode,
        "cut": chunk.cut,
        "cut_reason": chunk.cut_reason,
        "recache": chunk.recache,
        "recache_reason": chunk.recache_reason,
        "prompts": _prompts(shares),
        "blend_method": _blend_method(chunk),
        "transition": _transition(chunk),
        "text_changed": chunk.text_changed,
        "seed": chunk.seed,
        "noise_seed": chunk.noise_seed,
        "denoising_steps": list(chunk.denoising_steps),
        "noise_scale": chunk.noise_scale,
        "noise_controller": chunk.noise_controller,
        "vace": _vace(chunk.vace, sources),
        "lora_scales": dict(zip(loras, chunk.lora_scales, strict=True)),
        "lora_changed": chunk.lora_changed,
        "kv_cache_attention_bias": chunk.attention_bias,
    }


def _rate(fps: Fraction) -> dict[str, Any]:
    return {"fps": fps.numerator if fps.denominator == 1 else float(fps), "fps_exact": str(fps)}


def _processors(processors: Iterable[ProcessorRef]) -> list[dict[str, Any]]:
    return [{"id": processor.id, "params": dict(processor.parameters)} for processor in processors]


def _delivered(plan: Plan) -> dict[str, Any]:
    delivery = plan.delivery
    size = {"height": delivery.height, "width": delivery.width}
    return {"num_frames": delivery.frames, **_rate(delivery.fps), **size}


def _prompts(prompts: Iterable[Prompt]) -> list[dict[str, Any]]:
    return [{"text": prompt.text, "weight": round(prompt.weight, 6)} for prompt in prompts]


def _blend_method(chunk: Chunk) -> BlendMethod:
    conditioning = chunk.conditioning
    return conditioning.target.method if isinstance(conditioning, Transition) else conditioning.method


def _transition(chunk: Chunk) -> dict[str, Any] | None:
    transition = chunk.conditioning
    if not isinstance(transition, Transition):
        return None
    target = _prompts(transition.target.prompts)
    return {
        "step": transition.step,
        "steps": transition.steps,
        "t": round(transition.t, 6),
        "method": transition.method,
        "target": target,
    }


def _vace(vace: Vace | None, sources: Iterable[str]) -> dict[str, Any] | None:
    if vace is None:
        return None
    stills = [{"path": str(still.path), "first_frame": still.first, "end_frame": still.end} for still in vace.stills]
    reference = None if vace.reference is None else str(vace.reference)
    named = {"sources": list(sources), "stills": stills, "reference": reference}
    return {**named, "scale": vace.scale, "fresh": vace.restart_streams}


def _placement(placement: Placement) -> dict[str, Any]:
    source, part = placement.source, placement.source.part
    return {
        "where": placement.where,
        "kind": TENSOR_NAMES.get(source.kind, source.kind),
        "path": str(source.path),
        **({} if part is None else {"offset": part.offset, "shape": list(part.shape)}),
        "first_frame": placement.first_frame,
        "end_frame": placement.end_frame,
        "fill": placement.fill,
        "fit": placement.fit,
        "fps_exact": None if source.fps is None else str(source.fps),
        "start_s": source.start_s,
        "end_s": source.end_s,
        "timed_by": None if source.timed_by is None else str(source.timed_by),
    }


def _sound(track: SoundTrack | None) -> dict[str, Any] | None:
    if track is None:
        return None
    seconds = {name: float(getattr(track, name)) for name in ("start_s", "take_s", "round_s")}
    return {"path": str(track.path), "audio_length": track.length, **seconds}


def _landing(landing: Landing) -> dict[str, Any]:
    return {
        "asked": landing.asked,
        "chunk": landing.chunk,
        "first_frame": landing.first_frame,
        "fields": list(landing.fields),
    }

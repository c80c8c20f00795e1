"""Renders chunk after chunk through a causal pipeline: encode, recache, denoise, decode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scope_batch.core import geometry
from scope_batch.core.frames import NO_INPUTS, ChunkInputs
from scope_batch.core.plan import Chunk, Plan
from scope_batch.engine.device import device_faults, send, to_device
from scope_batch.engine.forward_span import ForwardSpan
from scope_batch.engine.frame_transfer import DeviceFrames
from scope_batch.engine.lora_scales import LoraScales
from scope_batch.engine.noise import NoiseSource
from scope_batch.engine.prompt_blending import Lookup, embedder
from scope_batch.engine.sampler import SigmaTable, add_noise_, to_x0_
from scope_batch.engine.state import SessionState
from scope_batch.engine.transformer import CausalWan, Control
from scope_batch.engine.vace_transformer import CausalVaceWan
from scope_batch.engine.vae_stream import Vae, from_uint8
from scope_batch.events import Report, Stage, StageName
from scope_batch.pipelines import PipelineSpec

CLEAN = 0
"""Timestep of the passes that only fill the caches."""


class CausalSession:
    """See `scope_batch.core.engine.Session`. Chunks must come in the plan's order.

    Everything that lasts from chunk to chunk is in `state`; what else the session has follows from plan and weights.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        plan: Plan,
        transformer: CausalWan | CausalVaceWan,
        loras: LoraScales,
        vae: Vae,
        lookup: Lookup,
        noise: NoiseSource,
        report: Report,
    ) -> None:
        self._transformer, self._noise, self._report = transformer, noise, report
        self._device, self._vae_dtype = transformer.device, vae.dtype
        self._clean_pass = spec.clean_pass
        self._sigma = SigmaTable(spec.shift)
        self._embed = embedder(lookup, [chunk.conditioning for chunk in plan.chunks])
        self._time: dict[int, tuple[Tensor, Tensor]] = {}
        self._measures_motion = any(chunk.noise_controller for chunk in plan.chunks)
        self._parts = SessionState.open(spec, plan, transformer, loras, vae)
        self._control_rotary = self._parts.cache.shape.rotary_table(max(chunk.latents for chunk in plan.chunks))
        transformer.attach(self._parts.cache, self._parts.text)  # last: if memory runs out before, nothing is attached

    def close(self) -> None:
        self._transformer.detach()

    def state(self) -> dict[str, Any]:
        """See `SessionState.state`."""
        return self._parts.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `SessionState.restore`. The next chunk is `state["next_chunk"]`."""
        self._parts.restore(state)
        self._time.clear()  # the scales of LoRAs may have changed

    def generate(self, chunk: Chunk, inputs: ChunkInputs = NO_INPUTS) -> DeviceFrames:
        """Make a chunk. `inputs.pixels` may also be float32 in 0..255."""
        with device_faults(chunk.index):
            return self._generate(chunk, inputs)

    def _generate(self, chunk: Chunk, inputs: ChunkInputs) -> DeviceFrames:
        if chunk.cut:
            self._start_sequence()
        if chunk.resets_noise_controller:
            self._parts.controller.reset()
        self._set_prompt(chunk)
        self._set_loras(chunk)
        control = self._encode_control(chunk, inputs) if chunk.vace else None
        noise = self._noise.take(chunk)
        latents, steps = noise.initial, list(chunk.denoising_steps)
        if inputs.pixels is not None:
            noise_scale = self._noise_scale(chunk, inputs.pixels)
            steps[0] = geometry.first_video_step(noise_scale)
            self._mix_input(chunk, inputs.pixels, latents, noise_scale)
        self._recache(chunk)
        self._denoise(chunk, latents, steps, noise.steps, control)
        made = self._decode(chunk, latents)
        self._parts.history.put(chunk.start_latent, latents)
        self._parts.next_chunk = chunk.index + 1
        return made

    def _report_stage(self, chunk: Chunk, stage: StageName, step: int = 0, steps: int = 0) -> None:
        self._report(Stage(chunk.index, stage, step, steps))

    def _start_sequence(self) -> None:
        self._parts.encoder.reset()
        self._parts.decoder.reset()
        self._parts.text.invalidate()
        self._parts.cache.reset()

    def _set_prompt(self, chunk: Chunk) -> None:
        if chunk.text_changed:
            self._parts.prompt.copy_(send(self._embed(chunk.conditioning)[None], self._device))
            self._parts.text.invalidate()

    def _set_loras(self, chunk: Chunk) -> None:
        """Drop what the old weights computed, except the keys and values of frames: those are history."""
        if self._parts.loras.set(chunk.lora_scales):
            self._parts.text.invalidate()
            self._time.clear()

    def _encode_control(self, chunk: Chunk, inputs: ChunkInputs) -> Control | None:
        """Advance the VACE streams by the chunk and embed its context; None at scale 0."""
        assert chunk.vace is not None and isinstance(self._transformer, CausalVaceWan)
        self._report_stage(chunk, "encoding")
        context = self._parts.vace.build(chunk, inputs)
        if chunk.vace.scale == 0:
            return None
        rotary = self._control_rotary.at(range(chunk.latents))
        return self._transformer.control(context, chunk.latents, rotary, chunk.vace.scale)

    def _noise_scale(self, chunk: Chunk, pixels: NDArray[np.generic]) -> float:
        assert chunk.noise_scale is not None
        # Measured also for chunks without the controller: the next chunk's motion starts from their last frame.
        motion = self._parts.controller.motion(pixels[: chunk.keep]) if self._measures_motion else 0.0
        return (
            geometry.controlled_noise_scale(motion, chunk.noise_scale) if chunk.noise_controller else chunk.noise_scale
        )

    def _mix_input(self, chunk: Chunk, pixels: NDArray[np.generic], noise: Tensor, noise_scale: float) -> None:
        """Turn `noise` in place into the weighted sum of noise and encoded input video."""
        self._report_stage(chunk, "encoding")
        video = from_uint8(to_device(pixels, self._device))
        encoded = self._parts.encoder.encode(video.to(self._vae_dtype))
        noise.mul_(noise_scale).add_(encoded, alpha=1 - noise_scale)

    def _recache(self, chunk: Chunk) -> None:
        """Recompute cached keys and values if the pipeline requires it before this chunk."""
        span = self._parts.cache.recache_span(chunk)
        if span is not None:
            self._report_stage(chunk, "recaching" if chunk.recache else "context")
            self._forward(span, self._parts.history.last(span.start, span.frames), CLEAN, predict=False)

    def _denoise(
        self, chunk: Chunk, latents: Tensor, steps: list[int], noise: tuple[Tensor, ...], control: Control | None
    ) -> None:
        """Few-step sampling in place on float32 `latents` [1, F, 16, h, w], then the pass that caches the result."""
        span = self._parts.cache.start_chunk(chunk)
        for i, timestep in enumerate(steps):
            self._report_stage(chunk, "denoising", i + 1, len(steps))
            if i:
                add_noise_(latents, noise[i - 1], self._sigma(timestep))
            flow = self._forward(span, latents, timestep, control=control)
            assert flow is not None
            to_x0_(latents, flow, self._sigma(timestep))
        if self._clean_pass:
            self._forward(span, latents, CLEAN, predict=False)
        self._parts.cache.finish_chunk(chunk)

    def _decode(self, chunk: Chunk, latents: Tensor) -> DeviceFrames:
        self._report_stage(chunk, "decoding")
        frames, finite = self._parts.decoder.decode(latents)
        assert len(frames) == chunk.frames, f"chunk {chunk.index}: {len(frames)} frames made, {chunk.frames} planned"
        return DeviceFrames(chunk.index, frames, finite, latents)

    def _forward(
        self, span: ForwardSpan, latents: Tensor, timestep: int, *, control: Control | None = None, predict: bool = True
    ) -> Tensor | None:
        time = self._embed_time(timestep)
        with self._parts.cache.forward_pass(span) as rotary:
            flow: Tensor | None = self._transformer(
                latents, time, self._parts.prompt, rotary, control=control, predict=predict
            )
        return flow

    def _embed_time(self, timestep: int) -> tuple[Tensor, Tensor]:
        if timestep not in self._time:
            self._time[timestep] = self._transformer.embed_time(torch.full((1,), timestep, device=self._device))
        return self._time[timestep]

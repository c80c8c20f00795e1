"""Renders the chunks of a plan one by one through a causal pipeline: encode, recache, denoise, decode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
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
from scope_batch.engine.pass_graphs import PassGraphs
from scope_batch.engine.prompt_blending import Lookup, embedder
from scope_batch.engine.sampler import SigmaTable, add_noise_, to_x0_
from scope_batch.engine.state import SessionState
from scope_batch.engine.state_file import HostBuffers, StateSnapshot, read_state
from scope_batch.engine.transformer import CausalWan, Control
from scope_batch.engine.vace_transformer import CausalVaceWan
from scope_batch.engine.vae_stream import Vae, from_uint8
from scope_batch.events import Report, Stage, StageName
from scope_batch.pipelines import PipelineSpec

GRAPH_CHUNKS = 24
"""Chunks of a plan from which CUDA graphs pay: to capture them takes about as long as 20 chunks gain at 576x320."""
CLEAN = 0
"""Timestep of forward passes over clean latents, which only fill the caches."""


class CausalSession:
    """Implements `scope_batch.core.engine.Session`. Chunks must be generated in the plan's order.

    `_state` holds everything that changes from chunk to chunk. All other attributes are derived from the plan and the
    model weights, so that they need not be saved.
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
        *,
        graphs: bool = False,
    ) -> None:
        """graphs: replay forward passes as CUDA graphs, if the plan is long enough for that to pay."""
        self._transformer, self._noise, self._report = transformer, noise, report
        self._device, self._vae_dtype = transformer.device, vae.dtype
        self._clean_pass = spec.clean_pass
        self._sigma = SigmaTable(spec.shift)
        self._embed = embedder(lookup, [chunk.conditioning for chunk in plan.chunks])
        self._time: dict[int, tuple[Tensor, Tensor]] = {}
        self._graphs = PassGraphs() if graphs and len(plan.chunks) >= GRAPH_CHUNKS else None
        self._buffers = HostBuffers()
        self._state = SessionState.open(spec, plan, transformer, loras, vae)
        self._control_rotary = self._state.cache.shape.rotary_table(max(chunk.latents for chunk in plan.chunks))
        transformer.attach(self._state.cache, self._state.text)  # last, so that nothing is attached if memory runs out

    def close(self) -> None:
        """Release the caches. No other method may be called any more."""
        self._transformer.detach()
        del self._state

    def state(self) -> dict[str, Any]:
        """Return a copy of the streaming state in host memory; see `SessionState.state`."""
        return self._state.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state; see `SessionState.restore`. Generate chunk `state["next_chunk"]` next."""
        self._state.restore(state)
        self._time.clear()  # cached embeddings depend on the LoRA scales, which may have changed

    def snapshot(self) -> StateSnapshot:
        """See `ResumableSession.snapshot`. The pinned host memory is allocated once, by the first call."""
        return StateSnapshot(self._state.contents(), self._buffers, self._device)

    def restore_file(self, path: Path) -> None:
        """See `ResumableSession.restore_file`."""
        self.restore(read_state(path))

    def generate(self, chunk: Chunk, inputs: ChunkInputs = NO_INPUTS) -> DeviceFrames:
        """Generate one chunk. `inputs.pixels` may also be float32 in 0..255.

        Raises TemporaryError or UnavailableError if the device fails or runs out of memory.
        """
        with device_faults(chunk.index):
            return self._generate(chunk, inputs)

    def _generate(self, chunk: Chunk, inputs: ChunkInputs) -> DeviceFrames:
        if chunk.cut:
            self._start_sequence()
        if chunk.resets_noise_controller:
            self._state.controller.reset()
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
        generated = self._decode(chunk, latents)
        self._state.history.put(chunk.start_latent, latents)
        self._state.next_chunk = chunk.index + 1
        return generated

    def _report_stage(self, chunk: Chunk, stage: StageName, step: int = 0, steps: int = 0) -> None:
        self._report(Stage(chunk.index, stage, step, steps))

    def _start_sequence(self) -> None:
        """Forget all earlier chunks, as a cut requires."""
        self._state.encoder.reset()
        self._state.decoder.reset()
        self._state.text.invalidate()
        self._state.cache.reset()

    def _set_prompt(self, chunk: Chunk) -> None:
        """Copy the chunk's prompt embedding to the device if it differs from the previous chunk's."""
        if chunk.text_changed or chunk.cut:  # a render may start at a cut
            self._state.prompt.copy_(send(self._embed(chunk.conditioning)[None], self._device))
            self._state.text.invalidate()

    def _set_loras(self, chunk: Chunk) -> None:
        """Set the LoRA scales. If one changed, recompute the prompt's keys and values and the time embeddings.

        The keys and values of earlier frames stay as they are.
        """
        if self._state.loras.set(chunk.lora_scales):
            self._state.text.invalidate()
            self._time.clear()
            if self._graphs is not None:
                self._graphs.forget()

    def _encode_control(self, chunk: Chunk, inputs: ChunkInputs) -> Control | None:
        """Advance the VACE streams by the chunk and embed its context. Returns None if the VACE scale is 0."""
        assert chunk.vace is not None and isinstance(self._transformer, CausalVaceWan)
        self._report_stage(chunk, "encoding")
        context = self._state.vace.build(chunk, inputs)
        if chunk.vace.scale == 0:
            return None
        rotary = self._control_rotary.at(range(chunk.latents))
        return self._transformer.control(context, chunk.latents, rotary, chunk.vace.scale)

    def _noise_scale(self, chunk: Chunk, pixels: NDArray[np.generic]) -> float:
        """Return the chunk's noise scale in 0..1, adapted to the motion of `pixels` if the noise controller is on."""
        assert chunk.noise_scale is not None
        # Also called for chunks without the controller: the next chunk's motion is measured from their last frame.
        motion = self._state.controller.motion(pixels[: chunk.keep])
        return (
            geometry.controlled_noise_scale(motion, chunk.noise_scale) if chunk.noise_controller else chunk.noise_scale
        )

    def _mix_input(self, chunk: Chunk, pixels: NDArray[np.generic], noise: Tensor, noise_scale: float) -> None:
        """Replace `noise`, in place, by noise_scale * noise + (1 - noise_scale) * encoded input video."""
        self._report_stage(chunk, "encoding")
        video = from_uint8(to_device(pixels, self._device))
        encoded = self._state.encoder.encode(video.to(self._vae_dtype))
        noise.mul_(noise_scale).add_(encoded, alpha=1 - noise_scale)

    def _recache(self, chunk: Chunk) -> None:
        """Recompute cached keys and values from clean latents if the chunk or the pipeline requires it."""
        span = self._state.cache.recache_span(chunk)
        if span is not None:
            self._report_stage(chunk, "recaching" if chunk.recache else "context")
            self._forward(
                span, self._state.history.last(span.start, span.frames), CLEAN, predict=False, replay=not chunk.recache
            )

    def _denoise(
        self, chunk: Chunk, latents: Tensor, steps: list[int], noise: tuple[Tensor, ...], control: Control | None
    ) -> None:
        """Denoise float32 `latents` [1, F, 16, h, w] in place, then cache the keys and values of the clean result."""
        span = self._state.cache.start_chunk(chunk)
        for i, timestep in enumerate(steps):
            self._report_stage(chunk, "denoising", i + 1, len(steps))
            if i:
                add_noise_(latents, noise[i - 1], self._sigma(timestep))
            flow = self._forward(span, latents, timestep, control=control)
            assert flow is not None
            to_x0_(latents, flow, self._sigma(timestep))
        if self._clean_pass:
            self._report_stage(chunk, "caching")
            self._forward(span, latents, CLEAN, predict=False)
        self._state.cache.finish_chunk(chunk)

    def _decode(self, chunk: Chunk, latents: Tensor) -> DeviceFrames:
        self._report_stage(chunk, "decoding")
        frames, finite = self._state.decoder.decode(latents)
        assert len(frames) == chunk.frames, f"chunk {chunk.index}: decoded {len(frames)} frames, planned {chunk.frames}"
        self._report_stage(chunk, "copying")
        return DeviceFrames(chunk.index, frames, finite, latents)

    def _forward(
        self,
        span: ForwardSpan,
        latents: Tensor,
        timestep: int,
        *,
        control: Control | None = None,
        predict: bool = True,
        replay: bool = True,
    ) -> Tensor | None:
        """Run the transformer once. Returns the flow like `latents`, or None if `predict` is False.

        replay  the pass is worth a CUDA graph: it comes often.
        """
        time = self._embed_time(timestep)
        with self._state.cache.forward_pass(span) as rotary:

            def run(given: Tensor) -> Tensor | None:
                flow: Tensor | None = self._transformer(
                    given, time, self._state.prompt, rotary, control=control, predict=predict
                )
                return flow

            if self._graphs is None or not replay or control is not None or not self._state.text.valid:
                return run(latents)
            # Positions are contents of the rotary table, and weights those of the bias.
            key = (
                replace(span, start=0, key_positions=None, key_weight=None),
                span.key_weight is None,
                timestep,
                predict,
            )
            return self._graphs.run(key, latents, run)

    def _embed_time(self, timestep: int) -> tuple[Tensor, Tensor]:
        """Return the embedding and modulation of a timestep, cached until a LoRA scale changes."""
        if timestep not in self._time:
            self._time[timestep] = self._transformer.embed_time(torch.full((1,), timestep, device=self._device))
        return self._time[timestep]

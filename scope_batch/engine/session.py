"""One render through a causal pipeline: encode, renew the past, denoise, remember, decode - chunk after chunk.

Everything that lasts from chunk to chunk is a member of `CausalSession`, made when the session opens and gone with it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scope_batch import laws
from scope_batch.chunk import Chunk, Plan
from scope_batch.engine.device import device_faults, send, to_device
from scope_batch.engine.frames import DeviceFrames
from scope_batch.engine.kv_cache import CacheSize, Pass, TextCache
from scope_batch.engine.latent_history import open_history, recent_frames_of
from scope_batch.engine.lora_scales import LoraScales
from scope_batch.engine.memory import open_memory
from scope_batch.engine.noise import ChunkNoise, NoiseController, NoiseSource
from scope_batch.engine.prompt_blending import Embedder, Lookup
from scope_batch.engine.rope import Rotary, RotaryTable
from scope_batch.engine.sampler import SigmaTable, add_noise_, to_x0_
from scope_batch.engine.transformer import CausalWan, Control
from scope_batch.engine.vace import VaceContext
from scope_batch.engine.vace_transformer import CausalVaceWan
from scope_batch.engine.vae_stream import DecoderStream, EncoderStream, Vae, from_uint8
from scope_batch.events import Report, Stage, StageName
from scope_batch.pipelines import PipelineSpec
from scope_batch.session import NO_INPUTS, ChunkInputs

CLEAN = 0
"""Timestep of the passes that only fill the caches."""


class CausalSession:
    """See `scope_batch.session.Session`. Chunks must come in the plan's order."""

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
        self._transformer, self._loras, self._noise, self._report = transformer, loras, noise, report
        self._device = transformer.device
        config = transformer.config
        self._sigma = SigmaTable(spec.shift)
        self._rotary = RotaryTable(
            config.attention_head_dim,
            plan.height // laws.SIZE_STEP,
            plan.width // laws.SIZE_STEP,
            self._device,
        )
        self._text = TextCache(config.num_layers)
        size = CacheSize(
            layers=config.num_layers,
            tokens=laws.tokens_per_latent(plan.height, plan.width),
            heads=config.num_attention_heads,
            head_dim=config.attention_head_dim,
            dtype=transformer.patch_embedding.weight.dtype,
            device=self._device,
        )
        self._memory = open_memory(spec, size, self._rotary, self._text, bank=plan.memory_bank)
        self._clean_pass = spec.clean_pass
        self._encoder = EncoderStream(vae, normalised=spec.normalised)
        self._decoder = DecoderStream(vae, recent_frames=recent_frames_of(spec))
        self._vae_dtype = vae.dtype
        self._context = VaceContext(vae, plan.height, plan.width, normalised=spec.normalised)
        self._history = open_history(spec, vae, self._decoder, plan.height, plan.width)
        self._controller = NoiseController(spec.block)
        self._embed = Embedder(lookup)
        self._prompt = torch.empty(0)
        self._time: dict[int, tuple[Tensor, Tensor]] = {}
        self._watches_motion = any(chunk.noise_controller for chunk in plan.chunks)
        transformer.attach(self._memory, self._text)  # last: if memory ends before, nothing is left attached

    def close(self) -> None:
        self._transformer.detach()

    def generate(self, chunk: Chunk, inputs: ChunkInputs = NO_INPUTS) -> DeviceFrames:
        """Make a chunk. `inputs.pixels` may also be float32 in 0..255."""
        with device_faults(chunk.index):
            return self._generate(chunk, inputs)

    def _generate(self, chunk: Chunk, inputs: ChunkInputs) -> DeviceFrames:
        pixels = inputs.pixels
        if chunk.cut:
            self._cut()
        if chunk.forgets_motion:
            self._controller.reset()
        if chunk.text_changed:
            self._prompt = send(self._embed(chunk.conditioning)[None], self._device)
            self._text.clear()
        if self._loras.set(chunk.lora_scales):
            # All that was computed with the old weights, but for the frames' own keys and values: they are history.
            self._text.clear()
            self._time.clear()
        control = self._control(chunk, inputs) if chunk.vace else None
        noise = self._noise.take(chunk)
        steps = list(chunk.denoising_steps)
        latents = noise.initial
        if pixels is not None:
            noise_scale = self._noise_scale(chunk, pixels)
            steps[0] = laws.first_video_step(noise_scale)
            latents = self._mix(chunk, pixels, noise.initial, noise_scale)
        self._renew(chunk)
        self._denoise(chunk, latents, steps, noise, control)
        self._stage(chunk, "decoding")
        frames, finite = self._decoder.decode(latents)
        assert len(frames) == chunk.frames, f"chunk {chunk.index}: {len(frames)} frames made, {chunk.frames} planned"
        self._history.put(chunk.start_latent, latents)
        return DeviceFrames(chunk.index, frames, finite, latents)

    def _stage(self, chunk: Chunk, stage: StageName, step: int = 0, steps: int = 0) -> None:
        self._report(Stage(chunk.index, stage, step, steps))

    def _cut(self) -> None:
        self._encoder.reset()
        self._decoder.reset()
        self._text.clear()
        self._memory.forget()

    def _noise_scale(self, chunk: Chunk, pixels: NDArray[np.generic]) -> float:
        assert chunk.noise_scale is not None
        # Watched also where the controller is off: it compares with the chunk before.
        motion = self._controller.motion(pixels[: chunk.keep]) if self._watches_motion else 0.0
        return laws.controlled_noise_scale(motion, chunk.noise_scale) if chunk.noise_controller else chunk.noise_scale

    def _mix(self, chunk: Chunk, pixels: NDArray[np.generic], noise: Tensor, noise_scale: float) -> Tensor:
        """Noise and encoded input, weighted by the noise scale; overwrites `noise`."""
        self._stage(chunk, "encoding")
        video = from_uint8(to_device(pixels, self._device))
        encoded = self._encoder.encode(video.to(self._vae_dtype))
        return noise.mul_(noise_scale).add_(encoded, alpha=1 - noise_scale)

    def _control(self, chunk: Chunk, inputs: ChunkInputs) -> Control | None:
        """The chunk's context, embedded; None at scale 0, where the streams are fed all the same."""
        assert chunk.vace is not None and isinstance(self._transformer, CausalVaceWan)
        self._stage(chunk, "encoding")
        context = self._context.build(chunk, inputs)
        if chunk.vace.scale == 0:
            return None
        rotary = self._rotary.frames(0, chunk.latents)
        return self._transformer.control(context, chunk.latents, rotary, chunk.vace.scale)

    def _renew(self, chunk: Chunk) -> None:
        """What is remembered, made anew where the pipeline does so."""
        past = self._memory.renewal(chunk)
        if past is None:
            return
        self._stage(chunk, "recaching" if chunk.recache else "context")
        rotary = self._rotary.frames(past.start, past.frames)
        self._forward(past, self._history.last(past.start, past.frames), CLEAN, rotary, predict=False)

    def _denoise(
        self, chunk: Chunk, latents: Tensor, steps: list[int], noise: ChunkNoise, control: Control | None
    ) -> None:
        """Few-step sampling in place on float32 `latents` [1, F, 16, h, w], then the pass that remembers the result."""
        here = self._memory.begin(chunk)
        rotary = self._rotary.frames(here.start, here.frames)
        for i, timestep in enumerate(steps):
            self._stage(chunk, "denoising", i + 1, len(steps))
            if i:
                add_noise_(latents, noise.steps[i - 1], self._sigma(timestep))
            flow = self._forward(here, latents, timestep, rotary, control=control)
            assert flow is not None
            to_x0_(latents, flow, self._sigma(timestep))
        if self._clean_pass:
            self._forward(here, latents, CLEAN, rotary, predict=False)
        self._memory.end(chunk)

    def _forward(
        self,
        span: Pass,
        latents: Tensor,
        timestep: int,
        rotary: Rotary,
        *,
        control: Control | None = None,
        predict: bool = True,
    ) -> Tensor | None:
        self._memory.current = span
        time = self._time_of(timestep)
        flow: Tensor | None = self._transformer(latents, time, self._prompt, rotary, control=control, predict=predict)
        return flow

    def _time_of(self, timestep: int) -> tuple[Tensor, Tensor]:
        if timestep not in self._time:
            self._time[timestep] = self._transformer.embed_time(torch.full((1,), timestep, device=self._device))
        return self._time[timestep]

"""Owns the streaming state of a render, and saves and restores it as tensors and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from scope_batch.core import geometry
from scope_batch.core.plan import Plan
from scope_batch.engine.cache_policy import policy_of
from scope_batch.engine.device import copy_to, overwrite
from scope_batch.engine.kv_cache import CacheShape, KVCache
from scope_batch.engine.latent_history import History, open_history, recent_frames_of
from scope_batch.engine.lora_scales import LoraScales
from scope_batch.engine.noise import NoiseController
from scope_batch.engine.text_cache import TextCache
from scope_batch.engine.transformer import CausalWan
from scope_batch.engine.vace import VaceContext
from scope_batch.engine.vace_transformer import CausalVaceWan
from scope_batch.engine.vae_stream import DecoderStream, EncoderStream, Vae
from scope_batch.pipelines import PipelineSpec


class Stateful(Protocol):
    """A part of the streaming state that can be saved and restored by itself."""

    def state(self) -> dict[str, Any]:
        """Return the contents by name: tensors, numbers, strings, None, or lists of those.

        The tensors are the part's own, not copies.
        """
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replace the contents by those that `state` returned, copying the tensors.

        Raises ValueError if a shape, a dtype or a number of entries differs.
        """
        ...


@dataclass(slots=True)
class SessionState:
    """The streaming state of one render.

    cache       keys and values of latent frames, and the counters of the cache policy.
    text        keys and values of the prompt.
    prompt      the current prompt's embedding, float32 [1, 512, text_dim]. The steps of a transition are in the plan.
    encoder     the stream that encodes the input video.
    decoder     the stream that decodes the generated latents.
    vace        the streams that encode the VACE contexts.
    history     clean latents, from which later passes recompute keys and values.
    controller  the last input frame, with which the noise controller compares the next one.
    loras       the current LoRA scales. They belong to the engine's transformer: `restore` sets them there.
    next_chunk  index of the chunk to generate next. Noise needs no state: every chunk has its own seed in the plan.
    """

    cache: KVCache
    text: TextCache
    prompt: Tensor
    encoder: EncoderStream
    decoder: DecoderStream
    vace: VaceContext
    history: History
    controller: NoiseController
    loras: LoraScales
    next_chunk: int = 0

    @classmethod
    def open(
        cls, spec: PipelineSpec, plan: Plan, transformer: CausalWan | CausalVaceWan, loras: LoraScales, vae: Vae
    ) -> SessionState:
        """Allocate the state of a new render, on the transformer's device."""
        config = transformer.config
        text = TextCache(config.num_layers, transformer.device)
        decoder = DecoderStream(vae, recent_frames=recent_frames_of(spec))
        return cls(
            cache=KVCache(policy_of(spec, bank=plan.memory_bank), cache_shape(transformer, plan), text),
            text=text,
            prompt=torch.zeros(
                1, geometry.TEXT_TOKENS, config.text_dim, dtype=torch.float32, device=transformer.device
            ),
            encoder=EncoderStream(vae, normalised=spec.normalised),
            decoder=decoder,
            vace=VaceContext(vae, plan.height, plan.width, normalised=spec.normalised),
            history=open_history(spec, vae, decoder, plan.height, plan.width),
            controller=NoiseController(spec.block),
            loras=loras,
        )

    def state(self) -> dict[str, Any]:
        """Return a copy of everything in host memory, with keys such as "cache.keys": part and value.

        Values are contiguous tensors, ints, floats, strings, None, or lists of those. Call it between chunks.
        """
        return {name: copy_to(value, torch.device("cpu")) for name, value in self.contents().items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue bit for bit where the session that returned `state` was at that time.

        Engine and plan must be the same. Raises ValueError if a name is unknown or missing, or if a size differs.
        """
        names = self.contents().keys()
        if unknown := state.keys() - names:
            raise ValueError(f"the state holds {sorted(unknown)}, which this session does not have")
        if missing := names - state.keys():
            raise ValueError(f"the state lacks {sorted(missing)}")
        for name, part in self._parts().items():
            prefix = f"{name}."
            part.restore({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
        overwrite(self.prompt, state["prompt"])
        self.next_chunk = state["next_chunk"]

    def contents(self) -> dict[str, Any]:
        """Return the values that `state` copies, by name. The names stay the same throughout a render."""
        contents: dict[str, Any] = {"prompt": self.prompt, "next_chunk": self.next_chunk}
        for name, part in self._parts().items():
            contents |= {f"{name}.{key}": value for key, value in part.state().items()}
        return contents

    def _parts(self) -> dict[str, Stateful]:
        return {
            "cache": self.cache,
            "text": self.text,
            "encoder": self.encoder,
            "decoder": self.decoder,
            "vace": self.vace,
            "history": self.history,
            "controller": self.controller,
            "loras": self.loras,
        }


def cache_shape(transformer: CausalWan | CausalVaceWan, plan: Plan) -> CacheShape:
    """Return the size of the KV cache for this transformer at the plan's height and width."""
    config = transformer.config
    return CacheShape(
        layers=config.num_layers,
        rows=plan.height // geometry.SIZE_STEP,
        columns=plan.width // geometry.SIZE_STEP,
        heads=config.num_attention_heads,
        head_dim=config.attention_head_dim,
        dtype=transformer.patch_embedding.weight.dtype,
        device=transformer.device,
    )

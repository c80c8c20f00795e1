"""Owns everything that a render remembers from chunk to chunk, and saves and restores it as tensors and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from scope_batch.core import geometry
from scope_batch.core.plan import Plan
from scope_batch.engine.cache_policy import policy_of
from scope_batch.engine.device import copied, overwrite
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
    """A part of the streaming state."""

    def state(self) -> dict[str, Any]:
        """Its contents: tensors (the part's own, not copies), numbers, strings, None, or lists of those, by name."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over contents that `state` returned, copying its tensors. Raises ValueError if they do not fit."""
        ...


@dataclass(slots=True)
class SessionState:
    """The streaming state of one render.

    cache       keys and values of latent frames, and the positions of its policy; text: those of the prompt.
    prompt      the embedding in force, float32 [1, 512, text_dim]. A transition's steps are in the plan.
    encoder     stream of the input video; decoder: of the frames; vace: streams of the VACE contexts.
    history     clean latents that a later pass recomputes keys and values from.
    controller  the last input frame, to which the noise controller compares.
    loras       scales in force; they belong to the engine's transformer, so that a restore sets them.
    next_chunk  index of the chunk that comes next: the noise of every chunk is drawn from the plan's seeds.
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
        """Allocate the state of a render that begins."""
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
        """Copies in host memory of everything, by the name of the part and of the value: "cache.keys".

        Values are tensors, ints, floats, strings, None, or lists of those. Call it between chunks.
        """
        return {name: copied(value, torch.device("cpu")) for name, value in self._contents().items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue as the session did from which `state` came, bit for bit.

        The engine and the plan must be the same. Raises ValueError for names or sizes that this session does not have.
        """
        names = self._contents().keys()
        if unknown := state.keys() - names:
            raise ValueError(f"the state holds {sorted(unknown)}, which this session does not have")
        if missing := names - state.keys():
            raise ValueError(f"the state lacks {sorted(missing)}")
        for name, part in self._parts().items():
            prefix = f"{name}."
            part.restore({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
        overwrite(self.prompt, state["prompt"])
        self.next_chunk = state["next_chunk"]

    def _contents(self) -> dict[str, Any]:
        """What `state` copies; the names are the same throughout a render."""
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

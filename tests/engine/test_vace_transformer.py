from __future__ import annotations

import pytest
import torch
from diffusers import WanVACETransformer3DModel
from torch import Tensor

from scope_batch.engine.cache_policy import RollingPolicy
from scope_batch.engine.kv_cache import CacheShape, KVCache
from scope_batch.engine.rolling_window import RollingWindow
from scope_batch.engine.text_cache import TextCache
from scope_batch.engine.transformer import CausalWan, Control
from scope_batch.engine.vace_transformer import CausalVaceWan

CPU = torch.device("cpu")
HEIGHT, WIDTH = 4, 6
TOKENS = HEIGHT // 2 * (WIDTH // 2)
SIZES = {
    "num_attention_heads": 1,
    "attention_head_dim": 12,
    "ffn_dim": 16,
    "num_layers": 4,
    "text_dim": 8,
    "freq_dim": 8,
}


@pytest.fixture(scope="module")
def model() -> CausalVaceWan:
    torch.manual_seed(0)
    return CausalVaceWan(**SIZES, vace_layers=[0, 2]).eval().requires_grad_(False)


class Stream:
    """Runs a model with new caches, span by span."""

    def __init__(self, model: CausalWan | CausalVaceWan) -> None:
        self.model, self.window, self.text = model, RollingWindow(12, 3), TextCache(4, CPU)
        shape = CacheShape(4, HEIGHT // 2, WIDTH // 2, heads=1, head_dim=12, dtype=torch.float32, device=CPU)
        self.cache = KVCache(RollingPolicy(self.window), shape, self.text)
        self.control_rotary = shape.rotary_table(12)
        self.model.attach(self.cache, self.text)

    def __call__(
        self, latents: Tensor, start: int, prompt: Tensor, context: Tensor | None = None, scale: float = 1.0
    ) -> Tensor:
        count = latents.shape[1]
        control = None
        if context is not None:
            assert isinstance(self.model, CausalVaceWan)
            control = self.model.control(context, count, self.control_rotary.at(range(count)), scale)
        time = self.model.embed_time(torch.tensor([500]))
        with self.cache.forward_pass(self.window.chunk_span(start, count)) as rotary:
            flow = self.model(latents, time, prompt, rotary, control=control)
        assert flow is not None
        return flow


def latents(frames: int = 3) -> Tensor:
    return torch.randn(1, frames, 16, HEIGHT, WIDTH)


def context(frames: int = 3) -> Tensor:
    return torch.randn(1, 96, frames, HEIGHT, WIDTH)


def diffusers_flow(model: CausalVaceWan, x: Tensor, prompt: Tensor, control: Tensor, scale: float) -> Tensor:
    plain = WanVACETransformer3DModel.from_config(model.config).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        scales = torch.full((2,), scale)
        flow = plain(x.transpose(1, 2), torch.tensor([500]), prompt, None, control, scales).sample
    return flow.transpose(1, 2)


@pytest.mark.parametrize("scale", [1.0, 0.7, 2.0])
@pytest.mark.parametrize("frames", [1, 3])
def test_the_first_chunk_equals_diffusers_forward(model: CausalVaceWan, scale: float, frames: int) -> None:
    x, prompt, control = latents(), torch.randn(1, 512, 8), context(frames)
    want = diffusers_flow(model, x, prompt, control, scale)
    assert torch.allclose(Stream(model)(x, 0, prompt, control, scale), want, atol=1e-5)


def test_without_a_context_it_is_the_backbone(model: CausalVaceWan) -> None:
    backbone = CausalWan(**SIZES).eval().requires_grad_(False)
    backbone.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("vace_")})
    x, prompt = latents(), torch.randn(1, 512, 8)
    assert torch.equal(Stream(model)(x, 0, prompt), Stream(backbone)(x, 0, prompt))


def test_context_frames_beyond_the_chunk_are_ignored(model: CausalVaceWan) -> None:
    x, prompt, control = latents(), torch.randn(1, 512, 8), context(4)
    assert torch.equal(Stream(model)(x, 0, prompt, control), Stream(model)(x, 0, prompt, control[:, :, :3]))


def hints_of(control: Control, hidden: Tensor, text: Tensor | None) -> list[Tensor]:
    """Return the hint after each of the four layers."""
    hints, added = control.start_pass(hidden, text, torch.zeros(1, 6, 12)), []
    for layer in range(4):
        added.append(torch.zeros_like(hidden))
        hints.after(layer, added[-1])
    return added


def test_hints_know_neither_the_position_nor_the_past(model: CausalVaceWan) -> None:
    """The hints of a chunk depend on the noisy chunk and its context, not on its position in the sequence."""
    x, prompt, control = latents(), torch.randn(1, 512, 8), context()
    stream = Stream(model)
    stream(latents(), 0, prompt, context())
    made = model.control(control, 3, stream.control_rotary.at(range(3)), 1.0)
    hidden, text = torch.randn(1, 3 * TOKENS, 12), torch.randn(1, 512, 12)
    first = hints_of(made, hidden, text)
    stream(x, 3, prompt)
    again = hints_of(made, hidden, None)
    assert [bool(hint.any()) for hint in first] == [True, False, True, False]
    assert all(map(torch.equal, first, again))


def test_a_new_prompt_reaches_the_hints(model: CausalVaceWan) -> None:
    """This holds also if the backbone has read the prompt before, because both have separate caches."""
    x, control = latents(), context()
    old, new = torch.randn(1, 512, 8), torch.randn(1, 512, 8)
    stream = Stream(model)
    stream(x, 0, old, control)
    stream.text.invalidate()
    stream(x, 0, new)
    assert torch.equal(stream(x, 0, new, control), Stream(model)(x, 0, new, control))


def test_the_prompt_is_not_read_again(model: CausalVaceWan) -> None:
    x, prompt, control = latents(), torch.randn(1, 512, 8), context()
    stream = Stream(model)
    first = stream(x, 0, prompt, control)
    assert torch.equal(stream(x, 0, torch.zeros(1, 512, 8), control), first)


def test_detaching_lets_the_caches_go(model: CausalVaceWan) -> None:
    Stream(model)(latents(), 0, torch.randn(1, 512, 8), context())
    model.detach()
    names = {type(processor).__name__ for processor in model.attn_processors.values()}
    assert names == {"WanAttnProcessor"}

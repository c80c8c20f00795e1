import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from scope_batch.engine.cache_policy import RollingPolicy
from scope_batch.engine.kv_cache import CacheShape, KVCache
from scope_batch.engine.rolling_window import RollingWindow
from scope_batch.engine.text_cache import TextCache
from scope_batch.engine.transformer import CausalWan

CPU = torch.device("cpu")
HEIGHT, WIDTH = 4, 6
TOKENS = HEIGHT // 2 * (WIDTH // 2)


@pytest.fixture(scope="module")
def model() -> CausalWan:
    torch.manual_seed(0)
    made = CausalWan(num_attention_heads=1, attention_head_dim=12, ffn_dim=16, num_layers=2, text_dim=8, freq_dim=8)
    return made.eval().requires_grad_(False)


class Stream:
    """Runs a model with new caches, span by span."""

    def __init__(self, model: CausalWan) -> None:
        self.model, self.window, self.text = model, RollingWindow(12, 3), TextCache(2, CPU)
        shape = CacheShape(2, HEIGHT // 2, WIDTH // 2, heads=1, head_dim=12, dtype=torch.float32, device=CPU)
        self.cache = KVCache(RollingPolicy(self.window), shape, self.text)

    def __call__(self, latents: Tensor, start: int, prompt: Tensor, timestep: int = 500) -> Tensor:
        self.model.attach(self.cache, self.text)
        time = self.model.embed_time(torch.tensor([timestep]))
        with self.cache.forward_pass(self.window.chunk_span(start, latents.shape[1])) as rotary:
            flow = self.model(latents, time, prompt, rotary)
        assert flow is not None
        return flow


def latents(frames: int) -> Tensor:
    return torch.randn(1, frames, 16, HEIGHT, WIDTH)


def test_the_first_chunk_equals_diffusers_forward(model: CausalWan) -> None:
    x, prompt = latents(3), torch.randn(1, 512, 8)
    got = Stream(model)(x, 0, prompt)
    plain = WanTransformer3DModel.from_config(model.config).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        want = plain(x.transpose(1, 2), torch.tensor([500]), prompt).sample.transpose(1, 2)
    assert torch.allclose(got, want, atol=1e-5)


def test_a_later_chunk_depends_on_the_earlier_one(model: CausalWan) -> None:
    prompt, x = torch.randn(1, 512, 8), latents(3)
    one, other = Stream(model), Stream(model)
    one(latents(3), 0, prompt)
    other(latents(3), 0, prompt)
    assert not torch.allclose(one(x, 3, prompt), other(x, 3, prompt), atol=1e-4)


def test_the_prompt_is_read_only_while_the_text_cache_is_empty(model: CausalWan) -> None:
    x, prompt = latents(3), torch.randn(1, 512, 8)
    stream = Stream(model)
    first = stream(x, 0, prompt)
    assert torch.equal(stream(x, 0, torch.zeros(1, 512, 8)), first)
    stream.text.invalidate()
    assert not torch.allclose(stream(x, 0, torch.zeros(1, 512, 8)), first, atol=1e-4)


def test_a_pass_again_overwrites_and_changes_nothing(model: CausalWan) -> None:
    prompt, stream = torch.randn(1, 512, 8), Stream(model)
    stream(latents(3), 0, prompt)
    x = latents(3)
    first = stream(x, 3, prompt)
    stream(latents(3), 3, prompt, timestep=900)
    assert torch.equal(stream(x, 3, prompt), first)


def test_detaching_lets_the_caches_go(model: CausalWan) -> None:
    Stream(model)(latents(3), 0, torch.randn(1, 512, 8))
    model.detach()
    assert all("Cached" not in type(p).__name__ for p in model.attn_processors.values())

"""The fused blocks against diffusers' blocks, on the CPU by Triton's interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("triton", reason="Triton exists for Linux")

from scope_batch.engine.cache_policy import CachePolicy, RelativePolicy, RollingPolicy
from scope_batch.engine.fused_blocks import key_splits, use_fused_blocks
from scope_batch.engine.kv_cache import CacheShape, KVCache
from scope_batch.engine.rolling_window import RollingWindow
from scope_batch.engine.text_cache import TextCache
from scope_batch.engine.transformer import CausalWan
from scope_batch.engine.vace_transformer import CausalVaceWan

CPU = torch.device("cpu")
HEIGHT, WIDTH = 2, 4
WINDOW = RollingWindow(6, 3)
SIZES: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "ffn_dim": 20,
    "num_layers": 2,
    "text_dim": 8,
    "freq_dim": 8,
}


def flows(model: CausalWan | CausalVaceWan, policy: CachePolicy, *, vace: bool = False) -> list[Tensor]:
    """Return the flow of two chunks of three latent frames."""
    generator, text = torch.Generator().manual_seed(4), TextCache(2, CPU)
    head_dim, dtype = model.config.attention_head_dim, model.dtype
    shape = CacheShape(2, HEIGHT // 2, WIDTH // 2, heads=2, head_dim=head_dim, dtype=dtype, device=CPU)
    cache, rotary_table = KVCache(policy, shape, text), shape.rotary_table(3)
    model.attach(cache, text)
    prompt, made = torch.randn(1, 5, model.config.text_dim, generator=generator), []
    for start in (0, 3):
        latents = torch.randn(1, 3, 16, HEIGHT, WIDTH, generator=generator)
        context = torch.randn(1, 96, 3, HEIGHT, WIDTH, generator=generator)
        control = model.control(context, 3, rotary_table.at(range(3)), 0.7) if vace else None
        with cache.forward_pass(WINDOW.chunk_span(start, 3)) as rotary, torch.no_grad():
            made.append(model(latents, model.embed_time(torch.tensor([500])), prompt, rotary, control=control))
    model.detach()
    return made


def compare(model: CausalWan | CausalVaceWan, policy: type[RollingPolicy | RelativePolicy], **options: Any) -> None:
    expected = flows(model, policy(WINDOW), **options)
    use_fused_blocks(model)
    for one, other in zip(flows(model, policy(WINDOW), **options), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def new_model(kind: Any = CausalWan, **sizes: Any) -> Any:
    torch.manual_seed(0)
    return kind(**SIZES, **sizes).eval().requires_grad_(False)


@pytest.mark.parametrize("policy", [RollingPolicy, RelativePolicy])
def test_the_flow_is_that_of_the_modules(policy: type[RollingPolicy | RelativePolicy]) -> None:
    compare(new_model(), policy)


def test_the_flow_with_vace_is_that_of_the_modules() -> None:
    compare(new_model(CausalVaceWan, vace_layers=[0, 1]), RollingPolicy, vace=True)


class Doubled(nn.Module):
    """Stands for what replaces linear layers: LoRA side branches, fp8 weights."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = 2 * self.linear(x)
        return doubled


def test_replaced_linear_layers_are_called() -> None:
    model = new_model()
    for block in model.blocks:
        block.attn1.to_q, block.ffn.net[0].proj = Doubled(block.attn1.to_q), Doubled(block.ffn.net[0].proj)
    compare(model, RollingPolicy)


def test_hooks_of_blocks_and_linear_layers_run() -> None:
    model, seen = new_model(), []
    use_fused_blocks(model)
    model.blocks[1].register_forward_pre_hook(lambda *_: seen.append("block"))
    model.blocks[1].ffn.net[0].proj.register_forward_hook(lambda *_: seen.append("linear"))
    flows(model, RollingPolicy(WINDOW))
    assert seen == ["block", "linear"] * 2


@pytest.mark.parametrize("policy", [RollingPolicy, RelativePolicy])
def test_a_pass_without_a_prediction_stores_the_keys_and_values_of_the_modules(policy: Any) -> None:
    stored, calls = [], list[str]()
    for fused in (False, True):
        model, text = new_model(), TextCache(2, CPU)
        if fused:
            use_fused_blocks(model)
            model.blocks[1].ffn.register_forward_hook(lambda *_: calls.append("feed-forward"))
        shape = CacheShape(2, HEIGHT // 2, WIDTH // 2, heads=2, head_dim=12, dtype=torch.float32, device=CPU)
        cache = KVCache(policy(WINDOW), shape, text)
        model.attach(cache, text)
        generator = torch.Generator().manual_seed(5)
        prompt, latents = (torch.randn(size, generator=generator) for size in ((1, 5, 8), (1, 3, 16, HEIGHT, WIDTH)))
        for predict in (True, False):
            with cache.forward_pass(WINDOW.chunk_span(0, 3)) as rotary, torch.no_grad():
                model(latents * (1 + predict), model.embed_time(torch.tensor([0])), prompt, rotary, predict=predict)
        stored.append([cache.slots(tensor, 0, 3) for tensor in (*cache.keys, *cache.values)])
    assert calls == ["feed-forward"]  # of the pass with a prediction
    for one, other in zip(*stored, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("tokens", "keys", "heads", "parts"),
    [(4680, 18720, 12, 2), (4680, 4680, 12, 1), (4680, 18720, 40, 1), (11 * 128, 18720, 12, 1), (1560, 10920, 12, 2)],
)
def test_keys_are_split_where_full_waves_of_tiles_save_more_than_the_sums_cost(
    tokens: int, keys: int, heads: int, parts: int
) -> None:
    assert key_splits(tokens, keys, heads, processors=132) == parts

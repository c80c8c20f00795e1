import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

from scope_batch.engine.rope import RotaryTable, axis_channels, rotate


def test_channels_of_a_head() -> None:
    assert axis_channels(128) == (44, 42, 42)


def test_table_equals_diffusers_table() -> None:
    cos, sin = RotaryTable(128, 2, 3, torch.device("cpu")).frames(0, 4)
    want_cos, want_sin = WanRotaryPosEmbed(128, (1, 2, 2), 32)(torch.empty(1, 16, 4, 4, 6))
    assert torch.allclose(cos, want_cos[..., 0::2], atol=1e-6) and torch.allclose(sin, want_sin[..., 1::2], atol=1e-6)


def test_a_table_may_start_anywhere_even_beyond_the_published_end() -> None:
    table = RotaryTable(128, 2, 2, torch.device("cpu"))
    whole, part = table.frames(0, 1100)[0], table.frames(1097, 3)[0]
    assert torch.equal(whole[:, -12:], part)


def test_scores_depend_on_the_distance_only() -> None:
    table = RotaryTable(128, 1, 1, torch.device("cpu"))
    query, key = torch.randn(1, 1, 1, 128), torch.randn(1, 1, 1, 128)
    score = [(rotate(query, table.frames(at + 5, 1)) * rotate(key, table.frames(at, 1))).sum().item() for at in (0, 90)]
    assert score[0] == pytest.approx(score[1], abs=1e-3)

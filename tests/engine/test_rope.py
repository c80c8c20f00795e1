import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

from scope_batch.engine.rope import RotaryTable, axis_channels, rotate

CPU = torch.device("cpu")


def test_channels_of_a_head() -> None:
    assert axis_channels(128) == (44, 42, 42)


def test_table_equals_diffusers_table() -> None:
    cos, sin = RotaryTable(128, 2, 3, 4, CPU).at(range(4))
    want_cos, want_sin = WanRotaryPosEmbed(128, (1, 2, 2), 32)(torch.empty(1, 16, 4, 4, 6))
    assert torch.allclose(cos, want_cos[..., 0::2], atol=1e-6) and torch.allclose(sin, want_sin[..., 1::2], atol=1e-6)


def test_a_table_may_start_at_any_position_even_beyond_the_published_end() -> None:
    whole = RotaryTable(128, 2, 2, 1100, CPU).at(range(1100))[0]
    part = RotaryTable(128, 2, 2, 3, CPU).at(range(1097, 1100))[0]
    assert torch.equal(whole[:, -12:], part)


def test_scores_depend_on_the_distance_only() -> None:
    one, other = (RotaryTable(128, 1, 1, 1, CPU) for _ in range(2))
    query, key = torch.randn(1, 1, 1, 128), torch.randn(1, 1, 1, 128)
    score = [(rotate(query, one.at([at + 5])) * rotate(key, other.at([at]))).sum().item() for at in (0, 90)]
    assert score[0] == pytest.approx(score[1], abs=1e-3)


def test_a_table_is_rewritten_in_place() -> None:
    table = RotaryTable(128, 2, 3, 4, CPU)
    first = table.at([7, 3])
    wanted = [part.clone() for part in first]
    assert not torch.equal(table.at([8, 3, 1])[0][:, :6], wanted[0][:, :6])
    again = table.at([7, 3])
    assert all(map(torch.equal, again, wanted)) and again[0].data_ptr() == first[0].data_ptr()

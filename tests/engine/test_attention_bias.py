import torch

from scope_batch.engine.attention_bias import score_bias

CPU = torch.device("cpu")


def bias(weight: float, first: int, end: int, dtype: torch.dtype = torch.float32) -> torch.Tensor | None:
    return score_bias(weight, first, end, 12, dtype=dtype, device=CPU)


def test_it_multiplies_the_shares_of_exactly_these_keys() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    got = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias(0.3, 2, 6))
    shares = (query @ key.transpose(2, 3) / 8**0.5).exp()
    shares[..., 2:6] *= 0.3
    assert torch.allclose(got, shares / shares.sum(-1, keepdim=True) @ value, atol=1e-6)


def test_without_effect_it_is_none() -> None:
    assert bias(1.0, 2, 6) is None and bias(0.3, 6, 6) is None and bias(0.3, 2, 0) is None


def test_one_row_serves_all_queries_in_their_dtype() -> None:
    row = bias(0.3, 2, 6, torch.bfloat16)
    assert row is not None and row.shape == (1, 1, 1, 12) and row.dtype == torch.bfloat16

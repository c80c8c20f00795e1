"""A weight for some of the keys that a pass attends to: their share of the attention, before it is normalised again."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def score_bias(
    weight: float, first: int, end: int, attended: int, *, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    """What to add to the scores of all queries, [1, 1, 1, attended]: ln `weight` for keys first .. end - 1, else 0.

    None where it changes nothing: that is plain attention, which has faster kernels. One row for all queries and heads:
    the kernels read it as it is, so it costs no memory. `dtype` is the queries'.
    """
    if weight == 1 or end <= first:
        return None
    bias = torch.zeros(1, 1, 1, attended, dtype=dtype, device=device)
    bias[..., first:end] = math.log(weight)
    return bias

"""Combines Muon for the matrices inside the blocks and AdamW for everything else in one optimizer.

Muon makes the singular values of a matrix's momentum nearly equal by five Newton-Schulz steps. Matrices of one shape
are computed together, which saves kernel launches.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
_STEPS = ((4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037),
          (2.8769, -3.1427, 1.2046), (2.8366, -3.0525, 1.2012))  # fmt: skip
"""Coefficients of the polynomial of a Newton-Schulz step."""


class Optimizer:
    """The optimizer. rate: learning rate of both parts, a tensor to fill; Muon's updates are scaled to AdamW's size."""

    def __init__(self, model: nn.Module) -> None:
        self.rate = torch.zeros((), device=next(model.parameters()).device)
        on_gpu = self.rate.is_cuda
        inside = {p for name, p in model.named_parameters() if "blocks." in name and p.ndim == 2 and p.requires_grad}
        outside = [p for p in model.parameters() if p.requires_grad and p not in inside]
        self._adam = (
            torch.optim.AdamW(outside, self.rate, betas=(0.9, 0.97), fused=on_gpu, capturable=on_gpu)
            if outside
            else None
        )
        self._groups: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in model.parameters():
            if parameter in inside:
                self._groups[parameter.shape].append(parameter)
        self._momentum = {shape: torch.zeros_like(torch.stack(group)) for shape, group in self._groups.items()}

    def zero_grad(self) -> None:
        if self._adam is not None:
            self._adam.zero_grad()
        for group in self._groups.values():
            for parameter in group:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        if self._adam is not None:
            self._adam.step()
        for shape, group in self._groups.items():
            gradients = torch.stack([p.grad for p in group if p.grad is not None])
            momentum = self._momentum[shape].lerp_(gradients, 1 - MOMENTUM)
            update = orthogonal(gradients.lerp_(momentum, MOMENTUM)).to(gradients.dtype)
            update = update * (-0.2 * max(shape) ** 0.5 * self.rate)
            torch._foreach_add_(group, list(update.unbind(0)))


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices [n, rows, columns] with all singular values near 1, in bfloat16."""
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) * 1.01 + 1e-7)
    for a, b, c in _STEPS:
        square = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x

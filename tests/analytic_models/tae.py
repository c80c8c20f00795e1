"""Builds the tiny auto-encoders of the tiny models: nearly linear ones, so that decoding undoes encoding.

ReLU removes negative values, so every signal has two channels: its positive and its negative part.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scope_batch.core.geometry import LATENT_CHANNELS
from scope_batch.models.checkpoint import State
from scope_batch.models.tae import GROWS, Pool, TaeConfig, TinyAutoencoder
from tests.analytic_models.random_weights import Stream

SIGNALS = 4
"""Number of signals between the latents and the colours in the decoder."""
CONFIG = TaeConfig(encoder=6, decoder=(4 * SIGNALS,) * 4)
"""Half of the decoder's channels are for the frame before."""
_HALF = 2 * SIGNALS
_GRAY = 0.5
_VIVID = 0.18
_SOFT = torch.tensor((0.25, 0.5, 0.25))
_SOFT_KERNEL, _CENTRE = torch.outer(_SOFT, _SOFT), torch.nn.functional.pad(torch.ones(1, 1), (1, 1, 1, 1))


def tae(rng: Stream) -> State:
    with torch.device("meta"):
        model = TinyAutoencoder(CONFIG)
    state = {key: torch.zeros(tensor.shape) for key, tensor in model.state_dict().items()}
    _fill_decoder(state, rng)
    _fill_encoder(state, model)
    return state


def _fill_decoder(state: State, rng: Stream) -> None:
    signals = rng(SIGNALS, LATENT_CHANNELS, k=LATENT_CHANNELS**-0.5)
    colours = rng(3, SIGNALS, k=_VIVID * SIGNALS**-0.5)
    now = torch.eye(4 * SIGNALS)
    now[_HALF:] = 0
    state["decoder.1.weight"] = _spread(torch.cat([signals, -signals, 0 * signals, 0 * signals]), _CENTRE)
    for key in ("decoder.8.weight", "decoder.14.weight", "decoder.20.weight"):
        state[key] = _spread(now, _SOFT_KERNEL)
    state["decoder.22.weight"] = _spread(torch.cat([colours, -colours, 0 * colours, 0 * colours], dim=1), _CENTRE)
    state["decoder.22.bias"] = torch.full((3,), _GRAY)
    before = now.roll(_HALF, dims=1)
    for key, frames in GROWS.items():
        between = [now] if frames == 1 else [(now + before) / 2, now]
        state[key] = torch.cat(between)[..., None, None]
    for block in (11, 17):  # the last ones before a frame becomes two; they add the frame before
        state[f"decoder.{block}.conv.0.weight"] = _spread(torch.cat([0 * now, now.roll(_HALF, dims=0)], 1), _CENTRE)
        for layer in (2, 4):
            state[f"decoder.{block}.conv.{layer}.weight"] = _spread(torch.eye(4 * SIGNALS), _CENTRE)


def _fill_encoder(state: State, model: TinyAutoencoder) -> None:
    """Invert the decoder: a frame is encoded to the smallest latents that decode to it."""
    eye = torch.eye(3)
    state["encoder.0.weight"] = _spread(torch.cat([eye, -eye]), _CENTRE)
    state["encoder.0.bias"] = torch.tensor([-_GRAY] * 3 + [_GRAY] * 3)
    for index, layer in enumerate(model.encoder):
        if isinstance(layer, Pool):
            state[f"encoder.{index}.conv.weight"] = torch.eye(6).repeat(1, layer.stride)[..., None, None] / layer.stride
        elif isinstance(layer, torch.nn.Conv2d) and layer.stride == (2, 2):
            state[f"encoder.{index}.weight"] = _spread(torch.eye(6), _SOFT_KERNEL)
    shown = (
        state["decoder.22.weight"][:, :SIGNALS, 1, 1].double() @ state["decoder.1.weight"][:SIGNALS, :, 1, 1].double()
    )
    undone = (shown.T @ torch.linalg.inv(shown @ shown.T)).float()
    state["encoder.17.weight"] = _spread(torch.cat([undone, -undone], dim=1), _CENTRE)


def _spread(mix: Tensor, kernel: Tensor) -> Tensor:
    """Multiply weights [out, in] by a kernel [3, 3] to [out, in, 3, 3]."""
    return mix[..., None, None] * kernel

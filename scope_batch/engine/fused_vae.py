"""Runs Wan's VAE on CUDA devices with channels last, fused norms, and causal convolutions as 2D convolutions.

The mathematics is that of diffusers' modules, whose weights it uses; only the order of sums differs. It continues
streams: the first latent frame of a stream, which is a single pixel frame, is left to diffusers' modules. Both use the
same feature caches, so that a stream can change from one to the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from torch.nn import functional as F

from scope_batch.core.geometry import LATENT_CHANNELS
from scope_batch.engine.vae_stream import FeatureCache
from scope_batch.kernels.causal_taps import add_shifted, enlarge, write_taps


class Terms(NamedTuple):
    """An activation x + bias + residual, [T, H, W, C], whose sum the next kernel computes.

    bias      [C] or None.
    residual  [T, H, W, C] or None.
    """

    x: Tensor
    bias: Tensor | None = None
    residual: Tensor | None = None

    def split(self, parts: int) -> list[Terms]:
        """Split in time into equal parts."""
        xs = self.x.chunk(parts)
        residuals = [None] * parts if self.residual is None else self.residual.chunk(parts)
        return [Terms(x, self.bias, residual) for x, residual in zip(xs, residuals, strict=True)]

    def sum(self) -> Tensor:
        total = self.x.float()
        total = total if self.bias is None else total + self.bias.float()
        total = total if self.residual is None else total + self.residual.float()
        return total.to(self.x.dtype)


class CausalConv:
    """A convolution of three taps in time, and 3x3 or 1x1 in space, with the taps in time folded into the channels."""

    def __init__(self, conv: Any) -> None:
        folded: Tensor = conv.weight.detach().permute(0, 2, 1, 3, 4).flatten(1, 2)
        self.pointwise = folded.shape[2] == 1
        self.weight = folded.flatten(1).contiguous() if self.pointwise else _channels_last(folded)
        self.bias: Tensor = conv.bias.detach()

    def __call__(self, taps: Tensor) -> Terms:
        """Convolve taps [T, H, W, 3C]."""
        if self.pointwise:
            return Terms(F.linear(taps, self.weight), self.bias)
        return Terms(_conv2d(taps, self.weight, padding=1), self.bias)


class LastConv:
    """A causal convolution to few channels: a linear layer for all taps in space at once, whose results are shifted and
    added. A convolution with so few results would not fill the tensor cores."""

    def __init__(self, conv: Any) -> None:
        folded: Tensor = conv.weight.detach().permute(0, 2, 1, 3, 4).flatten(1, 2)
        rows = folded.permute(2, 3, 0, 1).flatten(0, 2)  # [3 * 3 * channels, 3 * C]
        self.channels = folded.shape[0]
        self.weight = F.pad(rows, (0, 0, 0, -len(rows) % 16)).contiguous()
        self.bias: Tensor = conv.bias.detach()

    def __call__(self, taps: Tensor) -> Tensor:
        """Convolve taps [T, H, W, 3C] to [channels, T, H, W]."""
        return add_shifted(F.linear(taps, self.weight), self.bias)


class Residual:
    """The weights of a residual block."""

    def __init__(self, block: Any) -> None:
        self.gammas = tuple(norm.gamma.detach().flatten() for norm in (block.norm1, block.norm2))
        self.convs = CausalConv(block.conv1), CausalConv(block.conv2)
        shortcut = block.conv_shortcut
        weights = hasattr(shortcut, "weight")
        self.shortcut = (shortcut.weight.detach().flatten(1), shortcut.bias.detach()) if weights else None


class Attention:
    """The attention of the middle block, frame by frame, with one head."""

    def __init__(self, block: Any) -> None:
        self.norm = block.norm
        self.qkv, self.proj = block.to_qkv, block.proj

    def __call__(self, terms: Terms) -> Terms:
        value = terms.sum()
        normed: Tensor = self.norm(value.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        projected = F.linear(normed, self.qkv.weight.flatten(1), self.qkv.bias)
        query, key, values = projected.flatten(1, 2)[:, None].chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(query, key, values)[:, 0].view_as(value)
        return Terms(F.linear(mixed, self.proj.weight.flatten(1)), self.proj.bias, value)


class Resampling:
    """The weights of a layer that doubles or halves the size. time: its convolution in time, or None."""

    def __init__(self, layer: Any) -> None:
        conv = layer.resample[1]
        self.weight, self.bias = _channels_last(conv.weight.detach()), conv.bias.detach()
        self.time = CausalConv(layer.time_conv) if hasattr(layer, "time_conv") else None


class Workspace:
    """The memory for the taps, shared by all convolutions of a VAE. It grows to the largest size in use."""

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def taps(self, like: Tensor) -> Tensor:
        """Return memory for the taps [T, H, W, 3C] of an activation [T, H, W, C]; the next call overwrites it."""
        numbers = 3 * like.numel()
        if self._memory is None or self._memory.numel() < numbers:
            self._memory = None  # so that it is free before more is taken
            self._memory = like.new_empty(numbers)
        return self._memory[:numbers].view(*like.shape[:3], -1)


class Pass:
    """One call of an encoder or decoder: takes the entries of a feature cache in order, and replaces them.

    index  of the next entry.
    """

    def __init__(self, cache: FeatureCache, workspace: Workspace, index: int = 0) -> None:
        self._cache, self._workspace, self.index = cache, workspace, index

    def conv(self, terms: Terms, conv: CausalConv, gamma: Tensor | None = None) -> Terms:
        return conv(self._taps(terms, gamma))

    def last_conv(self, terms: Terms, conv: LastConv, gamma: Tensor) -> Tensor:
        return conv(self._taps(terms, gamma))

    def enlarge(self, terms: Terms, layer: Resampling) -> Terms:
        """Double height and width, and the number of frames if the layer has a convolution in time."""
        interleave = 1
        if layer.time is not None:
            terms, interleave = self.conv(terms, layer.time), 2
        return Terms(_conv2d(enlarge(*terms, interleave=interleave), layer.weight, padding=1), layer.bias)

    def halve_time(self, terms: Terms, conv: CausalConv) -> Terms:
        """Convolve with a stride of two frames; its cache holds one frame."""
        return conv(self._taps(terms, keep=1)[1::2])

    def residual(self, terms: Terms, block: Residual) -> Terms:
        total = terms.x if terms[1:] == (None, None) else torch.empty_like(terms.x)
        inner = block.convs[0](self._taps(terms, block.gammas[0], None if total is terms.x else total))
        shortcut = total if block.shortcut is None else F.linear(total, *block.shortcut)
        inner = self.conv(inner, block.convs[1], block.gammas[1])
        return Terms(inner.x, inner.bias, shortcut)

    def _taps(self, terms: Terms, gamma: Tensor | None = None, total: Tensor | None = None, keep: int = 2) -> Tensor:
        taps = self._workspace.taps(terms.x)
        history = _history(self._cache[self.index], terms.x)
        kept = write_taps(*terms, history=history, taps=taps, gamma=gamma, total=total)
        self._cache[self.index] = kept[2 - keep :].permute(3, 0, 1, 2)[None]
        self.index += 1
        return taps


class FusedDecoder:
    """Decodes latent frames of a stream, after its first, to four pixel frames each.

    The layers at an eighth and a quarter of the size run over all latent frames at once, which a single one does not
    keep busy; the others run latent frame by latent frame, which bounds the memory.
    """

    def __init__(self, module: AutoencoderKLWan, workspace: Workspace) -> None:
        decoder: Any = module.decoder
        self._workspace, self._post_quant = workspace, module.post_quant_conv
        self._conv_in, self._conv_out = CausalConv(decoder.conv_in), LastConv(decoder.conv_out)
        self._middle = _middle(decoder.mid_block)
        layers: list[Residual | Resampling] = []
        for up in decoder.up_blocks:
            layers += [Residual(block) for block in up.resnets]
            layers += [Resampling(layer) for layer in up.upsamplers or ()]
        second = [place for place, layer in enumerate(layers) if isinstance(layer, Resampling)][1]
        self._joint, self._single = layers[:second], layers[second:]
        self._gamma = decoder.norm_out.gamma.detach().flatten()

    def decode(self, latents: Tensor, cache: FeatureCache) -> Iterator[Tensor]:
        """Decode [1, 16, F, h, w] to F times [3, 4, H, W], as `vae_stream.Vae.decode`."""
        run = Pass(cache, self._workspace)
        terms = Terms(self._post_quant(latents)[0].permute(1, 2, 3, 0).contiguous())
        terms = _run_middle(run, run.conv(terms, self._conv_in), self._middle)
        terms = _run_up(run, terms, self._joint)
        for part in terms.split(latents.shape[2]):
            rest = Pass(cache, self._workspace, run.index)
            yield rest.last_conv(_run_up(rest, part, self._single), self._conv_out, self._gamma)


class FusedEncoder:
    """Encodes one group of four pixel frames of a stream, after its first, to one latent frame."""

    def __init__(self, module: AutoencoderKLWan, workspace: Workspace) -> None:
        encoder: Any = module.encoder
        self._workspace, self._quant = workspace, module.quant_conv
        self._conv_in, self._conv_out = CausalConv(encoder.conv_in), CausalConv(encoder.conv_out)
        self._layers = [Resampling(x) if hasattr(x, "resample") else Residual(x) for x in encoder.down_blocks]
        self._middle = _middle(encoder.mid_block)
        self._gamma = encoder.norm_out.gamma.detach().flatten()

    def encode(self, group: Tensor, cache: FeatureCache) -> Tensor:
        """Encode [1, 3, 4, H, W] to posterior means [1, 16, 1, h, w], as `vae_stream.Vae.encode`."""
        run = Pass(cache, self._workspace)
        terms = run.conv(Terms(group[0].permute(1, 2, 3, 0).contiguous()), self._conv_in)
        for layer in self._layers:
            if isinstance(layer, Residual):
                terms = run.residual(terms, layer)
                continue
            padded = F.pad(terms.sum(), (0, 0, 0, 1, 0, 1))
            del terms  # frees the features before the convolution takes working memory
            terms = Terms(_conv2d(padded, layer.weight, stride=2), layer.bias)
            del padded
            if layer.time is not None:
                terms = run.halve_time(terms, layer.time)
        terms = _run_middle(run, terms, self._middle)
        moments = run.conv(terms, self._conv_out, self._gamma).sum().permute(3, 0, 1, 2)[None]
        encoded: Tensor = self._quant(moments)[:, :LATENT_CHANNELS]
        return encoded


def _middle(block: Any) -> list[Residual | Attention]:
    first, last = block.resnets
    return [Residual(first), Attention(block.attentions[0]), Residual(last)]


def _run_middle(run: Pass, terms: Terms, layers: list[Residual | Attention]) -> Terms:
    for layer in layers:
        terms = layer(terms) if isinstance(layer, Attention) else run.residual(terms, layer)
    return terms


def _run_up(run: Pass, terms: Terms, layers: list[Residual | Resampling]) -> Terms:
    for layer in layers:
        terms = run.residual(terms, layer) if isinstance(layer, Residual) else run.enlarge(terms, layer)
    return terms


def _history(entry: Any, like: Tensor) -> Tensor:
    """Return the two frames [2, H, W, C] before `like` [T, H, W, C]; zeros where the stream has none.

    entry  of a feature cache: [1, C, 1 or 2, H, W], or "Rep", which diffusers stores before the first frame.
    """
    if isinstance(entry, str):
        return torch.zeros_like(like[:1]).expand(2, -1, -1, -1).contiguous()
    frames: Tensor = entry[0].permute(1, 2, 3, 0)
    if len(frames) < 2:
        frames = torch.cat([torch.zeros_like(frames), frames])
    return frames.contiguous()


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)


def _conv2d(x: Tensor, weight: Tensor, *, padding: int = 0, stride: int = 1) -> Tensor:
    """Convolve [T, H, W, C], without a bias."""
    return F.conv2d(x.permute(0, 3, 1, 2), weight, padding=padding, stride=stride).permute(0, 2, 3, 1)

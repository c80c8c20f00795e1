"""What Wan's VAE holds on the device: its streams' memory to the byte, and at most how much a step needs besides.

A stream remembers the two last inputs of every causal convolution. Names: `width` = channels of the full-size layers
(96: published), sizes in pixels, `number_bytes` = bytes of one number in the VAE's dtype.
"""

from __future__ import annotations

from collections.abc import Iterator

from scope_batch.core import geometry

_FLOAT_BYTES = 4
_REMEMBERED = 2
"""Frames of every convolution's input."""
_DEEPEST = geometry.SPACE_STRIDE
_IMAGE_CHANNELS = 3
STREAMS = 6
"""Input, output, and four of VACE: gray, kept and replaced pixels, references. Most of them never see a frame."""

Layer = tuple[int, int, int]
"""(channels, pixels per cell along each axis, frames remembered)."""


def decoder_stream_bytes(width: int, height: int, frame_width: int, number_bytes: int) -> int:
    """From the second latent frame of a stream on."""
    return _bytes(_decoder(width), height, frame_width, number_bytes)


def encoder_stream_bytes(width: int, height: int, frame_width: int, number_bytes: int) -> int:
    """From the second latent frame of a stream on."""
    return _bytes(_encoder(width), height, frame_width, number_bytes)


def statistics_bytes(number_bytes: int) -> int:
    """Mean and deviation per channel, of which every stream of a session has its own."""
    return STREAMS * 2 * geometry.LATENT_CHANNELS * number_bytes


def weight_bytes(width: int, number_bytes: int) -> int:
    """Of encoder and decoder."""
    encoder = _conv(_IMAGE_CHANNELS, width, 27) + _middle(4 * width) + _head(4 * width, 2 * geometry.LATENT_CHANNELS)
    now = width
    for stage, out in enumerate((width, 2 * width, 4 * width, 4 * width)):
        encoder += _residual_weights(now, out) + _residual_weights(out, out)
        encoder += _conv(out, out, 9) * (stage < 3) + _conv(out, out, 3) * (stage in (1, 2))
        now = out
    decoder = _conv(geometry.LATENT_CHANNELS, 4 * width, 27) + _middle(4 * width) + _head(width, _IMAGE_CHANNELS)
    now = 4 * width
    for stage, out in enumerate((4 * width, 4 * width, 2 * width, width)):
        decoder += _residual_weights(now, out) + 2 * _residual_weights(out, out)
        decoder += _conv(out, out // 2, 9) * (stage < 3) + _conv(out, 2 * out, 3) * (stage < 2)
        now = out // 2
    between = sum(_conv(channels, channels, 1) for channels in (2 * geometry.LATENT_CHANNELS, geometry.LATENT_CHANNELS))
    return (encoder + decoder + between) * number_bytes


def _conv(inputs: int, outputs: int, taps: int) -> int:
    return inputs * outputs * taps + outputs


def _residual_weights(inputs: int, outputs: int) -> int:
    shortcut = _conv(inputs, outputs, 1) if inputs != outputs else 0
    return inputs + _conv(inputs, outputs, 27) + outputs + _conv(outputs, outputs, 27) + shortcut


def _middle(width: int) -> int:
    return 2 * _residual_weights(width, width) + width + _conv(width, 3 * width, 1) + _conv(width, width, 1)


def _head(inputs: int, outputs: int) -> int:
    return inputs + _conv(inputs, outputs, 27)


def _bytes(layers: Iterator[Layer], height: int, width: int, number_bytes: int) -> int:
    return (
        sum(frames * channels * (height // cell) * (width // cell) for channels, cell, frames in layers) * number_bytes
    )


def _decoder(width: int) -> Iterator[Layer]:
    yield geometry.LATENT_CHANNELS, _DEEPEST, _REMEMBERED
    yield from [(4 * width, _DEEPEST, _REMEMBERED)] * 4
    now, cell = 4 * width, _DEEPEST
    for stage, out in enumerate((4 * width, 4 * width, 2 * width, width)):
        yield now, cell, _REMEMBERED
        yield from [(out, cell, _REMEMBERED)] * (5 + (stage < 2))  # two stages end with a convolution over time
        now, cell = out // 2, cell // 2
    yield width, 1, _REMEMBERED


def _encoder(width: int) -> Iterator[Layer]:
    yield _IMAGE_CHANNELS, 1, _REMEMBERED
    now, cell = width, 1
    for stage, out in enumerate((width, 2 * width, 4 * width, 4 * width)):
        yield now, cell, _REMEMBERED
        yield from [(out, cell, _REMEMBERED)] * 3
        now, cell = out, min(2 * cell, _DEEPEST)
        if stage in (1, 2):
            yield out, cell, 1  # a convolution over time with a stride remembers one
    yield from [(4 * width, _DEEPEST, _REMEMBERED)] * 5


def decode_peak_bytes(width: int, height: int, frame_width: int, number_bytes: int) -> int:
    """Of one latent frame: the last doubling of the size, or the residual blocks behind it, whichever is more."""
    cells = geometry.TIME_STRIDE * height * frame_width
    half = 2 * width * cells // 4  # numbers of twice the channels at half the size
    upsampled = _upsampling(half, number_bytes)
    return max(upsampled, _residual(width * cells, number_bytes))


def encode_peak_bytes(width: int, height: int, frame_width: int, number_bytes: int) -> int:
    """Of one group of frames: the residual blocks at full size."""
    return _residual(width * geometry.TIME_STRIDE * height * frame_width, number_bytes)


def _upsampling(numbers: int, number_bytes: int) -> int:
    """The stage's input and the tensor to be enlarged, that one frame by frame, then enlarged in float32."""
    kept = 3 * numbers * number_bytes
    if number_bytes == _FLOAT_BYTES:
        return kept + 4 * numbers * _FLOAT_BYTES + 2 * numbers * number_bytes
    return kept + max(5 * numbers * _FLOAT_BYTES, 4 * numbers * (_FLOAT_BYTES + number_bytes))


def _residual(numbers: int, number_bytes: int) -> int:
    """The stage's input and the block's, its activation, that with the remembered frames before it, twice (joined, then
    padded), and what becomes the new memory."""
    remembered = numbers * _REMEMBERED // geometry.TIME_STRIDE
    return (3 * numbers + 2 * (numbers + remembered) + remembered) * number_bytes

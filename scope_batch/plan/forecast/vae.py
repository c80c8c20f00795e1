"""Computes the device memory of Wan's VAE: feature caches exactly, working memory approximately.

Arguments: `width` = channels of the full-size layers (96 as published), frame sizes in pixels, `number_bytes` = bytes
of one number in the VAE's dtype.
"""

from __future__ import annotations

from scope_batch.core import geometry

_FLOAT_BYTES = 4
_CACHED_FRAMES = 2
"""Frames of its input that a causal convolution keeps; one with a stride in time keeps one."""

_ENCODER = {1: 2 * 4, 2: 2 * (1 + 6), 4: 2 * (2 + 12) + 2, 8: 2 * (4 + 12 + 20) + 4}
_DECODER = {8: 2 * (16 + 28), 4: 2 * (2 + 24), 2: 2 * (2 + 10), 1: 2 * (1 + 5 + 1)}
"""Pixels per cell along each axis -> channels x frames in the feature caches at that size, in multiples of `width`."""


def encoder_cache_bytes(width: int, height: int, frame_width: int, number_bytes: int) -> int:
    """Return the bytes from the second latent frame of a stream on, when all caches are full."""
    image = 3 * _CACHED_FRAMES * height * frame_width
    return (image + _cached(_ENCODER, width, height, frame_width)) * number_bytes


def decoder_cache_bytes(width: int, height: int, frame_width: int, number_bytes: int) -> int:
    """Return the bytes of the decoder's caches, as `encoder_cache_bytes`."""
    latents = geometry.LATENT_CHANNELS * _CACHED_FRAMES * height * frame_width // geometry.SPACE_STRIDE**2
    return (latents + _cached(_DECODER, width, height, frame_width)) * number_bytes


def _cached(features: dict[int, int], width: int, height: int, frame_width: int) -> int:
    return sum(count * width * (height // cell) * (frame_width // cell) for cell, count in features.items())


def decode_peak_bytes(width: int, height: int, frame_width: int, number_bytes: int) -> int:
    """Return the peak for one latent frame: in the last doubling of the size, or in the residual blocks after it."""
    full = width * geometry.TIME_STRIDE * height * frame_width
    return max(_upsampling(full // 2, number_bytes), _residual(full, number_bytes))


def encode_peak_bytes(width: int, height: int, frame_width: int, number_bytes: int) -> int:
    """Return the peak for one group of frames, in the residual blocks at full size."""
    return _residual(width * geometry.TIME_STRIDE * height * frame_width, number_bytes)


def taps_bytes(width: int, height: int, frame_width: int, number_bytes: int) -> int:
    """Return the bytes in which the kernels keep three frames side by side for each frame of a full-size layer."""
    return 3 * width * geometry.TIME_STRIDE * height * frame_width * number_bytes


def fused_decode_peak_bytes(width: int, height: int, frame_width: int, number_bytes: int) -> int:
    """Return the peak of the kernels beside the taps: a block's input and its residual, their sum, the results of two
    convolutions; the new cached frames."""
    return (5 * geometry.TIME_STRIDE + _CACHED_FRAMES) * width * height * frame_width * number_bytes


def fused_encode_peak_bytes(width: int, height: int, frame_width: int, number_bytes: int) -> int:
    """Return the peak of the kernels beside the taps: the decoder's, and nine times the features of a frame, which an
    H200 was measured to need besides."""
    decode = fused_decode_peak_bytes(width, height, frame_width, number_bytes)
    return decode + 9 * width * height * frame_width * number_bytes


def _upsampling(numbers: int, number_bytes: int) -> int:
    """Return the bytes of the stage's input, the tensor to enlarge, its single frames, and the result in float32.

    numbers  elements of the tensor to enlarge: twice the channels at a quarter of the cells.
    """
    kept = 3 * numbers * number_bytes
    if number_bytes == _FLOAT_BYTES:
        return kept + 4 * numbers * _FLOAT_BYTES + 2 * numbers * number_bytes
    return kept + max(5 * numbers * _FLOAT_BYTES, 4 * numbers * (_FLOAT_BYTES + number_bytes))


def _residual(numbers: int, number_bytes: int) -> int:
    """Return the bytes of the stage's input, the block's input and its activation; the activation with cached frames
    before it, twice (joined, then padded); the new cached frames."""
    cached = numbers * _CACHED_FRAMES // geometry.TIME_STRIDE
    return (3 * numbers + 2 * (numbers + cached) + cached) * number_bytes

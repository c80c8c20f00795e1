"""Loads the model of the processor `depth` and estimates the nearness of every pixel with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch.nn.functional import interpolate
from transformers import DepthAnythingForDepthEstimation
from transformers.utils import logging

from scope_batch.core.processor_model import ProcessorRequest
from scope_batch.engine.device import device_faults, resolve_device, to_device
from scope_batch.errors import JobError
from scope_batch.models.layout import first_names
from scope_batch.models.processor_files import find_processor_files

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours in ImageNet, by which the network's input is normalised."""


@dataclass(frozen=True, slots=True)
class DepthModel:
    """A DepthAnything network on its device, in float32."""

    network: DepthAnythingForDepthEstimation
    device: torch.device

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the nearness of a frame, uint8 [H, W, 3], as float32 [H, W] on the host."""
        height, width = frame.shape[:2]
        with torch.inference_mode(), device_faults(None):
            pixels = to_device(frame.copy(), self.device).permute(2, 0, 1)[None].float() / 255
            mean, std = (torch.tensor(values, device=self.device)[:, None, None] for values in (MEAN, STD))
            size = self.input_size(height, width)
            seen = interpolate(pixels, size, mode="bicubic", antialias=True, align_corners=False)
            nearness = self.network((seen - mean) / std).predicted_depth[:, None]
            nearness = interpolate(nearness, (height, width), mode="bilinear", align_corners=False)[0, 0]
            found: NDArray[np.float32] = nearness.cpu().numpy()
        if not np.isfinite(found).all():
            raise JobError("depth: the model gave values that are no numbers (NaN or Inf)")
        return found

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the network's input: its own short side, the frame's shape, whole patches."""
        backbone = self.network.config.backbone_config
        scale = backbone.image_size / min(height, width)
        rows, columns = (max(1, round(side * scale / backbone.patch_size)) for side in (height, width))
        return rows * backbone.patch_size, columns * backbone.patch_size


def load(request: ProcessorRequest) -> DepthModel:
    """Load the network. Raises UnavailableError if the device or a file is missing, JobError if a file does not fit."""
    device = resolve_device(request.device)
    config, weights = find_processor_files(request)
    try:
        with device_faults(None), _no_progress_bar():
            network, info = DepthAnythingForDepthEstimation.from_pretrained(
                config.parent, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
            network.eval().requires_grad_(False).to(device)
    except (OSError, ValueError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise JobError(f"{weights}: cannot be read as a DepthAnything model: {reason}") from error
    if wrong := [*info["missing_keys"], *map(str, info["mismatched_keys"])]:
        raise JobError(f"{weights}: keys are missing or have another shape: {first_names(sorted(wrong))}")
    return DepthModel(network, device)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing a bar of its own while it reads a file."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()

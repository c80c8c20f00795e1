"""Where the frames go, and how they are encoded."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, Strict

from scope_batch.job.faults import shown, wrong
from scope_batch.job.prompts import STRICT
from scope_batch.job.scalars import OutputPath


class Encoder(BaseModel):
    """Options of the video encoder; what is not given depends on the container."""

    model_config = STRICT

    codec: str | None = Field(
        default=None, min_length=1, description="Encoder, such as libx264, libvpx-vp9 or ffv1 (lossless)."
    )
    crf: int | None = Field(default=None, ge=0, le=63, description="Quality: lower is better and larger.")
    preset: str | None = Field(default=None, min_length=1, description="Speed against size, such as veryfast or slow.")
    pix_fmt: str | None = Field(default=None, min_length=1, description="Pixel format, such as yuv420p.")


class Output(Encoder):
    """One output. What is not given here comes from the job's `video`."""

    path: OutputPath = Field(
        description="File .mp4 .mov .mkv .webm .npy .nut, a sequence such as frames/%05d.png, or - for standard output."
    )


def as_outputs(value: Any) -> Any:
    """A path or a map becomes a list of one; paths in a list become maps."""
    if isinstance(value, (str, dict, Output)):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise wrong(f"must be a path, a map with a path, or a list of these, not {shown(value)}")
    return tuple({"path": item} if isinstance(item, str) else item for item in value)


Outputs = Annotated[
    tuple[Output, ...],
    Strict(False),
    BeforeValidator(as_outputs, json_schema_input_type=str | Output | list[str | Output]),
]

"""Checks whether all outputs exist, are complete, and were rendered from this job."""

from __future__ import annotations

import json
from collections.abc import Sequence

from scope_batch.core.plan import Plan
from scope_batch.errors import JobError, MissingInputError, OutputError
from scope_batch.sinks.latents import read_latents_job
from scope_batch.sinks.metadata import read_metadata
from scope_batch.sinks.output import Output, has_sidecar, numbered, output_errors
from scope_batch.sinks.output_set import SinkSettings
from scope_batch.sinks.sink import bytes_and_hash
from scope_batch.sinks.verify import verify_output


def is_up_to_date(outputs: Sequence[Output], plan: Plan, settings: SinkSettings) -> bool:
    """Return whether all outputs are complete and hold this job; False if metadata is off."""
    metadata, latents = settings.metadata, settings.latents
    if metadata is None or (latents is not None and read_latents_job(latents) != metadata):
        return False
    return all(_is_up_to_date(output, plan, metadata) for output in outputs)


def _is_up_to_date(output: Output, plan: Plan, metadata: str) -> bool:
    if output.path is None:
        return False
    delivery = plan.delivery
    file = numbered(output.path, 0) if output.format == "png" else output.path
    try:
        expected = json.loads(metadata)
        stored = read_metadata(file)  # before all frames are decoded
        if has_sidecar(file):
            with output_errors(file):
                expected |= bytes_and_hash(file)
        if stored == expected:
            verify_output(output, delivery.frames, delivery.height, delivery.width)
        return bool(stored == expected)
    except (OutputError, JobError, MissingInputError):
        return False

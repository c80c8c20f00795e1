"""Does every output exist, whole, and made from this very job?"""

from __future__ import annotations

import json
from collections.abc import Sequence

from scope_batch.chunk import Plan
from scope_batch.errors import JobError, MissingInputError, OutputError
from scope_batch.sinks.metadata import read_metadata
from scope_batch.sinks.output import Output, files_of
from scope_batch.sinks.verify import verify_output


def is_up_to_date(outputs: Sequence[Output], plan: Plan, metadata: str | None) -> bool:
    """`metadata`: what a render would write into the outputs now; without it nothing is known to be up to date."""
    return metadata is not None and all(_is_up_to_date(output, plan, metadata) for output in outputs)


def _is_up_to_date(output: Output, plan: Plan, metadata: str) -> bool:
    if output.path is None or not (files := files_of(output.path)):
        return False
    made = plan.delivery
    try:
        verify_output(output, made.frames, made.height, made.width)
        return bool(read_metadata(min(files)) == json.loads(metadata))
    except (OutputError, JobError, MissingInputError):
        return False

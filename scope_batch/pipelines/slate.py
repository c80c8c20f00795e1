"""The slate: draws the plan itself, on LongLive's grid, without any model."""

from dataclasses import replace

from scope_batch.pipelines.longlive import LONGLIVE

SLATE = replace(
    LONGLIVE,
    id="slate",
    summary="draws the plan (frame, chunk, prompt, values, input thumbnail); needs no model",
    engine="scope_batch.slate:load",
    needs_models=False,
)

from __future__ import annotations

from typing import Any

import pytest

from scope_batch.errors import JobError
from tests.importing.helpers import block, imported, timeline, workflow

VERSION_3 = {**timeline(block(0, 1)), "version": "3.0"}


@pytest.mark.parametrize(
    ("export", "message"),
    [
        (b"prompt: a cat\n", "panda.json:1:1: not valid JSON: Expecting value"),
        (b"", "panda.json:1:1: not valid JSON"),
        (b"\xff\xfe", "panda.json: not a Scope export: not UTF-8 text"),
        (b"[" * 100_000, "nested too deep"),
        (b"9" * 5000, "a number is too long"),
        (b" " * (4 * 1024 * 1024 + 1), "larger than 4 MiB"),
        ([], "it holds [], not an object"),
        ({}, 'neither a timeline ("prompts", "settings", "version") nor a workflow'),
        ({"prompt": "a", "version": 1}, "neither a timeline"),
        ({"prompts": {}, "version": "2.0"}, "neither a timeline"),
        (VERSION_3, 'version "3.0" is not known; this program reads 2.0, 2.1'),
        ({**VERSION_3, "version": None}, "version null is not known"),
        ({**workflow(), "format_version": "2.0"}, 'format_version "2.0" is not known; this program reads 1.0'),
        (workflow(), "no block of the timeline can be shown"),
        (workflow(pipelines=[{"pipeline_id": "x", "role": "preprocessor"}]), 'no item of pipelines has "role": "main"'),
        (timeline(), "an export needs at least one prompt"),
        (timeline(block(0, 0)), "at least one that lasts a frame"),
        (timeline(block(-2, -1)), "at least one that lasts a frame"),
        (timeline(block(0, None)), "an export needs at least one prompt"),
        (timeline(block(0, 1e300)), "the timeline ends at 1e+300 s; a job has at most 10000000 frames"),
    ],
    ids=str,
)
def test_a_file_that_is_not_an_export_is_one_line(export: Any, message: str) -> None:
    with pytest.raises(JobError) as caught:
        imported(export)
    assert message in str(caught.value) and len(caught.value.problems) == 1


@pytest.mark.parametrize("junk", [None, 3, "x", [], {}, [3], [None], {"a": 1}, True], ids=str)
def test_junk_in_any_place_is_noted_or_refused(junk: Any) -> None:
    keys = ("pipelineId", "resolution", "seed", "denoisingSteps", "loras", "loraMergeStrategy", "schemaFieldOverrides")
    exports = [timeline(block(0, 2), **{key: junk}) for key in (*keys, "inputMode", "noiseScale")]
    exports += [{**timeline(block(0, 2)), "settings": junk}, timeline(block(0, 2), junk)]
    exports += [timeline(block(0, 2), {**block(2, 4), key: junk}) for key in block(0, 2, transitionSteps=1)]
    for export in exports:
        assert "\npipeline_id: longlive\n" in imported(export).text
    for export in [workflow(prompts=junk), workflow(pipelines=junk), {**workflow(), "timeline": junk}]:
        with pytest.raises(JobError):
            imported(export)

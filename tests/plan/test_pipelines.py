"""Tests the plans of each pipeline: its chunk lengths, steps and cache behaviour."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from scope_batch.errors import JobError
from scope_batch.pipelines import PIPELINES, PipelineSpec
from scope_batch.plan import plan_to_dict
from tests.plan.helpers import marks, plan, video_plan
from tests.plan.test_table import shown

SDV2, MEMFLOW, REWARD = (PIPELINES[name] for name in ("streamdiffusionv2", "memflow", "reward-forcing"))


@pytest.mark.parametrize(
    ("spec", "text", "video"),
    [
        (SDV2, [42, 44, 45, 46], [42, 44, 45, 46]),
        (MEMFLOW, [42, 45, 48, 51], [42, 46, 49, 52]),
        (REWARD, [42, 45, 48, 51], [42, 45, 48, 51]),
    ],
    ids=lambda value: value.id if isinstance(value, PipelineSpec) else "",
)
def test_noise_seeds(spec: PipelineSpec, text: list[int], video: list[int]) -> None:
    assert [chunk.noise_seed for chunk in plan(spec=spec).chunks[:4]] == text
    assert [chunk.noise_seed for chunk in video_plan(spec=spec).chunks[:4]] == video


def test_a_cut_counts_from_the_start_again() -> None:
    planned = video_plan({"chunk": 2, "reset_cache": True, "seed": 7000}, spec=REWARD)
    assert [chunk.start_latent for chunk in planned.chunks[:4]] == [0, 3, 0, 3]
    assert [chunk.latents for chunk in planned.chunks[:4]] == [4, 3, 4, 3]


@pytest.mark.parametrize(
    ("spec", "steps", "size"),
    [
        (SDV2, ((1000, 750), (750, 250)), (512, 512)),
        (MEMFLOW, ((1000, 750, 500, 250), (1000, 750)), (320, 576)),
        (REWARD, ((1000, 750, 500, 250), (1000, 750)), (320, 576)),
    ],
    ids=lambda value: value.id if isinstance(value, PipelineSpec) else "",
)
def test_defaults(spec: PipelineSpec, steps: tuple[Any, Any], size: tuple[int, int]) -> None:
    text, video = plan(spec=spec), video_plan(spec=spec)
    assert (text.chunks[0].denoising_steps, video.chunks[0].denoising_steps) == steps
    assert (text.height, text.width) == size


@pytest.mark.parametrize(("spec", "way"), [(SDV2, "text"), (MEMFLOW, "recache"), (REWARD, "text")])
def test_a_new_prompt(spec: PipelineSpec, way: str) -> None:
    assert marks(plan({"chunk": 2, "text": "B"}, spec=spec))[:4] == ["cut", "", way, ""]
    assert marks(video_plan({"chunk": 2, "text": "B"}, spec=spec))[:4] == ["cut", "", "cut", ""]


@pytest.mark.parametrize("spec", PIPELINES.values(), ids=list(PIPELINES))
def test_relative_memory_alone_cannot_be_recached(spec: PipelineSpec) -> None:
    spec = replace(spec, sink=spec.block)
    for memory, change in itertools.product(("rolling", "context", "relative"), ("text", "recache")):
        if (memory, change) == ("relative", "recache"):
            with pytest.raises(ValueError, match=rf"^pipeline '{spec.id}': .*; allowed: on_prompt_change='text', or"):
                replace(spec, memory=memory, on_prompt_change=change)
        else:
            assert replace(spec, memory=memory, on_prompt_change=change).memory == memory


@pytest.mark.parametrize("sink", [0, 1, 4])
def test_relative_memory_needs_a_sink_as_long_as_a_chunk(sink: int) -> None:
    message = (
        rf"^pipeline 'reward-forcing': memory='relative' .*; got sink={sink}, block=3; allowed: sink=3, or memory="
    )
    with pytest.raises(ValueError, match=message):
        replace(REWARD, sink=sink)
    assert replace(REWARD, sink=sink, memory="rolling").sink == sink
    assert replace(REWARD, block=2, sink=2).block == 2


@pytest.mark.parametrize("fields", [{"memory": "roling"}, {"on_prompt_change": "cut"}], ids=str)
def test_a_specification_takes_no_other_words(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^pipeline 'memflow': \w+='(roling|cut)'; allowed: "):
        replace(MEMFLOW, **fields)  # type: ignore[arg-type]


def test_the_memory_bank_is_memflows_alone() -> None:
    planned = plan(spec=MEMFLOW, memory_bank=True)
    assert planned.memory_bank and not plan(spec=MEMFLOW).memory_bank
    assert plan_to_dict(planned)["memory_bank"] is True and "memory bank" in shown(planned)
    with pytest.raises(JobError, match="memory_bank: cannot be honoured, reward-forcing has no memory bank"):
        plan(spec=REWARD, memory_bank=True)
    assert "memory_bank has no effect" in plan(spec=SDV2, memory_bank=False).notes[0]

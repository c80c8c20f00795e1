"""Defines the built-in pipelines, each by one specification."""

from __future__ import annotations

from dataclasses import replace

from scope_batch.pipelines.spec import PipelineSpec

LONGLIVE = PipelineSpec(
    id="longlive",
    summary="LongLive 1.3B: long text-to-video and video-to-video with prompt switches",
    block=3,
    window=12,
    sink=3,
    shift=5.0,
    on_prompt_change="recache",
    height=320,
    width=576,
    steps_text=(1000, 750, 500, 250),
    steps_video=(1000, 750),
    engine="scope_batch.engine.loader:load",
    vace=True,
    causal=True,
)


STREAMDIFFUSIONV2 = replace(
    LONGLIVE,
    id="streamdiffusionv2",
    summary="StreamDiffusionV2 1.3B: video-to-video and text-to-video that reacts within four frames",
    block=1,
    window=6,
    shift=8.0,
    normalised=False,
    on_prompt_change="text",
    height=512,
    width=512,
    steps_text=(1000, 750),
    steps_video=(750, 250),
)


MEMFLOW = replace(
    LONGLIVE,
    id="memflow",
    summary="MemFlow 1.3B: as LongLive; memory_bank: true remembers frames from beyond the window",
    window=12,
    sink=3,
    memory_bank=True,
)


REWARD_FORCING = replace(
    LONGLIVE,
    id="reward-forcing",
    summary="Reward-Forcing 1.3B: lively text-to-video and video-to-video whose past fades slowly",
    window=9,
    memory="relative",
    video_overlap=1,
    on_prompt_change="text",
)


KREA = replace(
    LONGLIVE,
    id="krea-realtime-video",
    summary="Krea Realtime 14B: text-to-video whose prompt acts at once; large, for GPUs of 48 GB and more",
    window=6,
    sink=0,
    memory="context",
    clean_pass=False,
    on_prompt_change="text",
    attention_bias=0.3,
)


# It has the chunk lengths of LongLive.
SLATE = replace(
    LONGLIVE,
    id="slate",
    summary="draws the plan (frame, chunk, prompt, values, input thumbnail); needs no model",
    engine="scope_batch.slate:load",
    needs_models=False,
    causal=False,
)

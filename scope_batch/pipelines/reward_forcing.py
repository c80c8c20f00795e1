"""Reward-Forcing on Wan 2.1 1.3B: positions count within the window, and what leaves it fades into the sink."""

from dataclasses import replace

from scope_batch.pipelines.longlive import LONGLIVE

REWARD_FORCING = replace(
    LONGLIVE,
    id="reward-forcing",
    summary="Reward-Forcing 1.3B: lively text-to-video and video-to-video whose past fades slowly",
    window=9,
    memory="relative",
    video_overlap=1,
    on_prompt_change="text",
)

"""StreamDiffusionV2 on Wan 2.1 1.3B: one latent frame per chunk, so that it answers within four frames."""

from dataclasses import replace

from scope_batch.pipelines.longlive import LONGLIVE

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

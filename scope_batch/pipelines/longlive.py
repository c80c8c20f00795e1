"""LongLive on Wan 2.1 1.3B: three latent frames per chunk, a sink of three, KV recache on a new prompt."""

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
    engine="scope_batch.engine.load:load",
    vace=True,
)

"""Krea Realtime on Wan 2.1 14B: no memory but a context of three latent frames, computed anew for every chunk."""

from scope_batch.pipelines.spec import PipelineSpec

KREA = PipelineSpec(
    id="krea-realtime-video",
    summary="Krea Realtime 14B: text-to-video whose prompt acts at once; large, for GPUs of 48 GB and more",
    block=3,
    window=6,
    sink=0,
    shift=5.0,
    on_prompt_change="text",
    height=320,
    width=576,
    steps_text=(1000, 750, 500, 250),
    steps_video=(1000, 750),
    engine="scope_batch.engine.load:load",
    memory="context",
    clean_pass=False,
    vace=True,
    attention_bias=0.3,
)

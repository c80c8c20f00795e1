"""Krea Realtime on Wan 2.1 14B: no memory but a context of three latent frames, computed anew for every chunk."""

from dataclasses import replace

from scope_batch.pipelines.longlive import LONGLIVE

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

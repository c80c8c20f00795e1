"""The arithmetic of a chunk, against figures counted with torch at the published sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scope_batch.bench.floor import chunk_work, peak_tflops, vae_work
from scope_batch.models.folder import RANDOM, find_models
from scope_batch.models.sizes import WAN_1_3B
from scope_batch.pipelines import PIPELINES
from tests.plan.helpers import plan


@pytest.mark.parametrize(
    ("height", "width", "one_pass", "caching", "decode", "encode"),
    [(480, 832, 28.30, 27.40, 40.65, 24.15), (320, 576, 9.05, 8.76, 18.72, 11.10)],
)
def test_published_sizes(
    height: int, width: int, one_pass: float, caching: float, decode: float, encode: float
) -> None:
    spec, vae = PIPELINES["longlive"], vae_work(find_models("longlive", RANDOM), height, width)
    wanted = replace(plan(), height=height, width=width)
    work = chunk_work(wanted, spec, replace(wanted.chunks[-1], mode="video"), WAN_1_3B, vae).stages
    assert (work["denoising"] / 4, work["caching"]) == (pytest.approx(one_pass, 0.001), pytest.approx(caching, 0.001))
    assert work["decoding"] == pytest.approx(decode, rel=0.001)
    assert work["encoding"] == pytest.approx(encode, rel=0.001)


def test_krea_recomputes_its_context_and_caches_nothing() -> None:
    wanted = plan(spec=PIPELINES["krea-realtime-video"])
    vae = vae_work(find_models("longlive", RANDOM, vae_type="lightvae"), 64, 64)
    assert list(chunk_work(wanted, PIPELINES["krea-realtime-video"], wanted.chunks[-1], WAN_1_3B, vae).stages) == [
        "denoising",
        "context",
        "decoding",
    ]


def test_devices() -> None:
    assert (peak_tflops("NVIDIA H200"), peak_tflops("NVIDIA L40S"), peak_tflops("NVIDIA L4")) == (989, 362, 121)
    assert peak_tflops("some other device") is None

"""MemFlow on Wan 2.1 1.3B: LongLive's algorithm with its own weights, and a memory bank to switch on."""

from dataclasses import replace

from scope_batch.pipelines.longlive import LONGLIVE

MEMFLOW = replace(
    LONGLIVE,
    id="memflow",
    summary="MemFlow 1.3B: as LongLive; memory_bank: true remembers frames from beyond the window",
    memory_bank=True,
)

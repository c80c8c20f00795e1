"""Checks a session with VACE on the tiny models: its effect, its cost, and that sessions are independent."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from scope_batch.core.conditioning import Blend, Prompt
from scope_batch.core.engine import EngineRequest
from scope_batch.core.frames import ChunkInputs, ControlFrames
from scope_batch.core.plan import Chunk, Plan, Still, Vace
from scope_batch.engine.loader import CausalEngine, load
from scope_batch.engine.vae_stream import EncoderStream
from scope_batch.events import silent
from scope_batch.pipelines import PIPELINES
from tests.engine.small import small_engine

SIZE = 64
CAT, DOG = (Blend((Prompt(text),)) for text in ("a cat", "a red dog"))
FRAMES = Vace(scale=1.0, timeline=True, restart_streams=False)
KEPT = slice(3 * SIZE // 4, None)
"""Rows well inside the lower half, where a mask is 0."""
Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def engine() -> CausalEngine:
    return load(EngineRequest(PIPELINES["longlive"], models="tiny", device="cpu", vace=True), silent)


def chunk(
    index: int, vace: Vace | None = None, conditioning: Blend = CAT, steps: tuple[int, ...] = (1000, 500)
) -> Chunk:
    """Plan the chunks of one sequence; streams restart in the first chunk."""
    frames = 12 if index else 9
    return Chunk(
        index=index,
        first_frame=max(12 * index - 3, 0),
        frames=frames,
        keep=frames,
        latents=3,
        start_latent=3 * index,
        mode="text",
        cut_reason=None if index else "start",
        recache_reason=None,
        conditioning=conditioning,
        text_changed=index == 0,
        seed=42,
        denoising_steps=steps,
        noise_scale=None,
        noise_controller=False,
        vace=replace(vace, restart_streams=vace.restart_streams or index == 0) if vace else None,
    )


def control(frames: Array, masks: Array) -> ChunkInputs:
    replaced = masks > 0.5
    gray = (not frames[~replaced].any(), not frames[replaced].any())
    return ChunkInputs(control=ControlFrames(frames.astype(np.float32), masks.astype(np.float32), *gray))


def plain(chunk: Chunk, value: float = 0.5, mask: float = 1) -> ChunkInputs:
    """Return control frames of one brightness."""
    count = chunk.frames + chunk.lead
    return control(np.full((count, SIZE, SIZE, 3), value), np.full((count, SIZE, SIZE), mask))


def inputs_of(chunk: Chunk) -> ChunkInputs:
    return plain(chunk) if chunk.vace and chunk.vace.has_frames else ChunkInputs()


def render(
    engine: CausalEngine, chunks: list[Chunk], inputs: Iterable[ChunkInputs] | None = None
) -> tuple[Array, Array]:
    """Render; returns frames in -1..1 [T, H, W, 3], and latents."""
    plan = Plan("longlive", sum(c.frames for c in chunks), Fraction(16), SIZE, SIZE, tuple(chunks))
    with engine.session(plan, silent) as session:
        made = [
            session.generate(chunk, given)
            for chunk, given in zip(chunks, inputs or [inputs_of(c) for c in chunks], strict=True)
        ]
    frames = np.concatenate([one.frames() for one in made]).astype(np.float32) / 127.5 - 1
    return frames, np.concatenate([one.latents() for one in made])


def source(chunk: Chunk) -> Array:
    """Return pictures whose left half is dark blue and whose right half is orange."""
    frames = np.empty((chunk.frames, SIZE, SIZE, 3), np.float32)
    frames[:, :, : SIZE // 2], frames[:, :, SIZE // 2 :] = (-0.8, -0.6, 0.2), (0.9, 0.5, -0.5)
    return frames


def likeness(made: Array, mirrored: Array, wanted: Array) -> float:
    """Correlate the change of the picture with the change of the input [.., W, 3] when the input is mirrored."""
    did, should = made - mirrored, wanted - wanted[..., ::-1, :]
    return float(np.corrcoef(did.mean(-1).ravel(), np.broadcast_to(should, did.shape).mean(-1).ravel())[0, 1])


def test_the_picture_follows_the_brightness_of_the_control(engine: CausalEngine) -> None:
    first = chunk(0, FRAMES)
    frames = np.broadcast_to(source(first).mean(-1, keepdims=True), (9, SIZE, SIZE, 3))
    made, mirrored = (
        render(engine, [first], [control(given, np.ones((9, SIZE, SIZE)))])[0] for given in (frames, frames[:, :, ::-1])
    )
    assert likeness(made, mirrored, frames) > 0.7


def test_the_source_shows_where_the_mask_is_0(engine: CausalEngine) -> None:
    first = chunk(0, FRAMES)
    frames, masks = source(first), np.zeros((9, SIZE, SIZE))
    masks[:, : SIZE // 2] = 1
    made, mirrored = (
        render(engine, [first], [control(np.where(masks[..., None] > 0.5, 0, given), masks)])[0]
        for given in (frames, frames[:, :, ::-1])
    )
    assert likeness(made[:, KEPT], mirrored[:, KEPT], frames[:, KEPT]) > 0.7


def test_first_and_last_image_show(engine: CausalEngine) -> None:
    first, last = (
        Vace(1.0, stills=(Still(Path("a"), 0, 4),)),
        Vace(1.0, stills=(Still(Path("b"), 8, 12),), restart_streams=True),
    )
    chunks = [chunk(0, first), chunk(1), chunk(2, last)]
    assert chunks[2].lead == 1

    def inputs(image: Array) -> list[ChunkInputs]:
        given = [ChunkInputs()] * 3
        for i, at in ((0, slice(0, 4)), (2, slice(-4, None))):
            count = chunks[i].frames + chunks[i].lead
            frames, masks = np.zeros((count, SIZE, SIZE, 3)), np.ones((count, SIZE, SIZE))
            frames[at], masks[at] = image, 0
            given[i] = control(frames, masks)
        return given

    image = source(chunks[0])[0]
    made, mirrored = (render(engine, chunks, inputs(given))[0] for given in (image, image[:, ::-1]))
    assert likeness(made[0], mirrored[0], image) > 0.7 and likeness(made[-1], mirrored[-1], image) > 0.7


def test_a_reference_tints_the_picture(engine: CausalEngine) -> None:
    image = source(chunk(0))[0]
    first = chunk(0, Vace(1.0, reference=Path("r")))
    made, mirrored = (
        render(engine, [first], [ChunkInputs(reference=given.copy())])[0] for given in (image, image[:, ::-1])
    )
    assert likeness(made[0], mirrored[0], image) > 0.7


def test_scale_0_equals_no_vace_and_the_streams_go_on(engine: CausalEngine) -> None:
    off = [chunk(0, replace(FRAMES, scale=0.0)), chunk(1, FRAMES)]
    _, without = render(engine, [chunk(0), chunk(1)])
    _, latents = render(engine, off)
    _, fresh = render(engine, [chunk(0), chunk(1, replace(FRAMES, restart_streams=True))])
    assert np.array_equal(latents[:3], without[:3])
    assert not np.array_equal(latents[3:], fresh[3:]) and not np.array_equal(latents[3:], without[3:])


def test_nothing_lingers(engine: CausalEngine) -> None:
    """It affects neither the next session nor the keys and values that the clean pass caches."""
    _, before = render(engine, [chunk(0), chunk(1)])
    render(engine, [chunk(0, FRAMES), chunk(1, FRAMES)])
    _, after = render(engine, [chunk(0), chunk(1)])
    assert np.array_equal(before, after)


def test_a_new_prompt_in_the_first_chunk_that_is_steered(engine: CausalEngine) -> None:
    chunks = [chunk(0), replace(chunk(1, replace(FRAMES, restart_streams=True), DOG), text_changed=True)]
    old = [chunks[0], replace(chunks[1], conditioning=CAT)]
    _, got = render(engine, chunks)
    assert not np.allclose(got[3:], render(engine, old)[1][3:], atol=1e-3)


@pytest.fixture
def calls(engine: CausalEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count the runs of encoder streams and of VACE blocks, also in passes that predict nothing."""
    counted: Counter[str] = Counter()
    encode = EncoderStream.encode

    def counting(self: EncoderStream, pixels: Tensor) -> Tensor:
        counted["encodes"] += 1
        return encode(self, pixels)

    def block(*_: object) -> None:
        counted["blocks"] += 1

    monkeypatch.setattr(EncoderStream, "encode", counting)
    hooks = [b.register_forward_hook(block) for b in engine.transformer.vace_blocks]
    yield counted
    for hook in hooks:
        hook.remove()


def test_without_vace_input_it_costs_nothing(engine: CausalEngine, calls: Counter[str]) -> None:
    render(engine, [chunk(i) for i in range(3)])
    assert not calls


def test_each_steered_chunk_encodes_one_pair_and_hints_once_per_step(engine: CausalEngine, calls: Counter[str]) -> None:
    mixed = np.random.default_rng(0).random((12, SIZE, SIZE)).round()
    chunks = [chunk(i, FRAMES if i < 2 else None) for i in range(3)]
    given = [control(source(c), mixed[: c.frames]) if c.vace else ChunkInputs() for c in chunks]
    render(engine, chunks, given)
    assert calls == {"encodes": 2 * 2, "blocks": 2 * 2 * len(engine.transformer.vace_blocks)}


def test_input_video_and_control_use_separate_streams(engine: CausalEngine, calls: Counter[str]) -> None:
    video = {"mode": "video", "noise_scale": 0.7}
    chunks = [
        replace(chunk(0, FRAMES), frames=13, keep=13, latents=4, **video),
        replace(chunk(1, FRAMES), first_frame=13, start_latent=4, **video),
    ]
    pixels = [np.full((c.frames, SIZE, SIZE, 3), 40 * (c.index + 1), np.uint8) for c in chunks]
    mixed = np.random.default_rng(0).random((13, SIZE, SIZE)).round()
    steering = [control(source(c), mixed[: c.frames]) for c in chunks]
    both = [replace(s, pixels=p) for s, p in zip(steering, pixels, strict=True)]
    unsteered = [replace(c, vace=None) for c in chunks]
    off = [replace(c, vace=replace(c.vace, scale=0.0)) for c in chunks if c.vace]
    frames, _ = render(engine, chunks, both)
    assert len(frames) == 25 and calls["encodes"] == 2 * 3
    video_alone = render(engine, unsteered, [ChunkInputs(p) for p in pixels])[1]
    assert np.array_equal(render(engine, off, both)[1], video_alone)


def test_at_scale_0_no_block_runs(engine: CausalEngine, calls: Counter[str]) -> None:
    mixed = np.random.default_rng(0).random((9, SIZE, SIZE)).round()
    off = chunk(0, replace(FRAMES, scale=0.0))
    render(engine, [off], [control(source(off), mixed)])
    assert calls == {"encodes": 2}


def live_tensors() -> tuple[int, int]:
    """Return the number of live tensors, and their bytes."""
    gc.collect()
    live = [o for o in gc.get_objects() if issubclass(type(o), Tensor)]
    return len(live), sum(t.untyped_storage().nbytes() for t in live)


@pytest.mark.parametrize(("tiny_vae", "count"), [(True, 100), (False, 20)])
def test_memory_is_flat(tiny_vae: bool, count: int) -> None:
    engine = small_engine(PIPELINES["longlive"], tiny_vae=tiny_vae)
    chunks = [replace(chunk(i, FRAMES, steps=(1000,)), lora_scales=(0.5,)) for i in range(count)]
    plan = Plan("longlive", sum(c.frames for c in chunks), Fraction(16), 16, 16, tuple(chunks))
    held = []
    rng = np.random.default_rng(0)
    with engine.session(plan, silent) as session:
        for c in chunks:
            frames, masks = rng.random((c.frames, 16, 16, 3)) - 0.5, rng.random((c.frames, 16, 16)).round()
            session.generate(c, control(frames, masks)).frames()
            if c.index in (count * 2 // 5, count - 1):
                held.append(live_tensors())
    assert held[0] == held[1]

"""Compares the forecast with a session of the tiny models, and its working memory with the live tensors."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from torch import Tensor, UntypedStorage, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scope_batch.core.device_memory import DeviceMemory
from scope_batch.core.engine import EngineRequest
from scope_batch.core.plan import Chunk, Plan
from scope_batch.engine.loader import CausalEngine, load
from scope_batch.events import silent
from scope_batch.job import load_text
from scope_batch.models.sizes import model_sizes
from scope_batch.pipelines import PIPELINES
from scope_batch.plan.forecast.estimate import Precision, device_memory
from scope_batch.render.prepare import memory_of, prepare_job
from tests.engine.test_session_vace import FRAMES, SIZE, chunk, inputs_of

LONGLIVE = PIPELINES["longlive"]
CHUNKS = [chunk(0, FRAMES), *(chunk(i, FRAMES) for i in (1, 2)), replace(chunk(3, FRAMES), recache_reason="prompt")]


NUMBER_BYTES = {"bfloat16": 2, "float32": 4}


def engine_in(dtype: str) -> CausalEngine:
    return load(EngineRequest(LONGLIVE, models="tiny", device="cpu", dtype=dtype, vace=True), silent)


def plan_of(chunks: list[Chunk]) -> Plan:
    return Plan("longlive", sum(c.frames for c in chunks), Fraction(16), SIZE, SIZE, tuple(chunks))


def forecast(chunks: list[Chunk], dtype: str) -> DeviceMemory:
    sizes = model_sizes("longlive", "tiny", "wan", vace=True)
    assert sizes is not None
    return device_memory(
        plan_of(chunks), LONGLIVE, sizes, Precision(NUMBER_BYTES[dtype], NUMBER_BYTES[dtype], kernels=False)
    )


def held(tensors: Iterable[Tensor]) -> int:
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def within(value: object, seen: list[object]) -> Iterator[Tensor]:
    """Yield every tensor of this package's objects, without those of networks."""
    if isinstance(value, nn.Module) or any(value is known for known in seen):
        return
    seen.append(value)
    if isinstance(value, Tensor):
        yield value
    ours = type(value).__module__.startswith("scope_batch") and hasattr(value, "__dict__")
    parts = vars(value) if ours else value
    if isinstance(parts, dict | list | tuple):
        for part in parts.values() if isinstance(parts, dict) else parts:
            yield from within(part, seen)


def test_the_forecast_of_the_streaming_state_is_exact_to_the_byte() -> None:
    engine, expected = engine_in("float32"), forecast(CHUNKS, "float32")
    networks: list[nn.Module] = [engine.transformer, engine.vae.module]  # type: ignore[attr-defined, list-item]
    weights = held(t for network in networks for t in (*network.parameters(), *network.buffers()))
    with engine.session(plan_of(CHUNKS), silent) as session:
        for one in CHUNKS:
            session.generate(one, inputs_of(one))
        state = session._state
        parts = {
            name: held(within(getattr(state, name), [state.cache.tables, state.text]))
            for name in ("cache", "history", "decoder", "encoder")
        }
        text, context = held(within(state.text, [])), list(within(state.vace, []))
        conditioning = held(within([state.prompt, session._time], []))
    gray = held(t for t in context if t.ndim == 5 and t.shape[1] == 1)  # kept latents: counted as working memory
    assert weights == expected.weights
    assert parts["cache"] == expected.kv_cache and text == expected.text_cache
    assert parts["history"] == expected.history and conditioning == expected.conditioning
    assert parts["decoder"] + parts["encoder"] + held(context) - gray == expected.vae_streams


def tensors_in(values: object) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all live tensors that operations have returned.

    A kernel's scratch space is not seen: it depends on the kind of CPU, and a GPU has another one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, weakref.finalize[[int, int], Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        given = {tensor.untyped_storage().data_ptr() for tensor in tensors_in((args, kwargs))}
        for tensor in tensors_in(returned):
            self._see(tensor.untyped_storage(), given)
        self.most = max(self.most, self.now)
        return returned

    def _see(self, storage: UntypedStorage, given: set[int]) -> None:
        address = storage.data_ptr()
        if address not in {0, *given, *self._known}:
            self.now += storage.nbytes()
            self._known[address] = weakref.finalize(storage, self._forget, address, storage.nbytes())

    def _forget(self, address: int, size_bytes: int) -> None:
        del self._known[address]
        self.now -= size_bytes


def working_bytes(engine: CausalEngine, chunks: list[Chunk]) -> int:
    """Measure the peak of bytes that the last chunk allocates."""
    with engine.session(plan_of(chunks), silent) as session, LiveBytes() as live:
        for one in chunks[:-1]:
            session.generate(one, inputs_of(one))
        before, live.most = live.now, live.now
        session.generate(chunks[-1], inputs_of(chunks[-1]))
        return live.most - before


def enlarged(_: nn.Upsample, x: Tensor) -> Tensor:
    """Twice the size in one tensor, as on a GPU: a CPU makes one and copies it."""
    count, channels, height, width = x.shape
    spread = x[:, :, :, None, :, None].expand(count, channels, height, 2, width, 2)
    return spread.reshape(count, channels, 2 * height, 2 * width)


def zeros(layer: nn.Conv2d | nn.Conv3d, x: Tensor, weight: Tensor, _bias: Tensor | None) -> Tensor:
    """As large as what `layer` returns, without its work: that takes half a minute in bfloat16 on an older CPU."""
    convolve = functional.conv3d if isinstance(layer, nn.Conv3d) else functional.conv2d
    shape = convolve(x.to("meta"), weight.to("meta"), None, layer.stride, layer.padding).shape
    return x.new_zeros(shape)


TEXT = [chunk(i) for i in range(3)]


@pytest.mark.parametrize(
    ("chunks", "dtype", "within"),
    [(TEXT, "float32", 0.05), (TEXT, "bfloat16", 0.1), (CHUNKS, "float32", 0.05)],
    ids=["text", "text in bfloat16", "VACE and a recache"],
)
def test_the_forecast_of_working_memory_is_near_the_measured_one(
    chunks: list[Chunk], dtype: str, within: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.Upsample, "forward", enlarged)
    if dtype == "bfloat16":
        monkeypatch.setattr(nn.Conv3d, "_conv_forward", zeros)
        monkeypatch.setattr(nn.Conv2d, "_conv_forward", zeros)
    measured = working_bytes(engine_in(dtype), chunks)
    assert forecast(chunks, dtype).transient == pytest.approx(measured, rel=within)


@pytest.mark.parametrize("pipeline", [spec.id for spec in PIPELINES.values() if spec.needs_models][1:])
def test_the_streaming_state_of_every_pipeline_is_exact_to_the_byte(pipeline: str) -> None:
    job = load_text(
        f"pipeline_id: {pipeline}\nprompt: a\nmodels: tiny\nnum_frames: 30\nheight: {SIZE}\nwidth: {SIZE}\n"
        "denoising_steps: [1000]\nmemory_bank: " + str(PIPELINES[pipeline].memory_bank).lower(),
        name="j",
    )
    plan = prepare_job(job)
    estimate = memory_of(job, plan, "float32", kernels=False)
    engine = load(EngineRequest(PIPELINES[pipeline], models="tiny", device="cpu", dtype="float32"), silent)
    assert isinstance(engine, CausalEngine) and estimate is not None
    with engine.session(plan, silent) as session:
        for one in plan.chunks:
            session.generate(one)
        state = session._state
        kept = [state.cache, state.text, state.history, state.decoder, state.encoder, state.vace]
        lasting = held(within(kept, [state.cache.tables]))  # counted with the working memory of a pass
    assert lasting == estimate.kv_cache + estimate.text_cache + estimate.history + estimate.vae_streams

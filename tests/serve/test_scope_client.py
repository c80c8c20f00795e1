"""The five scenarios of the draft's test script, on the tiny models: the frames are those that `render` makes."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scope_batch.job import parse_job
from scope_batch.render.engine_pool import Engines
from scope_batch.render.loop import render_job
from scope_batch.render.options import RenderOptions
from tests.serve.scope_client import DEFAULTS, Blob, Frames, ScopeClient, sliced
from tests.serve.server_process import Running, running

pytestmark = pytest.mark.slow
SIZE = {"height": 64, "width": 64}
PROMPT = "a red ball"
NUM_FRAMES = 27
CHUNKS = 3
LORA = Path(__file__).parents[1] / "analytic_models" / "tint.safetensors"
RANDOM = np.random.default_rng(5)
CLIP = RANDOM.integers(0, 256, (NUM_FRAMES, 64, 64, 3), dtype=np.uint8)
DEPTH = RANDOM.uniform(-1, 1, (1, 3, 20, 64, 64)).astype("<f4")
"""Shorter than the job: its blind slices have 12, 8 and 0 frames."""
MASKS = (RANDOM.uniform(0, 1, (1, 1, 20, 64, 64)) > 0.5).astype("<f4")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server"), "--models", "tiny") as started:
        shutil.copy(LORA, started.folder / "lora")
        yield started


@pytest.fixture
def client(server: Running) -> Iterator[ScopeClient]:
    made = ScopeClient(server.http)
    yield made
    assert made.rates and all(rate > 0 for rate in made.rates)


@dataclass
class CommandLine:
    """Renders jobs without a server, on engines that stay loaded."""

    folder: Path
    engines: Engines = field(default_factory=Engines)

    def render(self, **fields: Any) -> Frames:
        """Return the frames of the job that `fields` and the protocol's defaults make."""
        body = {name: value for name, value in DEFAULTS.items() if name != "noise_scale"}
        job = parse_job({"models": "tiny", "pipeline_id": "longlive", "prompt": PROMPT, **SIZE, **body, **fields})
        output = self.folder / "out.npy"
        render_job(job, "job", RenderOptions(outputs=(str(output),), overwrite=True), engines=self.engines)
        frames: Frames = np.load(output)
        return frames

    def save(self, name: str, array: NDArray[Any]) -> str:
        path = self.folder / name
        np.save(path, array)
        return str(path)


@pytest.fixture(scope="module")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("rendered"))


def load(client: ScopeClient, lora: str | None = None) -> None:
    loras = [] if lora is None else [{"path": lora, "scale": 0.0, "merge_mode": "runtime_peft"}]
    status = client.load("longlive", **SIZE, **({"loras": loras, "lora_merge_mode": "runtime_peft"} if loras else {}))
    assert [adapter["path"] for adapter in status["loaded_lora_adapters"]] == [entry["path"] for entry in loras]


def request(**fields: Any) -> dict[str, Any]:
    return {"pipeline_id": "longlive", "prompt": PROMPT, "num_frames": NUM_FRAMES, **fields}


def ramp(lora: str) -> list[dict[str, Any]]:
    scales = (0.0, 0.5, 1.0)
    return [{"chunk": chunk, "reset_cache": False, "lora_scales": {lora: scale}} for chunk, scale in enumerate(scales)]


def lora_of(server: Running) -> str:
    """The absolute path of the LoRA, which is what the script sends."""
    return str(server.folder / "lora" / LORA.name)


TEXT_STEPS = [1000, 750, 500, 250]
"""The seed server's steps where a request has none, whatever the mode."""


def test_lora_ramp(client: ScopeClient, server: Running, command_line: CommandLine) -> None:
    lora = lora_of(server)
    load(client, lora)
    frames = client.generate(**request(chunk_specs=ramp(lora)))
    specs = [{"chunk": chunk, "lora_scales": {lora: scale}} for chunk, scale in enumerate((0.0, 0.5, 1.0))]
    same = command_line.render(
        num_frames=NUM_FRAMES,
        denoising_steps=TEXT_STEPS,
        lora_scales={lora: 0.0},
        lora_merge="never",
        chunk_specs=specs,
    )
    assert np.array_equal(frames, same)
    without = command_line.render(num_frames=NUM_FRAMES, denoising_steps=TEXT_STEPS)
    assert not np.array_equal(frames[-1], without[-1])


def test_video_to_video(client: ScopeClient, command_line: CommandLine) -> None:
    load(client)
    frames = client.generate(**request(input_path=client.upload(CLIP)))
    clip = command_line.save("clip.npy", CLIP)
    assert np.array_equal(
        frames, command_line.render(num_frames=NUM_FRAMES, denoising_steps=TEXT_STEPS, input_path=clip)
    )


def test_video_to_video_with_a_lora(client: ScopeClient, server: Running, command_line: CommandLine) -> None:
    lora = lora_of(server)
    load(client, lora)
    frames = client.generate(**request(input_path=client.upload(CLIP), chunk_specs=ramp(lora)))
    specs = [{"chunk": chunk, "lora_scales": {lora: scale}} for chunk, scale in enumerate((0.0, 0.5, 1.0))]
    same = command_line.render(
        num_frames=NUM_FRAMES,
        denoising_steps=TEXT_STEPS,
        input_path=command_line.save("clip.npy", CLIP),
        lora_scales={lora: 0.0},
        lora_merge="never",
        chunk_specs=specs,
    )
    assert np.array_equal(frames, same)


def test_depth_conditioning(client: ScopeClient, command_line: CommandLine) -> None:
    load(client)
    blob = Blob()
    specs = sliced(blob, CHUNKS, {"vace_frames": DEPTH})
    frames = client.generate(**request(chunk_specs=specs, data_blob_path=client.upload_data(blob)))
    same = command_line.render(
        num_frames=NUM_FRAMES,
        denoising_steps=TEXT_STEPS,
        vace_frames=command_line.save("depth.npy", DEPTH),
        vace_length="end",
    )
    assert np.array_equal(frames, same)


def test_inpainting(client: ScopeClient, command_line: CommandLine) -> None:
    load(client)
    blob = Blob()
    specs = sliced(blob, CHUNKS, {"vace_frames": DEPTH, "vace_masks": MASKS})
    frames = client.generate(**request(chunk_specs=specs, data_blob_path=client.upload_data(blob)))
    same = command_line.render(
        num_frames=NUM_FRAMES,
        denoising_steps=TEXT_STEPS,
        vace_frames=command_line.save("depth.npy", DEPTH),
        vace_masks=command_line.save("masks.npy", MASKS),
        vace_length="end",
    )
    assert np.array_equal(frames, same)


def test_a_load_that_fails_says_why(client: ScopeClient, server: Running) -> None:
    (server.folder / "lora" / "damaged.safetensors").write_bytes(b"no header")
    with pytest.raises(RuntimeError, match=r"damaged\.safetensors"):
        load(client, "damaged.safetensors")
    load(client)
    client.generate(**request(num_frames=9))


def test_a_lora_given_at_load_applies_to_requests_that_do_not_name_it(
    client: ScopeClient, server: Running, command_line: CommandLine
) -> None:
    lora = lora_of(server)
    client.load("longlive", **SIZE, loras=[{"path": lora, "scale": 0.75}])
    frames = client.generate(**request(num_frames=9))
    same = command_line.render(num_frames=9, denoising_steps=TEXT_STEPS, lora_scales={lora: 0.75})
    assert np.array_equal(frames, same)


def test_a_request_after_a_load_loads_nothing(client: ScopeClient, server: Running) -> None:
    """What the worker's events tell: each part of a model that is read is one of them."""
    load(client, lora_of(server))
    client.generate(**request(num_frames=9, chunk_specs=ramp(lora_of(server))[:1]))
    database = sqlite3.connect(server.folder / "state" / "jobs.sqlite3")
    last = "SELECT kind, data FROM event WHERE job = (SELECT max(number) FROM job)"
    loading = [data for kind, data in database.execute(last) if kind == "loading"]
    database.close()
    assert loading == []

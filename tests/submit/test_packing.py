"""What of a job is sent to a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from scope_batch.errors import JobError
from scope_batch.job import load_job, parse_job
from scope_batch.render.fingerprint import job_sha256, sha256_of
from scope_batch.submit.packing import pack

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def job(**fields: Any) -> Any:
    return load_job({"prompt": "a cat", **fields})


def lora(path: Path, value: float = 0.0) -> str:
    path.parent.mkdir(exist_ok=True)
    save_file({"x.lora_A.weight": np.full((4, 8), value, np.float32)}, path)
    return str(path)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_job_arrives_as_it_was(path: Path) -> None:
    """With its files in place again, it has the same fields, also as far as they were written."""
    original = load_job(path)
    packed = pack(original)
    text = json.dumps(packed.fields)
    for name, file in packed.files.items():
        text = text.replace(json.dumps(name), json.dumps(str(file)))
    loras = {Path(key).name: key for entry in (original, *original.chunk_specs) for key in entry.lora_scales or ()}
    for name, key in loras.items():
        text = text.replace(json.dumps(name), json.dumps(key))
    arrived = parse_job(json.loads(text))
    assert arrived.model_fields_set == original.model_fields_set - {"output", "video", "keep_state"}
    sent = original.model_copy(update={"output": (), "video": type(original.video)(), "keep_state": ()})
    assert job_sha256(arrived) == job_sha256(sent)


def test_what_is_done_here_is_not_sent() -> None:
    packed = pack(job(output="x.mp4", video={"crf": 3}, models="/models", keep_state=[1]))
    assert packed.fields.keys() == {"prompt"}
    assert pack(job(models="tiny")).fields["models"] == "tiny"


def test_a_file_that_stands_in_several_places_is_sent_once(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    image = str(tmp_path / "a.png")
    packed = pack(job(chunk_specs=[{"chunk": 0, "first_frame_image": image}, {"chunk": 1, "vace_ref_images": [image]}]))
    assert packed.files == {"0/a.png": Path(image)}
    assert packed.fields["chunk_specs"][1]["vace_ref_images"] == ["0/a.png"]


@pytest.mark.parametrize("name", ["frames", "frames/%05d.png", "frames/*.png"])
def test_a_folder_and_a_pattern_are_all_their_pictures(tmp_path: Path, name: str) -> None:
    (tmp_path / "frames").mkdir()
    for index in range(3):
        Image.new("RGB", (64, 64)).save(tmp_path / "frames" / f"{index:05d}.png")
    (tmp_path / "frames" / "notes.txt").write_text("private")
    packed = pack(job(vace_frames=str(tmp_path / name)))
    folder = "0/frames" if name == "frames" else "0"
    assert [*packed.files] == [f"{folder}/{index:05d}.png" for index in range(3)]
    assert packed.fields["vace_frames"] == f"0/{Path(name).name}"


def test_loras_are_named_and_compared_not_sent(tmp_path: Path) -> None:
    path = lora(tmp_path / "tint.safetensors")
    packed = pack(job(lora_scales={path: 0.5}, chunk_specs=[{"chunk": 1, "lora_scales": {path: 1}}]))
    assert (packed.files, packed.loras) == ({}, {"tint.safetensors": sha256_of(Path(path))})
    assert packed.fields["lora_scales"] == {"tint.safetensors": 0.5}
    assert packed.fields["chunk_specs"][0]["lora_scales"] == {"tint.safetensors": 1.0}


def test_two_loras_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [lora(tmp_path / folder / "tint.safetensors", value) for value, folder in enumerate("ab")]
    with pytest.raises(JobError, match="two LoRAs need two names"):
        pack(job(lora_scales=dict.fromkeys(paths, 1)))


def test_a_name_that_another_machine_cannot_take_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a\u200bb.png"
    Image.new("RGB", (64, 64)).save(path)
    assert [*pack(job(vace_frames=str(path))).files] == ["0/input.png"]

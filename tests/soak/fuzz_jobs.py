"""Jobs that nobody should write: valid ones, mutated in their values, their keys and their text. Seeded."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from scope_batch.job.chunk_spec import ChunkSpec
from scope_batch.job.schema import Job
from tests.soak.fuzz_fields import plausible

SIZE = {"height": 64, "width": 64}
LONG = "x" * 300

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 13, 2**31, 2**63, -(2**64), 10**30, 10**400),
    *(
        0.5,
        -0.5,
        1e-308,
        1e308,
        float("nan"),
        float("inf"),
        -0.0,
        "1e400",
        "0x10",
        "1_000",
        "1/3",
        "1/0",
        "30s",
        "0:01",
    ),
    *("99:99:99.999", "-1s", ".inf", "input", "audio", "native", "none", "tiny", "auto", "on", "yes", "~", "null", ""),
    *(" ", "\t", "\n", "a\nb", "a\0b", "\ud800", "\udcff", "\u202egnp.x", "é" * 200, "\U0001f600" * 50, "a" * 100_000),
    *("../" * 30, "/", "/dev/zero", "/dev/null", "/dev/stdin", "/proc/self/mem", "/proc/self/fd/0", "~nobody/x", "~"),
    *(f"{LONG}.mp4", f"{LONG}.png", "a/" * 1500 + "b.mp4", "%d%d.png", "%99999d.png", "*.png", "[a.png", "a.mp4/b.mp4"),
    *(
        "${HOME}",
        "${NOT_SET_ANYWHERE}",
        "${",
        "${a${b}}",
        "{job}",
        "{{}}",
        "-",
        "--help",
        "$(ls)",
        "`ls`",
        "concat:a|b",
    ),
    *("http://127.0.0.1:9/a.mp4", "file:///etc/hosts", "C:\\clip.mp4", "\\\\host\\clip.mp4", "clip.mp4\n", "clip.MP4"),
    *(
        "0:(9**9**9)",
        "0:(" + "(" * 500 + "1" + ")" * 500 + ")",
        "0:(t)",
        "0:(1/0)",
        "0:(import os)",
        "0:(sin(1e308*t))",
    ),
    *("0:(0), max_f:(1)", "max_f/0:(1)", "0:(0), 0:(1)", "9999999999:(1)", "sec:(1)", "0:(max(" + "1," * 1000 + "1))"),
    *([], {}, [[]], [{}], {"": 1}, {"a": None}, {0: 1}, {"0": 0.5, "5": 1}, {-1: 1}, {"1.5": 1}, {10**20: 1}),
    *([0] * 5000, [None] * 3, ["a", 1, None, {}], {str(k): k for k in range(2000)}, {"text": "a", "weight": -1}),
)
KEYS = (
    *("", " ", "a b", "prompts ", "Prompt", "num_frame", "text", "chunk", "frame", "time", "weight", "path", "id"),
    *(
        "__proto__",
        "__class__",
        "\u0440rompt",
        "a\nb",
        "0",
        "-1",
        "1e9",
        LONG,
        "null",
        "<<",
        "x.y",
        "[0]",
        "negative_prompt",
    ),
)


def bases(assets: Path) -> list[dict[str, Any]]:
    """Valid jobs that between them use every sort of field; `assets` holds the files they name."""
    slate = {"pipeline_id": "slate", "prompt": "a cat", "num_frames": 45, **SIZE}
    tiny = {"models": "tiny", "prompt": "a cat", "num_frames": 45, **SIZE}
    clip, image, mask = (str(assets / name) for name in ("clip.mp4", "image.png", "mask.npy"))
    control, lora = str(assets / "control.safetensors"), str(assets / "lora.safetensors")
    entries = [
        {"frame": 12, "text": "a dog", "transition_num_steps": 3},
        {"time": "0:01.5", "prompts": [{"text": "a", "weight": 0.3}, {"text": "b", "weight": 0.7}], "seed": 7},
        {"chunk": 3, "text": "a bird", "reset_cache": True},
    ]
    return [
        slate | {"seed": [1, 1001], "chunk_specs": entries, "output": "a.mp4"},
        slate
        | {
            "input_path": clip,
            "num_frames": "input",
            "noise_scale": {"0": 0.2, "12": 0.9},
            "input_start": 0.1,
            "fit": "pad",
            "audio": "input",
        },
        slate | {"input_path": clip, "input_fps": 12, "input_length": "hold", "noise_controller": True, "fps": 24},
        tiny | {"chunk_specs": entries, "cuts": "warn", "denoising_steps": [1000, 750, 500, 250], "fps": 16},
        tiny
        | {"vace_frames": clip, "vace_masks": mask, "vace_length": "hold", "vace_context_scale": "0:(0), max_f:(2)"},
        tiny | {"vace_frames": control, "vace_length": "end", "first_frame_image": image, "vace_ref_images": [image]},
        tiny | {"lora_scales": {lora: {"0": 0, "20": 1}}, "chunk_specs": [{"chunk": 1, "lora_scales": {lora: 0.5}}]},
        tiny | {"chunk_specs": [{"chunk": 0, "first_frame_image": image}, {"frame": 21, "last_frame_image": image}]},
        slate | {"pre_processor_id": {"id": "edges", "params": {"strength": 3}}, "input_path": clip, "num_frames": 13},
        slate | {"post_processor_id": ["gray", "passthrough"], "output": [{"path": "a.mkv", "codec": "ffv1"}, "b.npy"]},
        slate | {"chunk_prompts": [{"chunk": 1, "text": "b"}], "first_frames": [{"chunk": 2, "image": image}]},
        slate | {"pipeline_id": "streamdiffusionv2", "models": "tiny", "chunk_grid": 12, "manage_cache": True},
        slate | {"pipeline_id": "krea-realtime-video", "models": str(assets), "quantization": "fp8_e4m3fn"},
        slate
        | {
            "audio": str(assets / "sound.wav"),
            "video": {"crf": 20, "pix_fmt": "yuv420p"},
            "output": ["a.mp4", "b.webm"],
        },
    ]


Place = tuple[Any, Any]
"""A container and the key or index of one of its values."""


def _places(value: Any) -> Iterator[Place]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _replace(rng: random.Random, job: dict[str, Any]) -> None:
    container, key = rng.choice(list(_places(job)))
    container[key] = copy.deepcopy(rng.choice(VALUES))


def _swap(rng: random.Random, job: dict[str, Any]) -> None:
    (one, a), (other, b) = rng.choices(list(_places(job)), k=2)
    one[a], other[b] = copy.deepcopy(other[b]), copy.deepcopy(one[a])


def _add(rng: random.Random, job: dict[str, Any]) -> None:
    maps = [job, *(container[key] for container, key in _places(job) if isinstance(container[key], dict))]
    rng.choice(maps)[rng.choice(KEYS)] = copy.deepcopy(rng.choice(VALUES))


def _rename(rng: random.Random, job: dict[str, Any]) -> None:
    maps = [place for place in _places(job) if isinstance(place[0], dict)]
    container, key = rng.choice(maps)
    text = str(key)
    at = rng.randrange(len(text) + 1)
    container[rng.choice((rng.choice(KEYS), text[:at] + text[at + 1 :], text[:at] + "x" + text[at:]))] = container.pop(
        key
    )


def _drop(rng: random.Random, job: dict[str, Any]) -> None:
    container, key = rng.choice(list(_places(job)))
    del container[key]


def _nest(rng: random.Random, job: dict[str, Any]) -> None:
    container, key = rng.choice(list(_places(job)))
    value = container[key]
    for _ in range(rng.choice((1, 2, 20, 150))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    container[key] = value


def _set_field(rng: random.Random, job: dict[str, Any], fields: dict[str, tuple[Any, ...]]) -> None:
    """Give the job, or one of its entries, a value that the field allows."""
    entries = [entry for entry in _list_of(job, "chunk_specs") if isinstance(entry, dict)]
    in_entry = bool(entries) and rng.random() < 0.5
    name = rng.choice(sorted((ChunkSpec if in_entry else Job).model_fields.keys() & fields.keys()))
    (rng.choice(entries) if in_entry else job)[name] = copy.deepcopy(rng.choice(fields[name]))


def _add_entry(rng: random.Random, job: dict[str, Any], fields: dict[str, tuple[Any, ...]]) -> None:
    place = rng.choice(("chunk", "frame", "time"))
    if not isinstance(job.get("chunk_specs", []), list):
        return
    entry = {place: rng.choice(fields[place])}
    job.setdefault("chunk_specs", []).append(entry)
    for name in rng.sample(sorted(ChunkSpec.model_fields.keys() & fields.keys() - {"chunk", "frame", "time"}), 2):
        entry[name] = copy.deepcopy(rng.choice(fields[name]))


def _list_of(job: dict[str, Any], key: str) -> list[Any]:
    found = job.get(key)
    return found if isinstance(found, list) else []


def _repeat(rng: random.Random, job: dict[str, Any]) -> None:
    lists = [container[key] for container, key in _places(job) if isinstance(container[key], list) and container[key]]
    if lists:
        found = rng.choice(lists)
        found.extend([copy.deepcopy(rng.choice(found))] * rng.choice((1, 2, 500)))


MUTATIONS: tuple[Callable[[random.Random, dict[str, Any]], None], ...] = (
    *(_replace, _replace, _replace, _replace, _swap, _add, _add, _rename, _drop, _nest, _repeat),
)
INSERTED = (
    *(
        b"\t",
        b"\0",
        b"\xff",
        b"&a ",
        b"*a ",
        b"!!python/object:os.system ",
        b"---\n",
        b"{",
        b"]",
        b": ",
        b"- ",
        b"\r\n",
    ),
    *(b"# ", b"'", b'"', b"\\ud83d", b"\xef\xbb\xbf", b"<<: ", b"? ", b"| ", b"%YAML 9.9\n", b"\xe2\x80\xa8"),
)


def _damaged(rng: random.Random, text: bytes) -> bytes:
    at = rng.randrange(len(text) + 1)
    match rng.randrange(4):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + rng.choice(INSERTED) + text[at:]
        case 2:
            return text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]
        case _:
            end = min(len(text), at + rng.randrange(1, 40))
            return text[:end] + text[at:end] * rng.choice((1, 3, 1000)) + text[end:]


def job_text(seed: int, assets: Path) -> bytes:
    """The job of this seed."""
    rng = random.Random(seed)
    job: dict[str, Any] = json.loads(json.dumps(rng.choice(bases(assets))))
    fields = plausible(assets)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        rng.choice((_set_field, _set_field, _add_entry))(rng, job, fields)
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 3))):
        if list(_places(job)):
            rng.choice(MUTATIONS)(rng, job)
    made = json.dumps(job)
    if rng.random() < 0.5 and len(made) < 20_000 and not re.search(r"[\[{]{30}", re.sub(r'"a": ', "", made)):
        made = yaml.safe_dump(_writable(job), sort_keys=False, allow_unicode=True)
    text = made.encode("utf-8", "surrogatepass")
    for _ in range(rng.choice((0, 0, 0, 0, 0, 1, 2))):
        text = _damaged(rng, text)
    return text


def _writable(value: Any) -> Any:
    """A copy without shared parts, which would become aliases, and without what the writer of YAML refuses."""
    if isinstance(value, dict):
        return {key: _writable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_writable(inner) for inner in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value

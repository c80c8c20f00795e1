"""The parity cases: what was put into the reference, chunk by chunk, and what came out (README.md beside this file)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scope_batch.core.conditioning import Blend, Conditioning, Prompt, Transition
from scope_batch.core.plan import NEW_VIDEO_PROMPT, Chunk, Plan
from scope_batch.pipelines import PIPELINES
from tests.parity.trim import SAME_AS
from tests.parity.vace_inputs import vace_of

FOLDER = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Case:
    name: str
    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    @property
    def expected(self) -> list[dict[str, Any]]:
        return list(self.facts["expected_chunks"])

    def pixels(self, index: int) -> NDArray[Any] | None:
        """The input of a chunk, [T, H, W, 3] in 0..255; frames of another size or count as the reference fits them."""
        video = self.facts["calls"][index].get("video")
        if video is None:
            return None
        frames = self.arrays["in_video"][video["start"] : video["stop"]]
        if video["form"] == "tensor":
            return frames
        wanted = self.expected[index]["pixel_frames"]
        picked = frames[np.round(np.linspace(0, len(frames) - 1, wanted)).astype(int)]
        return _bilinear(picked, self.facts["height"], self.facts["width"])


def load_case(name: str) -> Case:
    """A case, with the arrays that it shares with another."""
    facts = next(c for c in json.loads((FOLDER / "cases.json").read_text())["cases"] if c["name"] == name)
    shared = load_case(SAME_AS[name]).arrays if name in SAME_AS else {}
    with np.load(FOLDER / f"{name}.npz") as stored:
        return Case(name, facts, {**shared, **stored})


def plan_of(case: Case) -> Plan:
    """The plan that the case's calls amount to."""
    spec = PIPELINES[case.facts["pipeline"].replace("_", "-")]
    chunks: list[Chunk] = []
    state = _PromptState()
    first_frame = 0
    scales = {lora["file"]: lora["scale"] for lora in case.facts.get("loras", [])}
    for index, (call, want) in enumerate(zip(case.facts["calls"], case.expected, strict=True)):
        mode = "video" if "video" in call else "text"
        cut = want["start_frame"] == 0
        changed = state.advance(index, call)
        scales_before, scales = scales, scales | call.get("lora_scales", {})
        first = spec.chunk_latents(mode, first=cut)
        chunks.append(
            Chunk(
                index=index,
                first_frame=first_frame,
                frames=spec.chunk_frames(mode, first=cut),
                keep=spec.chunk_frames(mode, first=cut),
                latents=first,
                start_latent=want["start_frame"],
                mode=mode,
                cut_reason=_cut_reason(call) if cut else None,
                recache_reason="prompt" if changed and not cut and spec.on_prompt_change == "recache" else None,
                conditioning=state.conditioning,
                text_changed=changed or cut,
                seed=case.facts["base_seed"],
                denoising_steps=tuple(want["steps"]),
                noise_scale=call.get("noise_scale", 0.7) if mode == "video" else None,
                noise_controller=mode == "video" and call.get("noise_controller", True),
                vace=vace_of(call, restart_streams=cut),
                lora_scales=tuple(scales.values()),
                lora_changed=index > 0 and scales != scales_before,
            )
        )
        first_frame += chunks[-1].frames
    height, width = case.facts["height"], case.facts["width"]
    return Plan(spec.id, first_frame, Fraction(16), height, width, tuple(chunks))


def _cut_reason(call: dict[str, Any]) -> str:
    new_prompt = "prompts" in call and "video" in call and not call.get("reset")
    return NEW_VIDEO_PROMPT if new_prompt else "reset"


class _PromptState:
    conditioning: Conditioning
    method: str = "linear"
    step: int = 0
    source: Blend | int | None = None

    def advance(self, index: int, call: dict[str, Any]) -> bool:
        """Take the call that makes chunk `index`; returns whether the conditioning changes."""
        self.method = call.get("blend", self.method)
        if "transition" in call:
            wanted = call["transition"]
            if self.source is None:
                self.source = index - 1 if isinstance(self.conditioning, Transition) else self.conditioning
                self.step = 0
            t = self.step / (wanted["steps"] - 1)
            target = _blend(wanted["prompts"], "linear")
            self.conditioning = Transition(self.source, target, wanted["method"], self.step, wanted["steps"], t)
            self.step += 1
            return True
        self.source = None
        if "prompts" in call:
            self.conditioning = _blend(call["prompts"], self.method)
            return True
        return False


def _blend(prompts: list[dict[str, Any]], method: str) -> Blend:
    total = sum(p["weight"] for p in prompts)
    blended = tuple(Prompt(p["text"], p["weight"] / total) for p in prompts)
    return Blend(blended, "slerp" if method == "slerp" and len(prompts) == 2 else "linear")


def _bilinear(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    planes = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    resized = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1).numpy()

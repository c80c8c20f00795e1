"""Judges videos of the tiny world: which of all possible scenes, drawn by the generator, a video is closest to.

A feature of a scene, such as its colour, is right if no other value of this feature, drawn with all other features as
the prompt says, has a smaller mean squared error. So a missing thing counts as a wrong noun ("nothing").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .scenes import CHOICES, NOUNS, PERIOD, Painter, Scenes, change_scenes, draw_scenes
from .words import prompts_of

SEEN = 0.01
"""A thing smaller than this share of the picture is not judged."""
NEAR = 12
"""The centre of a thing may be this many pixels away from the true one, on average over the frames."""
OF_THE_THING = ("noun", "colour", "size", "place", "motion")


@dataclass(frozen=True, slots=True)
class Probes:
    """Scenes with their prompts, before and after a change of prompt."""

    before: Scenes
    after: Scenes
    prompts: tuple[tuple[str, str], ...]


def draw_probes(count: int, seed: int = 4242) -> Probes:
    """Draw scenes that show something; the seed is none of the training's."""
    generator = torch.Generator().manual_seed(seed)
    before = draw_scenes(4 * count, generator)
    after = change_scenes(before, generator)
    nothing = NOUNS.index("nothing")
    rows = torch.nonzero((before.noun != nothing) & (after.noun != nothing))[:count, 0]
    before, after = before[rows], after[rows]
    return Probes(before, after, tuple(zip(prompts_of(before, seed), prompts_of(after, seed + 1), strict=True)))


def times_after(before: Scenes, after: Scenes, frames: Tensor, switch: int) -> Tensor:
    """Return the time in the second scene of these frames, [scenes, frames]; see `Painter.clip`."""
    return torch.where(before.continues_as(after)[:, None], frames, frames - switch + 1)


def judge_stages(
    painter: Painter, probes: Probes, row: int, chunks: int, video: Tensor, found: dict[str, dict[str, list[bool]]]
) -> None:
    """Judge one probe whose prompt changes before its last chunk but one, and add what is right to `found`.

    Things of a long video may be ahead of their scene, or behind it. So it is also judged at the moment of the scene to
    which it is nearest.

    video  the last frames of `chunks` chunks, [1, 3, frames, height, width].
    """
    change = 12 * (chunks - 2) - 3
    hidden = change + 24 - video.shape[2]
    spans = {
        "at the change": torch.linspace(change + 2, change + 11, 4),
        "a chunk later": torch.linspace(change + 14, change + 23, 4),
    }
    if hidden:
        spans["before the change"] = torch.linspace(change - 36, change - 1, 8)
    else:
        spans["first prompt"] = torch.linspace(0, change - 1, 8)
    before, after = (scenes[row : row + 1].to(painter.device) for scenes in (probes.before, probes.after))
    for stage, places in spans.items():
        frames = places.round().to(painter.device)
        first = bool(frames[0] < change)
        time = frames[None] if first else times_after(before, after, frames[None], change)
        seen, scene = video[:, :, (frames - hidden).long()], before if first else after
        times = {stage: time}
        if hidden:
            times[f"{stage}, any moment"] = time + delay_of(painter, scene, time, seen)
        for name, moments in times.items():
            for key, answers in judge(painter, scene, moments, seen).items():
                found.setdefault(name, {}).setdefault(key, []).extend(answers)


@torch.no_grad()
def delay_of(painter: Painter, scene: Scenes, time: Tensor, made: Tensor) -> Tensor:
    """Return by how many frames, of 0, 2, ... up to a period, a video is nearest to its scene as it is later.

    scene  a single one; time and made as for `judge`.
    """
    delays = torch.arange(0, PERIOD, 2, device=painter.device, dtype=torch.float32)
    alike = scene[torch.zeros(len(delays), dtype=torch.int64, device=painter.device)]
    drawn, _ = painter.paint(alike, time + delays[:, None], *made.shape[-2:])
    return delays[(drawn - made).square().flatten(1).mean(1).argmin()]


@torch.no_grad()
def judge(painter: Painter, scenes: Scenes, time: Tensor, made: Tensor) -> dict[str, list[bool]]:
    """Return for every feature whether it is right, for each video that shows enough of its thing.

    time  in frames since each scene began, [videos, frames]; made: [videos, 3, frames, height, width] in -1..1.
    The key "path" tells whether the centre of what differs from the background is near the true one.
    """
    found: dict[str, list[bool]] = {key: [] for key in (*CHOICES, "path")}
    for row in range(len(scenes)):
        one, moments, video = scenes[row : row + 1], time[row : row + 1], made[row : row + 1]
        true, thing = painter.paint(one, moments, *video.shape[-2:])
        shows = bool(thing.mean() > SEEN)
        for key, names in CHOICES.items():
            if key in OF_THE_THING and not shows:
                continue
            all_alike = one[torch.zeros(len(names), dtype=torch.int64, device=painter.device)]
            others = replace(all_alike, **{key: torch.arange(len(names), device=painter.device)})
            drawn, _ = painter.paint(others, moments.expand(len(names), -1), *video.shape[-2:])
            errors = (drawn - video).square().flatten(1).mean(1)
            found[key].append(int(errors.argmin()) == int(getattr(one, key)))
        if shows:
            empty = replace(one, noun=torch.full_like(one.noun, NOUNS.index("nothing")))
            ground, _ = painter.paint(empty, moments, *video.shape[-2:])
            found["path"].append(_distance(true - ground, video - ground) < NEAR)
    return found


def _distance(true: Tensor, made: Tensor) -> float:
    """Return the mean distance in pixels of the centres of what is not background, over frames that truly show it."""
    masks = [(difference[0].abs().amax(0) > 0.35).float() for difference in (true, made)]
    shown = masks[0].mean((-1, -2)) > SEEN
    if not bool(shown.any()):
        return 0.0
    centres = [_centre(mask[shown]) for mask in masks]
    return float((centres[0] - centres[1]).norm(dim=-1).nan_to_num(1e3).mean())


def _centre(masks: Tensor) -> Tensor:
    rows, columns = (torch.arange(n, device=masks.device, dtype=torch.float32) for n in masks.shape[-2:])
    mass = masks.sum((-1, -2))
    return torch.stack([(masks.sum(-1) * rows).sum(-1) / mass, (masks.sum(-2) * columns).sum(-1) / mass], -1)


def table(found: dict[str, dict[str, list[bool]]]) -> str:
    """Return the right ones of all judged, a line per feature and a column per stage."""
    features, widths = list(next(iter(found.values()))), [max(12, len(stage)) + 2 for stage in found]
    rows = [("", *found)]
    rows += [(key, *(f"{sum(one[key])} of {len(one[key])}" for one in found.values())) for key in features]
    return "\n".join(f"{key:8}" + "".join(map(str.rjust, cells, widths)) for key, *cells in rows)

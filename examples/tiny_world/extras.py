"""Trains what comes with the tiny world: python -m examples.tiny_world.extras FOLDER PART SECONDS

PART is vace, streamdiffusionv2, krea-realtime-video, outline or tae. FOLDER holds the weights of `train`, and gets
PART.safetensors. With --resume a training carries on from that file.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .adapters import add_low_rank, changes, load_changes, outlined
from .chunks import FrameLayout, Layout
from .context_videos import ContextVideos
from .control import CHUNKS as CONTROL_CHUNKS
from .control import Control, Vace, fill_control_shelf
from .gpu import Replay
from .learning import CHUNKS, OPENING, OWN_OF_LATE, Shelf, fill_shelf, layout_of, pair_layout, step_loss
from .long_videos import LongVideos
from .optimizer import Optimizer
from .scenes import Painter, draw_scenes
from .tae import train_tae
from .train import FULL, LATE, TOY
from .transformer import CHUNK, LAYERS, Runner, World, rotary_at, rotary_of
from .vae import ClipVae, new_vae

LIMITS = {"vace": 2e-3, "streamdiffusionv2": 2e-3, "krea-realtime-video": 2e-3, "outline": 2e-3}
"""Peak learning rate of each part."""
RANKS = {"streamdiffusionv2": 8, "krea-realtime-video": 8, "outline": 4}
COUNTS = {"krea-realtime-video": 128}
"""Clips in a step, of those that have not 32."""
FRAMES = CHUNK * CHUNKS

Case = tuple[Shelf, Layout, Tensor]
"""A shelf, with a layout for its clips and the rotary angles."""


def control_cases(vae: ClipVae, painter: Painter, *, toy: bool) -> list[Case]:
    layout = Layout(CONTROL_CHUNKS, (0, 0, *range(CONTROL_CHUNKS), CONTROL_CHUNKS - 1))
    cases = []
    for number, size in enumerate(TOY.sizes if toy else FULL.sizes):
        shelf = fill_control_shelf(vae, painter, *size, 2 if toy else (700, 450, 300)[number], 31_000 + number)
        cases.append((shelf, layout, rotary_of(layout.groups, *shelf.grid, painter.device)))
    return cases


def frame_cases(vae: ClipVae, painter: Painter, runner: Runner, *, toy: bool) -> tuple[list[Case], Callable[[], None]]:
    """Return clips as single latent frames, with changes of prompt and late ones.

    Also returns a function that carries the videos of the late clips on, and renews these clips and their rotary angles
    in place.
    """
    cases: list[Case] = []
    carried: list[tuple[LongVideos, Case]] = []
    scale = TOY if toy else FULL
    for number, size in enumerate(scale.sizes):
        for switch, late in ((0, 0), (1, 0), (2, 0), (0, LATE)):
            clips = scale.late[number] if late else 2 if toy else (420, 260, 200)[number]
            seed = 41_000 + 10 * number + switch + late
            shelf = fill_shelf(vae, painter, *size, switch, clips, seed, late=late)
            if late:
                shelf.own = shelf.patches.clone()
            first = 5 if late else 2
            start = CHUNK * switch
            others = range(first, FRAMES, 1 if late else 2)
            noisy = (0, 1, *([start, start, start + 1] if switch else []), *others)
            layout = FrameLayout(FRAMES, noisy, start, recached=False)
            cases.append((_as_frames(shelf), layout, _turns_of_frames(shelf, layout).clone()))
            if late:
                scenes = draw_scenes(clips, torch.Generator().manual_seed(seed)).to(painter.device)  # the same ones
                carried.append((LongVideos(runner, vae, painter, shelf, scenes, single=True), cases[-1]))

    def renew() -> None:
        for videos, (shelf, layout, rotary) in carried:
            videos.carry_on()
            shelf.late = videos.shelf.late
            rotary.copy_(_turns_of_frames(shelf, layout))

    return cases, renew


def _as_frames(shelf: Shelf) -> Shelf:
    """Return clips of chunks as clips of single latent frames, in the same memory."""

    def split(x: Tensor) -> Tensor:
        return x.view(len(x), -1, x.shape[2] // CHUNK, *x.shape[3:])

    own = None if shelf.own is None else split(shelf.own)
    return replace(shelf, patches=split(shelf.patches), thing=split(shelf.thing), own=own)


def _turns_of_frames(shelf: Shelf, layout: Layout) -> Tensor:
    """Return the rotary angles of single latent frames, at their positions in their video."""
    places = tuple(frame + (CHUNK * shelf.late if frame >= CHUNK else 0) for frame in layout.groups)
    return rotary_at(places, *shelf.grid, shelf.patches.device)


def context_cases(
    vae: ClipVae, painter: Painter, runner: Runner, *, toy: bool
) -> tuple[list[Case], Callable[[], None]]:
    """Return first chunks, pairs of true chunks without and with a change of prompt, and videos' own contexts.

    Also returns a function that carries the videos on, and renews their contexts in place.
    """
    cases: list[Case] = []
    carried: list[ContextVideos] = []
    for number, size in enumerate(TOY.sizes if toy else FULL.sizes):
        seed = 61_000 + 10 * number
        firsts, pairs, videos = (2, 2, 2) if toy else ((1200, 300, 256), (500, 130, 104), (420, 110, 88))[number]
        shelves = [
            fill_shelf(vae, painter, *size, 0, firsts, seed, chunks=1),
            fill_shelf(vae, painter, *size, 0, pairs, seed + 1, chunks=2, anywhere=True),
            fill_shelf(vae, painter, *size, 1, 2 * pairs, seed + 2, chunks=2, anywhere=True),
        ]
        carried.append(ContextVideos(runner, vae, painter, *size, videos, seed + 3))
        for shelf in [*shelves, carried[-1].shelf]:
            layout = OPENING if shelf.openings else pair_layout(shelf.switch)
            cases.append((shelf, layout, rotary_of(layout.groups, *shelf.grid, painter.device)))

    def renew() -> None:
        for videos in carried:
            videos.carry_on()

    return cases, renew


def style_cases(vae: ClipVae, painter: Painter, *, toy: bool) -> list[Case]:
    cases = []
    for number, size in enumerate(TOY.sizes if toy else FULL.sizes[:2]):
        for switch in (0, 1):
            clips = 2 if toy else (260, 200)[number]
            shelf = fill_shelf(vae, painter, *size, switch, clips, 51_000 + 10 * number + switch, style=outlined)
            layout = layout_of(switch, moved=False)
            cases.append((shelf, layout, rotary_of(layout.groups, *shelf.grid, painter.device)))
    return cases


def train(
    model: nn.Module,
    loss_of: Callable[[Case], Tensor],
    cases: list[Case],
    seconds: float,
    peak: float,
    renew: Callable[[], None] | None = None,
    renew_every: float = 12,
) -> list[tuple[int, float]]:
    """Train for so many seconds, and return the loss curve.

    renew  renews clips in place, before the first step and whenever `renew_every` seconds have passed since.
    """
    device = cases[0][0].patches.device
    optimizer, replay, generator = Optimizer(model), Replay(device), torch.Generator().manual_seed(5)
    parameters = [p for p in model.parameters() if p.requires_grad]
    shares = torch.tensor([float(shelf.patches.numel()) for shelf, _, _ in cases])

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    def learn(case: Case) -> Tensor:
        with autocast():
            loss = loss_of(case)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss.detach()

    began, step, curve, recent, due = time.monotonic(), 0, [], [], 0.0
    while (share := (time.monotonic() - began) / seconds) < 1 or step < 2:
        if renew is not None and (start := time.monotonic()) >= due:
            with autocast(), torch.no_grad(), parametrize.cached():  # changed weights are computed once
                renew()
            due = time.monotonic() + renew_every
            print(f"{step} renewed in {due - renew_every - start:.1f} s", flush=True)
        cosine = 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(1, share)))
        optimizer.rate.fill_(peak * cosine * min(1, (step + 1) / 100))
        number = int(torch.multinomial(shares, 1, generator=generator))
        recent.append(replay(number, partial(learn, cases[number])).clone())
        step += 1
        if step % 50 == 0:
            curve.append((step, torch.stack(recent).mean().item()))
            recent.clear()
            if step % 200 == 0:
                print(f"{step} loss {curve[-1][1]:.4f} {share:.0%}", flush=True)
    print(f"{step} steps", flush=True)
    return curve


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.detach().half().contiguous() for key, tensor in state.items()}


def save(folder: Path, part: str, state: dict[str, Tensor], curve: list[tuple[int, float]]) -> None:
    save_file(state, folder / f"{part}.safetensors")
    (folder / f"{part}.json").write_text(json.dumps(curve))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("part", choices=(*LIMITS, "tae"))
    parser.add_argument("seconds", type=float)
    parser.add_argument("--resume", action="store_true", help="carry on from FOLDER/PART.safetensors; not for tae")
    parser.add_argument("--toy", action="store_true", help="everything small, to try the program on a CPU")
    asked = parser.parse_args()
    if asked.resume and asked.part == "tae":
        parser.error("--resume is not for tae")
    sizes, ends = TOY.sizes if asked.toy else FULL.sizes, asked.part != "outline"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.enable_flash_sdp(False)
    painter, vae, world = Painter(device), new_vae(device), World(LAYERS)
    vae.load_state_dict(load_file(asked.folder / "vae.safetensors"))
    vae.requires_grad_(False)
    world.load_state_dict(load_file(asked.folder / "average.safetensors"), strict=False)
    world.to(device).requires_grad_(False)
    if asked.part == "tae":
        trained, curve = train_tae(ClipVae(vae), painter, sizes, asked.seconds, 1.4e4 if asked.toy else 2.4e6)
        save(asked.folder, asked.part, half(trained.state_dict()), curve)
        return
    runner = Runner(world, torch.bfloat16 if device.type == "cuda" else torch.float32)
    began, count = time.monotonic(), 2 if asked.toy else COUNTS.get(asked.part, 32)
    renew = None
    with torch.no_grad():
        if asked.part in ("streamdiffusionv2", "krea-realtime-video"):
            make_renewed = frame_cases if asked.part == "streamdiffusionv2" else context_cases
            cases, renew = make_renewed(ClipVae(vae), painter, runner, toy=asked.toy)
        else:
            make = {"vace": control_cases, "outline": style_cases}[asked.part]
            cases = make(ClipVae(vae), painter, toy=asked.toy)
    print(f"{asked.part}: clips in {time.monotonic() - began:.0f} s", flush=True)
    model: nn.Module = world
    saved = load_file(asked.folder / f"{asked.part}.safetensors") if asked.resume else None
    if asked.part == "vace":
        model = vace = Vace(world).to(device)
        if saved:
            vace.load_state_dict(saved)
    else:
        add_low_rank(world, RANKS[asked.part], ends=ends)
        if saved:
            load_changes(world, saved, ends=ends)

    def loss_of(case: Case) -> Tensor:
        shelf, layout, rotary = case
        if asked.part != "vace":
            return step_loss(runner, shelf, layout, rotary, count, OWN_OF_LATE)

        def steer(contexts: Tensor, prompts: list[Tensor]) -> Control:
            return Control(vace, runner, contexts, prompts[1], shelf.grid)

        return step_loss(runner, shelf, layout, rotary, count, 0.0, steer)

    curve = train(model, loss_of, cases, asked.seconds, LIMITS[asked.part], renew)
    state = model.state_dict() if asked.part == "vace" else changes(world, ends=ends)
    save(asked.folder, asked.part, half(state), curve)


if __name__ == "__main__":
    main()

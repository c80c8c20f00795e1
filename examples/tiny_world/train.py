"""Trains the tiny world on one GPU, in pieces: python -m examples.tiny_world.train FOLDER --vae 200 --transformer 300

FOLDER gets the weights (vae, world and its running average as .safetensors), contact sheets and the loss curves.
A further call continues from there: --transformer 600 --rates 5e-4 1e-5 --own 0.5. Times are seconds.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .chunks import Layout
from .gpu import Replay
from .learning import CHUNKS, FRAMES, MOVED, OPENING, Shelf, fill_shelf, layout_of, make_own, pair_layout, step_loss
from .long_videos import LongVideos
from .optimizer import Optimizer
from .results import Results
from .scenes import Painter, draw_scenes
from .sheets import draw_curves
from .transformer import CHUNK, Runner, World, rotary_of
from .vae import ClipVae, fold_statistics, new_vae, train_vae


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of a training.

    clips     per size: without a switch, and with one before chunk 1, 2, 3, 4; openings: first chunks alone, per size;
              late: from the middle of long videos; pairs: two chunks that begin anywhere, without and with a switch.
    batch     clips per step; eight times as many of openings, and four times as many of pairs.
    """

    sizes: tuple[tuple[int, int], ...]
    clips: tuple[tuple[int, int, int, int, int], ...]
    openings: tuple[int, ...]
    late: tuple[int, ...]
    pairs: tuple[int, ...]
    batch: int
    vae_pixels: float
    layers: int


LATE = 30
"""Chunks left out of late clips: 360 frames."""
TEXT_ONLY = 0.35
"""Share of steps whose change of prompt recaches nothing, as in pipelines with on_prompt_change="text"."""
FULL = Scale(
    sizes=((128, 224), (112, 192), (192, 192)),
    clips=((1000, 250, 250, 380, 380), (440, 120, 120, 170, 170), (360, 100, 100, 140, 140)),
    openings=(5_000, 2_200, 1_800),
    late=(448, 160, 160),
    pairs=(1_100, 500, 400),
    batch=32,
    vae_pixels=2.4e6,
    layers=8,
)
TOY = Scale(
    sizes=((32, 48),),
    clips=((8, 4, 4, 4, 4),),
    openings=(16,),
    late=(2,),
    pairs=(4,),
    batch=2,
    vae_pixels=1.4e4,
    layers=2,
)


class Trainer:
    """Holds the models during training. folder: their weights on disk."""

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.folder, self.scale = folder, scale
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.enable_flash_sdp(False)  # cuDNN's attention makes a step a tenth faster
        self.painter = Painter(self.device)
        vae = new_vae(self.device)
        self.world = World(scale.layers).to(self.device)
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.runner = Runner(self.world, dtype, compiled=self.device.type == "cuda")
        self.vae = ClipVae(vae)
        for name, model in (("vae", vae), ("world", self.world)):
            if (folder / f"{name}.safetensors").exists():
                model.load_state_dict(load_file(folder / f"{name}.safetensors"), strict=False)
        self.average = copy.deepcopy(self.world).requires_grad_(False).eval()
        if (folder / "average.safetensors").exists():
            self.average.load_state_dict(load_file(folder / "average.safetensors"), strict=False)
        self.own_runner = Runner(self.average, dtype)
        self.results = Results(folder, self.painter, self.vae, self.average, self.own_runner)
        self.shelves: list[Shelf] = []
        self.long_videos: list[LongVideos] = []

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def keep(self, name: str, model: torch.nn.Module) -> None:
        state = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
        state.pop("text.encoder.embed_tokens.weight", None)  # the same tensor as text.shared.weight
        save_file(state, self.folder / f"{name}.safetensors")

    def keep_curve(self, name: str, curve: list[tuple[int, float]]) -> None:
        path = self.folder / "curves.json"
        curves = json.loads(path.read_text()) if path.exists() else {}
        last = (curves.get(name) or [[0, 0]])[-1][0]
        curves[name] = curves.get(name, []) + [[last + step, value] for step, value in curve]
        path.write_text(json.dumps(curves))
        draw_curves(curves, self.folder / "curves.png")

    def learn_vae(self, seconds: float) -> None:
        resumed = (self.folder / "vae.safetensors").exists()
        curve = train_vae(self.vae, self.painter, seconds, list(self.scale.sizes), self.scale.vae_pixels, resumed)
        mean, deviation = self._latent_statistics()
        fold_statistics(self.vae.vae, mean, deviation)
        self.keep("vae", self.vae.vae)
        self.keep_curve("vae", curve)

    @torch.no_grad()
    def _latent_statistics(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(99)
        found = []
        for _ in range(12):
            scenes = draw_scenes(8, generator).to(self.device)
            pixels, _thing = self.painter.clip(scenes, scenes, 0, FRAMES, *self.scale.sizes[0])
            found.append(self.vae.encode(pixels)[0])
        latents = torch.cat(found)
        return latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))

    def fill_shelves(self, seed: int) -> None:
        began = time.monotonic()
        scale = self.scale
        kinds = zip(scale.sizes, scale.clips, scale.openings, scale.late, scale.pairs, strict=True)
        for size, counts, openings, late, pairs in kinds:
            for switch, clips in enumerate(counts):
                seed += 100
                self.shelves.append(fill_shelf(self.vae, self.painter, *size, switch, clips, seed))
            self.shelves.append(fill_shelf(self.vae, self.painter, *size, 0, openings, seed + 50, chunks=1))
            if late:
                shelf = fill_shelf(self.vae, self.painter, *size, 0, late, seed + 60, late=LATE)
                self.shelves.append(shelf)
                scenes = draw_scenes(late, torch.Generator().manual_seed(seed + 60)).to(self.device)  # the same ones
                self.long_videos.append(LongVideos(self.own_runner, self.vae, self.painter, shelf, scenes))
            for switch in (0, 1):
                self.shelves.append(
                    fill_shelf(
                        self.vae, self.painter, *size, switch, pairs, seed + 70 + switch, chunks=2, anywhere=True
                    )
                )
        print(
            f"shelves: {sum(len(s.patches) for s in self.shelves)} clips in {time.monotonic() - began:.0f} s",
            flush=True,
        )

    def learn_transformer(
        self, seconds: float, rates: tuple[float, float], openings: float, own_share: float, own_every: float
    ) -> None:
        """Train the transformer.

        openings   share of steps with openings; own_share: of clips whose earlier chunks the transformer generated.
        own_every  seconds until those are generated again.
        """
        optimizer, replay = Optimizer(self.world), Replay(self.device)
        generator = torch.Generator().manual_seed(5)
        resumed = (self.folder / "average.safetensors").exists()
        shares = torch.tensor([float(shelf.patches.shape[:2].numel()) for shelf in self.shelves])
        opens = torch.tensor([shelf.openings for shelf in self.shelves])
        shares = torch.where(
            opens, openings * shares / shares[opens].sum(), (1 - openings) * shares / shares[~opens].sum()
        )
        rotaries: dict[tuple[Layout, tuple[int, int]], Tensor] = {}

        def learn(shelf: Shelf, layout: Layout, rotary: Tensor) -> Tensor:
            with self.autocast():
                count = self.scale.batch * (8 if shelf.openings else 4 if shelf.pairs else 1)
                loss = step_loss(self.runner, shelf, layout, rotary, count, own_share)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.world.parameters(), 1.0)
            optimizer.step()
            return loss.detach()

        began, step, curve, recent, renewed = time.monotonic(), 0, [], [], -own_every
        while (spent := time.monotonic() - began) < seconds or step < 2:
            if own_share and spent - renewed >= own_every:
                renewed = spent
                self.keep("average", self.average)
                self.make_own_clips(replay)
            rate = rates[1] + (rates[0] - rates[1]) * (0.5 + 0.5 * math.cos(math.pi * min(1, spent / seconds)))
            optimizer.rate.fill_(rate * min(1, (step + 1) / 200))
            number = int(torch.multinomial(shares, 1, generator=generator))
            shelf = self.shelves[number]
            layout, moved = self._draw_layout(shelf, generator)
            turns = rotary_of(layout.groups, *shelf.grid, self.device, moved)
            rotary = rotaries.setdefault((layout, shelf.grid), turns.clone()).copy_(turns)
            loss = replay((number, layout), partial(learn, shelf, layout, rotary))
            recent.append(loss.clone())
            if step % 10 == 9:
                self._average(0.99 if resumed else min(0.99, (step + 1) / (step + 100)))
            if step % 100 == 99:
                curve.append((step + 1, torch.stack(recent).mean().item()))
                recent.clear()
                if step % 500 == 499:
                    print(f"transformer {step + 1} loss {curve[-1][1]:.4f} rate {rate:.1e} {spent:.0f} s", flush=True)
            step += 1
        print(f"transformer: {step} steps", flush=True)
        self.keep("world", self.world)
        self.keep("average", self.average)
        self.keep_curve("transformer", curve)

    def _draw_layout(self, shelf: Shelf, generator: torch.Generator) -> tuple[Layout, int]:
        """Return a layout for a step with this shelf, and by how much later its chunks but the first are."""
        if shelf.openings or shelf.pairs:
            return (OPENING if shelf.openings else pair_layout(shelf.switch)), 0
        moved = MOVED[int(torch.randint(len(MOVED), (), generator=generator))]
        text_only = float(torch.rand((), generator=generator)) < TEXT_ONLY
        if shelf.late:  # with positions as if nothing were left out, as in reward-forcing, or with the true ones
            return layout_of(0, moved=True), 0 if text_only else CHUNK * shelf.late
        recached = not (shelf.switch and not moved and text_only)
        return layout_of(shelf.switch, moved=bool(moved), recached=recached), moved

    @torch.no_grad()
    def _average(self, keep: float) -> None:
        torch._foreach_lerp_(list(self.average.parameters()), [p.detach() for p in self.world.parameters()], 1 - keep)

    def make_own_clips(self, replay: Replay, batch: int = 128, share: float = 0.3) -> None:
        """Generate a part of every shelf's clips again."""
        began = time.monotonic()

        def make(shelf: Shelf) -> Tensor:
            with self.autocast():
                return make_own(self.own_runner, shelf, min(batch, len(shelf.patches)))

        for number, shelf in enumerate(self.shelves):
            if shelf.openings or shelf.pairs or shelf.late:
                continue
            if shelf.own is None:
                shelf.own = shelf.patches.clone()
            for _ in range(math.ceil(share * len(shelf.patches) / batch)):
                replay(("own", number), partial(make, shelf))
        with self.autocast():
            for videos in self.long_videos:
                videos.carry_on()
        print(f"own clips in {time.monotonic() - began:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vae", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--transformer", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--rates", type=float, nargs=2, default=(1.5e-3, 1e-3), metavar=("FIRST", "LAST"))
    parser.add_argument("--openings", type=float, default=0.2, help="share of steps over first chunks alone")
    parser.add_argument("--own", type=float, default=0, help="share of clips whose past is the transformer's own")
    parser.add_argument("--own-every", type=float, default=75, metavar="SECONDS")
    parser.add_argument(
        "--seed", type=int, default=1000, help="of the scenes that are drawn; another one in every call"
    )
    parser.add_argument("--probes", type=int, default=0, help="number of probes of 9 chunks at the end, per size")
    parser.add_argument("--long-probes", type=int, default=0, help="number of probes of 80 chunks")
    parser.add_argument("--toy", action="store_true", help="everything small, to try the program on a CPU")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    scale = TOY if asked.toy else FULL
    trainer = Trainer(asked.folder, scale)
    if asked.vae:
        trainer.learn_vae(asked.vae)
    trainer.results.show_vae(scale.sizes)
    if asked.transformer:
        trainer.fill_shelves(asked.seed)
        trainer.learn_transformer(asked.transformer, tuple(asked.rates), asked.openings, asked.own, asked.own_every)
        trainer.results.show_transformer(scale.sizes[0], CHUNKS, "made")
    if asked.long_probes:
        trainer.results.probe(scale.sizes[0], 80, asked.long_probes, "long")
    for number, size in enumerate(scale.sizes if asked.probes else ()):
        trainer.results.probe(size, 9, asked.probes, "" if number else "probes")


if __name__ == "__main__":
    main()

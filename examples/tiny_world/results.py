"""Shows what trained models make: contact sheets, and the figures of probes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .chunks import rollout, to_latents
from .judge import draw_probes, judge_stages, table
from .learning import FRAMES, statistics
from .scenes import Painter, draw_scenes
from .sheets import SHOWN, save_sheet
from .transformer import Runner, World
from .vae import ClipVae, psnr
from .words import token_ids, tokenizer


@dataclass(frozen=True, slots=True)
class Results:
    """Trained models, with the folder for their pictures. runner: of `average`."""

    folder: Path
    painter: Painter
    vae: ClipVae
    average: World
    runner: Runner

    @property
    def device(self) -> torch.device:
        return self.painter.device

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    @torch.no_grad()
    def show_vae(self, sizes: tuple[tuple[int, int], ...]) -> None:
        """Print the PSNR of whole clips, and save a contact sheet of the first size, true clips above theirs."""
        generator = torch.Generator().manual_seed(7)
        for size in sizes:
            scenes = draw_scenes(6, generator).to(self.device)
            real, _ = self.painter.clip(scenes, scenes, 0, FRAMES, *size)
            made = torch.cat([self.vae.decode(self.vae.encode(one[None])[0]) for one in real])
            print(
                f"vae {size}: {psnr(made, real):.1f} dB, "
                f"last 12 frames {psnr(made[:, :, -12:], real[:, :, -12:]):.1f} dB"
            )
            if size == sizes[0]:
                both = torch.stack([real[:4], made[:4]], 1).flatten(0, 1)
                save_sheet(both, self.folder / "vae.png")

    @torch.no_grad()
    def show_transformer(self, size: tuple[int, int], chunks: int, name: str) -> None:
        """Save contact sheets of the prompts in `SHOWN`; the second of a pair starts in the middle."""
        splitter, (height, width) = tokenizer(), size
        generator = torch.Generator(self.device).manual_seed(11)
        mean, deviation = statistics(self.device)
        rows = []
        for switch in (0, chunks // 2):
            told = [pair for pair in SHOWN if (pair[0] != pair[1]) == bool(switch)]
            ids = torch.stack([token_ids(list(pair), splitter) for pair in told]).to(self.device)
            shape = (len(told), 1, 3 * (height // 16) * (width // 16), 64)

            def noise(_: int, __: int, shape: tuple[int, ...] = shape) -> Tensor:
                return torch.randn(shape, device=self.device, generator=generator)

            with self._autocast():
                read = self.average.read(ids.flatten(0, 1)).unflatten(0, (len(told), 2))
                made = rollout(
                    self.runner, (read[:, 0], read[:, 1]), range(chunks), height // 16, width // 16, switch, noise
                )
            latents = to_latents(made, height // 8, width // 8) * deviation + mean
            rows += [self.vae.decode(one[None]) for one in latents]
        save_sheet(torch.cat(rows), self.folder / f"{name}.png")

    @torch.no_grad()
    def probe(self, size: tuple[int, int], chunks: int, count: int, name: str = "") -> None:
        """Generate probes, print how many are right, and save a contact sheet of them. See `judge`."""
        (height, width), probes = size, draw_probes(count)
        ids = token_ids([text for pair in probes.prompts for text in pair], tokenizer()).to(self.device)
        generator = torch.Generator(self.device).manual_seed(12)
        shape = (count, 1, 3 * (height // 16) * (width // 16), 64)

        def noise(_: int, __: int) -> Tensor:
            return torch.randn(shape, device=self.device, generator=generator)

        with self._autocast():
            read = self.average.read(ids).unflatten(0, (count, 2))
            made = rollout(
                self.runner, (read[:, 0], read[:, 1]), range(chunks), height // 16, width // 16, chunks - 2, noise
            )
        mean, deviation = statistics(self.device)
        hidden = max(0, chunks - 12)  # the decoder sees less than three chunks back
        latents = to_latents(made[:, hidden:], height // 8, width // 8) * deviation + mean
        found: dict[str, dict[str, list[bool]]] = {}
        videos = []
        for row, one in enumerate(latents):
            video = self.vae.decode(one[None]).clamp(-1, 1)
            video = video[:, :, 36:] if hidden else video
            judge_stages(self.painter, probes, row, chunks, video, found)
            videos.append(video.cpu())
        print(f"{count} probes of {chunks} chunks at {width}x{height}\n{table(found)}", flush=True)
        if name:
            save_sheet(torch.cat(videos), self.folder / f"{name}.png")
            (self.folder / f"{name}.txt").write_text("\n".join(" -> ".join(pair) for pair in probes.prompts) + "\n")

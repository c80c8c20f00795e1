"""Defines scenes and draws them as video, many scenes at once on a GPU.

The words of a scene determine it completely: place, size and motion of its one thing. So a model that reads the words
does not have to guess.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from . import grounds, nouns

COLOURS = {
    "red": (226, 44, 42), "orange": (250, 140, 30), "yellow": (250, 216, 50), "green": (60, 176, 70),
    "blue": (52, 104, 232), "purple": (150, 70, 200), "pink": (250, 140, 190), "white": (248, 248, 248),
}  # fmt: skip
NOUNS = (*nouns.NOUNS, "nothing")
GRID = 16
"""Pixels per token of the transformer. Things stand on this grid and move by one cell in four frames, which are one
latent frame, so that the transformer has fewer different pictures to learn."""
SIZES = {"small": 21, "medium": 30, "big": 40}
"""Half the height of the thing in pixels, at every size of the picture."""
PLACES = {"left": 0.24, "middle": 0.5, "right": 0.76}
MOTIONS = ("still", "left", "right", "up", "bounce", "spin", "orbit", "grow")
GROUNDS, LIGHTS = grounds.GROUNDS, grounds.LIGHTS
TURN, PERIOD = 48, 96
"""Frames of a turn (a bounce takes half of it), and the range from which the VAE's training draws a moment."""
EDGE = 0.15
"""Smallest relative width of a thing that spins about its upright axis, like a coin."""
FLOOR, AIR = 0.86, 0.4
"""Vertical position, relative to the picture's height: lower edge of standing things, middle of floating ones."""

_FACES_ITS_WAY = ("boat", "car", "fish", "bird", "turtle")
_IN_THE_AIR = ("star", "heart", "fish", "balloon", "bird", "butterfly", "umbrella", "rocket")
_USUAL = {
    "ball": ("red", "bounce", "meadow"), "box": ("blue", "still", "city"), "star": ("yellow", "spin", "snow"),
    "heart": ("pink", "grow", "meadow"), "boat": ("white", "right", "sea"), "house": ("yellow", "still", "meadow"),
    "tree": ("green", "still", "meadow"), "fish": ("orange", "left", "sea"), "balloon": ("red", "up", "desert"),
    "car": ("blue", "right", "city"), "flower": ("purple", "still", "meadow"), "bird": ("white", "orbit", "sea"),
    "cat": ("orange", "still", "city"), "butterfly": ("purple", "orbit", "meadow"),
    "umbrella": ("red", "spin", "city"), "mushroom": ("red", "grow", "meadow"), "rocket": ("blue", "up", "desert"),
    "snowman": ("red", "still", "snow"), "cup": ("white", "still", "city"), "turtle": ("green", "right", "desert"),
    "nothing": ("white", "still", "meadow"),
}  # fmt: skip
"""Colour, motion and ground of a noun if the prompt does not name them."""


@dataclass(frozen=True, slots=True)
class Scenes:
    """A batch of scenes. Each field holds indices into the list in `CHOICES`, int64 [batch]."""

    noun: Tensor
    colour: Tensor
    size: Tensor
    place: Tensor
    motion: Tensor
    ground: Tensor
    light: Tensor

    def __len__(self) -> int:
        return len(self.noun)

    def __getitem__(self, rows: Tensor | slice) -> Scenes:
        return Scenes(*(getattr(self, field.name)[rows] for field in fields(self)))

    def to(self, device: torch.device) -> Scenes:
        return Scenes(*(getattr(self, field.name).to(device) for field in fields(self)))

    def continues_as(self, after: Scenes) -> Tensor:
        """Return bool [batch]: True if motion and place of `after` are the same, so that its thing continues."""
        return (self.motion == after.motion) & (self.place == after.place)


CHOICES = {
    "noun": NOUNS, "colour": tuple(COLOURS), "size": tuple(SIZES), "place": tuple(PLACES),
    "motion": MOTIONS, "ground": GROUNDS, "light": LIGHTS,
}  # fmt: skip


def usual(noun: str) -> dict[str, str]:
    """Return the features of a scene whose prompt names only the noun."""
    colour, motion, ground = _USUAL[noun]
    return {"noun": noun, "colour": colour, "size": "medium", "place": "middle", "motion": motion, "ground": ground,
            "light": "day"}  # fmt: skip


def scenes_of(features: list[dict[str, str]]) -> Scenes:
    """Build scenes from names such as {"noun": "ball", "colour": "red"}; missing features are the usual ones."""
    complete = [usual(words.get("noun", "nothing")) | words for words in features]
    return Scenes(*(torch.tensor([names.index(words[key]) for words in complete]) for key, names in CHOICES.items()))


def _on_grid(pixels: Tensor) -> Tensor:
    return (pixels / GRID).round() * GRID


class Painter:
    """Draws scenes as video. Sprites and backgrounds are drawn once and stay on the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        sprites = [nouns.sprite(noun) for noun in NOUNS[:-1]]
        self._sprites = torch.from_numpy(np.stack([*sprites, np.zeros_like(sprites[0])])).to(device)
        self._colours = torch.tensor(list(COLOURS.values()), device=device) / 255
        self._sizes, self._places = (torch.tensor([*x.values()], device=device).float() for x in (SIZES, PLACES))
        self._mirrored = torch.tensor([noun in _FACES_ITS_WAY for noun in NOUNS], device=device)
        self._floats = torch.tensor([noun in _IN_THE_AIR for noun in NOUNS], device=device)
        self._backdrops: dict[tuple[int, int], Tensor] = {}

    def _backdrop(self, height: int, width: int) -> Tensor:
        """Return all backgrounds, [grounds, lights, 3, height, width]."""
        if (height, width) not in self._backdrops:
            drawn = [[grounds.backdrop(g, light, width, height) for light in LIGHTS] for g in GROUNDS]
            self._backdrops[height, width] = torch.from_numpy(np.array(drawn)).to(self.device)
        return self._backdrops[height, width]

    def _track(self, scenes: Scenes, time: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
        """Return x, y, half height (in pixels) and relative width of the things, float [batch, frames].

        The width is negative when the thing shows its back, which is its mirror image.
        """
        turn = 2 * torch.pi * time / TURN
        radius = self._sizes[scenes.size][:, None].expand_as(time)
        x = _on_grid(self._places[scenes.place] * width)[:, None].expand_as(time)
        floor = _on_grid(FLOOR * height - 0.9 * radius)
        y = torch.where(self._floats[scenes.noun][:, None], round(AIR * height / GRID) * GRID, floor)
        # What leaves the picture comes in again as soon as it is out of sight, but so that it stays on the grid.
        margin = (radius / (GRID / 2)).ceil() * (GRID / 2)

        def moves(name: str) -> Tensor:
            return (scenes.motion == MOTIONS.index(name))[:, None]

        def wrapped(start: Tensor, length: int, way: float) -> Tensor:
            return torch.remainder(start + margin + way * time * GRID / 4, length + 2 * margin) - margin

        jump = (floor - radius).clamp(max=2 * GRID)
        track = torch.where(moves("left"), wrapped(x, width, -1), x)
        track = torch.where(moves("right"), wrapped(x, width, 1), track)
        track = torch.where(moves("orbit"), x + 26 * torch.sin(turn), track)
        level = torch.where(moves("up"), wrapped(y, height, -1), y)
        level = torch.where(moves("bounce"), floor - jump * torch.sin(turn).abs(), level)
        level = torch.where(moves("orbit"), round(0.46 * height / GRID) * GRID - 26 * torch.cos(turn), level)
        radius = torch.where(moves("grow"), radius * (1 + 0.35 * torch.sin(turn)), radius)
        facing = torch.cos(turn)
        facing = torch.where(moves("spin"), facing.abs().clamp_min(EDGE).copysign(facing), 1.0)
        return track, level, radius, facing

    def paint(self, scenes: Scenes, time: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Draw frames at `time` [batch, frames], in frames since each scene began.

        Returns pixels in -1..1 [batch, 3, frames, height, width], and the thing's share of each pixel in 0..1, with one
        channel.
        """
        frames = time.shape[1]
        x, y, radius, facing = self._track(scenes, time, height, width)
        rows = torch.arange(height, device=self.device) + 0.5
        columns = torch.arange(width, device=self.device) + 0.5
        looks_left = self._mirrored[scenes.noun] & (scenes.motion == MOTIONS.index("left"))
        across_radius = torch.where(looks_left[:, None], -radius, radius) * facing
        u = (columns[None, None, None, :] - x[..., None, None]) / across_radius[..., None, None]
        v = (rows[None, None, :, None] - y[..., None, None]) / radius[..., None, None]
        grid = torch.stack(torch.broadcast_tensors(u, v), -1).flatten(1, 2)
        drawn = F.grid_sample(self._sprites[scenes.noun], grid, align_corners=False)
        drawn = drawn.unflatten(2, (frames, height))
        alpha, base, gain = drawn.split((1, 3, 1), dim=1)
        thing = base + gain * self._colours[scenes.colour][:, :, None, None, None]
        ground = self._backdrop(height, width)[scenes.ground, scenes.light][:, :, None]
        ground = ground + self._waves(scenes, time, rows / height, columns / height)[:, None]
        return ((ground * (1 - alpha) + thing) * 2 - 1).clamp(-1, 1), alpha

    def _waves(self, scenes: Scenes, time: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the brightness of waves on the sea, [batch, frames, height, width]."""
        turn = 2 * torch.pi * (time / TURN)[..., None, None]
        crest = torch.sin(turn + 18 * columns[None, None, None, :] + 40 * rows[None, None, :, None])
        strength = 0.09 * (scenes.ground == GROUNDS.index("sea")) * (1 - 0.5 * (scenes.light == LIGHTS.index("night")))
        below = (rows > grounds.HORIZON)[None, None, :, None]
        return crest * below * strength[:, None, None, None]

    def clip(
        self,
        before: Scenes,
        after: Scenes,
        switch: int,
        frames: int,
        height: int,
        width: int,
        begin: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw `frames` frames whose scene changes at frame `switch`, as `paint`; 0 = `after` in all frames.

        If the thing continues, its time does too. Otherwise it begins at time 1, not 0, because frames share a latent
        frame in groups of four after frame 0 of a video. begin: time of each clip's first frame [batch]; None = 0.
        """
        frame = torch.arange(frames, device=self.device, dtype=torch.float32).expand(len(after), -1)
        time = frame if begin is None else frame + begin[:, None]
        if not switch:
            return self.paint(after, time, height, width)
        continues = before.continues_as(after)[:, None]
        later = torch.where(continues, time[:, switch:], frame[:, switch:] - switch + 1)
        first = self.paint(before, time[:, :switch], height, width)
        second = self.paint(after, later, height, width)
        return torch.cat([first[0], second[0]], 2), torch.cat([first[1], second[1]], 2)


def draw_scenes(count: int, generator: torch.Generator) -> Scenes:
    """Draw random scenes with uniform features, except that the usual size, place and light are more frequent."""

    def pick(names: tuple[str, ...], usual: str = "", share: float = 0.0) -> Tensor:
        any_one = torch.randint(len(names), (count,), generator=generator)
        keep = torch.rand(count, generator=generator) < share
        return torch.where(keep, names.index(usual) if usual else any_one, any_one)

    return Scenes(
        noun=pick(NOUNS), colour=pick(CHOICES["colour"]), size=pick(CHOICES["size"], "medium", 0.4),
        place=pick(CHOICES["place"], "middle", 0.4), motion=pick(MOTIONS), ground=pick(GROUNDS),
        light=pick(LIGHTS, "day", 0.25),
    )  # fmt: skip


def change_scenes(scenes: Scenes, generator: torch.Generator) -> Scenes:
    """Draw the scenes after a change of prompt: half of them differ in a few features, the others in all."""
    other = draw_scenes(len(scenes), generator)
    chance = torch.rand(len(scenes), generator=generator)
    threshold = torch.where(chance < 0.5, 0.25, 1.0)

    def mixed(name: str) -> Tensor:
        changes = torch.rand(len(scenes), generator=generator) < threshold
        return torch.where(changes, getattr(other, name), getattr(scenes, name))

    return Scenes(**{field.name: mixed(field.name) for field in fields(Scenes)})

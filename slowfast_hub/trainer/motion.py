"""Clips whose class is only in their motion.

A striped disc lies on a blurred background and moves in one of twelve ways. What it looks like at one moment is its
state: place, angle and size. Each of them goes round in a circle: the picture wraps, and a disc that has grown to the
largest size goes on at the smallest. It begins evenly distributed on its circle and a class only shifts it, so it stays
evenly distributed at every moment in every class: a single frame says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from slowfast_hub.spec import whole
from slowfast_hub.trainer.samples import LabelledVideos, Sample

FPS = 30.0  # nominal: one frame for each tick of the usual clock
X, Y, ANGLE, SIZE = range(4)  # the state: px, px, radians, share of the way from the smallest to the largest
RADII = (7.0, 11.0)  # px, smallest and largest
STRIPES = (0.5, 1.25)  # pairs of a light and a dark stripe in a radius
NOISE = 4.0  # of the camera: standard deviation of a pixel in 0..255
TOGETHER = 50  # clips drawn at once: as much memory as that takes


@dataclass(frozen=True)
class Motion:
    """What a class does to one part of the state, at a rate drawn between two."""

    part: int
    rates: tuple[float, float]  # change per frame, or swings per frame
    swing: float = 0.0  # px to each side; 0: it goes on in one direction

    def shifts(self, speed: Tensor, phase: Tensor, frames: int) -> Tensor:
        """Shift of the state at each frame, `(N, T)`; speed and phase `(N,)` are draws from 0..1."""
        rate = self.rates[0] + (self.rates[1] - self.rates[0]) * speed
        way = rate[:, None] * torch.arange(frames)
        return self.swing * torch.sin(2 * math.pi * (way + phase[:, None])) if self.swing else way


# Of 32 frames the Slow pathway sees four, 10 apart. To it both swings are a disc that jumps, and stripes that look
# alike after half a turn could have turned either way.
DRIFT = (0.8, 1.3)  # px a frame
TURN = (math.radians(8), math.radians(16))
GROWTH = (1 / 48, 1 / 36)
SLOW_SWING, FAST_SWING = (1 / 13, 1 / 8), (1 / 5, 1 / 3.5)
MOTIONS = {
    "left": Motion(X, (-DRIFT[0], -DRIFT[1])),
    "right": Motion(X, DRIFT),
    "up": Motion(Y, (-DRIFT[0], -DRIFT[1])),
    "down": Motion(Y, DRIFT),
    "clockwise": Motion(ANGLE, TURN),
    "anticlockwise": Motion(ANGLE, (-TURN[0], -TURN[1])),
    "grow": Motion(SIZE, GROWTH),
    "shrink": Motion(SIZE, (-GROWTH[0], -GROWTH[1])),
    "sway": Motion(X, SLOW_SWING, swing=4.0),
    "shake": Motion(X, FAST_SWING, swing=4.0),
    "bob": Motion(Y, SLOW_SWING, swing=4.0),
    "bounce": Motion(Y, FAST_SWING, swing=4.0),
}


def motion_set(count: int, *, seed: int, frames: int = 32, side: int = 32) -> tuple[Tensor, Tensor]:
    """Clips `(N, T, side, side, 3)` uint8 and their labels `(N,)` long, places in `MOTIONS`; one seed, one set.

    Every class has the same number of clips, up to one. side: px, at least 24, as the largest disc is 22 px across.
    """
    whole("count", count, 1)
    whole("frames", frames, 1)
    whole("side", side, 24)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(count, generator=generator) % len(MOTIONS)
    states = move(labels, frames, side, generator)
    stripes = STRIPES[0] + (STRIPES[1] - STRIPES[0]) * torch.rand(count, generator=generator)
    light, dark = 128 + torch.tensor([1, -1])[:, None, None] * (40 + 80 * torch.rand(2, count, 3, generator=generator))
    clips = torch.empty(count, frames, side, side, 3, dtype=torch.uint8)
    for part in torch.arange(count).split(TOGETHER):
        grey = 128 + 13 * (2 * torch.rand(len(part), 3, 4, 4, generator=generator) - 1)
        back = functional.interpolate(grey, size=(side, side), mode="bicubic").permute(0, 2, 3, 1)[:, None]
        inside, stripe = (plane[..., None] for plane in disc(states[part], stripes[part], side))
        colours = torch.lerp(dark[part, None, None, None], light[part, None, None, None], stripe)
        pictures = torch.lerp(back, colours, inside)
        pictures += NOISE * torch.randn(pictures.shape, generator=generator)
        clips[part] = pictures.round_().clamp_(0, 255).to(torch.uint8)
    return clips, labels


def move(labels: Tensor, frames: int, side: int, generator: torch.Generator) -> Tensor:
    """The state of each disc at each frame, `(N, 4, T)`: it begins anywhere, and its class moves one part of it."""
    circles = torch.tensor([side, side, 2 * math.pi, 1])
    begin = torch.rand(len(labels), 4, generator=generator) * circles
    speed, phase = torch.rand(2, len(labels), generator=generator)
    states = begin[:, :, None].repeat(1, 1, frames)
    for label, motion in enumerate(MOTIONS.values()):
        members = labels == label
        states[members, motion.part] += motion.shifts(speed[members], phase[members], frames)
    return states % circles[:, None]


def disc(states: Tensor, stripes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """How far each pixel lies in the disc and how light its stripe is, both `(N, T, side, side)` in 0..1."""
    x, y, angle, size = states[..., None, None].unbind(1)  # (N, T, 1, 1)
    pixels = torch.arange(side)
    right = (pixels - x + side / 2) % side - side / 2  # px from the middle of the disc, the short way round
    down = (pixels[:, None] - y + side / 2) % side - side / 2
    radius = RADII[0] * (RADII[1] / RADII[0]) ** size
    inside = (radius - torch.hypot(right, down) + 0.5).clamp(0, 1)
    across = (right * torch.cos(angle) + down * torch.sin(angle)) / radius
    wave = torch.sin(2 * math.pi * stripes[:, None, None, None] * across)
    return inside, 0.5 + 0.5 * (2 * wave).clamp(-1, 1)


def motion_videos(*, train: int, test: int, seed: int = 0) -> LabelledVideos:
    """So many clips to train on and to test on, in memory."""
    parts = (motion_set(count, seed=2 * seed + part) for part, count in enumerate((train, test)))
    samples = [
        tuple(Sample(clip, (label,), fps=FPS) for clip, label in zip(clips, labels.tolist())) for clips, labels in parts
    ]
    return LabelledVideos(tuple(MOTIONS), train=samples[0], test=samples[1])

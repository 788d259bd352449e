"""Figures that move their limbs side by side in one picture: what each one does is in its box and in its motion alone.

A figure swings its arms, its legs or its whole body, slowly or fast, and often two of them at a time. What it looks
like at one moment is three phases, each of which goes round in a circle. They begin evenly distributed and an action
only turns one of them, so they stay evenly distributed at every moment whatever is done: a single frame says nothing.
Twice a second a figure does something else, so that the moment matters, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from slowfast_hub.spec import whole
from slowfast_hub.trainer.keyframes import KeyFrame, LabelledPeople, Person

FPS = 30.0
EVERY = 15  # frames from one change of what figures do to the next
HEIGHT, WIDTH = 64, 96  # px of a picture
TALL = (34, 48)  # px, smallest and largest figure
BROAD = 0.64  # width of a figure's box by its height: as far as its arms reach while it sways
ARMS, LEGS, BODY = range(3)  # what swings
# Swings a frame. Fast is one more in eight frames: a network of single frames 8 apart sees the same at both speeds.
SLOW, FAST = (1 / 16, 1 / 8), (3 / 16, 1 / 4)
ACTIONS = {
    "wave": (ARMS, SLOW),
    "flap": (ARMS, FAST),
    "stroll": (LEGS, SLOW),
    "run": (LEGS, FAST),
    "sway": (BODY, SLOW),
    "shake": (BODY, FAST),
}
TWO = 0.5  # of the figures do two things at a time, with different parts
NOISE = 4.0  # of the camera: standard deviation of a pixel in 0..255


@dataclass(frozen=True)
class Place:
    """Where a figure stands: its box, in px of the picture."""

    left: int
    top: int
    wide: int
    tall: int

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Normalised."""
        right, low = self.left + self.wide, self.top + self.tall
        return self.left / WIDTH, self.top / HEIGHT, right / WIDTH, low / HEIGHT


def figures(*, train: int, val: int = 0, test: int = 0, moments: int = 4, seed: int = 0) -> LabelledPeople:
    """So many videos in memory, each of two or three figures with `moments` key frames, half a second apart."""
    whole("moments", moments, 1)

    def part(name: str, number: int, count: int) -> tuple[KeyFrame, ...]:
        films = (film(moments, torch.Generator().manual_seed(hash((seed, number, i)))) for i in range(count))
        return tuple(frame for i, each in enumerate(films) for frame in key_frames(*each, f"{name} {i}"))

    return LabelledPeople(tuple(ACTIONS), part("train", 0, train), part("val", 1, val), part("test", 2, test))


def key_frames(frames: Tensor, places: list[Place], labels: list[list[tuple[int, ...]]], title: str) -> list[KeyFrame]:
    """Those of one video, each in the middle of what its figures do."""
    return [
        KeyFrame(
            frames,
            (moment + 0.5) * EVERY / FPS,
            tuple(Person(place.box, done, person=str(i)) for i, (place, done) in enumerate(zip(places, now))),
            group=title,
            fps=FPS,
            title=title,
        )
        for moment, now in enumerate(labels)
    ]


def write_figures(people: LabelledPeople, folder: Path) -> Path:
    """The set as files: a video for each title, and `people.csv`, which `read_people` reads; its path is given back.

    The names of the classes, in their order, lie beside it in `classes.txt`.
    """
    from slowfast_hub.trainer.formats.people import write_people
    from slowfast_hub.video.encode import write_mp4

    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    for frame in people.samples():
        if frame.title not in files:
            files[frame.title] = folder / f"{frame.title.replace(' ', '_')}.mp4"
            reader = frame.open()
            numbers = range(reader.info.frames)
            times_s = (torch.arange(len(numbers), dtype=torch.float64) / FPS).numpy()
            size = (HEIGHT, WIDTH)
            write_mp4(files[frame.title], reader.stream(numbers), times_s, info=reader.info, size=size, gop=30, crf=12)
    parts: dict[str, Any] = {
        part: tuple(replace(frame, video=files[frame.title], fps=None) for frame in getattr(people, part))
        for part in ("train", "val", "test")
    }
    write_people(folder / "people.csv", replace(people, **parts))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in people.classes), encoding="utf-8")
    return folder / "people.csv"


def film(moments: int, generator: torch.Generator) -> tuple[Tensor, list[Place], list[list[tuple[int, ...]]]]:
    """One video `(T, HEIGHT, WIDTH, 3)` uint8, where its figures stand, and what each of them does at each moment."""
    places = stand(2 + int(torch.randint(2, (), generator=generator)), generator)
    labels = [[actions(generator) for _ in places] for _ in range(moments)]
    grey = 128 + 40 * (2 * torch.rand(1, 3, 4, 6, generator=generator) - 1)
    back = functional.interpolate(grey, size=(HEIGHT, WIDTH), mode="bicubic")[0].permute(1, 2, 0)
    pictures = back.expand(moments * EVERY, -1, -1, -1).clone()
    for number, place in enumerate(places):
        phases = turn([now[number] for now in labels], generator)
        colours = 255 * torch.rand(3, 3, generator=generator)  # of limbs, trunk and head
        patch = pictures[:, place.top : place.top + place.tall, place.left : place.left + place.wide]
        for shape, colour in zip(figure(phases, place), colours):
            patch.lerp_(colour, shape[..., None])
    pictures += NOISE * torch.randn(pictures.shape, generator=generator)
    return pictures.round_().clamp_(0, 255).to(torch.uint8), places, labels


def stand(count: int, generator: torch.Generator) -> list[Place]:
    """Places side by side: what the figures leave of the width lies between them by chance."""
    low, high = TALL
    tall = torch.randint(low, high + 1, (count,), generator=generator).tolist()
    wide = [round(BROAD * height) for height in tall]
    gaps = torch.rand(count + 1, generator=generator)
    gaps = (gaps / gaps.sum() * (WIDTH - sum(wide))).floor().int().tolist()
    return [
        Place(
            sum(gaps[: i + 1]) + sum(wide[:i]),
            int(torch.randint(HEIGHT - tall[i] + 1, (), generator=generator)),
            wide[i],
            tall[i],
        )
        for i in range(count)
    ]


def actions(generator: torch.Generator) -> tuple[int, ...]:
    """What a figure does: one action, or two of different parts."""
    parts = torch.randperm(3, generator=generator)[: 1 + int(torch.rand((), generator=generator) < TWO)]
    speeds = torch.randint(2, (len(parts),), generator=generator)
    return tuple(sorted((2 * parts + speeds).tolist()))


def turn(labels: list[tuple[int, ...]], generator: torch.Generator) -> Tensor:
    """The phases `(3, T)` in turns of a figure that does something at each moment: from anywhere, on and on."""
    steps = torch.zeros(3, len(labels), EVERY)
    for moment, now in enumerate(labels):
        for label in now:
            part, (low, high) = [*ACTIONS.values()][label]
            steps[part, moment] = low + (high - low) * torch.rand((), generator=generator)
    ways = torch.randint(0, 2, (3, 1), generator=generator) * 2 - 1  # a swing seen backwards is as good
    return (torch.rand(3, 1, generator=generator) + ways * steps.flatten(1).cumsum(1)) % 1


def figure(phases: Tensor, place: Place) -> tuple[Tensor, Tensor, Tensor]:
    """How far each pixel of the box lies in limbs, trunk and head at each frame: `(T, tall, wide)` each, 0..1."""
    arms, legs, sway = torch.sin(2 * math.pi * phases)
    down, across = torch.meshgrid(torch.arange(place.tall) + 0.5, torch.arange(place.wide) + 0.5, indexing="ij")
    x = (across - place.wide / 2) / place.tall - 0.1 * sway[:, None, None]  # from the trunk; heights of the figure
    y = (down / place.tall).expand_as(x)
    arm, leg = math.radians(80) + math.radians(45) * arms, math.radians(24) + math.radians(20) * legs
    # Arms and legs are mirror images: the distance from the right one, of |x|.
    limbs = torch.minimum(
        from_line(x.abs(), y, 0.3, arm, 0.22, thick=0.05), from_line(x.abs(), y, 0.58, leg, 0.36, thick=0.055)
    )
    trunk = from_line(x, y, 0.28, torch.zeros_like(sway), 0.3, thick=0.07)
    head = torch.hypot(x, y - 0.13) - 0.1
    return tuple((0.5 - place.tall * distance).clamp(0, 1) for distance in (limbs, trunk, head))  # type: ignore[return-value]


def from_line(x: Tensor, y: Tensor, top: float, angle: Tensor, length: float, *, thick: float) -> Tensor:
    """Distance of points `(T, h, w)` from a line that hangs at `(0, top)`, by `angle (T,)` from straight down."""
    along = torch.stack([angle.sin(), angle.cos()])[..., None, None]
    way = (x * along[0] + (y - top) * along[1]).clamp(0, length)
    return torch.hypot(x - way * along[0], y - top - way * along[1]) - thick

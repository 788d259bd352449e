"""Frames to a training clip: random size, place, side and light (paper, section 4: scale jitter, random crop, flip).

All draws come from one generator, so a seed gives the same clip again, and all frames of a clip share them. Light,
colour, RandAugment (Cubuk et al. 2020) and erasing (Zhong et al. 2020) are not the paper's; torchvision does the last
three.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slowfast_hub.spec import ClipSpec
from slowfast_hub.transforms.eval import check_frames, normalise
from slowfast_hub.transforms.geometry import Bilinear, flip_boxes, resize


@dataclass(frozen=True)
class Draw:
    """What chance decided for one clip."""

    size: tuple[int, int]  # height and width that its pictures are resized to
    down: int  # px from the top of the resized picture to that of the crop; below 0: the crop begins above it
    right: int
    flip: bool
    contrast: float
    brightness: float
    seed: int  # of what torchvision draws


@dataclass(frozen=True)
class TrainTransform:
    """`(T, H, W, 3)` uint8 frames to a clip `(3, T, crop, crop)`, augmented alike in all its frames.

    jitter: px, range of the size the resized side is drawn from: the short side for spec.fit "cover", the long one for
    "contain". The picture is then cut or padded to `crop` at a random place. jitter_inverse: evenly in 1 / px.
    crop: px; None for that of the spec.
    aspect: largest relative change of width against height. flip: probability of left for right.
    light: largest relative change of contrast, and in units of the full range of brightness.
    color: strength of torchvision's ColorJitter (brightness, contrast and saturation; hue at a quarter of it).
    rand_augment: magnitude of two operations of torchvision's RandAugment, 0 to 30. erase: probability of an erased
    box.
    """

    spec: ClipSpec
    jitter: tuple[int, int]
    crop: int | None = None
    jitter_inverse: bool = False
    aspect: float = 0.0
    flip: float = 0.5
    light: float = 0.0
    color: float = 0.0
    rand_augment: int = 0
    erase: float = 0.0

    def __call__(self, frames: Tensor, *, generator: torch.Generator) -> Tensor:
        check_frames(frames)
        draw = self.draw(frames.shape[1], frames.shape[2], generator=generator)
        return self.apply(frames, draw, count=len(frames))

    @property
    def side(self) -> int:
        """Height and width of the clips, px."""
        return self.crop or self.spec.crop

    def draw(self, height: int, width: int, *, generator: torch.Generator) -> Draw:
        """What happens to a clip whose pictures have this size."""

        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        side = min(height, width) if self.spec.fit == "cover" else max(height, width)
        low, high = self.jitter
        drawn = 1 / uniform(1 / high, 1 / low) if self.jitter_inverse else uniform(low, high)
        scale, stretch = drawn / side, 1 + uniform(-self.aspect, self.aspect)
        size = (max(1, round(height * scale)), max(1, round(width * scale * stretch)))
        down, right = (-round(uniform(0, 1) * (self.side - length)) for length in size)
        flip = uniform(0, 1) < self.flip
        contrast, brightness = 1 + uniform(-self.light, self.light), uniform(-self.light, self.light)
        seed = int(torch.randint(2**31, (), generator=generator))
        return Draw(size, down, right, flip, contrast, brightness, seed)

    def apply(self, pictures: Iterable[Tensor], draw: Draw, *, count: int) -> Tensor:
        """`count` pictures `(H, W, 3)` uint8, one after the other, to the clip `(3, count, crop, crop)` float32.

        Each is resized as it comes, and only where the crop lies. The colours of a pixel lie side by side.
        """
        down, right = (
            slice(max(0, start), max(0, start) + min(self.side, length))
            for start, length in zip((draw.down, draw.right), draw.size)
        )
        # One piece of memory, written once: new memory costs more than the arithmetic.
        pixels = torch.empty(count, down.stop - down.start, right.stop - right.start, 3)  # 0..255
        into = pixels.numpy()[:, :, ::-1] if draw.flip else pixels.numpy()
        for place, rows in zip(into, self.cut(pictures, draw.size, down, right), strict=True):
            place[...] = rows
        if self.color or self.rand_augment:
            pixels = self.recoloured(pixels, draw)
        clip = normalise(pixels.permute(3, 0, 1, 2), self.spec)
        if self.light:
            clip.mul_(draw.contrast).add_(draw.brightness / self.spec.std[0])
        clip = padded(clip, self.side, draw)
        return self.erased(clip, draw) if self.erase else clip

    def boxes(self, boxes: Tensor, draw: Draw, *, height: int, width: int) -> Tensor:
        """Where boxes `(N, 4)` in px of the pictures lie in the clip, in its px: cut to it, as PySlowFast does.

        Of a box that lies outside nothing is left: a side has no length.
        """
        rows, columns = draw.size
        moved = boxes * boxes.new_tensor([columns / width, rows / height] * 2)
        moved = moved - boxes.new_tensor([draw.right, draw.down] * 2)
        return (flip_boxes(moved, self.side) if draw.flip else moved).clamp(0, self.side)

    def cut(self, pictures: Iterable[Tensor], size: tuple[int, int], down: slice, right: slice) -> Iterator[np.ndarray]:
        """A part of each picture, resized to `size`: (h, w, 3), which lasts until the next one is asked for."""
        fit: Bilinear | None = None
        for picture in pictures:
            before = (picture.shape[0], picture.shape[1])
            if before == size:
                yield picture.numpy()[down, right]
            elif self.spec.antialias:
                small = resize(picture.permute(2, 0, 1).float(), size, antialias=True)
                yield small[:, down, right].permute(1, 2, 0).numpy()
            else:
                fit = fit or Bilinear(before, size, down=down, right=right)
                yield fit(picture.numpy())

    def recoloured(self, pixels: Tensor, draw: Draw) -> Tensor:
        """(T, h, w, 3) float 0..255 after ColorJitter and RandAugment, rounded to whole numbers."""
        from torchvision.transforms import v2

        steps: list[torch.nn.Module] = []
        if self.color:
            steps.append(v2.ColorJitter(self.color, self.color, self.color, min(0.5, self.color / 4)))
        if self.rand_augment:
            steps.append(v2.RandAugment(2, self.rand_augment))
        frames = pixels.round_().to(torch.uint8).permute(0, 3, 1, 2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draw.seed)
            for step in steps:
                frames = step(frames)
        return frames.permute(0, 2, 3, 1).float()

    def erased(self, clip: Tensor, draw: Draw) -> Tensor:
        """The clip, with a box of mean colour in all its frames or without."""
        from torchvision.transforms import v2

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draw.seed + 1)
            return v2.RandomErasing(p=self.erase)(clip.transpose(0, 1)).transpose(0, 1)


def padded(clip: Tensor, side: int, draw: Draw) -> Tensor:
    """What lies in the crop, `(3, T, h, w)`, on `(3, T, side, side)` of zeros."""
    height, width = clip.shape[2:]
    if (height, width) == (side, side):
        return clip
    top, left = max(0, -draw.down), max(0, -draw.right)
    if draw.flip:
        left = side - width - left
    rows = clip.permute(1, 2, 3, 0)
    return functional.pad(rows, (0, 0, left, side - width - left, top, side - height - top)).permute(3, 0, 1, 2)

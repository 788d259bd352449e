"""Labelled videos: from a folder per class to clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from slowfast_hub.spec import ClipSpec
from slowfast_hub.transforms.geometry import resize_long
from slowfast_hub.transforms.train import TrainTransform
from slowfast_hub.video.reader import VIDEO_SUFFIXES, Video, VideoReader, open_video, read_frames
from slowfast_hub.video.sampling import clip_indices, random_start


@dataclass(frozen=True)
class Sample:
    """One labelled video; `group` is what must not stand on both sides of a split (a person, a scene)."""

    video: Video
    label: int
    group: str = ""
    fps: float | None = None  # of an array or a folder of frames


def read_folder(root: str | Path, *, group: Callable[[Path], str] = lambda path: "") -> tuple[list[Sample], list[str]]:
    """The samples of `root/<class>/<video>` and the class names, sorted; the index of a name is its label."""
    root = Path(root)
    classes = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    samples = [
        Sample(path, label, group(path))
        for label, name in enumerate(classes)
        for path in sorted((root / name).iterdir())
        if path.suffix.lower() in VIDEO_SUFFIXES
    ]
    if not samples:
        endings = ", ".join(sorted(VIDEO_SUFFIXES))
        raise ValueError(f"{root}: no videos; expected {root}/<class>/<video> that ends in one of {endings}")
    return samples, classes


def hold_in_memory(samples: Sequence[Sample], *, longest: int | None = None) -> list[Sample]:
    """The same samples with their videos decoded, for sets that fit: an epoch then costs no decoding.

    longest: px, the longer side of larger pictures after shrinking; None keeps them as they are.
    """
    return [hold(sample, longest) for sample in samples]


def hold(sample: Sample, longest: int | None) -> Sample:
    reader = open_video(sample.video, fps=sample.fps)
    if reader.info.times_s is not None:
        return sample  # an array has one rate; a file of varying rate stays a file
    frames = torch.stack(list(reader.stream(range(reader.info.frames))))
    if longest is not None and longest < max(frames.shape[1:3]):
        small = resize_long(frames.permute(0, 3, 1, 2).float(), longest, antialias=True)
        frames = small.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return replace(sample, video=frames, fps=reader.info.fps)


class ClipDataset(Dataset[tuple[Tensor, int]]):
    """Random training clips `(3, T, crop, crop)` and labels, one per video and epoch.

    The draws of item i in epoch e depend on (seed, e, i) alone, whatever the worker and the order.
    """

    def __init__(
        self, samples: Sequence[Sample], spec: ClipSpec, transform: TrainTransform, *, speed: float, seed: int
    ) -> None:
        self.samples = list(samples)
        self.spec = spec
        self.transform = transform
        self.speed = speed
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sample = self.samples[index]
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch, index)))
        reader: VideoReader = open_video(sample.video, fps=sample.fps)
        spec = self.spec
        if spec.fps is not None:
            # A slower clock lets more time pass between two frames: the action looks faster.
            factor = 1 + self.speed * (2 * float(torch.rand((), generator=generator)) - 1)
            spec = replace(spec, fps=spec.fps * factor)
        indices = clip_indices(reader.info, spec, start=random_start(reader.info, spec, generator=generator))
        return self.transform(read_frames(reader, indices), generator=generator), sample.label

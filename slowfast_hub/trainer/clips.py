"""From labelled videos to batches of training clips."""

from __future__ import annotations

import os
import pickle
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from slowfast_hub.spec import ClipSpec, VideoError, VideoInfo
from slowfast_hub.trainer.keyframes import KeyFrame
from slowfast_hub.trainer.processes import apart, processes_here
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.trainer.samples import LabelledVideos, Sample, Span
from slowfast_hub.transforms.eval import MOST_FITTED
from slowfast_hub.transforms.geometry import resize_long
from slowfast_hub.transforms.train import Draw, TrainTransform
from slowfast_hub.video.reader import VideoReader
from slowfast_hub.video.sampling import random_indices

Shown = TypeVar("Shown", Sample, KeyFrame)  # what a clip is made of


class Key(NamedTuple):
    """Which clip: a draw of chance for itself."""

    epoch: int
    place: int  # of the sample
    again: int = 0  # how often the epoch has shown this video before


class Skipped(NamedTuple):
    """A video that could not be read."""

    epoch: int
    video: str
    reason: str


class Item(NamedTuple):
    """A clip and its labels, or why there is none."""

    clip: Tensor | None  # (3, T, S, S)
    target: Tensor
    skipped: Skipped | None
    boxes: Tensor | None = None  # (N, 4) px of the clip, of a set of people; a row of `target` for each


class Batch(NamedTuple):
    """What one device takes at once; videos that could not be read are missing in it."""

    clips: Tensor  # (B, 3, T, S, S), channels last
    targets: Tensor  # (B,) long, or (B, num_classes) float of a multi-label set; of people a row for each
    skipped: list[Skipped]
    rois: Tensor | None = None  # of people: (N, 5), the place of the clip in the batch, then the box in px of the clip


class ClipDataset(Dataset[Item], Generic[Shown], ABC):
    """Random training clips, `dataset[Key(epoch, place)]`.

    The draws of a clip depend on the seed and its key alone, whatever the worker and the order.
    swap: label by label, what a mirrored clip shows.
    """

    def __init__(
        self,
        samples: Sequence[Shown],
        spec: ClipSpec,
        transform: TrainTransform,
        *,
        num_classes: int,
        multilabel: bool = False,
        swap: Sequence[int] | None = None,
        speed: float = 0.0,
        seed: int = 0,
    ) -> None:
        on_disk = all(sample.on_disk for sample in samples)
        self.samples: Sequence[Shown] = Packed(samples) if on_disk else tuple(samples)
        self.spec = spec
        self.transform = transform
        self.num_classes = num_classes
        self.multilabel = multilabel
        self.swap = tuple(range(num_classes)) if swap is None else tuple(swap)
        self.speed = speed
        self.seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> Item:
        sample = self.samples[key.place]
        try:
            return self.item(sample, torch.Generator().manual_seed(hash((self.seed, *key))))
        except VideoError as error:
            reason = str(error) if sample.on_disk else f"{sample.name}: {error.reason}"
            return Item(None, torch.empty(0), Skipped(key.epoch, sample.name, reason))

    @abstractmethod
    def item(self, sample: Shown, generator: torch.Generator) -> Item:
        """A clip and what it shows; VideoError where it cannot be read."""

    def clock(self, generator: torch.Generator) -> ClipSpec:
        """The clip recipe, at the speed of this draw."""
        if self.spec.fps is None:
            return self.spec
        # A slower clock lets more time pass between two frames: the action looks faster.
        factor = 1 + self.speed * (2 * float(torch.rand((), generator=generator)) - 1)
        return replace(self.spec, fps=self.spec.fps * factor)

    def draw(self, reader: VideoReader, generator: torch.Generator) -> Draw:
        """What happens to the pictures; VideoError where they would become too large."""
        draw = self.transform.draw(reader.info.height, reader.info.width, generator=generator)
        if draw.size[0] * draw.size[1] > MOST_FITTED:
            raise VideoError(
                reader.info.source, f"pictures would become {draw.size[1]} x {draw.size[0]} px; crop them first"
            )
        return draw

    def labels(self, labels: Iterable[int], draw: Draw) -> list[int]:
        """What they are in the clip, which may be mirrored."""
        return [self.swap[label] if draw.flip else label for label in labels]

    def each_class(self, labels: Sequence[int]) -> Tensor:
        """(num_classes,) float: 1 for the labels."""
        return torch.zeros(self.num_classes).index_fill_(0, torch.tensor(labels, dtype=torch.long), 1.0)

    def clip(self, reader: VideoReader, indices: Tensor, draw: Draw) -> Tensor:
        """Frames `(T,)` as a clip `(3, T, S, S)`."""
        numbers, places = indices.unique(return_inverse=True)
        clip = self.transform.apply(reader.stream(numbers.tolist()), draw, count=len(numbers))
        if len(numbers) < len(indices):  # a short video holds its ends
            clip = clip.permute(1, 2, 3, 0)[places].permute(3, 0, 1, 2)
        return clip


class VideoClips(ClipDataset[Sample]):
    """Clips of labelled videos, from anywhere in them."""

    def item(self, sample: Sample, generator: torch.Generator) -> Item:
        reader = sample.open()
        indices = random_indices(reader.info, self.clock(generator), generator)
        draw = self.draw(reader, generator)
        labels = self.labels(sample.labels_between(*reader.info.span_s(indices)), draw)
        target = self.each_class(labels) if self.multilabel else torch.tensor(labels[0])
        return Item(self.clip(reader, indices, draw), target, None)


class Packed(Sequence[Shown]):
    """Samples as bytes in one array: Python objects would be copied into each worker as their use is counted there."""

    def __init__(self, samples: Sequence[Shown]) -> None:
        pieces = [torch.frombuffer(bytearray(pickle.dumps(sample)), dtype=torch.uint8) for sample in samples]
        self._ends = torch.tensor([len(piece) for piece in pieces]).cumsum(0)
        self._bytes = torch.cat(pieces)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Shown:  # type: ignore[override]  # single samples alone
        begin = int(self._ends[index - 1]) if index else 0
        sample: Shown = pickle.loads(self._bytes[begin : int(self._ends[index])].numpy().tobytes())
        return sample


class Turns(Sampler[list[Key]]):
    """Which clips this process sees, as one list for each turn of a step.

    An epoch is a permutation of all clips that (seed, epoch) alone decides, cut into steps of `batch_size`, without
    what is left at its end. A step is shared out: each process takes a piece of it in `turns` parts, so that the same
    clips make a step whatever the number of processes. weights: clips are drawn in this proportion instead, with
    repeats.
    """

    def __init__(
        self,
        count: int,
        *,
        batch_size: int,
        process: int,
        processes: int,
        turns: int,
        seed: int,
        weights: Tensor | None,
    ) -> None:
        self.count = count
        self.batch_size = min(batch_size, count)
        self.process = process
        self.processes = processes
        self.turns = turns
        self.seed = seed
        self.weights = weights
        self.epoch = 0
        self.first = 0  # step of the epoch to begin with
        if self.batch_size < processes * turns:
            raise ValueError(
                f"a step of {self.batch_size} clips cannot be shared by {processes} processes with {turns} turns each: "
                "raise batch_size (and add videos), or start fewer processes"
            )

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.count // self.batch_size

    def __len__(self) -> int:
        return (self.steps - self.first) * self.turns

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch)))
        if self.weights is None:
            order = torch.randperm(self.count, generator=generator)
        else:
            order = torch.multinomial(self.weights, self.count, replacement=True, generator=generator)
        seen: Counter[int] = Counter()
        keys = []
        for index in order.tolist():
            keys.append(Key(self.epoch, index, seen[index]))
            seen[index] += 1
        for step in range(self.first, self.steps):
            places = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)
            for turn in places.tensor_split(self.processes)[self.process].tensor_split(self.turns):
                yield [keys[place] for place in turn.tolist()]


def collate(items: list[Item]) -> Batch:
    """The clips that could be read, side by side."""
    found = [item for item in items if item.clip is not None]
    skipped = [item.skipped for item in items if item.skipped is not None]
    if not found:
        return Batch(torch.empty(0), torch.empty(0), skipped)
    # torch's own: in a worker it stacks where the training process can see it, so that nothing is copied again.
    clips: Tensor = default_collate([item.clip.permute(1, 2, 3, 0) for item in found if item.clip is not None])
    clips, targets = clips.permute(0, 4, 1, 2, 3), [item.target for item in found]
    boxes = [item.boxes for item in found if item.boxes is not None]
    if not boxes:
        return Batch(clips, torch.stack(targets), skipped)
    places = torch.arange(len(found)).repeat_interleave(torch.tensor([len(each) for each in boxes]))
    return Batch(clips, torch.cat(targets), skipped, torch.cat([places[:, None], torch.cat(boxes)], 1))


def training_set(recipe: Recipe, videos: LabelledVideos, spec: ClipSpec) -> VideoClips:
    """The clips of the training part, as the recipe makes them."""
    return VideoClips(
        [hold(sample, recipe.hold) for sample in videos.train] if recipe.hold else videos.train,
        spec,
        training_transform(recipe, spec),
        num_classes=len(videos.classes),
        multilabel=videos.multilabel,
        swap=swapped(recipe, videos.classes),
        speed=recipe.speed,
        seed=recipe.seed,
    )


def training_transform(recipe: Recipe, spec: ClipSpec) -> TrainTransform:
    """What the recipe does to the pictures of a clip; ValueError for a change of a clock that there is not."""
    if recipe.speed and spec.fps is None:
        raise ValueError(
            "speed changes the clock of a clip, and this network counts the file's own frames: leave it out"
        )
    return TrainTransform(
        spec,
        recipe.jitter or usual_jitter(spec, clip_side(recipe, spec)),
        crop=clip_side(recipe, spec),
        jitter_inverse=recipe.jitter_inverse,
        aspect=recipe.aspect,
        flip=recipe.flip,
        light=recipe.light,
        color=recipe.color,
        rand_augment=recipe.rand_augment,
        erase=recipe.erase,
    )


def clip_side(recipe: Recipe, spec: ClipSpec) -> int:
    """Height and width of the training clips, px."""
    return recipe.crop or spec.crop


def usual_jitter(spec: ClipSpec, side: int) -> tuple[int, int]:
    """The sizes of the paper in proportion, for clips of `side` px: 256 to 320 where a test cuts 256 px from 256.

    Of whole pictures, which are padded to a square, from 7/8 to 9/8 of it.
    """
    if spec.fit == "contain":
        return round(side * 7 / 8), round(side * 9 / 8)
    short = spec.short_side * side / spec.crop
    return round(short), round(short * 5 / 4)


def make_loader(dataset: Dataset[Item], turns: Turns, workers: int, device: torch.device) -> Iterable[Batch]:
    """Batches of the turns, in their order; workers stay from epoch to epoch."""
    return DataLoader(
        dataset,
        batch_sampler=turns,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        worker_init_fn=apart,
        generator=torch.Generator(),  # its draws are nobody's, and the global ones stay where a checkpoint has them
    )


def workers_of(recipe: Recipe) -> int:
    """How many processes make clips for one training process."""
    if recipe.workers >= 0:
        return recipe.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // processes_here())


def swapped(recipe: Recipe, classes: Sequence[str]) -> tuple[int, ...]:
    """Label by label, what a mirrored clip shows."""
    other = {**recipe.swap, **{right: left for left, right in recipe.swap.items()}}
    unknown = sorted(set(other) - set(classes))
    if unknown:
        raise ValueError(f"recipe.swap names {', '.join(map(repr, unknown))}, which are no classes of this set")
    return tuple(classes.index(other.get(name, name)) for name in classes)


def class_counts(labels: Iterable[Sequence[int]], num_classes: int) -> Tensor:
    """How many of the training videos, or people, have each class as a label: (num_classes,) float."""
    found = torch.tensor([label for each in labels for label in each], dtype=torch.long)
    return found.bincount(minlength=num_classes).float()


def sample_weights(samples: Iterable[Sample | KeyFrame], counts: Tensor) -> Tensor:
    """How often each training clip is to be seen, so that each class is seen alike: (N,) float.

    One over the `class_counts` of its class; of several labels the mean; without any the smallest of all.
    """
    rarity = 1 / counts.clamp(min=1)
    least = float(rarity.min())
    weights = [float(rarity[list(sample.labels)].mean()) if sample.labels else least for sample in samples]
    return torch.tensor(weights, dtype=torch.float64)


def hold(sample: Sample, longest: int) -> Sample:
    """The same sample with its video decoded, for sets that fit into memory: an epoch then costs no decoding.

    longest: px, the longer side of larger pictures after shrinking. A file that cannot be read stays a file.
    """
    decoded = decode(sample, longest)
    if decoded is None:
        return sample
    frames, info = decoded
    spans = tuple(Span(s.label, s.start_s - info.start_s, s.end_s - info.start_s) for s in sample.spans)
    return replace(sample, video=frames, fps=info.fps, start_s=None, end_s=None, spans=spans, title=sample.name)


def decode(sample: Sample | KeyFrame, longest: int) -> tuple[Tensor, VideoInfo] | None:
    """All frames `(T, H, W, 3)` of a video, shrunk, and what the file was; None for one that has to stay a file."""
    try:
        reader = sample.open()
        if reader.info.times_s is not None:
            return None  # an array has one rate; a file of varying rate stays a file
        return torch.stack([shrunk(frame, longest) for frame in reader.stream(range(reader.info.frames))]), reader.info
    except VideoError:
        return None


def shrunk(frame: Tensor, longest: int) -> Tensor:
    """(H, W, 3) uint8 with its longer side at most `longest` px."""
    if longest >= max(frame.shape[:2]):
        return frame
    return resize_long(frame.permute(2, 0, 1).float(), longest, antialias=True).round().to(torch.uint8).permute(1, 2, 0)

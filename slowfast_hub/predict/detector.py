"""Who does what in a video: boxes of people, and for each the actions that a network sees around the moment.

The other half of the paper (section 5): people are found in the picture of a moment, the network sees the clip around
it, and RoIAlign cuts each person out of its maps. The whole picture is seen, at the short side that the weights come
with, and not a crop of it. Several scales and mirrored pictures, whose scores are averaged, are the paper's SlowFast++.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from slowfast_hub.models import VideoModel
from slowfast_hub.people.boxes import Unit
from slowfast_hub.people.finder import PersonDetector
from slowfast_hub.people.sources import Boxes, BoxSource, Found, boxes_of
from slowfast_hub.people.tracker import Tracker
from slowfast_hub.predict.aggregate import scores_of
from slowfast_hub.predict.clips import batch, fitted_size, stream_rows
from slowfast_hub.predict.network import open_network
from slowfast_hub.predict.speed import PRECISIONS, Precision, best_batch_size, prepare
from slowfast_hub.spec import LARGEST, LONG, Arch, ClipSpec, Detection, Limits, VideoInfo, one_of, whole, yes_or_no
from slowfast_hub.transforms.eval import EvalTransform, Fitter, as_clip
from slowfast_hub.transforms.geometry import flip, flip_boxes
from slowfast_hub.video.reader import Video, VideoReader, open_video
from slowfast_hub.video.sampling import centred_indices

EVERY_S = 1.0  # AVA has a key frame a second
MOST_SIDE = 2048  # px of a scale: four times what anyone has tested with, and gigabytes of maps

Progress = Callable[[float, float], None]  # seconds of the video done, and in all


@dataclass(frozen=True)
class BoxView:
    """One way in which a moment is seen: a size, mirrored or not."""

    transform: EvalTransform
    mirrored: bool = False

    def clip(self, fitted: Tensor) -> Tensor:
        """(3, T, H', W') as the transform's `resized` gives it to the clip that the network sees, nothing cut off."""
        clip = self.transform.cropped(fitted, crop="whole")
        return flip(clip) if self.mirrored else clip

    def boxes(self, boxes: Tensor, info: VideoInfo, width: int) -> Tensor:
        """Boxes (N, 4) in px of the picture to px of that clip, which is `width` px wide."""
        moved = self.transform.boxes(boxes, info.height, info.width)
        return flip_boxes(moved, width) if self.mirrored else moved


class Moment(NamedTuple):
    """What is seen of one moment of a video."""

    at_s: float  # seconds of the file
    fitted: tuple[Tensor, ...]  # (3, T, H', W') of each of the transforms
    picture: Tensor | None  # (H, W, 3) uint8 RGB, the one shown then, where somebody wants to look at it


class Scored(NamedTuple):
    """The people of one moment, with what the network gives for each: a row."""

    at_s: float
    people: Found
    values: Tensor  # (N, D) on the CPU; (0, 0) where there is nobody


class Detector:
    """Keeps one network for many videos: `Detector(name)(video, at_s=12.5) -> Detection`.

    name: a detector (`_det`) that `create_model` has weights for, as in `Predictor`, or a network of your own.
    people: where boxes come from if a call does not say, see `boxes_of`; None for `PersonDetector()`, which finds them
        with torchvision's Faster R-CNN.
    scales: px of the shorter side; None for the one that the weights come with. flip: mirrored pictures, too. The
        scores of all views are averaged: `scales=(224, 256, 320), flip=True` is what the paper calls SlowFast++.
    batch_size: moments per run of the network; None takes what the device is fastest with.
    device, precision, compile: as in `Predictor`. limits: what a file may ask of this machine; None allows films.
    Errors: ValueError for a network that takes no boxes.
    """

    def __init__(
        self,
        name: str | VideoModel,
        *,
        people: BoxSource | None = None,
        scales: Sequence[int] | None = None,
        flip: bool = False,
        device: str | torch.device | None = None,
        batch_size: int | None = None,
        precision: Precision = "float32",
        compile: bool = False,
        limits: Limits | None = None,
    ) -> None:
        one_of("precision", precision, PRECISIONS)
        yes_or_no("flip", flip)
        if batch_size is not None:
            whole("batch_size", batch_size, 1)
        self.people = people
        self.limits = limits or LONG
        self.name, network = open_network(name, device=device, check=check_takes_boxes)
        self.views = box_views(network.arch.clip, scales, flip)
        self.device = next(network.parameters()).device
        self.batch_size = batch_size or best_batch_size(self.device)
        self.model = prepare(network, precision=precision, compile=compile)
        self.labels = self.model.labels or tuple(f"class {index}" for index in range(self.model.num_classes))

    def __call__(
        self,
        video: Video,
        *,
        at_s: float,
        boxes: BoxSource | None = None,
        unit: Unit | None = None,
        fps: float | None = None,
    ) -> Detection:
        """Who does what at one moment, in seconds of the file.

        video, fps: as `Predictor` takes them. boxes: in px of the picture or normalised (`unit`; None finds out), see
        `boxes_of`; where there is nobody, the answer has no rows. A box partly outside of the picture is cut to it.
        Errors: VideoError when the frames cannot be had; ValueError for a moment outside of the video, and for boxes
        that are reversed, empty, or wholly outside.
        """
        reader = self.open(video, fps=fps)
        (scored,) = self.scored(reader, [at_s], self.boxes(reader.info, boxes, unit))
        return self.detection(reader.info, scored, torch.arange(len(scored.values)))

    def along(
        self,
        video: Video,
        *,
        every_s: float | None = None,
        boxes: BoxSource | None = None,
        unit: Unit | None = None,
        fps: float | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Detection]:
        """Who does what all along a video, moment by moment, on one pass; memory does not grow with its length.

        every_s: a moment lies in the middle of each stretch of this length; one second where it is left out. A table
        has moments of its own and takes no every_s. ids: of a table that names people theirs, else a `Tracker`'s.
        progress: called after each moment with the seconds that are done, and all. Else as for a single moment.
        """
        reader = self.open(video, fps=fps)
        people = self.boxes(reader.info, boxes, unit)
        for scored, ids in self.followed(reader, people, every_s=every_s, progress=progress):
            yield self.detection(reader.info, scored, ids)

    # The parts, for who wants something else of a person than scores

    def open(self, video: Video, *, fps: float | None = None) -> VideoReader:
        """The reader of a video, within the limits of this detector."""
        return open_video(video, fps=fps, limits=self.limits)

    def boxes(self, info: VideoInfo, source: BoxSource | None, unit: Unit | None) -> Boxes:
        """The people of a video: of `source`, else of this detector."""
        if source is None and self.people is None:
            self.people = PersonDetector(device=self.device)  # once for all videos
        return boxes_of(self.people if source is None else source, info, unit=unit)  # type: ignore[arg-type]

    def followed(
        self,
        reader: VideoReader,
        people: Boxes,
        *,
        every_s: float | None,
        progress: Progress | None,
        answer: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Iterator[tuple[Scored, Tensor]]:
        """What `scored` gives of the moments along a video, and who the people are: ids `(N,)` long."""
        info, identify = reader.info, Identities()
        for scored in self.scored(reader, moments_of(info, people.times_s, every_s), people, answer):
            yield scored, identify(scored.people)
            if progress is not None:
                progress(min(scored.at_s - info.start_s, info.duration_s), info.duration_s)

    def scored(
        self,
        reader: VideoReader,
        times_s: Sequence[float],
        people: Boxes,
        answer: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Iterator[Scored]:
        """The people of each of these moments, ascending, with what `answer` gives of them; scores if it is left out.

        answer: clips `(B, 3, T, H, W)` and rois `(N, 5)` to rows `(N, D)`, of which those of all views are averaged.
        """
        seen = moments(reader, self.views, self.model.arch.clip, times_s, pictures=people.looks)
        for several in grouped(seen, self.batch_size):
            found = [people.at(moment.at_s, moment.picture) for moment in several]
            values = self.run(several, [one.boxes for one in found], reader.info, answer or self.probs)
            yield from (Scored(moment.at_s, one, rows) for moment, one, rows in zip(several, found, values))

    @torch.inference_mode()
    def run(
        self,
        seen: Sequence[Moment],
        boxes: Sequence[Tensor],
        info: VideoInfo,
        answer: Callable[[Tensor, Tensor], Tensor],
    ) -> list[Tensor]:
        """What `answer` gives for the boxes (N, 4) of each moment, in px of the picture: (N, D) on the CPU, of each."""
        counts = [len(each) for each in boxes]
        if not sum(counts):  # what the network would give need not be asked
            return [torch.empty(0, 0) for _ in counts]
        sizes = list(dict.fromkeys(view.transform for view in self.views))
        rows = []
        for view in self.views:
            fitted = [moment.fitted[sizes.index(view.transform)] for moment in seen]
            clips = batch([view.clip(each) for each in fitted], self.device)
            places = [view.boxes(each, info, clips.shape[-1]) for each in boxes]
            numbers = torch.arange(len(boxes)).repeat_interleave(torch.tensor(counts))
            rois = torch.cat([numbers[:, None].float(), torch.cat(places)], dim=1)
            rows.append(answer(clips, rois.to(self.device)).float().cpu())
        return list(torch.stack(rows).mean(0).split(counts))

    def probs(self, clips: Tensor, rois: Tensor) -> Tensor:
        """Scores `(N, num_classes)`."""
        return scores_of(self.model(clips, rois).float(), self.model.arch.activation)

    def detection(self, info: VideoInfo, scored: Scored, ids: Tensor) -> Detection:
        """The answer for one moment."""
        found, probs = scored.people, scored.values.reshape(len(ids), self.model.num_classes)
        return Detection(scored.at_s, found.boxes, probs, found.scores, ids, self.labels, info, self.name, found.names)


def check_takes_boxes(name: str, arch: Arch) -> None:
    """A ValueError for a network that does not say what people in boxes do."""
    if arch.roi is None:
        pool = "" if arch.pool == "global" else ', pool="global"'
        raise ValueError(
            f"{name} classifies whole clips; a detector has _det in its name: slowfast-hub list '*_det_*' --pretrained "
            f"(or create_model(..., roi=RoISpec(){pool}) makes one of the same weights)"
        )
    if arch.in_chans != 3 or getattr(arch, "fast_input", "rgb") == "flow":
        raise ValueError(f"{name} sees optical flow, not pictures: call the network itself, model(clips, rois)")
    if not arch.num_classes:
        raise ValueError(f"{name} has no classifier (num_classes=0)")


def box_views(spec: ClipSpec, scales: Sequence[int] | None, flip: bool) -> tuple[BoxView, ...]:
    """The views of one moment: every scale, plain and then mirrored."""
    own = spec.crop if spec.fit == "contain" else spec.short_side
    sides = tuple(scales) if scales is not None else (own,)
    if not sides or len({*sides}) < len(sides):
        raise ValueError(f"scales are different short sides in px, such as (224, 256, 320); got {scales!r}")
    for side in sides:
        whole("scales", side, 16)  # the maps that boxes are cut from have 1/16 of it
        if side > MOST_SIDE:
            raise ValueError(f"scales are at most {MOST_SIDE} px; got {side}")
    transforms = [EvalTransform(replace(spec, short_side=side, crop=side)) for side in sides]
    return tuple(BoxView(each, mirrored) for mirrored in ((False, True) if flip else (False,)) for each in transforms)


def moments(
    reader: VideoReader, views: Sequence[BoxView], spec: ClipSpec, times_s: Sequence[float], *, pictures: bool
) -> Iterator[Moment]:
    """What the views see around these moments, ascending; a frame is decoded once, and resized once for each size."""
    info = reader.info
    transforms = list(dict.fromkeys(view.transform for view in views))
    for transform in transforms:
        fitted_size(transform, info.source, info.height, info.width)
    fitters = [Fitter(transform) for transform in transforms]
    rows = [centred_indices(info, spec, at_s) for at_s in times_s]
    keys = {int(row[len(row) // 2]) for row in rows} if pictures else set()

    def keep(number: int, frame: Tensor) -> tuple[list[Tensor], Tensor | None]:
        return [fit(frame) for fit in fitters], frame if number in keys else None

    if not rows:
        return
    for at_s, frames in zip(times_s, stream_rows(reader, torch.stack(rows), keep)):
        fitted = tuple(map(as_clip, zip(*(resized for resized, _ in frames))))
        yield Moment(at_s, fitted, frames[len(frames) // 2][1])


def moments_of(info: VideoInfo, known_s: Sequence[float] | None, every_s: float | None) -> list[float]:
    """The moments at which a video is looked at, in seconds of the file; ValueError for a rate that cannot be."""
    if known_s is not None:
        if every_s is not None:
            raise ValueError("a table of boxes has moments of its own: leave every_s out")
        return list(known_s)
    every_s = EVERY_S if every_s is None else every_s
    if not 0 < every_s < math.inf:
        raise ValueError(f"every_s must be a positive number of seconds; got {every_s!r}")
    count = max(1, math.floor(info.duration_s / every_s))
    if count > LARGEST:
        raise ValueError(f"{info.source}: a moment every {every_s:g} s is more than {LARGEST}; choose a longer one")
    step_s = min(every_s, info.duration_s)
    return [info.start_s + (number + 0.5) * step_s for number in range(count)]


class Identities:
    """Who is who along one video: by the names of a table, else by the overlap of boxes."""

    def __init__(self) -> None:
        self._track, self._numbers = Tracker(), dict[str, int]()

    def __call__(self, found: Found) -> Tensor:
        """Ids (N,) long of the next moment."""
        if not found.names:
            return self._track(found.boxes)
        return torch.tensor([self._numbers.setdefault(name, len(self._numbers)) for name in found.names])


def grouped(items: Iterable[Moment], size: int) -> Iterator[list[Moment]]:
    """So many at a time; the last may be fewer."""
    several: list[Moment] = []
    for item in items:
        several.append(item)
        if len(several) == size:
            yield several
            several = []
    if several:
        yield several

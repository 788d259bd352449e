"""From labelled people to training clips: the frames around a key frame, and its boxes where they lie in them.

PySlowFast, ava_dataset.py, and the paper, section 5: drawn boxes, or also those that a person detector found in the
same places. Jittered boxes are neither's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike, fspath

import torch
from torch import Tensor

from slowfast_hub.people.boxes import in_pixels, iou
from slowfast_hub.spec import ClipSpec, VideoError, VideoInfo
from slowfast_hub.trainer.clips import ClipDataset, Item, decode, swapped, training_transform
from slowfast_hub.trainer.keyframes import KeyFrame, LabelledPeople, Person
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.transforms.train import Draw, TrainTransform
from slowfast_hub.video.reader import VideoReader
from slowfast_hub.video.sampling import centred_indices


class PeopleClips(ClipDataset[KeyFrame]):
    """Clips of key frames and their people, `dataset[Key(epoch, place)]`; every box is a row of the target.

    Of a key frame whose boxes all lie outside of the crop there is no clip, and nothing is wrong.
    box_jitter: how far each side of a box may move, as a share of the box.
    """

    def __init__(
        self,
        frames: Sequence[KeyFrame],
        spec: ClipSpec,
        transform: TrainTransform,
        *,
        num_classes: int,
        swap: Sequence[int] | None = None,
        speed: float = 0.0,
        box_jitter: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            frames, spec, transform, num_classes=num_classes, multilabel=True, swap=swap, speed=speed, seed=seed
        )
        self.box_jitter = box_jitter

    def item(self, frame: KeyFrame, generator: torch.Generator) -> Item:
        reader = frame.open()
        spec, draw = self.clock(generator), self.draw(reader, generator)
        try:
            indices = centred_indices(reader.info, spec, frame.at_s)
            boxes = self.boxes(frame, reader, draw, generator)
        except ValueError as error:  # a moment or a box outside of the video
            source = reader.info.source
            raise VideoError(source, str(error).removeprefix(f"{source}: ")) from error
        seen = (boxes[:, 2:] > boxes[:, :2]).all(1)
        target = torch.stack([self.each_class(self.labels(person.labels, draw)) for person in frame.people])[seen]
        return Item(self.clip(reader, indices, draw) if len(target) else None, target, None, boxes[seen])

    def boxes(self, frame: KeyFrame, reader: VideoReader, draw: Draw, generator: torch.Generator) -> Tensor:
        """The boxes of all people `(N, 4)` in px of the clip; those outside are empty."""
        width, height = reader.info.width, reader.info.height
        boxes = in_pixels(corners_of(frame.people), width=width, height=height, unit=frame.unit)
        if self.box_jitter:
            sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
            boxes = boxes + self.box_jitter * (2 * torch.rand(boxes.shape, generator=generator) - 1) * sides
        return self.transform.boxes(boxes, draw, height=height, width=width)


def people_set(recipe: Recipe, people: LabelledPeople, spec: ClipSpec) -> PeopleClips:
    """The clips of the training part, as the recipe makes them."""
    frames = training_frames(recipe, people)
    return PeopleClips(
        held(frames, recipe.hold) if recipe.hold else frames,
        spec,
        training_transform(recipe, spec),
        num_classes=len(people.classes),
        swap=swapped(recipe, people.classes),
        speed=recipe.speed,
        seed=recipe.seed,
        box_jitter=recipe.box_jitter,
    )


def training_frames(recipe: Recipe, people: LabelledPeople) -> list[KeyFrame]:
    """The key frames that show someone, with the found boxes that the recipe wants among their people."""
    frames = [frame for frame in people.train if frame.people]
    if recipe.found_iou is None:
        return frames
    return [with_found(frame, least_iou=recipe.found_iou, least_score=recipe.found_score) for frame in frames]


def with_found(frame: KeyFrame, *, least_iou: float, least_score: float) -> KeyFrame:
    """The key frame with found boxes among its people, each with the labels of the drawn one that it overlaps most.

    Those that overlap none by more than `least_iou` are left out: nobody knows what they show. PySlowFast learns from
    them as people who do nothing.
    """
    found = [person for person in frame.found or () if person.score is None or person.score >= least_score]
    if not found:
        return frame
    overlap, nearest = iou(corners_of(found), corners_of(frame.people)).max(1)
    matched = [
        replace(person, labels=frame.people[drawn].labels)
        for person, drawn, share in zip(found, nearest.tolist(), overlap.tolist())
        if share > least_iou
    ]
    return replace(frame, people=(*frame.people, *matched), found=None)


def corners_of(people: Sequence[Person]) -> Tensor:
    """Their boxes, `(N, 4)` float32."""
    return torch.tensor([person.box for person in people], dtype=torch.float32).reshape(-1, 4)


def held(frames: Sequence[KeyFrame], longest: int) -> list[KeyFrame]:
    """The same key frames with their videos decoded, each once: for sets that fit into memory, as `clips.hold`."""
    decoded: dict[object, tuple[Tensor, VideoInfo] | None] = {}
    found = []
    for frame in frames:
        key = frame.video if frame.on_disk else id(frame.video)
        if key not in decoded:
            decoded[key] = decode(frame, longest)
        found.append(frame if (video := decoded[key]) is None else in_memory(frame, *video))
    return found


def in_memory(frame: KeyFrame, pictures: Tensor, info: VideoInfo) -> KeyFrame:
    """The key frame in a video that was decoded and perhaps shrunk; info: of the file."""
    width, height = (info.width, info.height) if frame.unit == "px" else (1, 1)
    people = tuple(
        replace(person, box=(x1 / width, y1 / height, x2 / width, y2 / height))
        for person in frame.people
        for x1, y1, x2, y2 in [person.box]
    )
    return replace(
        frame,
        video=pictures,
        fps=info.fps,
        at_s=frame.at_s - info.start_s,
        people=people,
        title=fspath(frame.video) if isinstance(frame.video, str | PathLike) else frame.title,
        found=None,  # of these the wanted ones are among the people, see `with_found`
        unit="normalised",
    )

"""What a set asks of a network: the classes of a clip, or those of each person in it. The run itself is the same."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from slowfast_hub.models import VideoModel
from slowfast_hub.predict.views import parse_views
from slowfast_hub.spec import ClipSpec
from slowfast_hub.trainer.clips import VideoClips, training_set
from slowfast_hub.trainer.evaluate import evaluate
from slowfast_hub.trainer.keyframes import KeyFrame, LabelledPeople, LabelledSet
from slowfast_hub.trainer.metrics import measure
from slowfast_hub.trainer.people_clips import PeopleClips, people_set, training_frames
from slowfast_hub.trainer.people_eval import evaluate_people, measure_people
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.trainer.samples import LabelledVideos, Sample


@dataclass(frozen=True)
class Tested:
    """What a test of the `val` part found."""

    name: str  # of the answer: "top1" or "mAP"
    answer: float  # in 0..1
    requested: int  # videos or key frames
    decoded: int  # those that the answer is of
    of: str  # what they are, and how they were seen
    line: str  # the figure with what has to be said beside it


class ClassifyVideos:
    """A class for each video, or any number of them."""

    noun = "videos"  # what it is a set of

    def __init__(self, recipe: Recipe, videos: LabelledVideos) -> None:
        self.recipe, self.videos = recipe, videos
        self.samples = videos.train  # what clips are made of
        self.labels = [sample.labels for sample in videos.train]  # of everything that has a loss of its own

    def check(self) -> None:
        """ValueError where the recipe and the set do not fit each other."""
        recipe, videos = self.recipe, self.videos
        if len(videos.classes) < 2 and not videos.multilabel:
            raise ValueError(
                f"there is one class, {', '.join(videos.classes)}: nothing to tell apart; do the folders of the "
                "classes lie further down?"
            )
        if recipe.box_jitter or recipe.found_iou is not None:
            raise ValueError("box_jitter and found_iou are about the boxes of people; this set has none")
        parse_views(recipe.eval_views)

    def clips(self, spec: ClipSpec) -> VideoClips:
        """The training clips."""
        return training_set(self.recipe, self.videos, spec)

    def test(self, network: VideoModel, *, workers: int, name: str) -> Tested:
        """A network on the `val` part. name: what it is called."""
        evaluation = evaluate(
            network,
            self.videos.val,
            classes=self.videos.classes,
            views=self.recipe.eval_views,
            multilabel=self.videos.multilabel,
            on_error="report",
            workers=workers,
            name=name,
        )
        metrics = measure(evaluation)
        answer = metrics.mean_ap if self.videos.multilabel else metrics.top1
        kind = "mAP" if self.videos.multilabel else "top1"
        seen = f"videos, views {self.recipe.eval_views}"
        return Tested(kind, answer or 0.0, metrics.requested, metrics.decoded, seen, metrics.line)

    def rois(self, clips: Tensor) -> None:
        """None: a network for videos needs no boxes beside `clips`."""

    def identity(self, sample: Sample) -> object:
        """What a run depends on in a sample."""
        return sample.name, sample.labels


class ClassifyPeople:
    """Any number of classes for each person of a key frame (paper, section 5)."""

    noun = "key frames"

    def __init__(self, recipe: Recipe, people: LabelledPeople) -> None:
        self.recipe, self.people = recipe, people
        self.samples = training_frames(recipe, people)
        self.labels = [person.labels for frame in self.samples for person in frame.people]

    def check(self) -> None:
        recipe = self.recipe
        parts = {"training": self.samples, "val": self.people.val}
        for part, frames in parts.items():
            if frames and not any(frame.labels for frame in frames):
                raise ValueError(f"nobody in the {part} part has a label: there is nothing to learn, or to measure")
        if recipe.rand_augment:
            raise ValueError("rand_augment shears and shifts pictures, and boxes would not follow: leave it out")
        if recipe.eval_views != Recipe.eval_views:
            raise ValueError("eval_views cuts clips out of a video; a detector sees whole pictures: leave it out")
        if recipe.found_iou is not None and not any(frame.found for frame in self.people.train):
            raise ValueError(
                "found_iou takes boxes of a person detector, and no key frame has any: give them too, or found_iou=none"
            )

    def clips(self, spec: ClipSpec) -> PeopleClips:
        return people_set(self.recipe, self.people, spec)

    def test(self, network: VideoModel, *, workers: int, name: str) -> Tested:
        evaluation = evaluate_people(
            network,
            self.people.val,
            classes=self.people.classes,
            evaluated=self.people.evaluated,
            on_error="report",
            workers=workers,
            name=name,
        )
        metrics = measure_people(evaluation)
        return Tested("mAP", metrics.mean_ap or 0.0, metrics.requested, metrics.decoded, self.noun, metrics.line)

    def rois(self, clips: Tensor) -> Tensor:
        """A box of the whole picture for each clip: (B, 5)."""
        height, width = clips.shape[3:]
        return torch.tensor([[place, 0.0, 0.0, width, height] for place in range(len(clips))], device=clips.device)

    def identity(self, frame: KeyFrame) -> object:
        return frame.name, frame.people, frame.found if self.recipe.found_iou is not None else None


Task = ClassifyVideos | ClassifyPeople


def task_of(recipe: Recipe, labelled: LabelledSet) -> Task:
    """What a run does with a set."""
    if isinstance(labelled, LabelledPeople):
        return ClassifyPeople(recipe, labelled)
    return ClassifyVideos(recipe, labelled)

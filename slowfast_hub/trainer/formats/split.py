"""A validation part for sets that come without one: by label, and never one group on both sides.

Greedy, in an order drawn from the seed: a group goes to the validation part if that brings its share of the whole and
of each class nearer to what was asked, and if every class keeps a video for training. It takes as long as there are
labels; scikit-learn's StratifiedGroupKFold holds a table of groups x classes, and may leave a class without training.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike, fspath
from typing import TypeVar

from slowfast_hub.trainer.formats.found import listing
from slowfast_hub.trainer.keyframes import KeyFrame
from slowfast_hub.trainer.samples import LabelledVideos, Sample

Labelled = TypeVar("Labelled", Sample, KeyFrame)
EVERY = -1  # counted beside the classes: all videos


def split(samples: Sequence[Labelled], share: float, seed: int) -> tuple[tuple[Labelled, ...], tuple[Labelled, ...]]:
    """(training, validation), each in the order of `samples`; `share` is the wanted share of the second, 0 to 1.

    The parts and moments of one video stay together. A class whose videos are all of one group is in training alone.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for number, sample in enumerate(samples):
        members[key(sample)].append(number)
    groups = list(members)
    random.Random(seed).shuffle(groups)
    total = Counter(mark for sample in samples for mark in marks(sample))
    taken: Counter[int] = Counter()
    val: set[int] = set()
    for group in groups:
        more = Counter(mark for number in members[group] for mark in marks(samples[number]))
        gain = sum(abs(share * total[m] - taken[m]) - abs(share * total[m] - taken[m] - n) for m, n in more.items())
        if gain > 1e-9 and all(taken[mark] + count < total[mark] for mark, count in more.items()):
            taken.update(more)  # `+=` would go over all classes each time
            val.update(members[group])
    train = tuple(sample for number, sample in enumerate(samples) if number not in val)
    return train, tuple(samples[number] for number in sorted(val))


def key(sample: Sample | KeyFrame) -> str:
    """What must not stand on both sides: the group, or else the video itself."""
    if sample.group:
        return f"group {sample.group}"
    return f"video {fspath(sample.video) if isinstance(sample.video, str | PathLike) else id(sample.video)}"


def marks(sample: Sample | KeyFrame) -> tuple[int, ...]:
    return (EVERY, *sample.labels)


def labels_in(samples: Sequence[Sample]) -> set[int]:
    return {label for sample in samples for label in sample.labels}


def with_split(videos: LabelledVideos, share: float, seed: int) -> LabelledVideos:
    """The set with a validation part taken from its training part."""
    train, val = split(videos.train, share, seed)
    if not val:
        raise ValueError(
            f"no validation part of {share:g} can be taken from {len(videos.train)} videos: each class keeps one for "
            "training, and no group is on both sides; add videos, give val=, or train without one by val_share=0"
        )
    groups = len({sample.group for sample in val if sample.group})
    by = f", {groups} whole groups" if groups else "; each video counted as a group of its own"
    lacking = labels_in(train) - labels_in(val)
    notes = [f"split by label with seed {seed}: {len(train)} train, {len(val)} val{by}"]
    if lacking:
        notes.append(f"no validation video: {listing([videos.classes[label] for label in sorted(lacking)])}")
    return replace(videos, train=train, val=val, notes=(*videos.notes, *notes))

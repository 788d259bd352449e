"""What an evaluation is of: a part of a set, and whether a network was trained on some of it."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from slowfast_hub.apps.console import err

if TYPE_CHECKING:
    from slowfast_hub.trainer.keyframes import KeyFrame, LabelledPeople, LabelledSet
    from slowfast_hub.trainer.samples import LabelledVideos, Sample

    AnySet = TypeVar("AnySet", LabelledVideos, LabelledPeople)

PARTS = ("train", "val", "test", "all")


@overload
def part_of(found: LabelledVideos, part: str) -> Sequence[Sample]: ...
@overload
def part_of(found: LabelledPeople, part: str) -> Sequence[KeyFrame]: ...
def part_of(found: LabelledSet, part: str) -> Sequence[Sample] | Sequence[KeyFrame]:
    """The samples of one part, or of all; ValueError where there are none."""
    samples: Sequence[Sample] | Sequence[KeyFrame] = (
        tuple(found.samples()) if part == "all" else getattr(found, part)  # type: ignore[assignment]  # of one kind
    )
    if not samples:
        sizes = ", ".join(f"{name} {len(getattr(found, name))}" for name in PARTS[:3])
        raise ValueError(f"the set has nothing in --part {part}; it has {sizes}")
    return samples


def alone(found: AnySet, part: str) -> AnySet:
    """The set with one of its parts, to be shown."""
    others: dict[str, Any] = {name: () for name in PARTS[:3] if name != part}
    return found if part == "all" else replace(found, **others)


def warn_of_training_videos(
    names: Sequence[str], samples: Sequence[Sample] | Sequence[KeyFrame], *, listed: str, noun: str
) -> None:
    """A warning of each run that was trained on videos that it is tested on, as its own list of them says.

    listed: the name of that list. noun: what the samples are.
    """
    for name in names:
        table = Path(name.removeprefix("local-dir:")) / listed
        if not name.startswith("local-dir:") or not table.is_file():
            continue
        with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            trained = {row.get("video") for row in csv.DictReader(file) if row.get("split") == "train"}
        videos = [os.path.abspath(each.video) for each in samples if isinstance(each.video, str | os.PathLike)]
        seen = sum(video in trained for video in videos)
        if seen:
            err.print(
                f"warning: {name} was trained on {seen} of these {len(samples)} {noun}, so the figure is too good: "
                f"give the --group-from, --val-share and --split-seed of the training, or --data {table}",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )

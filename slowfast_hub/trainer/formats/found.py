"""What every format is read into: videos with labels as their files write them, before labels have numbers."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slowfast_hub.video.reader import VIDEO_SUFFIXES

NUMBER = re.compile(r"[0-9]{1,9}")  # of a class, of frames

# The words for the parts of a set, as folders, files and columns have them.
PARTS = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val", "dev": "val"},
    **{"test": "test", "testing": "test"},
}


@dataclass(frozen=True)
class Entry:
    """One video, or a part of one, as an annotation says it."""

    video: Path
    written: str  # the same as it is written, or relative to the folder: what a pattern of groups looks at
    label: str  # as written; "|" stands between several
    part: str = ""  # "train", "val", "test"; "" where nothing says so
    group: str = ""
    start_s: float | None = None
    end_s: float | None = None
    spans: tuple[tuple[str, float, float], ...] = ()  # (label, from, to) in seconds, where labels have times
    fps: float | None = None  # of a folder of frames
    where: str = ""  # "train.csv:17"


@dataclass(frozen=True)
class Found:
    """What one source holds."""

    entries: list[Entry]
    notes: tuple[str, ...]
    classes: tuple[str, ...] = ()  # where there is a list of them, in order
    multilabel: bool | None = None  # None: the format does not say
    grouped: bool = False  # groups are those that were asked for


def part_of_name(name: str) -> str:
    """The part that a file's name tells: "val" for kinetics400_val_list_videos.txt; "" for none or several."""
    parts = {PARTS[word] for word in re.findall(r"[a-z]+", name.lower()) if word in PARTS}
    return parts.pop() if len(parts) == 1 else ""


def amount(text: str, where: str, meaning: str = "a time in seconds") -> float | None:
    """A number of at least 0, or None for an empty text; ValueError for all else."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{where}: {meaning} is a number, 0 or more; got {text!r}")
    return value


def videos_by_stem(folder: Path) -> Mapping[str, Path]:
    """The videos of a folder, and its folders of frames, by their names without suffix."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: not a folder; --videos (videos= in Python) is the folder of the videos that a file names"
        )
    with os.scandir(folder) as inside:
        paths = [Path(each.path) for each in inside if not each.name.startswith(".")]
    return {path.stem: path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES or path.is_dir()}


def listing(names: Sequence[str]) -> str:
    """The first ten of some names."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")

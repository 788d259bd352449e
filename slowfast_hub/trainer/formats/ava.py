"""AVA as it is distributed, and what PySlowFast and MMAction2 put beside it.

    ava_{train,val}_v2.{1,2}.csv                    boxes with actions 1..80, a row for each (people/tables.py)
    ava_{train,val}_excluded_timestamps_v2.x.csv    `video,second`: nobody is trained or tested on these
    ava_action_list_v2.x*.pbtxt                     the names of actions; those that count for the metric are in it
    ava_{train,val,test}_predicted_boxes.csv        boxes of a person detector: PySlowFast, `..., , score`
    ava_dense_proposals_*.FAIR.recall_93.9.pkl      the same of MMAction2: {"video,0902": (N, 5) array}
    frame_lists/{train,val}.csv                     PySlowFast: a line for each frame, with its folder

Seconds are those of the film. Files and folders of frames that were cut, as both projects do it, begin at second 900.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from slowfast_hub.people.boxes import unit_of
from slowfast_hub.people.files import check_file, text_of
from slowfast_hub.people.rows import A_TIME, MOST_S, BoxTable
from slowfast_hub.trainer.formats.charades import FRAME_LIST, LARGEST_LIST
from slowfast_hub.trainer.formats.found import part_of_name
from slowfast_hub.trainer.keyframes import Instant, instant
from slowfast_hub.zoo.convert.container import PlainArray, read_arrays
from slowfast_hub.zoo.manifest import read_labels

CUT_S, END_S = 900.0, 1800.0  # of the film: its annotated part, from minute 15 on
CUT_FPS = 30.0  # of the frames that both projects cut films into
LISTS = (".csv", ".tsv", ".txt", ".xml", ".json")
FOUND_WORDS = ("predicted", "detection", "proposals")  # in names of files of boxes that a detector found
VIDEO_FOLDERS = ("frames", "rawframes", "videos_15min", "videos")  # as the projects name them
ACTION = re.compile(r'name:\s*"([^"\n]*)"\s*(?:label_)?id:\s*([0-9]{1,6})')


@dataclass(frozen=True)
class Layout:
    """The files of a folder, by what they are for."""

    truth: dict[str, Path]  # by part; "" where there is one file
    videos: Path  # the folder of them
    found: dict[str, Path] = field(default_factory=dict)
    excluded: tuple[Path, ...] = ()
    actions: tuple[Path, ...] = ()
    frame_lists: tuple[Path, ...] = ()


def layout_of(folder: Path) -> Layout:
    """What is in a folder, and in those below it that the projects have; ValueError for two files of one part."""
    truth: dict[str, Path] = {}
    found: dict[str, Path] = {}
    excluded, actions = [], []
    for file in files_in(folder) + files_in(folder / "annotations"):
        part, name, suffix = part_of_name(file.stem), file.stem.lower(), file.suffix.lower()
        if "excluded" in name:
            excluded.append(file)
        elif suffix == ".pbtxt":
            actions.append(file)
        elif part and (suffix == ".pkl" or (suffix in LISTS and any(word in name for word in FOUND_WORDS))):
            only(found, part, file)
        elif part and suffix in LISTS:
            only(truth, part, file)
    if not truth and (folder / "people.csv").is_file():
        truth = {"": folder / "people.csv"}
    lists = files_in(folder / "frame_lists") or files_in(folder.parent / "frame_lists")
    videos = next((each for each in (folder / name for name in VIDEO_FOLDERS) if each.is_dir()), folder)
    return Layout(truth, videos, found, tuple(excluded), tuple(actions), tuple(lists))


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def only(files: dict[str, Path], part: str, file: Path) -> None:
    if part in files:
        names = f"{files[part].name} and {file.name}"
        raise ValueError(f"{file.parent}: {names} are both for {part}; name the files one by one: source, val=, found=")
    files[part] = file


def read_excluded(files: Iterable[Path]) -> frozenset[Instant]:
    """The moments of lists of excluded time stamps."""
    moments = set()
    for file in files:
        rows = csv.reader(text_of(file).splitlines())
        try:
            for video, second in rows:
                if not 0 <= float(second) <= MOST_S:
                    raise ValueError(f"a time is {A_TIME}; got {second!r:.40}")
                moments.add(instant(video, float(second)))
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{file}:{rows.line_num}: expected `video,second`: {error}") from error
    return frozenset(moments)


def read_actions(file: Path) -> dict[int, str]:
    """The names of actions by their numbers, of a .pbtxt file; of any other a name for each line, from 0."""
    text = text_of(file)
    if file.suffix.lower() != ".pbtxt":
        return dict(enumerate(line.strip() for line in text.split("\n") if line.strip()))
    actions = {int(number): name for name, number in ACTION.findall(text)}
    if not actions:
        raise ValueError(f'{file}: no actions; expected AVA\'s list: item {{ name: "walk" id: 14 }}')
    return actions


def ava_actions() -> dict[int, str]:
    """AVA's 80 actions by their numbers, which begin with 1."""
    return dict(enumerate(read_labels("ava80"), 1))


def are_avas(actions: dict[int, str]) -> bool:
    """Whether names and numbers are those of AVA; versions differ in some words."""
    known = ava_actions()
    return 2 * sum(known.get(number) == name for number, name in actions.items()) > len(actions)


def evaluated_of(classes: tuple[str, ...]) -> tuple[int, ...]:
    """The 60 of AVA's 80 classes that its metric is of; () for other classes: all."""
    if classes != read_labels("ava80"):
        return ()
    return tuple(int(number) - 1 for number in read_labels("ava60_evaluated_ids"))


def read_proposals(file: Path) -> BoxTable:
    """MMAction2's boxes of a person detector: a pickle, of which arrays alone are opened, and nothing else."""
    check_file(file)
    videos, times, boxes = [], [], []
    for key, array in read_arrays(file).items():
        video, _, time = key.rpartition(",")
        tensor = array.tensor if isinstance(array, PlainArray) else None
        if not video or not time.isdecimal() or tensor is None or tensor.ndim != 2 or tensor.shape[1] not in (4, 5):
            raise ValueError(f'{file}: {key!r:.40}: expected "video,0902" and an array (N, 5)')
        rows = torch.ones(len(tensor), 5, dtype=torch.float64)
        rows[:, : tensor.shape[1]] = tensor
        boxes.append(rows)
        videos += [video] * len(rows)
        times += [time] * len(rows)
    rows = torch.cat([torch.zeros(0, 5, dtype=torch.float64), *boxes])
    return BoxTable(
        file=file,
        form="MMAction2",
        videos=videos,
        times_s=torch.tensor([float(time) for time in times], dtype=torch.float64),
        times=times,
        boxes=rows[:, :4],
        labels=[""] * len(rows),
        people=[""] * len(rows),
        scores=rows[:, 4],
        lines=range(1, len(rows) + 1),
        unit=unit_of(rows[:, :4]),
        counted="box",
        notes=(f"{file}: {len(rows)} boxes that a detector found, as MMAction2 keeps them",),
    )


def frame_folders(files: Iterable[Path]) -> dict[str, str]:
    """The folder of each video in lists of frames; only the first line of a video is looked at."""
    folders: dict[str, str] = {}
    for file in files:
        check_file(file, LARGEST_LIST)
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            if not next(lines, "").startswith(FRAME_LIST):
                raise ValueError(f"{file}: no list of frames; its first line begins with {FRAME_LIST} (sic)")
            for number, line in enumerate(lines, 2):
                video, _, rest = line.partition(" ")
                if video not in folders:
                    fields = rest.split()
                    if len(fields) < 3:
                        raise ValueError(f"{file}:{number}: expected original_vido_id video_id frame_id path labels")
                    folders[video] = fields[2].rpartition("/")[0]
    return folders

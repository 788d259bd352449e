"""Sets of labelled videos, as the commands that take them are told of them and show what they understood."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table
from rich.text import Text

from slowfast_hub.apps.console import err, usage
from slowfast_hub.spec import one_of

if TYPE_CHECKING:
    from slowfast_hub.people.boxes import Unit
    from slowfast_hub.trainer.keyframes import LabelledPeople, LabelledSet
    from slowfast_hub.trainer.samples import LabelledVideos

DataSource = Annotated[
    Path, typer.Option("--data", help="A folder with one for each class, or a file that lists videos and labels.")
]
ValSource = Annotated[
    Path | None, typer.Option("--val", help="The file or folder of the val part, where it is another one.")
]
VideoFolder = Annotated[Path | None, typer.Option("--videos", help="The folder that the paths in the file begin in.")]
GroupFrom = Annotated[
    str | None,
    typer.Option(
        help="What stays on one side of the split: a column of the file, or a pattern whose group (..) names it."
    ),
]
ValShare = Annotated[
    float, typer.Option(min=0.0, max=0.9, help="Share of the videos that becomes the val part, where the set has none.")
]
SplitSeed = Annotated[int, typer.Option("--split-seed", help="Another number splits the set otherwise.")]
ManyLabels = Annotated[
    bool | None,
    typer.Option("--multilabel/--one-label", help="Any number of labels a video, or one. Default: found out by `|`."),
]
# Of sets of people.
Task = Annotated[
    str | None,
    typer.Option(help="classification: labels of videos; detection: boxes of people. Default: found out by the file."),
]
FoundBoxes = Annotated[
    list[Path] | None,
    typer.Option("--found", help="Boxes of a person detector for the set, with scores; again for each file."),
]
Excluded = Annotated[list[Path] | None, typer.Option(help="Lists of `video,second` to leave out; again for each file.")]
Actions = Annotated[
    Path | None,
    typer.Option(help="The list of actions: AVA's .pbtxt, or a name for each line. Default: beside the file."),
]
OffsetS = Annotated[
    float | None,
    typer.Option("--offset-s", help="What the first frame of each video has as its time: 900 for films cut as AVA's."),
]
BoxUnit = Annotated[str | None, typer.Option("--unit", help="px or normalised; default: found out by the numbers.")]
FolderFps = Annotated[float | None, typer.Option("--fps", help="Rate of folders of frames; a file knows its own.")]


def check_extra() -> None:
    """Exit code 2 where what training needs is not installed."""
    try:
        import slowfast_hub.trainer  # noqa: F401  # it looks
    except ModuleNotFoundError as error:
        raise usage(error) from error


def read_set(
    data: Path,
    val: Path | None,
    videos: Path | None,
    group_from: str | None,
    val_share: float,
    split_seed: int,
    many_labels: bool | None,
    fps: float | None,
) -> LabelledVideos:
    """The set that the options above tell of."""
    from slowfast_hub.trainer.formats import read_videos

    return read_videos(
        data,
        val=val,
        videos=videos,
        group_from=group_from,
        val_share=val_share,
        seed=split_seed,
        multilabel=many_labels,
        fps=fps,
    )


TASKS = ("classification", "detection")


def is_detection(task: str | None, data: Path) -> bool:
    """Whether a set is of people: what was asked for, or else what its file looks like."""
    from slowfast_hub.people.tables import are_boxes
    from slowfast_hub.trainer.formats.ava import layout_of

    if task is not None:
        one_of("--task", task, TASKS)
        return task == "detection"
    files = list(layout_of(data).truth.values()) if data.is_dir() else [data] if data.is_file() else []
    return bool(files) and all(map(are_boxes, files))


def read_people_set(
    data: Path,
    *,
    val: Path | None,
    videos: Path | None,
    found: list[Path] | None,
    excluded: list[Path] | None,
    actions: Path | None,
    offset_s: float | None,
    unit: str | None,
    group_from: str | None,
    val_share: float,
    split_seed: int,
    fps: float | None,
    need_videos: bool = True,
) -> LabelledPeople:
    """The set of people that the options above tell of."""
    from slowfast_hub.trainer.formats.people import read_people

    return read_people(
        data,
        val=val,
        videos=videos,
        found=found,
        excluded=excluded,
        actions=actions,
        offset_s=offset_s,
        unit=unit_of_option(unit),
        group_from=group_from,
        val_share=val_share,
        seed=split_seed,
        fps=fps,
        need_videos=need_videos,
    )


def unit_of_option(unit: str | None) -> Unit | None:
    """ValueError for another word than px and normalised."""
    from slowfast_hub.people.boxes import UNITS

    one_of("--unit", unit, (None, *UNITS))
    return cast("Unit | None", unit)


def show_set(found: LabelledSet) -> None:
    """What was understood, and the first rows, on stderr."""
    from slowfast_hub.trainer.formats import first_rows

    table = Table("part", "video", "labels", "group")
    for row in first_rows(found):
        table.add_row(*(Text(str(cell)) for cell in row))
    err.print(table)
    for note in found.notes:
        err.print(note, highlight=False, markup=False, soft_wrap=True)

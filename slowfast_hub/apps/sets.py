"""Sets of labelled videos, as the commands that take them are told of them and show what they understood."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from slowfast_hub.apps.console import err, usage

if TYPE_CHECKING:
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


def show_set(found: LabelledVideos) -> None:
    """What was understood, and the first rows, on stderr."""
    from slowfast_hub.trainer.formats import first_rows

    table = Table("part", "video", "labels", "group")
    for row in first_rows(found):
        table.add_row(*(Text(str(cell)) for cell in row))
    err.print(table)
    for note in found.notes:
        err.print(note, highlight=False, markup=False, soft_wrap=True)

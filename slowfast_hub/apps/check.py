"""The command `slowfast-hub data check`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from slowfast_hub.apps.console import COLUMNS, Json, asked, err, out, print_json
from slowfast_hub.apps.options import Limit, check_task_options, limits_of
from slowfast_hub.apps.sets import (
    Actions,
    BoxUnit,
    Excluded,
    FolderFps,
    FoundBoxes,
    GroupFrom,
    ManyLabels,
    OffsetS,
    SplitSeed,
    Task,
    ValShare,
    ValSource,
    VideoFolder,
    check_extra,
    is_detection,
    read_set,
    show_set,
    unit_of_option,
)
from slowfast_hub.spec import ClipSpec, Limits
from slowfast_hub.zoo.registry import DEFAULT_MODEL, find_arch, weights_info

if TYPE_CHECKING:
    from slowfast_hub.trainer.check import Finding, Report
    from slowfast_hub.trainer.keyframes import LabelledSet


def check(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder with one for each class, a file that lists videos and labels, or a table of boxes."
        ),
    ],
    folder: Annotated[
        Path | None, typer.Option("--out", help="The folder for report.html, report.json and bad.csv.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="The network whose clips the videos are for; `slowfast-hub list` names them.")
    ] = DEFAULT_MODEL,
    val: ValSource = None,
    videos: VideoFolder = None,
    group_from: GroupFrom = None,
    val_share: ValShare = 0.2,
    split_seed: SplitSeed = 0,
    many_labels: ManyLabels = None,
    fps: FolderFps = None,
    task: Task = None,
    found: FoundBoxes = None,
    excluded: Excluded = None,
    actions: Actions = None,
    offset_s: OffsetS = None,
    unit: BoxUnit = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes; 0 works in this one. Default: one for each core.")
    ] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """What is wrong with labelled videos or people.  Example: slowfast-hub data check VIDEOS --out REPORT

    Decodes every file once. Looks for damaged and short ones, copies (also encoded anew), what stands on both sides of
    the split, and unequal classes; with boxes of people for those in the wrong unit or form, labels that are no action,
    and times that do not fit their video. Exit code 1 for errors; warnings alone give 0.
    """
    check_extra()
    from slowfast_hub.trainer.check_report import as_json as plain
    from slowfast_hub.trainer.check_report import summary, write_report
    from slowfast_hub.trainer.formats.people_files import gather
    from slowfast_hub.trainer.people_check import people_left, table_findings

    with asked():
        if folder is not None and folder.exists() and not folder.is_dir():
            raise ValueError(f"--out {folder} is a file; the report needs a folder")
        limits, clip = limits_of(limit, Limits()), clip_of(model)
        told: list[Finding] | None = None
        labelled: LabelledSet
        of_people = is_detection(task, source)
        check_task_options(context, of_people=of_people)
        if of_people:
            sources = gather(
                source,
                val=val,
                videos=videos,
                found=found,
                excluded=excluded,
                actions=actions,
                unit=unit_of_option(unit),
                fps=fps,
            )
            told = list(table_findings(sources))
            labelled = people_left(
                sources, told, offset_s=offset_s, group_from=group_from, val_share=val_share, seed=split_seed
            )
        else:
            labelled = read_set(source, val, videos, group_from, val_share, split_seed, many_labels, fps)
    show_set(labelled)
    report = run(labelled, told, clip, limits, (os.cpu_count() or 1) if workers is None else workers)
    if folder is not None:
        write_report(report, folder)
        err.print(f"report: {folder / 'report.html'}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        print_json(plain(report))
    else:
        for line in summary(report):
            out.print(line, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(0 if report.passed else 1)


def clip_of(model: str) -> ClipSpec:
    """What a clip of `row.tag` is, or of a row."""
    return (weights_info(model) if "." in model else find_arch(model)).clip


def run(videos: LabelledSet, told: list[Finding] | None, clip: ClipSpec, limits: Limits, workers: int) -> Report:
    """The report, with a bar while files are decoded. told: what the tables of a set of people were found to have."""
    from slowfast_hub.trainer.check import check_files, jobs_of, report_of
    from slowfast_hub.trainer.keyframes import LabelledPeople
    from slowfast_hub.trainer.people_check import report_of_people

    jobs = jobs_of(videos, limits)
    with Progress(*COLUMNS, console=err, disable=not err.is_terminal) as bar:
        checks = bar.track(check_files(jobs, workers=workers), total=len(jobs), description="check")
        if isinstance(videos, LabelledPeople):
            return report_of_people(videos, told or (), checks, clip)
        return report_of(videos, checks, clip)

"""The command `slowfast-hub eval`: how right networks are on labelled videos.

Started by `torchrun` or `accelerate launch`, its processes share the videos, and the first of them speaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID

from slowfast_hub.apps.console import COLUMNS, Json, asked, complain, err, print_json, usage
from slowfast_hub.apps.evaluate_people import BoxesFrom, Flip, FoundScore, Scales, eval_people
from slowfast_hub.apps.options import Device, Limit, Precision, check_task_options, limits_of, refuse
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
    read_people_set,
    read_set,
    show_set,
)
from slowfast_hub.apps.tested import PARTS, alone, part_of, warn_of_training_videos
from slowfast_hub.people.boxes import PERSON_SCORE
from slowfast_hub.spec import LONG, Limits, VideoError, one_of

if TYPE_CHECKING:
    from slowfast_hub.models import VideoModel
    from slowfast_hub.trainer.evaluate import Evaluation
    from slowfast_hub.trainer.metrics import Metrics
    from slowfast_hub.trainer.samples import LabelledVideos, Sample


OF_NETWORKS = ("--views", "--boxes", "--found-score", "--scales", "--flip", "--precision")


def evaluate(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="row.tag, local-dir:RUN or hf-hub:NAME; of several the scores are averaged, or detectors compared.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A folder with one for each class, or a file that lists videos and labels.")
    ] = None,
    part: Annotated[str, typer.Option(help="Of the set: val, test, train or all.")] = "val",
    val: ValSource = None,
    videos: VideoFolder = None,
    group_from: GroupFrom = None,
    val_share: ValShare = 0.2,
    split_seed: SplitSeed = 0,
    many_labels: ManyLabels = None,
    fps: FolderFps = None,
    task: Task = None,
    found_boxes: FoundBoxes = None,
    excluded: Excluded = None,
    actions: Actions = None,
    offset_s: OffsetS = None,
    unit: BoxUnit = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            help="A predictions.jsonl to measure in the place of a network; again for an ensemble. Of people a "
            "detections.csv, with --data."
        ),
    ] = None,
    views: Annotated[str, typer.Option(help="centre, paper (10x3), dense, or CLIPSxCROPS such as 5x1.")] = "centre",
    boxes: BoxesFrom = None,
    found_score: FoundScore = PERSON_SCORE,
    scales: Scales = None,
    flip: Flip = False,
    folder: Annotated[
        Path | None, typer.Option("--out", help="The folder for the report; one below it for each of several networks.")
    ] = None,
    on_error: Annotated[
        str, typer.Option(help="Of a video that cannot be read: raise: stop, or report it and go on. Exit code 1.")
    ] = "raise",
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode; 0 decodes in this one.")] = 0,
    device: Device = None,
    precision: Precision = "float32",
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """How right networks are.  Example: slowfast-hub eval local-dir:RUN --data VIDEOS --views 5x1 --out REPORT

    Detectors, on a table of boxes: slowfast-hub eval local-dir:RUN --data people.csv --out REPORT
    """
    check_extra()
    from slowfast_hub.trainer.evaluate import process_state

    # Before a network is opened: it gives each process a GPU of its own.
    first = process_state().is_main_process
    with asked():
        of_people = data is not None and is_detection(task, data)
        check(models, data, predictions, part, on_error, folder, of_people=of_people)
        check_task_options(context, of_people=of_people)
        if predictions:
            refuse(context, OF_NETWORKS, "--predictions are measured as they are")
        limits = limits_of(limit, LONG if of_people else Limits())
    if data is not None and of_people:
        with asked():
            people = read_people_set(
                data,
                val=val,
                videos=videos,
                found=found_boxes,
                excluded=excluded,
                actions=actions,
                offset_s=offset_s,
                unit=unit,
                group_from=group_from,
                val_share=val_share,
                split_seed=split_seed,
                fps=fps,
                need_videos=bool(models),
            )
        raise eval_people(
            models or (),
            predictions or (),
            people,
            part=part,
            boxes=boxes,
            found_score=found_score,
            scales=scales,
            flip=flip,
            folder=folder,
            on_error=on_error,
            workers=workers,
            device=device,
            precision=precision,
            limits=limits,
            as_json=as_json,
            first=first,
        )
    found: LabelledVideos | None = None
    if data is not None:
        with asked():
            found = read_set(data, val, videos, group_from, val_share, split_seed, many_labels, fps)
    raise eval_videos(
        models or (),
        predictions or (),
        found,
        part=part,
        views=views,
        folder=folder,
        on_error=on_error,
        workers=workers,
        device=device,
        precision=precision,
        limits=limits,
        as_json=as_json,
        first=first,
    )


def eval_videos(
    models: Sequence[str],
    predictions: Sequence[Path],
    found: LabelledVideos | None,
    *,
    part: str,
    views: str,
    folder: Path | None,
    on_error: str,
    workers: int,
    device: str | None,
    precision: str,
    limits: Limits,
    as_json: bool,
    first: bool,
) -> typer.Exit:
    """Networks on a part of a set, or files, and their mean, with a report of each; gives the exit code.

    found: the set of the networks. first: of several processes, the one that speaks.
    """
    from slowfast_hub.predict.network import open_network
    from slowfast_hub.predict.predictor import check_answers_rgb
    from slowfast_hub.trainer import evaluate as trainer
    from slowfast_hub.trainer.about import VIDEOS
    from slowfast_hub.trainer.eval_report import as_json as plain
    from slowfast_hub.trainer.metrics import measure
    from slowfast_hub.trainer.page import printable
    from slowfast_hub.trainer.predictions import read_predictions

    samples: Sequence[Sample] = ()
    networks: list[tuple[str, VideoModel]] = []
    with asked():
        runs = [read_predictions(file) for file in predictions]
        if found is not None:
            samples = part_of(found, part)
            networks = [open_network(name, device=device, check=check_answers_rgb) for name in models]
            # What does not fit shows before hours of work.
            outputs = {trainer.matched(name, network, found.classes)[0] for name, network in networks}
            if len(outputs) > 1:
                raise ValueError(
                    "these networks know different classes beside those of the set: their scores have no mean"
                )
    score = partial(
        trainer.evaluate,
        views=views,
        on_error=on_error,  # type: ignore[arg-type]  # checked before
        workers=workers,
        precision=precision,  # type: ignore[arg-type]  # checked there
        limits=limits,
    )
    try:
        if found is not None:
            if first:
                show_set(alone(found, part))
            runs = run_all(score, networks, samples, found, shown=first and err.is_terminal)
        if len(runs) > 1:
            runs.append(trainer.ensemble(runs))
        measured = [measure(run) for run in runs]
    except VideoError as error:
        complain(error)
        err.print("--on-error report goes on without such videos", markup=False)
        return typer.Exit(1)
    except ValueError as error:
        return usage(error)
    if first:
        warn_of_training_videos(models, samples, listed=VIDEOS, noun="videos")
        for failure in runs[-1].failed:
            complain(ValueError(f"{failure.video}: {failure.reason}"))
        if as_json:
            print_json([plain(run, metrics) for run, metrics in zip(runs, measured)])
        else:
            for metrics in measured:
                typer.echo(printable(metrics.line))
        try:
            if folder is not None:
                write_all(runs, measured, folder, samples)
        except OSError as error:
            complain(error)
            return typer.Exit(1)
    return typer.Exit(1 if runs[-1].failed else 0)


def check(
    models: list[str] | None,
    data: Path | None,
    predictions: list[Path] | None,
    part: str,
    on_error: str,
    folder: Path | None,
    *,
    of_people: bool,
) -> None:
    """A ValueError for what is asked wrongly."""
    one_of("--on-error", on_error, ("raise", "report"))
    one_of("--part", part, PARTS)
    if of_people and bool(models) == bool(predictions):
        raise ValueError("give detectors or --predictions, and --data, the people that they are measured on")
    if not of_people and (bool(models) == bool(predictions) or bool(models) != bool(data)):
        raise ValueError("give networks and --data, or --predictions alone")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file; the report needs a folder")


def run_all(
    score: Callable[..., Evaluation],
    networks: Sequence[tuple[str, VideoModel]],
    samples: Sequence[Sample],
    found: LabelledVideos,
    *,
    shown: bool,
) -> list[Evaluation]:
    """The evaluation of each network, with a bar for each."""
    runs = []
    with Progress(*COLUMNS, console=err, disable=not shown) as bar:
        for number, (name, network) in enumerate(networks, start=1):
            task = bar.add_task(f"network {number} of {len(networks)}", total=len(samples))
            advance = partial(move, bar, task)
            run = score(
                network, samples, classes=found.classes, multilabel=found.multilabel, name=name, progress=advance
            )
            runs.append(run)
    return runs


def move(bar: Progress, task: TaskID, done: int, total: int) -> None:
    bar.update(task, completed=done, total=total)


def write_all(runs: Sequence[Evaluation], measured: Sequence[Metrics], folder: Path, samples: Sequence[Sample]) -> None:
    """The report of the last run in `folder`; of each network before it in a folder below."""
    from slowfast_hub.trainer.eval_report import write_report

    for number, (run, metrics) in enumerate(zip(runs[:-1], measured), start=1):
        name = re.sub(r"[^\w.-]+", "_", run.protocols[0].model)[-100:]
        write_report(run, metrics, folder / f"{number}_{name}", samples)
    write_report(runs[-1], measured[-1], folder, samples)
    err.print(f"report: {folder / 'report.html'}", highlight=False, markup=False, soft_wrap=True)

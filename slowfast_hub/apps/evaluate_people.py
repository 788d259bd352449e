"""What `slowfast-hub eval` does with a set of people: detectors, or files of detections, on its key frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from slowfast_hub.apps.console import COLUMNS, asked, complain, err, print_json, usage
from slowfast_hub.apps.options import sides_of
from slowfast_hub.apps.sets import show_set
from slowfast_hub.apps.tested import alone, part_of, warn_of_training_videos
from slowfast_hub.spec import Limits, VideoError

if TYPE_CHECKING:
    from slowfast_hub.models import VideoModel
    from slowfast_hub.trainer.keyframes import KeyFrame, LabelledPeople
    from slowfast_hub.trainer.people_eval import PeopleEvaluation

BoxesFrom = Annotated[
    str | None,
    typer.Option("--boxes", help="Of people: truth, or found. Default: found ones where the set has some everywhere."),
]
FoundScore = Annotated[float, typer.Option(min=0, max=1, help="... of the found ones those with at least this score.")]
Scales = Annotated[str | None, typer.Option(help="Of people: shorter sides in px to average over: 224,256,320.")]
Flip = Annotated[bool, typer.Option("--flip", help="Of people: average over mirrored pictures too.")]


def eval_people(
    models: Sequence[str],
    predictions: Sequence[Path],
    people: LabelledPeople,
    *,
    part: str,
    boxes: str | None,
    found_score: float,
    scales: str | None,
    flip: bool,
    folder: Path | None,
    on_error: str,
    workers: int,
    device: str | None,
    precision: str,
    limits: Limits,
    as_json: bool,
    first: bool,
) -> typer.Exit:
    """Networks, or files, on the key frames of a part of a set, and one report of all; gives the exit code.

    first: of several processes, the one that speaks.
    """
    from slowfast_hub.predict.detector import check_takes_boxes
    from slowfast_hub.predict.network import open_network
    from slowfast_hub.trainer import people_eval
    from slowfast_hub.trainer.about import PEOPLE
    from slowfast_hub.trainer.evaluate import matched

    with asked():
        frames = part_of(people, part)
        if first:
            show_set(alone(people, part))
            warn_of_training_videos(models, frames, listed=PEOPLE, noun="key frames")
        runs = files_measured(predictions, people, frames)
        networks = [open_network(name, device=device, check=check_takes_boxes) for name in models]
        for name, network in networks:  # what does not fit shows before hours of work
            matched(name, network, people.classes)
        sides = None if scales is None else sides_of(scales)
    everywhere = all(frame.found is not None for frame in frames)
    score = partial(
        people_eval.evaluate_people,
        frames=frames,
        classes=people.classes,
        evaluated=people.evaluated,
        boxes=boxes or ("found" if everywhere else "truth"),  # type: ignore[arg-type]  # checked there
        found_score=found_score,
        scales=sides,
        flip=flip,
        on_error=on_error,  # type: ignore[arg-type]  # checked before
        workers=workers,
        precision=precision,  # type: ignore[arg-type]  # checked there
        limits=limits,
    )
    try:
        runs += run_all(score, networks, shown=first and err.is_terminal)
        of = "all parts" if part == "all" else f"{part} part"
        runs = [replace(run, protocol=f"{of}, {run.protocol}") for run in runs]
        if first:
            tell(runs, folder, as_json=as_json)
    except VideoError as error:
        complain(error)
        err.print("--on-error report goes on without such key frames", markup=False)
        return typer.Exit(1)
    except OSError as error:
        complain(error)
        return typer.Exit(1)
    except ValueError as error:
        return usage(error)
    return typer.Exit(1 if any(run.failed for run in runs) else 0)


def files_measured(files: Sequence[Path], people: LabelledPeople, frames: Sequence[KeyFrame]) -> list[PeopleEvaluation]:
    """Files of detections beside key frames of a set: moments of its other parts do not count."""
    from slowfast_hub.trainer.detections import instant_of
    from slowfast_hub.trainer.people_eval import evaluation_of_file

    asked_for = set(frames)
    excluded = people.excluded.union(instant_of(frame) for frame in people.samples() if frame not in asked_for)
    return [
        evaluation_of_file(file, frames, classes=people.classes, evaluated=people.evaluated, excluded=excluded)
        for file in files
    ]


def run_all(
    score: Callable[..., PeopleEvaluation], networks: Sequence[tuple[str, VideoModel]], *, shown: bool
) -> list[PeopleEvaluation]:
    """The evaluation of each network, with a bar for each."""
    runs = []
    with Progress(*COLUMNS, console=err, disable=not shown) as bar:
        for number, (name, network) in enumerate(networks, start=1):
            task = bar.add_task(f"network {number} of {len(networks)}", total=None)
            advance = partial(lambda task, done, total: bar.update(task, completed=done, total=total), task)
            runs.append(score(network, name=name, progress=advance))
    return runs


def tell(runs: Sequence[PeopleEvaluation], folder: Path | None, *, as_json: bool) -> None:
    """The figures of all on stdout, and the report in `folder`."""
    from slowfast_hub.trainer.page import printable
    from slowfast_hub.trainer.people_eval import measure_people
    from slowfast_hub.trainer.people_report import as_json as plain
    from slowfast_hub.trainer.people_report import write_people_report

    measured = [measure_people(run) for run in runs]
    for failure in (failure for run in runs for failure in run.failed):
        complain(ValueError(f"{failure.video}: {failure.reason}"))
    if as_json:
        print_json([*map(plain, runs, measured)])
    else:
        for metrics in measured:
            typer.echo(printable(metrics.line))
    if folder is not None:
        write_people_report(runs, measured, folder)
        err.print(f"report: {folder / 'report.html'}", highlight=False, markup=False, soft_wrap=True)

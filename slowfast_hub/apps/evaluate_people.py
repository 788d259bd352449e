"""What `slowfast-hub eval` does with a set of people: detectors, or files of detections, on its key frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from slowfast_hub.apps.console import COLUMNS, asked, complain, err, print_json, usage
from slowfast_hub.spec import Limits, VideoError

if TYPE_CHECKING:
    from slowfast_hub.trainer.keyframes import KeyFrame, LabelledPeople
    from slowfast_hub.trainer.people_eval import PeopleEvaluation

BoxesFrom = Annotated[
    str | None,
    typer.Option("--boxes", help="Of people: truth, or found. Default: found ones where the set has some everywhere."),
]
FoundScore = Annotated[float, typer.Option(min=0, max=1, help="... of the found ones those with at least this score.")]
Scales = Annotated[str | None, typer.Option(help="Of people: shorter sides in px to average over: 224,256,320.")]
Flip = Annotated[bool, typer.Option("--flip", help="Of people: average over mirrored pictures too.")]


def evaluate_people(
    models: Sequence[str],
    predictions: Sequence[Path],
    people: LabelledPeople,
    frames: Sequence[KeyFrame],
    *,
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
    """Networks, or files, on these key frames of a set, and one report of all; gives the exit code.

    first: of several processes, the one that speaks.
    """
    from slowfast_hub.apps.detect import numbers
    from slowfast_hub.predict.detector import check_takes_boxes
    from slowfast_hub.predict.network import open_network
    from slowfast_hub.trainer import people_eval
    from slowfast_hub.trainer.evaluate import matched
    from slowfast_hub.trainer.page import printable
    from slowfast_hub.trainer.people_report import as_json as plain
    from slowfast_hub.trainer.people_report import write_people_report

    with asked():
        runs = [
            people_eval.evaluation_of_file(file, frames, classes=people.classes, evaluated=people.evaluated)
            for file in predictions
        ]
        networks = [open_network(name, device=device, check=check_takes_boxes) for name in models]
        for name, network in networks:  # what does not fit shows before hours of work
            matched(name, network, people.classes)
        sides = None if scales is None else numbers(scales)
    everywhere = all(frame.found is not None for frame in frames)
    score: Callable[..., PeopleEvaluation] = partial(
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
        with Progress(*COLUMNS, console=err, disable=not (first and err.is_terminal)) as bar:
            for number, (name, network) in enumerate(networks, start=1):
                task = bar.add_task(f"network {number} of {len(networks)}", total=None)
                advance = partial(lambda task, done, total: bar.update(task, completed=done, total=total), task)
                runs.append(score(network, name=name, progress=advance))
        measured = [people_eval.measure_people(run) for run in runs]
        failed = [failure for run in runs for failure in run.failed]
        if first:
            for failure in failed:
                complain(ValueError(f"{failure.video}: {failure.reason}"))
            if as_json:
                print_json([*map(plain, runs, measured)])
            else:
                for metrics in measured:
                    typer.echo(printable(metrics.line))
            if folder is not None:
                write_people_report(runs, measured, folder)
                err.print(f"report: {folder / 'report.html'}", highlight=False, markup=False, soft_wrap=True)
    except VideoError as error:
        complain(error)
        err.print("--on-error report goes on without such key frames", markup=False)
        return typer.Exit(1)
    except OSError as error:
        complain(error)
        return typer.Exit(1)
    except ValueError as error:
        return usage(error)
    return typer.Exit(1 if failed else 0)

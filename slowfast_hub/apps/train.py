"""The command `slowfast-hub train`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slowfast_hub.apps.console import asked, complain, err, out
from slowfast_hub.apps.options import check_task_options
from slowfast_hub.apps.sets import (
    Actions,
    BoxUnit,
    DataSource,
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

if TYPE_CHECKING:
    from slowfast_hub.trainer.keyframes import LabelledSet

MAIN = os.environ.get("RANK", "0") == "0"  # of several processes, the one that speaks


def train(
    context: typer.Context,
    data: DataSource,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Fields of the recipe, as epochs=20 lr=0.01.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A network; with a tag, its weights are the start. Default: the recipe's.")
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="A recipe that ships here (docs/training.md), or a .toml file.")
    ] = "finetune",
    run: Annotated[Path, typer.Option("--out", help="The folder of the run.")] = Path("run"),
    resume: Annotated[
        str, typer.Option(help="auto: from the last checkpoint in --out; never; or a checkpoint.")
    ] = "auto",
    auto_batch: Annotated[
        bool, typer.Option("--auto-batch", help="Take as many clips at once as fit into memory (micro_batch).")
    ] = False,
    group_from: GroupFrom = None,
    val: ValSource = None,
    val_share: ValShare = 0.2,
    split_seed: SplitSeed = 0,
    many_labels: ManyLabels = None,
    videos: VideoFolder = None,
    fps: FolderFps = None,
    task: Task = None,
    found_boxes: FoundBoxes = None,
    excluded: Excluded = None,
    actions: Actions = None,
    offset_s: OffsetS = None,
    unit: BoxUnit = None,
) -> None:
    """Train on your videos.  Example: slowfast-hub train --data clips/ --model slowfast_r50_8x8.fair_k400

    A table of boxes trains a detector: --data people.csv --model slowfast_det_r50_8x8 init=slowfast_r50_8x8.fair_k400
    Started again it goes on from the last checkpoint. On N devices: torchrun --nproc-per-node N -m slowfast_hub train
    ...
    """
    check_extra()
    from slowfast_hub.trainer.keyframes import LabelledPeople
    from slowfast_hub.trainer.memory import with_fitting_micro_batch
    from slowfast_hub.trainer.recipe import read_recipe
    from slowfast_hub.trainer.train import train as train_network

    with asked():
        try:
            plan = read_recipe(recipe, [*([] if model is None else [f"model={model}"]), *(overrides or [])])
        except TypeError as error:  # of a field that there is not, or a value of another kind
            raise ValueError(*error.args) from error
        found: LabelledSet
        of_people = is_detection(task, data)
        check_task_options(context, of_people=of_people)
        if of_people:
            found = read_people_set(
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
            )
        else:
            found = read_set(data, val, videos, group_from, val_share, split_seed, many_labels, fps)
        if auto_batch:
            plan = with_fitting_micro_batch(plan, found)
    if MAIN:
        show_set(found)
        clips = min(plan.batch_size, len(found.train))
        rate = f"rate {plan.rate_for(clips):g} for steps of {clips} clips"
        scaled = "" if plan.lr_batch is None else f" ({plan.lr:g} for {plan.lr_batch}, scaled in proportion)"
        say(f"{plan.model}, {plan.epochs:g} epochs, {rate}{scaled}; into {run}")
    try:
        train_network(plan, found, out=run, resume=resume, show=MAIN)
    except KeyboardInterrupt as stopped:
        say(f"{stopped or 'stopped'}")
        raise typer.Exit(130) from stopped
    except (ValueError, LookupError, OSError, ArithmeticError, RuntimeError) as error:
        complain(error)
        raise typer.Exit(1) from error
    if MAIN:
        use = "detect" if isinstance(found, LabelledPeople) else "classify"
        next_step = f"{run}: slowfast-hub {use} VIDEO --model local-dir:{run}"
        out.print(next_step, highlight=False, markup=False, soft_wrap=True)


def say(text: str) -> None:
    if MAIN:
        err.print(text, highlight=False, markup=False, soft_wrap=True)
